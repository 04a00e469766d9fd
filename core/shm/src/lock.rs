//! Locks that die with their holder: how the log learns, from the kernel and not from a clock, who is alive.
//!
//! A [`LockFile`] is one open file description. Slot `i` of the file is the byte at `LOCKS_AT + i`, past its contents, under
//! an open-file-description lock (`F_OFD_SETLK`). The kernel drops it when the last descriptor of that description is closed,
//! which is also what happens when the process dies, however it dies:
//!
//! - A zombie has no descriptors left, so its locks are gone before its parent has waited for it.
//! - The lock belongs to the description and not to a process id, so it means the same in every PID namespace.
//! - A forked child would share the description and keep the lock alive; [`crate::fork`] takes it from the child.
//! - `exec` closes it (`O_CLOEXEC`).
//!
//! Two `LockFile`s on one file, also within one process, exclude each other.

use std::io;

#[cfg(not(loom))]
pub use real::LockFile;

#[cfg(loom)]
pub use model::LockFile;

/// The file offset of slot 0's lock, in bytes: beyond any contents.
pub const LOCKS_AT: i64 = 1 << 60;

#[cfg(not(loom))]
mod real {
    use super::{LOCKS_AT, io};
    use crate::fork;
    use std::fs::File;
    use std::os::fd::AsRawFd;

    /// One open file description, on which slots can be locked and asked about.
    #[derive(Debug)]
    pub struct LockFile {
        // Dropped first: a number that is free for reuse must not be on the list of what a child replaces.
        _guard: fork::DescriptorGuard,
        file: File,
    }

    impl LockFile {
        /// Takes over `file`, which nothing else may share a description with (open it anew, do not `try_clone`).
        #[must_use]
        pub fn new(file: File) -> Self {
            let _guard = fork::guard_descriptor(file.as_raw_fd());
            Self { _guard, file }
        }

        /// Locks slot `slot` if nobody else holds it; says whether it did. Needs a file opened for writing.
        ///
        /// Cost: one system call.
        pub fn try_lock(&self, slot: u32) -> io::Result<bool> {
            let mut lock = request(libc::F_WRLCK, slot);
            // SAFETY: the descriptor is open as long as `self.file` lives, `lock` is a valid `flock`.
            let result = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &mut lock) };
            if result == 0 {
                return Ok(true);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EACCES) => Ok(false),
                _ => Err(error),
            }
        }

        /// Lets slot `slot` go. Letting go of one that isn't held changes nothing.
        pub fn unlock(&self, slot: u32) -> io::Result<()> {
            let mut lock = request(libc::F_UNLCK, slot);
            // SAFETY: as in `try_lock`.
            let result = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &mut lock) };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }

        /// Whether somebody *else* holds slot `slot`. A file opened for reading is enough.
        ///
        /// Cost: one system call.
        pub fn is_held_by_another(&self, slot: u32) -> io::Result<bool> {
            let mut lock = request(libc::F_WRLCK, slot);
            // SAFETY: as in `try_lock`.
            let result = unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_GETLK, &mut lock) };
            if result == 0 { Ok(i32::from(lock.l_type) != libc::F_UNLCK) } else { Err(io::Error::last_os_error()) }
        }

        /// The file behind it.
        #[must_use]
        pub fn file(&self) -> &File {
            &self.file
        }
    }

    fn request(kind: i32, slot: u32) -> libc::flock {
        libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: LOCKS_AT + i64::from(slot),
            l_len: 1,
            l_pid: 0,
        }
    }
}

#[cfg(loom)]
mod model {
    use super::io;
    use loom::sync::Mutex;
    use std::sync::Arc;

    /// A lock file of a model: a table of holders. Dropping it is the death of its holder.
    #[derive(Debug)]
    pub struct LockFile {
        holders: Arc<Mutex<Vec<Option<u32>>>>,
        me: u32,
    }

    impl LockFile {
        /// A table of `slots` locks that nobody holds, seen by holder 0.
        #[must_use]
        pub fn table(slots: usize) -> Self {
            Self { holders: Arc::new(Mutex::new(vec![None; slots])), me: 0 }
        }

        /// The same table, seen by holder `me`: another open file description.
        #[must_use]
        pub fn another(&self, me: u32) -> Self {
            Self { holders: Arc::clone(&self.holders), me }
        }

        /// Locks slot `slot` if nobody else holds it.
        pub fn try_lock(&self, slot: u32) -> io::Result<bool> {
            let holder = &mut self.holders.lock().unwrap()[slot as usize];
            let free = holder.is_none_or(|holder| holder == self.me);
            if free {
                *holder = Some(self.me);
            }
            Ok(free)
        }

        /// Lets slot `slot` go.
        pub fn unlock(&self, slot: u32) -> io::Result<()> {
            let holder = &mut self.holders.lock().unwrap()[slot as usize];
            if *holder == Some(self.me) {
                *holder = None;
            }
            Ok(())
        }

        /// Whether somebody else holds slot `slot`.
        pub fn is_held_by_another(&self, slot: u32) -> io::Result<bool> {
            Ok(self.holders.lock().unwrap()[slot as usize].is_some_and(|holder| holder != self.me))
        }
    }

    impl Drop for LockFile {
        fn drop(&mut self) {
            for holder in self.holders.lock().unwrap().iter_mut() {
                if *holder == Some(self.me) {
                    *holder = None;
                }
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::fs::File;
    use std::path::Path;

    fn lock_file(path: &Path) -> LockFile {
        LockFile::new(File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap())
    }

    #[test]
    fn two_descriptions_of_one_process_exclude_each_other_slot_by_slot() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("locks");
        let (first, second) = (lock_file(&path), lock_file(&path));
        assert!(first.try_lock(3).unwrap());
        assert!(!second.try_lock(3).unwrap(), "held by the first");
        assert!(second.try_lock(4).unwrap(), "another slot is free");
        assert!(second.is_held_by_another(3).unwrap());
        assert!(!first.is_held_by_another(3).unwrap(), "its own lock is nobody else's");
        first.unlock(3).unwrap();
        assert!(second.try_lock(3).unwrap());
    }

    #[test]
    fn a_reader_without_write_permission_can_ask_who_lives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("locks");
        let holder = lock_file(&path);
        assert!(holder.try_lock(0).unwrap());
        let reader = LockFile::new(File::open(&path).unwrap());
        assert!(reader.is_held_by_another(0).unwrap());
        drop(holder);
        assert!(!reader.is_held_by_another(0).unwrap());
    }
}
