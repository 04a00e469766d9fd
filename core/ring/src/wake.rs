//! Doorbells: a sleeper says that it sleeps, whoever has news rings only then.
//!
//! ```text
//!   news (publish, release)          sleeper (sleep.rs)
//!   store header | cursor            bell = doorbell
//!   WAKE  light fence                say "asleep"  (QUIET to the next even number | ROOM_WANTED = position)
//!   load "asleep?"                   WAKE  heavy fence
//!   if so: ring, then clear it       load header | gate; futex_wait(doorbell == bell)
//! ```
//!
//! QUIET is even if a subscriber may be asleep, and odd if none is. Each sleeper makes it another even number, and whoever rings makes it
//! odd afterwards, unless it has changed meanwhile: then somebody may have gone to sleep since, and the next one rings
//! too. So a publisher that dies or is stopped while it rings keeps nobody asleep: the word still says so. A sleeper that
//! dies costs one needless ring. Publishers sleep for a millisecond at most, so for them a plain word does.

use crate::error::ClaimError;
use crate::layout::{control, subs};
use crate::memory::{Log, State, Subs};
use memlane_shm::sync::{AtomicU64, Ordering};
use memlane_shm::{crash_point, futex};

/// Whether a subscriber may be asleep.
#[inline(always)]
pub(crate) fn somebody_sleeps(subscribers: &Subs) -> bool {
    subscribers.control(subs::QUIET).load(Ordering::Relaxed).is_multiple_of(2)
}

/// Says that a subscriber is about to sleep.
pub(crate) fn say_asleep(subscribers: &Subs) {
    say_asleep_in(subscribers.control(subs::QUIET));
}

/// Makes `quiet` the next even number.
pub(crate) fn say_asleep_in(quiet: &AtomicU64) {
    let next_even = |word: u64| Some((word | 1).wrapping_add(1));
    let _ = quiet.fetch_update(Ordering::SeqCst, Ordering::Relaxed, next_even);
}

/// After a ring for those who had made `quiet` say `asleep`: makes it odd, unless somebody may have gone to sleep since.
pub(crate) fn clear_asleep_in(quiet: &AtomicU64, asleep: u64) {
    if asleep.is_multiple_of(2) {
        let _ = quiet.compare_exchange(asleep, asleep.wrapping_add(1), Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// After a commit of `publisher`: wakes every sleeping subscriber, if the topic is still there.
///
/// Cost: two locked instructions and a system call, which takes about a microsecond per sleeper.
/// Errors: [`ClaimError::Forked`]; a forked child's pages are zero, so it always comes by here. [`ClaimError::Removed`]; so does
/// everybody on a topic that was removed.
#[cold]
pub(crate) fn ring_subscribers(log: &Log, subscribers: &Subs, publisher: u32) -> Result<(), ClaimError> {
    match log.state() {
        State::Live => {}
        State::Forked => return Err(ClaimError::Forked),
        State::Removed => return Err(ClaimError::Removed),
    }
    let quiet = subscribers.control(subs::QUIET);
    let asleep = quiet.load(Ordering::Acquire);
    crash_point!("wake.before");
    ring(log);
    crash_point!("wake.rung");
    clear_asleep_in(quiet, asleep);
    log.slot(publisher).is_active();
    Ok(())
}

/// Wakes every sleeping subscriber, and leaves word that there may be some: whoever publishes next comes by `ring_subscribers`.
pub(crate) fn ring_for_good(log: &Log, subscribers: &Subs) {
    say_asleep(subscribers);
    ring(log);
}

fn ring(log: &Log) {
    log.control(control::DOORBELL).fetch_add(1, Ordering::AcqRel);
    futex::wake(&log.region, control::DOORBELL, u32::MAX);
    if let Some((bell, epoch)) = &log.bell {
        crash_point!("wake.bell");
        bell.ring_if_awaited(*epoch);
    }
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
