//! Reads the log: poll the header at the cursor, and believe nothing that wasn't checked.
//!
//! - [`Gated`] reads in place: its cursor, in its slot, keeps reclaiming off the frame until it is released.
//! - [`Lossy`] owns no slot and holds nobody up: it copies a frame out word by word, then looks whether `head` passed it.
//!
//! Ordering: OBSERVE (acquire, here) pairs with COMMIT (release, one.rs and many.rs). OVERTAKEN (acquire fence between the
//! copy and the look at `head`) pairs with OVERWRITE (reclaim.rs). RELEASE (the cursor) pairs with the gate scan there.

use crate::error::ReadError;
use crate::layout::{FRAME_HEADER_BYTES, Phase, StateWord, control};
use crate::memory::{Log, State, Subs};
use crate::reclaim::claimed_bytes;
use crate::wait::FirstLook;
use crate::wake;
use memlane_shm::LockFile;
use memlane_shm::barrier::Light;
use memlane_shm::crash_point;
use memlane_shm::sync::{Ordering, fence};

/// What stands at a position.
enum Look {
    /// Nothing yet.
    Nothing,
    /// A frame whose length was checked against the ring, and where the next one begins.
    Frame(StateWord, u64),
    /// Padding, and where the next frame begins.
    Padding(u64),
    /// What no publisher writes.
    Strange,
}

/// A message at the cursor of a gated subscriber.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    word: StateWord,
    /// Bytes after its header.
    length: u64,
    end: u64,
}

/// The shape of the frame that was read last, which the next one most often has too.
///
/// Where the next frame begins depends on this one's length, so a core that reads a backlog would wait for each header
/// before it could even ask for the next line. Taking the length from here instead, behind a comparison, lets it guess:
/// branches are predicted, data are not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usual {
    word: u64,
    length: u64,
    frame: u64,
}

impl Default for Usual {
    /// What no frame looks like: it would end past any lap.
    fn default() -> Self {
        Self { word: u64::MAX, length: 0, frame: 1 << 62 }
    }
}

impl Usual {
    /// Whether the frame is longer than a cache line.
    #[inline(always)]
    pub(crate) fn spans_lines(self) -> bool {
        self.frame > 64 && self.length > 0
    }
}

/// How many empty polls pass between two looks at whether anybody died.
const POLLS_PER_LOOK_ROUND: u32 = 1024;

impl Log {
    /// Looks at the frame that begins at `position`.
    #[inline(always)]
    fn look(&self, position: u64) -> Look {
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
    unsafe fn body(&self, position: u64, length: u64) -> &[u8] {
        let (offset, length) = (self.geometry.offset(position) + FRAME_HEADER_BYTES as usize, length as usize);
        // SAFETY: `look` checked that the frame ends within its lap.
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
    fn end_of_dead_claim(&self, position: u64, publishers: &LockFile) -> Option<u64> {
        let claim = StateWord(self.claim(position).load(Ordering::Acquire));
        let bytes = claimed_bytes(self, position, claim)?;
        let lives = publishers.is_held_by_another(claim.publisher()).unwrap_or(true);
        // It may have committed before it died: the dead write nothing more, so this second look is final.
        let unfinished =
            self.header(position).load(Ordering::Acquire) == StateWord::free(self.geometry.lap(position)).0;
        (!lives && unfinished).then_some(position + bytes)
    }

    /// Whether somebody has claimed the frame at `position`.
    pub(crate) fn is_claimed(&self, position: u64) -> bool {
        self.geometry.many && self.claim(position).load(Ordering::Acquire) != 0
    }
}

/// A frame that is held in place until it is dropped.
#[derive(Debug)]
pub struct Frame<'a> {
    subscriber: &'a mut Gated,
    found: Found,
}

impl Frame<'_> {
    /// Its position: its identity for ever.
    #[inline(always)]
    #[must_use]
    pub fn position(&self) -> u64 {
        self.subscriber.position
    }

    /// Its state word.
    #[inline(always)]
    #[must_use]
    pub fn word(&self) -> StateWord {
        self.found.word
    }

    /// Everything after its header: stamp, extensions, payload.
    #[cfg(not(loom))]
    #[inline(always)]
    #[must_use]
    pub fn body(&self) -> &[u8] {
        // SAFETY: it is committed, and the cursor in our slot keeps reclaiming off it as long as `self` lives.
        unsafe { self.subscriber.log.body(self.subscriber.position, self.found.length) }
    }

    /// Copies what comes after its header.
    #[cfg(loom)]
    pub fn copy_body(&self, target: &mut [u8]) {
        let log = &self.subscriber.log;
        log.ring.copy_out(log.geometry.offset(self.subscriber.position) + FRAME_HEADER_BYTES as usize, target);
    }
}

impl Drop for Frame<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.subscriber.release(self.found.end);
    }
}

/// A subscriber that holds publishers back instead of losing messages, and reads in place.
#[derive(Debug)]
pub struct Gated {
    pub(crate) log: Log,
    pub(crate) subs: Subs,
    pub(crate) slot: u32,
    pub(crate) position: u64,
    pub(crate) light: Light,
    /// On `log`, to ask who lives.
    pub(crate) publishers: LockFile,
    /// On `subs`: our own lock is held through it.
    pub(crate) subscribers: LockFile,
    pub(crate) empty_polls: u32,
    pub(crate) first_look: FirstLook,
    pub(crate) usual: Usual,
    /// Frames that dead publishers left unfinished and that were skipped here.
    pub(crate) skipped: u64,
}

impl Gated {
    /// The next message, if it is there. It is held, in place, until the frame is dropped.
    ///
    /// Cost: one load where there is nothing; where there is, no copy, and one store at the end.
    /// Errors: [`ReadError`]; after `Corrupt`, the position stays.
    #[inline(always)]
    pub fn poll(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        Ok(self.find()?.map(|found| self.hold(found)))
    }

    /// Looks for the next message, past padding.
    #[inline(always)]
    pub(crate) fn find(&mut self) -> Result<Option<Found>, ReadError> {
        loop {
            if let Some(found) = self.find_usual(self.position) {
                return Ok(Some(found));
            }
            match self.log.look(self.position) {
                Look::Frame(word, end) => return Ok(Some(self.find_unusual(self.position, word, end))),
                Look::Nothing => {
                    self.empty_polls = self.empty_polls.wrapping_add(1);
                    if self.empty_polls.is_multiple_of(POLLS_PER_LOOK_ROUND) && self.look_round()? {
                        continue;
                    }
                    return Ok(None);
                }
                Look::Padding(end) => self.release(end),
                Look::Strange => return Err(self.strange()),
            }
        }
    }

    /// The message at `position`, if it is there and of the usual shape.
    #[inline(always)]
    fn find_usual(&self, position: u64) -> Option<Found> {
        let Usual { word, length, frame } = self.usual;
        let end = position + frame;
        // OBSERVE (acquire) pairs with COMMIT (release).
        let found = self.log.header(position).load(Ordering::Acquire) == word;
        (found && end <= self.log.geometry.lap_end(position)).then_some(Found { word: StateWord(word), length, end })
    }

    /// A message of another shape, which is the usual one from now on.
    #[inline(always)]
    fn find_unusual(&mut self, position: u64, word: StateWord, end: u64) -> Found {
        self.usual = Usual { word: word.0, length: word.length(), frame: end - position };
        Found { word, length: word.length(), end }
    }

    /// The message that `find` just found.
    #[inline(always)]
    pub(crate) fn hold(&mut self, found: Found) -> Frame<'_> {
        crash_point!("read.holding");
        Frame { subscriber: self, found }
    }

    /// Hands up to `messages_max` messages to `each`, as (position, state word, body), and releases them together.
    ///
    /// Cost: one store for all. Errors: [`ReadError`], if there is not a single message before it.
    #[cfg(not(loom))]
    #[inline(always)]
    pub fn poll_batch(
        &mut self,
        messages_max: usize,
        mut each: impl FnMut(u64, StateWord, &[u8]),
    ) -> Result<usize, ReadError> {
        let (mut position, mut count) = (self.position, 0);
        while count < messages_max {
            let found = match self.find_usual(position) {
                Some(found) => found,
                None => match self.log.look(position) {
                    Look::Frame(word, end) => self.find_unusual(position, word, end),
                    Look::Padding(end) => {
                        position = end;
                        continue;
                    }
                    Look::Nothing | Look::Strange => break,
                },
            };
            // SAFETY: it is committed, and the cursor in our slot is moved past it only after the last call of `each`.
            each(position, found.word, unsafe { self.log.body(position, found.length) });
            position = found.end;
            count += 1;
        }
        if position != self.position {
            self.release(position);
        }
        if count == 0 {
            // Nothing to show for it: `poll` looks after what `Nothing` and `Strange` ask for.
            return Ok(usize::from(self.poll()?.is_some_and(|frame| {
                each(frame.position(), frame.word(), frame.body());
                true
            })));
        }
        Ok(count)
    }

    /// Lets go of everything before `position`.
    #[inline(always)]
    fn release(&mut self, position: u64) {
        crash_point!("release.before");
        self.position = position;
        // RELEASE: what was read is read before the publisher that sees the cursor writes over it.
        self.subs.cursor(self.slot).store(position + 1, Ordering::Release);
        crash_point!("release.after");
        // WAKE: cursor, then look for publishers that wait for room.
        self.light.fence();
        wake::ring_publishers_at(&self.subs, position);
    }

    /// With time to spare: was this process forked, was the topic removed, did whoever holds us up die? Says whether to
    /// look again at once.
    #[cold]
    pub fn look_round(&mut self) -> Result<bool, ReadError> {
        match self.log.state() {
            State::Forked => return Err(ReadError::Forked),
            State::Removed if self.log.header(self.position).load(Ordering::Acquire) == self.free_word() => {
                return Err(ReadError::Removed);
            }
            State::Live | State::Removed => {}
        }
        if self.log.geometry.many {
            let Some(end) = self.log.end_of_dead_claim(self.position, &self.publishers) else { return Ok(false) };
            self.skipped += 1;
            self.release(end);
            return Ok(true);
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
    fn strange(&self) -> ReadError {
        if self.log.state() == State::Forked {
            return ReadError::Forked;
        }
        ReadError::Corrupt { position: self.position }
    }

    /// Where it reads next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many frames that dead publishers left unfinished it skipped.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        // The slot is free before its lock is: whoever finds the lock free and the cursor set sees a death.
        self.subs.cursor(self.slot).store(0, Ordering::Release);
        wake::ring_publishers_at(&self.subs, u64::MAX);
        let _ = self.subscribers.unlock(self.slot);
    }
}

/// A message that a lossy subscriber copied out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Its position.
    pub position: u64,
    /// Its state word.
    pub word: StateWord,
}

/// A subscriber that never holds anyone up, and is told what it missed.
#[derive(Debug)]
pub struct Lossy {
    pub(crate) log: Log,
    /// Where it may say that it sleeps, if it may write there.
    pub(crate) subs: Option<Subs>,
    pub(crate) position: u64,
    pub(crate) publishers: LockFile,
    pub(crate) empty_polls: u32,
    /// The body of the message that was copied last, its payload aligned as in the ring.
    pub(crate) buffer: Box<[Line]>,
}

/// Eight words that are aligned like a cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Line([u64; 8]);

impl Lossy {
    /// Copies the next message out, if it is there; [`Lossy::body`] then gives it.
    ///
    /// Cost: a copy of the frame. Errors: [`ReadError`]; after `Lost`, reading goes on at its `to`.
    #[inline]
    pub fn poll(&mut self) -> Result<Option<Copied>, ReadError> {
        loop {
            let position = self.position;
            let look = self.log.look(position);
            if let Look::Frame(word, _) = look {
                self.copy(position, word);
            }
            // OVERTAKEN (acquire fence) pairs with OVERWRITE in reclaim.rs: bytes that were overwritten show a head past them.
            fence(Ordering::Acquire);
            if self.log.head() > position {
                return Err(self.lost());
            }
            match look {
                Look::Frame(word, end) => {
                    self.position = end;
                    return Ok(Some(Copied { position, word }));
                }
                Look::Padding(end) => self.position = end,
                Look::Nothing => {
                    self.empty_polls = self.empty_polls.wrapping_add(1);
                    if !(self.empty_polls.is_multiple_of(POLLS_PER_LOOK_ROUND) && self.look_round()?) {
                        return Ok(None);
                    }
                }
                Look::Strange => return Err(self.strange()),
            }
        }
    }

    /// Copies the newest message out, if there is one that was not copied yet; what lies between is left out on purpose.
    ///
    /// Cost: as for [`Lossy::poll`]; a few more loads where the publishers are ahead.
    pub fn poll_latest(&mut self) -> Result<Option<Copied>, ReadError> {
        loop {
            let from = self.log.hint(self.position.max(self.log.head()));
            match self.log.newest(from) {
                // Bytes that make no sense: overwritten, which the head shows, or corrupt, which `poll` finds.
                None => {
                    fence(Ordering::Acquire);
                    if self.log.head() <= from {
                        return self.poll();
                    }
                    self.position = self.position.max(self.log.head());
                }
                Some((None, _)) => {
                    // Nothing but padding, if anything: `poll` steps over it, and looks round.
                    match self.poll() {
                        Err(ReadError::Lost { .. }) => {}
                        other => return other,
                    }
                }
                Some((Some(last), _)) => {
                    self.position = last;
                    match self.poll() {
                        Err(ReadError::Lost { .. }) => {}
                        other => return other,
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn copy(&mut self, position: u64, word: StateWord) {
        let length = word.length() as usize;
        let offset = self.log.geometry.offset(position) + FRAME_HEADER_BYTES as usize;
        self.log.ring.copy_out(offset, &mut bytes_of_mut(&mut self.buffer)[FRAME_HEADER_BYTES as usize..][..length]);
    }

    /// Everything after the header of the message that was copied last: stamp, extensions, payload.
    #[inline]
    #[must_use]
    pub fn body(&self, copied: &Copied) -> &[u8] {
        &bytes_of(&self.buffer)[FRAME_HEADER_BYTES as usize..][..copied.word.length() as usize]
    }

    /// Goes on at the oldest frame that is still whole.
    #[cold]
    fn lost(&mut self) -> ReadError {
        if self.log.state() == State::Forked {
            return ReadError::Forked;
        }
        let from = self.position;
        self.position = self.log.head();
        ReadError::Lost { from, to: self.position }
    }

    #[cold]
    fn strange(&self) -> ReadError {
        if self.log.state() == State::Forked {
            ReadError::Forked
        } else {
            ReadError::Corrupt { position: self.position }
        }
    }

    /// As for [`Gated::look_round`].
    #[cold]
    pub fn look_round(&mut self) -> Result<bool, ReadError> {
        match self.log.state() {
            State::Forked => return Err(ReadError::Forked),
            State::Removed => return Err(ReadError::Removed),
            State::Live => {}
        }
        if self.log.geometry.many {
            if let Some(end) = self.log.end_of_dead_claim(self.position, &self.publishers) {
                fence(Ordering::Acquire);
                if self.log.head() <= self.position {
                    self.position = end;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Where it reads next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// A buffer for the longest body of a topic.
    pub(crate) fn buffer_for(body_max: u64) -> Box<[Line]> {
        vec![Line::default(); (body_max + FRAME_HEADER_BYTES).div_ceil(64) as usize].into_boxed_slice()
    }
}

pub(crate) fn bytes_of(lines: &[Line]) -> &[u8] {
    // SAFETY: lines are plain bytes without padding, and a byte has no alignment to keep.
    unsafe { core::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
}

pub(crate) fn bytes_of_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: as above; any bytes are a valid line.
    unsafe { core::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
}
