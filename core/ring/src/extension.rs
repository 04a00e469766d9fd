//! Frame extensions: optional fields between a frame's stamp and its payload, as tag–length–value.
//!
//! ```text
//!  0            4       6        8              8 + length
//!  +------------+-------+--------+--------------+------- - -+---------+
//!  | bytes u32  | tag   | length | value        | next tag  | zeros   |
//!  +------------+-------+--------+--------------+------- - -+---------+
//!  the block    u16     u16      `length` bytes              up to the payload's alignment
//! ```
//!
//! `bytes` counts the whole block, itself included. Tag zero ends it. A reader skips tags that it doesn't know, so that new
//! ones can be added; a length that leads out of the block is [`Malformed`]. A frame without the flag has no block at all.
//! Numbers are little-endian. Tags never change their meaning, and none is used again. Of several fields with one tag the first
//! counts; user headers alone come in any number.
//!
//! | tag | field | value |
//! |---|---|---|
//! | 1 | user header | length of the key (u8), key, value |
//! | 2 | key | any bytes |
//! | 3 | correlation id | u128 |
//! | 4 | reply topic | text: a topic's name |
//! | 5 | trace context | version (0), trace id (16 bytes), parent id (8), flags: as W3C has them. A later version may have more behind |
//! | 6 | trace state | text: W3C's `tracestate` |
//! | 7 | content type | text: a media type |
//! | 8 | schema id | u64 |
//! | 9 | source | text: a name. Only together with tag 10 |
//! | 10 | source sequence | u64 |
//! | 11 | call status | what a message of a request–reply connection is, if it is neither a request nor a final reply: see `call.rs` |
//! | 12 | deadline | u64: nanoseconds since 1970 |
//!
//! Text is UTF-8. A correlation id has 16 bytes because the ids that others give (UUIDs, trace ids) do: they cross a bridge or a
//! gateway unchanged; and it holds what memlane itself needs to tell requests apart, a client and a count, without a table.
//!
//! `known.rs` writes and reads the values; what is wrong with a value is told to whoever asks for it.

mod call;
mod known;
mod origin;
#[cfg(test)]
mod tests;
mod trace_context;

pub use call::{CallFields, CallStatus, IdBlock};
pub use known::Source;
pub use origin::{MessageOrigin, OriginBlock};
pub use trace_context::{InvalidTraceParent, TraceContext};

use crate::layout::{FLAG_EXTENSIONS, FRAME_HEADER_BYTES, Geometry, StateWord};

/// A header given by the application: a short key and some bytes.
pub const TAG_USER_HEADER: u16 = 1;
/// What the message is about.
pub const TAG_KEY: u16 = 2;
/// Which request or conversation it belongs to.
pub const TAG_CORRELATION_ID: u16 = 3;
/// The topic on which an answer is awaited.
pub const TAG_REPLY_TOPIC: u16 = 4;
/// Which trace it belongs to.
pub const TAG_TRACE_CONTEXT: u16 = 5;
/// What the tracing systems on the way added.
pub const TAG_TRACE_STATE: u16 = 6;
/// What kind of bytes the payload is.
pub const TAG_CONTENT_TYPE: u16 = 7;
/// Which schema the payload follows.
pub const TAG_SCHEMA_ID: u16 = 8;
/// Who sent it, by a name that outlives processes.
pub const TAG_SOURCE: u16 = 9;
/// How far its source has got with it.
pub const TAG_SOURCE_SEQUENCE: u16 = 10;
/// What a message of a request–reply connection is.
pub const TAG_CALL_STATUS: u16 = 11;
/// When nobody waits for an answer any more.
pub const TAG_DEADLINE: u16 = 12;
/// When it was published where it comes from, and on which topic if that had another name: of a message that came over a bridge, whose source says the rest.
pub const TAG_ORIGIN: u16 = 13;
/// The source that it had there.
pub const TAG_ORIGINAL_SOURCE: u16 = 14;
/// The sequence of that.
pub const TAG_ORIGINAL_SEQUENCE: u16 = 15;
/// Most bytes that a block may have.
pub const BLOCK_BYTES_MAX: usize = 1 << 16;

pub(crate) const BLOCK_HEADER_BYTES: usize = 4;
const FIELD_HEADER_BYTES: usize = 4;

/// The extensions of a frame can't be read: a length leads out of its block, the block out of the frame, or a value is none of
/// its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame extensions")]
pub struct Malformed;

/// A field that can't be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// A key has 1 to 255 bytes.
    #[error("the key of a header has 1 to 255 bytes")]
    Key,
    /// A block takes at most 64 KiB, a field at most 65,535 bytes.
    #[error("the headers of a message take at most 64 KiB")]
    TooLong,
    /// The field is there already: give it once.
    #[error("this field of the message was given twice")]
    Twice,
    /// The fields to be taken over can't be read.
    #[error("the fields to be taken over can't be read")]
    Malformed,
    /// A reply topic and a source are named as topics are: `md.trades.xnas`.
    #[error("a reply topic and a source have names like `md.trades`: tokens of A-Z a-z 0-9 _ - between dots")]
    Name,
    /// The ids of a trace context are not all zero.
    #[error("a trace context has a trace id and a parent id that are not all zero")]
    TraceContext,
}

/// A block of extensions that is being put together. Reuse it: clearing keeps its memory.
#[derive(Clone, Debug, Default)]
pub struct Block {
    bytes: Vec<u8>,
    /// The known fields in it that a message has once: a bit each.
    given: u16,
}

impl Block {
    /// Takes all fields out.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.given = 0;
    }

    /// Adds a header of the application.
    ///
    /// Errors: [`ExtensionError`]; the block is unchanged.
    pub fn user_header(&mut self, key: &str, value: &[u8]) -> Result<(), ExtensionError> {
        let key_bytes = u8::try_from(key.len()).ok().filter(|bytes| *bytes > 0).ok_or(ExtensionError::Key)?;
        self.field(TAG_USER_HEADER, &[&[key_bytes], key.as_bytes(), value])
    }

    /// Adds a field whose value is `parts`, one behind the other.
    ///
    /// Errors: [`ExtensionError::TooLong`].
    pub fn field(&mut self, tag: u16, parts: &[&[u8]]) -> Result<(), ExtensionError> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let start = self.bytes.len().max(BLOCK_HEADER_BYTES);
        // Room for the alignment is left, so that `finish` can't fail.
        if length > u16::MAX.into() || start + FIELD_HEADER_BYTES + length + 64 > BLOCK_BYTES_MAX {
            return Err(ExtensionError::TooLong);
        }
        self.bytes.resize(start, 0);
        self.bytes.extend_from_slice(&tag.to_le_bytes());
        self.bytes.extend_from_slice(&(length as u16).to_le_bytes());
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        Ok(())
    }

    /// The block as it stands in a frame of a topic whose payloads are aligned to `payload_align`; empty without fields.
    pub fn finish(&mut self, payload_align: u64) -> &[u8] {
        if !self.bytes.is_empty() {
            self.bytes.resize(self.bytes.len().next_multiple_of(payload_align as usize), 0);
            let bytes = self.bytes.len() as u32;
            self.bytes[..BLOCK_HEADER_BYTES].copy_from_slice(&bytes.to_le_bytes());
        }
        &self.bytes
    }
}

/// A field of a frame's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Which field it is.
    pub tag: u16,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// Key and value, if it is a user header. Headers whose key isn't text are none.
    #[must_use]
    pub fn user_header(self) -> Option<(&'a str, &'a [u8])> {
        let (length, rest) = self.value.split_first().filter(|_| self.tag == TAG_USER_HEADER)?;
        let (key, value) = rest.split_at_checked((*length).into())?;
        Some((core::str::from_utf8(key).ok()?, value))
    }
}

/// The fields of a block, one after the other; stops after an error. The default has none.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (header, rest) = self.rest.split_first_chunk::<FIELD_HEADER_BYTES>()?;
        let tag = u16::from_le_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_le_bytes([header[2], header[3]]));
        if tag == 0 {
            self.rest = &[];
            return None;
        }
        let Some((value, rest)) = rest.split_at_checked(length) else {
            self.rest = &[];
            return Some(Err(Malformed));
        };
        self.rest = rest;
        Some(Ok(Field { tag, value }))
    }
}

/// The parts of a frame's body.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// Counter ticks at publishing, if the topic has stamps.
    pub stamp: Option<u64>,
    /// Its extensions.
    pub fields: Fields<'a>,
    /// What was published.
    pub payload: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Takes the body of a frame with the state word `word` apart. Subscribers have checked that it has room for what every
    /// frame of the topic has.
    ///
    /// Errors: [`Malformed`], only for frames with extensions.
    #[inline(always)]
    pub fn of(geometry: &Geometry, word: StateWord, body: &'a [u8]) -> Result<Self, Malformed> {
        let prefix = (geometry.payload_at - FRAME_HEADER_BYTES) as usize;
        let (before, payload) = body.split_at_checked(prefix).ok_or(Malformed)?;
        let stamp = before.first_chunk().filter(|_| geometry.stamps).map(|bytes| u64::from_le_bytes(*bytes));
        if word.flags() & FLAG_EXTENSIONS == 0 {
            return Ok(Self { stamp, fields: Fields { rest: &[] }, payload });
        }
        let (fields, payload) = split_block(geometry, payload)?;
        Ok(Self { stamp, fields, payload })
    }
}

/// The fields of a block as [`Block::finish`] gives it.
#[cfg(not(loom))]
pub(crate) fn fields_of(block: &[u8]) -> Fields<'_> {
    Fields { rest: block.get(BLOCK_HEADER_BYTES..).unwrap_or_default() }
}

/// Splits a body after its stamp into extensions and payload.
#[cold]
fn split_block<'a>(geometry: &Geometry, bytes: &'a [u8]) -> Result<(Fields<'a>, &'a [u8]), Malformed> {
    let block_bytes = u32::from_le_bytes(*bytes.first_chunk().ok_or(Malformed)?) as usize;
    let aligned = block_bytes.is_multiple_of(geometry.payload_align as usize);
    if block_bytes < BLOCK_HEADER_BYTES || !aligned {
        return Err(Malformed);
    }
    let (block, payload) = bytes.split_at_checked(block_bytes).ok_or(Malformed)?;
    Ok((Fields { rest: &block[BLOCK_HEADER_BYTES..] }, payload))
}
