//! Files in shared memory, reserved in full and mapped.
//!
//! A [`Segment`] is one file on a tmpfs, mapped whole. Its space is reserved with `fallocate` when it is made, so that a full
//! tmpfs is an error then and never a SIGBUS at a store. Its mapping is read-only where that is enough, and goes from
//! a forked child ([`crate::fork`]).

use crate::fork;
use crate::lock::LockFile;
use crate::sync::{Ordering, Region, WORD_BYTES};
use core::ptr::NonNull;
use memmap2::{MmapOptions, MmapRaw};
use nix::sys::mman::MmapAdvise;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a segment could not be made or mapped. Nothing is left behind by a failed [`Segment::create`].
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The file system has less room than asked for: make the log smaller, remove topics, or enlarge the tmpfs.
    #[error(
        "{path}: no room for {bytes} bytes: remove topics, make the ring smaller, or enlarge the file system (mount -o remount,size=…)"
    )]
    NoSpace {
        /// The file that was to be made.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The file's mode or group keeps this process out, or its file system is mounted read-only.
    #[error(
        "{path}: no permission to {action}: it needs another user, group or mode, or a file system mounted for writing"
    )]
    NoPermission {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
    },
    /// There is no such file (any more).
    #[error("{path}: does not exist")]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The file exists already.
    #[error("{path}: exists already")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// `mlock` was refused, most often by `RLIMIT_MEMLOCK` (`ulimit -l`).
    #[error("{path}: {bytes} bytes can't be locked in memory ({source}): raise `ulimit -l` or leave lock_memory off")]
    Lock {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// This process, or the host, has as many files open as it may: raise the limit, or subscribe to fewer topics.
    #[error(
        "{path}: too many open files: raise `ulimit -n` (a publisher takes 2 descriptors, a subscriber 1, and 1 more on a topic for many publishers)"
    )]
    TooManyFiles {
        /// The file.
        path: PathBuf,
    },
    /// This process has as many mappings as it may, or no address space for one more.
    #[error(
        "{path}: no room for another mapping: raise `sysctl vm.max_map_count` (each publisher and subscriber takes 2), or the limit on address space (`ulimit -v`)"
    )]
    TooManyMappings {
        /// The file.
        path: PathBuf,
    },
    /// Any other refusal of the kernel.
    #[error("{path}: can't {action}: {source}")]
    System {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SegmentError {
    /// Sorts an error of the system by what a caller can do about it.
    #[must_use]
    pub fn of(path: &Path, action: &'static str, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => return Self::TooManyFiles { path },
            Some(libc::ENOMEM) => return Self::TooManyMappings { path },
            _ => {}
        }
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::AlreadyExists => Self::Exists { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NoPermission { path, action },
            _ => Self::System { path, action, source },
        }
    }
}

/// No page is smaller.
const PAGE_BYTES_MIN: usize = 4096;

/// What may be done with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Load only; a store is a fault of this process, not of its peers.
    ReadOnly,
    /// Load and store.
    ReadWrite,
}

/// How memory behind a mapping is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapOptions {
    /// Ask for huge pages (2 MiB on x86), which save misses of the address cache on large rings. The kernel gives them to a tmpfs that is mounted with
    /// `huge=advise`, `within_size` or `always`, unless `/sys/kernel/mm/transparent_hugepage/shmem_enabled` is `deny`; else nothing changes.
    pub huge_pages: bool,
    /// Touch every page now, so that no later access takes a page fault. Costs 0.05 ms per MiB.
    pub prefault: bool,
    /// Lock the pages in memory (`mlock`), so that they are never swapped out.
    pub lock_memory: bool,
}

/// Whom a file or a directory belongs to: the process's own user and group where `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user's number. Only root can give files to another user.
    pub user: Option<u32>,
    /// The group's number. A user who isn't root can give files to groups of which it is a member.
    pub group: Option<u32>,
}

/// How a segment is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentOptions {
    /// Permission bits of the file, whatever the umask.
    pub mode: u32,
    /// Whom it belongs to.
    pub owner: Owner,
    /// How its memory is treated.
    pub map: MapOptions,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self { mode: 0o600, owner: Owner::default(), map: MapOptions::default() }
    }
}

/// A file in shared memory, mapped whole.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    region: Region,
    access: Access,
}

/// Keeps a mapping and its place on the list of those that a forked child loses. Fields drop in order: off the list first.
struct Mapping {
    _guard: fork::MappingGuard,
    _mapping: MmapRaw,
}

impl Segment {
    /// Makes a file of `bytes` bytes at `path`, reserves its space, and maps it for reading and writing. It reads as zeros.
    ///
    /// Cost: about eight system calls and the zeroing of the pages (0.1–0.3 ms per MiB).
    /// Errors: [`SegmentError`]; the file is removed again.
    pub fn create(path: &Path, bytes: u64, options: &SegmentOptions) -> Result<Self, SegmentError> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(options.mode)
            .open(path)
            .map_err(|error| SegmentError::of(path, "create it", error))?;
        Self::fill(path, &file, bytes, options).inspect_err(|_| {
            // It was made here a moment ago; if it can't be removed either, the first error tells more.
            let _ = std::fs::remove_file(path);
        })
    }

    fn fill(path: &Path, file: &File, bytes: u64, options: &SegmentOptions) -> Result<Self, SegmentError> {
        options.owner.give(path, file, options.mode)?;
        file.set_len(bytes).map_err(|error| SegmentError::of(path, "set its size", error))?;
        // Huge pages come from a page fault in an advised mapping, not from `fallocate`: touch them first, reserve the rest.
        let map = MapOptions { lock_memory: false, ..options.map };
        if map.huge_pages && free_bytes(file) >= bytes {
            drop(Self::map(path, file, Access::ReadWrite, &MapOptions { prefault: true, ..map })?);
        }
        reserve(path, file, bytes)?;
        Self::map(path, file, Access::ReadWrite, &options.map)
    }

    /// Maps the file at `path` as it is.
    ///
    /// Cost: four system calls, more with options that touch or lock memory.
    /// Errors: [`SegmentError`].
    pub fn open(path: &Path, access: Access, options: &MapOptions) -> Result<Self, SegmentError> {
        let file = open_file(path, access)?;
        Self::map(path, &file, access, options)
    }

    fn map(path: &Path, file: &File, access: Access, options: &MapOptions) -> Result<Self, SegmentError> {
        let failed = |action| move |error| SegmentError::of(path, action, error);
        let bytes = file.metadata().map_err(failed("read its size"))?.size();
        let length = usize::try_from(bytes).map_err(|_| failed("map it")(io::ErrorKind::FileTooLarge.into()))?;
        if length == 0 {
            return Err(failed("map it")(io::Error::new(io::ErrorKind::InvalidData, "it is empty")));
        }
        let mut map = MmapOptions::new();
        map.len(length);
        let mapping = match access {
            Access::ReadOnly => map.map_raw_read_only(file),
            Access::ReadWrite => map.map_raw(file),
        }
        .map_err(failed("map it"))?;
        let base = NonNull::new(mapping.as_mut_ptr()).expect("a mapping is never at zero");
        advise(base, length, options).map_err(failed("prepare its memory"))?;
        if options.lock_memory {
            mapping.lock().map_err(|source| SegmentError::Lock { path: path.to_path_buf(), bytes, source })?;
        }
        let guard = fork::guard_mapping(base.as_ptr().expose_provenance(), length);
        // SAFETY:
        // - A mapping starts on a page and is valid for `length` bytes until it is dropped, with the region's last clone.
        // - A read-only mapping is written by nobody: `memlane-ring` maps for writing what it writes.
        let region = unsafe { Region::new(base, length, Arc::new(Mapping { _guard: guard, _mapping: mapping })) };
        if options.prefault && !options.huge_pages {
            touch_pages(&region);
        }
        Ok(Self { path: path.to_path_buf(), region, access })
    }

    /// Its memory.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What may be done with it.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }
}

/// Opens a segment's file without mapping it.
///
/// Errors: [`SegmentError`].
pub fn open_file(path: &Path, access: Access) -> Result<File, SegmentError> {
    options_for(access).open(path).map_err(|error| refused(path, access, error))
}

/// Opens a segment's file to lock slots on it.
///
/// Errors: [`SegmentError`].
pub fn open_locks(path: &Path, access: Access) -> Result<LockFile, SegmentError> {
    LockFile::open(path, &options_for(access)).map_err(|error| refused(path, access, error))
}

/// A pipe of that name, which somebody put there, is not waited for: it is no segment. For files the flag means nothing.
fn options_for(access: Access) -> OpenOptions {
    File::options().read(true).write(access == Access::ReadWrite).custom_flags(libc::O_NONBLOCK).clone()
}

fn refused(path: &Path, access: Access, error: io::Error) -> SegmentError {
    SegmentError::of(path, if access == Access::ReadWrite { "write it" } else { "read it" }, error)
}

impl Owner {
    /// Gives `file`, a file or a directory that errors call `path`, its mode, whatever the umask, and its owner.
    ///
    /// Cost: one to three system calls. Errors: [`SegmentError`].
    pub fn give(self, path: &Path, file: &File, mode: u32) -> Result<(), SegmentError> {
        let failed = |action| move |error| SegmentError::of(path, action, error);
        if self.group.is_some() {
            std::os::unix::fs::fchown(file, None, self.group)
                .map_err(failed("give it to that group, of which its maker must be a member"))?;
        }
        // After the group, since a change of it may clear bits; before the user, since afterwards it is not this one's to change.
        file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed("set its mode"))?;
        if self.user.is_some() {
            std::os::unix::fs::fchown(file, self.user, None)
                .map_err(failed("give it to that user, which only root can"))?;
        }
        Ok(())
    }
}

fn reserve(path: &Path, file: &File, bytes: u64) -> Result<(), SegmentError> {
    let length = i64::try_from(bytes).map_err(|_| SegmentError::NoSpace { path: path.to_path_buf(), bytes })?;
    loop {
        match nix::fcntl::fallocate(file, nix::fcntl::FallocateFlags::empty(), 0, length) {
            Ok(()) => return Ok(()),
            Err(nix::Error::EINTR) => {}
            Err(nix::Error::ENOSPC | nix::Error::EFBIG | nix::Error::ENOMEM | nix::Error::EDQUOT) => {
                return Err(SegmentError::NoSpace { path: path.to_path_buf(), bytes });
            }
            Err(error) => return Err(SegmentError::of(path, "reserve its space", error.into())),
        }
    }
}

fn free_bytes(file: &File) -> u64 {
    nix::sys::statvfs::fstatvfs(file.as_fd())
        .map_or(0, |statistics| statistics.blocks_available() * statistics.fragment_size())
}

fn advise(base: NonNull<u8>, length: usize, options: &MapOptions) -> io::Result<()> {
    let advise = |advice| {
        // SAFETY: the range is a mapping that was just made; none of the advices below changes what it holds.
        unsafe { nix::sys::mman::madvise(base.cast(), length, advice) }
    };
    if options.huge_pages {
        match advise(MmapAdvise::MADV_HUGEPAGE) {
            // A kernel built without them: then there are none.
            Ok(()) | Err(nix::Error::EINVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if options.prefault && options.huge_pages {
        // Few faults, and an error if there is no room: huge pages are touched before the space is reserved.
        match advise(MmapAdvise::MADV_POPULATE_READ) {
            // Linux before 5.14 has no such advice; the pages come with the first access instead.
            Ok(()) | Err(nix::Error::EINVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Loads from every page, so that each is mapped.
///
/// Also where it will be written: tmpfs needs no notice of the first store to a page, so a fault by a load maps it writable. It maps the
/// pages around it too, which one by a store does not, and leaves out the kernel's own walk over all of them: 0.17 µs a
/// page, against 0.28 for `MADV_POPULATE_READ` and 0.8 for `MADV_POPULATE_WRITE`.
fn touch_pages(region: &Region) {
    for at in (0..region.len() & !(WORD_BYTES - 1)).step_by(PAGE_BYTES_MIN) {
        core::hint::black_box(region.word(at).load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_mapping_writes_another_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("segment");
        let options = SegmentOptions {
            mode: 0o640,
            owner: Owner::default(),
            map: MapOptions { huge_pages: true, prefault: true, lock_memory: false },
        };
        let writer = Segment::create(&path, 1 << 20, &options).unwrap();
        let reader = Segment::open(&path, Access::ReadOnly, &options.map).unwrap();
        writer.region().word(4096).store(42, Ordering::Release);
        assert_eq!(reader.region().word(4096).load(Ordering::Acquire), 42);
        assert_eq!(reader.region().len(), 1 << 20);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o640);
        assert_eq!(path.metadata().unwrap().blocks() * 512, 1 << 20, "the whole file is reserved");
    }

    /// Page faults of this thread so far that needed no disk.
    fn minor_faults() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // The name in brackets may hold anything; `minflt` is the eighth after it.
        status.rsplit_once(')').unwrap().1.split_whitespace().nth(7).unwrap().parse().unwrap()
    }

    #[test]
    fn what_was_prefaulted_takes_no_fault_at_its_first_store() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = directory.path().join("segment");
        let pages = 64;
        Segment::create(&path, pages * 4096, &SegmentOptions::default()).unwrap();
        let options = MapOptions { prefault: true, ..MapOptions::default() };
        let segment = Segment::open(&path, Access::ReadWrite, &options).unwrap();
        let before = minor_faults();
        (0..pages as usize).for_each(|page| segment.region().word(page * 4096).store(1, Ordering::Relaxed));
        // Else one a page; asking for the figure takes a few.
        assert!(minor_faults() - before < pages / 4);
    }

    #[test]
    fn a_segment_outlives_its_file_and_its_handle() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("segment");
        let segment = Segment::create(&path, 4096, &SegmentOptions::default()).unwrap();
        let region = segment.region().clone();
        drop(segment);
        std::fs::remove_file(&path).unwrap();
        region.word(0).store(1, Ordering::Relaxed);
        assert_eq!(region.word(0).load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_size_that_no_file_system_has_is_an_error_that_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("segment");
        let error = Segment::create(&path, 1 << 50, &SegmentOptions::default()).unwrap_err();
        assert!(matches!(error, SegmentError::NoSpace { .. } | SegmentError::System { .. }), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_taken_name_a_missing_file_and_an_empty_one_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("segment");
        let missing = Segment::open(&path, Access::ReadOnly, &MapOptions::default()).unwrap_err();
        assert!(matches!(missing, SegmentError::NotFound { .. }), "{missing}");
        File::create(&path).unwrap();
        let taken = Segment::create(&path, 4096, &SegmentOptions::default()).unwrap_err();
        assert!(matches!(taken, SegmentError::Exists { .. }), "{taken}");
        let empty = Segment::open(&path, Access::ReadOnly, &MapOptions::default()).unwrap_err();
        assert!(empty.to_string().contains("it is empty"), "{empty}");
    }

    #[test]
    fn words_outside_of_a_region_are_refused() {
        let panics = |access: fn(&Region)| std::panic::catch_unwind(|| access(&Region::private(64))).is_err();
        assert!(panics(|region| _ = region.word(64)));
        assert!(panics(|region| _ = region.word(4)));
        assert!(panics(|region| region.copy_in(60, &[0; 5])));
        assert!(!panics(|region| region.copy_in(60, &[0; 4])));
    }

    #[test]
    fn copies_of_every_length_arrive_whole() {
        let region = Region::private(1024);
        for length in 0..=600 {
            let bytes: Vec<u8> = (0..length).map(|index| (index * 7 + length) as u8).collect();
            region.copy_in(8, &bytes);
            let mut back = vec![0; length];
            region.copy_out(8, &mut back);
            assert_eq!(back, bytes);
        }
    }
}
