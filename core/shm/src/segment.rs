//! Shared memory, reserved in full and mapped.
//!
//! A [`Segment`] is one file on a tmpfs, or a named segment ([`crate::named`]) with a link to it in the file's place, mapped whole.
//! Its space is reserved with `fallocate` when it is made, so that a full tmpfs is an error then and never a SIGBUS at a store. Its
//! mapping is read-only where that is enough, and goes from
//! a forked child ([`crate::fork`]).

use crate::fork;
use crate::lock::LockFile;
use crate::named::{Backing, Link, Memory};
use crate::sync::{Ordering, Region, WORD_BYTES};
use core::ptr::NonNull;
use nix::sys::mman::MmapAdvise;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
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
    /// The named segment with its memory is gone, as after a restart of the host, or somebody removed it: what links to it is of no use any more.
    #[error(
        "{path}: its memory is gone, as after a restart of the host: remove the topic (memlane gc does) and make it anew"
    )]
    Lost {
        /// The link.
        path: PathBuf,
    },
    /// The named segment with its memory is not in the `/dev/shm` of this process: share that of whoever made it.
    #[error(
        "{path}: its memory is not in this /dev/shm, which is another container's than its maker's, or was mounted anew: share one (--ipc), or remove the topic"
    )]
    Elsewhere {
        /// The link.
        path: PathBuf,
    },
    /// `MEMLANE_BACKING` says what can't be.
    #[error("MEMLANE_BACKING can't be {value}: give `file` or `named`")]
    BadBacking {
        /// What was given.
        value: String,
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
    /// What its memory lies in.
    pub backing: Backing,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self { mode: 0o600, owner: Owner::default(), map: MapOptions::default(), backing: Backing::File }
    }
}

/// Shared memory with a place on the file system, mapped whole.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    region: Region,
    access: Access,
    /// The link to it, if it is a named one that was just made.
    made_link: Option<File>,
}

/// Keeps a mapping and its place on the list of those that a forked child loses. Fields drop in order: off the list first.
struct Mapping {
    _guard: fork::MappingGuard,
    _memory: Memory,
}

impl Segment {
    /// Makes a segment of `bytes` bytes at `path`, reserves its space, and maps it for reading and writing. It reads as zeros.
    ///
    /// Cost: about eight system calls, a dozen for a named one, and the zeroing of the pages (0.1–0.3 ms per MiB).
    /// Errors: [`SegmentError`]; everything is removed again.
    pub fn create(path: &Path, bytes: u64, options: &SegmentOptions) -> Result<Self, SegmentError> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(options.mode)
            .open(path)
            .map_err(|error| SegmentError::of(path, "create it", error))?;
        let made = match options.backing {
            Backing::File => Self::fill(path, &file, bytes, options),
            Backing::Named => Self::create_named(path, file, bytes, options),
        };
        made.inspect_err(|_| {
            // It was made here a moment ago; if it can't be removed either, the first error tells more.
            let _ = std::fs::remove_file(path);
        })
    }

    /// Makes the memory of a segment beside `file`, which becomes a link to it.
    fn create_named(path: &Path, file: File, bytes: u64, options: &SegmentOptions) -> Result<Self, SegmentError> {
        let failed = |action| move |source| SegmentError::System { path: path.to_path_buf(), action, source };
        let link = Link::new().map_err(failed("make a named segment (/dev/shm)"))?;
        // First, so that there is no memory that nothing leads to, wherever this process dies.
        link.write(&file).map_err(failed("write a link to a named segment"))?;
        crate::crash_point!("create.linked");
        let memory = link.make_memory().map_err(failed("make a named segment (shm_open)"))?;
        crate::crash_point!("create.named");
        let filled = Self::fill(path, &memory, bytes, options);
        // The memory was given away first: a link of root's own is believed whosever the memory is.
        let given = filled.and_then(|made| options.owner.give(path, &file, options.mode).map(|()| made));
        given.map(|made| Self { made_link: Some(file), ..made }).inspect_err(|_| {
            let _ = link.remove_memory();
        })
    }

    fn fill(path: &Path, file: &File, bytes: u64, options: &SegmentOptions) -> Result<Self, SegmentError> {
        let failed = |action| move |error| SegmentError::of(path, action, error);
        options.owner.give(path, file, options.mode)?;
        file.set_len(bytes).map_err(failed("set its size"))?;
        let map = |options: &MapOptions| {
            let memory = Memory::map_file(file, Access::ReadWrite).map_err(failed("map it"))?;
            Self::prepare(path, memory, Access::ReadWrite, options)
        };
        // Huge pages come from a page fault in an advised mapping, not from `fallocate`: touch them first, reserve the rest.
        if options.map.huge_pages && free_bytes(file) >= bytes {
            drop(map(&MapOptions { prefault: true, lock_memory: false, ..options.map })?);
        }
        reserve(path, file, bytes)?;
        map(&options.map)
    }

    /// Maps the segment at `path` as it is.
    ///
    /// Cost: five system calls, nine for a named one, more with options that touch or lock memory.
    /// Errors: [`SegmentError`].
    pub fn open(path: &Path, access: Access, options: &MapOptions) -> Result<Self, SegmentError> {
        let file = open_file(path, access)?;
        let failed = |error: io::Error| SegmentError::of(path, "map it", error);
        let memory = match Link::read(&file).map_err(failed)? {
            None => Memory::map_file(&file, access).map_err(failed)?,
            Some(link) => link.map_memory(access).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => link.why_missing(path).unwrap_or_else(|| refused(path, access, error)),
                _ => refused(path, access, error),
            })?,
        };
        Self::prepare(path, memory, access, options)
    }

    fn prepare(path: &Path, memory: Memory, access: Access, options: &MapOptions) -> Result<Self, SegmentError> {
        let failed = |action| move |error| SegmentError::of(path, action, error);
        let (base, length) = (NonNull::new(memory.base()).expect("a mapping is never at zero"), memory.len());
        advise(base, length, options).map_err(failed("prepare its memory"))?;
        if options.lock_memory {
            // SAFETY: the range is a mapping that was just made.
            let locked = unsafe { nix::sys::mman::mlock(base.cast(), length) };
            locked.map_err(|error| SegmentError::Lock {
                path: path.to_path_buf(),
                bytes: length as u64,
                source: error.into(),
            })?;
        }
        let guard = fork::guard_mapping(base.as_ptr().expose_provenance(), length);
        // SAFETY:
        // - A mapping starts on a page and is valid for `length` bytes until it is dropped, with the region's last clone.
        // - A read-only mapping is written by nobody: `memlane-ring` maps for writing what it writes.
        let region = unsafe { Region::new(base, length, Arc::new(Mapping { _guard: guard, _memory: memory })) };
        if options.prefault && !options.huge_pages {
            touch_pages(&region);
        }
        Ok(Self { path: path.to_path_buf(), region, access, made_link: None })
    }

    /// Writes the first page of a segment that was just made. Whoever looks what it is may read that from the file at its path, also if that
    /// is a link, so the page is not to change any more.
    ///
    /// Cost: a copy, and for a named one a system call. Errors: [`SegmentError`].
    ///
    /// # Panics
    /// If it is longer than a page, or than the segment.
    pub fn write_first_page(&self, page: &[u8]) -> Result<(), SegmentError> {
        assert!(page.len() <= PAGE_BYTES_MIN, "it is one page");
        self.region.copy_in(0, page);
        let written = self.made_link.as_ref().map_or(Ok(()), |link| link.write_all_at(page, 0));
        written.map_err(|error| SegmentError::of(&self.path, "write to it", error))
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

/// Whether `file` is what still has its name at `path`.
///
/// Cost: two system calls.
#[must_use]
pub fn is_at(path: &Path, file: &File) -> bool {
    let number = |found: io::Result<std::fs::Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
    number(path.metadata()).is_some_and(|there| Some(there) == number(file.metadata()))
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
#[path = "segment_tests.rs"]
mod tests;
