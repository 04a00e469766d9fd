//! What the checks look at: files below two directories, and what only system calls tell.
//!
//! Everything that a check wants to know comes from a [`Host`], so that tests can make one up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memlane_shm::barrier::{self, Light};
use memlane_shm::clock::{TickSource, Ticker};
use memlane_shm::futex::{self, Woken};
use memlane_shm::sync::Region;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, eaccess};

/// Where the default root is made.
const SHARED_MEMORY: &str = "/dev/shm";

/// A host, or what a test makes up as one.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// `/proc`.
    pub(super) proc: PathBuf,
    /// `/sys`.
    pub(super) sys: PathBuf,
    /// Where the buses are, or are to be.
    pub(super) root: Root,
    pub(super) calls: Calls,
}

/// The directory with the buses.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// The directory itself; the default one need not be there yet.
    pub(super) path: PathBuf,
    /// The directory that the default one is made in, on demand; `None` if the root was given.
    pub(super) made_in: Option<PathBuf>,
}

impl Root {
    /// The root that was given, or the default one of this user.
    pub(super) fn new(given: Option<&Path>) -> Self {
        match given {
            Some(path) => Self { path: path.to_owned(), made_in: None },
            None => Self {
                path: Path::new(SHARED_MEMORY).join(format!("memlane-{}", nix::unistd::geteuid())),
                made_in: Some(SHARED_MEMORY.into()),
            },
        }
    }

    /// A directory that is there, on the file system that topics will lie on.
    pub(super) fn existing(&self) -> Option<&Path> {
        let candidates = [Some(self.path.as_path()), self.made_in.as_deref()];
        candidates.into_iter().flatten().find(|path| path.is_dir())
    }
}

/// What system calls tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls {
    /// Room on the file system of the root, if there is one.
    pub(super) room: Option<Room>,
    /// Where stamps come from.
    pub(super) tick_source: TickSource,
    /// Whether the fence of the hot path is free.
    pub(super) has_membarrier: bool,
    /// Whether a thread can sleep on many words at once.
    pub(super) has_futex_waitv: bool,
    /// Whether this user can make named segments.
    pub(super) has_named_segments: bool,
}

/// Room on a file system, for a process without privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) bytes: u64,
    pub(super) free_bytes: u64,
    /// Zero: not limited.
    pub(super) inodes: u64,
    pub(super) free_inodes: u64,
}

impl Room {
    fn of(directory: &Path) -> Option<Self> {
        let found = nix::sys::statvfs::statvfs(directory).ok()?;
        let block_bytes = found.fragment_size();
        Some(Self {
            bytes: found.blocks().saturating_mul(block_bytes),
            free_bytes: found.blocks_available().saturating_mul(block_bytes),
            inodes: found.files(),
            free_inodes: found.files_available(),
        })
    }
}

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where.
    pub(super) path: PathBuf,
    /// Its type, such as `tmpfs`.
    pub(super) kind: String,
    /// Options of the file system, such as `rw,size=64k,huge=advise`.
    pub(super) options: String,
}

impl Mount {
    /// A line of `/proc/self/mountinfo`, see proc(5).
    fn parse(line: &str) -> Option<Self> {
        let (place, file_system) = line.split_once(" - ")?;
        let path = place.split(' ').nth(4)?;
        let mut file_system = file_system.splitn(3, ' ');
        let kind = file_system.next()?.to_owned();
        let options = file_system.nth(1)?.to_owned();
        // The kernel writes these in octal; a backslash last, since it begins the others.
        let path = path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
        Some(Self { path: path.into(), kind, options })
    }

    /// The value of an option such as `huge=advise`.
    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.split(',').find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }
}

impl Host {
    /// The machine that this process runs on.
    ///
    /// Cost: some system calls; one sleeps for a millisecond.
    pub(super) fn this(root: Root) -> Self {
        let room = root.existing().and_then(Room::of);
        let calls = Calls {
            room,
            tick_source: Ticker::best().source(),
            has_membarrier: !Light::for_this_process().is_real_fence() && barrier::heavy(),
            has_futex_waitv: has_futex_waitv(),
            has_named_segments: has_named_segments(),
        };
        Self { proc: "/proc".into(), sys: "/sys".into(), root, calls }
    }

    /// A file below `/proc`, without the space around what it says; `None` if it can't be read.
    pub(super) fn proc(&self, path: &str) -> Option<String> {
        read(&self.proc.join(path))
    }

    /// A file below `/sys`, likewise.
    pub(super) fn sys(&self, path: &str) -> Option<String> {
        read(&self.sys.join(path))
    }

    /// The cpus that this process may use.
    pub(super) fn allowed_cpus(&self) -> Option<BTreeSet<usize>> {
        parse_cpus(&self.status("Cpus_allowed_list")?)
    }

    /// A line of `/proc/self/status`.
    pub(super) fn status(&self, key: &str) -> Option<String> {
        let text = self.proc("self/status")?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        Some(value.trim().to_owned())
    }

    /// What is mounted where the topics lie.
    pub(super) fn mount(&self) -> Option<Mount> {
        let directory = self.root.existing()?.canonicalize().ok()?;
        let text = self.proc("self/mountinfo")?;
        let mounts = text.lines().filter_map(Mount::parse).filter(|mount| directory.starts_with(&mount.path));
        // The last of the deepest: it hides those below it.
        mounts.max_by_key(|mount| mount.path.components().count())
    }

    /// The version of the kernel, as far as it is compared: major and minor number.
    pub(super) fn kernel_version(&self) -> Option<(u32, u32)> {
        let release = self.proc("sys/kernel/osrelease")?;
        let mut numbers = release.split(|next: char| !next.is_ascii_digit()).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Sleeps for a millisecond, if it can.
fn has_futex_waitv() -> bool {
    let region = Region::private(8);
    // A filter may refuse the call with any error. So it counts as there only if it has really slept.
    matches!(futex::wait_any(&[(&region, 0, 0)], Some(Duration::from_millis(1))), Ok(Woken::TimedOut))
}

/// The C library makes them as files of `/dev/shm`, if a tmpfs is mounted there.
fn has_named_segments() -> bool {
    let is_tmpfs = statfs(SHARED_MEMORY).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC);
    is_tmpfs && eaccess(SHARED_MEMORY, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// A list as the kernel writes it: `0-3,8`. Nothing is an empty list.
pub(super) fn parse_cpus(text: &str) -> Option<BTreeSet<usize>> {
    let mut cpus = BTreeSet::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

/// A list as the kernel writes it.
pub(super) fn format_cpus(cpus: &BTreeSet<usize>) -> String {
    let mut ranges = Vec::<(usize, usize)>::new();
    for cpu in cpus.iter().copied() {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let range = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::super::made_up::MadeUp;
    use super::*;

    #[test]
    fn lists_of_cpus_are_read_and_written_as_the_kernel_writes_them() {
        for text in ["", "0", "0-3", "0-1,4,6-7"] {
            assert_eq!(format_cpus(&parse_cpus(text).unwrap()), text);
        }
        assert!(parse_cpus("(null)").is_none() && parse_cpus("1-").is_none());
    }

    #[test]
    fn the_mount_of_a_directory_is_the_last_of_the_deepest_that_hold_it() {
        let made_up = MadeUp::new();
        let root = made_up.host.root.path.canonicalize().unwrap();
        let (root, parent) = (root.display(), root.parent().unwrap().display());
        made_up.proc(
            "self/mountinfo",
            &format!(
                "1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / {root} rw shared:1 - tmpfs t rw,size=1k\n\
                 3 1 0:3 / {root} rw,nosuid - tmpfs t rw,huge=advise\n4 1 0:4 / {parent} rw - tmpfs t rw\n\
                 5 1 0:5 / {root}x rw - tmpfs t rw\n"
            ),
        );
        let mount = made_up.host.mount().unwrap();
        assert_eq!((mount.kind.as_str(), mount.option("huge"), mount.option("size")), ("tmpfs", Some("advise"), None));
    }

    #[test]
    fn versions_of_kernels_are_compared_by_two_numbers() {
        let made_up = MadeUp::new();
        for (release, version) in [("6.18.44-fc\n", Some((6, 18))), ("5.4\n", Some((5, 4))), ("odd", None)] {
            made_up.proc("sys/kernel/osrelease", release);
            assert_eq!(made_up.host.kernel_version(), version, "{release}");
        }
    }
}
