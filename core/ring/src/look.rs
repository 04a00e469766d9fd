//! Looks at what stands at a position, and believes nothing that wasn't checked against the ring.
//!
//! Ordering: OBSERVE (acquire, here and in read.rs) pairs with COMMIT (release, one.rs and many.rs); NEWEST with the hint there.

use crate::error::ReadError;
use crate::layout::{FRAME_HEADER_BYTES, Phase, StateWord, control};
use crate::memory::{Log, State};
use crate::read::Gated;
use crate::reclaim::claimed_bytes;
use memlane_shm::LockFile;
use memlane_shm::sync::Ordering;

/// What stands at a position.
pub(crate) enum Look {
    /// Nothing yet.
    Nothing,
    /// A frame whose length was checked against the ring, and where the next one begins.
    Frame(StateWord, u64),
    /// Padding, and where the next frame begins.
    Padding(u64),
    /// What no publisher writes.
    Strange,
}

/// How many empty polls pass between two looks at whether anybody died.
pub(crate) const POLLS_PER_LOOK_ROUND: u32 = 1024;

impl Log {
    /// Looks at the frame that begins at `position`.
    #[inline(always)]
    pub(crate) fn look(&self, position: u64) -> Look {
        // OBSERVE (acquire) pairs with COMMIT (release).
        let word = StateWord(self.header(position).load(Ordering::Acquire));
        let lap = self.geometry.lap(position);
        let end = position + self.geometry.frame_bytes(word.length());
        if word.is(lap, Phase::Committed) {
            let fits = word.length() <= self.geometry.body_max
                && word.length() + FRAME_HEADER_BYTES >= self.geometry.payload_at
                && end <= self.geometry.lap_end(position);
            return if fits { Look::Frame(word, end) } else { Look::Strange };
        }
        if word == StateWord::free(lap) {
            return Look::Nothing;
        }
        let is_padding = word.is(lap, Phase::Padding) && end <= self.geometry.lap_end(position);
        if is_padding { Look::Padding(end) } else { Look::Strange }
    }

    /// What comes after the header of a frame that `look` found at `position`, in place.
    ///
    /// # Safety
    /// `look` said that a frame with `length` bytes after its header is at `position`, and nobody writes there as long as the slice lives.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) unsafe fn body(&self, position: u64, length: u64) -> &[u8] {
        let (offset, length) = (self.geometry.offset(position) + FRAME_HEADER_BYTES as usize, length as usize);
        // SAFETY: `look` checked that the frame ends within its lap.
        let start = unsafe { self.ring.pointer_unchecked(offset, length) };
        // SAFETY: in bounds, as just said; not written meanwhile, by contract.
        unsafe { core::slice::from_raw_parts(start.as_ptr(), length) }
    }

    /// The frames of one lap from `from` to `to`, in place.
    ///
    /// # Safety
    /// `look` found each of them, and nobody writes there as long as the slice lives.
    #[cfg(not(loom))]
    pub(crate) unsafe fn frames(&self, from: u64, to: u64) -> &[u8] {
        let (offset, length) = (self.geometry.offset(from), (to - from) as usize);
        // SAFETY: `look` checked that each ends within its lap.
        let start = unsafe { self.ring.pointer_unchecked(offset, length) };
        // SAFETY: in bounds, as just said; not written meanwhile, by contract.
        unsafe { core::slice::from_raw_parts(start.as_ptr(), length) }
    }

    /// Where the newest frames begin, from `from`, where a frame begins: the last message, if any, and the end.
    /// `None` if there are bytes that no publisher writes.
    pub(crate) fn newest(&self, from: u64) -> Option<(Option<u64>, u64)> {
        let (mut last, mut end) = (None, from);
        while end - from <= self.geometry.capacity {
            match self.look(end) {
                Look::Nothing => return Some((last, end)),
                Look::Padding(next) => end = next,
                Look::Frame(_, next) => {
                    last = Some(end);
                    end = next;
                }
                Look::Strange => return None,
            }
        }
        None
    }

    /// Calls `each` for every place in `(from, to]` where a frame ends and the next begins; `from` is one itself. Returns the
    /// last of them.
    pub(crate) fn each_boundary(&self, from: u64, to: u64, mut each: impl FnMut(u64)) -> u64 {
        let mut position = from;
        while position < to {
            let (Look::Frame(_, end) | Look::Padding(end)) = self.look(position) else { break };
            position = end;
            each(position);
        }
        position
    }

    /// Where a frame begins that is likely near the end of the log, at or past `from`.
    pub(crate) fn hint(&self, from: u64) -> u64 {
        // NEWEST (acquire) pairs with the release in one.rs and many.rs.
        let last = self.control(control::LAST).load(Ordering::Acquire);
        let near = last >= from && last - from <= self.geometry.capacity && self.geometry.is_cell(last);
        if near { last } else { from }
    }

    /// If the frame at `position` was claimed by a publisher that died before it committed: where the next one begins.
    ///
    /// Subscribers can't write the log, so each skips such a frame for itself; publishers turn it into padding.
    pub(crate) fn end_of_dead_claim(&self, position: u64, publishers: Option<&LockFile>) -> Option<u64> {
        // Only one of many leaves such a thing behind.
        let publishers = publishers?;
        let claim = StateWord(self.claim(position).load(Ordering::Acquire));
        let bytes = claimed_bytes(self, position, claim)?;
        let lives = publishers.is_held_by_another(claim.publisher()).unwrap_or(true);
        // It may have committed before it died: the dead write nothing more, so this second look is final.
        let unfinished =
            self.header(position).load(Ordering::Acquire) == StateWord::free(self.geometry.lap(position)).0;
        (!lives && unfinished).then_some(position + bytes)
    }

    /// Where the frame ends that somebody has claimed at `position`, whether it is committed or not; `None` if nobody has.
    #[cfg(not(loom))]
    pub(crate) fn end_of_claim(&self, position: u64) -> Option<u64> {
        self.geometry.many.then_some(())?;
        let claim = StateWord(self.claim(position).load(Ordering::Acquire));
        claimed_bytes(self, position, claim).map(|bytes| position + bytes)
    }

    /// Whether somebody has claimed the frame at `position`.
    pub(crate) fn is_claimed(&self, position: u64) -> bool {
        self.geometry.many && StateWord(self.claim(position).load(Ordering::Acquire)).phase() == Phase::Claimed
    }
}

impl Gated {
    /// With time to spare: was this process forked, was the topic removed, did whoever holds us up die? Says whether to
    /// look again at once.
    #[cold]
    pub fn look_round(&mut self) -> Result<bool, ReadError> {
        let state = self.log.state();
        if state == State::Forked {
            return Err(ReadError::Forked);
        }
        if let Some(end) = self.log.end_of_dead_claim(self.position, self.publishers.as_ref()) {
            self.skipped += 1;
            self.release(end);
            return Ok(true);
        }
        // What was published before the removal is read before it is told.
        if state == State::Removed && self.log.header(self.position).load(Ordering::Acquire) == self.free_word() {
            return Err(ReadError::Removed);
        }
        if self.log.geometry.many {
            return Ok(false);
        }
        // One publisher stores the hint after the commit: a hint past a frame that isn't there is a corrupt header.
        let newest = self.log.hint(self.position);
        let is_free = self.log.header(self.position).load(Ordering::Acquire) == self.free_word();
        if newest > self.position && is_free { Err(ReadError::Corrupt { position: self.position }) } else { Ok(false) }
    }

    fn free_word(&self) -> u64 {
        StateWord::free(self.log.geometry.lap(self.position)).0
    }

    #[cold]
    pub(crate) fn strange(&self) -> ReadError {
        if self.log.state() == State::Forked {
            return ReadError::Forked;
        }
        ReadError::Corrupt { position: self.position }
    }
}
