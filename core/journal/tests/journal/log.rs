//! A log without a ring: frames as publishers write them, and what a journal of them should give back.

use memlane_journal::storage::{Room, Storage};
use memlane_journal::{Entry, Frames, From, Journal, JournalError, Message, Recovery, Subject, Writer, WriterOptions};
use memlane_ring::TopicOptions;
use memlane_ring::extension::Block;
use memlane_ring::layout::{FLAG_EXTENSIONS, Phase, StateWord};
use memlane_shm::clock::{Calibration, TickSource};
use std::path::Path;
use std::sync::Arc;

pub(crate) const CAPACITY: u64 = 16 << 10;
const CELL: u64 = 64;
/// Where the tests' journals lie, on whichever disk.
pub(crate) const DIRECTORY: &str = "/journal/md.trades";

/// The topic of the tests: its stamps are nanoseconds since 1970, one for each message.
pub(crate) fn subject() -> Subject {
    let options = TopicOptions { capacity: CAPACITY, cell: CELL, stamps: true, ..TopicOptions::default() };
    Subject { epoch: 0x5eed, options, description: "u64".to_owned() }
}

pub(crate) fn calibration() -> Calibration {
    Calibration { source: TickSource::Monotonic, base_ticks: 0, base_unix_ns: 0, ns_per_tick: 1 << 32 }
}

/// Small segments, so that there are many.
pub(crate) fn options() -> WriterOptions {
    WriterOptions { segment_bytes: 64 << 10, room: Room::Reserved, syncs: true }
}

pub(crate) fn open(storage: &Arc<dyn Storage>, directory: &Path) -> Result<(Writer, Recovery), JournalError> {
    Writer::open(storage.clone(), directory, &subject(), calibration(), 0, options())
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) position: u64,
    pub(crate) unix_ns: u64,
    pub(crate) payload: Vec<u8>,
    pub(crate) key: Option<Vec<u8>>,
}

impl Published {
    pub(crate) fn of(message: &Message<'_>) -> Self {
        let (payload, key) = (message.payload().to_vec(), message.key().map(<[u8]>::to_vec));
        Self { position: message.position, unix_ns: message.unix_ns, payload, key }
    }
}

/// Publishes, without a ring.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) end: u64,
    pub(crate) published: Vec<Published>,
    /// Whether each payload is one byte, over and over.
    pub(crate) repeats: bool,
    /// How many keys there are; most messages have one.
    pub(crate) keys: u64,
    random: u64,
}

/// A run of frames.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) position: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) messages: Vec<Published>,
}

impl Run {
    pub(crate) fn append_to(&self, writer: &mut Writer) -> Result<(), JournalError> {
        self.append_with(writer, &[])
    }

    pub(crate) fn append_with(&self, writer: &mut Writer, moved: &[(&str, u64)]) -> Result<(), JournalError> {
        let times = || self.messages.iter().map(|message| message.unix_ns);
        let frames = Frames {
            position: self.position,
            bytes: &self.bytes,
            messages: self.messages.len() as u32,
            first_unix_ns: times().next().unwrap_or(0),
            highest_unix_ns: times().max().unwrap_or(0),
        };
        writer.append(&frames, moved)
    }
}

impl Log {
    pub(crate) fn new(seed: u64) -> Self {
        Self::from(0, seed)
    }

    /// One whose next frame begins at `end`.
    pub(crate) fn from(end: u64, seed: u64) -> Self {
        Self { end, published: Vec::new(), repeats: false, keys: 0, random: seed | 1 }
    }

    /// A number below `end`. Xorshift64 (Marsaglia, 2003).
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }

    /// A run of `messages` messages at most, as a ring would give it: it ends at a lap's end.
    pub(crate) fn run(&mut self, messages: usize) -> Run {
        let (position, first) = (self.end, self.published.len());
        let mut bytes = Vec::new();
        for _ in 0..messages {
            let length = self.below(700) as usize;
            let key = (self.keys > 0).then(|| self.below(self.keys + 1)).filter(|key| *key < self.keys);
            let key = key.map(|key| key.to_string().into_bytes());
            let mut block = Block::default();
            let extensions = key.as_ref().map_or(&[][..], |key| {
                block.key(key).unwrap();
                block.finish(8)
            });
            let body = 8 + (extensions.len() + length) as u64;
            let frame = (8 + body).next_multiple_of(CELL);
            let lap_end = (self.end | (CAPACITY - 1)) + 1;
            if self.end + frame > lap_end {
                self.put(&mut bytes, (Phase::Padding, 0), lap_end - self.end - 8, &[]);
                break;
            }
            // Every tenth of a microsecond one, and now and then one that is late.
            let number = self.published.len() as u64;
            let unix_ns = 1_000_000 + number * 100 - if number % 7 == 3 { 250 } else { 0 };
            let (first, repeats) = (self.below(256) as u8, self.repeats);
            let payload: Vec<u8> = (0..length).map(|_| if repeats { first } else { self.below(256) as u8 }).collect();
            let flags = if key.is_some() { FLAG_EXTENSIONS } else { 0 };
            self.published.push(Published { position: self.end, unix_ns, payload: payload.clone(), key });
            let content = [&unix_ns.to_le_bytes()[..], extensions, &payload].concat();
            self.put(&mut bytes, (Phase::Committed, flags), body, &content);
            if self.end == lap_end {
                break;
            }
        }
        Run { position, bytes, messages: self.published[first..].to_vec() }
    }

    fn put(&mut self, bytes: &mut Vec<u8>, (phase, flags): (Phase, u64), length: u64, body: &[u8]) {
        let frame = (8 + length).next_multiple_of(CELL) as usize;
        let word = StateWord::new(self.end / CAPACITY, phase, flags, 0, length);
        let begin = bytes.len();
        bytes.extend_from_slice(&word.0.to_le_bytes());
        bytes.extend_from_slice(body);
        bytes.resize(begin + frame, 0xee);
        self.end += frame as u64;
    }
}

/// Everything that `journal` gives from `from` on.
pub(crate) fn read(journal: &Journal, from: From) -> Result<Vec<Published>, JournalError> {
    let (mut reader, mut all) = (journal.read(from)?, Vec::new());
    while let Some(entry) = reader.next()? {
        if let Entry::Message(message) = entry {
            all.push(Published::of(&message));
        }
    }
    Ok(all)
}

pub(crate) fn journal(storage: &Arc<dyn Storage>, directory: &Path) -> Result<Journal, JournalError> {
    Journal::open(storage.clone(), directory)
}
