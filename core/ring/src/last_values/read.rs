//! Joins with the state at a position: the table, copied, and brought forward to the end of the log in private memory.
//!
//! Folds may come meanwhile: what they replace is left out of the copy, and is in the log from FOLDED on, as long as the head has not passed
//! that. A gated joiner holds everything from the head that it found on, so it hasn't. One that holds nobody up looks, and begins again
//! if it was overtaken, a number of times.

use super::Table;
use super::layout::DAMAGED;
use super::table::Damaged;
use crate::error::TopicError;
use crate::extension::Parts;
use crate::join::Start;
use crate::layout::{FLAG_EXTENSIONS, FRAME_HEADER_BYTES, StateWord};
use crate::look::Look;
use crate::lossy::{Line, Lossy, bytes_of, bytes_of_mut};
use crate::memory::Log;
use crate::read::Gated;
use crate::topic::Topic;
use memlane_shm::sync::{Ordering, Region, fence};
use memlane_shm::{Access, MapOptions};
use std::collections::HashMap;

/// How often a joiner that holds nobody up begins again before it gives up.
const TRIES_MAX: u32 = 1000;

/// A message of a snapshot, with a copy of everything after its header.
#[derive(Clone, Debug)]
pub struct Kept {
    position: u64,
    word: StateWord,
    lines: Box<[Line]>,
}

impl Kept {
    /// Copies the `word.length()` bytes at `offset` of `region`, as a body that is aligned as in the ring.
    fn copy(region: &Region, offset: usize, position: u64, word: StateWord) -> Self {
        let mut lines = Lossy::buffer_for(word.length());
        let length = word.length() as usize;
        region.copy_out(offset, &mut bytes_of_mut(&mut lines)[FRAME_HEADER_BYTES as usize..][..length]);
        Self { position, word, lines }
    }

    /// The position that it was published at.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Its state word.
    #[must_use]
    pub fn word(&self) -> StateWord {
        self.word
    }

    /// Everything after its header: stamp, extensions, payload.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &bytes_of(&self.lines)[FRAME_HEADER_BYTES as usize..][..self.word.length() as usize]
    }
}

/// The last message of each key at a position of the log. Private memory of this process.
#[derive(Clone, Debug)]
pub struct LastValues {
    position: u64,
    messages: Vec<Kept>,
    by_key: HashMap<Box<[u8]>, usize>,
}

impl LastValues {
    /// The position that it is the state at: of the messages before it, and of none after.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The messages, in the order in which they were published.
    #[must_use]
    pub fn messages(&self) -> &[Kept] {
        &self.messages
    }

    /// The message of `key`.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Kept> {
        self.by_key.get(key).map(|index| &self.messages[*index])
    }
}

/// The state while it is put together.
#[derive(Default)]
struct State {
    by_key: HashMap<Box<[u8]>, Kept>,
}

impl State {
    /// A message of the log; one without payload takes its key out.
    fn apply(&mut self, log: &Log, kept: Kept) {
        let Ok(parts) = Parts::of(&log.geometry, kept.word, kept.body()) else { return };
        let Ok(Some(key)) = parts.fields.key() else { return };
        if parts.payload.is_empty() {
            self.by_key.remove(key);
            return;
        }
        match self.by_key.get_mut(key) {
            Some(before) => *before = kept,
            None => {
                let key = key.into();
                self.by_key.insert(key, kept);
            }
        }
    }

    fn at(self, position: u64) -> LastValues {
        let mut messages: Vec<_> = self.by_key.into_iter().collect();
        messages.sort_unstable_by_key(|(_, kept)| kept.position);
        let (keys, messages): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        let by_key = keys.into_iter().enumerate().map(|(index, key)| (key, index)).collect();
        LastValues { position, messages, by_key }
    }
}

/// Why the state could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    /// Publishers were faster: try again.
    Overtaken,
    /// The table holds what no publisher writes.
    Damaged,
    /// So does the log, at this position.
    Corrupt(u64),
}

impl From<Damaged> for Unread {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}

impl Table {
    fn read(&self, log: &Log) -> Result<LastValues, Unread> {
        let mut tries = 1;
        loop {
            match self.try_read(log) {
                Err(Unread::Overtaken) if tries < TRIES_MAX => tries += 1,
                other => return other,
            }
        }
    }

    fn try_read(&self, log: &Log) -> Result<LastValues, Unread> {
        // In this order: FOLDED is stored before the head.
        let head = log.head();
        // FOLDED (acquire) pairs with the release in fold.rs.
        let folded = self.folded().load(Ordering::Acquire);
        if folded == DAMAGED || !log.geometry.is_cell(folded) || folded < head {
            return Err(Unread::Damaged);
        }
        let mut state = State::default();
        self.copy_all(folded)?.into_iter().for_each(|kept| state.apply(log, kept));
        let position = self.bring_forward(log, folded, &mut state)?;
        Ok(state.at(position))
    }

    /// Copies what is valid as of `folded`, but for what is being replaced: that is in the log.
    fn copy_all(&self, folded: u64) -> Result<Vec<Kept>, Damaged> {
        let count = self.keys().load(Ordering::Acquire).min(self.places.keys_max.into()) as u32;
        let mut copied = Vec::with_capacity(count as usize);
        for number in 0..count {
            // REPLACED (acquire) pairs with the release in fold.rs: a new position comes with its frame in the log.
            let stored = self.position(number).load(Ordering::Acquire);
            let Some(position) = stored.checked_sub(1).filter(|position| *position < folded) else { continue };
            let word = StateWord(self.state(number).load(Ordering::Relaxed));
            let fits = word.length() <= self.places.body_max;
            let kept = fits.then(|| Kept::copy(&self.region, self.places.body_at(number), position, word));
            // REPLACED (acquire fence) pairs with the release fence in fold.rs.
            fence(Ordering::Acquire);
            if self.position(number).load(Ordering::Relaxed) == stored {
                copied.push(kept.ok_or(Damaged)?);
            }
        }
        Ok(copied)
    }

    /// Applies the messages of the log from `from` on, up to its end or, if that runs away, for the length of the ring; says how
    /// far it came.
    fn bring_forward(&self, log: &Log, from: u64, state: &mut State) -> Result<u64, Unread> {
        let mut position = from;
        while position - from < log.geometry.capacity {
            let look = log.look(position);
            let copied = match look {
                Look::Frame(word, _) if self.is_kept(word) => {
                    let offset = log.geometry.offset(position) + FRAME_HEADER_BYTES as usize;
                    Some(Kept::copy(&log.ring, offset, position, word))
                }
                _ => None,
            };
            // OVERTAKEN, as for every copy of a lossy subscriber.
            fence(Ordering::Acquire);
            if log.head() > position {
                return Err(Unread::Overtaken);
            }
            if let Some(kept) = copied {
                state.apply(log, kept);
            }
            match look {
                Look::Frame(_, end) | Look::Padding(end) => position = end,
                Look::Nothing => break,
                Look::Strange => return Err(Unread::Corrupt(position)),
            }
        }
        Ok(position)
    }

    fn is_kept(&self, word: StateWord) -> bool {
        word.flags() & FLAG_EXTENSIONS != 0 && word.length() <= self.places.body_max
    }
}

impl Topic {
    /// As [`Topic::gated`], from the position of the state that comes with it.
    ///
    /// Cost: in addition a copy of the table, and of what the log holds; publishers are held up meanwhile once the ring is full.
    /// Errors: [`TopicError`].
    pub fn gated_with_last_values(&self, map: &MapOptions) -> Result<(LastValues, Gated), TopicError> {
        let table = self.table(map)?;
        // It holds what was in the log at a moment, and so everything that isn't folded by then.
        let mut gated = self.gated(map, Start::Earliest)?;
        let values = table.read(&gated.log).map_err(|unread| self.explain_unread(unread))?;
        gated.release(values.position);
        Ok((values, gated))
    }

    /// As [`Topic::lossy`], from the position of the state that comes with it. Permission to read `log` and `last` is enough.
    ///
    /// Cost: in addition a copy of the table, and of what the log holds; the same again if publishers overtake it.
    /// Errors: [`TopicError`]; `Overtaken` if they did so too often.
    pub fn lossy_with_last_values(&self, map: &MapOptions) -> Result<(LastValues, Lossy), TopicError> {
        let table = self.table(map)?;
        let mut lossy = self.lossy(map, Start::Earliest)?;
        let values = table.read(&lossy.log).map_err(|unread| self.explain_unread(unread))?;
        lossy.position = values.position;
        Ok((values, lossy))
    }

    fn table(&self, map: &MapOptions) -> Result<Table, TopicError> {
        self.map_last(Access::ReadOnly, map)?
            .ok_or_else(|| TopicError::NoLastValues { path: self.path().to_path_buf() })
    }

    fn explain_unread(&self, unread: Unread) -> TopicError {
        let path = self.path().to_path_buf();
        match unread {
            Unread::Overtaken => TopicError::Overtaken { path },
            Unread::Damaged => TopicError::LastValuesCorrupt { path },
            Unread::Corrupt(position) => TopicError::Corrupt { path, position },
        }
    }
}
