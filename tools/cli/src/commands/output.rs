//! What goes to stdout: buffered, and an end without a word if the reader has gone.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

const BUFFER_BYTES: usize = 64 * 1024;

/// Whoever read our output reads no more. Not a failure: the command ends quietly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader of the output has gone")]
pub(super) struct ReaderGone;

/// Stdout, or a file. What was written is sure to be out after [`Output::flush`] only.
#[derive(Debug)]
pub(super) struct Output {
    writer: BufWriter<File>,
}

impl Output {
    /// Takes stdout over.
    pub(super) fn stdout() -> anyhow::Result<Self> {
        let stdout = io::stdout().as_fd().try_clone_to_owned().context("stdout is closed")?;
        Ok(Self { writer: BufWriter::with_capacity(BUFFER_BYTES, File::from(stdout)) })
    }

    /// What goes to a file.
    pub(super) fn file(file: File) -> Self {
        Self { writer: BufWriter::with_capacity(BUFFER_BYTES, file) }
    }

    /// Writes bytes as they are.
    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.writer.write_all(bytes).map_err(failed)
    }

    /// Writes a line.
    pub(super) fn line(&mut self, line: &str) -> anyhow::Result<()> {
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes a line of JSON.
    pub(super) fn json<T: Serialize>(&mut self, value: &T) -> anyhow::Result<()> {
        self.line(&serde_json::to_string(value)?)
    }

    /// Hands everything over to the reader.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        self.writer.flush().map_err(failed)
    }

    /// Whether whoever reads from our pipe has closed it, which else only the next write would tell.
    pub(super) fn check_reader(&self) -> anyhow::Result<()> {
        let mut fds = [PollFd::new(self.writer.get_ref().as_fd(), PollFlags::empty())];
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        // What can't be polled has no reader that could go.
        let found = poll(&mut fds, PollTimeout::ZERO).ok().and_then(|_| fds[0].revents());
        if found.is_some_and(|events| events.intersects(gone)) { Err(ReaderGone.into()) } else { Ok(()) }
    }
}

fn failed(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => ReaderGone.into(),
        _ => anyhow::Error::new(error).context("can't write the output"),
    }
}

/// Prints one JSON object, and that is all the output.
pub(super) fn print_json<T: Serialize>(value: &T) -> anyhow::Result<()> {
    let mut output = Output::stdout()?;
    output.json(value)?;
    output.flush()
}
