//! What a forked child must not inherit: its parent's locks and its parent's place in a log.
//!
//! After `fork` a child shares its parent's open file descriptions, so the kernel would keep the parent's locks for as long as
//! the child lives; and it has the parent's mappings, so two processes would publish as one. Handlers that run in the child
//! before `fork` returns there (`pthread_atfork`) therefore
//!
//! - put `/dev/null` in the place of each lock's descriptor, which lets go of the description, and
//! - put private zero pages in the place of each mapping: a zero header reads as "nothing there yet", a zero
//!   doorbell as "look here", and so every publisher and subscriber in the child soon comes to a slow path, where
//!   [`generation`] tells it what happened and it returns an error.
//!
//! A child in which that can't be done is ended: it would keep its parent's locks, or write to its parent's log. A descriptor
//! is opened, put on the list, taken off and closed while no fork can come in between.
//!
//! `posix_spawn`, `vfork` and `clone` run no handlers; what they start execs at once, which closes and unmaps everything.

use crate::sync::Ordering;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::sync::OnceLock;

/// How often this process is a forked child of one that used memlane: differs between a parent and its child.
///
/// Cost: one load.
#[must_use]
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Keeps a mapping on the list of those that a child gets zero pages for.
#[derive(Debug)]
pub(crate) struct MappingGuard {
    address: usize,
}

/// A file whose descriptor is on the list of those that a child gets `/dev/null` for, from before any fork can see it until after
/// it is closed.
#[derive(Debug)]
pub(crate) struct GuardedFile {
    /// `None` only while it is dropped.
    file: Option<File>,
}

pub(crate) fn guard_mapping(address: usize, bytes: usize) -> MappingGuard {
    with_registry(|registry| registry.mappings.push((address, bytes)));
    MappingGuard { address }
}

impl GuardedFile {
    /// Opens a file with `open`, which must not panic, and must not use this module.
    pub(crate) fn open(open: impl FnOnce() -> io::Result<File>) -> io::Result<Self> {
        with_registry(|registry| {
            let file = open()?;
            registry.descriptors.push(file.as_raw_fd());
            Ok(Self { file: Some(file) })
        })
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        self.file.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for GuardedFile {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        with_registry(|registry| {
            registry.descriptors.retain(|descriptor| *descriptor != file.as_raw_fd());
            // Closed before a fork can come: its child would have a copy that nobody takes from it, and the lock would live on.
            drop(file);
        });
    }
}

impl Drop for MappingGuard {
    fn drop(&mut self) {
        with_registry(|registry| registry.mappings.retain(|(address, _)| *address != self.address));
    }
}

static GENERATION: AtomicU64 = AtomicU64::new(0);
static REGISTRY: Registry = Registry { locked: AtomicBool::new(false), lists: UnsafeCell::new(Lists::new()) };

struct Lists {
    mappings: Vec<(usize, usize)>,
    descriptors: Vec<RawFd>,
    null: RawFd,
}

impl Lists {
    const fn new() -> Self {
        Self { mappings: Vec::new(), descriptors: Vec::new(), null: -1 }
    }
}

/// The lists behind a lock that a fork handler can take in one function and let go in another.
struct Registry {
    locked: AtomicBool,
    lists: UnsafeCell<Lists>,
}

// SAFETY: the lists are only touched between `lock` and `unlock`.
unsafe impl Sync for Registry {}

impl Registry {
    fn lock(&self) {
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::thread::yield_now();
        }
    }

    fn unlock(&self) {
        self.locked.store(false, Ordering::Release);
    }
}

fn with_registry<T>(change: impl FnOnce(&mut Lists) -> T) -> T {
    static HANDLERS: OnceLock<()> = OnceLock::new();
    HANDLERS.get_or_init(install_handlers);
    REGISTRY.lock();
    // SAFETY: the lock that was just taken makes this the only reference.
    let result = change(unsafe { &mut *REGISTRY.lists.get() });
    REGISTRY.unlock();
    result
}

fn install_handlers() {
    let null = File::options().read(true).write(true).open("/dev/null").map_or(-1, IntoRawFd::into_raw_fd);
    REGISTRY.lock();
    // SAFETY: the lock that was just taken makes this the only reference.
    let lists = unsafe { &mut *REGISTRY.lists.get() };
    lists.null = null;
    REGISTRY.unlock();
    // SAFETY: the handlers are functions that live as long as the program.
    let refused =
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_in_parent), Some(after_fork_in_child)) };
    assert_eq!(refused, 0, "no memory for the handlers that keep a forked child out of its parent's log");
}

extern "C" fn before_fork() {
    REGISTRY.lock();
}

extern "C" fn after_fork_in_parent() {
    REGISTRY.unlock();
}

/// Runs in the child before anything else does; makes only system calls that are safe after a fork of a threaded process.
extern "C" fn after_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    // SAFETY: `before_fork` took the lock, and this is the child's only thread.
    let lists = unsafe { &mut *REGISTRY.lists.get() };
    for (address, bytes) in lists.mappings.drain(..) {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // Not reserved: hardly any of it will ever be touched, and a ring may be larger than what is left to promise.
        let kind = kind | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY:
        // - The range is one of our own mappings, registered as long as it is mapped, so nothing else is replaced.
        // - Whoever still holds a reference into it sees zero words, which every layer above takes as foreign bytes.
        let mapped = unsafe { libc::mmap(core::ptr::without_provenance_mut(address), bytes, access, kind, -1, 0) };
        if mapped == libc::MAP_FAILED {
            give_up(b"memlane: no memory to keep a forked child out of its parent's log; the child is ended\n");
        }
    }
    for descriptor in lists.descriptors.drain(..) {
        // SAFETY: both are numbers of open descriptors (or -1, which is refused); the child's copy of the first is replaced.
        if unsafe { libc::dup3(lists.null, descriptor, libc::O_CLOEXEC) } < 0 {
            give_up(b"memlane: a forked child can't let go of its parent's lock (no /dev/null?); the child is ended\n");
        }
    }
    REGISTRY.unlock();
}

/// Ends the process with a word, by system calls alone.
#[cold]
fn give_up(message: &'static [u8]) -> ! {
    // SAFETY: writes from a slice of that length; whether it succeeds changes nothing.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, message.as_ptr().cast(), message.len()) };
    // SAFETY: allowed anywhere, also after a fork.
    unsafe { libc::abort() }
}

/// The descriptor of `/dev/null` that stands in for locks in a child; for tests.
#[cfg(test)]
fn stand_in() -> RawFd {
    with_registry(|registry| registry.null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn guards_leave_the_lists_when_dropped() {
        let file = GuardedFile::open(|| File::open("/dev/null")).unwrap();
        let descriptor = file.file().as_raw_fd();
        let mapping = guard_mapping(0x1000, 0x1000);
        assert!(with_registry(|registry| registry.descriptors.contains(&descriptor)));
        drop((file, mapping));
        assert!(!with_registry(|registry| registry.mappings.iter().any(|(address, _)| *address == 0x1000)));
        assert!(stand_in() >= 0);
        assert!(GuardedFile::open(|| File::open("/nowhere/at/all")).is_err());
    }

    /// Forks; gives the signal that ended the child, or else its exit code.
    fn fork_and_wait(child: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child ends without unwinding into the test, and allocates at most, which glibc makes safe.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Parent { child } => match nix::sys::wait::waitpid(child, None).unwrap() {
                nix::sys::wait::WaitStatus::Signaled(_, signal, _) => signal as i32,
                nix::sys::wait::WaitStatus::Exited(_, code) => code,
                other => panic!("{other:?}"),
            },
            nix::unistd::ForkResult::Child => {
                let code = child();
                // SAFETY: ends the process; nothing of it is used afterwards.
                unsafe { libc::_exit(code) }
            }
        }
    }

    #[test]
    fn a_child_that_cannot_be_kept_out_of_its_parents_log_is_ended() {
        // In a child of its own, whose lists may be spoilt.
        let outcomes = fork_and_wait(|| {
            let mapping = guard_mapping(1, 4096);
            let mapped = fork_and_wait(|| 0);
            drop(mapping);
            let _file = GuardedFile::open(|| File::open("/dev/null")).unwrap();
            let fine = fork_and_wait(|| 0);
            with_registry(|registry| registry.null = -1);
            let locked = fork_and_wait(|| 0);
            i32::from((mapped, fine, locked) != (libc::SIGABRT, 0, libc::SIGABRT))
        });
        assert_eq!(outcomes, 0);
    }
}
