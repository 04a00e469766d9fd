//! Finds out how a file is packed and what it holds.
//!
//! By its first bytes alone: gzip by its magic, then pcap by its magic or a line by its receive time.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::error::CaptureError;
use super::lines::LineReader;
use super::pcap::{PcapReader, PcapVariant};
use super::{Capture, Source};

/// How much of the file is read at a time.
const BUFFER_BYTES: usize = 128 * 1024;

/// Enough for every magic, and for a receive time of 20 digits with its space.
const HEAD_BYTES: usize = 32;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Opens a capture: a pcap file of IEX DEEP packets, or lines of `<receive time, ns> <raw JSON>`, either of
/// them as it is or packed with gzip. Reads the first bytes only.
///
/// # Errors
///
/// [`CaptureError`] if the file can't be opened or is not such a capture.
pub fn open(path: impl AsRef<Path>) -> Result<Capture, CaptureError> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|source| CaptureError::Open { path: path.to_owned(), source })?;
    from_reader(file)
}

/// As [`open`], from any reader. It need not be buffered.
///
/// # Errors
///
/// [`CaptureError`] if the reader fails or its bytes are not such a capture.
pub fn from_reader(reader: impl Read + Send + 'static) -> Result<Capture, CaptureError> {
    let (head, reader) = peek(reader)?;
    if head.starts_with(&GZIP_MAGIC) {
        let unpacked = MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, reader));
        let (head, unpacked) = peek(unpacked)?;
        from_unpacked(&head, unpacked)
    } else {
        from_unpacked(&head, reader)
    }
}

fn from_unpacked(head: &[u8], reader: impl Read + Send + 'static) -> Result<Capture, CaptureError> {
    let input = Box::new(BufReader::with_capacity(BUFFER_BYTES, reader));
    if let Some(variant) = PcapVariant::from_head(head) {
        return Ok(Capture::new(Source::Pcap(PcapReader::new(variant, input)?)));
    }
    if head.starts_with(&PCAPNG_MAGIC) {
        return Err(CaptureError::Pcapng);
    }
    if begins_with_time(head) {
        return Ok(Capture::new(Source::Lines(LineReader::new(input))));
    }
    Err(CaptureError::Unrecognized { first_bytes: head.to_vec() })
}

/// Digits and a space: a line's receive time.
fn begins_with_time(head: &[u8]) -> bool {
    let digits = head.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && head.get(digits) == Some(&b' ')
}

/// The first bytes, and a reader that gives them once more before the rest.
fn peek<R: Read>(mut reader: R) -> Result<(Vec<u8>, impl Read + use<R>), CaptureError> {
    let mut head = vec![0; HEAD_BYTES];
    let found = read_full(&mut reader, &mut head).map_err(|source| CaptureError::Read { offset_bytes: 0, source })?;
    head.truncate(found);
    Ok((head.clone(), Cursor::new(head).chain(reader)))
}

/// Reads until the buffer is full or the input ends; returns how many bytes were read.
pub(super) fn read_full<R: Read + ?Sized>(reader: &mut R, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
