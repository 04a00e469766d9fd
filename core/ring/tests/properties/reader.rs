//! A subscriber, and what the model says that it must find.

use crate::model::{Entry, Model, Next, State, payload};
use crate::script::{From, Kind};
use memlane_ring::extension::Parts;
use memlane_ring::layout::{Geometry, StateWord};
use memlane_ring::{Gated, Lossy, ReadError, Start, Topic, TopicError};
use memlane_shm::MapOptions;

/// How it reads.
pub(crate) enum Eyes {
    Gated(Gated),
    Lossy(Lossy),
    Latest(Lossy),
}

/// A subscriber that has read everything before `cursor`.
pub(crate) struct Reader {
    pub(crate) eyes: Eyes,
    pub(crate) cursor: u64,
    geometry: Geometry,
}

/// Where `from` is now.
pub(crate) fn start(model: &Model, from: From) -> Start {
    match from {
        From::Live => Start::Live,
        From::Latest => Start::Latest,
        From::Earliest => Start::Earliest,
        From::Message(back) => {
            Start::Position(model.entries.iter().rev().nth(back).map_or(model.begin, |entry| entry.position))
        }
        From::Before(bytes) => Start::Position(model.tail.saturating_sub(bytes)),
    }
}

/// Whether the frame with header `word` and `body` is message `entry`, whole.
pub(crate) fn check(geometry: &Geometry, entry: &Entry, word: StateWord, body: &[u8]) {
    assert_eq!(entry.state, State::Committed);
    assert_eq!(word.publisher(), entry.writer);
    let parts = Parts::of(geometry, word, body).unwrap();
    assert_eq!(parts.payload.len() as u64, entry.payload_bytes);
    assert!(parts.payload == payload(entry.number, entry.payload_bytes), "other bytes than were published");
    let aligned =
        entry.extension_bytes > 0 || parts.payload.as_ptr().addr().is_multiple_of(geometry.payload_align as usize);
    assert!(aligned, "payloads are aligned");
    assert_eq!(parts.stamp.is_some(), geometry.stamps);
    let headers: Vec<_> = parts.fields.map(|field| field.unwrap().user_header().unwrap()).collect();
    let expected = entry.header_bytes.map(|bytes| ("key", payload(entry.number + 1, bytes as u64)));
    assert_eq!(headers, Vec::from_iter(expected));
}

impl Reader {
    /// Joins, unless the place isn't there.
    pub(crate) fn join(topic: &Topic, model: &Model, kind: Kind, start: Start) -> Option<Self> {
        let map = MapOptions::default();
        let eyes = match kind {
            Kind::Gated => topic.gated(&map, start).map(Eyes::Gated),
            Kind::Lossy => topic.lossy(&map, start).map(Eyes::Lossy),
            Kind::Latest => topic.lossy(&map, start).map(Eyes::Latest),
        };
        match eyes {
            Ok(eyes) => {
                let mut reader = Self { eyes, cursor: 0, geometry: *topic.geometry() };
                reader.cursor = reader.position();
                check_start(model, start, reader.cursor);
                Some(reader)
            }
            Err(TopicError::NoSuchPosition { position, from, to }) => {
                assert_eq!(start, Start::Position(position));
                // Nobody can tell what lies behind a claim that is open.
                let is_behind_open = model.first_open().is_some_and(|open| open < position);
                assert!(position < from || position > to || !model.is_boundary(position) || is_behind_open);
                check_oldest(model, from);
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Where publishers must stop, if it holds them back.
    pub(crate) fn holds(&self) -> Option<u64> {
        matches!(self.eyes, Eyes::Gated(_)).then_some(self.cursor)
    }

    fn position(&self) -> u64 {
        match &self.eyes {
            Eyes::Gated(gated) => gated.position(),
            Eyes::Lossy(lossy) | Eyes::Latest(lossy) => lossy.position(),
        }
    }

    /// Reads a message, or takes note of a loss; says whether it did either.
    pub(crate) fn read(&mut self, model: &Model) -> bool {
        let (before, next) = (self.cursor, model.next(self.cursor));
        let has_read = match &mut self.eyes {
            Eyes::Gated(gated) => match gated.poll().unwrap() {
                Some(frame) => {
                    let entry = next.message(frame.position());
                    check(&self.geometry, &entry, frame.word(), frame.body());
                    self.cursor = entry.end;
                    true
                }
                None => {
                    self.cursor = next.nothing();
                    false
                }
            },
            Eyes::Lossy(lossy) => read_lossy(lossy, model, &mut self.cursor, &self.geometry),
            Eyes::Latest(lossy) => read_latest(lossy, model, &mut self.cursor, &self.geometry),
        };
        assert_eq!(self.position(), self.cursor);
        assert!(before < self.cursor || !has_read);
        has_read
    }

    /// Reads as many in one call; one by one if it can't.
    pub(crate) fn read_batch(&mut self, model: &Model, messages_max: usize) {
        let Eyes::Gated(gated) = &mut self.eyes else {
            let _ = (0..messages_max).find(|_| !self.read(model));
            return;
        };
        let mut cursor = self.cursor;
        let count = gated.poll_batch(messages_max, |position, word, body| {
            let entry = model.next(cursor).message(position);
            check(&self.geometry, &entry, word, body);
            cursor = entry.end;
        });
        if count.unwrap() < messages_max {
            cursor = model.next(cursor).nothing();
        }
        self.cursor = cursor;
        assert_eq!(self.position(), cursor);
    }
}

fn read_lossy(lossy: &mut Lossy, model: &Model, cursor: &mut u64, geometry: &Geometry) -> bool {
    let next = model.next(*cursor);
    match lossy.poll() {
        Ok(Some(copied)) => {
            let entry = next.message(copied.position);
            check(geometry, &entry, copied.word, lossy.body(&copied));
            *cursor = entry.end;
            true
        }
        Ok(None) => {
            *cursor = next.nothing();
            false
        }
        Err(ReadError::Lost { from, to }) => {
            // It may have stepped over padding before.
            assert!(*cursor <= from && from < to && !model.has_messages(*cursor, from));
            check_oldest(model, to);
            *cursor = to;
            true
        }
        Err(error) => panic!("{error}"),
    }
}

fn read_latest(lossy: &mut Lossy, model: &Model, cursor: &mut u64, geometry: &Geometry) -> bool {
    let newest = model.newest();
    let Some(copied) = lossy.poll_latest().unwrap() else {
        assert!(newest.is_none_or(|newest| newest.position < *cursor || model.may_be_gone(newest.position)));
        let position = lossy.position();
        assert!(*cursor <= position && position <= model.tail && model.is_boundary(position));
        *cursor = position;
        return false;
    };
    assert!(*cursor <= copied.position);
    let entry = Next::Message(model.entries[model.index(copied.position)]).message(copied.position);
    check(geometry, &entry, copied.word, lossy.body(&copied));
    // Newer ones than it could see are behind a claim that is open.
    let at_least = newest.map_or(0, |newest| newest.position);
    assert!(at_least == entry.position || at_least < entry.position && model.first_open().is_some());
    *cursor = entry.end;
    true
}

/// Whether a subscriber that asked for `start` may begin at `position`.
fn check_start(model: &Model, start: Start, position: u64) {
    assert!(position <= model.tail && model.is_boundary(position));
    let all_finished = model.first_open().is_none();
    match start {
        Start::Earliest => check_oldest(model, position),
        Start::Position(wanted) => assert_eq!(position, wanted),
        Start::Live if all_finished => assert_eq!(position, model.tail),
        Start::Latest if all_finished => {
            let newest = model.newest().filter(|newest| position != model.tail || !model.may_be_gone(newest.position));
            assert_eq!(position, newest.map_or(model.tail, |newest| newest.position));
        }
        Start::Live | Start::Latest => {}
    }
}

/// Whether `oldest` may be the oldest position that is still there.
fn check_oldest(model: &Model, oldest: u64) {
    assert!(model.begin <= oldest && oldest <= model.tail && model.is_boundary(oldest));
    assert!(
        oldest == model.begin || model.may_be_gone(oldest - 1),
        "{oldest} is the oldest, of a log that ends at {}",
        model.tail
    );
}
