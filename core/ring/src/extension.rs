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
//!
//! | tag | field | value |
//! |---|---|---|
//! | 1 | user header | length of the key (u8), key, value |

use crate::layout::{FLAG_EXTENSIONS, FRAME_HEADER_BYTES, Geometry, StateWord};

/// A header given by the application: a short key and some bytes.
pub const TAG_USER_HEADER: u16 = 1;
/// Most bytes that a block may have.
pub const BLOCK_BYTES_MAX: usize = 1 << 16;

const BLOCK_HEADER_BYTES: usize = 4;
const FIELD_HEADER_BYTES: usize = 4;

/// The extensions of a frame can't be read: a length leads out of its block, or the block out of the frame.
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
}

/// A block of extensions that is being put together. Reuse it: clearing keeps its memory.
#[derive(Clone, Debug, Default)]
pub struct Block {
    bytes: Vec<u8>,
}

impl Block {
    /// Takes all fields out.
    pub fn clear(&mut self) {
        self.bytes.clear();
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

/// The fields of a block, one after the other; stops after an error.
#[derive(Clone, Debug)]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::TopicOptions;
    use crate::layout::Phase;

    fn geometry() -> Geometry {
        TopicOptions { stamps: true, payload_align: 16, ..TopicOptions::default() }.geometry().unwrap()
    }

    fn word(flags: u64, body: &[u8]) -> StateWord {
        StateWord::new(0, Phase::Committed, flags, 0, body.len() as u64)
    }

    #[test]
    fn headers_come_back_and_unknown_tags_are_skipped() {
        let geometry = geometry();
        let mut block = Block::default();
        block.user_header("trace", b"abc").unwrap();
        block.field(999, &[b"from the future"]).unwrap();
        block.user_header("empty", b"").unwrap();
        let mut body = 77_u64.to_le_bytes().to_vec();
        body.extend_from_slice(block.finish(geometry.payload_align));
        let payload_at = body.len() + 8;
        assert_eq!(payload_at % 16, 0, "the payload stays aligned");
        body.extend_from_slice(b"payload");
        let parts = Parts::of(&geometry, word(FLAG_EXTENSIONS, &body), &body).unwrap();
        assert_eq!((parts.stamp, parts.payload), (Some(77), &b"payload"[..]));
        let headers: Vec<_> = parts.fields.filter_map(|field| field.unwrap().user_header()).collect();
        assert_eq!(headers, [("trace", &b"abc"[..]), ("empty", &b""[..])]);
    }

    #[test]
    fn a_frame_without_the_flag_has_a_payload_only() {
        let geometry = geometry();
        let body = [0; 20];
        let parts = Parts::of(&geometry, word(0, &body), &body).unwrap();
        assert_eq!((parts.fields.count(), parts.payload.len()), (0, 12));
    }

    #[test]
    fn lying_lengths_are_malformed_and_never_a_panic() {
        let geometry = geometry();
        let mut block = Block::default();
        block.user_header("key", b"value").unwrap();
        let mut body = 0_u64.to_le_bytes().to_vec();
        body.extend_from_slice(block.finish(16));
        for index in 8..body.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut lying = body.clone();
                lying[index] = value;
                if let Ok(parts) = Parts::of(&geometry, word(FLAG_EXTENSIONS, &lying), &lying) {
                    assert!(parts.fields.count() <= 8);
                }
            }
        }
        for cut in 0..body.len() {
            let _ = Parts::of(&geometry, word(FLAG_EXTENSIONS, &body), &body[..cut]).map(|parts| parts.fields.count());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_leaves_the_block_as_it_was() {
        let mut block = Block::default();
        block.user_header("a", b"1").unwrap();
        let before = block.clone().finish(8).to_vec();
        assert_eq!(block.user_header("", b"").unwrap_err(), ExtensionError::Key);
        assert_eq!(block.user_header(&"k".repeat(256), b"").unwrap_err(), ExtensionError::Key);
        assert_eq!(block.user_header("b", &[0; 70_000]).unwrap_err(), ExtensionError::TooLong);
        assert_eq!(block.finish(8), before);
    }
}
