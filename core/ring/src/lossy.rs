//! Reads the log without holding anyone up: a [`Lossy`] subscriber owns no slot. It copies a frame out word by word, then looks
//! whether `head` passed it meanwhile, and reports what it missed.
//!
//! Ordering: OVERTAKEN (acquire fence between the copy and the look at `head`) pairs with OVERWRITE (reclaim.rs).

use crate::error::ReadError;
use crate::layout::{FRAME_HEADER_BYTES, POSITION_END, StateWord};
use crate::look::{Look, POLLS_PER_LOOK_ROUND};
use crate::memory::{Log, State, Subs};
use crate::observer::Observer;
use memlane_shm::LockFile;
use memlane_shm::sync::{Ordering, fence};

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
    pub(crate) publishers: Option<LockFile>,
    pub(crate) empty_polls: u32,
    /// Where it is seen, if there is a place.
    pub(crate) observer: Option<Observer>,
    /// Whether somebody may have elsewhere what is overwritten here, and says what was lost.
    pub(crate) is_backed: bool,
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
        let found = self.next();
        self.counted(found)
    }

    #[inline(always)]
    fn next(&mut self) -> Result<Option<Copied>, ReadError> {
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
        let found = self.next_latest();
        self.counted(found)
    }

    fn next_latest(&mut self) -> Result<Option<Copied>, ReadError> {
        loop {
            // Whoever waits finds nothing here, and leaves the hint's line, which publishers write, alone.
            if !matches!(self.log.look(self.position), Look::Nothing) {
                let from = self.log.hint(self.position.max(self.log.head()));
                let newest = self.log.newest(from);
                // OVERTAKEN, as for a copy: where the head went past it, the walk may have taken payload for headers.
                fence(Ordering::Acquire);
                if self.log.head() > from {
                    self.position = self.position.max(self.log.head());
                    continue;
                }
                // Bytes that make no sense are corrupt, which `poll` finds; padding alone it steps over.
                if let Some((Some(last), _)) = newest {
                    self.position = last;
                }
            }
            match self.next() {
                // Left out on purpose.
                Err(ReadError::Lost { .. }) => {}
                other => return other,
            }
        }
    }

    /// What is about to be told, counted.
    #[inline(always)]
    pub(crate) fn counted(&self, told: Result<Option<Copied>, ReadError>) -> Result<Option<Copied>, ReadError> {
        if let Some(observer) = &self.observer {
            match told {
                Ok(Some(_)) => observer.has_read(self.position, 1),
                Err(ReadError::Lost { from, to }) if !self.is_backed => observer.has_lost(to - from),
                _ => {}
            }
        }
        told
    }

    #[inline(always)]
    pub(crate) fn copy(&mut self, position: u64, word: StateWord) {
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
    pub(crate) fn lost(&mut self) -> ReadError {
        if self.log.state() == State::Forked {
            return ReadError::Forked;
        }
        let from = self.position;
        self.position = self.log.head();
        ReadError::Lost { from, to: self.position }
    }

    #[cold]
    pub(crate) fn strange(&self) -> ReadError {
        if self.log.state() == State::Forked {
            ReadError::Forked
        } else {
            ReadError::Corrupt { position: self.position }
        }
    }

    /// As for [`Gated::look_round`](crate::Gated::look_round).
    #[cold]
    pub fn look_round(&mut self) -> Result<bool, ReadError> {
        let state = self.log.state();
        if state == State::Forked {
            return Err(ReadError::Forked);
        }
        let Some(end) = self.log.end_of_dead_claim(self.position, self.publishers.as_ref()) else {
            let is_removed = state == State::Removed;
            // What was published before the removal is read before it is told.
            let free = StateWord::free(self.log.geometry.lap(self.position)).0;
            let is_read = self.log.header(self.position).load(Ordering::Acquire) == free;
            return if is_removed && is_read { Err(ReadError::Removed) } else { Ok(is_removed) };
        };
        // OVERTAKEN: as for a copy.
        fence(Ordering::Acquire);
        let whole = self.log.head() <= self.position;
        if whole {
            self.position = end;
        }
        Ok(whole)
    }

    /// From here on the caller says what is lost, by [`Lossy::lose_up_to`]: what is overwritten here it may have elsewhere.
    #[must_use]
    pub fn backed(mut self) -> Self {
        self.is_backed = true;
        self
    }

    /// Goes on at `position`, where a frame begins, or will, after the caller has got so many messages elsewhere.
    ///
    /// Cost: two stores. Errors: `Corrupt`, if no frame can begin there; then it stays where it is.
    #[inline]
    pub fn go_on_at(&mut self, position: u64, messages: u64) -> Result<(), ReadError> {
        if !self.log.geometry.is_cell(position) || position >= POSITION_END {
            return Err(ReadError::Corrupt { position });
        }
        self.position = position;
        if let Some(observer) = &self.observer {
            observer.has_read(position, messages);
        }
        Ok(())
    }

    /// Whether what lies at its position, or will, has not been overwritten.
    #[must_use]
    pub fn is_in_reach(&self) -> bool {
        self.log.head() <= self.position
    }

    /// Gives up everything before `position`, and goes on there; what it then tells.
    pub fn lose_up_to(&mut self, position: u64) -> ReadError {
        let from = self.position;
        if let Err(error) = self.go_on_at(position, 0) {
            return error;
        }
        if let Some(observer) = &self.observer {
            observer.has_lost(position.saturating_sub(from));
        }
        ReadError::Lost { from, to: position }
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
