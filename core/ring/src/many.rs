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
use crate::layout::{FRAME_HEADER_BYTES, Phase, StateWord, control};
use crate::memory::{Log, State, Subs};
use crate::one::{flags, write_body};
use crate::reclaim::{Reclaimed, claimed_bytes};
use crate::recover::Peers;
use crate::wake;
use memlane_shm::barrier::Light;
use memlane_shm::clock::Ticker;
use memlane_shm::crash_point;
use memlane_shm::sync::{Ordering, fence};

/// One of a topic's many publishers.
#[derive(Debug)]
pub struct ManyPublisher {
    pub(crate) log: Log,
    pub(crate) subs: Subs,
    /// Its slot.
    pub(crate) me: u32,
    /// Everything below may be claimed, as this publisher last saw it: one cell less than what is stamped.
    pub(crate) limit: u64,
    /// A commit at or past this position renews the hint of where the newest frames are.
    pub(crate) hint_at: u64,
    pub(crate) light: Light,
    pub(crate) ticker: Option<Ticker>,
    pub(crate) peers: Peers,
}

impl ManyPublisher {
    /// Publishes a frame with `extensions` (encoded, may be empty) and `payload`; returns its position.
    ///
    /// Cost: a locked instruction beside the frame's bytes. No system call, unless a subscriber sleeps.
    #[inline(never)]
    pub fn publish(&mut self, extensions: &[u8], payload: &[u8]) -> Result<u64, ClaimError> {
        let geometry = self.log.geometry;
        let body = geometry.payload_at - FRAME_HEADER_BYTES + extensions.len() as u64 + payload.len() as u64;
        if body > geometry.body_max {
            return Err(ClaimError::TooLong);
        }
        let frame = geometry.frame_bytes(body);
        let position = self.claim(frame)?;
        write_body(&self.log, self.ticker, geometry.offset(position), extensions, payload);
        crash_point!("commit.before");
        self.commit(position, position + frame, self.word(position, extensions, body))?;
        Ok(position)
    }

    /// Publishes as many of `payloads` as fit a quarter of the ring, with one claim, so that they cross as one; returns
    /// how many.
    ///
    /// Errors: [`ClaimError`] if none could be published.
    pub fn publish_batch(&mut self, payloads: &[&[u8]]) -> Result<usize, ClaimError> {
        let geometry = self.log.geometry;
        let body = |payload: &[u8]| geometry.payload_at - FRAME_HEADER_BYTES + payload.len() as u64;
        let Some(first) = payloads.first() else { return Ok(0) };
        if body(first) > geometry.body_max {
            return Err(ClaimError::TooLong);
        }
        let (mut bytes, mut count) = (geometry.frame_bytes(body(first)), 1);
        for payload in &payloads[1..] {
            let frame = geometry.frame_bytes(body(payload));
            if body(payload) > geometry.body_max || bytes + frame > (geometry.capacity / 4).min(1 << 31) {
                break;
            }
            bytes += frame;
            count += 1;
        }
        let first = self.claim(bytes)?;
        let mut position = first;
        for payload in &payloads[..count] {
            write_body(&self.log, self.ticker, geometry.offset(position), &[], payload);
            if position > first {
                // Nobody looks here before the first header says that there is something.
                self.log.header(position).store(self.word(position, &[], body(payload)).0, Ordering::Relaxed);
                crash_point!("batch.half");
            }
            position += geometry.frame_bytes(body(payload));
        }
        self.commit(first, position, self.word(first, &[], body(payloads[0])))?;
        Ok(count)
    }

    /// Claims `bytes` bytes (whole cells, at most a quarter of the ring) at the frontier; returns their position.
    #[inline(always)]
    pub(crate) fn claim(&mut self, bytes: u64) -> Result<u64, ClaimError> {
        loop {
            // In this order: no tail is further than a lap past a head that was read after it.
            let tail = self.log.control(control::TAIL).load(Ordering::Acquire);
            let head = self.log.head();
            let start = tail.max(head);
            if start - head > self.log.geometry.capacity || !self.log.geometry.is_cell(start) {
                return Err(ClaimError::Corrupt);
            }
            match self.claim_from(start, bytes)? {
                Claimed::Frame(position) => return Ok(position),
                Claimed::LapEnd(position) => self.pad(position, self.log.geometry.lap_end(position))?,
                Claimed::NoRoom { end } => self.make_room(end)?,
                Claimed::Overtaken => {}
            }
        }
    }

    /// Follows the claims from `start`, where one begins, to the frontier and claims there.
    #[inline(always)]
    fn claim_from(&mut self, start: u64, bytes: u64) -> Result<Claimed, ClaimError> {
        let mut position = start;
        loop {
            let lap_end = self.log.geometry.lap_end(position);
            let wraps = position + bytes > lap_end;
            let end = if wraps { lap_end } else { position + bytes };
            if end > self.limit && !self.limit_reaches(end) {
                return Ok(Claimed::NoRoom { end });
            }
            let word = self.log.claim(position);
            let lap = self.log.geometry.lap(position);
            let unclaimed = StateWord::unclaimed(lap);
            let mut seen = word.load(Ordering::Acquire);
            if seen == unclaimed.0 {
                let length = end - position - FRAME_HEADER_BYTES;
                let mine = StateWord::new(lap, Phase::Claimed, 0, u64::from(self.me), length);
                // CLAIM: the only place where two publishers meet.
                match word.compare_exchange(unclaimed.0, mine.0, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        crash_point!("claim.claimed");
                        // A hint: somebody who slept here may set it back, and the next claim sets it right.
                        self.log.control(control::TAIL).store(end, Ordering::Release);
                        crash_point!("claim.tail_moved");
                        return Ok(if wraps { Claimed::LapEnd(position) } else { Claimed::Frame(position) });
                    }
                    Err(other) => seen = other,
                }
            }
            match claimed_bytes(&self.log, position, StateWord(seen)) {
                Some(claimed) => position += claimed,
                // Of a later lap, so the head, which is moved first, is past it.
                None if self.log.head() > position => return Ok(Claimed::Overtaken),
                None => return Err(ClaimError::Corrupt),
            }
        }
    }

    /// Makes the claim `[position, end)` visible, whose first frame has the header `word`.
    #[inline(always)]
    pub(crate) fn commit(&mut self, position: u64, end: u64, word: StateWord) -> Result<(), ClaimError> {
        // COMMIT (release) pairs with OBSERVE (acquire) in look.rs, read.rs and reclaim.rs.
        self.log.header(position).store(word.0, Ordering::Release);
        crash_point!("commit.after");
        if position >= self.hint_at {
            // NEWEST (release): whoever sees the hint sees the frame. Now and then, since the line is every publisher's.
            self.log.control(control::LAST).store(position, Ordering::Release);
            self.hint_at = position + self.log.geometry.stretch();
        }
        self.committed(end)
    }

    /// After a commit: wakes who sleeps, and looks after the room ahead.
    #[inline(always)]
    fn committed(&mut self, end: u64) -> Result<(), ClaimError> {
        // WAKE: commit, then look for sleepers; a sleeper says so, then looks for commits (wait.rs).
        self.light.fence();
        if wake::somebody_sleeps(&self.subs) {
            wake::ring_subscribers(&self.log, &self.subs)?;
        }
        if end + self.log.geometry.capacity / 16 > self.limit {
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
        self.committed(end)
    }

    /// The header of a frame with these parts.
    #[inline(always)]
    pub(crate) fn word(&self, position: u64, extensions: &[u8], body: u64) -> StateWord {
        let word = StateWord::new(self.log.geometry.lap(position), Phase::Committed, 0, u64::from(self.me), body);
        StateWord(word.0 | flags(extensions.len()))
    }

    /// Looks whether the limit has come to `end`.
    #[inline(always)]
    fn limit_reaches(&mut self, end: u64) -> bool {
        self.limit = claimable(&self.log);
        // OVERWRITE: what is written into these cells from here on comes after the head was moved past them.
        fence(Ordering::Release);
        end <= self.limit
    }

    /// After a commit near the limit: makes room before it is needed, unless somebody else does.
    #[cold]
    fn reclaim_ahead(&mut self, end: u64) {
        let chunk = self.log.geometry.capacity / 16;
        if !self.limit_reaches(end + chunk) && self.reclaim(chunk) == Reclaimed::Some {
            self.limit_reaches(end);
        }
    }

    /// Room up to `end` for a claim that found none: reclaims, looks after whoever holds it up, or gives up.
    #[cold]
    fn make_room(&mut self, end: u64) -> Result<(), ClaimError> {
        match self.log.state() {
            State::Live => {}
            State::Forked => return Err(ClaimError::Forked),
            State::Removed => return Err(ClaimError::Removed),
        }
        let missing = end.saturating_sub(self.limit).max(self.log.geometry.capacity / 16);
        let helped = match self.reclaim(missing) {
            Reclaimed::Some => true,
            Reclaimed::Gated => self.peers.release_dead(&self.subs),
            Reclaimed::Unfinished { position, owner } => self.peers.pad_if_dead(&self.log, position, owner),
            Reclaimed::Leased { holder } => self.peers.bury_publisher(&self.log, holder),
            Reclaimed::Corrupt => return Err(ClaimError::Corrupt),
        };
        if helped || self.limit_reaches(end) { Ok(()) } else { Err(ClaimError::Full) }
    }
}

/// Where claims may end at most: one stamped cell stays unclaimed, so that the header at the tail is genuine even when the log
/// is full.
pub(crate) fn claimable(log: &Log) -> u64 {
    // STAMPED (acquire) pairs with the release in reclaim.rs; the word is stored less the capacity.
    let reclaimed = log.control(control::LIMIT).load(Ordering::Acquire);
    log.geometry.cell_of(reclaimed) + log.geometry.capacity - log.geometry.cell
}

/// What following the claims came to.
enum Claimed {
    /// A frame at this position.
    Frame(u64),
    /// The end of the lap from this position on, to be padded.
    LapEnd(u64),
    /// No cell below the limit is left for a claim that ends here.
    NoRoom { end: u64 },
    /// Nothing: what was followed has been reclaimed meanwhile.
    Overtaken,
}
