//! The log's bytes as they lie there, whole frames one after the other: for whoever carries them on as they are, as the journal does.
//!
//! Ordering: OBSERVE and RELEASE as in read.rs. The cursor stays before the run as long as it is held, so nobody writes there. Who holds nobody up copies a run out, and
//! then looks whether `head` has passed it: OVERTAKEN, as in lossy.rs.

use crate::error::ReadError;
use crate::layout::{StateWord, control};
use crate::look::{Look, POLLS_PER_LOOK_ROUND};
use crate::lossy::Lossy;
use crate::read::Gated;
use crate::sleep::OwnWord;
use core::ops::Range;
use memlane_shm::sync::{Ordering, fence};
use memlane_shm::{barrier, futex};
use std::time::Duration;

/// Frames of one lap, one after the other, held in place until it is released; dropped without that, they come again.
#[derive(Debug)]
pub struct Run<'a> {
    subscriber: &'a mut Gated,
    end: u64,
    messages: u64,
}

impl Gated {
    /// What has been published from here on, as far as it lies in one piece: whole frames, padding among them, of `bytes_max` bytes at
    /// most, but at least one. Hands each message to `each`, as (position, state word, body).
    ///
    /// Where a dead publisher left a frame unfinished a run ends, and after some polls the next one begins behind it.
    ///
    /// Cost: a look at each header; no copy. Errors: [`ReadError`], for what lies at its beginning; the position stays.
    pub fn poll_run(
        &mut self,
        bytes_max: u64,
        mut each: impl FnMut(u64, StateWord, &[u8]),
    ) -> Result<Option<Run<'_>>, ReadError> {
        loop {
            let (end, messages) = self.walk(bytes_max, &mut each);
            if end != self.position {
                return Ok(Some(Run { subscriber: self, end, messages }));
            }
            if matches!(self.log.look(end), Look::Strange) {
                return Err(self.strange());
            }
            self.empty_polls = self.empty_polls.wrapping_add(1);
            if !self.empty_polls.is_multiple_of(POLLS_PER_LOOK_ROUND) || !self.look_round()? {
                return Ok(None);
            }
        }
    }

    /// Sleeps until something is published here, for `longest` at most. The publisher that wakes it pays for that.
    ///
    /// Cost: a few system calls.
    pub fn sleep_for_run(&mut self, longest: Duration) {
        self.sleep(Some(longest));
    }

    /// As [`Gated::sleep_for_run`], also until `own` has another value; `false`, without having slept, where it can't wait for both, or somebody has begun a message.
    /// Unlike other sleeps this one may last: if a publisher dies between its message and the ring, the message waits until `longest` has passed.
    ///
    /// Cost: a few system calls, and two allocations.
    pub fn sleep_for_run_or(&mut self, own: OwnWord<'_>, longest: Duration) -> bool {
        let awaited = self.awaited();
        let Some(bell) = awaited.announce() else { return false };
        // WAKE: say so, then look; pairs with the light fence after a commit.
        let reached = barrier::heavy();
        if awaited.is_there() {
            return true;
        }
        let doorbell = (&self.log.region, control::DOORBELL, bell);
        let has_slept = reached && !awaited.is_claimed() && futex::wait_any(&[doorbell, own], Some(longest)).is_ok();
        self.subs.slot(self.slot).is_active();
        self.look_round_soon();
        has_slept
    }

    /// Lets what is published pile up for a while: no publisher pays for that, and the next run is the longer.
    ///
    /// Cost: one system call.
    pub fn nap(&mut self, duration: Duration) {
        std::thread::sleep(duration);
        self.look_round_soon();
    }

    /// Where the run ends that begins at the cursor, and how many messages are in it.
    fn walk(&mut self, bytes_max: u64, each: &mut impl FnMut(u64, StateWord, &[u8])) -> (u64, u64) {
        let begin = self.position;
        let (mut end, mut messages) = (begin, 0);
        let lap_end = self.log.geometry.lap_end(begin);
        let fits = |from: u64, next: u64| from == begin || next - begin <= bytes_max;
        while end < lap_end {
            let found = match self.find_usual(end) {
                Some(found) => found,
                None => match self.log.look(end) {
                    Look::Frame(word, next) => self.find_unusual(end, word, next),
                    Look::Padding(next) if fits(end, next) => {
                        end = next;
                        continue;
                    }
                    Look::Padding(_) | Look::Nothing | Look::Strange => break,
                },
            };
            if !fits(end, found.end) {
                break;
            }
            // SAFETY: it is committed, and the cursor in our slot stays before it.
            each(end, found.word, unsafe { self.log.body(end, found.length) });
            (end, messages) = (found.end, messages + 1);
        }
        (end, messages)
    }
}

impl Lossy {
    /// Copies what has been published from here on into `bytes`, as far as it lies in one piece: whole frames, padding among them, of `bytes_max` bytes at
    /// most, but at least one. Returns where they lay; the bytes are the first of `bytes`, which grows if it must.
    ///
    /// Cost: a look at each header, a copy. Errors: [`ReadError`], for what lies at its beginning; after `Lost`, reading goes on at its `to`.
    pub fn poll_run(&mut self, bytes_max: u64, bytes: &mut Vec<u8>) -> Result<Option<Range<u64>>, ReadError> {
        loop {
            let begin = self.position;
            let (end, messages, stopped_by) = self.walk(bytes_max);
            if messages > 0 {
                let length = (end - begin) as usize;
                if bytes.len() < length {
                    bytes.resize(length, 0);
                }
                self.log.ring.copy_out(self.log.geometry.offset(begin), &mut bytes[..length]);
            }
            // OVERTAKEN (acquire fence) pairs with OVERWRITE in reclaim.rs: bytes that were overwritten show a head past them.
            fence(Ordering::Acquire);
            if self.log.head() > begin {
                let lost = Err(self.lost());
                return self.counted(lost).map(|_| None);
            }
            self.position = end;
            if messages > 0 {
                if let Some(observer) = &self.observer {
                    observer.has_read(end, messages);
                }
                return Ok(Some(begin..end));
            }
            // Padding alone was passed over.
            if end == begin {
                match stopped_by {
                    Look::Strange => return Err(self.strange()),
                    _ => self.empty_polls = self.empty_polls.wrapping_add(1),
                }
                if !(self.empty_polls.is_multiple_of(POLLS_PER_LOOK_ROUND) && self.look_round()?) {
                    return Ok(None);
                }
            }
        }
    }

    /// Where the run ends that begins at its position, how many messages are in it, and what stands behind it.
    fn walk(&self, bytes_max: u64) -> (u64, u64, Look) {
        let begin = self.position;
        let (mut end, mut messages) = (begin, 0);
        let lap_end = self.log.geometry.lap_end(begin);
        while end < lap_end {
            let look = self.log.look(end);
            let (next, is_message) = match look {
                Look::Frame(_, next) => (next, true),
                Look::Padding(next) => (next, false),
                Look::Nothing | Look::Strange => return (end, messages, look),
            };
            if messages > 0 && next - begin > bytes_max {
                break;
            }
            end = next;
            messages += u64::from(is_message);
        }
        (end, messages, Look::Nothing)
    }
}

impl Run<'_> {
    /// Where it begins.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.subscriber.position
    }

    /// Where the frame after it begins, or will.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How many messages are in it.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// All of it, headers and padding too.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: every frame of it was found whole, none crosses the lap's end, and the cursor in our slot keeps reclaiming off them
        // as long as `self` lives.
        unsafe { self.subscriber.log.frames(self.subscriber.position, self.end) }
    }

    /// Lets go of it.
    ///
    /// Cost: two stores; a system call if a publisher waits for room.
    pub fn release(self) {
        self.subscriber.release_messages(self.end, self.messages);
    }
}
