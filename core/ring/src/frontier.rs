//! Many publishers: where the next claim is, for one whose own last claim no longer leads there.
//!
//! Follows the lengths of the claims from the tail, a hint, to the first cell that is unclaimed, and claims there: many.rs says how claims
//! work. Off the usual way: a publisher that claimed last claims where that ended.

use crate::error::ClaimError;
use crate::lap::Lap;
use crate::layout::{FRAME_HEADER_BYTES, Phase, StateWord, control};
use crate::many::{ManyPublisher, Next};
use crate::metered::Metered;
use crate::reclaim::claimed_bytes;
use crate::wait;
use memlane_shm::sync::Ordering;

impl ManyPublisher {
    /// Claims `bytes` bytes at the frontier, wherever that is: they begin at `self.next.at`. For a limit of its rate a message counts with `counted`
    /// bytes.
    #[inline(never)]
    pub(crate) fn claim_frontier(&mut self, bytes: u64, counted: u64) -> Result<(), ClaimError> {
        self.metered(counted, |me| me.find_frontier(bytes))
    }

    /// The same, for a message that is published by itself.
    #[inline(never)]
    pub(crate) fn claim_patiently(&mut self, bytes: u64, counted: u64) -> Result<(), ClaimError> {
        match (self.claim_frontier(bytes, counted), self.patience) {
            (Err(ClaimError::Full), Some((wait, longest))) => {
                wait::publish_waiting(self, wait, Some(longest), bytes, |me| me.claim_frontier(bytes, counted))
            }
            (claimed, _) => claimed,
        }
    }

    fn find_frontier(&mut self, bytes: u64) -> Result<(), ClaimError> {
        loop {
            // In this order: no tail is further than a lap past a head that was read after it.
            let tail = self.log.control(control::TAIL).load(Ordering::Acquire);
            let head = self.log.head();
            let start = tail.max(head);
            if start - head > self.log.geometry.capacity || !self.log.geometry.is_cell(start) {
                return Err(ClaimError::Corrupt);
            }
            match self.claim_from(start, bytes)? {
                Claimed::Frame(position) => {
                    self.set_next(position);
                    return Ok(());
                }
                Claimed::LapEnd(position) => self.pad(position, self.log.geometry.lap_end(position))?,
                Claimed::NoRoom { end } => self.make_room(end)?,
                Claimed::Overtaken => {}
            }
        }
    }

    /// The next claim begins at `position`, as far as this publisher knows.
    pub(crate) fn set_next(&mut self, position: u64) {
        let lap = self.log.geometry.lap(position);
        let me = u64::from(self.me);
        self.next = Next {
            lap: Lap::of(&self.log, position, self.me),
            at: self.log.geometry.offset(position) as u64,
            bound: 0,
            unclaimed: StateWord::unclaimed(lap).0,
            claimed: StateWord::new(lap, Phase::Claimed, 0, me, 0).0 - FRAME_HEADER_BYTES,
        };
        self.set_bound();
    }

    /// Follows the claims from `start`, where one begins, to the frontier and claims there.
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
                        self.claimed(end);
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
