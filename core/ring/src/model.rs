//! A topic in the memory of a loom model, and its participants: what `tests/loom` is made of.
//!
//! The algorithm is the real one; only the way to it (files, mapping) is not. Rings have a handful of cells, so that a lap is
//! a few steps. A participant dies by losing its locks, with nothing else of its done: [`Mortal::die`].

use crate::bell::BusBell;
use crate::error::{ClaimError, ReadError};
use crate::header::{Publishers, TopicOptions};
use crate::join::{self, JoinError, NoPlace, Start};
use crate::layout::{FRAME_HEADER_BYTES, FRAMES_IN_RING_MIN, Geometry, control, slot, status, subs};
use crate::lossy::{Copied, Lossy};
use crate::many::ManyPublisher;
use crate::memory::{Log, Subs};
use crate::one::OnePublisher;
use crate::read::{Frame, Gated};
use crate::reclaim::Reclaimed;
use crate::sleep::{OnBell, sleep_for_any};
use crate::wait::{self, Wait};
use memlane_shm::barrier::Light;
use memlane_shm::sync::{Ordering, fence};
use memlane_shm::{LockFile, Region, crash, futex};
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Bytes of a model's cells: the least that there can be.
pub const CELL: u64 = 32;

/// A topic in the model's memory.
#[derive(Debug)]
pub struct Topic {
    log: Log,
    subs: Subs,
    publishers: LockFile,
    subscribers: LockFile,
    /// Who asks for a lock next: each participant is another.
    holder: Cell<u32>,
    light: Light,
}

impl Topic {
    /// A new topic whose ring has so many cells.
    #[must_use]
    pub fn new(cells: u64, publishers: Publishers, subscribers_max: u32) -> Self {
        let smallest =
            TopicOptions { capacity: 4096, cell: CELL, publishers, subscribers_max, ..TopicOptions::default() };
        let capacity = cells * CELL;
        let geometry = Geometry {
            capacity,
            capacity_shift: capacity.trailing_zeros(),
            body_max: capacity / FRAMES_IN_RING_MIN - FRAME_HEADER_BYTES,
            ..smallest.geometry().expect("the options can be")
        };
        let topic = Self {
            log: Log::new(Region::private(geometry.log_bytes()), geometry),
            subs: Subs::new(Region::private(geometry.subs_bytes()), &geometry),
            publishers: LockFile::table(geometry.publishers_max as usize),
            subscribers: LockFile::table(subscribers_max as usize),
            holder: Cell::new(1),
            light: Light::for_this_process(),
        };
        topic.touch();
        topic
    }

    /// The same where subscribers or publishers sleep: commits and releases have the fence that a sleeper relies on, and no
    /// time-out ends a sleep.
    #[must_use]
    pub fn with_sleepers(mut self) -> Self {
        self.light = Light::always_fencing();
        futex::let_time_pass(false);
        self
    }

    /// The same on a bus that has a bell, which whoever joins from now on rings too.
    #[must_use]
    pub fn with_bell(mut self, bell: &BusBell) -> Self {
        self.log.bell = Some((bell.clone(), 1));
        self
    }

    /// Makes all words that participants share.
    fn touch(&self) {
        let touch = |region: &Region, offset: usize| {
            region.word(offset).load(Ordering::Relaxed);
        };
        use control::{DOORBELL, HEAD, LAST, LEASE, LIMIT, MARKS, TAIL};
        let geometry = &self.log.geometry;
        for word in [HEAD, LAST, TAIL, LIMIT, LEASE, DOORBELL, status::REMOVED, status::ABANDONED] {
            touch(&self.log.region, word);
        }
        for mark in 0..crate::layout::MARKS as usize {
            touch(&self.log.region, MARKS + mark * 8);
        }
        for publisher in 0..geometry.publishers_max {
            for word in [slot::PID, slot::INCARNATION] {
                touch(&self.log.region, geometry.publisher_at(publisher) + word);
            }
        }
        for position in (0..geometry.capacity).step_by(CELL as usize) {
            if geometry.many {
                touch(&self.log.region, geometry.claim_at(position));
            }
            for word in 0..4 {
                touch(&self.log.ring, geometry.offset(position) + word * 8);
            }
        }
        for word in [subs::QUIET, subs::ROOM_WANTED, subs::ROOM_BELL, subs::SLOTS_USED] {
            touch(&self.subs.region, word);
        }
        for slot in 0..geometry.subscribers_max {
            for word in [slot::CURSOR, slot::PID, slot::INCARNATION] {
                touch(&self.subs.region, geometry.subscriber_at(slot) + word);
            }
        }
    }

    /// Locks on `log` and on `subs` for one more participant.
    fn locks(&self) -> (LockFile, LockFile) {
        let holder = self.holder.replace(self.holder.get() + 1);
        (self.publishers.another(holder), self.subscribers.another(holder))
    }

    /// Becomes the one publisher; `None` if one lives.
    #[must_use]
    pub fn one(&self) -> Option<OnePublisher> {
        let (publishers, subscribers) = self.locks();
        if !publishers.try_lock(0).unwrap() {
            return None;
        }
        let publisher = OnePublisher::attach(self.log.clone(), self.subs.clone(), None, publishers, subscribers);
        let mut publisher = publisher.expect("the log is whole");
        publisher.light = self.light;
        Some(publisher)
    }

    /// Becomes one of many publishers, in the first slot that is free.
    #[must_use]
    pub fn many(&self) -> ManyPublisher {
        let (publishers, subscribers) = self.locks();
        let me = (0..self.log.geometry.publishers_max).find(|slot| publishers.try_lock(*slot).unwrap());
        let me = me.expect("a slot is free");
        let mut publisher =
            ManyPublisher::attach(self.log.clone(), self.subs.clone(), me, None, publishers, subscribers);
        publisher.light = self.light;
        publisher
    }

    /// Joins as a subscriber that holds publishers back; `None` if the position asked for isn't there.
    ///
    /// # Panics
    /// If there are bytes that no publisher writes.
    #[must_use]
    pub fn gated(&self, start: Start) -> Option<Gated> {
        let (publishers, subscribers) = self.locks();
        let (slot, position) = match join::join(&self.log, &self.subs, &subscribers, start) {
            Ok(joined) => joined.expect("a slot is free"),
            Err(JoinError::NoPlace(NoPlace::NotThere { .. })) => return None,
            Err(error) => panic!("{error:?}"),
        };
        let (log, subs, light) = (self.log.clone(), self.subs.clone(), self.light);
        Some(Gated {
            log,
            subs,
            slot,
            position,
            light,
            publishers: self.log.geometry.many.then_some(publishers),
            subscribers,
            empty_polls: 0,
            first_look: Default::default(),
            usual: Default::default(),
            skipped: 0,
        })
    }

    /// Joins as a subscriber that never holds anyone up.
    #[must_use]
    pub fn lossy(&self, start: Start) -> Lossy {
        let (publishers, _) = self.locks();
        let position = loop {
            let head = self.log.head();
            let place = join::place(&self.log, head, start);
            fence(Ordering::Acquire);
            if self.log.head() == head {
                break place.expect("the log is whole");
            }
        };
        let buffer = Lossy::buffer_for(self.log.geometry.body_max);
        let subs = Some(self.subs.clone());
        let publishers = self.log.geometry.many.then_some(publishers);
        Lossy {
            log: self.log.clone(),
            subs,
            position,
            publishers,
            empty_polls: 0,
            observer: None,
            is_backed: false,
            buffer,
        }
    }

    /// How many claims of dead publishers were turned into padding.
    #[must_use]
    pub fn abandoned(&self) -> u64 {
        self.log.control(status::ABANDONED).load(Ordering::Relaxed)
    }
}

/// A bell of a bus.
#[must_use]
pub fn bell() -> BusBell {
    let bell = BusBell::in_region(Region::private(crate::bell::FILE_BYTES));
    bell.touch();
    bell
}

/// Blocks on the bell of the bus until there is a message.
///
/// Errors: those of [`Gated::poll`].
pub fn block_on_bell(subscriber: &mut Gated, bell: &BusBell) -> Result<Seen, ReadError> {
    loop {
        if let Some(seen) = read_gated(subscriber)? {
            return Ok(seen);
        }
        sleep_for_any(&[subscriber.awaited()], &[OnBell { bell, changes: None }], None, None);
    }
}

/// Blocks on the bell until it counts other changes than `known`; gives their number.
#[must_use]
pub fn block_for_change(bell: &BusBell, known: u64) -> u64 {
    while bell.changes() == known {
        sleep_for_any(&[], &[OnBell { bell, changes: Some(known) }], None, None);
    }
    bell.changes()
}

/// A participant that can die: it loses its locks, and leaves everything else as it is.
pub trait Mortal {
    /// Dies.
    fn die(self);
}

impl Mortal for OnePublisher {
    fn die(self) {
        let dead = ManuallyDrop::new(self);
        // SAFETY: `dead` is never used or dropped again, so what it owns is moved out once.
        drop(unsafe { core::ptr::read(&raw const dead.peers) });
        // SAFETY: as above. Models are run a million times: the memory of each is given back.
        drop(unsafe { core::ptr::read(&raw const dead.log) });
        // SAFETY: as above.
        drop(unsafe { core::ptr::read(&raw const dead.subs) });
    }
}

impl Mortal for ManyPublisher {
    fn die(self) {
        let dead = ManuallyDrop::new(self);
        // SAFETY: as above.
        drop(unsafe { core::ptr::read(&raw const dead.peers) });
        // SAFETY: as above.
        drop(unsafe { core::ptr::read(&raw const dead.log) });
        // SAFETY: as above.
        drop(unsafe { core::ptr::read(&raw const dead.subs) });
    }
}

/// Runs `life`, which may end at the crash point `point` by the death of `mortal`; gives back the survivor.
pub fn live_until<M: Mortal>(point: &'static str, mut mortal: M, life: impl FnOnce(&mut M)) -> Option<M> {
    crash::model::arm(point);
    match catch_unwind(AssertUnwindSafe(|| life(&mut mortal))) {
        Ok(()) => {
            crash::model::disarm();
            Some(mortal)
        }
        Err(payload) if payload.is::<crash::model::Died>() => {
            mortal.die();
            None
        }
        Err(payload) => resume_unwind(payload),
    }
}

/// Longest message of a model, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 56;

/// A message of so many words, at least two so that it can be torn, that all tell its number.
#[must_use]
pub fn message(number: u64, words: usize) -> Vec<u8> {
    (0..words as u64).flat_map(|word| (if word % 2 == 0 { number } else { !number }).to_le_bytes()).collect()
}

/// The number of a message, which must be whole.
fn number_of(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let number = u64::from_le_bytes(words[0]);
    assert!(rest.is_empty() && words.len() > 1, "the length of another message");
    for (index, word) in words.iter().enumerate() {
        assert_eq!(u64::from_le_bytes(*word), if index % 2 == 0 { number } else { !number }, "a torn message");
    }
    number
}

/// What a subscriber found: position and number of a message.
pub type Seen = (u64, u64);

/// Polls once.
///
/// Errors: those of [`Gated::poll`].
pub fn read_gated(subscriber: &mut Gated) -> Result<Option<Seen>, ReadError> {
    Ok(subscriber.poll()?.map(|frame| seen_in(&frame)))
}

/// Blocks until there is a message.
///
/// Errors: those of [`Gated::wait`].
pub fn block_gated(subscriber: &mut Gated) -> Result<Option<Seen>, ReadError> {
    Ok(subscriber.wait(BLOCK, None)?.map(|frame| seen_in(&frame)))
}

fn seen_in(frame: &Frame<'_>) -> Seen {
    let mut bytes = [0; MESSAGE_BYTES_MAX];
    let body = &mut bytes[..frame.word().length() as usize];
    frame.copy_body(body);
    (frame.position(), number_of(body))
}

/// Polls once.
///
/// Errors: those of [`Lossy::poll`].
pub fn read_lossy(subscriber: &mut Lossy) -> Result<Option<Seen>, ReadError> {
    Ok(subscriber.poll()?.map(|copied| seen_by(subscriber, &copied)))
}

/// Polls once for the newest.
///
/// Errors: those of [`Lossy::poll_latest`].
pub fn read_latest(subscriber: &mut Lossy) -> Result<Option<Seen>, ReadError> {
    Ok(subscriber.poll_latest()?.map(|copied| seen_by(subscriber, &copied)))
}

/// Blocks until there is a message.
///
/// Errors: those of [`Lossy::wait`].
pub fn block_lossy(subscriber: &mut Lossy) -> Result<Option<Seen>, ReadError> {
    Ok(subscriber.wait(BLOCK, None)?.map(|copied| seen_by(subscriber, &copied)))
}

fn seen_by(subscriber: &Lossy, copied: &Copied) -> Seen {
    (copied.position, number_of(subscriber.body(copied)))
}

/// To sleep at once.
const BLOCK: Wait = Wait::Block { spins: 0 };

/// A publisher of either kind.
pub trait Publish: Mortal {
    /// Publishes a message of so many words; gives its position.
    ///
    /// Errors: those of publishing.
    fn publish_words(&mut self, number: u64, words: usize) -> Result<u64, ClaimError>;

    /// The same, blocking until there is room.
    ///
    /// Errors: those of publishing.
    fn block_words(&mut self, number: u64, words: usize) -> Result<u64, ClaimError>;
}

impl Publish for OnePublisher {
    fn publish_words(&mut self, number: u64, words: usize) -> Result<u64, ClaimError> {
        self.publish(&[], &message(number, words))
    }

    fn block_words(&mut self, number: u64, words: usize) -> Result<u64, ClaimError> {
        wait::publish_waiting(self, BLOCK, None, CELL, |me| me.publish_words(number, words))
    }
}

impl Publish for ManyPublisher {
    fn publish_words(&mut self, number: u64, words: usize) -> Result<u64, ClaimError> {
        self.publish(&[], &message(number, words))
    }

    fn block_words(&mut self, number: u64, words: usize) -> Result<u64, ClaimError> {
        wait::publish_waiting(self, BLOCK, None, CELL, |me| me.publish_words(number, words))
    }
}

/// Reclaims at least so many bytes, as a publish does that finds no room; says whether it reclaimed any.
#[must_use]
pub fn make_room(publisher: &mut ManyPublisher, bytes: u64) -> bool {
    publisher.reclaim(bytes) == Reclaimed::Some
}
