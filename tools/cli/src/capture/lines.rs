//! Reads lines of `<receive time, ns> <raw JSON>`: digits, one space, and the rest of the line as it is.

use std::io::{BufRead, Read};

use serde::de::IgnoredAny;

use super::Message;
use super::error::{CaptureError, LineError};
use super::ledger::{Ledger, Place, ProblemKind};

/// A longer line is an error: 16 MiB, without the newline.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Reads a file of lines from its begin.
pub(super) struct LineReader {
    input: Box<dyn BufRead + Send>,
    /// How far the file was read.
    offset_bytes: u64,
    /// Lines read.
    count: u64,
    /// The line at hand, without its newline.
    line: Vec<u8>,
    received_ns: u64,
    /// Where in `line` the JSON begins.
    json_start: usize,
}

impl LineReader {
    pub(super) fn new(input: Box<dyn BufRead + Send>) -> Self {
        Self { input, offset_bytes: 0, count: 0, line: Vec::new(), received_ns: 0, json_start: 0 }
    }

    /// Goes to the next message; false at the end.
    pub(super) fn advance(&mut self, ledger: &mut Ledger) -> Result<bool, CaptureError> {
        loop {
            let place = Place { number: self.count + 1, offset_bytes: self.offset_bytes };
            if !self.read_line(place)? {
                return Ok(false);
            }
            match check(&self.line) {
                Ok((received_ns, json_start)) => {
                    (self.received_ns, self.json_start) = (received_ns, json_start);
                    ledger.packet();
                    return Ok(true);
                }
                Err(error) => ledger.bad(ProblemKind::BadLine, place, &error),
            }
        }
    }

    /// The message that [`advance`](Self::advance) went to.
    pub(super) fn message(&self) -> Message<'_> {
        Message { received_ns: self.received_ns, bytes: &self.line[self.json_start..] }
    }

    /// Reads a line; false at the end.
    fn read_line(&mut self, Place { number, offset_bytes }: Place) -> Result<bool, CaptureError> {
        self.line.clear();
        let found = (&mut self.input)
            .take(LINE_BYTES_MAX as u64 + 1)
            .read_until(b'\n', &mut self.line)
            .map_err(|source| CaptureError::Read { offset_bytes, source })?;
        if found == 0 {
            return Ok(false);
        }
        self.count = number;
        self.offset_bytes += found as u64;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() > LINE_BYTES_MAX {
            return Err(CaptureError::LineTooLong { line: number, offset_bytes });
        }
        Ok(true)
    }
}

/// The receive time in ns, and where the JSON begins.
fn check(line: &[u8]) -> Result<(u64, usize), LineError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || line.get(digits) != Some(&b' ') {
        return Err(LineError::Time);
    }
    let received_ns = line[..digits]
        .iter()
        .try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .ok_or(LineError::TimeTooLarge)?;
    let json_start = digits + 1;
    // serde_json looks no further than the closing quote of a string that it ignores, so UTF-8 is checked first.
    serde_json::from_str::<IgnoredAny>(std::str::from_utf8(&line[json_start..])?)?;
    Ok((received_ns, json_start))
}
