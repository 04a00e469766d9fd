//! Fields of fixed width, one behind the other. Whatever is read is checked first: bytes may be anything.

use crate::layout::TEXT_BYTES_MAX;

/// Bytes that are no message: where, and what is wrong with them. Whoever sent them is to be told and left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct Malformed {
    /// Where it begins, in bytes from the message's begin.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// Puts fields behind each other.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    pub(crate) bytes: Vec<u8>,
}

impl Fields {
    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A text, cut at the last letter that fits if it is too long.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let text = &text[..end];
        self.u16(text.len() as u16).bytes.extend_from_slice(text.as_bytes());
        self
    }

    /// A text with a length of four bytes, which the caller has bounded.
    pub(crate) fn long_text(&mut self, text: &str) -> &mut Self {
        self.u32(text.len() as u32).bytes.extend_from_slice(text.as_bytes());
        self
    }
}

/// Appends a number in groups of seven bits, the lowest first, each but the last marked (LEB128).
#[inline]
pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// A difference as a number that is small if it is, in either direction (zigzag).
#[inline]
pub(crate) fn zigzag(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)) as u64
}

/// What [`zigzag`] made a number of.
#[inline]
pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Takes fields from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }

    pub(crate) fn is_not_at_end(&self) -> bool {
        self.at < self.bytes.len()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..count));
        let taken = taken.ok_or_else(|| self.malformed("it ends within a field"))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number as [`put_varint`] puts it.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = *self.bytes.get(self.at).ok_or_else(|| self.malformed("it ends within a number"))?;
            if shift == 63 && byte > 1 {
                return Err(self.malformed("a number has more than 64 bits"));
            }
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        let begin = *self;
        let length = self.u16()?.into();
        self.text_of(begin, length, TEXT_BYTES_MAX)
    }

    /// A text of at most so many bytes, as [`Fields::long_text`] puts it.
    pub(crate) fn long_text(&mut self, bytes_max: usize) -> Result<&'a str, Malformed> {
        let begin = *self;
        let length = self.u32()? as usize;
        self.text_of(begin, length, bytes_max)
    }

    fn text_of(&mut self, begin: Self, length: usize, bytes_max: usize) -> Result<&'a str, Malformed> {
        if length > bytes_max {
            return Err(begin.malformed("a text is too long"));
        }
        core::str::from_utf8(self.take(length)?).map_err(|_| begin.malformed("a text isn't UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_differences_come_out_as_they_went_in(values in proptest::collection::vec(any::<i64>(), 0..20)) {
            let mut bytes = Vec::new();
            values.iter().for_each(|value| put_varint(&mut bytes, zigzag(*value)));
            let mut from = Cursor::new(&bytes);
            for value in values {
                prop_assert_eq!(from.varint().map(unzigzag), Ok(value));
            }
            prop_assert!(!from.is_not_at_end());
        }
    }

    #[test]
    fn a_number_that_is_cut_or_too_long_is_refused() {
        for bytes in
            [&[][..], &[0x80], &[0xff; 9], &[0xff; 20], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2]]
        {
            assert!(Cursor::new(bytes).varint().is_err(), "{bytes:?}");
        }
    }
}
