//! Durable positions: whoever records a topic says up to where it survives a loss of power, and publishers may wait for that.
//!
//! ```text
//!   recorder                          publisher
//!   DURABLE = position                DURABLE_WANTED = position + 1, if that is the lowest
//!   fence   DURABLE                   fence   DURABLE
//!   wanted reached? ring              durable? else sleep on the bell
//! ```
//!
//! RECORDER names the slot of the subscriber that records. Whether it lives is asked of the lock on that slot; whoever takes the slot after it
//! takes the name away first. A sleeper wakes every so often to ask, so that a recorder that dies is an error, and not a wait.

use crate::error::ClaimError;
use crate::layout::subs;
use crate::memory::{Log, State, Subs};
use crate::publisher::Publisher;
use crate::read::Gated;
use memlane_shm::sync::{Ordering, fence};
use memlane_shm::{LockFile, crash_point, futex};
use std::time::{Duration, Instant};

/// How long a publisher sleeps at most before it asks whether the recorder lives.
const NAP_MAX: Duration = Duration::from_millis(10);

/// Why it can't be waited until a position is durable. The message is published all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurableError {
    /// Nobody who lives records the topic and syncs what it records.
    #[error("nobody records the topic and syncs it: start a recorder, with another sync than none")]
    NotRecorded,
    /// The topic can't be used any more.
    #[error(transparent)]
    Gone(#[from] ClaimError),
}

impl Gated {
    /// Says that this subscriber records the topic, and that everything before `position` survives a loss of power.
    ///
    /// Cost: two stores, and a system call if publishers wait.
    pub fn record_durably(&self, position: u64) {
        self.set_durable(position);
        self.subs.control(subs::RECORDER).store(u64::from(self.slot) + 1, Ordering::Release);
    }

    /// Says that everything before `position` survives a loss of power.
    ///
    /// Cost: a store and a fence; a system call if publishers wait for it.
    pub fn set_durable(&self, position: u64) {
        self.subs.control(subs::DURABLE).store(position, Ordering::Release);
        crash_point!("durable.said");
        // DURABLE pairs with the fence below.
        fence(Ordering::SeqCst);
        let wanted = self.subs.control(subs::DURABLE_WANTED).load(Ordering::Relaxed);
        if wanted != 0 && position >= wanted {
            ring(&self.subs);
        }
    }
}

/// The subscriber with this slot, which goes or has gone, doesn't record any more.
pub(crate) fn forget_recorder(subscribers: &Subs, slot: u32) {
    let named = u64::from(slot) + 1;
    let recorder = subscribers.control(subs::RECORDER);
    if recorder.compare_exchange(named, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        ring(subscribers);
    }
}

fn ring(subscribers: &Subs) {
    subscribers.control(subs::DURABLE_WANTED).swap(0, Ordering::AcqRel);
    subscribers.control(subs::DURABLE_BELL).fetch_add(1, Ordering::AcqRel);
    futex::wake(&subscribers.region, subs::DURABLE_BELL, u32::MAX);
}

/// What a publisher waits with.
struct Waiting<'a> {
    log: &'a Log,
    subscribers: &'a Subs,
    locks: &'a LockFile,
    position: u64,
}

impl Waiting<'_> {
    fn is_durable(&self) -> bool {
        self.subscribers.control(subs::DURABLE).load(Ordering::Acquire) > self.position
    }

    /// Whether it is worth waiting on.
    fn check(&self) -> Result<(), DurableError> {
        match self.log.state() {
            State::Live => {}
            State::Forked => return Err(ClaimError::Forked.into()),
            State::Removed => return Err(ClaimError::Removed.into()),
        }
        let recorder = self.subscribers.control(subs::RECORDER).load(Ordering::Acquire).checked_sub(1);
        let slot =
            recorder.and_then(|slot| u32::try_from(slot).ok()).filter(|slot| *slot < self.subscribers.slots_max());
        let lives = slot.is_some_and(|slot| self.locks.is_held_by_another(slot).unwrap_or(true));
        if lives { Ok(()) } else { Err(DurableError::NotRecorded) }
    }

    /// Sleeps until the position may be durable.
    fn sleep(&self, longest: Duration) {
        let bell = self.subscribers.control(subs::DURABLE_BELL).load(Ordering::Acquire);
        let wanted = self.position + 1;
        let lowest = |before: u64| (before == 0 || wanted < before).then_some(wanted);
        let _ =
            self.subscribers.control(subs::DURABLE_WANTED).fetch_update(Ordering::SeqCst, Ordering::Relaxed, lowest);
        // DURABLE pairs with the fence above.
        fence(Ordering::SeqCst);
        if !self.is_durable() {
            futex::wait(&self.subscribers.region, subs::DURABLE_BELL, bell as u32, Some(longest.min(NAP_MAX)));
        }
    }
}

impl Publisher {
    /// Everything before this position survives a loss of power, as whoever records the topic has it.
    #[must_use]
    pub fn durable_position(&self) -> u64 {
        self.parts().1.control(subs::DURABLE).load(Ordering::Acquire)
    }

    /// Whether the message at `position` survives a loss of power; else an error if nobody is there who would see to it.
    ///
    /// Cost: a load; where it doesn't yet, a system call. Errors: [`DurableError`].
    pub fn is_durable(&self, position: u64) -> Result<bool, DurableError> {
        let waiting = self.waiting_for(position);
        if waiting.is_durable() {
            return Ok(true);
        }
        let lives = waiting.check();
        // Whoever recorded may have said so, and left, since the first look.
        if waiting.is_durable() { Ok(true) } else { lives.map(|()| false) }
    }

    /// Waits until the message at `position` survives a loss of power, for at most `timeout`; says whether it does.
    ///
    /// Cost: sleeps, and wakes a hundred times a second to see whether whoever records lives. Errors: [`DurableError`].
    pub fn wait_durable(&self, position: u64, timeout: Duration) -> Result<bool, DurableError> {
        let deadline = Instant::now().checked_add(timeout);
        while !self.is_durable(position)? {
            let left = deadline.map_or(NAP_MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(false);
            }
            self.waiting_for(position).sleep(left);
        }
        Ok(true)
    }

    fn waiting_for(&self, position: u64) -> Waiting<'_> {
        let (log, subscribers, locks) = self.parts();
        Waiting { log, subscribers, locks, position }
    }
}
