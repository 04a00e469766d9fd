//! Stdin, which a signal interrupts.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::signals::{LOOK_EVERY, Signals};

const BUFFER_BYTES: usize = 64 * 1024;

/// Stdin. A read that waits ends with an error once a signal came; ask [`Signals::stop`] before believing the error.
#[derive(Debug)]
pub(super) struct Stdin {
    file: File,
    signals: Signals,
}

impl Stdin {
    pub(super) fn open(signals: &Signals) -> anyhow::Result<Self> {
        let stdin = io::stdin().as_fd().try_clone_to_owned().context("stdin is closed")?;
        Ok(Self { file: File::from(stdin), signals: signals.clone() })
    }
}

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.signals.stop().is_some() {
                return Err(io::Error::other("stopped by a signal"));
            }
            let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(LOOK_EVERY).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(0) | Err(Errno::EINTR) => {}
                // What can't be polled doesn't make anybody wait.
                Ok(_) | Err(_) => return self.file.read(buffer),
            }
        }
    }
}

/// A reader, line by line, that takes no line longer than it was told.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// What of the buffer was not given out yet.
    rest: std::ops::Range<usize>,
    line: Vec<u8>,
    line_bytes_max: usize,
    has_ended: bool,
}

/// A line of the input is longer than any message can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a line of stdin is longer than {0} bytes, the longest message of the topic: publish it with --raw to a topic with a larger --capacity"
)]
pub(super) struct LineTooLong(usize);

impl<R: Read> Lines<R> {
    pub(super) fn new(reader: R, line_bytes_max: usize) -> Self {
        Self { reader, buffer: vec![0; BUFFER_BYTES], rest: 0..0, line: Vec::new(), line_bytes_max, has_ended: false }
    }

    /// The next line without its newline; `None` at the end. The last one needs no newline.
    pub(super) fn next_line(&mut self) -> anyhow::Result<Option<&[u8]>> {
        self.line.clear();
        loop {
            let rest = &self.buffer[self.rest.clone()];
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                self.line.extend_from_slice(&rest[..length]);
                self.rest.start += length + 1;
                break;
            }
            self.line.extend_from_slice(rest);
            self.rest = 0..0;
            if self.line.len() > self.line_bytes_max {
                break;
            }
            if !self.has_ended {
                self.rest.end = self.reader.read(&mut self.buffer).context("can't read stdin")?;
                self.has_ended = self.rest.is_empty();
            }
            if self.has_ended {
                if self.line.is_empty() {
                    return Ok(None);
                }
                break;
            }
        }
        if self.line.len() > self.line_bytes_max {
            return Err(LineTooLong(self.line_bytes_max).into());
        }
        Ok(Some(&self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Drop<'a>(&'a [u8]);

    impl Read for Drop<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            buffer[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn lines(reader: impl Read, longest: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut lines = Lines::new(reader, longest);
        let mut found = Vec::new();
        while let Some(line) = lines.next_line()? {
            found.push(line.to_vec());
        }
        assert!(lines.next_line()?.is_none(), "the end is final");
        Ok(found)
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let text = b"one\n\ntwo\r\n\xff\nlast";
        let expected: [&[u8]; 5] = [b"one", b"", b"two\r", b"\xff", b"last"];
        assert_eq!(lines(&text[..], 100).unwrap(), expected);
        assert_eq!(lines(Drop(text), 100).unwrap(), expected);
        assert_eq!(lines(&b"one\n"[..], 100).unwrap(), [b"one"]);
        assert!(lines(&b""[..], 100).unwrap().is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_before_it_is_in_memory() {
        assert!(lines(&b"12345\n"[..], 5).is_ok());
        assert!(lines(&b"123456\n"[..], 5).unwrap_err().is::<LineTooLong>());
        assert!(lines(io::repeat(b'x'), 1 << 20).unwrap_err().is::<LineTooLong>());
    }
}
