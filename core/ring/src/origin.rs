//! A topic that goes on where it was before: with the number that it had, from a position on, as after a restart of the host.
//!
//! A file of zeros is right for a topic that begins at position zero. From another position on more has to say so:
//!
//! | | one publisher | many |
//! |---|---|---|
//! | HEAD | the position: nothing before it is there | the same |
//! | the ring | FREE at the position | every cell FREE, and unclaimed, for its lap from there on, as reclaiming leaves it |
//! | LIMIT | | the position, which is what it is if everything before it has been reclaimed |
//! | TAIL | | zero: a hint before the head is none |
//! | MARKS | the position, for its stretch: a head is always at a mark, or who attaches while a subscriber joins finds no place to reclaim to, for ever | |
//! | LAST | zero: a hint before the head is none | the same |

use crate::error::TopicError;
use crate::label::Label;
use crate::layout::{MARKS, POSITION_END, StateWord, control, status};
use crate::memory::Log;
use crate::reclaim::stamp_laps;
use memlane_shm::sync::{Ordering, WORD_BYTES};

/// Where a topic goes on.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The number that the topic had.
    pub epoch: u64,
    /// Where its next frame begins: where a cell does.
    pub position: u64,
    /// How many messages were published before.
    pub messages: u64,
    /// How far each of its named sources got.
    pub sources: &'a [(&'a str, u64)],
    /// The last message of each key, if it is a topic with last values.
    pub last: &'a [LastMessage<'a>],
}

/// The last message of a key.
#[derive(Clone, Copy, Debug)]
pub struct LastMessage<'a> {
    /// The position that it was published at.
    pub position: u64,
    /// When, in nanoseconds since 1970.
    pub unix_ns: u64,
    /// Its state word.
    pub word: StateWord,
    /// Everything after its header: stamp, extensions, payload.
    pub body: &'a [u8],
}

impl Origin<'_> {
    pub(crate) fn check(&self, log: &Log) -> Result<(), TopicError> {
        let bad = |option, value, reason| Err(TopicError::BadOption { option, value, reason });
        if !log.geometry.is_cell(self.position) || self.position >= POSITION_END / 2 {
            return bad("the position at which the topic goes on", self.position, "it is where a cell begins");
        }
        let sources = self.sources.len() as u64;
        if sources > log.geometry.sources_max().into() {
            return bad("the number of sources", sources, "more than the topic has places for");
        }
        let misnamed = self.sources.iter().find(|(name, _)| Label::new(name).is_err());
        if let Some((name, _)) = misnamed {
            let (option, reason) = ("the length of a source's name", "a source's name has 1 to 120 bytes");
            return bad(option, name.len() as u64, reason);
        }
        Ok(())
    }

    /// Writes it into `log`, a file of zeros that nobody else sees yet.
    pub(crate) fn write(&self, log: &Log) -> Result<(), TopicError> {
        self.check(log)?;
        let position = self.position;
        let put = |at: usize, value: u64| log.region.word(at).store(value, Ordering::Relaxed);
        put(control::HEAD, position);
        if log.geometry.many {
            put(control::LIMIT, position);
            stamp_laps(log, position.saturating_sub(log.geometry.capacity), position);
        } else {
            log.header(position).store(StateWord::free(log.geometry.lap(position)).0, Ordering::Relaxed);
            let stretch = position / log.geometry.stretch();
            put(control::MARKS + (stretch % MARKS) as usize * WORD_BYTES, position);
        }
        log.messages(0).store(self.messages, Ordering::Relaxed);
        for (place, (name, sequence)) in (0..).zip(self.sources) {
            let label = Label::new(name).expect("names were checked");
            label.write(&log.region, log.geometry.source_name_at(place));
            put(log.geometry.source_sequence_at(place), *sequence);
        }
        put(status::SOURCES_USED, self.sources.len() as u64);
        Ok(())
    }
}
