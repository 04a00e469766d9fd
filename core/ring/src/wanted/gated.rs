//! Gated subscribers that want some frames only: what they pass over is released in runs.
//!
//! Ordering: OBSERVE and RELEASE as in read.rs.

use super::{Passed, Runs, Wanted, has_extensions, judge, run_bytes};
use crate::error::ReadError;
use crate::extension::Malformed;
use crate::layout::StateWord;
use crate::look::{Look, POLLS_PER_LOOK_ROUND};
use crate::read::{Found, Frame, Gated};
use crate::wait::Wait;
use std::time::Duration;

/// What stands at the end of a pass in place, and where.
enum Stop {
    Found(Found),
    /// A frame whose extensions can't be read, and where the next one begins.
    Malformed(u64),
    Nothing,
    Strange,
    More,
}

impl Gated {
    /// The next message that is wanted, if it is there. It is held, in place, until the frame is dropped; what lies before it
    /// is released.
    ///
    /// Cost: for each frame before it a look at its header and extensions; a store for all, or for each run of 256 KiB.
    /// Errors: [`ReadError`]; go on after it. After `Corrupt`, the position stays.
    pub fn poll_wanted(&mut self, mut wanted: impl Wanted) -> Result<Option<Frame<'_>>, ReadError> {
        let end = self.position + self.log.geometry.capacity;
        loop {
            match self.pass(&mut wanted)? {
                Passed::Found(found) => return Ok(Some(self.hold(found))),
                Passed::More if self.position < end => {}
                Passed::More | Passed::Nothing => return Ok(None),
            }
        }
    }

    /// Whether there is a message that is wanted, or an error to be told: a thorough look, also at deaths and removals. What lies before it
    /// is released.
    pub fn has_wanted(&mut self, mut wanted: impl Wanted) -> bool {
        let end = self.position + self.log.geometry.capacity;
        loop {
            let (position, stop) = self.next_wanted(self.position, &mut wanted);
            if position != self.position {
                self.release(position);
            }
            match stop {
                Stop::Found(_) | Stop::Malformed(_) | Stop::Strange => return true,
                Stop::More if position < end => {}
                Stop::More => return false,
                Stop::Nothing => match self.look_round() {
                    Ok(true) => {}
                    other => {
                        // What was told here is told again by the next poll.
                        self.empty_polls |= POLLS_PER_LOOK_ROUND - 1;
                        return other.is_err();
                    }
                },
            }
        }
    }

    /// Waits for the next message that is wanted, for at most `timeout` if there is one; `None` if there was none.
    ///
    /// Cost and errors: as for [`Gated::poll_wanted`].
    pub fn wait_wanted(
        &mut self,
        mut wanted: impl Wanted,
        wait: Wait,
        timeout: Option<Duration>,
    ) -> Result<Option<Frame<'_>>, ReadError> {
        let mut runs = Runs::new(wait, timeout);
        loop {
            let goes_on = match self.pass(&mut wanted)? {
                Passed::Found(found) => return Ok(Some(self.hold(found))),
                Passed::Nothing => runs.turns.next(|left| self.sleep(left)),
                Passed::More => runs.next(self.position, self.log.geometry.capacity),
            };
            if !goes_on {
                return Ok(None);
            }
        }
    }

    /// Hands up to `messages_max` messages that are wanted to `each`, as (position, state word, body), and what is malformed as an
    /// error, which counts.
    ///
    /// Cost: as for [`Gated::poll_wanted`]; the messages are released with what lies between them. Errors: [`ReadError`], if there
    /// is not a single message before it.
    pub fn poll_batch_wanted(
        &mut self,
        messages_max: usize,
        mut wanted: impl Wanted,
        mut each: impl FnMut(Result<(u64, StateWord, &[u8]), ReadError>),
    ) -> Result<usize, ReadError> {
        let end = self.position + self.log.geometry.capacity;
        let (mut position, mut count, mut read) = (self.position, 0, 0);
        while count < messages_max {
            let stop;
            (position, stop) = self.next_wanted(position, &mut wanted);
            match stop {
                Stop::Found(found) => {
                    // SAFETY: it is committed, and the cursor in our slot is moved past it only after this call of `each`.
                    each(Ok((position, found.word, unsafe { self.log.body(position, found.length) })));
                    position = found.end;
                    count += 1;
                    read += 1;
                }
                Stop::Malformed(end) => {
                    each(Err(ReadError::Malformed { position }));
                    position = end;
                    count += 1;
                }
                Stop::More if position < end => self.release(position),
                Stop::More | Stop::Nothing | Stop::Strange => break,
            }
        }
        if position != self.position {
            self.release_messages(position, read);
        }
        if count == 0 && messages_max > 0 {
            // Nothing to show for it: a poll looks after what `Nothing` and `Strange` ask for.
            match self.poll_wanted(wanted) {
                Ok(None) => return Ok(0),
                Ok(Some(frame)) => each(Ok((frame.position(), frame.word(), frame.body()))),
                Err(error @ ReadError::Malformed { .. }) => each(Err(error)),
                Err(error) => return Err(error),
            }
            count = 1;
        }
        Ok(count)
    }

    /// Passes over a run of unwanted frames and lets go of them.
    #[inline(always)]
    fn pass(&mut self, wanted: &mut impl Wanted) -> Result<Passed<Found>, ReadError> {
        loop {
            let (position, stop) = self.next_wanted(self.position, wanted);
            if position != self.position {
                self.release(position);
            }
            match stop {
                Stop::Found(found) => return Ok(Passed::Found(found)),
                Stop::Malformed(end) => {
                    self.release(end);
                    return Err(ReadError::Malformed { position });
                }
                Stop::Strange => return Err(self.strange()),
                Stop::More => return Ok(Passed::More),
                Stop::Nothing => {
                    self.empty_polls = self.empty_polls.wrapping_add(1);
                    if !(self.empty_polls.is_multiple_of(POLLS_PER_LOOK_ROUND) && self.look_round()?) {
                        return Ok(Passed::Nothing);
                    }
                }
            }
        }
    }

    /// The first frame from `position` on that isn't to be passed over, within a run. Releases nothing.
    #[inline(always)]
    fn next_wanted(&mut self, mut position: u64, wanted: &mut impl Wanted) -> (u64, Stop) {
        let run_end = position + run_bytes(&self.log.geometry);
        while position < run_end {
            let found = match self.find_usual(position) {
                Some(found) => found,
                None => match self.log.look(position) {
                    Look::Frame(word, end) => self.find_unusual(position, word, end),
                    Look::Padding(end) => {
                        position = end;
                        continue;
                    }
                    Look::Nothing => return (position, Stop::Nothing),
                    Look::Strange => return (position, Stop::Strange),
                },
            };
            if has_extensions(found.word) {
                // SAFETY: it is committed, and the cursor in our slot is not moved past it here.
                let body = unsafe { self.log.body(position, found.length) };
                match judge(&self.log.geometry, found.word, body, wanted) {
                    Ok(true) => return (position, Stop::Found(found)),
                    Ok(false) => {}
                    Err(Malformed) => return (position, Stop::Malformed(found.end)),
                }
            }
            position = found.end;
        }
        (position, Stop::More)
    }
}
