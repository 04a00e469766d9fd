//! Makes room at the head of the log, off the critical path.
//!
//! Moving `head` announces "below this may be overwritten"; only what no gate holds then *is* reclaimed. The race with a
//! subscriber that joins is closed by a fence on both sides:
//!
//! ```text
//!   reclaim                          join (join.rs)
//!   head = new                       slot = "joining" (holds everything)
//!   fence   JOIN                     fence   JOIN
//!   gate = lowest cursor             read head; start there or later
//!   reclaimed = min(new, gate)       slot = start
//! ```
//!
//! Either the joiner sees the new head, or the reclaimer sees the joiner. Lossy subscribers are told by the same store:
//! OVERWRITE (fence here, before any store into reclaimed cells) pairs with OVERTAKEN (fence in lossy.rs).
//!
//! One publisher moves to marks, so it never looks at old frames. Many publishers walk the claims, since they must stamp
//! every reclaimed cell FREE for its next lap anyway, one of them at a time, under a lease that names it.

use crate::layout::{FRAME_HEADER_BYTES, MARKS, Phase, StateWord, control};
use crate::many::ManyPublisher;
use crate::memory::Log;
use crate::one::OnePublisher;
use memlane_shm::crash_point;
use memlane_shm::sync::{Ordering, fence};

/// The first frame of each of the last 64 stretches of the log: boundaries to which the head can jump.
///
/// The publisher believes its own copy; the one in shared memory is for its successor.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    positions: [u64; MARKS as usize],
    /// The next stretch whose first frame isn't known yet.
    next: u64,
    stretch: u64,
}

impl Marks {
    /// Marks as a predecessor left them for a log whose last known stretch is that of `tail`.
    pub(crate) fn from_shared(log: &Log, tail: u64) -> Self {
        let mut positions = [0; MARKS as usize];
        for (index, position) in positions.iter_mut().enumerate() {
            // One that isn't a boundary is none; a walk from it would find out the others.
            let mark = log.control(control::MARKS + index * 8).load(Ordering::Acquire);
            *position = if log.geometry.is_cell(mark) { mark } else { 0 };
        }
        let stretch = log.geometry.stretch();
        Self { positions, next: tail / stretch + 1, stretch }
    }

    /// The frame that begins at `tail` is the first of each stretch that begins at or before it and has none yet.
    pub(crate) fn note(&mut self, log: &Log, tail: u64) {
        while self.next * self.stretch <= tail {
            let index = (self.next % MARKS) as usize;
            self.positions[index] = tail;
            log.control(control::MARKS + index * 8).store(tail, Ordering::Release);
            self.next += 1;
        }
    }

    /// The first frame of stretch `stretch`, if it is known and in the log `[head, tail]`.
    fn first(&self, stretch: u64, tail: u64) -> Option<u64> {
        let position = self.positions[(stretch % MARKS) as usize];
        (stretch * self.stretch <= position && position <= tail).then_some(position)
    }

    /// The lowest mark at or past `position`; the highest there is if there is none.
    fn at_or_past(&self, position: u64, tail: u64) -> Option<u64> {
        let newest = tail / self.stretch;
        (position.div_ceil(self.stretch).min(newest)..=newest).find_map(|stretch| self.first(stretch, tail))
    }

    /// The highest mark at or before `position`.
    pub(crate) fn at_or_before(&self, position: u64, tail: u64) -> Option<u64> {
        let newest = position.min(tail) / self.stretch;
        (newest.saturating_sub(MARKS - 1)..=newest)
            .rev()
            .find_map(|stretch| self.first(stretch, tail).filter(|mark| *mark <= position))
    }
}

impl OnePublisher {
    /// Reclaims until everything below `limit` may be written, or as far as the gates let it; says whether it got there.
    ///
    /// Cost: a line for each gated subscriber and one fence.
    pub(crate) fn reserve(&mut self, limit: u64) -> bool {
        let wanted = limit.saturating_sub(self.log.geometry.capacity);
        if self.reclaimed >= wanted {
            return true;
        }
        let tail = self.tail();
        let gated = self.marks.at_or_before(self.subs.gate(), tail);
        let target = self.marks.at_or_past(wanted, tail).min(gated).unwrap_or(0);
        if target > self.reclaimed {
            crash_point!("reclaim.leased");
            #[cfg(not(loom))]
            self.sources.take_down(&self.log, target);
            // A head that an earlier try announced may be further on already; it never goes back.
            let head = target.max(self.log.head());
            // FOLDED comes before the head.
            self.log.fold(head);
            self.log.control(control::HEAD).store(head, Ordering::Release);
            crash_point!("reclaim.head_moved");
            // JOIN pairs with the fence in join.rs, OVERWRITE with the one in lossy.rs.
            fence(Ordering::SeqCst);
            let safe = self.log.geometry.cell_of(target.min(self.subs.gate()));
            self.reclaimed = self.reclaimed.max(safe);
            crash_point!("reclaim.before_limit");
        }
        self.reclaimed >= wanted
    }
}

/// What a try to reclaim came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reclaimed {
    /// Some room was made.
    Some,
    /// A gate holds it all.
    Gated,
    /// The frame at this position was claimed by this publisher and isn't committed.
    Unfinished { position: u64, owner: u32 },
    /// This publisher holds the lease.
    Leased { holder: u32 },
    /// A claim that can't be.
    Corrupt,
}

impl ManyPublisher {
    /// Reclaims at least `bytes` bytes if nothing holds them, under the lease.
    ///
    /// Cost: two locked instructions, a fence, a line for each gated subscriber, and two stores for each cell.
    pub(crate) fn reclaim(&mut self, bytes: u64) -> Reclaimed {
        let lease = self.log.control(control::LEASE);
        if let Err(holder) = lease.compare_exchange(0, self.me as u64 + 1, Ordering::Acquire, Ordering::Relaxed) {
            let holder = holder - 1;
            let is_publisher = holder < u64::from(self.log.geometry.publishers_max);
            return if is_publisher { Reclaimed::Leased { holder: holder as u32 } } else { Reclaimed::Corrupt };
        }
        crash_point!("reclaim.leased");
        let outcome = self.reclaim_leased(bytes);
        self.log.control(control::LEASE).store(0, Ordering::Release);
        outcome
    }

    fn reclaim_leased(&mut self, bytes: u64) -> Reclaimed {
        let log = &self.log;
        let stamped = log.geometry.cell_of(log.control(control::LIMIT).load(Ordering::Acquire));
        let gate = self.subs.gate();
        let mut outcome = Reclaimed::Gated;
        let mut end = log.head();
        // Claims, and so frames, end to end from the head: as far as they are finished, ungated and wanted.
        let wanted = gate.min(stamped + bytes);
        while end < wanted {
            end = finished(log, end, wanted);
            if end >= wanted {
                break;
            }
            // One that isn't finished, or the first of a lap.
            let claim = StateWord(log.claim(end).load(Ordering::Acquire));
            let lap = log.geometry.lap(end);
            if claim == StateWord::unclaimed(lap) {
                break;
            }
            let Some(claimed) = claimed_bytes(log, end, claim) else { return Reclaimed::Corrupt };
            // OBSERVE, as above.
            let header = StateWord(log.header(end).load(Ordering::Acquire));
            if !header.is(lap, Phase::Committed) && !header.is(lap, Phase::Padding) {
                if header != StateWord::free(lap) {
                    return Reclaimed::Corrupt;
                }
                outcome = Reclaimed::Unfinished { position: end, owner: claim.publisher() };
                break;
            }
            end += claimed;
        }
        #[cfg(not(loom))]
        self.sources.take_down(log, end);
        // FOLDED comes before the head.
        log.fold(end);
        log.control(control::HEAD).store(end, Ordering::Release);
        crash_point!("reclaim.head_moved");
        // JOIN pairs with the fence in join.rs, OVERWRITE with the one in lossy.rs. Whoever sees a stamp sees the head.
        fence(Ordering::SeqCst);
        let gate = self.subs.gate();
        let safe = log.geometry.cell_of(end.min(gate));
        if safe <= stamped {
            return outcome;
        }
        if safe - stamped > log.geometry.capacity {
            return Reclaimed::Corrupt;
        }
        stamp(log, stamped, safe);
        crash_point!("reclaim.before_limit");
        // STAMPED (release) pairs with the acquire in room.rs: whoever claims below the limit finds its cells FREE.
        log.control(control::LIMIT).store(safe, Ordering::Release);
        Reclaimed::Some
    }
}

/// Where the first claim at or past `from` begins, one itself, that isn't committed or padding, or whose word no publisher writes; at the end of the
/// lap, or at the first past `to`, it stops in any case.
///
/// It comes to every message once more, so it takes two dozen instructions for each, and leaves saying what is wrong to others.
#[inline(always)]
fn finished(log: &Log, from: u64, to: u64) -> u64 {
    let geometry = &log.geometry;
    let first = geometry.offset(from) as u64;
    let tag = |phase| StateWord::new(geometry.lap(from), phase, 0, 0, 0).lap_and_phase();
    let (claimed, committed, padding) = (tag(Phase::Claimed), tag(Phase::Committed), tag(Phase::Padding));
    let to = (first + (to - from)).min(geometry.capacity);
    let mut at = first;
    while at < to {
        let claim = StateWord(log.claim_at(at as usize).load(Ordering::Acquire));
        // OBSERVE (acquire) pairs with COMMIT (release) in many.rs.
        let header = StateWord(log.header_at(at as usize).load(Ordering::Acquire)).lap_and_phase();
        let end = at + claim.length() + FRAME_HEADER_BYTES;
        let is_finished = claim.lap_and_phase() == claimed && (header == committed || header == padding);
        if !is_finished || !geometry.is_cell(end) || end > geometry.capacity {
            break;
        }
        at = end;
    }
    from + (at - first)
}

/// Prepares the cells of `[from, to)` for their next lap: FREE, and claimed by nobody. Doing it again is harmless, as long
/// as the limit has not been moved past them.
fn stamp(log: &Log, from: u64, to: u64) {
    let half = log.geometry.cell_of(from + (to - from) / 2);
    stamp_laps(log, from, half);
    crash_point!("reclaim.half_stamped");
    stamp_laps(log, half, to);
}

pub(crate) fn stamp_laps(log: &Log, mut from: u64, to: u64) {
    while from < to {
        let end = to.min(log.geometry.lap_end(from));
        let next_lap = log.geometry.lap(from) + 1;
        let (free, unclaimed) = (StateWord::free(next_lap).0, StateWord::unclaimed(next_lap).0);
        let first = log.geometry.offset(from) as u64;
        for offset in (first..first + (end - from)).step_by(log.geometry.cell as usize) {
            log.header_at(offset as usize).store(free, Ordering::Relaxed);
            log.claim_at(offset as usize).store(unclaimed, Ordering::Relaxed);
        }
        from = end;
    }
}

/// The bytes of the claim at `position`, if it is one that a publisher can have made.
#[inline(always)]
pub(crate) fn claimed_bytes(log: &Log, position: u64, claim: StateWord) -> Option<u64> {
    let bytes = claim.length() + FRAME_HEADER_BYTES;
    let fits = log.geometry.is_cell(bytes) && position + bytes <= log.geometry.lap_end(position);
    (claim.is(log.geometry.lap(position), Phase::Claimed) && fits).then_some(bytes)
}
