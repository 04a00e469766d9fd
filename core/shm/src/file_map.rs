//! Files mapped for reading, whose writers only add to them.
//!
//! Nothing is reserved here, and others may have the file too: a page that was cut off meanwhile, or that its disk can't give, would be a SIGBUS at the
//! first look. So [`FileMap::load`] asks the kernel for the pages first, and says what it can't have.

use memmap2::{Advice, Mmap};
use std::fs::File;
use std::io;
use std::ops::Range;

/// A file, or the first part of it, mapped for reading.
#[derive(Debug)]
pub struct FileMap {
    map: Mmap,
}

impl FileMap {
    /// Maps the first `bytes` bytes of `file`.
    ///
    /// Whoever may write the file is trusted with it as publishers are with the ring: what was handed out isn't written again.
    ///
    /// Cost: a system call; pages are fetched by [`FileMap::load`]. Errors: the system's; `ENODEV` where the file system maps nothing.
    pub fn new(file: &File, bytes: usize) -> io::Result<Self> {
        // SAFETY: the bytes are handed out by `bytes` alone, and whoever may write the file is trusted not to change what lies there, as said above.
        let map = unsafe { memmap2::MmapOptions::new().len(bytes).map(file)? };
        Ok(Self { map })
    }

    /// Bytes that are mapped.
    #[must_use]
    pub fn length(&self) -> usize {
        self.map.len()
    }

    /// Fetches the pages with these bytes, so that a look at them soon is no fault.
    ///
    /// Cost: a system call and, the first time, some 30 ns for each page that the kernel has in memory. Errors: `EFAULT` for a page that is no longer in the file, or that can't be read;
    /// `EINVAL` before Linux 5.14.
    pub fn load(&self, range: Range<usize>) -> io::Result<()> {
        if range.start > range.end || range.end > self.map.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.map.advise_range(Advice::PopulateRead, range.start, range.end - range.start)
    }

    /// These bytes.
    ///
    /// # Panics
    /// If they aren't mapped.
    #[inline(always)]
    #[must_use]
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.map[range]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_an_error_where_it_is_loaded() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 * 65536).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"here", 65536).unwrap();
        let map = FileMap::new(&file, 3 * 65536).unwrap();
        map.load(65536..2 * 65536).unwrap();
        assert_eq!(map.bytes(65536..65541), b"here\0");
        file.set_len(65536).unwrap();
        assert!(map.load(65536..2 * 65536).is_err());
        map.load(100..65536).unwrap();
        assert!(map.load(0..4 * 65536).is_err(), "more than is mapped");
    }
}
