//! Waiting: how a participant spends the time until there is news. Every wait has a deadline, which may be "never".
//!
//! | strategy | reaction | cost while idle |
//! |---|---|---|
//! | [`Wait::BusySpin`] | one cache-line handoff | a whole core; one `pause` a poll |
//! | [`Wait::SpinThenYield`] | a handoff while spinning, else when the scheduler comes back | a core that others may use |
//! | [`Wait::Block`] | a handoff while spinning, else a futex wake-up (some 10 µs) | nothing |
//!
//! How they sleep: sleep.rs.

use crate::error::{ClaimError, ReadError};
use crate::layout::{LINE_BYTES, slot};
use crate::lossy::{Copied, Lossy};
use crate::memory::{Log, Subs};
use crate::read::{Found, Frame, Gated};
use crate::sleep::{sleep_for_message, sleep_for_room};
use crate::slot::count;
use crate::{many::ManyPublisher, one::OnePublisher};
use memlane_shm::clock;
use memlane_shm::sync::{Ordering, idle, spin_hint};
use std::time::{Duration, Instant};

/// How to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Poll without end, with one `pause` instruction a poll: fastest, and takes a core.
    BusySpin,
    /// Poll so many times, then give the core to others between polls.
    SpinThenYield {
        /// Polls before the first yield.
        spins: u32,
    },
    /// Poll so many times, then sleep in the kernel until there is news.
    Block {
        /// Polls before the first sleep.
        spins: u32,
    },
}

impl Default for Wait {
    /// Blocks after about 10 µs of polling: idle subscribers cost nothing, busy ones seldom sleep.
    fn default() -> Self {
        Self::Block { spins: 300 }
    }
}

/// Polls between two looks at the clock.
const POLLS_PER_CLOCK: u32 = 128;

impl Wait {
    /// So many polls come before the first look at the clock or the first sleep; nothing but a `pause` lies between them.
    #[inline(always)]
    fn quick_polls(self, timeout: Option<Duration>) -> u32 {
        let spins = match self {
            Self::BusySpin => POLLS_PER_CLOCK,
            Self::SpinThenYield { spins } | Self::Block { spins } => spins.min(POLLS_PER_CLOCK),
        };
        if timeout == Some(Duration::ZERO) { 0 } else { spins }
    }
}

/// The polls of one wait, and what passes between them.
#[derive(Debug)]
pub(crate) struct Turns {
    wait: Wait,
    timeout: Option<Duration>,
    /// Polls that found nothing so far.
    misses: u64,
    /// Reading the clock costs as much as a handoff, so the first polls go without.
    deadline: Option<Option<Instant>>,
    is_last: bool,
}

impl Turns {
    #[inline(always)]
    pub(crate) fn new(wait: Wait, timeout: Option<Duration>) -> Self {
        Self { wait, timeout, misses: 0, deadline: None, is_last: false }
    }

    /// After a poll that found nothing: passes the time until the next one; `false` if the timeout has passed since about the
    /// first, and one more poll came after that. `sleep` is called once it is time to block, with the longest time to sleep.
    #[inline(always)]
    pub(crate) fn next(&mut self, sleep: impl FnOnce(Option<Duration>)) -> bool {
        self.misses += 1;
        let slow = match self.wait {
            Wait::BusySpin => false,
            Wait::SpinThenYield { spins } | Wait::Block { spins } => self.misses > u64::from(spins),
        };
        if !slow && !self.misses.is_multiple_of(POLLS_PER_CLOCK.into()) && self.timeout != Some(Duration::ZERO) {
            spin_hint();
            return true;
        }
        self.next_by_clock(slow, sleep)
    }

    #[cold]
    fn next_by_clock(&mut self, slow: bool, sleep: impl FnOnce(Option<Duration>)) -> bool {
        let left = self.left();
        if left.is_some_and(|left| left.is_zero()) {
            return !core::mem::replace(&mut self.is_last, true);
        }
        match self.wait {
            Wait::SpinThenYield { .. } if slow => std::thread::yield_now(),
            Wait::Block { .. } if slow => sleep(left),
            _ => spin_hint(),
        }
        true
    }

    /// After a poll that found something, though not what is waited for: whether the timeout has passed since about the first.
    #[cfg(not(loom))]
    pub(crate) fn is_over(&mut self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// How long there is still to wait; `None` without a timeout, for which the clock isn't read.
    fn left(&mut self) -> Option<Duration> {
        let timeout = self.timeout?;
        let now = Instant::now();
        let deadline = self.deadline.get_or_insert_with(|| now.checked_add(timeout));
        deadline.map(|deadline| deadline.saturating_duration_since(now))
    }
}

/// When to look for the first time.
///
/// A look that comes too early costs both sides: it brings the line over as it is, and the publisher must get it back before
/// it can write. Where messages come at a steady short distance after one another (an answer, a stage of a
/// pipeline) a subscriber learns it, and begins to look just when the message should be there: then the line crosses once.
/// Elsewhere it learns to look at once. Measured in `docs/decisions/0005-first-look.md`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FirstLook {
    /// How long to hold off, in sixteenths of a turn of an empty loop.
    sixteenths: u32,
    /// First looks in a row that found a message.
    hits: u32,
}

impl FirstLook {
    /// What a miss adds; a hit takes one off, so that about one first look in nine comes too early.
    const STEP: u32 = 8;
    /// Some 0.3 µs: more than any handoff takes.
    const SIXTEENTHS_MAX: u32 = 1_000 << 4;
    /// After so many polls it wasn't a matter of when to look.
    const POLLS_MAX: u32 = 24;
    /// After so many hits in a row it looks at once, to tell a good time from a backlog.
    const HITS_MAX: u32 = 48;

    #[inline(always)]
    pub(crate) fn hold_off(self) {
        if self.hits < Self::HITS_MAX {
            idle(self.sixteenths >> 4);
        }
    }

    /// Learns from a wait that found a message after `misses` looks that did not.
    #[inline(always)]
    pub(crate) fn learn(&mut self, misses: u32) {
        let looked_at_once = self.hits >= Self::HITS_MAX;
        if misses == 0 {
            self.hits = self.hits.saturating_add(1);
            let fewer = if looked_at_once { 1 + self.sixteenths / 2 } else { 1 };
            self.sixteenths = self.sixteenths.saturating_sub(fewer);
            return;
        }
        self.hits = 0;
        if misses > Self::POLLS_MAX {
            self.sixteenths /= 2;
        } else if !looked_at_once {
            self.sixteenths = (self.sixteenths + Self::STEP).min(Self::SIXTEENTHS_MAX);
        }
    }
}

impl Gated {
    /// Waits for the next message, for at most `timeout` if there is one; `None` if there was none.
    ///
    /// Errors: as for [`Gated::poll`].
    #[inline(always)]
    pub fn wait(&mut self, wait: Wait, timeout: Option<Duration>) -> Result<Option<Frame<'_>>, ReadError> {
        self.first_look.hold_off();
        let quick = wait.quick_polls(timeout);
        let mut misses = 0;
        let found = loop {
            if self.usual.spans_lines() {
                // Asked for together with the header, it comes together with it.
                self.log.ring.prefetch_for_read(self.log.geometry.offset(self.position) + LINE_BYTES as usize);
            }
            if let Some(found) = self.find()? {
                break found;
            }
            misses += 1;
            if misses >= quick {
                let Some(found) = self.wait_longer(wait, timeout, misses)? else { return Ok(None) };
                break found;
            }
            spin_hint();
        };
        self.first_look.learn(misses);
        Ok(Some(self.hold(found)))
    }

    /// The rest of a wait, after its quick polls.
    #[inline(never)]
    fn wait_longer(&mut self, wait: Wait, timeout: Option<Duration>, misses: u32) -> Result<Option<Found>, ReadError> {
        let mut turns = Turns { misses: misses.into(), ..Turns::new(wait, timeout) };
        loop {
            if !turns.next(|left| self.sleep(left)) {
                return Ok(None);
            }
            if let Some(found) = self.find()? {
                return Ok(Some(found));
            }
        }
    }

    /// Sleeps until there may be a message.
    #[cold]
    pub(crate) fn sleep(&mut self, left: Option<Duration>) {
        sleep_for_message(&self.log, Some(&self.subs), self.position, left);
        self.subs.slot(self.slot).is_active();
        self.look_round_soon();
    }

    /// Has the next poll that finds nothing look round: it is done every so many polls, and who sleeps has few of them. Whatever woke it, a
    /// death may have.
    pub(crate) fn look_round_soon(&mut self) {
        self.empty_polls |= u32::MAX >> 22;
    }
}

impl Lossy {
    /// Waits for the next message, for at most `timeout` if there is one; `None` if there was none.
    ///
    /// Errors: as for [`Lossy::poll`].
    #[inline]
    pub fn wait(&mut self, wait: Wait, timeout: Option<Duration>) -> Result<Option<Copied>, ReadError> {
        let mut turns = Turns::new(wait, timeout);
        loop {
            let found = self.poll()?;
            if found.is_some() || !turns.next(|left| self.sleep(left)) {
                return Ok(found);
            }
        }
    }

    /// Waits for a message that is newer than the one copied last, and copies the newest; for at most `timeout` if there is one.
    ///
    /// Errors: as for [`Lossy::poll_latest`].
    #[inline]
    pub fn wait_latest(&mut self, wait: Wait, timeout: Option<Duration>) -> Result<Option<Copied>, ReadError> {
        let mut turns = Turns::new(wait, timeout);
        loop {
            let found = self.poll_latest()?;
            if found.is_some() || !turns.next(|left| self.sleep(left)) {
                return Ok(found);
            }
        }
    }

    #[cold]
    pub(crate) fn sleep(&mut self, left: Option<Duration>) {
        sleep_for_message(&self.log, self.subs.as_ref(), self.position, left);
        if let Some(observer) = &self.observer {
            observer.is_active();
        }
        self.empty_polls |= u32::MAX >> 22;
    }
}

/// The time for which a publisher is held up, from this value's making to its dropping.
#[derive(Debug)]
pub struct Held {
    log: Log,
    publisher: u32,
    since: Instant,
}

impl Held {
    pub(crate) fn new(log: &Log, publisher: u32) -> Self {
        log.slot(publisher).word(slot::HELD_SINCE).store(clock::unix_ns(), Ordering::Relaxed);
        Self { log: log.clone(), publisher, since: Instant::now() }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let slot = self.log.slot(self.publisher);
        count(slot.word(slot::HELD_NS), u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX));
        slot.word(slot::HELD_SINCE).store(0, Ordering::Relaxed);
        slot.is_active();
    }
}

/// A publisher that can wait for room.
pub(crate) trait WaitForRoom {
    /// How far the slowest subscriber must come for a claim of `bytes` bytes.
    fn gate_wanted(&self, bytes: u64) -> u64;
    /// Its slot.
    fn slot(&self) -> u32;
    /// Its memory.
    fn memory(&self) -> (&Log, &Subs);
}

impl WaitForRoom for OnePublisher {
    fn gate_wanted(&self, bytes: u64) -> u64 {
        // Some hysteresis: an eighth of the ring at once, so that the two don't wake each other for each message.
        let capacity = self.log.geometry.capacity;
        (self.tail() + bytes + capacity / 8).saturating_sub(capacity).min(self.tail())
    }

    fn slot(&self) -> u32 {
        0
    }

    fn memory(&self) -> (&Log, &Subs) {
        (&self.log, &self.subs)
    }
}

impl WaitForRoom for ManyPublisher {
    fn gate_wanted(&self, bytes: u64) -> u64 {
        let capacity = self.log.geometry.capacity;
        self.limit.saturating_sub(capacity).saturating_add(bytes + capacity / 8)
    }

    fn slot(&self) -> u32 {
        self.me
    }

    fn memory(&self) -> (&Log, &Subs) {
        (&self.log, &self.subs)
    }
}

/// Calls `publish` until it succeeds, fails for another reason than lack of room, or `timeout` has passed (`Full`).
/// `bytes` is about what it needs.
pub(crate) fn publish_waiting<P: WaitForRoom, T>(
    publisher: &mut P,
    wait: Wait,
    timeout: Option<Duration>,
    bytes: u64,
    mut publish: impl FnMut(&mut P) -> Result<T, ClaimError>,
) -> Result<T, ClaimError> {
    let mut turns = Turns::new(wait, timeout);
    // Counted until it is dropped, on the way out.
    let mut held = None;
    loop {
        let outcome = publish(publisher);
        if !matches!(outcome, Err(ClaimError::Full)) {
            // Before `publisher` is looked at again: a claim may hold it.
            return outcome;
        }
        if !cfg!(loom) && held.is_none() && timeout != Some(Duration::ZERO) {
            held = Some(Held::new(publisher.memory().0, publisher.slot()));
        }
        let sleep = |left| {
            let (log, subs) = publisher.memory();
            sleep_for_room(log, subs, publisher.gate_wanted(bytes), left);
        };
        if !turns.next(sleep) {
            return outcome;
        }
    }
}
