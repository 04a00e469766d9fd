//! Named segments: memory that has a name with the kernel (`shm_open`) in place of a file in the directory of its users, and the
//! small file, a *link*, that stands there and says which it is.
//!
//! Everything but the memory goes by the link: where it lies, who may open it, the locks on it, its removal. The memory has the
//! link's owner and mode. Invariant: memory exists only while a link names it. The link is there first, and goes last
//! (`remove_memory_below`); so what a dead process leaves is found with the directory that it left.
//!
//! A link is foreign bytes. It holds no name but a number, from which the name follows, so it can name nothing but memlane's own.

use crate::segment::{Access, SegmentError};
use layout::{BOOT, CHECK, DEVICE, LINK_BYTES, MAGIC, NUMBER, PAGE_BYTES, TAIL_BYTES};
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
///   4120  BOOT, 16 bytes: the kernel's number for the time since the host was started; zero if it doesn't say
///   4136  DEVICE: the number of the file system that the memory is in, which no other has that is mounted at the same time
///   4144  CHECK: FNV-1a of what stands from MAGIC to here
///   4152  one byte, zero: an odd length is no segment's, whose memory is whole words. So no store into a segment makes it a link.
/// ```
mod layout {
    pub(super) const PAGE_BYTES: usize = 4096;
    pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"MEMLLNK1");
    /// What stands behind the page. Offsets count from there.
    pub(super) const TAIL_BYTES: usize = 57;
    pub(super) const NUMBER: usize = 8;
    pub(super) const BOOT: usize = 24;
    pub(super) const DEVICE: usize = 40;
    pub(super) const CHECK: usize = 48;
    pub(super) const LINK_BYTES: usize = PAGE_BYTES + TAIL_BYTES;
    const _: () = assert!(LINK_BYTES % 2 == 1 && CHECK + 8 + 1 == TAIL_BYTES);
}

/// Which memory a link names, and where that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    number: u128,
    boot: u128,
    device: u64,
}

/// Whether the memory of a link can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whereabouts {
    /// It has its name.
    Here,
    /// Nobody can have it any more by its name: the host was restarted, or somebody removed it.
    Gone,
    /// It may be in another container's `/dev/shm`, which lives.
    Elsewhere,
}

impl Link {
    /// One that no other has, for memory that is made here and now: its number comes from the hasher's random keys and the time.
    pub(crate) fn new() -> io::Result<Self> {
        use std::hash::{BuildHasher, RandomState};
        let random = || u128::from(RandomState::new().hash_one((crate::clock::unix_ns(), std::process::id())));
        Ok(Self { number: random() << 64 | random(), boot: boot(), device: device()? })
    }

    /// The link that `file` holds; `None` if it holds a segment itself.
    pub(crate) fn read(file: &File) -> io::Result<Option<Self>> {
        if file.metadata()?.size() != LINK_BYTES as u64 {
            return Ok(None);
        }
        let mut tail = [0; TAIL_BYTES];
        file.read_exact_at(&mut tail, PAGE_BYTES as u64)?;
        let wide = |at: usize| u128::from_le_bytes(*tail[at..].first_chunk().expect("it is longer"));
        let device = u64::from_le_bytes(*tail[DEVICE..].first_chunk().expect("it is longer"));
        let link = Self { number: wide(NUMBER), boot: wide(BOOT), device };
        (tail == link.tail()).then_some(Some(link)).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the link to its memory is damaged: remove it and make it anew")
        })
    }

    /// Makes `file` this link, with an empty page.
    pub(crate) fn write(self, file: &File) -> io::Result<()> {
        let mut whole = [0; LINK_BYTES];
        whole[PAGE_BYTES..].copy_from_slice(&self.tail());
        file.write_all_at(&whole, 0)
    }

    /// What stands behind the page.
    fn tail(self) -> [u8; TAIL_BYTES] {
        let mut tail = [0; TAIL_BYTES];
        tail[..NUMBER].copy_from_slice(&MAGIC.to_le_bytes());
        tail[NUMBER..BOOT].copy_from_slice(&self.number.to_le_bytes());
        tail[BOOT..DEVICE].copy_from_slice(&self.boot.to_le_bytes());
        tail[DEVICE..CHECK].copy_from_slice(&self.device.to_le_bytes());
        let add = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let check = tail[..CHECK].iter().fold(0xcbf2_9ce4_8422_2325, add);
        tail[CHECK..CHECK + 8].copy_from_slice(&check.to_le_bytes());
        tail
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

    /// Asks for its memory without touching it.
    ///
    /// Missing alone proves nothing: a container that shares a directory need not share `/dev/shm`. But what was made before the host was last started is
    /// gone, and so is what was made in this very `/dev/shm` and isn't there.
    fn whereabouts(self) -> Whereabouts {
        let is_missing = self.path().symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if !is_missing {
            return Whereabouts::Here;
        }
        let now = boot();
        let was_restarted = self.boot != now && self.boot != 0 && now != 0;
        if was_restarted || device().is_ok_and(|device| device == self.device) {
            Whereabouts::Gone
        } else {
            Whereabouts::Elsewhere
        }
    }

    /// Why the memory of the link at `path` can't be had; `None` if it can.
    pub(crate) fn why_missing(self, path: &Path) -> Option<SegmentError> {
        let path = path.to_path_buf();
        match self.whereabouts() {
            Whereabouts::Here => None,
            Whereabouts::Gone => Some(SegmentError::Lost { path }),
            Whereabouts::Elsewhere => Some(SegmentError::Elsewhere { path }),
        }
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
        match self.whereabouts() {
            Whereabouts::Here if user != 0 && self.path().symlink_metadata()?.uid() != user => Ok(()),
            Whereabouts::Here => self.remove_memory(),
            Whereabouts::Gone => Ok(()),
            // The link stays for somebody who can.
            Whereabouts::Elsewhere => Err(io::Error::other("its memory is in another /dev/shm")),
        }
    }
}

/// The kernel's number for the time since the host was started; zero if it doesn't say.
fn boot() -> u128 {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or(0)
}

/// The number of the file system that named segments are in.
fn device() -> io::Result<u64> {
    Ok(fs::metadata(NAMED_SEGMENTS)?.dev())
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

/// Whether `file`, which lies at `path`, is a link whose memory can't be had: that is an error.
///
/// Cost: a system call; for a link three.
/// Errors: [`SegmentError::Lost`], [`SegmentError::Elsewhere`]; what else is wrong with it is left to who maps it.
pub fn check_memory(path: &Path, file: &File) -> Result<(), SegmentError> {
    let link = Link::read(file).ok().flatten();
    link.and_then(|link| link.why_missing(path)).map_or(Ok(()), Err)
}

/// Removes the memory of the link at `path`, if it is one.
fn remove_memory_at(path: &Path) -> io::Result<()> {
    let found = path.symlink_metadata()?;
    if !found.is_file() || found.size() != LINK_BYTES as u64 {
        return Ok(());
    }
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?;
    remove_memory_of_file(&file)
}

/// What is no link any more, has no memory that could be found.
fn remove_memory_of_file(file: &File) -> io::Result<()> {
    match Link::read(file) {
        Ok(Some(link)) => link.remove_memory_of(file.metadata()?.uid()),
        _ => Ok(()),
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
            remove_memory_of_file(&open_to_remove(&directory, name)?)?;
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
/// Errors: those of the file system; then it is there as before, if perhaps without its memory.
pub fn remove_file(path: &Path) -> io::Result<()> {
    remove_memory_at(path)?;
    fs::remove_file(path)
}

/// Removes the directory at `path` with all that is in it, and the memory of the links there. Who has it mapped keeps it.
///
/// After a crash in between, links are left whose memory is gone: the same again removes them. Errors: those of the file system, and
/// for a link whose memory is in another `/dev/shm`; then the files are there as before.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    remove_memory_below(path)?;
    crate::crash_point!("remove.unlinked");
    fs::remove_dir_all(path)
}
