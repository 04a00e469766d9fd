//! Reads the log in place: a [`Gated`] subscriber's cursor, in its slot, keeps reclaiming off the frame until it is released.
//!
//! Ordering: OBSERVE (acquire, here and in look.rs) pairs with COMMIT (release, one.rs and many.rs). RELEASE (the cursor)
//! pairs with the gate scan in reclaim.rs. Subscribers that hold nobody up: lossy.rs.

use crate::error::ReadError;
use crate::layout::{LINE_BYTES, StateWord};
use crate::look::{Look, POLLS_PER_LOOK_ROUND};
use crate::memory::{Log, Subs};
use crate::slot::count;
use crate::wait::FirstLook;
use crate::wake;
use memlane_shm::LockFile;
use memlane_shm::barrier::Light;
use memlane_shm::crash_point;
use memlane_shm::sync::Ordering;

/// A message at the cursor of a gated subscriber.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) word: StateWord,
    /// Bytes after its header.
    pub(crate) length: u64,
    pub(crate) end: u64,
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
        self.frame > LINE_BYTES && self.length > 0
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
        log.ring.copy_out(
            log.geometry.offset(self.subscriber.position) + crate::layout::FRAME_HEADER_BYTES as usize,
            target,
        );
    }
}

impl Drop for Frame<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.subscriber.release_messages(self.found.end, 1);
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
    /// On `log`, to ask who of many publishers lives.
    pub(crate) publishers: Option<LockFile>,
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
    pub(crate) fn find_usual(&self, position: u64) -> Option<Found> {
        let Usual { word, length, frame } = self.usual;
        let end = position + frame;
        // OBSERVE (acquire) pairs with COMMIT (release).
        let found = self.log.header(position).load(Ordering::Acquire) == word;
        (found && end <= self.log.geometry.lap_end(position)).then_some(Found { word: StateWord(word), length, end })
    }

    /// A message of another shape, which is the usual one from now on.
    #[inline(always)]
    pub(crate) fn find_unusual(&mut self, position: u64, word: StateWord, end: u64) -> Found {
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
            self.release_messages(position, count as u64);
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

    /// Lets go of everything before `position`, with so many messages.
    #[inline(always)]
    pub(crate) fn release_messages(&mut self, position: u64, messages: u64) {
        // On the line of the cursor.
        count(self.subs.messages(self.slot), messages);
        self.release(position);
    }

    /// Lets go of everything before `position`.
    #[inline(always)]
    pub(crate) fn release(&mut self, position: u64) {
        crash_point!("release.before");
        self.position = position;
        // RELEASE: what was read is read before the publisher that sees the cursor writes over it.
        self.subs.cursor(self.slot).store(position + 1, Ordering::Release);
        crash_point!("release.after");
        // WAKE: cursor, then look for publishers that wait for room.
        self.light.fence();
        wake::ring_publishers_at(&self.subs, position);
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
        crash_point!("leave.gated");
        // The slot is free before its lock is: whoever finds the lock free and the cursor set sees a death.
        self.subs.cursor(self.slot).store(0, Ordering::Release);
        self.subs.slot(self.slot).leave();
        crash_point!("leave.slot_free");
        #[cfg(not(loom))]
        crate::durable::forget_recorder(&self.subs, self.slot);
        wake::ring_publishers_at(&self.subs, u64::MAX);
        let _ = self.subscribers.unlock(self.slot);
    }
}
