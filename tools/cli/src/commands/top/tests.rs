//! Keys, columns and pictures of made-up figures.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::columns::{self, TOPICS, fit};
use super::draw::{Picture, draw};
use super::events::Told;
use super::view::{Then, View};
use crate::commands::looks::tests::seen;
use crate::commands::looks::{Look, Seen, TopicFigures};

/// Three topics: `md.trades` as busy as can be, `md.quotes` half so, `orders` with nobody on it.
fn figures() -> Vec<TopicFigures> {
    let quiet = || {
        let mut quiet = seen(0);
        quiet.snapshot.publishers.clear();
        quiet.snapshot.subscribers.clear();
        quiet.snapshot.observers.clear();
        quiet
    };
    let half = |seconds| Seen { capacity_bytes: 4 << 20, ..seen(seconds) };
    let start = Instant::now();
    let before = Look::made_up(start, [("md.trades", seen(10)), ("md.quotes", half(5)), ("orders", quiet())]);
    let topics = [("md.trades", seen(14)), ("md.quotes", half(7)), ("orders", quiet())];
    Look::made_up(start + Duration::from_secs(4), topics).figures(Some(&before), true)
}

fn events() -> VecDeque<Told> {
    let told = |unix_s: u64, topic: &str, what: &str, is_death| Told {
        unix_ns: unix_s * 1_000_000_000,
        topic: topic.to_owned(),
        what: what.to_owned(),
        is_death,
    };
    let died = told(86_399, "md.trades", "subscriber risk (4711) died", true);
    [died, told(86_300, "orders", "the topic was made", false)].into()
}

/// What a terminal of this size shows, line by line, without spaces at the ends.
fn shown(width: u16, height: u16, view: &View, figures: &[TopicFigures], events: &VecDeque<Told>) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let interval = Duration::from_secs(1);
    let picture = Picture { bus: "default", interval, figures, events, failure: None, unix_ns: 60_000_000_001 };
    terminal.draw(|frame| draw(frame, view, &picture)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        line.trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

fn press(view: &mut View, figures: &[TopicFigures], keys: impl IntoIterator<Item = KeyCode>) -> Then {
    let mut then = Then::GoOn;
    for key in keys {
        let rows = view.rows(figures);
        then = view.key(KeyEvent::new(key, KeyModifiers::NONE), &rows, 10);
    }
    then
}

fn names(view: &View, figures: &[TopicFigures]) -> Vec<String> {
    view.rows(figures).into_iter().map(|row| row.topic).collect()
}

#[test]
fn rows_are_sorted_by_any_column_either_way() {
    let (mut view, figures) = (View::new(), figures());
    assert_eq!(names(&view, &figures), ["md.trades", "md.quotes", "orders"]);
    press(&mut view, &figures, [KeyCode::Char('r')]);
    assert_eq!(names(&view, &figures), ["orders", "md.quotes", "md.trades"]);
    let to_the_left = TOPICS.iter().position(|column| column.head == "MSG/S").unwrap();
    press(&mut view, &figures, vec![KeyCode::Left; to_the_left]);
    assert_eq!((view.sort, names(&view, &figures)), (0, vec!["md.quotes".into(), "md.trades".into(), "orders".into()]));
    // Once around, each column sorts without a hitch.
    press(&mut view, &figures, vec![KeyCode::Right; TOPICS.len()]);
    assert_eq!(view.sort, 0);
}

#[test]
fn a_filter_is_typed_and_cleared_and_finds_participants_too() {
    let (mut view, figures) = (View::new(), figures());
    press(&mut view, &figures, "/QUOTq".chars().map(KeyCode::Char));
    assert!(view.is_typing && names(&view, &figures).is_empty());
    press(&mut view, &figures, [KeyCode::Backspace, KeyCode::Enter]);
    assert_eq!((view.is_typing, names(&view, &figures)), (false, vec!["md.quotes".into()]));
    assert_eq!(press(&mut view, &figures, [KeyCode::Esc]), Then::GoOn);
    assert_eq!(names(&view, &figures).len(), 3);
    press(&mut view, &figures, "/monitor".chars().map(KeyCode::Char));
    assert_eq!(names(&view, &figures), ["md.trades", "md.quotes"]);
}

#[test]
fn the_chosen_topic_stays_chosen_when_others_change_places() {
    let (mut view, figures) = (View::new(), figures());
    press(&mut view, &figures, [KeyCode::Down]);
    assert_eq!(view.selected.as_deref(), Some("md.quotes"));
    press(&mut view, &figures, [KeyCode::Char('r'), KeyCode::Enter]);
    assert!(view.is_detail);
    assert_eq!(view.selected.as_deref(), Some("md.quotes"));
    assert_eq!(press(&mut view, &figures, [KeyCode::Esc]), Then::GoOn, "back to the list");
    press(&mut view, &figures, [KeyCode::End]);
    assert_eq!(view.selected.as_deref(), Some("md.trades"));
    press(&mut view, &figures, [KeyCode::Home, KeyCode::Up]);
    assert_eq!(view.selected.as_deref(), Some("orders"));
}

#[test]
fn q_esc_and_control_c_end_it() {
    let figures = figures();
    for key in [KeyCode::Char('q'), KeyCode::Esc] {
        assert_eq!(press(&mut View::new(), &figures, [key]), Then::End);
    }
    let mut typing = View { is_typing: true, ..View::new() };
    assert_eq!(typing.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), &[], 1), Then::End);
    let mut empty = View::new();
    for key in [KeyCode::Enter, KeyCode::Down, KeyCode::Up, KeyCode::PageDown, KeyCode::Home, KeyCode::Char('p')] {
        assert_eq!(press(&mut empty, &[], [key]), Then::GoOn);
    }
    assert!(empty.is_paused && !empty.is_detail);
}

#[test]
fn columns_never_take_more_than_the_terminal_has_and_the_first_always_fits() {
    for width in 16..300 {
        let fit = fit(&TOPICS, |_| 40, width);
        let gaps = fit.gap * (fit.columns.len() as u16 - 1);
        let taken: u16 = fit.columns.iter().map(|(_, width)| width).sum::<u16>() + gaps;
        assert!(taken <= width && fit.columns[0].0 == 0, "{width}: {fit:?}");
    }
    assert_eq!(fit(&TOPICS, |_| 0, 200).columns.len(), TOPICS.len());
    let members = columns::members();
    assert_eq!(fit(&members, |_| 0, 200).columns.len(), members.len());
}

#[test]
fn no_size_of_terminal_is_too_small_or_too_large() {
    let (mut view, figures) = (View::new(), figures());
    for is_detail in [false, true] {
        for (width, height) in [(1, 1), (10, 3), (30, 5), (80, 24), (500, 200)] {
            shown(width, height, &view, &figures, &events());
            shown(width, height, &view, &[], &VecDeque::new());
        }
        press(&mut view, &figures, [KeyCode::Enter]);
        assert_eq!(view.is_detail, !is_detail);
    }
}

#[test]
fn without_topics_it_says_how_to_make_one() {
    let lines = shown(80, 24, &View::new(), &[], &VecDeque::new());
    assert!(lines.iter().any(|line| line.contains("memlane pub greetings")), "{lines:#?}");
    let view = View { filter: "zzz".to_owned(), ..View::new() };
    let lines = shown(80, 24, &view, &figures(), &VecDeque::new());
    assert!(lines.iter().any(|line| line.contains("No topic has \"zzz\"")), "{lines:#?}");
}

/// Compares with what was looked at and found good.
fn assert_shown(lines: &[String], expected: &str) {
    let expected: Vec<&str> = expected.trim_matches('\n').lines().collect();
    assert_eq!(lines.join("\n").trim_end().lines().collect::<Vec<_>>(), expected);
}

#[test]
fn topics_at_80_columns() {
    let lines = shown(80, 8, &View::new(), &figures(), &events());
    assert_shown(
        &lines,
        "
bus default  3 topics  1,500 msg/s  93.8 KiB/s  by MSG/S, falling  every 1s
TOPIC            PUB SUB   MSG/S  BYTES/S      LAG  HELD   LOST/S HELD BY
md.trades          1   2   1,000 62.5 KiB  438 KiB  25 %    640 B slow (5000001)
md.quotes          1   2     500 31.2 KiB  219 KiB  12 %    320 B slow (5000001)
orders             0   0       0      0 B        -   0 %      0 B


↑↓ choose  ⏎ detail  ←→ sort  r reverse  / filter  p pause  q quit
",
    );
}

#[test]
fn topics_at_200_columns_with_events_below() {
    let lines = shown(200, 30, &View::new(), &figures(), &events());
    let gap = "\n".repeat(18);
    assert_shown(
        &lines,
        &format!(
            "
bus default  3 topics  1,500 msg/s  93.8 KiB/s  by MSG/S, falling  every 1s
TOPIC             PUB  SUB  OBS    MSG/S   BYTES/S       LAG   RING   FULL/S   HELD    LOST/S  WAIT  DIED  HELD BY
md.trades           1    2    1    1,000  62.5 KiB   438 KiB   43 %       10   25 %     640 B     -     1  slow (5000001)
md.quotes           1    2    1      500  31.2 KiB   219 KiB    5 %        5   12 %     320 B     -     -  slow (5000001)
orders              0    0    0        0       0 B         -      -        0    0 %       0 B     -     -{gap}
CAME AND WENT (UTC)
23:59:59  md.trades: subscriber risk (4711) died
23:58:20  orders: the topic was made



↑↓ choose  ⏎ detail  ←→ sort  r reverse  / filter  p pause  q quit
"
        ),
    );
}

#[test]
fn a_topic_in_detail_at_80_columns() {
    let (mut view, figures) = (View::new(), figures());
    press(&mut view, &figures, [KeyCode::Enter]);
    let lines = shown(80, 18, &view, &figures, &events());
    assert_shown(
        &lines,
        "
md.trades  bus default  every 1s
1,000 msg/s  62.5 KiB/s  10 full/s  640 B/s lost  14,000 in all  4 came, 1 died
held up 25 % of the time by slow (5000001)  0 publishers wait for room now
ring of 1.00 MiB, unread by the slowest 438 KiB, 43 % ███████████░░░░░░░░░░░░░░░
ROLE       NAME               PID   MSG/S  BYTES/S      LAG  RING  HELD   LOST/S
publisher  feed           5000000   1,000 62.5 KiB                 25 %
subscriber fast           5000000       0 62.5 KiB      0 B   0 %
subscriber slow           5000001       0 31.2 KiB  438 KiB  43 %
observer   monitor        5000000       0 62.5 KiB      0 B   0 %          640 B


CAME AND WENT (UTC)
23:59:59  subscriber risk (4711) died




↑↓ scroll  ⏎ back  p pause  q quit
",
    );
}

#[test]
fn a_topic_in_detail_at_200_columns() {
    let (mut view, figures) = (View::new(), figures());
    press(&mut view, &figures, [KeyCode::Enter]);
    let lines = shown(200, 18, &view, &figures, &events());
    let gauge = "█".repeat(62) + &"░".repeat(84);
    assert_shown(
        &lines,
        &format!(
            "
md.trades  bus default  every 1s
1,000 msg/s  62.5 KiB/s  10 full/s  640 B/s lost  14,000 in all  4 came, 1 died
held up 25 % of the time by slow (5000001)  0 publishers wait for room now
ring of 1.00 MiB, unread by the slowest 438 KiB, 43 % {gauge}
ROLE        SLOT  NAME                PID    MSG/S   BYTES/S       LAG   RING   HELD    LOST/S      POSITION  ACTIVE   SINCE  TAGS
publisher      0  feed            5000000    1,000  62.5 KiB                    25 %                            60 s    60 s
subscriber     0  fast            5000000        0  62.5 KiB       0 B    0 %                         896000    60 s    60 s
subscriber     1  slow            5000001        0  31.2 KiB   438 KiB   43 %                         448000    60 s    60 s
observer       0  monitor         5000000        0  62.5 KiB       0 B    0 %            640 B        896000    60 s    60 s


CAME AND WENT (UTC)
23:59:59  subscriber risk (4711) died




↑↓ scroll  ⏎ back  p pause  q quit
"
        ),
    );
}
