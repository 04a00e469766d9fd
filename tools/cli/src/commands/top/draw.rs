//! The picture: figures onto a terminal of any size.
//!
//! Colour says only what words say too. It is the terminal's own red, which its user can read on its background; what is chosen is reversed.

use std::collections::VecDeque;
use std::time::{Duration, UNIX_EPOCH};

use console::{measure_text_width, truncate_str};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, LineGauge, Paragraph, Row, Table, TableState};

use super::columns::{Column, Fit, MemberRow, TOPICS, fit, members};
use super::events::Told;
use super::view::View;
use crate::commands::looks::TopicFigures;
use crate::commands::table::Lean;
use crate::commands::units;

/// From so much of the time, or of the ring, a figure stands out.
const ALARMING_SHARE: f64 = 0.5;
/// A terminal of so many lines has room for events below the topics.
const LINES_FOR_EVENTS: u16 = 30;

/// What there is to be seen.
#[derive(Debug)]
pub(super) struct Picture<'a> {
    pub(super) bus: &'a str,
    pub(super) interval: Duration,
    pub(super) figures: &'a [TopicFigures],
    /// The newest first.
    pub(super) events: &'a VecDeque<Told>,
    pub(super) failure: Option<&'a str>,
    pub(super) unix_ns: u64,
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const HEAD: Style = Style::new().add_modifier(Modifier::REVERSED);
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
const ALARM: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

/// Draws the topics, or one of them in detail.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, picture: &Picture<'_>) {
    let rows = view.rows(picture.figures);
    match rows.get(view.selected_row(&rows)).filter(|row| view.is_detail && Some(&row.topic) == view.selected.as_ref())
    {
        Some(topic) => draw_detail(frame, view, picture, topic),
        None => draw_list(frame, view, picture, &rows),
    }
}

fn draw_list(frame: &mut Frame<'_>, view: &View, picture: &Picture<'_>, rows: &[TopicFigures]) {
    let event_lines = if frame.area().height >= LINES_FOR_EVENTS { 7 } else { 0 };
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(event_lines),
        Constraint::Length(1),
    ]);
    let [title, body, events, foot] = areas.areas(frame.area());
    frame.render_widget(Paragraph::new(title_line(view, picture, rows.len())), title);
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(nothing(view, picture)), body);
    } else {
        let widest = |index: usize| widest(rows, &TOPICS[index]);
        let fit = fit(&TOPICS, widest, body.width);
        let style = |column: &Column<TopicFigures>, row: &TopicFigures| topic_style(column.head, row);
        let table = table(&TOPICS, &fit, rows, Some(view.sort), style);
        let mut state = TableState::new().with_selected(view.selected_row(rows));
        frame.render_stateful_widget(table.row_highlight_style(CHOSEN), body, &mut state);
    }
    if event_lines > 0 {
        draw_events(frame, events, picture.events.iter(), true);
    }
    draw_foot(frame, foot, view, picture, "↑↓ choose  ⏎ detail  ←→ sort  r reverse  / filter  p pause  q quit");
}

fn title_line(view: &View, picture: &Picture<'_>, shown: usize) -> Line<'static> {
    let all = picture.figures.len();
    let topics = if shown == all { format!("{all} topics") } else { format!("{shown} of {all} topics") };
    let sum = |value: fn(&TopicFigures) -> f64| picture.figures.iter().map(value).sum::<f64>();
    let messages = sum(|topic| topic.rates.map_or(0.0, |rates| rates.messages_per_s));
    let bytes = sum(|topic| topic.rates.map_or(0.0, |rates| rates.log_bytes_per_s));
    let order = if view.is_descending { "falling" } else { "rising" };
    let mut spans = vec![
        Span::styled(format!("bus {}", picture.bus), BOLD),
        Span::raw(format!(
            "  {topics}  {} msg/s  {}/s  by {}, {order}  every {}",
            units::short_count(messages.round() as u64),
            units::short_bytes(bytes as u64),
            TOPICS[view.sort].head,
            humantime::format_duration(picture.interval),
        )),
    ];
    if view.is_paused {
        spans.push(Span::styled("  PAUSED", ALARM));
    }
    Line::from(spans)
}

fn nothing(view: &View, picture: &Picture<'_>) -> Vec<Line<'static>> {
    if !picture.figures.is_empty() {
        return vec![Line::raw(""), Line::raw(format!("  No topic has \"{}\" in it. Esc shows all.", view.filter))];
    }
    vec![
        Line::raw(""),
        Line::raw(format!("  No topics on bus {} yet. They show here as soon as somebody makes one:", picture.bus)),
        Line::raw(""),
        Line::styled("    memlane pub greetings --size 64 --rate 1000", BOLD),
    ]
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, view: &View, picture: &Picture<'_>, keys: &str) {
    let line = if view.is_typing {
        Line::from(vec![Span::styled(format!("/{}", view.filter), BOLD), Span::raw("▏  ⏎ keep  Esc clear")])
    } else if let Some(failure) = picture.failure {
        Line::styled(failure.to_owned(), ALARM)
    } else if view.filter.is_empty() {
        Line::raw(keys.to_owned())
    } else {
        Line::from(vec![Span::styled(format!("/{}  ", view.filter), BOLD), Span::raw(keys.to_owned())])
    };
    frame.render_widget(Paragraph::new(line), area);
}

fn draw_detail(frame: &mut Frame<'_>, view: &View, picture: &Picture<'_>, topic: &TopicFigures) {
    let wanted = u16::try_from(topic.participants.len()).unwrap_or(u16::MAX).saturating_add(2);
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Max(wanted),
        Constraint::Min(6),
        Constraint::Length(1),
    ]);
    let [title, figures, held, ring, body, events, foot] = areas.areas(frame.area());
    let mut spans = vec![
        Span::styled(topic.topic.clone(), BOLD),
        Span::raw(format!("  bus {}  every {}", picture.bus, humantime::format_duration(picture.interval))),
    ];
    if view.is_paused {
        spans.push(Span::styled("  PAUSED", ALARM));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), title);
    frame.render_widget(Paragraph::new(figures_line(topic)), figures);
    frame.render_widget(Paragraph::new(held_line(topic)), held);
    draw_ring(frame, ring, topic);
    let columns = members();
    let rows: Vec<_> = topic.participants.iter().skip(view.scroll).collect();
    let row = |figures| MemberRow { figures, capacity_bytes: topic.capacity_bytes, unix_ns: picture.unix_ns };
    let rows: Vec<MemberRow<'_>> = rows.into_iter().map(row).collect();
    let fit = fit(&columns, |index| widest(&rows, &columns[index]), body.width);
    let style = |column: &Column<MemberRow<'_>>, row: &MemberRow<'_>| member_style(column.head, row);
    frame.render_widget(table(&columns, &fit, &rows, None, style), body);
    draw_events(frame, events, picture.events.iter().filter(|told| told.topic == topic.topic), false);
    draw_foot(frame, foot, view, picture, "↑↓ scroll  ⏎ back  p pause  q quit");
}

fn figures_line(topic: &TopicFigures) -> Line<'static> {
    let rates = topic.rates.map_or_else(
        || "first look: no rates yet".to_owned(),
        |rates| {
            format!(
                "{} msg/s  {}/s  {} full/s  {}/s lost",
                units::short_count(rates.messages_per_s.round() as u64),
                units::short_bytes(rates.log_bytes_per_s as u64),
                units::short_count(rates.full_per_s.round() as u64),
                units::short_bytes(rates.lost_bytes_per_s as u64),
            )
        },
    );
    let (came, died) = (units::short_count(topic.came), units::short_count(topic.died));
    Line::raw(format!("{rates}  {} in all  {came} came, {died} died", units::short_count(topic.messages)))
}

fn held_line(topic: &TopicFigures) -> Line<'static> {
    let Some(holder) = &topic.held_by else { return Line::raw("nobody is held up") };
    let share = topic.rates.map_or(0.0, |rates| rates.held_share);
    let waiting = if topic.waiting == 1 { "publisher waits" } else { "publishers wait" };
    let text = format!(
        "held up {} of the time by {} ({})  {} {waiting} for room now",
        units::percent(share),
        holder.name,
        holder.pid,
        topic.waiting
    );
    Line::styled(text, if share >= ALARMING_SHARE { ALARM } else { BOLD })
}

/// How much of the ring the slowest gated subscriber has yet to read.
fn draw_ring(frame: &mut Frame<'_>, area: Rect, topic: &TopicFigures) {
    let ring = units::short_bytes(topic.capacity_bytes);
    let Some(share) = topic.lag_share() else {
        let text = format!("ring of {ring}, nobody to read it who could be waited for");
        frame.render_widget(Paragraph::new(text), area);
        return;
    };
    let lag = topic.lag_bytes.map_or_else(String::new, units::short_bytes);
    let gauge = LineGauge::default()
        .label(format!("ring of {ring}, unread by the slowest {lag}, {}", units::percent(share)))
        .ratio(share)
        .filled_symbol("█")
        .unfilled_symbol("░")
        .filled_style(if share >= ALARMING_SHARE { ALARM } else { Style::new() })
        .unfilled_style(Style::new());
    frame.render_widget(gauge, area);
}

fn draw_events<'a>(frame: &mut Frame<'_>, area: Rect, events: impl Iterator<Item = &'a Told>, with_topic: bool) {
    let line = |told: &Told| {
        let at = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(told.unix_ns)).to_string();
        let topic = if with_topic { format!("{}: ", told.topic) } else { String::new() };
        // Of `2026-11-25T03:06:29Z` the time of the day.
        let text = format!("{}  {topic}{}", at.get(11..19).unwrap_or(&at), told.what);
        Line::styled(text, if told.is_death { ALARM } else { Style::new() })
    };
    let mut lines = vec![Line::raw(""), Line::styled("CAME AND WENT (UTC)", BOLD)];
    let room = usize::from(area.height).saturating_sub(lines.len());
    lines.extend(events.take(room).map(line));
    if lines.len() == 2 {
        lines.push(Line::raw("nobody since you began to look"));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// The widest cell of a column, in cells of the terminal.
fn widest<R>(rows: &[R], column: &Column<R>) -> u16 {
    let widest = rows.iter().map(|row| measure_text_width(&(column.cell)(row))).max().unwrap_or(0);
    u16::try_from(widest).unwrap_or(u16::MAX)
}

fn table<'a, R>(
    columns: &[Column<R>],
    fit: &Fit,
    rows: &[R],
    sorted: Option<usize>,
    style: impl Fn(&Column<R>, &R) -> Style,
) -> Table<'a> {
    let cell = |text: String, column: &Column<R>, width: u16| {
        let line = Line::raw(truncate_str(&text, usize::from(width), "…").into_owned());
        Cell::new(if column.lean == Lean::Right { line.right_aligned() } else { line })
    };
    let head = fit.columns.iter().map(|(index, width)| {
        let style = if sorted == Some(*index) { BOLD.add_modifier(Modifier::UNDERLINED) } else { Style::new() };
        cell(columns[*index].head.to_owned(), &columns[*index], *width).style(style)
    });
    let head = Row::new(head.collect::<Vec<_>>()).style(HEAD);
    let row = |row: &R| {
        let cells = fit.columns.iter().map(|(index, width)| {
            let column = &columns[*index];
            cell((column.cell)(row), column, *width).style(style(column, row))
        });
        Row::new(cells.collect::<Vec<_>>())
    };
    let widths = fit.columns.iter().map(|(_, width)| Constraint::Length(*width));
    Table::new(rows.iter().map(row).collect::<Vec<_>>(), widths.collect::<Vec<_>>())
        .header(head)
        .column_spacing(fit.gap)
}

fn alarm_if(is_alarming: bool) -> Style {
    if is_alarming { ALARM } else { Style::new() }
}

fn topic_style(head: &str, topic: &TopicFigures) -> Style {
    let rates = topic.rates.as_ref();
    alarm_if(match head {
        "HELD" | "HELD BY" => rates.is_some_and(|rates| rates.held_share >= ALARMING_SHARE),
        "LOST/S" => rates.is_some_and(|rates| rates.lost_bytes_per_s > 0.0),
        "LAG" | "RING" => topic.lag_share().is_some_and(|share| share >= ALARMING_SHARE),
        _ => false,
    })
}

fn member_style(head: &str, row: &MemberRow<'_>) -> Style {
    let rates = row.figures.rates.as_ref();
    alarm_if(match head {
        "HELD" => rates.is_some_and(|rates| rates.held_share >= ALARMING_SHARE),
        "LOST/S" => rates.is_some_and(|rates| rates.lost_bytes_per_s > 0.0),
        "LAG" | "RING" => row.ring_share().is_some_and(|share| share >= ALARMING_SHARE),
        _ => false,
    })
}
