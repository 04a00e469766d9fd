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

/// A look at copies.
#[derive(Debug)]
pub struct Copying {
    file: Arc<dyn StoredFile>,
    buffer: Vec<u8>,
    begin: usize,
    length: usize,
}

impl Copying {
    /// Of `file`, at nothing yet.
    #[must_use]
    pub fn new(file: Arc<dyn StoredFile>) -> Self {
        Self { file, buffer: Vec::new(), begin: 0, length: 0 }
    }
}

impl Window for Copying {
    fn move_to(&mut self, offset: u64, bytes: usize) -> io::Result<usize> {
        self.length = 0;
        if self.buffer.len() < bytes + 2 * PAGE_BYTES {
            self.buffer = vec![0; bytes + 2 * PAGE_BYTES];
        }
        // Where the file's pages would begin.
        let page = self.buffer.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        self.begin = page + (offset % PAGE_BYTES as u64) as usize;
        self.length = self.file.read_at(&mut self.buffer[self.begin..self.begin + bytes], offset)?;
        Ok(self.length)
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.begin..self.begin + self.length]
    }
}
