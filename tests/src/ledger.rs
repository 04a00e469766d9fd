//! What senders published, written down call by call, so that it is known after they were killed.
//!
//! The file has two words for each sender: how many messages it had begun to publish, and how many had been published for sure when
//! the call returned. What lies between may or may not be in the log; what lies below must be.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Most senders of a ledger.
pub const SENDERS_MAX: u32 = 1 << 16;

/// The ledger of a stage; each process opens its own.
#[derive(Debug)]
pub struct Ledger {
    file: File,
}

/// What a sender wrote down: counts of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Begun to publish.
    pub begun: u64,
    /// Published for sure.
    pub published: u64,
}

impl Ledger {
    /// Opens the ledger at `path`; makes it if it isn't there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(u64::from(SENDERS_MAX) * 16)?;
        Ok(Self { file })
    }

    /// `sender` is about to publish its messages up to number `next`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn begin(&self, sender: u32, next: u64) -> io::Result<()> {
        self.file.write_all_at(&next.to_le_bytes(), u64::from(sender) * 16)
    }

    /// `sender` has published its messages up to number `next`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn published(&self, sender: u32, next: u64) -> io::Result<()> {
        self.file.write_all_at(&next.to_le_bytes(), u64::from(sender) * 16 + 8)
    }

    /// What `sender` wrote down.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn entry(&self, sender: u32) -> io::Result<Entry> {
        let mut words = [[0; 8]; 2];
        // The later word first: a call in between then widens the entry instead of inverting it.
        self.file.read_exact_at(&mut words[1], u64::from(sender) * 16 + 8)?;
        self.file.read_exact_at(&mut words[0], u64::from(sender) * 16)?;
        Ok(Entry { begun: u64::from_le_bytes(words[0]), published: u64::from_le_bytes(words[1]) })
    }
}
