//! Runs of frames as they cross: without padding, their stamps as times. Positions follow from the frames' shape, which both ends know.
//!
//! ```text
//!  in the log    |F 8|stamp|body      padding|F 8|stamp|body padding| … |P          |F…
//!  on the wire   |len flags|time|body|len flags|time|body|            …  |len P|len flags|…
//! ```

use crate::codec::{Cursor, Fields, Malformed};
use crate::layout::{BATCH_BYTES_MAX, BATCH_HEAD_BYTES, FRAME_ALIGN, FRAME_HEAD_BYTES, flag, flow};
use memlane_ring::layout::{FLAG_EXTENSIONS, FRAME_HEADER_BYTES, POSITION_END, StateWord};
use memlane_ring::{Found, FrameShape};

/// What the next bytes of a flow's stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchHead {
    /// Frames.
    Batch(Batch),
    /// Positions that the sender doesn't have any more, from the first to the second: their messages are lost to this receiver.
    Gap {
        /// Where it begins.
        position: u64,
        /// Where it ends.
        end: u64,
    },
}

/// A run of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How it is compressed: a feature's bit, or zero.
    pub compression: u8,
    /// How many frames it has, with padding.
    pub frames: u32,
    /// Where the first begins, in the sender's log.
    pub position: u64,
    /// Where the last ends.
    pub end: u64,
    /// Bytes of the packed frames.
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
                fields.u8(flow::BATCH).u8(batch.compression).u16(0).u32(batch.frames);
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
    /// Errors: [`Malformed`]; what passes has an end behind its begin, and no more bytes than a batch, or one frame of the topic, may have.
    pub fn decode(bytes: &[u8; BATCH_HEAD_BYTES], shape: &FrameShape) -> Result<Self, Malformed> {
        let mut from = Cursor::new(bytes);
        let (kind, compression, _, frames) = (from.u8()?, from.u8()?, from.u16()?, from.u32()?);
        let (position, end, raw_bytes, stored_bytes) = (from.u64()?, from.u64()?, from.u32()?, from.u32()?);
        if end <= position || end > POSITION_END {
            return Err(Malformed { at: 8, what: "it ends before it begins, or where no log does" });
        }
        let longest =
            (BATCH_BYTES_MAX as u64).max(shape.body_max.saturating_add((FRAME_HEAD_BYTES + FRAME_ALIGN) as u64));
        let is_too_long = u64::from(raw_bytes.max(stored_bytes)) > longest;
        // Credit counts the packed bytes, so what is held for them can't be more.
        let is_more = stored_bytes > raw_bytes || (compression == 0 && stored_bytes != raw_bytes);
        match kind {
            flow::GAP => Ok(Self::Gap { position, end }),
            flow::BATCH if is_too_long => Err(Malformed { at: 24, what: "a batch is too long" }),
            flow::BATCH if is_more => Err(Malformed { at: 28, what: "a batch has more bytes than its frames" }),
            flow::BATCH => Ok(Self::Batch(Batch { compression, frames, position, end, raw_bytes, stored_bytes })),
            _ => Err(Malformed { at: 0, what: "neither a batch nor a gap" }),
        }
    }
}

/// Packs runs of frames.
#[derive(Debug)]
pub struct Packer {
    shape: FrameShape,
    bytes: Vec<u8>,
    frames: u32,
}

impl Packer {
    /// For frames that look like this.
    #[must_use]
    pub fn new(shape: FrameShape) -> Self {
        Self { shape, bytes: Vec::new(), frames: 0 }
    }

    /// Packs the frames in `log`, the bytes of the log from `position` on, whose stamps become times by `unix_ns`; up to where it came, since a batch has its limit.
    ///
    /// Cost: a copy of the bodies. Errors: [`Malformed`], if there is no frame where one should be; what came before it is packed.
    pub fn pack(&mut self, position: u64, log: &[u8], unix_ns: impl Fn(u64) -> u64) -> Result<u64, Malformed> {
        self.bytes.clear();
        self.frames = 0;
        let mut at = 0;
        while at < log.len() {
            let here = position + at as u64;
            let found = self.shape.look(here, &log[at..]);
            let found = found.ok_or(Malformed { at, what: "there is no frame where one should be" })?;
            let (word, frame, has_body) = match found {
                Found::Message(word, frame) => (word, frame, true),
                Found::Padding(frame) => (StateWord(frame - FRAME_HEADER_BYTES), frame, false),
            };
            let length = word.length() as usize;
            let packed = FRAME_HEAD_BYTES + if has_body { length.next_multiple_of(FRAME_ALIGN) } else { 0 };
            // A frame that is longer than a batch may be is one by itself.
            if self.frames > 0 && self.bytes.len() + packed > BATCH_BYTES_MAX {
                return Ok(here);
            }
            self.put(word, has_body.then(|| &log[at + FRAME_HEADER_BYTES as usize..][..length]), &unix_ns);
            at += frame as usize;
        }
        Ok(position + at as u64)
    }

    fn put(&mut self, word: StateWord, body: Option<&[u8]>, unix_ns: &impl Fn(u64) -> u64) {
        let flags = match body {
            None => flag::PADDING,
            Some(_) if word.flags() & FLAG_EXTENSIONS != 0 => flag::EXTENSIONS,
            Some(_) => 0,
        };
        let head = word.length() as u32;
        self.bytes.extend_from_slice(&head.to_le_bytes());
        self.bytes.extend_from_slice(&[flags, 0, 0, 0]);
        let mut body = body.unwrap_or_default();
        if self.shape.stamps
            && let Some((ticks, rest)) = body.split_first_chunk()
        {
            self.bytes.extend_from_slice(&unix_ns(u64::from_le_bytes(*ticks)).to_le_bytes());
            body = rest;
        }
        self.bytes.extend_from_slice(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(FRAME_ALIGN), 0);
        self.frames += 1;
    }

    /// What was packed last.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many frames that are, with padding.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.frames
    }
}

/// A message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked<'a> {
    /// Its position in the sender's log.
    pub position: u64,
    /// When it was published, nanoseconds since 1970; zero if the topic has no stamps.
    pub unix_ns: u64,
    /// Whether extensions come before its payload.
    pub has_extensions: bool,
    /// Extensions and payload.
    pub content: &'a [u8],
}

impl Batch {
    /// Hands each message in `packed`, this batch's bytes, to `each`.
    ///
    /// Cost: a look at each head. Errors: [`Malformed`], before anything is handed out: all of it is looked at first.
    pub fn unpack<'a>(
        &self,
        shape: &FrameShape,
        packed: &'a [u8],
        mut each: impl FnMut(Unpacked<'a>),
    ) -> Result<(), Malformed> {
        self.walk(shape, packed, |_| ())?;
        self.walk(shape, packed, &mut each)
    }

    fn walk<'a>(
        &self,
        shape: &FrameShape,
        packed: &'a [u8],
        mut each: impl FnMut(Unpacked<'a>),
    ) -> Result<(), Malformed> {
        let (mut from, mut position, mut frames) = (Cursor::new(packed), self.position, 0);
        while position < self.end {
            let begin = from;
            let (length, flags) = (u64::from(from.u32()?), from.u8()?);
            from.take(3)?;
            let frame = (length + FRAME_HEADER_BYTES).next_multiple_of(shape.cell);
            if frame > shape.lap_end(position) - position || frame > self.end - position {
                return Err(begin.malformed("a frame is longer than its place"));
            }
            if flags & flag::PADDING == 0 {
                let body = from.take((length as usize).next_multiple_of(FRAME_ALIGN))?;
                let body = &body[..length as usize];
                if length > shape.body_max || length + FRAME_HEADER_BYTES < shape.payload_at {
                    return Err(begin.malformed("a frame is longer, or shorter, than the topic's"));
                }
                let (unix_ns, content) = match body.split_first_chunk() {
                    Some((unix_ns, content)) if shape.stamps => (u64::from_le_bytes(*unix_ns), content),
                    _ => (0, body),
                };
                let has_extensions = flags & flag::EXTENSIONS != 0;
                each(Unpacked { position, unix_ns, has_extensions, content });
            }
            position += frame;
            frames += 1;
        }
        if frames != self.frames || from.is_not_at_end() {
            return Err(from.malformed("a batch has another number of frames than it says"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
