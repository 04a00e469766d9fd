//! What a participant's slot tells beside what the algorithm needs: who came and went, and how much it did.
//!
//! Its words are written by the slot's holder alone, or, under the lock of a dead one, by whoever clears up; tools read them at any moment.
//! Nothing is ordered by them and nothing is decided by them, so plain relaxed words do, and they cost a message one
//! addition to a line that is written anyway. Models leave them out: they would only multiply the schedules.
//!
//! The number of incarnations is odd from a holder's coming until it leaves, or is found dead. So whoever finds it odd under a lock that nobody
//! held has found a death, and whoever watches the slot tells deaths from goodbyes, also those that it slept through.

use crate::layout::slot;
use crate::memory::{Log, Subs};
use memlane_shm::Region;
use memlane_shm::clock;
use memlane_shm::sync::{AtomicU64, Ordering};

/// The words of one slot.
#[derive(Clone, Copy)]
pub(crate) struct Slot<'a> {
    region: &'a Region,
    at: usize,
}

/// Adds `count` to a counter whose only writer is the caller.
#[inline(always)]
pub(crate) fn count(counter: &AtomicU64, count: u64) {
    if !cfg!(loom) {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }
}

impl<'a> Slot<'a> {
    pub(crate) fn new(region: &'a Region, at: usize) -> Self {
        Self { region, at }
    }

    pub(crate) fn word(self, offset: usize) -> &'a AtomicU64 {
        self.region.word(self.at + offset)
    }

    pub(crate) fn get(self, offset: usize) -> u64 {
        self.word(offset).load(Ordering::Relaxed)
    }

    fn set(self, offset: usize, value: u64) {
        self.word(offset).store(value, Ordering::Relaxed);
    }

    /// Whether a holder came and neither left nor was found dead.
    pub(crate) fn is_taken(self) -> bool {
        self.word(slot::INCARNATION).load(Ordering::Acquire) % 2 == 1
    }

    /// A new holder comes, under its lock. `messages` and `bytes` are what its slot counts so far.
    pub(crate) fn arrive(self, messages: u64, bytes: u64) {
        self.bury();
        let now = if cfg!(loom) { 0 } else { clock::unix_ns() };
        self.set(slot::PID, u64::from(std::process::id()));
        if !cfg!(loom) {
            let fresh = [(slot::SINCE, now), (slot::ACTIVE, now), (slot::MESSAGES_BEFORE, messages)];
            let cleared = [(slot::BYTES_BEFORE, bytes), (slot::FULL, 0), (slot::HELD_NS, 0), (slot::HELD_SINCE, 0)];
            fresh.into_iter().chain(cleared).for_each(|(word, value)| self.set(word, value));
        }
        self.word(slot::INCARNATION).store(self.get(slot::INCARNATION).wrapping_add(1), Ordering::Release);
    }

    /// The holder leaves. A forked child's slot is its own and empty: it leaves nothing.
    pub(crate) fn leave(self) {
        if self.is_taken() {
            self.word(slot::INCARNATION).store(self.get(slot::INCARNATION).wrapping_add(1), Ordering::Release);
        }
    }

    /// Takes down that the last holder died, if it did. The caller has its lock.
    pub(crate) fn bury(self) {
        if self.is_taken() {
            count(self.word(slot::DEATHS), 1);
            self.leave();
        }
    }

    /// The holder, a publisher, found no room. Its tries while it waits for some are one with the first.
    pub(crate) fn is_full(self) {
        if !cfg!(loom) && self.get(slot::HELD_SINCE) == 0 {
            count(self.word(slot::FULL), 1);
        }
    }

    /// The holder did something for which it looks at the clock.
    pub(crate) fn is_active(self) {
        if !cfg!(loom) {
            self.set(slot::ACTIVE, clock::unix_ns());
        }
    }
}

impl Log {
    /// The slot of `publisher`.
    pub(crate) fn slot(&self, publisher: u32) -> Slot<'_> {
        assert!(publisher < self.geometry.publishers_max, "a publisher's number was checked where it came from");
        Slot::new(&self.region, self.geometry.publisher_at(publisher))
    }

    /// Messages that `publisher`'s slot has published so far.
    pub(crate) fn messages(&self, publisher: u32) -> &AtomicU64 {
        if self.geometry.many {
            self.slot(publisher).word(slot::MESSAGES)
        } else {
            self.control(crate::layout::control::MESSAGES)
        }
    }
}

impl Subs {
    /// The slot `slot`; those of observers come after those of gated subscribers.
    pub(crate) fn slot(&self, slot: u32) -> Slot<'_> {
        Slot::new(&self.region, crate::layout::subs::SLOTS + slot as usize * crate::layout::SLOT_BYTES)
    }
}
