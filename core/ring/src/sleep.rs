//! Sleeping until there may be something: at one place of a log, at places of many, or room in one.
//!
//! A sleeper says that it sleeps, looks once more, and sleeps on a doorbell (wake.rs) or on the bell of a bus (bell.rs). Where waking can't be relied
//! on, a sleep is short: without `membarrier`, without permission to say that one sleeps, or while an unfinished frame is in the way, whose
//! owner might die.

use crate::bell::BusBell;
use crate::layout::{StateWord, control, subs};
use crate::look::Look;
use crate::lossy::Lossy;
use crate::memory::{Log, State, Subs};
use crate::read::Gated;
use crate::wake;
use memlane_shm::Region;
use memlane_shm::sync::{Ordering, fence, spin_hint};
use memlane_shm::{barrier, crash, futex};
use std::time::Duration;

/// Longest sleep when nobody may wake us.
const NAP: Duration = Duration::from_millis(1);
/// Longest sleep in any case: four wake-ups a second take 0.03 % of a core.
const SLEEP_MAX: Duration = Duration::from_millis(250);
/// Longest sleep when it is likely a matter of microseconds.
const SHORT_NAP: Duration = Duration::from_micros(100);

/// What a sleeper waits for: a message at a position of a log.
#[derive(Clone, Copy, Debug)]
pub struct Awaited<'a> {
    log: &'a Log,
    subs: Option<&'a Subs>,
    position: u64,
}

impl<'a> Awaited<'a> {
    /// Whether there may be something to receive. Cost: a look at one cache line.
    #[inline]
    #[must_use]
    pub fn is_there(self) -> bool {
        let free = StateWord::free(self.log.geometry.lap(self.position)).0;
        self.log.header(self.position).load(Ordering::Acquire) != free || self.log.head() > self.position
    }

    /// Whether somebody has claimed what is awaited, and not finished it.
    #[must_use]
    pub fn is_claimed(self) -> bool {
        self.log.is_claimed(self.position)
    }

    /// Whether its topic is there, for this process.
    #[must_use]
    pub fn is_live(self) -> bool {
        self.log.state() == State::Live
    }

    /// Says that somebody is about to sleep; gives the value of the doorbell to sleep on. `None` if nobody would ring it.
    pub(crate) fn announce(self) -> Option<u32> {
        // Before the state: who sees the bell of a removal sees the removal.
        let bell = self.log.control(control::DOORBELL).load(Ordering::Acquire);
        // A forked child's pages are its own.
        let subs = self.subs.filter(|_| self.log.state() == State::Live)?;
        wake::say_asleep(subs);
        Some(bell as u32)
    }
}

/// A bell of a bus to sleep on, and what it may count without ending the sleep.
#[derive(Clone, Copy, Debug)]
pub struct OnBell<'a> {
    /// The bell.
    pub bell: &'a BusBell,
    /// The changes of the bus that are known; `None` if they are none of the sleeper's business.
    pub changes: Option<u64>,
}

/// A futex word of this process: memory, offset, and the value at which to sleep.
pub type OwnWord<'a> = (&'a Region, usize, u32);

/// Sleeps until there may be a message at one of `awaited`, at most for `left`; also until a bell counts other changes, or `own` has
/// another value.
///
/// With bells it sleeps on those alone, so every topic must be of one of their buses: a wake-up then costs the same for one as for thousands.
/// Without, on up to 127 doorbells at once; past that it naps.
/// Cost: a locked instruction for each, a look at each, two system calls. Allocates.
pub fn sleep_for_any(awaited: &[Awaited<'_>], bells: &[OnBell<'_>], own: Option<OwnWord<'_>>, left: Option<Duration>) {
    let nap = left.unwrap_or(NAP).min(NAP);
    // Before the topics: who sees that one of them has sleepers sees that the bus has.
    let mut words: Vec<_> = bells.iter().map(|on| on.bell.futex_word(on.bell.announce())).collect();
    let doorbells: Vec<Option<u32>> = awaited.iter().map(|awaited| awaited.announce()).collect();
    // WAKE: say so, then look; pairs with the light fence after a commit.
    let reached = barrier::heavy();
    let has_changed = bells.iter().any(|on| on.changes.is_some_and(|changes| on.bell.changes() != changes));
    if has_changed || awaited.iter().any(|awaited| awaited.is_there()) {
        return;
    }
    let is_certain = reached
        && doorbells.iter().all(Option::is_some)
        && !awaited.iter().any(|awaited| awaited.log.is_claimed(awaited.position));
    let timeout = if is_certain { safely(left) } else { Some(nap) };
    if bells.is_empty() {
        let topics = awaited.iter().zip(doorbells);
        words.extend(topics.filter_map(|(awaited, value)| Some((&awaited.log.region, control::DOORBELL, value?))));
    }
    words.extend(own);
    match &words[..] {
        [(region, offset, value)] => drop(futex::wait(region, *offset, *value, timeout)),
        // None that anybody would ring, too many, or a kernel before 5.16.
        words if futex::wait_any(words, timeout).is_err() => std::thread::sleep(nap),
        _ => {}
    }
}

/// What a subscriber waits for, for a thread that waits in its place.
#[derive(Clone, Debug)]
pub struct Watch {
    log: Log,
    subs: Option<Subs>,
}

impl Watch {
    /// What its subscriber waits for at `position`, where it reads next.
    #[must_use]
    pub fn awaited(&self, position: u64) -> Awaited<'_> {
        Awaited { log: &self.log, subs: self.subs.as_ref(), position }
    }
}

impl Gated {
    /// Whether there is a message, or an error to be told: a thorough look, also at deaths and removals.
    pub fn has_news(&mut self) -> bool {
        self.empty_polls |= u32::MAX >> 22;
        let has_news = !matches!(self.find(), Ok(None));
        // What was told here is told again by the next poll.
        self.empty_polls |= u32::MAX >> 22;
        has_news
    }

    /// What it waits for.
    #[must_use]
    pub fn awaited(&self) -> Awaited<'_> {
        Awaited { log: &self.log, subs: Some(&self.subs), position: self.position }
    }

    /// The same, to keep.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch { log: self.log.clone(), subs: Some(self.subs.clone()) }
    }
}

impl Lossy {
    /// Whether there is a message, or an error to be told: a thorough look, also at deaths and removals.
    pub fn has_news(&mut self) -> bool {
        // What is told here is told again by the next poll.
        self.empty_polls |= u32::MAX >> 22;
        loop {
            let look = self.log.look(self.position);
            // OVERTAKEN, as for a copy: what it looked at counts if the head hasn't passed it.
            fence(Ordering::Acquire);
            if self.log.head() > self.position {
                return true;
            }
            match look {
                Look::Padding(end) => self.position = end,
                Look::Frame(..) | Look::Strange => return true,
                Look::Nothing => match self.look_round() {
                    Ok(true) if !self.awaited().is_live() => return self.awaited().is_there(),
                    Ok(true) => {}
                    other => return other.is_err(),
                },
            }
        }
    }

    /// What it waits for.
    #[must_use]
    pub fn awaited(&self) -> Awaited<'_> {
        Awaited { log: &self.log, subs: self.subs.as_ref(), position: self.position }
    }

    /// The same, to keep.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch { log: self.log.clone(), subs: self.subs.clone() }
    }
}

/// Sleeps until there may be a message at `position`, at most for `left`.
pub(crate) fn sleep_for_message(log: &Log, subscribers: Option<&Subs>, position: u64, left: Option<Duration>) {
    let nap = left.unwrap_or(NAP).min(NAP);
    let awaited = Awaited { log, subs: subscribers, position };
    let Some(bell) = awaited.announce() else { return std::thread::sleep(nap) };
    // WAKE: say so, then look; pairs with the light fence after a commit.
    let reached = barrier::heavy();
    if awaited.is_there() {
        return;
    }
    let must_look_again = !reached || log.is_claimed(position);
    let timeout = if must_look_again { Some(nap) } else { safely(left) };
    futex::wait(&log.region, control::DOORBELL, bell, timeout);
}

/// How long to sleep at most where publishers ring: one may die between its commit and the bell.
fn safely(left: Option<Duration>) -> Option<Duration> {
    if crash::sleeps_for_good() { left } else { Some(left.unwrap_or(SLEEP_MAX).min(SLEEP_MAX)) }
}

/// Sleeps until a subscriber may have let go of `gate_wanted`, at most for a millisecond: whoever holds it may die.
pub(crate) fn sleep_for_room(log: &Log, subscribers: &Subs, gate_wanted: u64, left: Option<Duration>) {
    let nap = left.unwrap_or(NAP).min(NAP);
    if log.state() != State::Live {
        return;
    }
    let bell = subscribers.control(subs::ROOM_BELL).load(Ordering::Acquire);
    subscribers.control(subs::ROOM_WANTED).store(gate_wanted + 1, Ordering::SeqCst);
    // WAKE: say so, then look; pairs with the light fence after a release.
    barrier::heavy();
    if subscribers.gate() < gate_wanted {
        futex::wait(&subscribers.region, subs::ROOM_BELL, bell as u32, Some(nap));
    } else if cfg!(loom) {
        // Time does not pass in a model.
        spin_hint();
    } else {
        // The gate is open and yet there was no room: a reclaimer at work, or an unfinished frame, whose owner may be stopped.
        // Nobody rings for that; but a look, which fences every core, is not to be had for nothing.
        futex::wait(&subscribers.region, subs::ROOM_BELL, bell as u32, Some(nap.min(SHORT_NAP)));
    }
}
