//! After a death: whoever is held up asks the kernel whether its holder lives, and clears away what a dead one left.
//!
//! Whatever belongs to a slot is touched only by whoever holds the slot's lock: its owner, or, once the kernel says that nobody
//! does, the one who cleans up and takes the lock for that moment. So a new owner of the slot and a cleaner never meet, and a
//! claim found under its dead owner's lock stays as it is until the cleaner is done.
//!
//! | left behind by | what | becomes |
//! |---|---|---|
//! | one publisher | bytes past the tail | written over by the next publisher (attach.rs) |
//! | one of many | a claim without a commit | padding, counted in ABANDONED |
//! | one of many | the lease | taken down |
//! | a subscriber | its cursor | a free slot |
//!
//! Asking costs a system call for each slot in question, so it is done at most every 200 µs.

use crate::layout::{FRAME_HEADER_BYTES, Phase, StateWord, control, status};
use crate::memory::{Log, Subs};
use crate::reclaim::claimed_bytes;
use memlane_shm::LockFile;
use memlane_shm::crash_point;
use memlane_shm::sync::Ordering;
use std::time::{Duration, Instant};

const ASK_EVERY: Duration = Duration::from_micros(200);

/// The locks of a topic's participants, as seen by a publisher, who may clean up.
#[derive(Debug)]
pub(crate) struct Peers {
    /// This publisher's own slot. Its lock must not be asked for: the kernel would give it once more, and then take it back.
    me: u32,
    /// On `log`: this publisher's own lock is held through it.
    pub(crate) publishers: LockFile,
    /// On `subs`.
    pub(crate) subscribers: LockFile,
    throttle: Throttle,
}

impl Peers {
    pub(crate) fn new(me: u32, publishers: LockFile, subscribers: LockFile) -> Self {
        Self { me, publishers, subscribers, throttle: Throttle::default() }
    }

    /// Frees the slots of dead subscribers; says whether there were any.
    pub(crate) fn release_dead(&mut self, subs: &Subs) -> bool {
        self.throttle.is_due() && release_dead_subscribers(&self.subscribers, subs) > 0
    }

    /// The frame at `position` was claimed by `owner` and isn't committed: makes it padding if `owner` is dead.
    pub(crate) fn pad_if_dead(&mut self, log: &Log, position: u64, owner: u32) -> bool {
        if owner == self.me {
            // Whoever asks for room has no claim of its own but one that was leaked (`mem::forget`).
            return pad(log, position, owner);
        }
        self.throttle.is_due() && self.with_dead(log, owner, || pad(log, position, owner)).unwrap_or(false)
    }

    /// Takes the lease from `publisher` if it is dead.
    pub(crate) fn bury_publisher(&mut self, log: &Log, publisher: u32) -> bool {
        if publisher == self.me {
            // Whoever asks for the lease doesn't hold it: a panic left it behind.
            take_down(log, publisher);
            return true;
        }
        self.throttle.is_due() && self.with_dead(log, publisher, || ()).is_some()
    }

    /// Runs `clean` while holding the lock of `publisher`, and takes the lease from it, if it is dead.
    fn with_dead<T>(&self, log: &Log, publisher: u32, clean: impl FnOnce() -> T) -> Option<T> {
        let other = publisher != self.me && publisher < log.geometry.publishers_max;
        if !other || !self.publishers.try_lock(publisher).unwrap_or(false) {
            return None;
        }
        take_down(log, publisher);
        let result = clean();
        let _ = self.publishers.unlock(publisher);
        Some(result)
    }

    /// Pads every unfinished claim of dead publishers, and frees dead subscribers' slots, at once; returns how many of both.
    /// For `gc`.
    pub(crate) fn sweep(&self, log: &Log, subs: &Subs) -> (usize, usize) {
        let subscribers = release_dead_subscribers(&self.subscribers, subs);
        let mut publishers = 0;
        for publisher in 0..log.geometry.publishers_max {
            let slot = log.slot(publisher);
            if !slot.is_taken() {
                continue;
            }
            let cleaned = self.with_dead(log, publisher, || {
                pad_all_of(log, publisher);
                slot.bury();
            });
            publishers += usize::from(cleaned.is_some());
        }
        (publishers, subscribers)
    }
}

/// Frees the slots of dead subscribers, with `locks` on the file `subs`; returns how many there were.
pub(crate) fn release_dead_subscribers(locks: &LockFile, subs: &Subs) -> usize {
    let mut released = 0;
    for slot in 0..subs.slots_used() {
        if subs.cursor(slot).load(Ordering::Acquire) != 0 && locks.try_lock(slot).unwrap_or(false) {
            // Under its lock: nobody joins here now.
            subs.cursor(slot).store(0, Ordering::Release);
            subs.slot(slot).bury();
            let _ = locks.unlock(slot);
            released += 1;
        }
    }
    released
}

/// Takes the lease from a dead publisher, if it has it. The caller has its lock.
pub(crate) fn take_down(log: &Log, publisher: u32) {
    let named = u64::from(publisher) + 1;
    let _ = log.control(control::LEASE).compare_exchange(named, 0, Ordering::AcqRel, Ordering::Relaxed);
}

/// Makes the claim of `owner` at `position` padding, unless it was committed. The caller has `owner`'s lock.
fn pad(log: &Log, position: u64, owner: u32) -> bool {
    let lap = log.geometry.lap(position);
    let claim = StateWord(log.claim(position).load(Ordering::Acquire));
    let header = log.header(position);
    let unfinished = claim.publisher() == owner && header.load(Ordering::Acquire) == StateWord::free(lap).0;
    let Some(bytes) = claimed_bytes(log, position, claim).filter(|_| unfinished) else { return false };
    crash_point!("recover.before_padding");
    let length = bytes - FRAME_HEADER_BYTES;
    // COMMIT (release), in the name of the dead.
    header.store(StateWord::new(lap, Phase::Padding, 0, u64::from(owner), length).0, Ordering::Release);
    log.control(status::ABANDONED).fetch_add(1, Ordering::Relaxed);
    true
}

/// Pads every unfinished claim of `owner`, whose lock the caller has.
pub(crate) fn pad_all_of(log: &Log, owner: u32) {
    let mut position = log.head();
    let end = position.saturating_add(log.geometry.capacity);
    while position < end {
        let claim = StateWord(log.claim(position).load(Ordering::Acquire));
        if let Some(bytes) = claimed_bytes(log, position, claim) {
            if claim.publisher() == owner {
                pad(log, position, owner);
            }
            position += bytes;
        } else if log.head() > position {
            // What was followed has been reclaimed meanwhile. A claim of the dead holds the head, so it is not among that.
            position = log.head();
        } else {
            break;
        }
    }
}

/// Lets something be done at most every [`ASK_EVERY`].
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    last: Option<Instant>,
}

impl Throttle {
    pub(crate) fn is_due(&mut self) -> bool {
        // Time does not pass in a model.
        if cfg!(loom) {
            return true;
        }
        let now = Instant::now();
        let due = self.last.is_none_or(|last| now - last >= ASK_EVERY);
        if due {
            self.last = Some(now);
        }
        due
    }
}
