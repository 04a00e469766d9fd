//! Runs of messages as they cross: contents by themselves, and beside them how long each is and when it was published, as steps. Padding crosses as a number, and positions follow
//! from the frames' shape, which both ends know: a message of 64 bytes takes 64, and some two more for its time.
//!
//! ```text
//!  in the log    |F 8|stamp|content  padding|F 8|stamp|content padding| … |P          |F…
//!  on the wire   |content|content|content …|   2 × 64 bytes, 1 × 40, 3 cells of padding, …   |   +0 +310 +295 …
//! ```

use crate::codec::{Cursor, Fields, Malformed, put_varint, unzigzag, zigzag};
use crate::layout::{BATCH_BYTES_MAX, BATCH_HEAD_BYTES, BATCH_MESSAGES_MAX, BATCH_TRAILER_BYTES, flag, flow};
use memlane_ring::FrameShape;
use memlane_ring::layout::{FRAME_HEADER_BYTES, POSITION_END};

/// Bytes that the numbers of a batch's first message take at most.
const NUMBERS_BYTES_MAX: u64 = 64;

/// What the next bytes of a flow's stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchHead {
    /// Messages.
    Batch(Batch),
    /// Positions that the sender doesn't have any more, from the first to the second: their messages are lost to this receiver.
    Gap {
        /// Where it begins.
        position: u64,
        /// Where it ends.
        end: u64,
    },
}

/// A run of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How it is compressed: a feature's bit, or zero.
    pub compression: u8,
    /// How many messages it has.
    pub messages: u32,
    /// Where it begins, in the sender's log.
    pub position: u64,
    /// Where it ends.
    pub end: u64,
    /// Its bytes, packed and not compressed.
    pub raw_bytes: u32,
    /// Bytes that follow the head: as many if they aren't compressed, else at most as many.
    pub stored_bytes: u32,
}

impl BatchHead {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; BATCH_HEAD_BYTES] {
        let mut fields = Fields::default();
        match self {
            Self::Batch(batch) => {
                fields.u8(flow::BATCH).u8(batch.compression).u16(0).u32(batch.messages);
                fields.u64(batch.position).u64(batch.end).u32(batch.raw_bytes).u32(batch.stored_bytes);
            }
            Self::Gap { position, end } => {
                fields.u8(flow::GAP).u8(0).u16(0).u32(0).u64(*position).u64(*end).u32(0).u32(0);
            }
        }
        let mut bytes = [0; BATCH_HEAD_BYTES];
        bytes.copy_from_slice(&fields.bytes);
        bytes
    }

    /// What `bytes` say, on the stream of a topic whose frames look like `shape`.
    ///
    /// Errors: [`Malformed`]; what passes has an end behind its begin, and no more bytes than a batch, or one message of the topic, may have.
    pub fn decode(bytes: &[u8; BATCH_HEAD_BYTES], shape: &FrameShape) -> Result<Self, Malformed> {
        let mut from = Cursor::new(bytes);
        let (kind, compression, _, messages) = (from.u8()?, from.u8()?, from.u16()?, from.u32()?);
        let (position, end, raw_bytes, stored_bytes) = (from.u64()?, from.u64()?, from.u32()?, from.u32()?);
        if end <= position || end > POSITION_END {
            return Err(Malformed { at: 8, what: "it ends before it begins, or where no log does" });
        }
        let longest = (BATCH_BYTES_MAX as u64).max(shape.body_max.saturating_add(NUMBERS_BYTES_MAX));
        let is_too_long = u64::from(raw_bytes.max(stored_bytes)) > longest || messages > BATCH_MESSAGES_MAX;
        // Credit counts the packed bytes, so what is held for them can't be more.
        let is_more = stored_bytes > raw_bytes || (compression == 0 && stored_bytes != raw_bytes);
        match kind {
            flow::GAP => Ok(Self::Gap { position, end }),
            flow::BATCH if is_too_long => Err(Malformed { at: 24, what: "a batch is too long" }),
            flow::BATCH if is_more => Err(Malformed { at: 28, what: "a batch has more bytes than its messages" }),
            flow::BATCH => Ok(Self::Batch(Batch { compression, messages, position, end, raw_bytes, stored_bytes })),
            _ => Err(Malformed { at: 0, what: "neither a batch nor a gap" }),
        }
    }
}

/// A message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its position in the sender's log.
    pub position: u64,
    /// When it was published, nanoseconds since 1970; zero if the topic has no stamps.
    pub unix_ns: u64,
    /// Whether extensions come before its payload.
    pub has_extensions: bool,
    /// Extensions and payload.
    pub content: &'a [u8],
}

/// The bytes of a frame with so much content.
#[inline]
fn frame_bytes(shape: &FrameShape, content: u64) -> u64 {
    shape.frame_bytes(shape.payload_at - FRAME_HEADER_BYTES + content)
}

/// Packs runs of messages.
#[derive(Debug)]
pub struct Packer {
    shape: FrameShape,
    contents: Vec<u8>,
    runs: Vec<u8>,
    stamps: Vec<u8>,
    /// The run that grows: how many, and what.
    run: (u64, u64),
    messages: u32,
    position: u64,
    end: u64,
    unix_ns: u64,
}

impl Packer {
    /// For messages of frames that look like this.
    #[must_use]
    pub fn new(shape: FrameShape) -> Self {
        let (contents, runs, stamps) = (Vec::new(), Vec::new(), Vec::new());
        Self { shape, contents, runs, stamps, run: (0, 0), messages: 0, position: 0, end: 0, unix_ns: 0 }
    }

    /// Begins a batch at `position`; what was packed and not taken is dropped.
    pub fn begin(&mut self, position: u64) {
        (self.position, self.end, self.unix_ns) = (position, position, 0);
        (self.run, self.messages) = ((0, 0), 0);
        self.contents.clear();
        self.runs.clear();
        self.stamps.clear();
    }

    /// Adds the next message, of the sender's log; `false` if the batch has no place for it, and is to be finished first. What lies between it and the one before is padding.
    ///
    /// Cost: a copy of the content.
    #[inline]
    pub fn push(&mut self, message: &Message<'_>) -> bool {
        let bytes = self.contents.len() + self.runs.len() + self.stamps.len() + message.content.len();
        let is_full = bytes as u64 + NUMBERS_BYTES_MAX > BATCH_BYTES_MAX as u64 || self.messages == BATCH_MESSAGES_MAX;
        if is_full && self.messages > 0 {
            return false;
        }
        self.pad_up_to(message.position);
        let length = message.content.len() as u64;
        let flags = if message.has_extensions { flag::EXTENSIONS } else { 0 };
        self.put(1, (length << flag::BITS) | u64::from(flags));
        if self.shape.stamps {
            put_varint(&mut self.stamps, zigzag(message.unix_ns.wrapping_sub(self.unix_ns) as i64));
            self.unix_ns = message.unix_ns;
        }
        self.contents.extend_from_slice(message.content);
        self.end = message.position + frame_bytes(&self.shape, length);
        self.messages += 1;
        true
    }

    #[inline]
    fn pad_up_to(&mut self, position: u64) {
        if position > self.end {
            self.put((position - self.end) / self.shape.cell, flag::PADDING.into());
        }
    }

    #[inline]
    fn put(&mut self, count: u64, what: u64) {
        if self.run.0 > 0 && self.run.1 == what {
            self.run.0 += count;
        } else {
            self.end_run();
            self.run = (count, what);
        }
    }

    fn end_run(&mut self) {
        if self.run.0 > 0 {
            put_varint(&mut self.runs, self.run.0);
            put_varint(&mut self.runs, self.run.1);
        }
    }

    /// How many messages it has.
    #[must_use]
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// About how many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.contents.len() + self.runs.len() + self.stamps.len()
    }

    /// The batch up to `end`, before which there is nothing but padding behind the last message; and its bytes. It may have no message, but not no position.
    pub fn finish(&mut self, end: u64) -> (Batch, Vec<u8>) {
        self.pad_up_to(end);
        self.end_run();
        let capacity = self.contents.capacity();
        let mut bytes = core::mem::replace(&mut self.contents, Vec::with_capacity(capacity));
        bytes.extend_from_slice(&self.runs);
        bytes.extend_from_slice(&self.stamps);
        bytes.extend_from_slice(&(self.runs.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.stamps.len() as u32).to_le_bytes());
        let length = bytes.len() as u32;
        let (messages, position) = (self.messages, self.position);
        let batch = Batch { compression: 0, messages, position, end, raw_bytes: length, stored_bytes: length };
        self.begin(end);
        (batch, bytes)
    }
}

/// The messages of a batch, one after the other.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    shape: FrameShape,
    contents: &'a [u8],
    runs: Cursor<'a>,
    stamps: Cursor<'a>,
    position: u64,
    /// Of the run at hand: how many are left, their lengths, whether they have extensions.
    run: (u64, usize, bool),
    frame: u64,
    unix_ns: u64,
}

impl Batch {
    /// The messages in `packed`, this batch's bytes, not compressed.
    ///
    /// Cost: a look at each run, and at each stamp. Errors: [`Malformed`]: all of it is looked at before anything is handed out.
    pub fn messages<'a>(&self, shape: &FrameShape, packed: &'a [u8]) -> Result<Messages<'a>, Malformed> {
        let trailer_at = packed.len().checked_sub(BATCH_TRAILER_BYTES);
        let trailer_at = trailer_at.ok_or(Malformed { at: 0, what: "a batch has no end" })?;
        let mut trailer = Cursor::new(&packed[trailer_at..]);
        let (runs, stamps) = (trailer.u32()? as usize, trailer.u32()? as usize);
        let stamps_at = trailer_at.checked_sub(stamps);
        let runs_at = stamps_at.and_then(|stamps_at| stamps_at.checked_sub(runs));
        let (Some(stamps_at), Some(runs_at)) = (stamps_at, runs_at) else {
            return Err(Malformed { at: trailer_at, what: "a batch's parts are longer than it" });
        };
        let messages = Messages {
            shape: *shape,
            contents: &packed[..runs_at],
            runs: Cursor::new(&packed[runs_at..stamps_at]),
            stamps: Cursor::new(&packed[stamps_at..trailer_at]),
            position: self.position,
            run: (0, 0, false),
            frame: 0,
            unix_ns: 0,
        };
        self.check(messages.clone())?;
        Ok(messages)
    }

    fn check(&self, from: Messages<'_>) -> Result<(), Malformed> {
        let Messages { shape, contents, mut runs, mut stamps, mut position, .. } = from;
        let prefix = shape.payload_at.saturating_sub(FRAME_HEADER_BYTES);
        let (mut messages, mut used) = (0_u64, 0_u64);
        while runs.is_not_at_end() {
            let begin = runs;
            let (count, what) = (runs.varint()?, runs.varint()?);
            let (length, flags) = (what >> flag::BITS, what as u8 & (flag::EXTENSIONS | flag::PADDING));
            if flags & flag::PADDING != 0 {
                let end = count.checked_mul(shape.cell).and_then(|bytes| bytes.checked_add(position));
                let end = end.filter(|end| *end <= self.end && what == flag::PADDING.into() && count > 0);
                position = end.ok_or_else(|| begin.malformed("padding is longer than its batch"))?;
                continue;
            }
            if length.saturating_add(prefix) > shape.body_max {
                return Err(begin.malformed("a message is longer than the topic's"));
            }
            messages = messages.saturating_add(count);
            used = count.checked_mul(length).and_then(|bytes| bytes.checked_add(used)).unwrap_or(u64::MAX);
            if messages > self.messages.into() || used > contents.len() as u64 || count == 0 {
                return Err(begin.malformed("a batch has other messages than it says"));
            }
            position = skip_frames(&shape, position, count, frame_bytes(&shape, length), self.end)
                .ok_or_else(|| begin.malformed("a frame is longer than its place"))?;
        }
        if shape.stamps {
            for _ in 0..messages {
                stamps.varint()?;
            }
        }
        let is_whole = messages == self.messages.into() && used == contents.len() as u64 && position == self.end;
        if is_whole && !stamps.is_not_at_end() { Ok(()) } else { Err(runs.malformed("a batch isn't what it says")) }
    }
}

/// Where `count` frames of `frame` bytes end that begin at `position`, none across a lap's end, or behind `end`.
fn skip_frames(shape: &FrameShape, mut position: u64, mut count: u64, frame: u64, end: u64) -> Option<u64> {
    while count > 0 {
        let fits = count.min((shape.lap_end(position).min(end).checked_sub(position)?) / frame);
        if fits == 0 {
            return None;
        }
        position += fits * frame;
        count -= fits;
    }
    Some(position)
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    // Everything was looked at when it was made, so there is what is asked for.
    #[inline]
    fn next(&mut self) -> Option<Message<'a>> {
        while self.run.0 == 0 {
            let (count, what) = (self.runs.varint().ok()?, self.runs.varint().ok()?);
            if what & u64::from(flag::PADDING) != 0 {
                self.position += count * self.shape.cell;
            } else {
                let length = what >> flag::BITS;
                self.run = (count, length as usize, what & u64::from(flag::EXTENSIONS) != 0);
                self.frame = frame_bytes(&self.shape, length);
            }
        }
        let (left, length, has_extensions) = self.run;
        let (content, rest) = self.contents.split_at_checked(length)?;
        if self.shape.stamps {
            self.unix_ns = self.unix_ns.wrapping_add(unzigzag(self.stamps.varint().ok()?) as u64);
        }
        let message = Message { position: self.position, unix_ns: self.unix_ns, has_extensions, content };
        self.contents = rest;
        self.run.0 = left - 1;
        self.position += self.frame;
        Some(message)
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
