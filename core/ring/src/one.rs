//! One publisher: claim → write → commit, with plain stores.
//!
//! Invariant: the header at the tail says FREE for its lap; nothing past it is believed by anyone.
//! So a commit writes, in this order, the payload, FREE at the frame's end, and the frame's own header:
//!
//! ```text
//!   before   [F][F][.]                 tail at the dot
//!   publish  [F][F][?payload    ][.]   header not yet written: subscribers still poll it
//!   commit   [F][F][F           ][.]   one release store; the polled line is handed over once
//! ```
//!
//! Ordering: COMMIT (release, here) pairs with OBSERVE (acquire, look.rs and read.rs). FREE AHEAD (relaxed) is ordered by COMMIT.
//! Death at any step leaves FREE at the tail; the next publisher finds it (attach.rs) and writes over the rest.
//! Making room, every 64th of a lap and after a commit: reclaim.rs.

use crate::error::ClaimError;
use crate::lap::Lap;
use crate::layout::{FLAG_EXTENSIONS, FRAME_HEADER_BYTES, LINE_BYTES, Phase, StateWord, control};
use crate::memory::{Log, Subs};
use crate::rate::Meter;
use crate::reclaim::Marks;
use crate::recover::Peers;
use crate::slot::count;
use crate::wait::{self, Wait};
use crate::wake;
use memlane_shm::barrier::Light;
use memlane_shm::clock::Ticker;
use memlane_shm::crash_point;
use memlane_shm::sync::Ordering;
use std::time::Duration;

/// The only publisher of a topic.
///
/// Within a lap it counts in offsets into the ring, so that a publish neither divides nor masks.
#[derive(Debug)]
pub struct OnePublisher {
    pub(crate) log: Log,
    pub(crate) subs: Subs,
    pub(crate) lap: Lap,
    /// Where the next frame begins, in bytes from the lap's begin.
    pub(crate) at: u64,
    /// Frames may end here at most without a second look: before the lap's end, and a cell before the limit.
    pub(crate) bound: u64,
    /// What `bound` is at most: a cell before the lap's end; zero where a rate limit is to be asked first.
    pub(crate) bound_max: u64,
    /// Who is asked first, if a rate is limited.
    pub(crate) meter: Option<Box<Meter>>,
    /// How, and how long, a message that is published by itself waits for room.
    pub(crate) patience: Option<(Wait, Duration)>,
    /// Where a header past the tail is known to say FREE for this lap; zero if nowhere.
    pub(crate) stamped: u64,
    /// A commit that ends here or later is followed by `turn`.
    pub(crate) turn_at: u64,
    /// Frames that end here at most need neither a look for room before nor a `turn` after them.
    pub(crate) straight_end: u64,
    /// Everything below this position (plus the capacity) may be written.
    pub(crate) reclaimed: u64,
    pub(crate) marks: Marks,
    pub(crate) light: Light,
    pub(crate) ticker: Option<Ticker>,
    /// Frames of shorter payloads than this take the short way; zero if a publish must stamp, or fence for want of `membarrier`.
    pub(crate) plain_payload_end: u64,
    pub(crate) peers: Peers,
    #[cfg(not(loom))]
    pub(crate) sources: crate::source::Sources,
}

impl OnePublisher {
    /// Publishes a frame with `extensions` (encoded, may be empty) and `payload`; returns its position.
    ///
    /// Cost: two stores beside the frame's bytes, and the note of where it is. No system call, unless a subscriber sleeps.
    #[inline(always)]
    pub fn publish(&mut self, extensions: &[u8], payload: &[u8]) -> Result<u64, ClaimError> {
        let at = self.at;
        let bytes = extensions.len() as u64 + payload.len() as u64;
        let frame = self.lap.frame_bytes(bytes);
        let end = at + frame;
        if bytes >= self.plain_payload_end || end > self.straight_end {
            return self.publish_slowly(extensions, payload);
        }
        crash_point!("claim.claimed");
        self.free_ahead(end);
        write_body(&self.log, None, at as usize, extensions, payload);
        crash_point!("commit.before");
        self.commit_within(at, frame, self.lap.committed_empty + (flags(extensions.len()) | bytes));
        self.committed::<true>(self.lap.begin + at, end, 1)
    }

    #[inline(never)]
    fn publish_slowly(&mut self, extensions: &[u8], payload: &[u8]) -> Result<u64, ClaimError> {
        let body = self.body_bytes(extensions, payload);
        let end = match (self.place(body), self.patience) {
            (Err(ClaimError::Full), Some((wait, longest))) => {
                wait::publish_waiting(self, wait, Some(longest), body, |me| me.place(body))?
            }
            (placed, _) => placed?,
        };
        write_body(&self.log, self.ticker, self.at as usize, extensions, payload);
        crash_point!("commit.before");
        self.commit(end, flags(extensions.len()) | body, 1)
    }

    /// Publishes as many of `payloads` as there is room for, so that they cross as one; returns how many. Each is asked for when it is to be
    /// copied; the last one may have been asked for in vain.
    ///
    /// Errors: [`ClaimError`] if not even the first could be published.
    #[inline]
    pub fn publish_batch(&mut self, payloads: &mut impl Payloads) -> Result<usize, ClaimError> {
        let Some((extensions, first)) = payloads.next_with_extensions() else { return Ok(0) };
        let (first_flags, first_body) = (flags(extensions.len()), self.body_bytes(extensions, first));
        let mut end = self.place(first_body)?;
        write_body(&self.log, self.ticker, self.at as usize, extensions, first);
        let mut count = 1;
        // Copies, which stores into the ring can't change as far as the compiler knows.
        let (lap, bound, plain_end) = (self.lap, self.bound, self.plain_payload_end);
        let (payload_at, bytes_max) = (self.log.geometry.payload_at as usize, self.log.geometry.payload_bytes_max());
        while let Some((extensions, payload)) = payloads.next_with_extensions() {
            let (at, bytes) = (end, extensions.len() as u64 + payload.len() as u64);
            let next = at + lap.frame_bytes(bytes);
            if next > bound || bytes > bytes_max {
                break;
            }
            if bytes < plain_end && extensions.is_empty() {
                // SAFETY: as in `write_body`.
                unsafe { self.log.ring.copy_in_unchecked(at as usize + payload_at, payload) };
            } else {
                write_body(&self.log, self.ticker, at as usize, extensions, payload);
            }
            // Nobody looks here before the first header says that there is something.
            let word = lap.committed_empty + (flags(extensions.len()) | bytes);
            self.log.header_at(at as usize).store(word, Ordering::Relaxed);
            end = next;
            count += 1;
            crash_point!("batch.half");
        }
        self.commit(end, first_flags | first_body, count as u64)?;
        Ok(count)
    }

    /// Finds room for a frame of `body` bytes after its header, to be written at `self.at`; returns where it would end.
    /// Nothing that others can see has changed, but perhaps for padding at the end of the last lap.
    #[inline(always)]
    pub(crate) fn place(&mut self, body: u64) -> Result<u64, ClaimError> {
        if body > self.log.geometry.body_max {
            return Err(ClaimError::TooLong);
        }
        let frame = self.log.geometry.frame_bytes(body);
        if self.at + frame > self.bound {
            self.make_place(body)?;
        }
        crash_point!("claim.claimed");
        Ok(self.at + frame)
    }

    /// Makes the frame `[at, end)` visible, with all its bytes and those of the frames that a batch put behind it, `messages` in all;
    /// `rest` is its header without lap and phase. Returns its position.
    #[inline(always)]
    pub(crate) fn commit(&mut self, end: u64, rest: u64, messages: u64) -> Result<u64, ClaimError> {
        let (position, word) = (self.tail(), self.lap.committed | rest);
        if end < self.log.geometry.capacity {
            self.free_ahead(end);
            self.commit_within(self.at, end - self.at, word);
        } else {
            self.commit_lap_end(word);
        }
        self.committed::<false>(position, self.at, messages)
    }

    /// Stamps the header at `end`, unless the guess after the last commit did.
    #[inline(always)]
    fn free_ahead(&mut self, end: u64) {
        if end != self.stamped {
            // FREE AHEAD (relaxed): ordered before the header by COMMIT; `bound` keeps a reclaimed cell for it.
            self.log.header_at(end as usize).store(self.lap.free, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn commit_within(&mut self, at: u64, frame: u64, word: u64) {
        // COMMIT (release) pairs with OBSERVE (acquire) in look.rs and read.rs.
        self.log.header_at(at as usize).store(word, Ordering::Release);
        crash_point!("commit.after");
        self.at = at + frame;
        self.stamp_guess(at + 2 * frame, frame);
    }

    /// Stamps ahead where the next frame will end, if it is as long as the last, `frame` bytes. Then its publish writes no other line
    /// than its own, which the subscriber polls and so must be handed over once only; and it has those to itself when it begins.
    #[inline(always)]
    pub(crate) fn stamp_guess(&mut self, guess: u64, frame: u64) {
        if guess <= self.bound {
            self.log.header_at(guess as usize).store(self.lap.free, Ordering::Relaxed);
            self.stamped = guess;
            if frame > LINE_BYTES {
                // Keeps the two comparisons apart: as one they cost those whose frames have one line as much as the others.
                Light::compiler_fence();
                if guess + frame <= self.bound {
                    self.log.take_line(guess + LINE_BYTES);
                }
            }
        }
    }

    /// As `commit_within`, for a frame that ends with its lap.
    #[cold]
    pub(crate) fn commit_lap_end(&mut self, word: u64) {
        let header = self.log.header_at(self.at as usize);
        self.lap = Lap::of(&self.log, self.lap.begin + self.log.geometry.capacity, 0);
        self.log.header_at(0).store(self.lap.free, Ordering::Relaxed);
        header.store(word, Ordering::Release);
        crash_point!("commit.after");
        (self.at, self.turn_at, self.stamped) = (0, 0, 0);
        self.set_bound();
    }

    /// After a commit of `messages` at `position` that ended at `end`: says where it is, counts, wakes who sleeps, and looks after the
    /// room ahead. The straight way has neither a fence nor that look.
    #[inline(always)]
    fn committed<const STRAIGHT: bool>(&mut self, position: u64, end: u64, messages: u64) -> Result<u64, ClaimError> {
        // NEWEST (release) pairs with the acquire in look.rs: whoever sees the hint sees the frame.
        self.log.control(control::LAST).store(position, Ordering::Release);
        // On the same line.
        count(self.log.control(control::MESSAGES), messages);
        // WAKE: commit, then look for sleepers; a sleeper says so, then looks for commits (sleep.rs).
        if !STRAIGHT || cfg!(loom) {
            self.light.fence();
        } else {
            Light::compiler_fence();
        }
        if wake::somebody_sleeps(&self.subs) {
            wake::ring_subscribers(&self.log, &self.subs, 0)?;
        }
        if !STRAIGHT && end >= self.turn_at {
            self.turn(self.tail() - position);
        }
        Ok(position)
    }

    /// Where the next frame begins.
    #[inline(always)]
    pub(crate) fn tail(&self) -> u64 {
        self.lap.begin + self.at
    }

    /// Bytes after the header of a frame with these parts.
    #[inline(always)]
    fn body_bytes(&self, extensions: &[u8], payload: &[u8]) -> u64 {
        self.log.geometry.payload_at - FRAME_HEADER_BYTES + extensions.len() as u64 + payload.len() as u64
    }
}

/// Payloads one after the other, each borrowed only until the next is asked for: they can share a buffer.
pub trait Payloads {
    /// The next one; `None` after the last.
    fn next(&mut self) -> Option<&[u8]>;

    /// The next one with its extensions, encoded, without a key; `None` after the last.
    #[inline(always)]
    fn next_with_extensions(&mut self) -> Option<(&[u8], &[u8])> {
        self.next().map(|payload| (&[][..], payload))
    }
}

impl Payloads for core::slice::Iter<'_, &[u8]> {
    #[inline(always)]
    fn next(&mut self) -> Option<&[u8]> {
        Iterator::next(self).copied()
    }
}

/// The flags of a frame with so many bytes of extensions, as they stand in its header.
#[inline(always)]
pub(crate) fn flags(extension_bytes: usize) -> u64 {
    let flags = if extension_bytes == 0 { 0 } else { FLAG_EXTENSIONS };
    StateWord::new(0, Phase::Free, flags, 0, 0).0
}

/// Writes what comes after the header of the frame at `offset` in the ring, which is the caller's to write.
#[inline(always)]
pub(crate) fn write_body(log: &Log, ticker: Option<Ticker>, offset: usize, extensions: &[u8], payload: &[u8]) {
    let at = offset + log.geometry.payload_at as usize;
    // From the end to the begin, as the payload itself: the line that subscribers poll is written last, and all at once. Written first, it
    // would be taken away by a look while the lines behind it are still fetched.
    //
    // SAFETY:
    // - In bounds: the frame ends at or before the lap's end, by `place` or by the claim.
    // - Exclusive: it lies between tail and limit, where only the owner of the claim writes; for one publisher that is the
    //   holder of the lock. Readers that may race (lossy ones that were overtaken) copy word by word and check.
    unsafe { log.ring.copy_in_unchecked(at + extensions.len(), payload) };
    crash_point!("write.half");
    if !extensions.is_empty() {
        log.ring.copy_in(at, extensions);
    }
    write_stamp(log, ticker, offset);
}

/// Stamps the frame at `offset` in the ring, which is the caller's to write, if its topic has stamps.
#[inline(always)]
pub(crate) fn write_stamp(log: &Log, ticker: Option<Ticker>, offset: usize) {
    if let Some(ticker) = ticker {
        log.ring.word(offset + FRAME_HEADER_BYTES as usize).store(ticker.now(), Ordering::Relaxed);
    }
}
