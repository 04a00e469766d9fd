//! Many publishers: a claim is one compare-and-swap, in a table beside the ring.
//!
//! Invariant: every cell in `[frontier, limit)` says FREE for its lap, in the ring and in the claims table.
//! A word of the table is UNCLAIMED(lap), or CLAIMED(lap, publisher, length) at the first cell of a claim, from the claim
//! until it is reclaimed: it names the owner and the length of every unfinished frame, for ever exact.
//!
//! ```text
//!   claims   [C  ][u][C     ][u][u][u]      frontier: follow the lengths from `tail`, a hint, to the first that is unclaimed
//!   ring     [F  ][.][F     ][.][.][.]      the second is claimed and not committed: subscribers wait there
//! ```
//!
//! 1. CLAIM: swap the word at the frontier from UNCLAIMED(lap). Who loses reads the winner's length and tries behind it. The
//!    word has all 62 bits of the lap, so whoever slept before the swap, for however long, can't claim in another lap.
//! 2. Store `tail`, a hint. From the claim on the unfinished frame itself holds reclaiming.
//! 3. Write, and COMMIT (release) as with one publisher; the header is written once.
//!
//! Ordering: COMMIT pairs with OBSERVE (acquire, look.rs, read.rs and reclaim.rs); STAMPED with the release in reclaim.rs.
//! Death at any step: recover.rs.

use crate::error::ClaimError;
use crate::lap::Lap;
use crate::layout::{FRAME_HEADER_BYTES, Phase, StateWord, control, slot};
use crate::memory::{Log, Subs};
use crate::one::{flags, write_body};
use crate::rate::Meter;
use crate::recover::Peers;
use crate::slot::count;
use crate::wait::Wait;
use crate::wake;
use memlane_shm::barrier::Light;
use memlane_shm::clock::Ticker;
use memlane_shm::crash_point;
use memlane_shm::sync::Ordering;
use std::time::Duration;

/// One of a topic's many publishers.
#[derive(Debug)]
pub struct ManyPublisher {
    pub(crate) log: Log,
    pub(crate) subs: Subs,
    /// Its slot.
    pub(crate) me: u32,
    /// Where that begins in the file.
    slot_at: usize,
    /// Where it claims next, if nobody else has claimed since.
    pub(crate) next: Next,
    /// Everything below may be claimed, as this publisher last saw it: one cell less than what is stamped.
    pub(crate) limit: u64,
    /// A claim that ends past this position is followed by a look at the room ahead.
    pub(crate) reclaim_at: u64,
    /// A commit at or past this position renews the hint of where the newest frames are.
    hint_at: u64,
    pub(crate) light: Light,
    pub(crate) ticker: Option<Ticker>,
    /// Frames of shorter payloads than this take the short way; zero if a publish must stamp, or fence for want of `membarrier`.
    plain_payload_end: u64,
    /// What the bound of `next` is at most: the capacity; zero where a rate limit is to be asked first.
    pub(crate) bound_max: u64,
    /// Who is asked first, if a rate is limited.
    pub(crate) meter: Option<Box<Meter>>,
    /// How, and how long, a message that is published by itself waits for room.
    pub(crate) patience: Option<(Wait, Duration)>,
    pub(crate) peers: Peers,
    #[cfg(not(loom))]
    pub(crate) sources: crate::source::Sources,
}

/// Where a publisher's last claim ended, in offsets into the ring, so that a publish neither divides nor masks.
///
/// A claim begins there, and a word has the whole lap: if it still says UNCLAIMED, that is the frontier.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) lap: Lap,
    /// Bytes from the lap's begin.
    pub(crate) at: u64,
    /// Claims may end here at most without a second look: at the lap's end, and at the limit.
    pub(crate) bound: u64,
    /// UNCLAIMED in this lap.
    pub(crate) unclaimed: u64,
    /// CLAIMED in this lap by this publisher, less the bytes of the claim.
    pub(crate) claimed: u64,
}

impl ManyPublisher {
    /// A publisher with slot `me`.
    pub(crate) fn new(log: Log, subs: Subs, me: u32, ticker: Option<Ticker>, peers: Peers) -> Self {
        let light = Light::for_this_process();
        let does_more = ticker.is_some() || light.is_real_fence();
        let plain_payload_end = if does_more { 0 } else { log.geometry.payload_bytes_max() + 1 };
        // Without room, so the first claim looks where the frontier is.
        let next = Next { lap: Lap::of(&log, 0, me), at: 0, bound: 0, unclaimed: 0, claimed: 0 };
        let slot_at = log.geometry.publisher_at(me);
        let bound_max = log.geometry.capacity;
        let mut publisher = Self {
            log,
            subs,
            me,
            slot_at,
            next,
            limit: 0,
            reclaim_at: 0,
            hint_at: 0,
            light,
            ticker,
            plain_payload_end,
            bound_max,
            meter: None,
            patience: None,
            peers,
            #[cfg(not(loom))]
            sources: Default::default(),
        };
        publisher.set_limit();
        publisher
    }

    /// Publishes a frame with `extensions` (encoded, may be empty) and `payload`; returns its position.
    ///
    /// Cost: a locked instruction beside the frame's bytes. No system call, unless a subscriber sleeps.
    #[inline(always)]
    pub fn publish(&mut self, extensions: &[u8], payload: &[u8]) -> Result<u64, ClaimError> {
        let bytes = extensions.len() as u64 + payload.len() as u64;
        if bytes >= self.plain_payload_end {
            return self.publish_slowly(extensions, payload);
        }
        let frame = self.next.lap.frame_bytes(bytes);
        if !self.claim_next(frame) {
            self.claim_patiently(frame, bytes)?;
        }
        let at = self.next.at;
        self.next.at = at + frame;
        write_body(&self.log, None, at as usize, extensions, payload);
        crash_point!("commit.before");
        let lap = self.next.lap;
        self.commit_at::<false>(at, at + frame, lap.committed_empty + (flags(extensions.len()) | bytes), 1)?;
        Ok(lap.begin + at)
    }

    #[inline(never)]
    fn publish_slowly(&mut self, extensions: &[u8], payload: &[u8]) -> Result<u64, ClaimError> {
        let geometry = self.log.geometry;
        let body = geometry.payload_at - FRAME_HEADER_BYTES + extensions.len() as u64 + payload.len() as u64;
        if body > geometry.body_max {
            return Err(ClaimError::TooLong);
        }
        let frame = geometry.frame_bytes(body);
        if !self.claim_next(frame) {
            self.claim_patiently(frame, extensions.len() as u64 + payload.len() as u64)?;
        }
        let position = self.next.lap.begin + self.next.at;
        self.next.at += frame;
        write_body(&self.log, self.ticker, geometry.offset(position), extensions, payload);
        crash_point!("commit.before");
        self.commit(position, position + frame, flags(extensions.len()) | body)?;
        Ok(position)
    }

    /// Publishes as many of `payloads` as fit a quarter of the ring, with one claim, so that they cross as one; returns
    /// how many.
    ///
    /// Errors: [`ClaimError`] if none could be published.
    pub fn publish_batch(&mut self, payloads: &[&[u8]]) -> Result<usize, ClaimError> {
        let geometry = self.log.geometry;
        let Some(first) = payloads.first() else { return Ok(0) };
        let payload_bytes_max = geometry.payload_bytes_max() as usize;
        if first.len() > payload_bytes_max {
            return Err(ClaimError::TooLong);
        }
        // Where a rate is limited, one by one.
        let bytes_max = if self.bound_max == 0 { 0 } else { (geometry.capacity / 4).min(1 << 31) };
        let (mut bytes, mut messages) = (self.next.lap.frame_bytes(first.len() as u64), 1);
        for payload in &payloads[1..] {
            let end = bytes + self.next.lap.frame_bytes(payload.len() as u64);
            if payload.len() > payload_bytes_max || end > bytes_max {
                break;
            }
            bytes = end;
            messages += 1;
        }
        self.claim(bytes, first.len() as u64)?;
        let lap = self.next.lap;
        let end = self.next.at;
        let begin = end - bytes;
        write_body(&self.log, self.ticker, begin as usize, &[], first);
        let mut at = begin + lap.frame_bytes(first.len() as u64);
        for payload in &payloads[1..messages] {
            write_body(&self.log, self.ticker, at as usize, &[], payload);
            // Nobody looks here before the first header says that there is something.
            let word = lap.committed_empty + payload.len() as u64;
            self.log.header_at(at as usize).store(word, Ordering::Relaxed);
            crash_point!("batch.half");
            at += lap.frame_bytes(payload.len() as u64);
        }
        self.commit_at::<true>(begin, end, lap.committed_empty + first.len() as u64, messages as u64)?;
        Ok(messages)
    }

    /// Claims `bytes` bytes (whole cells, at most a quarter of the ring) at the frontier, for a message that counts with `counted` bytes; returns
    /// their position.
    #[inline(always)]
    pub(crate) fn claim(&mut self, bytes: u64, counted: u64) -> Result<u64, ClaimError> {
        if !self.claim_next(bytes) {
            self.claim_frontier(bytes, counted)?;
        }
        let at = self.next.at;
        self.next.at = at + bytes;
        Ok(self.next.lap.begin + at)
    }

    /// Claims `bytes` bytes where the last claim ended, if nobody else did since and there is room; says whether it could.
    #[inline(always)]
    fn claim_next(&mut self, bytes: u64) -> bool {
        let Next { lap, at, bound, unclaimed, claimed } = self.next;
        if at + bytes > bound {
            return false;
        }
        let word = self.log.claim_at(at as usize);
        // CLAIM, as below. A word that says otherwise is left to whoever has its line.
        let is_frontier = word.load(Ordering::Relaxed) == unclaimed
            && word.compare_exchange(unclaimed, claimed + bytes, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if is_frontier {
            self.claimed(lap.begin + at + bytes);
        }
        is_frontier
    }

    /// After a claim that ends at `end`.
    #[inline(always)]
    pub(crate) fn claimed(&self, end: u64) {
        crash_point!("claim.claimed");
        // A hint: somebody who slept here may set it back, and the next claim sets it right.
        self.log.control(control::TAIL).store(end, Ordering::Release);
        crash_point!("claim.tail_moved");
    }

    /// Makes the claim `[position, end)` visible; `rest` is the header of its first frame without lap, phase and publisher.
    #[inline(always)]
    pub(crate) fn commit(&mut self, position: u64, end: u64, rest: u64) -> Result<(), ClaimError> {
        let begin = self.next.lap.begin;
        self.commit_at::<true>(position - begin, end - begin, self.next.lap.committed | rest, 1)
    }

    /// Makes the claim `[at, end)` of the lap that this publisher last claimed in visible: `messages`, of which the first has the
    /// header `word`.
    #[inline(always)]
    fn commit_at<const FENCES: bool>(&mut self, at: u64, end: u64, word: u64, messages: u64) -> Result<(), ClaimError> {
        // COMMIT (release) pairs with OBSERVE (acquire) in look.rs, read.rs and reclaim.rs.
        self.log.header_at(at as usize).store(word, Ordering::Release);
        crash_point!("commit.after");
        count(self.log.slot_word(self.slot_at + slot::MESSAGES), messages);
        count(self.log.slot_word(self.slot_at + slot::BYTES), end - at);
        let position = self.next.lap.begin + at;
        if position >= self.hint_at {
            self.renew_hint(position);
        }
        self.committed::<FENCES>(self.next.lap.begin + end)
    }

    /// Notes where one of the newest frames is: now and then, since the line is every publisher's.
    #[cold]
    fn renew_hint(&mut self, position: u64) {
        // NEWEST (release): whoever sees the hint sees the frame.
        self.log.control(control::LAST).store(position, Ordering::Release);
        self.hint_at = position + self.log.geometry.stretch();
        self.log.slot(self.me).is_active();
    }

    /// After a commit: wakes who sleeps, and looks after the room ahead.
    #[inline(always)]
    fn committed<const FENCES: bool>(&mut self, end: u64) -> Result<(), ClaimError> {
        // WAKE: commit, then look for sleepers; a sleeper says so, then looks for commits (sleep.rs).
        if FENCES || cfg!(loom) {
            self.light.fence();
        } else {
            Light::compiler_fence();
        }
        if wake::somebody_sleeps(&self.subs) {
            wake::ring_subscribers(&self.log, &self.subs, self.me)?;
        }
        if end > self.reclaim_at {
            self.reclaim_ahead(end);
        }
        Ok(())
    }

    /// Turns the claim `[position, end)` into padding: it was aborted, or is the end of a lap.
    pub(crate) fn pad(&mut self, position: u64, end: u64) -> Result<(), ClaimError> {
        let length = end - position - FRAME_HEADER_BYTES;
        let lap = self.log.geometry.lap(position);
        let word = StateWord::new(lap, Phase::Padding, 0, u64::from(self.me), length);
        self.log.header(position).store(word.0, Ordering::Release);
        self.committed::<true>(end)
    }
}
