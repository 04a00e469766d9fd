//! What is done to segments that aren't written any more: one after the other is compressed, and, where the last message of each key is to stay, freed of those
//! that later ones took the place of.
//!
//! ```text
//!   compacted before  |  not yet                         |  newest
//!   [a1 b1] [c1]      |  [a2 c2] [b2 b3 a3]              |  [..]
//!                        keys: a: a3  b: b3  c: c2           a pass looks here for keys, and then leaves out, oldest first,
//!   [-- --] [--]      |  [-- c2] [-- b3 a3]              |  whatever of a key lies before its last
//! ```
//!
//! What takes the place of others is durable before any of them goes. Of each key the older messages go first, so that a deletion (a message without payload)
//! may go at last: nothing is left that it deletes.

use crate::error::JournalError;
use crate::layout::LOCK_FILE;
use crate::read::{From, Journal};
use crate::reader::{Entry, Message};
use crate::recover::{Behind, Scan};
use crate::rewrite::{Compression, Rewritten, rewrite};
use crate::segment::{Form, Segment};
use memlane_shm::clock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How a journal comes to keep the last message of each key: of closed segments, messages go that are followed by another one of their key. Messages without a key stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// How long deletions stay, which are messages of a key without payload, so that who reads on hears of them. Default a day.
    pub deletions_kept: Duration,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { deletions_kept: Duration::from_secs(24 * 60 * 60) }
    }
}

/// What has become of the segments of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compressed {
    /// How many segments were written anew.
    pub segments: u64,
    /// How many bytes they had.
    pub bytes_before: u64,
    /// How many they have.
    pub bytes_after: u64,
    /// How many messages were left out of them.
    pub left_out: u64,
}

/// Finds what is to be written anew next.
#[derive(Debug)]
pub(crate) struct Keeper {
    compression: Option<Compression>,
    compaction: Option<Compaction>,
    /// Of the segments before this position none is left to be compressed.
    compressed_to: u64,
    pass: Option<Pass>,
}

/// A pass over the closed segments.
#[derive(Debug)]
struct Pass {
    /// Where the last message of each key lies that was found.
    last: HashMap<Box<[u8]>, u64>,
    /// Where it goes on, and where it ends.
    next: u64,
    end: u64,
    /// Deletions from before go, in nanoseconds since 1970.
    deletions_before_unix_ns: u64,
}

/// Where a segment lies that isn't written any more.
#[derive(Clone, Copy)]
struct Extent {
    begin: u64,
    end: u64,
}

/// The same, open.
struct Closed {
    segment: Segment,
    end: u64,
}

impl Extent {
    fn open(self, journal: &Journal) -> Result<Closed, JournalError> {
        Ok(Closed { segment: journal.segment(self.begin)?, end: self.end })
    }
}

impl Closed {
    fn is_compacted(&self) -> bool {
        matches!(self.segment.head.form, Form::Compressed { is_compacted: true, .. })
    }

    fn bytes(&self) -> u64 {
        match self.segment.head.form {
            Form::Plain => self.end - self.segment.head.begin,
            Form::Compressed { stored_bytes, .. } => stored_bytes,
        }
    }
}

impl Journal {
    /// Compresses its segments that are as they were recorded; nobody may record meanwhile, for whom [`RecorderOptions`](crate::RecorderOptions) do it. They
    /// are read as before: positions, times and offsets stay.
    ///
    /// The newest segment is left as it is if a death has left it unfinished. Cost: reads and compresses all of them. Errors: [`JournalError`]; [`JournalError::Locked`]
    /// if somebody records. What was compressed until then is.
    pub fn compress(&self, compression: Compression) -> Result<Compressed, JournalError> {
        compression.check()?;
        self.keep(|_| Ok(Keeper::new(Some(compression), None)))
    }

    /// Has it keep the last message of each key, and those without one: whatever is followed by another message of its key goes, and deletions that are old. All is compressed.
    /// As for [`Journal::compress`], nobody may record meanwhile.
    ///
    /// Cost: reads all of it twice, and compresses it; memory for each key in what wasn't compacted before. Errors: as for [`Journal::compress`].
    pub fn compact(&self, compaction: Compaction, compression: Compression) -> Result<Compressed, JournalError> {
        compression.check()?;
        self.keep(|journal| {
            let closed = open_all(journal, &closed(journal, None)?)?;
            let pass = Some(Pass::new(journal, &closed, compaction, &AtomicBool::new(false))?);
            Ok(Keeper { pass, ..Keeper::new(Some(compression), None) })
        })
    }

    fn keep(&self, keeper: impl FnOnce(&Self) -> Result<Keeper, JournalError>) -> Result<Compressed, JournalError> {
        let path = self.directory().join(LOCK_FILE);
        let lock = self.storage().lock(&path).map_err(JournalError::of(&path, "lock it"))?;
        let _lock = lock.ok_or_else(|| JournalError::Locked { path: self.directory().to_path_buf() })?;
        // As it is now that nobody changes it.
        let journal = Self::open(self.storage().clone(), self.directory())?;
        let (mut keeper, mut compressed) = (keeper(&journal)?, Compressed::default());
        while let Some(rewritten) = keeper.step(&journal, None, &AtomicBool::new(false))? {
            rewritten.take_place(&journal, 0)?;
            compressed.segments += 1;
            compressed.bytes_before += rewritten.bytes_before;
            compressed.bytes_after += rewritten.bytes_after;
            compressed.left_out += rewritten.left_out;
        }
        let directory = journal.directory();
        journal.storage().sync_directory(directory).map_err(JournalError::of(directory, "sync it"))?;
        Ok(compressed)
    }
}

impl Keeper {
    pub(crate) fn new(compression: Option<Compression>, compaction: Option<Compaction>) -> Self {
        Self { compression, compaction, compressed_to: 0, pass: None }
    }

    /// Writes the next segment anew that is to be, of those that lie before `closed_end`, or, where nobody records, of all; `None` if there is none, or `stop` says so.
    ///
    /// Errors: [`JournalError`]. A segment that is damaged is passed over the next time; it ends a pass.
    pub(crate) fn step(
        &mut self,
        journal: &Journal,
        closed_end: Option<u64>,
        stop: &AtomicBool,
    ) -> Result<Option<Rewritten>, JournalError> {
        let compression = self.compression.unwrap_or_default();
        if let Some(pass) = &mut self.pass {
            let step = pass.step(journal, &closed(journal, closed_end)?, compression, stop);
            if matches!(step, Ok(Some(_))) {
                return step;
            }
            self.pass = None;
            step?;
        }
        let closed = closed(journal, closed_end)?;
        if let Some(compaction) = self.compaction.filter(|_| !stop.load(Ordering::Acquire)) {
            let opened = open_all(journal, &closed)?;
            let (done, dirty) = opened.split_at(first_not_compacted(&opened));
            let bytes = |closed: &[Closed]| closed.iter().map(Closed::bytes).sum::<u64>();
            // So that each byte is compacted a number of times that grows with the logarithm of what is kept.
            if !dirty.is_empty() && bytes(dirty) >= bytes(done) {
                let pass = self.pass.insert(Pass::new(journal, &opened, compaction, stop)?);
                return pass.step(journal, &closed, compression, stop);
            }
        }
        if self.compression.is_none() {
            return Ok(None);
        }
        let from = self.compressed_to;
        for extent in closed.into_iter().filter(|extent| extent.begin >= from) {
            let Closed { segment, end } = extent.open(journal)?;
            if segment.head.form != Form::Plain {
                self.compressed_to = end;
                continue;
            }
            let rewritten = rewrite(journal, segment, compression, None, stop);
            if !matches!(&rewritten, Err(error) if error.may_pass()) {
                self.compressed_to = end;
            }
            return rewritten;
        }
        Ok(None)
    }
}

impl Pass {
    /// Looks for keys in what isn't compacted yet of `closed`, all of which is made durable; those that it hasn't found when `stop` says so keep all their messages.
    fn new(
        journal: &Journal,
        closed: &[Closed],
        compaction: Compaction,
        stop: &AtomicBool,
    ) -> Result<Self, JournalError> {
        let dirty = &closed[first_not_compacted(closed)..];
        for Closed { segment, .. } in dirty {
            segment.file.sync().map_err(JournalError::of(&segment.path, "sync it"))?;
        }
        let directory = journal.directory();
        journal.storage().sync_directory(directory).map_err(JournalError::of(directory, "sync it"))?;
        let mut last = HashMap::new();
        for Closed { segment, end } in dirty {
            each_message(journal, segment.head.begin, *end, |message| {
                if let Some(key) = message.key() {
                    last.insert(Box::from(key), message.position);
                }
                !stop.load(Ordering::Relaxed)
            })?;
        }
        let kept_ns = u64::try_from(compaction.deletions_kept.as_nanos()).unwrap_or(u64::MAX);
        let end = closed.last().map_or(0, |closed| closed.end);
        Ok(Self { last, next: 0, end, deletions_before_unix_ns: clock::unix_ns().saturating_sub(kept_ns) })
    }

    fn step(
        &mut self,
        journal: &Journal,
        closed: &[Extent],
        compression: Compression,
        stop: &AtomicBool,
    ) -> Result<Option<Rewritten>, JournalError> {
        for &extent in closed.iter().filter(|extent| extent.begin >= self.next && extent.end <= self.end) {
            let Extent { begin, end } = extent;
            let closed = extent.open(journal)?;
            let leaves_out = |message: &Message<'_>| self.leaves_out(message);
            // What is compacted already is written once more only if anything goes.
            let mut is_due = !closed.is_compacted();
            if !is_due {
                each_message(journal, begin, end, |message| {
                    is_due = leaves_out(message);
                    !is_due
                })?;
            }
            if is_due {
                let rewritten = rewrite(journal, closed.segment, compression, Some(&leaves_out), stop)?;
                self.next = end;
                return Ok(rewritten);
            }
        }
        Ok(None)
    }

    /// Whether `message` is followed by another one of its key, or is an old deletion.
    fn leaves_out(&self, message: &Message<'_>) -> bool {
        let Some(key) = message.key() else { return false };
        let is_last = self.last.get(key).is_none_or(|last| *last <= message.position);
        !is_last || (message.payload().is_empty() && message.unix_ns < self.deletions_before_unix_ns)
    }
}

fn open_all(journal: &Journal, closed: &[Extent]) -> Result<Vec<Closed>, JournalError> {
    closed.iter().map(|extent| extent.open(journal)).collect()
}

/// How many of `closed` are compacted, before the first that isn't.
fn first_not_compacted(closed: &[Closed]) -> usize {
    closed.iter().position(|closed| !closed.is_compacted()).unwrap_or(closed.len())
}

/// Hands the messages from `begin` to `end` to `each`, until it says no.
fn each_message(
    journal: &Journal,
    begin: u64,
    end: u64,
    mut each: impl FnMut(&Message<'_>) -> bool,
) -> Result<(), JournalError> {
    let mut reader = journal.read(From::Position(begin))?;
    while reader.position() < end {
        match reader.next()? {
            Some(Entry::Message(message)) if message.position >= end || !each(&message) => break,
            Some(_) => {}
            None => break,
        }
    }
    Ok(())
}

/// The segments of `journal` that aren't written any more: those that lie before `end`; where nobody records, all but a newest one that is unfinished or empty.
fn closed(journal: &Journal, end: Option<u64>) -> Result<Vec<Extent>, JournalError> {
    let begins = journal.segments()?;
    let pairs = begins.windows(2).map(|pair| Extent { begin: pair[0], end: pair[1] });
    let mut closed: Vec<Extent> = pairs.filter(|extent| end.is_none_or(|end| extent.end <= end)).collect();
    if end.is_none() {
        let segment = journal.segment(begins[begins.len() - 1])?;
        let Scan { number, standing, stop } = Scan::of(&segment, None, u64::MAX)?;
        let is_whole = stop.is_none() && Behind::of(&segment, number, standing.end)?.what.is_none();
        let is_cut = segment.length()? == segment.head.record_at(number);
        if is_whole && is_cut && standing.end > segment.head.begin {
            closed.push(Extent { begin: segment.head.begin, end: standing.end });
        }
    }
    Ok(closed)
}
