//! The file system of the machine.

use crate::storage::{FileAccess, Room, Storage, StoredFile};
use memlane_shm::LockFile;
use nix::fcntl::{FallocateFlags, fallocate};
use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

const ZEROS_BYTES: usize = 256 << 10;

impl Storage for Disk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.create_directory(parent)?;
        match DirBuilder::new().mode(0o750).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => self.sync_directory(parent),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o640).open(path)?;
        Ok(Box::new(DiskFile(file)))
    }

    fn open(&self, path: &Path, access: FileAccess) -> io::Result<Box<dyn StoredFile>> {
        let file = OpenOptions::new().read(true).write(access == FileAccess::ReadWrite).open(path)?;
        Ok(Box::new(DiskFile(file)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        let mut names: Vec<String> = names.filter_map(io::Result::transpose).collect::<io::Result<_>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Debug + Send + Sync>>> {
        let options = OpenOptions::new().read(true).write(true).create(true).mode(0o640).truncate(false).clone();
        let lock = LockFile::open(path, &options)?;
        Ok(if lock.try_lock(0)? { Some(Box::new(lock)) } else { None })
    }

    fn boot(&self) -> u64 {
        let id = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        if id.is_empty() {
            return memlane_shm::clock::unix_ns();
        }
        let (first, second) = id.split_at(id.len() / 2);
        u64::from(crate::layout::crc(first)) << 32 | u64::from(crate::layout::crc(second))
    }
}

#[derive(Debug)]
struct DiskFile(File);

impl StoredFile for DiskFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn reserve(&self, bytes: u64, room: Room) -> io::Result<()> {
        let length = self.length()?;
        if bytes <= length {
            return Ok(());
        }
        match fallocate(&self.0, FallocateFlags::empty(), signed(length)?, signed(bytes - length)?) {
            Err(nix::errno::Errno::EOPNOTSUPP) => self.0.set_len(bytes)?,
            other => other?,
        }
        if room == Room::Written {
            let zeros = vec![0; ZEROS_BYTES];
            let mut at = length;
            while at < bytes {
                let count = (bytes - at).min(ZEROS_BYTES as u64);
                self.write_at(&zeros[..count as usize], at)?;
                at += count;
            }
            self.sync()?;
        }
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn give_back(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(&self.0, flags, signed(offset)?, signed(bytes)?) {
            Err(nix::errno::Errno::EOPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// As the kernel counts bytes of files.
fn signed(bytes: u64) -> io::Result<i64> {
    i64::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
