//! Files mapped for reading, whose writers only add to them.
//!
//! Nothing is reserved here, and others may have the file too: a page that was cut off meanwhile, or that its disk can't give, would be a SIGBUS at the
//! first look. So [`FileMap::load`] asks the kernel for the pages first, and says what it can't have.
//!
//! To have each page mapped ahead takes some 300 ns (measured). So of the file's owner, to whom the kernel tells which pages it has in memory, one in sixteen is asked for:
//! with it the kernel maps those around it that it has, and only if any is missing then are all asked for.

use memmap2::{Advice, Mmap};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

/// A file, or the first part of it, mapped for reading.
#[derive(Debug)]
pub struct FileMap {
    map: Mmap,
    /// Whether the kernel tells which pages are in memory: to others than the owner it says so of all.
    is_told: bool,
}

/// How many pages are asked for at once.
const PAGES: usize = 256;
const PAGE_BYTES: usize = 4096;
/// What the kernel maps with one fault, of pages that it has in memory (`fault_around_bytes`).
const MAPPED_AT_ONCE: usize = 65536;

impl FileMap {
    /// Maps the first `bytes` bytes of `file`.
    ///
    /// Whoever may write the file is trusted with it as publishers are with the ring: what was handed out isn't written again.
    ///
    /// Cost: a system call; pages are fetched by [`FileMap::load`]. Errors: the system's; `ENODEV` where the file system maps nothing.
    pub fn new(file: &File, bytes: usize) -> io::Result<Self> {
        // SAFETY: the bytes are handed out by `bytes` alone, and whoever may write the file is trusted not to change what lies there, as said above.
        let map = unsafe { memmap2::MmapOptions::new().len(bytes).map(file)? };
        Ok(Self { map, is_told: file.metadata()?.uid() == nix::unistd::geteuid().as_raw() })
    }

    /// Bytes that are mapped.
    #[must_use]
    pub fn length(&self) -> usize {
        self.map.len()
    }

    /// Fetches the pages with these bytes, so that a look at them soon is no fault.
    ///
    /// Cost: a system call for each 64 KiB, and some 60 ns for each page that is in memory. Errors: `EFAULT` for a page that is no longer in the file, or that can't be read;
    /// `EINVAL` before Linux 5.14.
    pub fn load(&self, range: Range<usize>) -> io::Result<()> {
        if range.start > range.end || range.end > self.map.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.is_told {
            let first = range.start / MAPPED_AT_ONCE * MAPPED_AT_ONCE;
            for begin in (first..range.end).step_by(MAPPED_AT_ONCE) {
                self.map.advise_range(Advice::PopulateRead, begin.max(range.start), 1)?;
            }
            if self.are_in_memory(range.clone()) {
                return Ok(());
            }
        }
        self.map.advise_range(Advice::PopulateRead, range.start, range.end - range.start)
    }

    /// Whether the kernel has all pages with these bytes, which are mapped, in memory.
    fn are_in_memory(&self, range: Range<usize>) -> bool {
        let mut told = [0_u8; PAGES];
        let first = range.start / PAGE_BYTES * PAGE_BYTES;
        (first..range.end).step_by(PAGES * PAGE_BYTES).all(|begin| {
            let bytes = (range.end - begin).min(PAGES * PAGE_BYTES);
            let from = self.map[begin..begin + bytes].as_ptr().cast_mut().cast();
            // SAFETY: `from` begins a page, as the mapping and `begin` do; all that is written is a byte for each page of at least `PAGE_BYTES`, and `told` has as many.
            let asked = unsafe { libc::mincore(from, bytes, told.as_mut_ptr()) };
            asked == 0 && told[..bytes.div_ceil(PAGE_BYTES)].iter().all(|page| page & 1 == 1)
        })
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
