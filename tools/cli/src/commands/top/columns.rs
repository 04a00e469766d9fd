//! The columns of both tables: what a cell says, what rows are sorted by, and which columns fit a terminal.

use std::cmp::Ordering;

use memlane::Role;

use crate::commands::looks::{MemberFigures, MemberRates, TopicFigures, TopicRates, share};
use crate::commands::members::role_word;
use crate::commands::table::Lean::{self, Left, Right};
use crate::commands::units;

/// A column of rows of type `R`.
#[derive(Debug)]
pub(super) struct Column<R> {
    pub(super) head: &'static str,
    pub(super) lean: Lean,
    /// Cells, at least; those that lean left take more where there is room.
    pub(super) width: u16,
    /// The lower, the later it is left out.
    rank: u8,
    pub(super) cell: fn(&R) -> String,
    order: fn(&R, &R) -> Ordering,
}

impl<R> Column<R> {
    const fn new(
        head: &'static str,
        lean: Lean,
        width: u16,
        rank: u8,
        cell: fn(&R) -> String,
        order: fn(&R, &R) -> Ordering,
    ) -> Self {
        Self { head, lean, width, rank, cell, order }
    }
}

/// What a topic without rates, which was seen only once, has in their place.
const NOT_YET: &str = "";

fn rated(topic: &TopicFigures, show: impl Fn(&TopicRates) -> String) -> String {
    topic.rates.as_ref().map_or_else(|| NOT_YET.to_owned(), show)
}

fn by_rate(one: &TopicFigures, other: &TopicFigures, value: fn(&TopicRates) -> f64) -> Ordering {
    let value = |topic: &TopicFigures| topic.rates.as_ref().map_or(0.0, value);
    value(one).total_cmp(&value(other))
}

fn rate(per_second: f64) -> String {
    units::short_count(per_second.round() as u64)
}

fn bytes_rate(per_second: f64) -> String {
    units::short_bytes(per_second as u64)
}

/// A number that says nothing where it is zero.
fn unless_zero(number: u64, text: impl FnOnce() -> String) -> String {
    if number == 0 { "-".to_owned() } else { text() }
}

fn holder(topic: &TopicFigures) -> String {
    topic.held_by.as_ref().map_or_else(String::new, |holder| format!("{} ({})", holder.name, holder.pid))
}

/// Of the table of topics.
pub(super) static TOPICS: [Column<TopicFigures>; 14] = [
    Column::new("TOPIC", Left, 16, 0, |it| it.topic.clone(), |a, b| a.topic.cmp(&b.topic)),
    Column::new("PUB", Right, 3, 6, |it| it.publishers.to_string(), |a, b| a.publishers.cmp(&b.publishers)),
    Column::new("SUB", Right, 3, 7, |it| it.subscribers.to_string(), |a, b| a.subscribers.cmp(&b.subscribers)),
    Column::new("OBS", Right, 3, 9, |it| it.observers.to_string(), |a, b| a.observers.cmp(&b.observers)),
    Column::new(
        "MSG/S",
        Right,
        7,
        1,
        |it| rated(it, |rates| rate(rates.messages_per_s)),
        |a, b| by_rate(a, b, |rates| rates.messages_per_s),
    ),
    Column::new(
        "BYTES/S",
        Right,
        8,
        8,
        |it| rated(it, |rates| bytes_rate(rates.log_bytes_per_s)),
        |a, b| by_rate(a, b, |rates| rates.log_bytes_per_s),
    ),
    Column::new(
        "LAG",
        Right,
        8,
        2,
        |it| it.lag_bytes.map_or_else(|| "-".to_owned(), units::short_bytes),
        |a, b| a.lag_bytes.cmp(&b.lag_bytes),
    ),
    Column::new(
        "RING",
        Right,
        5,
        11,
        |it| it.lag_share().map_or_else(|| "-".to_owned(), units::percent),
        |a, b| a.lag_share().unwrap_or(-1.0).total_cmp(&b.lag_share().unwrap_or(-1.0)),
    ),
    Column::new(
        "FULL/S",
        Right,
        7,
        10,
        |it| rated(it, |rates| rate(rates.full_per_s)),
        |a, b| by_rate(a, b, |rates| rates.full_per_s),
    ),
    Column::new(
        "HELD",
        Right,
        5,
        3,
        |it| rated(it, |rates| units::percent(rates.held_share)),
        |a, b| by_rate(a, b, |rates| rates.held_share),
    ),
    Column::new(
        "LOST/S",
        Right,
        8,
        5,
        |it| rated(it, |rates| bytes_rate(rates.lost_bytes_per_s)),
        |a, b| by_rate(a, b, |rates| rates.lost_bytes_per_s),
    ),
    Column::new(
        "WAIT",
        Right,
        4,
        12,
        |it| unless_zero(it.waiting as u64, || it.waiting.to_string()),
        |a, b| a.waiting.cmp(&b.waiting),
    ),
    Column::new("DIED", Right, 4, 13, |it| unless_zero(it.died, || rate(it.died as f64)), |a, b| a.died.cmp(&b.died)),
    Column::new("HELD BY", Left, 11, 4, holder, |a, b| holder(a).cmp(&holder(b))),
];

fn member_rated(one: &MemberFigures, show: impl Fn(&MemberRates) -> String) -> String {
    one.rates.as_ref().map_or_else(|| NOT_YET.to_owned(), show)
}

fn by_name(one: &MemberFigures, other: &MemberFigures) -> Ordering {
    let key = |it: &MemberFigures| (it.member.role, it.member.slot);
    key(one).cmp(&key(other))
}

/// A participant with what is told of it beside its own figures.
#[derive(Debug)]
pub(super) struct MemberRow<'a> {
    pub(super) figures: &'a MemberFigures,
    pub(super) capacity_bytes: u64,
    pub(super) unix_ns: u64,
}

impl MemberRow<'_> {
    /// How much of the ring it has yet to read: 0 to 1.
    pub(super) fn ring_share(&self) -> Option<f64> {
        self.figures.member.lag_bytes.map(|lag| share(lag, self.capacity_bytes))
    }
}

fn in_order(one: &MemberRow<'_>, other: &MemberRow<'_>) -> Ordering {
    by_name(one.figures, other.figures)
}

fn ago(row: &MemberRow<'_>, then_unix_ns: u64) -> String {
    crate::commands::members::age(std::time::Duration::from_nanos(row.unix_ns.saturating_sub(then_unix_ns)))
}

/// Of the table of a topic's participants, which stand in the order of their roles and slots.
pub(super) fn members<'a>() -> [Column<MemberRow<'a>>; 14] {
    let column = |head, lean, width, rank, cell| Column::new(head, lean, width, rank, cell, in_order);
    [
        column("ROLE", Left, 10, 2, |it| role_word(it.figures.member.role).to_owned()),
        column("SLOT", Right, 4, 11, |it| it.figures.member.slot.to_string()),
        column("NAME", Left, 14, 0, |it| it.figures.member.called().to_owned()),
        column("PID", Right, 7, 6, |it| it.figures.member.pid.to_string()),
        column("MSG/S", Right, 7, 1, |it| member_rated(it.figures, |rates| rate(rates.messages_per_s))),
        column("BYTES/S", Right, 8, 8, |it| member_rated(it.figures, |rates| bytes_rate(rates.log_bytes_per_s))),
        column("LAG", Right, 8, 3, |it| {
            let joining = if it.figures.member.role == Role::Publisher { "" } else { "joining" };
            it.figures.member.lag_bytes.map_or_else(|| joining.to_owned(), units::short_bytes)
        }),
        column("RING", Right, 5, 7, |it| it.ring_share().map_or_else(String::new, units::percent)),
        column("HELD", Right, 5, 4, |it| {
            let held = |rates: &MemberRates| units::percent(rates.held_share);
            if it.figures.member.publishing.is_some() { member_rated(it.figures, held) } else { String::new() }
        }),
        column("LOST/S", Right, 8, 5, |it| {
            let lost = |rates: &MemberRates| bytes_rate(rates.lost_bytes_per_s);
            if it.figures.member.losses.is_some() { member_rated(it.figures, lost) } else { String::new() }
        }),
        column("POSITION", Right, 12, 13, |it| {
            it.figures.member.position.map_or_else(String::new, |position| position.to_string())
        }),
        column("ACTIVE", Right, 6, 9, |it| ago(it, it.figures.member.active_unix_ns)),
        column("SINCE", Right, 6, 10, |it| ago(it, it.figures.member.since_unix_ns)),
        column("TAGS", Left, 12, 12, |it| it.figures.member.tags()),
    ]
}

/// Which columns fit a terminal, how wide each is, and the space between them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fit {
    /// Index and width.
    pub(super) columns: Vec<(usize, u16)>,
    pub(super) gap: u16,
}

/// Takes columns in the order of their ranks while they fit `width`; what is left goes to those that lean left, as far as `content`, the
/// widest cell of each column, needs it.
pub(super) fn fit<R>(columns: &[Column<R>], content: impl Fn(usize) -> u16, width: u16) -> Fit {
    let needed = |chosen: &[usize], gap: u16| -> u16 {
        let widths: u16 = chosen.iter().map(|index| columns[*index].width).sum();
        widths + gap * (chosen.len() as u16).saturating_sub(1)
    };
    let mut by_rank: Vec<usize> = (0..columns.len()).collect();
    by_rank.sort_by_key(|index| columns[*index].rank);
    // Two spaces read better, if all columns fit with them.
    let gap = if needed(&by_rank, 2) <= width { 2 } else { 1 };
    let mut chosen = Vec::new();
    for index in by_rank {
        chosen.push(index);
        if needed(&chosen, gap) > width {
            chosen.pop();
            break;
        }
    }
    chosen.sort_unstable();
    let mut left = width.saturating_sub(needed(&chosen, gap));
    let mut widths = Vec::new();
    for index in chosen {
        let column = &columns[index];
        let more = if column.lean == Left { content(index).saturating_sub(column.width).min(left) } else { 0 };
        left -= more;
        widths.push((index, column.width + more));
    }
    Fit { columns: widths, gap }
}

/// Sorts rows by a column; of equal ones the first stays first.
pub(super) fn sort<R>(rows: &mut [R], columns: &[Column<R>], by: usize, is_descending: bool) {
    let order = columns[by].order;
    rows.sort_by(|one, other| if is_descending { order(other, one) } else { order(one, other) });
}
