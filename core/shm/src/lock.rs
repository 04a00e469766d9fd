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
    use crate::fork::GuardedFile;
    use std::fs::{File, OpenOptions};
    use std::os::fd::AsRawFd;
    use std::path::Path;

    /// One open file description, on which slots can be locked and asked about.
    #[derive(Debug)]
    pub struct LockFile {
        file: GuardedFile,
    }

    impl LockFile {
        /// Opens the file at `path`: always a description of its own, that no forked child will share.
        ///
        /// Cost: one system call.
        pub fn open(path: &Path, options: &OpenOptions) -> io::Result<Self> {
            Ok(Self { file: GuardedFile::open(|| options.open(path))? })
        }

        /// Locks slot `slot` if nobody else holds it; says whether it did. Needs a file opened for writing.
        ///
        /// Cost: one system call.
        pub fn try_lock(&self, slot: u32) -> io::Result<bool> {
            let mut lock = request(libc::F_WRLCK, slot);
            // SAFETY: the descriptor is open as long as `self.file` lives, `lock` is a valid `flock`.
            let result = unsafe { libc::fcntl(self.file().as_raw_fd(), libc::F_OFD_SETLK, &mut lock) };
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
            let result = unsafe { libc::fcntl(self.file().as_raw_fd(), libc::F_OFD_SETLK, &mut lock) };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }

        /// Whether somebody *else* holds slot `slot`. A file opened for reading is enough.
        ///
        /// Cost: one system call.
        pub fn is_held_by_another(&self, slot: u32) -> io::Result<bool> {
            let mut lock = request(libc::F_WRLCK, slot);
            // SAFETY: as in `try_lock`.
            let result = unsafe { libc::fcntl(self.file().as_raw_fd(), libc::F_OFD_GETLK, &mut lock) };
            if result == 0 { Ok(i32::from(lock.l_type) != libc::F_UNLCK) } else { Err(io::Error::last_os_error()) }
        }

        /// The file behind it.
        #[must_use]
        pub fn file(&self) -> &File {
            self.file.file()
        }
    }

    impl Drop for LockFile {
        fn drop(&mut self) {
            // Closing it would do, but for a child that was forked a moment ago and hasn't come to let go of its copy.
            let mut all = libc::flock { l_len: 1 << 32, ..request(libc::F_UNLCK, 0) };
            // SAFETY: as in `try_lock`. In a child the descriptor is `/dev/null`'s, on which nobody holds anything.
            let _ = unsafe { libc::fcntl(self.file().as_raw_fd(), libc::F_OFD_SETLK, &mut all) };
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
        LockFile::open(path, File::options().read(true).write(true).create(true).truncate(false)).unwrap()
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

    /// How many descriptors of this process are of the file `inode`. Makes only system calls.
    fn descriptors_of(inode: u64) -> i32 {
        let is_of = |descriptor: i32| {
            let mut found = std::mem::MaybeUninit::<libc::stat>::zeroed();
            // SAFETY: `found` has room for what the call writes.
            let result = unsafe { libc::fstat(descriptor, found.as_mut_ptr()) };
            // SAFETY: zeros or what the kernel wrote are both a valid `stat`.
            result == 0 && unsafe { found.assume_init() }.st_ino == inode
        };
        (3..512).filter(|descriptor| is_of(*descriptor)).count() as i32
    }

    #[test]
    fn a_child_that_is_forked_while_another_thread_opens_and_closes_has_no_lock_and_keeps_none() {
        use nix::sys::wait::{WaitStatus, waitpid};
        use std::os::unix::fs::MetadataExt;
        use std::sync::atomic::{AtomicBool, Ordering};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("locks");
        let asking = lock_file(&path);
        let inode = asking.file().metadata().unwrap().ino();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let file = lock_file(&path);
                    assert!(file.try_lock(5).unwrap());
                    drop(file);
                    // At once, also when a child was forked a moment ago.
                    assert!(!asking.is_held_by_another(5).unwrap());
                }
            });
            let mut wrong = Vec::new();
            for _ in 0..300 {
                // SAFETY: the child makes only system calls, and ends without unwinding.
                match unsafe { nix::unistd::fork() }.unwrap() {
                    nix::unistd::ForkResult::Parent { child } => {
                        let status = waitpid(child, None).unwrap();
                        wrong.extend((status != WaitStatus::Exited(child, 0)).then_some(status));
                    }
                    nix::unistd::ForkResult::Child => {
                        let count = descriptors_of(inode);
                        // SAFETY: ends the process; nothing of it is used afterwards.
                        unsafe { libc::_exit(count) }
                    }
                }
            }
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(wrong, []);
        });
    }

    #[test]
    fn a_reader_without_write_permission_can_ask_who_lives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("locks");
        let holder = lock_file(&path);
        assert!(holder.try_lock(0).unwrap());
        let reader = LockFile::open(&path, File::options().read(true)).unwrap();
        assert!(reader.is_held_by_another(0).unwrap());
        drop(holder);
        assert!(!reader.is_held_by_another(0).unwrap());
    }
}
