//! Named segments: memory that has a name with the kernel (`shm_open`) in place of a file in the directory of its users, and the
//! small file, a *link*, that stands there and says which it is.
//!
//! Everything but the memory goes by the link: where it lies, who may open it, the locks on it, its removal. The memory has the
//! link's owner and mode. Invariant: memory exists only while a link names it. The link is there first, and goes last
//! ([`remove_memory_below`]); so what a dead process leaves is found with the directory that it left.
//!
//! A link is foreign bytes. It holds no name but a number, from which the name follows, so it can name nothing but memlane's own.

use crate::segment::{Access, SegmentError};
use layout::{LINK_BYTES, MAGIC, PAGE_BYTES};
use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstatat};
use shared_memory::{Shmem, ShmemConf, ShmemError};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The variable that says what new segments lie in where nobody else does: `file` or `named`.
const VARIABLE: &str = "MEMLANE_BACKING";

/// Where the C library has named segments, as files.
const NAMED_SEGMENTS: &str = "/dev/shm";

/// What the memory of segments lies in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backing {
    /// Files on a tmpfs.
    #[default]
    File,
    /// Named segments of the kernel's, for directories that are on no tmpfs.
    Named,
}

impl Backing {
    /// What `MEMLANE_BACKING` says; files if it says nothing.
    ///
    /// Errors: [`SegmentError::BadBacking`].
    pub fn of_environment() -> Result<Self, SegmentError> {
        match std::env::var_os(VARIABLE) {
            None => Ok(Self::default()),
            Some(value) => value.to_string_lossy().parse(),
        }
    }

    /// What the segment at `path` lies in; `None` if there is nothing.
    ///
    /// Cost: one system call.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let bytes = path.metadata().ok()?.size();
        Some(if bytes == LINK_BYTES as u64 { Self::Named } else { Self::File })
    }
}

impl std::str::FromStr for Backing {
    type Err = SegmentError;

    fn from_str(text: &str) -> Result<Self, SegmentError> {
        match text {
            "file" => Ok(Self::File),
            "named" => Ok(Self::Named),
            _ => Err(SegmentError::BadBacking { value: text.to_owned() }),
        }
    }
}

/// How a link looks.
///
/// ```text
///      0  the segment's first page as it was when its maker had written it: who looks what it is needn't map it
///   4096  MAGIC
///   4104  NUMBER, 16 bytes: the memory's name is `/memlane-` and these as 32 hexadecimal digits
///   4120  CHECK: folds MAGIC and NUMBER
///   4128  one byte, zero: an odd length is no segment's, whose memory is whole words. So no store into a segment makes it a link.
/// ```
mod layout {
    pub(super) const PAGE_BYTES: usize = 4096;
    pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"MEMLLNK1");
    pub(super) const LINK_BYTES: usize = PAGE_BYTES + 33;
    const _: () = assert!(LINK_BYTES % 2 == 1);
}

/// Which memory a link names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    number: u128,
}

impl Link {
    /// One that no other has: its number comes from the hasher's random keys and the time.
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let random = || u128::from(RandomState::new().hash_one((crate::clock::unix_ns(), std::process::id())));
        Self { number: random() << 64 | random() }
    }

    /// The link that `file` holds; `None` if it holds a segment itself.
    pub(crate) fn read(file: &File) -> io::Result<Option<Self>> {
        if file.metadata()?.size() != LINK_BYTES as u64 {
            return Ok(None);
        }
        let mut bytes = [0; LINK_BYTES - PAGE_BYTES];
        file.read_exact_at(&mut bytes, PAGE_BYTES as u64)?;
        let (found, _) = bytes[8..].split_first_chunk().expect("it is longer");
        let link = Self { number: u128::from_le_bytes(*found) };
        let is_whole = bytes == link.bytes();
        is_whole.then_some(Some(link)).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the link to its memory is damaged: remove it and make it anew")
        })
    }

    /// Makes `file` this link, with an empty page.
    pub(crate) fn write(self, file: &File) -> io::Result<()> {
        let mut whole = [0; LINK_BYTES];
        whole[PAGE_BYTES..].copy_from_slice(&self.bytes());
        file.write_all_at(&whole, 0)
    }

    /// What stands behind the page.
    fn bytes(self) -> [u8; LINK_BYTES - PAGE_BYTES] {
        let mut bytes = [0; LINK_BYTES - PAGE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.number.to_le_bytes());
        let check = (MAGIC ^ self.number as u64).rotate_left(32) ^ (self.number >> 64) as u64;
        bytes[24..32].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn name(self) -> String {
        format!("/memlane-{:032x}", self.number)
    }

    fn path(self) -> PathBuf {
        PathBuf::from(format!("{NAMED_SEGMENTS}{}", self.name()))
    }

    /// Makes its memory, empty, this process's alone.
    pub(crate) fn make_memory(self) -> io::Result<File> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR;
        Ok(shm_open(self.name().as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?.into())
    }

    /// Maps its memory. For writing, `shared_memory` does, which can't map otherwise; it keeps a descriptor.
    pub(crate) fn map_memory(self, access: Access) -> io::Result<Memory> {
        match access {
            Access::ReadOnly => {
                let file = File::from(shm_open(self.name().as_str(), OFlag::O_RDONLY, Mode::empty())?);
                Memory::map_file(&file, access)
            }
            Access::ReadWrite => match ShmemConf::new().os_id(self.name()).open() {
                Ok(memory) => Ok(Memory::Named(NamedMemory(memory))),
                // All that the kernel has against mapping it whole where it could be opened.
                Err(ShmemError::MapOpenFailed(code)) if code as i32 == libc::EINVAL => Err(is_empty()),
                Err(ShmemError::MapOpenFailed(code) | ShmemError::UnknownOsError(code)) => {
                    Err(io::Error::from_raw_os_error(code as i32))
                }
                Err(other) => Err(io::Error::other(other)),
            },
        }
    }

    /// Whether its memory is gone, as after a restart of the host.
    pub(crate) fn is_lost(self) -> bool {
        self.path().symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Takes the name of its memory away; who has it mapped keeps it. Its memory may be gone already.
    pub(crate) fn remove_memory(self) -> io::Result<()> {
        match shm_unlink(self.name().as_str()) {
            Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The same for a link that `user` owns. Not if the memory is somebody else's: a link that names it says nothing, for whoever clears up as root
    /// comes by links that anybody made. Root gives memory away before the link.
    fn remove_memory_of(self, user: u32) -> io::Result<()> {
        match self.path().symlink_metadata() {
            Ok(memory) if user == 0 || memory.uid() == user => self.remove_memory(),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Mapped memory, unmapped when it is dropped.
pub(crate) enum Memory {
    File(MmapRaw),
    Named(NamedMemory),
}

/// A mapping of `shared_memory`'s.
pub(crate) struct NamedMemory(Shmem);

// SAFETY: it is an address, a length and a descriptor, which mean the same in every thread; only `drop` uses them.
unsafe impl Send for NamedMemory {}
// SAFETY: as for `Send`; through a shared reference they are only read.
unsafe impl Sync for NamedMemory {}

impl Memory {
    /// Maps `file` whole.
    pub(crate) fn map_file(file: &File, access: Access) -> io::Result<Self> {
        let length = usize::try_from(file.metadata()?.size()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if length == 0 {
            return Err(is_empty());
        }
        let mut map = MmapOptions::new();
        map.len(length);
        match access {
            Access::ReadOnly => map.map_raw_read_only(file),
            Access::ReadWrite => map.map_raw(file),
        }
        .map(Self::File)
    }

    pub(crate) fn base(&self) -> *mut u8 {
        match self {
            Self::File(mapping) => mapping.as_mut_ptr(),
            Self::Named(memory) => memory.0.as_ptr(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::File(mapping) => mapping.len(),
            Self::Named(memory) => memory.0.len(),
        }
    }
}

fn is_empty() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is empty")
}

/// The file that holds the memory of the segment at `path`: that one, or where the kernel shows the named segment that it links to.
/// Permissions that are changed later must be changed on both.
///
/// Errors: those of the file system; `InvalidData` for a damaged link.
pub fn memory_path(path: &Path) -> io::Result<PathBuf> {
    Ok(Link::read(&File::open(path)?)?.map_or_else(|| path.to_path_buf(), Link::path))
}

/// Whether `file` is a link whose memory is gone, as after a restart of the host.
///
/// Cost: a system call, or three for a link.
#[must_use]
pub fn is_lost(file: &File) -> bool {
    Link::read(file).is_ok_and(|link| link.is_some_and(Link::is_lost))
}

/// Removes the memory of the link at `path`, if it is one.
pub(crate) fn remove_memory_at(path: &Path) -> io::Result<()> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?;
    match Link::read(&file) {
        Ok(Some(link)) => link.remove_memory_of(file.metadata()?.uid()),
        // What is no link, or none any more, has no memory that could be found.
        Ok(None) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes the memory of all links in the directory at `path` and below, which is about to be removed. Leads through no symbolic link.
pub(crate) fn remove_memory_below(path: &Path) -> io::Result<()> {
    remove_memory_in(nix::dir::Dir::open(path, DIRECTORY_FLAGS, Mode::empty())?)
}

const DIRECTORY_FLAGS: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
const LINK_FLAGS: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);

fn remove_memory_in(mut directory: nix::dir::Dir) -> io::Result<()> {
    let entries: Vec<_> = directory.iter().collect::<Result<_, _>>()?;
    for entry in entries {
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let found = match fstatat(directory.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(nix::Error::ENOENT) => continue,
            found => found?,
        };
        let kind = found.st_mode & libc::S_IFMT;
        if kind == libc::S_IFDIR {
            let below = nix::dir::Dir::openat(directory.as_fd(), name, DIRECTORY_FLAGS, Mode::empty())?;
            remove_memory_in(below)?;
        } else if kind == libc::S_IFREG && found.st_size == LINK_BYTES as i64 {
            let file = open_to_remove(&directory, name)?;
            if let Ok(Some(link)) = Link::read(&file) {
                link.remove_memory_of(file.metadata()?.uid())?;
            }
        }
    }
    Ok(())
}

/// Opens a file that is about to be removed, also if its own owner may not read it.
fn open_to_remove(directory: &nix::dir::Dir, name: &CStr) -> io::Result<File> {
    let open = || nix::fcntl::openat(directory.as_fd(), name, LINK_FLAGS, Mode::empty());
    let file = match open() {
        Err(nix::Error::EACCES) => {
            fchmodat(directory.as_fd(), name, Mode::S_IRUSR, FchmodatFlags::FollowSymlink)?;
            open()?
        }
        opened => opened?,
    };
    Ok(file.into())
}

/// Removes the file at `path`, and its memory if it is a link.
///
/// Errors: those of the file system.
pub fn remove_file(path: &Path) -> io::Result<()> {
    remove_memory_at(path)?;
    fs::remove_file(path)
}

/// Removes the directory at `path` with all that is in it, and the memory of the links there. Who has it mapped keeps it.
///
/// After a crash in between, links are left whose memory is gone: the same again removes them. Errors: those of the file system.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    remove_memory_below(path)?;
    crate::crash_point!("remove.unlinked");
    fs::remove_dir_all(path)
}
