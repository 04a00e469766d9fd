//! Finds a place among records by halving: what they say about what lies before them never falls.

use crate::error::JournalError;
use crate::layout::RECORD_BYTES;
use crate::record::{Record, Session};
use crate::segment::Segment;

/// What is looked for: the first message that doesn't lie before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// At this position, or behind it.
    Position(u64),
    /// Published at this instant, in nanoseconds since 1970, or after it.
    Instant(u64),
    /// So many messages come before it.
    Messages(u64),
}

/// What a record says about everything up to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) end: u64,
    pub(crate) messages: u64,
    pub(crate) highest_unix_ns: u64,
    pub(crate) synced: u64,
}

impl Target {
    /// Whether it lies behind all that `mark` speaks of.
    pub(crate) fn is_behind(self, mark: &Mark) -> bool {
        match self {
            Self::Position(position) => mark.end <= position,
            Self::Instant(unix_ns) => mark.highest_unix_ns < unix_ns,
            Self::Messages(count) => mark.messages <= count,
        }
    }
}

impl Mark {
    /// What `record` says, if it is one that counts by itself.
    fn of(record: &Record) -> Option<Self> {
        let (messages, highest_unix_ns) = match record {
            Record::Begin(begin) => (begin.messages_before, begin.highest_unix_ns),
            Record::Batch(batch) => {
                (batch.messages_before.saturating_add(batch.messages.into()), batch.highest_unix_ns)
            }
            Record::Gap(gap) => (gap.messages_before, gap.highest_unix_ns),
            Record::Session(_) | Record::SourceName { .. } | Record::SourceMoved { .. } | Record::Block(_) => {
                return None;
            }
        };
        Some(Self { end: record.end(), messages, highest_unix_ns, synced: record.synced() })
    }
}

/// How many of the first `count` satisfy `is_before`, which none satisfies behind one that doesn't.
pub(crate) fn partition<E>(count: u64, mut is_before: impl FnMut(u64) -> Result<bool, E>) -> Result<u64, E> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// The number of the first record of `segment` behind those before `target`: with it, or with one that belongs to it, one begins to read.
pub(crate) fn first_not_before(segment: &Segment, target: Target) -> Result<u64, JournalError> {
    partition(places(segment)?, |number| Ok(next_mark(segment, number)?.is_some_and(|mark| target.is_behind(&mark))))
}

/// What the last record says that counts.
pub(crate) fn last_mark(segment: &Segment) -> Result<Mark, JournalError> {
    let number = partition(places(segment)?, |number| Ok(next_mark(segment, number)?.is_some()))?;
    match number.checked_sub(1) {
        Some(last) => Ok(next_mark(segment, last)?.expect("it was there a moment ago")),
        None => begin_mark(segment),
    }
}

/// What the record says with which `segment` begins.
pub(crate) fn begin_mark(segment: &Segment) -> Result<Mark, JournalError> {
    next_mark(segment, 0)?.ok_or_else(|| not_begun(segment))
}

/// How the stamps in `segment` relate to time.
pub(crate) fn session(segment: &Segment) -> Result<Session, JournalError> {
    match segment.record(0)? {
        Some(Record::Session(session)) => Ok(session),
        _ => Err(not_begun(segment)),
    }
}

fn not_begun(segment: &Segment) -> JournalError {
    segment.corrupt(segment.head.records_at(), segment.head.begin, "its first records are damaged")
}

/// For how many records there is room.
fn places(segment: &Segment) -> Result<u64, JournalError> {
    Ok(segment.length()?.saturating_sub(segment.head.records_at()) / RECORD_BYTES as u64)
}

/// What the first record from `number` on says that counts by itself; `None` if there is none.
fn next_mark(segment: &Segment, number: u64) -> Result<Option<Mark>, JournalError> {
    for number in number.. {
        let Some(record) = segment.record(number)? else { break };
        if let Some(mark) = Mark::of(&record) {
            return Ok(Some(mark));
        }
    }
    Ok(None)
}
