//! One publisher: claim → write → commit, with plain stores.
//!
//! Invariant: the header at `tail` says FREE for its lap; nothing past it is believed by anyone.
//! So a commit writes, in this order, the payload, FREE at the frame's end, and the frame's own header:
//!
//! ```text
//!   before   [F][F][.]                 tail at the dot
//!   publish  [F][F][?payload    ][.]   header not yet written: subscribers still poll it
//!   commit   [F][F][F           ][.]   one release store; the polled line is handed over once
//! ```
//!
//! Ordering: COMMIT (release, here) pairs with OBSERVE (acquire, read.rs). FREE AHEAD (relaxed) is ordered by COMMIT.
//! Death at any step leaves FREE at the tail; the next publisher finds it (attach.rs) and writes over the rest.
//! Making room, every 64th of a lap and after a commit: reclaim.rs.

use crate::error::ClaimError;
use crate::layout::{FLAG_EXTENSIONS, FRAME_HEADER_BYTES, Phase, StateWord, control};
use crate::memory::{Log, State, Subs};
use crate::reclaim::Marks;
use crate::recover::Peers;
use crate::wake;
use memlane_shm::barrier::Light;
use memlane_shm::clock::Ticker;
use memlane_shm::crash_point;
use memlane_shm::sync::Ordering;

/// The only publisher of a topic.
#[derive(Debug)]
pub struct OnePublisher {
    pub(crate) log: Log,
    pub(crate) subs: Subs,
    /// Where the next frame begins.
    pub(crate) tail: u64,
    /// Frames may end here at most: one cell before the limit, and not past this lap.
    pub(crate) bound: u64,
    /// A commit that ends here or later is followed by `turn`.
    pub(crate) turn_at: u64,
    /// Everything below this position (plus the capacity) may be written.
    pub(crate) reclaimed: u64,
    pub(crate) marks: Marks,
    pub(crate) light: Light,
    pub(crate) ticker: Option<Ticker>,
    pub(crate) peers: Peers,
}

impl OnePublisher {
    /// Publishes a frame with `extensions` (encoded, may be empty) and `payload`; returns its position.
    ///
    /// Cost: two stores beside the frame's bytes, and the note of where it is. No system call, unless a subscriber sleeps.
    #[inline(always)]
    pub fn publish(&mut self, extensions: &[u8], payload: &[u8]) -> Result<u64, ClaimError> {
        let body = self.body_bytes(extensions, payload);
        let end = self.place(body)?;
        let position = self.tail;
        self.write(position, extensions, payload);
        crash_point!("commit.before");
        self.commit(end, Self::word(&self.log, position, extensions, body))?;
        Ok(position)
    }

    /// Publishes as many of `payloads` as there is room for, so that they cross as one; returns how many.
    ///
    /// Errors: [`ClaimError`] if not even the first could be published.
    #[inline]
    pub fn publish_batch(&mut self, payloads: &[&[u8]]) -> Result<usize, ClaimError> {
        let Some(first_payload) = payloads.first() else { return Ok(0) };
        let body = self.body_bytes(&[], first_payload);
        let mut end = self.place(body)?;
        let first = self.tail;
        self.write(first, &[], first_payload);
        let first_word = Self::word(&self.log, first, &[], body);
        let mut count = 1;
        for payload in &payloads[1..] {
            let (position, body) = (end, self.body_bytes(&[], payload));
            if body > self.log.geometry.body_max || position + self.log.geometry.frame_bytes(body) > self.bound {
                break;
            }
            self.write(position, &[], payload);
            // Nobody looks here before the first header says that there is something.
            self.log.header(position).store(Self::word(&self.log, position, &[], body).0, Ordering::Relaxed);
            end = position + self.log.geometry.frame_bytes(body);
            count += 1;
            crash_point!("batch.half");
        }
        self.commit(end, first_word)?;
        Ok(count)
    }

    /// Finds room for a frame of `body` bytes after its header, to be written at `self.tail`; returns where it would end.
    /// Nothing that others can see has changed.
    #[inline(always)]
    pub(crate) fn place(&mut self, body: u64) -> Result<u64, ClaimError> {
        if body > self.log.geometry.body_max {
            return Err(ClaimError::TooLong);
        }
        let end = self.tail + self.log.geometry.frame_bytes(body);
        if end > self.bound {
            return self.make_place(body);
        }
        crash_point!("claim.claimed");
        Ok(end)
    }

    /// Makes the frame `[tail, end)` visible, with all its bytes and those of the frames that a batch put behind it.
    #[inline(always)]
    pub(crate) fn commit(&mut self, end: u64, word: StateWord) -> Result<(), ClaimError> {
        let position = self.tail;
        // FREE AHEAD (relaxed): ordered before the header by COMMIT; `bound` keeps a reclaimed cell for it.
        self.log.header(end).store(StateWord::free(self.log.geometry.lap(end)).0, Ordering::Relaxed);
        // COMMIT (release) pairs with OBSERVE (acquire) in read.rs.
        self.log.header(position).store(word.0, Ordering::Release);
        crash_point!("commit.after");
        // NEWEST (release) pairs with the acquire in join.rs: whoever sees the hint sees the frame.
        self.log.control(control::LAST).store(position, Ordering::Release);
        self.committed(end)
    }

    /// After a commit: wakes who sleeps, and looks after the room ahead.
    #[inline(always)]
    fn committed(&mut self, end: u64) -> Result<(), ClaimError> {
        self.tail = end;
        // WAKE: commit, then look for sleepers; a sleeper says so, then looks for commits (wait.rs).
        self.light.fence();
        if wake::somebody_sleeps(&self.subs) {
            wake::ring_subscribers(&self.log, &self.subs)?;
        }
        if end >= self.turn_at {
            self.turn();
        }
        Ok(())
    }

    /// Bytes after the header of a frame with these parts.
    #[inline(always)]
    pub(crate) fn body_bytes(&self, extensions: &[u8], payload: &[u8]) -> u64 {
        self.log.geometry.payload_at - FRAME_HEADER_BYTES + extensions.len() as u64 + payload.len() as u64
    }

    /// The header of a frame with these parts.
    #[inline(always)]
    pub(crate) fn word(log: &Log, position: u64, extensions: &[u8], body: u64) -> StateWord {
        let flags = if extensions.is_empty() { 0 } else { FLAG_EXTENSIONS };
        StateWord::new(log.geometry.lap(position), Phase::Committed, flags, 0, body)
    }

    /// Writes stamp, extensions and payload of a frame that `place` found room for.
    #[inline(always)]
    fn write(&self, position: u64, extensions: &[u8], payload: &[u8]) {
        write_body(&self.log, self.ticker, position, extensions, payload);
    }

    /// Room for a frame that does not fit below the bound: pads over the end of the lap, or reclaims, or gives up.
    #[cold]
    fn make_place(&mut self, body: u64) -> Result<u64, ClaimError> {
        match self.log.state() {
            State::Live => {}
            State::Forked => return Err(ClaimError::Forked),
            State::Removed => return Err(ClaimError::Removed),
        }
        let geometry = self.log.geometry;
        let frame = geometry.frame_bytes(body);
        let lap_end = geometry.lap_end(self.tail);
        let padding = if self.tail + frame > lap_end { lap_end - self.tail } else { 0 };
        let limit = self.tail + padding + frame + geometry.cell;
        while !self.reserve(limit) {
            if !self.peers.release_dead(&self.log, &self.subs) {
                return Err(ClaimError::Full);
            }
        }
        if padding > 0 {
            let word = StateWord::new(geometry.lap(self.tail), Phase::Padding, 0, 0, padding - FRAME_HEADER_BYTES);
            // FREE AHEAD and COMMIT, as for a frame.
            self.log.header(lap_end).store(StateWord::free(geometry.lap(lap_end)).0, Ordering::Relaxed);
            self.log.header(self.tail).store(word.0, Ordering::Release);
            self.committed(lap_end)?;
        }
        self.set_bound();
        Ok(self.tail + frame)
    }

    /// After a commit that came past a mark: note it, and make room before it is needed.
    #[cold]
    fn turn(&mut self) {
        let geometry = self.log.geometry;
        self.marks.note(&self.log, self.tail);
        let low_water = self.tail + 2 * geometry.stretch().max(geometry.cell);
        if self.reclaimed + geometry.capacity < low_water {
            self.reserve(self.tail + geometry.capacity / 8);
        }
        self.set_bound();
        self.turn_at = self.tail - self.tail % geometry.stretch() + geometry.stretch();
    }

    /// Derives the bound from what is reclaimed.
    pub(crate) fn set_bound(&mut self) {
        let geometry = self.log.geometry;
        self.bound = (self.reclaimed + geometry.capacity - geometry.cell).min(geometry.lap_end(self.tail));
    }
}

/// Writes what comes after the header of a frame that is the caller's to write, wherever it may be in the ring.
#[inline(always)]
pub(crate) fn write_body(log: &Log, ticker: Option<Ticker>, position: u64, extensions: &[u8], payload: &[u8]) {
    let offset = log.geometry.offset(position);
    if let Some(ticker) = ticker {
        log.ring.word(offset + FRAME_HEADER_BYTES as usize).store(ticker.now(), Ordering::Relaxed);
    }
    let at = offset + log.geometry.payload_at as usize;
    if !extensions.is_empty() {
        log.ring.copy_in(at, extensions);
    }
    crash_point!("write.half");
    // SAFETY:
    // - In bounds: the frame ends at or before the lap's end, by `place` or by the claim.
    // - Exclusive: it lies between tail and limit, where only the owner of the claim writes; for one publisher that is the
    //   holder of the lock. Readers that may race (lossy ones that were overtaken) copy word by word and check.
    unsafe { log.ring.copy_in_unchecked(at + extensions.len(), payload) };
}
