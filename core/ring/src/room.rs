//! Room for the next claim: looked after behind a commit, and made, or given up, where there is none.

use crate::error::ClaimError;
use crate::layout::{FRAME_HEADER_BYTES, FRAMES_IN_RING_MIN, Phase, StateWord, control};
use crate::many::ManyPublisher;
use crate::memory::{Log, State};
use crate::metered::Metered;
use crate::one::OnePublisher;
use crate::rate::counted_bytes;
use crate::reclaim::Reclaimed;
use memlane_shm::sync::{Ordering, fence};

/// Bytes of a 64th of a lap from which on each is worth a look at the clock.
const STRETCH_TO_LOOK_AT_THE_CLOCK: u64 = 1 << 15;

impl OnePublisher {
    /// Room for a frame with `body` bytes after its header that does not fit below the bound, if its rate lets it through.
    #[cold]
    pub(crate) fn make_place(&mut self, body: u64) -> Result<(), ClaimError> {
        match self.log.state() {
            State::Live => {}
            State::Forked => return Err(ClaimError::Forked),
            State::Removed => return Err(ClaimError::Removed),
        }
        let geometry = self.log.geometry;
        self.metered(counted_bytes(&geometry, body), |me| me.make_room(geometry.frame_bytes(body)))
    }

    /// Pads over the end of the lap, or reclaims, or gives up.
    fn make_room(&mut self, frame: u64) -> Result<(), ClaimError> {
        let limit = self.limit_for(frame);
        while !self.reserve(limit) {
            if !self.peers.release_dead(&self.subs) {
                self.log.slot(0).is_full();
                return Err(ClaimError::Full);
            }
        }
        let geometry = self.log.geometry;
        let padding = geometry.capacity - self.at;
        if frame > padding {
            let lap = geometry.lap(self.lap.begin);
            self.commit_lap_end(StateWord::new(lap, Phase::Padding, 0, 0, padding - FRAME_HEADER_BYTES).0);
            self.turn(frame);
        }
        self.set_bound();
        Ok(())
    }

    /// Up to where there must be room for a frame of `frame` bytes in one lap, and for the header after it.
    fn limit_for(&self, frame: u64) -> u64 {
        let to_lap_end = self.log.geometry.capacity - self.at;
        let padding = if frame > to_lap_end { to_lap_end } else { 0 };
        self.tail() + padding + frame + self.log.geometry.cell
    }

    /// After a commit of `bytes` bytes that came past a mark: note it, and make room before it is needed. The next is likely as long.
    #[cold]
    pub(crate) fn turn(&mut self, bytes: u64) {
        let geometry = self.log.geometry;
        let tail = self.tail();
        // A batch may be longer than any frame; only what is half a ring back may be gone.
        let frame = bytes.min(geometry.capacity / FRAMES_IN_RING_MIN);
        self.marks.note(&self.log, tail);
        let soon = self.limit_for(frame).max(tail + 2 * geometry.stretch());
        if self.reclaimed + geometry.capacity < soon {
            self.reserve(soon.max(tail + geometry.capacity / 8));
        }
        self.turn_at = self.at - self.at % geometry.stretch() + geometry.stretch();
        self.set_bound();
        // The clock takes as long as half a hop: in a small ring, whose marks come every few messages, once a lap will do.
        if geometry.stretch() >= STRETCH_TO_LOOK_AT_THE_CLOCK || self.at < geometry.stretch() {
            self.log.slot(0).is_active();
        }
        if frame > geometry.stretch() {
            // The guess after the commit was made before there was room.
            self.stamp_guess(self.at + frame, frame);
        }
    }

    /// Derives the bound from what is reclaimed, and how far the straight way goes.
    pub(crate) fn set_bound(&mut self) {
        let geometry = self.log.geometry;
        let limit = (self.reclaimed + geometry.capacity - geometry.cell).saturating_sub(self.lap.begin);
        self.bound = limit.min(self.bound_max);
        self.straight_end = self.bound.min(self.turn_at.saturating_sub(1));
    }
}

impl ManyPublisher {
    /// Looks at the limit.
    pub(crate) fn set_limit(&mut self) {
        self.limit = claimable(&self.log);
        self.reclaim_at = self.limit.saturating_sub(self.log.geometry.capacity / 16);
    }

    /// Derives the bound from the limit.
    pub(crate) fn set_bound(&mut self) {
        self.next.bound = self.limit.saturating_sub(self.next.lap.begin).min(self.bound_max);
    }

    /// Looks whether the limit has come to `end`.
    #[inline(always)]
    pub(crate) fn limit_reaches(&mut self, end: u64) -> bool {
        self.set_limit();
        // OVERWRITE: what is written into these cells from here on comes after the head was moved past them.
        fence(Ordering::Release);
        end <= self.limit
    }

    /// After a commit near the limit: makes room before it is needed, unless somebody else does.
    #[cold]
    pub(crate) fn reclaim_ahead(&mut self, end: u64) {
        let chunk = self.log.geometry.capacity / 16;
        if !self.limit_reaches(end + chunk) && self.reclaim(chunk) == Reclaimed::Some {
            self.limit_reaches(end);
        }
        self.set_bound();
    }

    /// Room up to `end` for a claim that found none: reclaims, looks after whoever holds it up, or gives up.
    #[cold]
    pub(crate) fn make_room(&mut self, end: u64) -> Result<(), ClaimError> {
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
        if helped || self.limit_reaches(end) {
            return Ok(());
        }
        self.log.slot(self.me).is_full();
        Err(ClaimError::Full)
    }
}

/// Where claims may end at most: one stamped cell stays unclaimed, so that the header at the tail is genuine even when the log
/// is full.
pub(crate) fn claimable(log: &Log) -> u64 {
    // STAMPED (acquire) pairs with the release in reclaim.rs; the word is stored less the capacity.
    let reclaimed = log.control(control::LIMIT).load(Ordering::Acquire);
    log.geometry.cell_of(reclaimed) + log.geometry.capacity - log.geometry.cell
}
