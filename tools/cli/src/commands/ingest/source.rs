//! Where a capture comes from: a file, which can be read again, or stdin. Counts what was read, for the progress bar.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, ensure};

use crate::capture::{self, Capture, CaptureError};
use crate::commands::input::Stdin;
use crate::commands::signals::Signals;

/// A capture that can be begun, once or often.
#[derive(Debug)]
pub(super) struct Source {
    /// `None` for stdin.
    path: Option<PathBuf>,
    first: Option<Capture>,
    signals: Signals,
    bytes_total: Option<u64>,
    bytes_read: Arc<AtomicU64>,
}

struct Counted<R> {
    reader: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Source {
    /// Finds out whether there is a capture at `path`; `-` is stdin.
    pub(super) fn open(path: &Path, repeat: bool, signals: &Signals) -> anyhow::Result<Self> {
        let path = (path != Path::new("-")).then(|| path.to_owned());
        ensure!(path.is_some() || !repeat, "stdin can't be read again: leave --loop out, or give a file");
        let bytes_total = path.as_ref().and_then(|path| path.metadata().ok()).filter(|file| file.is_file());
        let mut source = Self {
            path,
            first: None,
            signals: signals.clone(),
            bytes_total: bytes_total.map(|file| file.len()),
            bytes_read: Arc::default(),
        };
        source.first = Some(source.start()?);
        Ok(source)
    }

    /// The capture, from its begin.
    pub(super) fn begin(&mut self) -> anyhow::Result<Capture> {
        match self.first.take() {
            Some(capture) => Ok(capture),
            None => self.start(),
        }
    }

    fn start(&self) -> anyhow::Result<Capture> {
        self.bytes_read.store(0, Ordering::Relaxed);
        let bytes = self.bytes_read.clone();
        let Some(path) = &self.path else {
            let reader = Stdin::open(&self.signals)?;
            return capture::from_reader(Counted { reader, bytes }).context("stdin");
        };
        let file = File::open(path).map_err(|source| CaptureError::Open { path: path.clone(), source })?;
        capture::from_reader(Counted { reader: file, bytes }).with_context(|| path.display().to_string())
    }

    /// How long the file is, if it is one.
    pub(super) fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }

    /// How much of it was read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }
}
