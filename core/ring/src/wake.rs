//! Doorbells: a sleeper says that it sleeps, whoever has news rings only then.
//!
//! ```text
//!   news (publish, release)          sleeper (wait.rs)
//!   store header | cursor            bell = doorbell
//!   WAKE  light fence                say "asleep"  (QUIET = 0 | ROOM_WANTED = position)
//!   load "asleep?"                   WAKE  heavy fence
//!   if so: clear it, ring            load header | gate; futex_wait(doorbell == bell)
//! ```
//!
//! The word is cleared before the doorbell counts, so whoever says "asleep" in between has read the old count and is not let to
//! sleep by the kernel. A sleeper that dies costs one needless ring.

use crate::error::ClaimError;
use crate::layout::{control, subs};
use crate::memory::{Log, State, Subs};
use memlane_shm::futex;
use memlane_shm::sync::Ordering;

/// Whether a subscriber may be asleep.
#[inline(always)]
pub(crate) fn somebody_sleeps(subscribers: &Subs) -> bool {
    subscribers.control(subs::QUIET).load(Ordering::Relaxed) == 0
}

/// Wakes every sleeping subscriber.
///
/// Cost: two locked instructions and a system call, which takes about a microsecond per sleeper.
/// Errors: [`ClaimError::Forked`]; a forked child's pages are zero, so it always comes by here.
#[cold]
pub(crate) fn ring_subscribers(log: &Log, subscribers: &Subs) -> Result<(), ClaimError> {
    if log.state() == State::Forked {
        return Err(ClaimError::Forked);
    }
    subscribers.control(subs::QUIET).swap(1, Ordering::AcqRel);
    log.control(control::DOORBELL).fetch_add(1, Ordering::AcqRel);
    futex::wake(&log.region, control::DOORBELL, u32::MAX);
    Ok(())
}

/// After a subscriber's cursor came to `position`: wakes the publishers that wait for it.
#[inline(always)]
pub(crate) fn ring_publishers_at(subscribers: &Subs, position: u64) {
    let wanted = subscribers.control(subs::ROOM_WANTED).load(Ordering::Relaxed);
    if wanted != 0 && position >= wanted - 1 {
        ring_publishers(subscribers);
    }
}

/// Wakes every publisher that sleeps for room.
#[cold]
pub(crate) fn ring_publishers(subscribers: &Subs) {
    subscribers.control(subs::ROOM_WANTED).swap(0, Ordering::AcqRel);
    subscribers.control(subs::ROOM_BELL).fetch_add(1, Ordering::AcqRel);
    futex::wake(&subscribers.region, subs::ROOM_BELL, u32::MAX);
}
