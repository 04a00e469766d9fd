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
//! `posix_spawn`, `vfork` and `clone` run no handlers; what they start execs at once, which closes and unmaps everything.

use crate::sync::Ordering;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64};
use std::fs::File;
use std::os::fd::{IntoRawFd, RawFd};
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

/// Keeps a descriptor on the list of those that a child gets `/dev/null` for.
#[derive(Debug)]
pub(crate) struct DescriptorGuard {
    descriptor: RawFd,
}

pub(crate) fn guard_mapping(address: usize, bytes: usize) -> MappingGuard {
    with_registry(|registry| registry.mappings.push((address, bytes)));
    MappingGuard { address }
}

pub(crate) fn guard_descriptor(descriptor: RawFd) -> DescriptorGuard {
    with_registry(|registry| registry.descriptors.push(descriptor));
    DescriptorGuard { descriptor }
}

impl Drop for MappingGuard {
    fn drop(&mut self) {
        with_registry(|registry| registry.mappings.retain(|(address, _)| *address != self.address));
    }
}

impl Drop for DescriptorGuard {
    fn drop(&mut self) {
        with_registry(|registry| registry.descriptors.retain(|descriptor| *descriptor != self.descriptor));
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
        // SAFETY:
        // - The range is one of our own mappings, registered as long as it is mapped, so nothing else is replaced.
        // - Whoever still holds a reference into it sees zero words, which every layer above takes as foreign bytes.
        unsafe {
            libc::mmap(
                core::ptr::without_provenance_mut(address),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
    }
    for descriptor in lists.descriptors.drain(..) {
        // SAFETY: both are numbers of open descriptors (or -1, which is refused); the child's copy of the first is replaced.
        unsafe { libc::dup3(lists.null, descriptor, libc::O_CLOEXEC) };
    }
    REGISTRY.unlock();
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
        let file = File::open("/dev/null").unwrap();
        let descriptor = guard_descriptor(file.as_raw_fd());
        let mapping = guard_mapping(0x1000, 0x1000);
        assert!(with_registry(|registry| registry.descriptors.contains(&file.as_raw_fd())));
        drop((descriptor, mapping));
        assert!(!with_registry(|registry| registry.mappings.iter().any(|(address, _)| *address == 0x1000)));
        assert!(stand_in() >= 0);
    }
}
