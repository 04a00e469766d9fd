//! A segment that isn't written any more, written anew: compressed, and without messages that aren't to be kept.
//!
//! ```text
//!   x.segment ──read, each batch checked──▶ x.segment.new: blocks, records, page ──synced, read back, compared──▶ x.segment
//! ```
//!
//! The log's positions stay as they are: a message that isn't kept becomes padding, which compresses to next to nothing. What is read while another takes
//! its name stays with who reads it; whoever dies in between leaves the old one, and a file that the next writer removes.

use crate::error::JournalError;
use crate::layout::{DATA_AT, PAGE_BYTES, PAGE_CRC_AT, RECORD_BYTES, crc, put_half, segment_name};
use crate::look;
use crate::read::Journal;
use crate::reader::Message;
use crate::record::{Batch, Block};
use crate::recover::Scan;
use crate::regroup::{BLOCK_BYTES, Group, Groups, Piece, Stored, put_batches};
use crate::seek;
use crate::segment::{Form, Segment, SegmentHead, put_form};
use crate::storage::{StoredFile, make_aside};
use memlane_ring::Found;
use memlane_ring::extension::Parts;
use memlane_ring::layout::{FRAME_HEADER_BYTES, Phase, StateWord};
use memlane_shm::clock::Calibration;
use memlane_shm::crash_point;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use zstd::bulk::Compressor;

/// How closed segments are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Zstandard's level: 1, the quickest, to 22. Default 1: on the messages of feeds, higher ones take longer and save hardly more.
    pub level: u8,
}

impl Default for Compression {
    fn default() -> Self {
        Self { level: 1 }
    }
}

impl Compression {
    pub(crate) fn check(self) -> Result<(), JournalError> {
        let (option, value, reason) = ("the level of compression", self.level.into(), "1 to 22");
        if (1..=22).contains(&self.level) { Ok(()) } else { Err(JournalError::BadOption { option, value, reason }) }
    }
}

/// Which messages are left out.
pub(crate) type LeavesOut<'a> = &'a dyn Fn(&Message<'_>) -> bool;

/// A segment that was written anew and waits for its name.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub(crate) begin: u64,
    /// Bytes of the old file and of the new one, but for what the old one gave back.
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
    /// How many messages were left out.
    pub(crate) left_out: u64,
    /// The old file. To let go of it takes its time once it has no name.
    _old: Segment,
    unfinished: PathBuf,
}

impl Rewritten {
    /// Takes the place of the old one, in a journal that begins at `first`, unless that has been given up meanwhile.
    ///
    /// Cost: a system call. Errors: the system's; then the old one is there.
    pub(crate) fn take_place(&self, journal: &Journal, first: u64) -> Result<(), JournalError> {
        if self.begin < first {
            // Best effort: the next writer removes it.
            let _ = journal.storage().remove(&self.unfinished);
            return Ok(());
        }
        let path = journal.directory().join(segment_name(self.begin));
        let renamed = journal.storage().rename(&self.unfinished, &path);
        renamed.map_err(JournalError::of(&path, "put the compressed one in its place"))?;
        crash_point!("journal.replaced");
        Ok(())
    }
}

/// Writes the segment `old` of `journal` anew; `None` if `stop` said so meanwhile.
///
/// Cost: reads and compresses all of it, and reads it once more. Memory: a block or the longest batch, and some hundred bytes for each block. Errors: [`JournalError`]; then nothing has changed.
pub(crate) fn rewrite(
    journal: &Journal,
    old: Segment,
    compression: Compression,
    leaves_out: Option<LeavesOut<'_>>,
    stop: &AtomicBool,
) -> Result<Option<Rewritten>, JournalError> {
    let Scan { number, standing, stop: misfit } = Scan::of(&old, None, u64::MAX)?;
    let place = old.head.record_at(number);
    if misfit.is_some() || old.length()? != place || !standing.is_settled() {
        return Err(old.corrupt(place, standing.end, misfit.unwrap_or("its records end here, and others follow")));
    }
    let (unfinished, file) = make_aside(&**journal.storage(), &old.path)?;
    let mut rewriting = Rewriting {
        journal,
        old: &old,
        records: number,
        file: &*file,
        path: &unfinished,
        leaves_out,
        stored: Vec::new(),
        offset: DATA_AT,
        calibration: seek::session(&old)?.calibration,
        left_out: 0,
    };
    let written = rewriting.run(compression, stop);
    let left_out = rewriting.left_out;
    let written = written.and_then(|head| {
        let Some(head) = head else { return Ok(None) };
        let segment = Segment { path: unfinished.clone(), head, file: file.into() };
        segment.file.sync().map_err(JournalError::of(&unfinished, "sync it"))?;
        // All of it is read back, by what reads it after a loss of power.
        let found = Scan::of(&segment, Some(0), u64::MAX)?;
        if found.stop.is_some() || found.standing != standing {
            let what = found.stop.unwrap_or("it doesn't say what it was made of");
            return Err(segment.corrupt(head.record_at(found.number), found.standing.end, what));
        }
        crash_point!("journal.compressed");
        segment.length().map(Some)
    });
    match written {
        Ok(Some(bytes_after)) => {
            let begin = old.head.begin;
            let data_bytes = if old.head.form == Form::Plain { standing.end - begin } else { old.head.stored_bytes() };
            let bytes_before = DATA_AT + data_bytes + number * RECORD_BYTES as u64;
            Ok(Some(Rewritten { begin, bytes_before, bytes_after, left_out, _old: old, unfinished }))
        }
        other => {
            let _ = journal.storage().remove(&unfinished);
            other.map(|_| None)
        }
    }
}

struct Rewriting<'a> {
    journal: &'a Journal,
    old: &'a Segment,
    /// How many the old one has.
    records: u64,
    file: &'a dyn StoredFile,
    path: &'a PathBuf,
    leaves_out: Option<LeavesOut<'a>>,
    /// What was written, for each group of batches, and where the next block begins.
    stored: Vec<Vec<Stored>>,
    offset: u64,
    calibration: Calibration,
    left_out: u64,
}

impl Rewriting<'_> {
    fn run(&mut self, compression: Compression, stop: &AtomicBool) -> Result<Option<SegmentHead>, JournalError> {
        let compressor = Compressor::new(compression.level.into());
        let mut compressor = compressor.map_err(JournalError::of(self.path, "compress it"))?;
        let (mut groups, mut look) = (Groups::new(self.old, self.records), self.old.look_at_copies());
        let mut bytes = Vec::new();
        while let Some(group) = groups.next()? {
            if stop.load(Ordering::Acquire) {
                return Ok(None);
            }
            let Group::Batches { batches, .. } = group else { continue };
            bytes.clear();
            let mut pieces = Vec::new();
            for (number, batch) in &batches {
                if let Some(what) = look.move_to(self.old, *number, batch)? {
                    let offset = look::place(self.old, *number, batch);
                    return Err(self.old.corrupt(offset, batch.position, what));
                }
                let begin = bytes.len();
                bytes.extend_from_slice(look.bytes());
                self.leave_out(batch, &mut bytes[begin..]);
                pieces.push(Piece { end: batch.end, messages: batch.messages, sum: crc(&bytes[begin..]) });
            }
            let stored = self.store(&mut compressor, batches[0].1.position, pieces, &bytes)?;
            self.stored.push(stored);
            crash_point!("journal.compressing");
        }
        let stored_bytes = (self.offset - DATA_AT).next_multiple_of(RECORD_BYTES as u64);
        let is_compacted = self.leaves_out.is_some();
        let form = |records| Form::Compressed { stored_bytes, records, is_compacted };
        let records = self.write_records(&SegmentHead { form: form(0), ..self.old.head })?;
        self.write(&self.page(form(records))?, 0)?;
        Ok(Some(SegmentHead { form: form(records), ..self.old.head }))
    }

    /// Writes `bytes`, the data of the batches `pieces` from `position` on: one block, or, of a batch that is longer, several.
    fn store(
        &mut self,
        compressor: &mut Compressor<'_>,
        position: u64,
        mut pieces: Vec<Piece>,
        bytes: &[u8],
    ) -> Result<Vec<Stored>, JournalError> {
        // Where it can't be so many, the comparison with the old one finds it out.
        let messages = pieces.iter().fold(0_u32, |all, piece| all.saturating_add(piece.messages));
        let end = position + bytes.len() as u64;
        if bytes.len() as u64 > BLOCK_BYTES {
            let split = self.split(position, messages, bytes);
            return split
                .into_iter()
                .map(|(begin, piece)| {
                    let part = &bytes[(begin - position) as usize..(piece.end - position) as usize];
                    self.store_block(compressor, begin, vec![piece], part)
                })
                .collect();
        }
        // Without stamps a message's time is its batch's, so each stays.
        if self.old.head.frames.stamps {
            pieces = vec![Piece { end, messages, sum: crc(bytes) }];
        }
        Ok(vec![self.store_block(compressor, position, pieces, bytes)?])
    }

    fn store_block(
        &mut self,
        compressor: &mut Compressor<'_>,
        position: u64,
        pieces: Vec<Piece>,
        bytes: &[u8],
    ) -> Result<Stored, JournalError> {
        let compressed = compressor.compress(bytes).map_err(JournalError::of(self.path, "compress it"))?;
        let end = position + bytes.len() as u64;
        let block = Block { position, end, offset: self.offset, bytes: compressed.len() as u64, crc: crc(&compressed) };
        self.write(&compressed, self.offset)?;
        self.offset += block.bytes;
        Ok(Stored { block, pieces })
    }

    /// Parts of a batch of so many messages that are no longer than a block, unless a frame is: where each begins, and what it is.
    fn split(&self, position: u64, messages: u32, bytes: &[u8]) -> Vec<(u64, Piece)> {
        let frames = self.old.head.frames;
        let (mut parts, mut begin, mut at, mut count) = (Vec::new(), 0, 0, 0);
        let mut left = messages;
        let mut part = |begin: usize, end: usize, messages: u32| {
            let piece = Piece { end: position + end as u64, messages, sum: crc(&bytes[begin..end]) };
            parts.push((position + begin as u64, piece));
        };
        while at < bytes.len() {
            let (frame, is_message) = match frames.look(position + at as u64, &bytes[at..]) {
                Some(Found::Message(_, frame)) => (frame as usize, 1),
                Some(Found::Padding(frame)) => (frame as usize, 0),
                // Not ours to judge: it stays with what follows.
                None => (bytes.len() - at, 0),
            };
            if at + frame - begin > BLOCK_BYTES as usize && at > begin {
                part(begin, at, count);
                (begin, left, count) = (at, left.saturating_sub(count), 0);
            }
            (at, count) = (at + frame, count + is_message);
        }
        // With those that were left out.
        part(begin, at, left);
        parts
    }

    /// Makes padding of the messages in `bytes`, the data of `batch`, that are to be left out.
    fn leave_out(&mut self, batch: &Batch, bytes: &mut [u8]) {
        let Some(leaves_out) = self.leaves_out else { return };
        let frames = self.old.head.frames;
        // Where padding began that reaches up to here.
        let (mut at, mut padded_from) = (0, None);
        while at < bytes.len() {
            let position = batch.position + at as u64;
            let (frame, is_padding, is_left_out) = match frames.look(position, &bytes[at..]) {
                // Not ours to judge: it stays as it is.
                None => return,
                Some(Found::Padding(frame)) => (frame, true, false),
                Some(Found::Message(word, frame)) => {
                    let body = &bytes[at + FRAME_HEADER_BYTES as usize..][..word.length() as usize];
                    let is_left_out = Parts::of(self.journal.geometry(), word, body).is_ok_and(|parts| {
                        let stamp = parts.stamp.map(|ticks| self.calibration.unix_ns(ticks));
                        let unix_ns = stamp.unwrap_or(batch.first_unix_ns);
                        leaves_out(&Message { position, unix_ns, word, body, parts })
                    });
                    (frame, is_left_out, is_left_out)
                }
            };
            self.left_out += u64::from(is_left_out);
            let end = at + frame as usize;
            if is_padding {
                let begin = *padded_from.get_or_insert(at);
                let lap = position / frames.capacity;
                let word = StateWord::new(lap, Phase::Padding, 0, 0, (end - begin) as u64 - FRAME_HEADER_BYTES);
                bytes[at..end].fill(0);
                bytes[begin..begin + 8].copy_from_slice(&word.0.to_le_bytes());
            }
            at = end;
            // No frame crosses a lap's end.
            if !is_padding || (batch.position + at as u64).is_multiple_of(frames.capacity) {
                padded_from = None;
            }
        }
    }

    /// The records of the old one, with the blocks' among them; how many that are.
    fn write_records(&mut self, head: &SegmentHead) -> Result<u64, JournalError> {
        let mut groups = Groups::new(self.old, self.records);
        let mut stored = self.stored.iter();
        let (mut number, mut chunk, mut records) = (0, Vec::new(), Vec::new());
        loop {
            let group = groups.next()?;
            let is_over = group.is_none();
            match group {
                Some(Group::Batches { sources, batches }) => {
                    let stored = stored.next().expect("as many groups come as before");
                    put_batches(&mut records, &sources, &batches, stored);
                }
                Some(Group::Other { sources, record }) => {
                    records.extend(sources);
                    records.push(record);
                }
                None => {}
            }
            for record in records.drain(..) {
                chunk.extend_from_slice(&record.encode(head.epoch, number + (chunk.len() / RECORD_BYTES) as u64));
            }
            if is_over || chunk.len() >= CHUNK_BYTES {
                self.write(&chunk, head.record_at(number))?;
                number += (chunk.len() / RECORD_BYTES) as u64;
                chunk.clear();
            }
            if is_over {
                return Ok(number);
            }
        }
    }

    /// The old one's page, with what has become of its data.
    fn page(&self, form: Form) -> Result<Vec<u8>, JournalError> {
        let mut page = vec![0; PAGE_BYTES];
        self.old.read(&mut page, 0)?;
        put_form(&mut page, form);
        let sum = crc(&page[..PAGE_CRC_AT]);
        put_half(&mut page, PAGE_CRC_AT, sum);
        Ok(page)
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), JournalError> {
        self.file.write_at(bytes, offset).map_err(JournalError::of(self.path, "write to it"))
    }
}

/// How many bytes of records are written at once.
const CHUNK_BYTES: usize = 1024 * RECORD_BYTES;
