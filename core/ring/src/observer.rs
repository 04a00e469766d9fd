//! The places of subscribers that hold nobody up: they need none, and take one, if there is one and they may, only to be seen.

use crate::layout::{Geometry, slot, subs};
use crate::memory::Subs;
use crate::slot::count;
use memlane_shm::LockFile;
use memlane_shm::sync::Ordering;

/// A place among the observers of a topic. Dropping it leaves.
#[derive(Debug)]
pub(crate) struct Observer {
    subs: Subs,
    /// Of all subscribers' slots; those of observers come last.
    pub(crate) slot: u32,
    locks: LockFile,
}

impl Observer {
    /// Takes the first free place; `None` if there is none, or it can't be had.
    pub(crate) fn new(subs: &Subs, locks: LockFile, geometry: &Geometry) -> Option<Self> {
        let slots = geometry.subscribers_max..2 * geometry.subscribers_max;
        let slot = slots.clone().find(|slot| locks.try_lock(*slot).unwrap_or(false))?;
        let used = u64::from(slot - slots.start) + 1;
        subs.control(subs::OBSERVERS_USED).fetch_max(used, Ordering::AcqRel);
        subs.slot(slot).word(slot::CURSOR).store(0, Ordering::Relaxed);
        subs.slot(slot).word(slot::BYTES).store(0, Ordering::Relaxed);
        crate::label::clear(&subs.region, geometry.subscriber_label_at(slot));
        subs.slot(slot).arrive(subs.messages(slot).load(Ordering::Relaxed), 0);
        Some(Self { subs: subs.clone(), slot, locks })
    }

    /// After so many messages: the next one is read at `position`.
    #[inline(always)]
    pub(crate) fn has_read(&self, position: u64, messages: u64) {
        count(self.subs.messages(self.slot), messages);
        self.subs.observer_cursor(self.slot).store(position + 1, Ordering::Relaxed);
    }

    /// After a loss of so many bytes of the log.
    #[cold]
    pub(crate) fn has_lost(&self, bytes: u64) {
        let slot = self.subs.slot(self.slot);
        count(slot.word(slot::BYTES), bytes);
        count(slot.word(slot::FULL), 1);
        slot.is_active();
    }

    /// After a sleep.
    pub(crate) fn is_active(&self) {
        self.subs.slot(self.slot).is_active();
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.subs.slot(self.slot).leave();
        let _ = self.locks.unlock(self.slot);
    }
}
