//! The machine's file system.
//!
//! Nothing is kept between calls: a file is a descriptor, and the kernel knows the rest. What a call makes survives a loss of power
//! is said in storage.rs; what it leaves after an error is said here, at each.

use crate::layout::crc;
use crate::storage::{FileAccess, Room, Storage, StoredFile};
use crate::window::{Copying, Window};
use memlane_shm::LockFile;
use memlane_shm::file_map::FileMap;
use nix::errno::Errno;
use nix::fcntl::FallocateFlags;
use nix::libc;
use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Who may use a file: its owner writes it, its group reads it, as far as the umask lets them.
const FILE_MODE: u32 = 0o640;

/// Who may use a directory, as above.
const DIRECTORY_MODE: u32 = 0o750;

/// How much is written at once where room is written ahead, in bytes.
const ZEROS_BYTES: usize = 256 * 1024;

/// The byte of a lock file that is locked.
const LOCK_SLOT: u32 = 0;

/// The machine's file system.
///
/// Paths are the system's: what isn't absolute begins at the working directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<PathBuf> =
            path.ancestors().take_while(|path| !beginning(path).exists()).map(Path::to_path_buf).collect();
        let deepest = path.ancestors().nth(missing.len()).map(beginning);
        // Whoever made the deepest of those that are there may have died before it synced the name.
        if let Some(parent) = deepest.and_then(Path::parent) {
            match self.sync_directory(beginning(parent)) {
                // A directory above ours that we can't even look into isn't of our making.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                synced => synced?,
            }
        }
        for path in missing.iter().rev() {
            match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
                // Somebody else makes it at the same time; whose sync comes first doesn't matter.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
            self.sync_directory(parent_of(path))?;
        }
        if path.is_dir() { Ok(()) } else { Err(io::ErrorKind::AlreadyExists.into()) }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        let file = File::options().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
        Ok(Box::new(DiskFile { file: file.into() }))
    }

    fn open(&self, path: &Path, access: FileAccess) -> io::Result<Box<dyn StoredFile>> {
        let file = options(access == FileAccess::ReadWrite).open(path)?;
        let kind = file.metadata()?.file_type();
        match () {
            () if kind.is_file() => Ok(Box::new(DiskFile { file: file.into() })),
            () if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            () => Err(io::Error::new(io::ErrorKind::InvalidInput, "what has that name is no file")),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if from.parent() != to.parent() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file stays in its directory"));
        }
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::options().read(true).custom_flags(libc::O_DIRECTORY).open(path)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Debug + Send + Sync>>> {
        let file = LockFile::open(path, options(true).create(true).truncate(false).mode(FILE_MODE))?;
        Ok(if file.try_lock(LOCK_SLOT)? { Some(Box::new(file)) } else { None })
    }

    fn boot(&self) -> u64 {
        let id = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        if id.is_empty() {
            return memlane_shm::clock::unix_ns();
        }
        let (first, second) = id.split_at(id.len() / 2);
        u64::from(crc(first)) << 32 | u64::from(crc(second))
    }
}

/// A pipe of that name, which somebody put there, is not waited for. For files the flag means nothing.
fn options(writes: bool) -> OpenOptions {
    File::options().read(true).write(writes).custom_flags(libc::O_NONBLOCK).clone()
}

/// The directory that `path` lies in.
fn parent_of(path: &Path) -> &Path {
    beginning(path.parent().unwrap_or(path))
}

/// Where a path begins that has no parts left.
fn beginning(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// An open file of the machine's file system.
#[derive(Clone, Debug)]
struct DiskFile {
    file: Arc<File>,
}

/// A look at a file that is mapped; at copies of what can't be.
#[derive(Debug)]
struct DiskWindow {
    file: DiskFile,
    map: Option<FileMap>,
    shown: Range<usize>,
    copying: Copying,
    copies: bool,
}

impl DiskWindow {
    /// The pages of these bytes, if they can be had.
    fn load(&mut self, range: Range<usize>) -> io::Result<()> {
        if self.map.as_ref().is_none_or(|map| map.length() < range.end) {
            self.map = Some(FileMap::new(&self.file.file, self.file.length()? as usize)?);
        }
        self.map.as_ref().map_or(Ok(()), |map| map.load(range))
    }
}

impl Window for DiskWindow {
    fn move_to(&mut self, offset: u64, bytes: usize) -> io::Result<usize> {
        self.shown = 0..0;
        let range = usize::try_from(offset).ok().and_then(|begin| Some(begin..begin.checked_add(bytes)?));
        self.copies = match range {
            Some(range) if self.load(range.clone()).is_ok() => {
                self.shown = range;
                false
            }
            // A look at a copy says what is wrong, or that a map can't be had.
            _ => true,
        };
        if self.copies { self.copying.move_to(offset, bytes) } else { Ok(bytes) }
    }

    fn bytes(&self) -> &[u8] {
        match &self.map {
            Some(map) if !self.copies => map.bytes(self.shown.clone()),
            _ => self.copying.bytes(),
        }
    }
}

impl DiskFile {
    /// Makes it `bytes` long, if it is shorter, and reserves room, where the file system can.
    fn reserve_only(&self, bytes: u64) -> io::Result<()> {
        let length = i64::try_from(bytes).map_err(|_| Errno::EFBIG)?;
        match allocate(&self.file, FallocateFlags::empty(), 0, length) {
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                if self.length()? < bytes {
                    self.file.set_len(bytes)?;
                }
                Ok(())
            }
            reserved => Ok(reserved?),
        }
    }

    /// Writes zeros from `start` to `end`.
    fn write_zeros(&self, start: u64, end: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS_BYTES];
        let mut offset = start;
        while offset < end {
            let count = (end - offset).min(ZEROS_BYTES as u64);
            self.file.write_all_at(&zeros[..count as usize], offset)?;
            offset += count;
        }
        Ok(())
    }
}

impl StoredFile for DiskFile {
    fn has_name(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() > 0)
    }

    fn window(&self) -> io::Result<Box<dyn Window>> {
        let copying = Copying::new(Arc::new(self.clone()));
        Ok(Box::new(DiskWindow { file: self.clone(), map: None, shown: 0..0, copying, copies: true }))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut count = 0;
        while count < bytes.len() {
            match self.file.read_at(&mut bytes[count..], offset.saturating_add(count as u64)) {
                Ok(0) => break,
                Ok(read) => count += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn reserve(&self, bytes: u64, room: Room) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let old = self.length()?;
        let reserved = self.reserve_only(bytes).and_then(|()| match room {
            Room::Reserved => Ok(()),
            Room::Written => self.write_zeros(old, bytes),
        });
        reserved.inspect_err(|_| {
            // What of it was reserved would keep a full disk full. The first error tells more.
            if self.length().is_ok_and(|now| now > old) {
                let _ = self.file.set_len(old);
            }
        })?;
        // Also where nothing was missing: one who made it that long may have died before it synced.
        if room == Room::Written { self.sync() } else { Ok(()) }
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn give_back(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let end = offset.saturating_add(bytes).min(self.length()?);
        if end <= offset {
            return Ok(());
        }
        let [start, count] = [offset, end - offset].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match allocate(&self.file, flags, start, count) {
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
            given => Ok(given?),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// `fallocate`, until no signal interrupts it.
fn allocate(file: &File, flags: FallocateFlags, offset: i64, bytes: i64) -> nix::Result<()> {
    loop {
        match nix::fcntl::fallocate(file, flags, offset, bytes) {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn mode_of(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    fn read_all(file: &dyn StoredFile) -> Vec<u8> {
        let mut bytes = vec![0xAA; file.length().unwrap() as usize + 1];
        let count = file.read_at(&mut bytes, 0).unwrap();
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn a_directory_is_made_with_those_above_it_and_is_there_the_second_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b/c");
        for _ in 0..2 {
            Disk.create_directory(&path).unwrap();
            assert!(path.is_dir());
        }
        assert_eq!(mode_of(&path) & !DIRECTORY_MODE, 0, "others may not look into it");
    }

    #[test]
    fn a_directory_is_not_made_in_place_of_a_file_or_below_one() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        Disk.create(&path).unwrap();
        assert_eq!(Disk.create_directory(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(Disk.create_directory(&path.join("below")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_file_is_made_once_for_its_owner_and_group() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        Disk.create(&path).unwrap().write_at(b"abc", 0).unwrap();
        assert_eq!(mode_of(&path) & !FILE_MODE, 0);
        assert_eq!(Disk.create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_all(&*Disk.open(&path, FileAccess::Read).unwrap()), b"abc");
    }

    #[test]
    fn what_is_no_file_is_not_opened_and_a_pipe_is_not_waited_for() {
        let parent = tempfile::tempdir().unwrap();
        let opened = |path: &Path| Disk.open(path, FileAccess::Read).unwrap_err().kind();
        assert_eq!(opened(parent.path()), io::ErrorKind::IsADirectory);
        assert_eq!(opened(&parent.path().join("missing")), io::ErrorKind::NotFound);
        let pipe = parent.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(opened(&pipe), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_read_gives_what_is_there_and_stops_at_the_end() {
        let parent = tempfile::tempdir().unwrap();
        let file = Disk.create(&parent.path().join("file")).unwrap();
        file.write_at(b"abc", 2).unwrap();
        assert_eq!(read_all(&*file), b"\0\0abc");
        assert_eq!(file.read_at(&mut [0; 4], 5).unwrap(), 0);
        assert_eq!(file.read_at(&mut [0; 4], 4).unwrap(), 1);
    }

    #[test]
    fn reserved_room_is_zeros_takes_blocks_and_shortens_nothing() {
        for room in [Room::Reserved, Room::Written] {
            let parent = tempfile::tempdir().unwrap();
            let path = parent.path().join("file");
            let file = Disk.create(&path).unwrap();
            file.write_at(b"abc", 0).unwrap();
            file.reserve(600_000, room).unwrap();
            assert_eq!(read_all(&*file), [&b"abc"[..], &[0; 599_997]].concat());
            assert!(path.metadata().unwrap().blocks() * 512 >= 600_000);
            for fewer in [0, 1000] {
                file.reserve(fewer, room).unwrap();
                assert_eq!(file.length().unwrap(), 600_000);
            }
        }
    }

    #[test]
    fn room_that_no_disk_has_is_refused_and_leaves_the_file_as_it_was() {
        let parent = tempfile::tempdir().unwrap();
        let file = Disk.create(&parent.path().join("file")).unwrap();
        file.write_at(b"abc", 0).unwrap();
        for bytes in [u64::MAX, i64::MAX as u64 + 1, i64::MAX as u64] {
            for room in [Room::Reserved, Room::Written] {
                let error = file.reserve(bytes, room).unwrap_err();
                assert!(matches!(error.kind(), io::ErrorKind::FileTooLarge | io::ErrorKind::StorageFull), "{error}");
                assert_eq!(read_all(&*file), b"abc");
            }
        }
        assert!(file.truncate(u64::MAX).is_err());
        assert!(file.write_at(b"x", u64::MAX).is_err());
        assert!(file.read_at(&mut [0], u64::MAX).is_err());
    }

    #[test]
    fn room_that_is_given_back_reads_as_zeros_and_the_length_stays() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        let file = Disk.create(&path).unwrap();
        file.write_at(&[7; 100_000], 0).unwrap();
        file.sync().unwrap();
        let before = path.metadata().unwrap().blocks();
        file.give_back(1000, 90_000).unwrap();
        assert_eq!(read_all(&*file), [&[7; 1000][..], &[0; 90_000], &[7; 9000]].concat());
        assert!(path.metadata().unwrap().blocks() < before);
        for (offset, bytes) in [(0, 0), (u64::MAX, u64::MAX), (99_999, u64::MAX)] {
            file.give_back(offset, bytes).unwrap();
        }
        assert_eq!(file.length().unwrap(), 100_000);
    }

    #[test]
    fn a_renamed_file_takes_the_place_of_another_in_its_directory_only() {
        let parent = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| parent.path().join(name));
        Disk.create(&from).unwrap().write_at(b"new", 0).unwrap();
        Disk.create(&to).unwrap().write_at(b"old", 0).unwrap();
        let elsewhere = parent.path().join("below/to");
        assert_eq!(Disk.rename(&from, &elsewhere).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        Disk.rename(&from, &to).unwrap();
        Disk.sync_directory(parent.path()).unwrap();
        assert_eq!(Disk.list(parent.path()).unwrap(), ["to"]);
        assert_eq!(read_all(&*Disk.open(&to, FileAccess::ReadWrite).unwrap()), b"new");
    }

    #[test]
    fn a_removed_file_stays_with_whoever_has_it_open() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        let file = Disk.create(&path).unwrap();
        file.write_at(b"abc", 0).unwrap();
        Disk.remove(&path).unwrap();
        assert_eq!(Disk.list(parent.path()).unwrap(), [""; 0]);
        assert_eq!(read_all(&*file), b"abc");
        assert_eq!(Disk.remove(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_lock_excludes_others_until_it_is_dropped() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("lock");
        let held = Disk.lock(&path).unwrap();
        assert!(held.is_some());
        assert!(Disk.lock(&path).unwrap().is_none());
        drop(held);
        assert!(Disk.lock(&path).unwrap().is_some());
    }
}
