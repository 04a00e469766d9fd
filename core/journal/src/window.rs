//! A look at one part of a file after another: in place where the file system can map it, else copied.

use crate::storage::StoredFile;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// A look at a part of a file.
pub trait Window: Debug + Send + Sync {
    /// Looks at `bytes` bytes from `offset` on; returns how many of them are in the file.
    ///
    /// Errors: the system's; then it looks at nothing.
    fn move_to(&mut self, offset: u64, bytes: usize) -> io::Result<usize>;

    /// What it looks at. It begins as aligned as its offset in the file, up to a page.
    fn bytes(&self) -> &[u8];
}

/// What copies are aligned to.
const PAGE_BYTES: usize = 4096;

/// Memory whose bytes begin as aligned as an offset in a file, up to a page.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    buffer: Vec<u8>,
    begin: usize,
    length: usize,
}

impl Aligned {
    /// Room for `bytes` bytes, which would lie at `offset` in a file. What is in it is of before.
    pub(crate) fn room(&mut self, offset: u64, bytes: usize) -> &mut [u8] {
        if self.buffer.len() < bytes + 2 * PAGE_BYTES {
            self.buffer = vec![0; bytes + 2 * PAGE_BYTES];
        }
        // Where the file's pages would begin.
        let page = self.buffer.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        self.begin = page + (offset % PAGE_BYTES as u64) as usize;
        self.length = bytes;
        &mut self.buffer[self.begin..self.begin + bytes]
    }

    /// Only so many of them are there.
    pub(crate) fn keep(&mut self, bytes: usize) {
        self.length = self.length.min(bytes);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.begin..self.begin + self.length]
    }
}

/// A look at copies.
#[derive(Debug)]
pub struct Copying {
    file: Arc<dyn StoredFile>,
    copy: Aligned,
}

impl Copying {
    /// Of `file`, at nothing yet.
    #[must_use]
    pub fn new(file: Arc<dyn StoredFile>) -> Self {
        Self { file, copy: Aligned::default() }
    }
}

impl Window for Copying {
    fn move_to(&mut self, offset: u64, bytes: usize) -> io::Result<usize> {
        let read = self.file.read_at(self.copy.room(offset, bytes), offset);
        self.copy.keep(*read.as_ref().unwrap_or(&0));
        read
    }

    fn bytes(&self) -> &[u8] {
        self.copy.bytes()
    }
}
