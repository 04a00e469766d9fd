//! A publisher of either kind, and claims: a message that is written where subscribers will read it.

use crate::error::ClaimError;
use crate::label::Label;
use crate::layout::{FRAME_HEADER_BYTES, Phase, StateWord};
use crate::lossy::{Line, bytes_of, bytes_of_mut};
use crate::many::ManyPublisher;
use crate::memory::{Log, State, Subs};
use crate::one::{OnePublisher, Payloads, flags, write_body, write_stamp};
use crate::rate::counted_bytes;
use crate::recover::release_dead_subscribers;
use crate::source::Seat;
use crate::wait::{self, Held, Wait, WaitForRoom};
use memlane_shm::LockFile;
use memlane_shm::clock::Ticker;
use memlane_shm::crash_point;
use memlane_shm::sync::Ordering;
use std::time::{Duration, Instant};

/// A claim of at most so many bytes is written on the side and copied in at its commit, a longer one where it stays: the
/// polled line should be written once, and copying is cheap only while it is short. Measured in
/// `docs/decisions/0004-staging.md`.
pub const STAGED_BYTES_MAX: usize = 1024;

/// A topic's publisher.
#[derive(Debug)]
pub struct Publisher {
    pub(crate) kind: Kind,
    /// Where short claims are written.
    staging: Box<[Line]>,
    /// Claims of at most so many bytes are short.
    staged_bytes_max: usize,
    /// Whether the topic keeps the last message of each key.
    keeps_last: bool,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one for each publisher, and never moved on the hot path")]
pub(crate) enum Kind {
    One(OnePublisher),
    Many(ManyPublisher),
}

impl From<OnePublisher> for Publisher {
    fn from(publisher: OnePublisher) -> Self {
        Self::of(Kind::One(publisher))
    }
}

impl From<ManyPublisher> for Publisher {
    fn from(publisher: ManyPublisher) -> Self {
        Self::of(Kind::Many(publisher))
    }
}

impl Publisher {
    fn of(kind: Kind) -> Self {
        let mut publisher = Self { kind, staging: Box::default(), staged_bytes_max: 0, keeps_last: false };
        publisher.keeps_last = publisher.log().last.is_some();
        publisher.stage_up_to(STAGED_BYTES_MAX)
    }

    /// Writes claims of up to `bytes` bytes on the side and longer ones in place, instead of up to [`STAGED_BYTES_MAX`].
    #[must_use]
    pub fn stage_up_to(mut self, bytes: usize) -> Self {
        self.staging = vec![Line::default(); bytes.div_ceil(size_of::<Line>())].into_boxed_slice();
        self.staged_bytes_max = bytes;
        self
    }

    /// Publishes a message with `extensions` (encoded, see [`crate::extension`]; may be empty) and `payload`; returns
    /// its position.
    ///
    /// Cost: a copy of the payload and a few stores; no system call unless a subscriber sleeps. Never waits.
    /// Errors: [`ClaimError`]; nothing was published.
    #[inline(always)]
    pub fn publish(&mut self, extensions: &[u8], payload: &[u8]) -> Result<u64, ClaimError> {
        // Known when it is compiled, where there are no extensions.
        if !extensions.is_empty() && self.keeps_last {
            self.keep_key(extensions, payload.len())?;
        }
        match &mut self.kind {
            Kind::One(one) => one.publish(extensions, payload),
            Kind::Many(many) => many.publish(extensions, payload),
        }
    }

    /// Has messages that are published by themselves wait for room, for up to so long, or no longer; gives back what was so before.
    pub fn set_patience(&mut self, patience: Option<(Wait, Duration)>) -> Option<(Wait, Duration)> {
        let place = match &mut self.kind {
            Kind::One(one) => &mut one.patience,
            Kind::Many(many) => &mut many.patience,
        };
        core::mem::replace(place, patience)
    }

    /// Publishes `payloads`, or as many from the first as there is room for, so that they cross as one; returns how many. Where a rate is
    /// limited they cross one by one, so that is one.
    ///
    /// Errors: [`ClaimError`], if not even the first could be published.
    #[inline]
    pub fn publish_batch(&mut self, payloads: &[&[u8]]) -> Result<usize, ClaimError> {
        match &mut self.kind {
            Kind::One(one) => one.publish_batch(&mut payloads.iter()),
            Kind::Many(many) => many.publish_batch(payloads),
        }
    }

    /// As [`Publisher::publish_batch`], but asks for each payload when it is to be copied, so that they can share a buffer. `None` on a
    /// topic for many publishers, where the lengths of all must be known first.
    ///
    /// Errors: as for [`Publisher::publish_batch`].
    #[inline]
    pub fn publish_each(&mut self, payloads: &mut impl Payloads) -> Option<Result<usize, ClaimError>> {
        match &mut self.kind {
            Kind::One(one) => Some(one.publish_batch(payloads)),
            Kind::Many(_) => None,
        }
    }

    /// From here on, the caller says of each message with a source, once it is published, how far that one has got ([`Publisher::note`]): then making room takes no look at
    /// each frame for that. One that isn't said is forgotten with its frame. Without effect on a topic for many publishers.
    pub fn note_sources(&mut self) {
        if let Kind::One(one) = &mut self.kind {
            one.note_sources();
        }
    }

    /// The messages of the source in `seat` are published up to `sequence`.
    #[inline]
    pub fn note(&mut self, seat: &Seat, sequence: u64) {
        if let Kind::One(one) = &mut self.kind {
            one.note(seat.place, sequence);
        }
    }

    /// As [`Publisher::publish`], but waits for room for at most `timeout`, if there is one.
    ///
    /// Errors: [`ClaimError`]; `Full` if the time was up.
    pub fn publish_waiting(
        &mut self,
        extensions: &[u8],
        payload: &[u8],
        wait: Wait,
        timeout: Option<Duration>,
    ) -> Result<u64, ClaimError> {
        // This wait in the place of the one that it has anyway.
        let patience = self.set_patience(None);
        let bytes = payload.len() + extensions.len();
        let outcome = match self.publish(extensions, payload) {
            Err(error) if error.passes() => self.waiting(bytes, wait, timeout, |me| me.publish(extensions, payload)),
            other => other,
        };
        self.set_patience(patience);
        outcome
    }

    /// Calls `publish` until it says neither `Full` nor `RateLimited`, or `timeout` has passed; `bytes` is about what it needs. Where a rate
    /// limit asks for a longer wait than is left, it says so at once.
    ///
    /// Errors: those of `publish`.
    pub fn waiting<T>(
        &mut self,
        bytes: usize,
        wait: Wait,
        timeout: Option<Duration>,
        mut publish: impl FnMut(&mut Self) -> Result<T, ClaimError>,
    ) -> Result<T, ClaimError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let outcome = wait::publish_waiting(self, wait, left, bytes as u64, &mut publish);
            if !matches!(outcome, Err(ClaimError::RateLimited)) {
                // Before `self` is looked at again: a claim may hold it.
                return outcome;
            }
            let (pause, now) = (self.rate_wait(), Instant::now());
            if deadline.is_some_and(|deadline| now.checked_add(pause).is_none_or(|end| end > deadline)) {
                return outcome;
            }
            std::thread::sleep(pause);
        }
    }

    /// Claims room for a payload of up to `bytes` bytes, with `extensions`. Nothing is visible before [`Claim::commit`].
    ///
    /// Errors: [`ClaimError`].
    #[inline(always)]
    pub fn claim(&mut self, extensions: &[u8], bytes: usize) -> Result<Claim<'_>, ClaimError> {
        let geometry = *self.geometry();
        let body = (geometry.payload_at - FRAME_HEADER_BYTES + extensions.len() as u64).saturating_add(bytes as u64);
        if body > geometry.body_max {
            return Err(ClaimError::TooLong);
        }
        if !extensions.is_empty() && self.keeps_last {
            self.keep_key(extensions, bytes)?;
        }
        // The staging area takes extensions and payload together, so that one copy moves both.
        let staged = extensions.len() + bytes <= self.staged_bytes_max;
        let (position, end) = match &mut self.kind {
            Kind::One(one) => {
                let end = one.place(body)?;
                if !staged && one.stamped < end {
                    // What is written in place goes over a header that was stamped ahead, also if the claim is given up.
                    one.stamped = 0;
                }
                (one.tail(), one.tail() - one.at + end)
            }
            Kind::Many(many) => {
                let position = many.claim(geometry.frame_bytes(body), counted_bytes(&geometry, body))?;
                (position, position + geometry.frame_bytes(body))
            }
        };
        let claim = Claim { publisher: self, position, end, bytes, extension_bytes: extensions.len(), staged };
        if !extensions.is_empty() {
            claim.publisher.area(position, staged, 0, extensions.len()).copy_from_slice(extensions);
        }
        Ok(claim)
    }

    /// Sees to it that the message can be kept as the last one of its key, if it has one.
    #[inline(never)]
    fn keep_key(&mut self, extensions: &[u8], payload_bytes: usize) -> Result<(), ClaimError> {
        match &mut self.kind {
            Kind::One(one) => one.keep_key(extensions, payload_bytes),
            Kind::Many(many) => many.keep_key(extensions, payload_bytes),
        }
    }

    /// The `bytes` bytes at `offset` after where extensions begin, of a claim at `position`.
    #[inline(always)]
    fn area(&mut self, position: u64, staged: bool, offset: usize, bytes: usize) -> &mut [u8] {
        if staged {
            return &mut bytes_of_mut(&mut self.staging)[offset..offset + bytes];
        }
        let log = self.log();
        let start = log.ring.pointer(log.geometry.offset(position) + log.geometry.payload_at as usize + offset, bytes);
        // SAFETY:
        // - In bounds: `pointer` checks.
        // - Exclusive: the claim made this publisher the only writer of the frame, and `self` is borrowed for it.
        //   Nobody reads there before the commit but lossy subscribers that were overtaken, who copy and check.
        unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), bytes) }
    }

    /// Where the next message of a lone publisher begins; `None` among many.
    #[must_use]
    pub fn tail(&self) -> Option<u64> {
        match &self.kind {
            Kind::One(one) => Some(one.tail()),
            Kind::Many(_) => None,
        }
    }

    /// The sizes and places of its topic.
    #[must_use]
    pub fn geometry(&self) -> &crate::layout::Geometry {
        &self.log().geometry
    }

    /// Whether the topic was removed, or this is a forked child.
    ///
    /// Cost: a load.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.log().state() != State::Live
    }

    /// The slot that it has.
    #[must_use]
    pub fn slot(&self) -> u32 {
        WaitForRoom::slot(self)
    }

    /// Says who it is, to whoever looks.
    ///
    /// Cost: some stores.
    pub fn set_label(&self, label: &Label) {
        label.write(&self.log().region, self.geometry().publisher_label_at(self.slot()));
    }

    /// How far the source in `seat`, which is of the same topic, got; zero if it has published nothing.
    ///
    /// Cost: a look at each frame of the log. Errors: [`ClaimError::Corrupt`].
    pub fn last_sequence(&mut self, seat: &Seat) -> Result<u64, ClaimError> {
        match &mut self.kind {
            Kind::One(one) => Ok(one.last_sequence(seat)),
            Kind::Many(many) => many.last_sequence(seat),
        }
    }

    /// Counts the time until the value is dropped as time for which want of room held it up.
    #[must_use]
    pub fn hold_up(&self) -> Held {
        Held::new(self.log(), self.slot())
    }

    /// Frees what dead participants left, at once; returns how many publishers and subscribers that were.
    pub fn sweep(&self) -> (usize, usize) {
        match &self.kind {
            Kind::One(one) => (0, release_dead_subscribers(&one.peers.subscribers, &one.subs)),
            Kind::Many(many) => many.peers.sweep(&many.log, &many.subs),
        }
    }

    pub(crate) fn log(&self) -> &Log {
        match &self.kind {
            Kind::One(one) => &one.log,
            Kind::Many(many) => &many.log,
        }
    }

    /// The topic's memory, and the locks of its subscribers.
    pub(crate) fn parts(&self) -> (&Log, &Subs, &LockFile) {
        match &self.kind {
            Kind::One(one) => (&one.log, &one.subs, &one.peers.subscribers),
            Kind::Many(many) => (&many.log, &many.subs, &many.peers.subscribers),
        }
    }

    fn ticker(&self) -> Option<Ticker> {
        match &self.kind {
            Kind::One(one) => one.ticker,
            Kind::Many(many) => many.ticker,
        }
    }
}

impl WaitForRoom for Publisher {
    fn slot(&self) -> u32 {
        match &self.kind {
            Kind::One(one) => one.slot(),
            Kind::Many(many) => many.slot(),
        }
    }

    fn gate_wanted(&self, bytes: u64) -> u64 {
        match &self.kind {
            Kind::One(one) => one.gate_wanted(bytes),
            Kind::Many(many) => many.gate_wanted(bytes),
        }
    }

    fn memory(&self) -> (&Log, &Subs) {
        match &self.kind {
            Kind::One(one) => one.memory(),
            Kind::Many(many) => many.memory(),
        }
    }
}

/// A message that is being written. Dropping it aborts: subscribers will never see it.
#[derive(Debug)]
pub struct Claim<'a> {
    publisher: &'a mut Publisher,
    position: u64,
    end: u64,
    bytes: usize,
    extension_bytes: usize,
    staged: bool,
}

impl Claim<'_> {
    /// Its payload, to be written. What is in it before means nothing.
    #[inline(always)]
    pub fn payload(&mut self) -> &mut [u8] {
        self.publisher.area(self.position, self.staged, self.extension_bytes, self.bytes)
    }

    /// The position it will have.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Makes the first `bytes` bytes of the payload visible as a message; returns its position.
    ///
    /// Cost: for a short one a copy, else two stores. Errors: [`ClaimError::Forked`].
    ///
    /// # Panics
    /// If `bytes` is more than was claimed.
    #[inline(always)]
    pub fn commit(self, bytes: usize) -> Result<u64, ClaimError> {
        assert!(bytes <= self.bytes, "a commit of {bytes} bytes in a claim of {}", self.bytes);
        // Not dropped: a drop aborts.
        let claim = core::mem::ManuallyDrop::new(self);
        let (position, end) = (claim.position, claim.end);
        // SAFETY: `claim` is never used or dropped again, so the reference is moved out once.
        let publisher: &mut Publisher = unsafe { core::ptr::read(&raw const claim.publisher) };
        let (ticker, offset) = (publisher.ticker(), publisher.geometry().offset(position));
        if claim.staged {
            let body = &bytes_of(&publisher.staging)[..claim.extension_bytes + bytes];
            write_body(publisher.log(), ticker, offset, &[], body);
        } else {
            write_stamp(publisher.log(), ticker, offset);
            crash_point!("write.half");
        }
        publisher.commit(position, end, claim.extension_bytes, bytes)?;
        Ok(position)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        // One publisher has changed nothing that others see; of many, the claim is for ever theirs and becomes padding.
        if let Kind::Many(many) = &mut self.publisher.kind {
            // A forked child has nothing to abort.
            let _ = many.pad(self.position, self.end);
        }
    }
}

impl Publisher {
    /// Makes a claim visible of which only a part may have been used.
    #[inline(always)]
    fn commit(&mut self, position: u64, end: u64, extension_bytes: usize, bytes: usize) -> Result<(), ClaimError> {
        let geometry = *self.geometry();
        let body = geometry.payload_at - FRAME_HEADER_BYTES + (extension_bytes + bytes) as u64;
        let frame_end = position + geometry.frame_bytes(body);
        let lap = geometry.lap(position);
        match &mut self.kind {
            Kind::One(one) => one.commit(frame_end - (position - one.at), flags(extension_bytes) | body, 1).map(drop),
            Kind::Many(many) => {
                let me = u64::from(many.me);
                if frame_end < end {
                    let rest = end - frame_end - FRAME_HEADER_BYTES;
                    let padding = StateWord::new(lap, Phase::Padding, 0, me, rest);
                    // Ordered before the frame's own header by COMMIT.
                    many.log.header(frame_end).store(padding.0, Ordering::Relaxed);
                }
                many.commit(position, end, flags(extension_bytes) | body)
            }
        }
    }
}
