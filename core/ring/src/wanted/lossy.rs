//! Lossy subscribers that want some frames only: of the others they copy the extensions, and what they pass over isn't lost.
//!
//! Ordering: OVERTAKEN as in lossy.rs one level up, after each look at a frame.

use super::{Passed, Runs, Wanted, has_extensions, judge, run_bytes};
use crate::error::ReadError;
use crate::extension::{BLOCK_HEADER_BYTES, Malformed};
use crate::layout::{FRAME_HEADER_BYTES, StateWord};
use crate::look::{Look, POLLS_PER_LOOK_ROUND};
use crate::lossy::{Copied, Lossy, bytes_of_mut};
use crate::wait::Wait;
use memlane_shm::sync::{Ordering, fence};
use std::time::Duration;

/// What a look of a lossy subscriber at a frame came to.
enum Step {
    /// It is to be told of: wanted, or malformed. The position is past it.
    Told(Copied, Result<(), Malformed>),
    /// The position is past it.
    PassedOver,
    /// Publishers were faster: what was seen means nothing.
    Overtaken,
    Nothing,
    Strange,
}

impl Lossy {
    /// Copies the next message that is wanted out, if it is there; [`Lossy::body`] then gives it.
    ///
    /// Cost: for each frame before it a copy of its extensions; for this one a copy.
    /// Errors: [`ReadError`]; after `Lost`, reading goes on at its `to`. What was passed over is not lost; of what is lost
    /// nobody can tell whether it was wanted.
    pub fn poll_wanted(&mut self, mut wanted: impl Wanted) -> Result<Option<Copied>, ReadError> {
        let found = self.next_wanted(&mut wanted);
        self.counted(found)
    }

    fn next_wanted(&mut self, wanted: &mut impl Wanted) -> Result<Option<Copied>, ReadError> {
        let end = self.position.saturating_add(self.log.geometry.capacity);
        loop {
            match self.pass(wanted)? {
                Passed::Found(copied) => return Ok(Some(copied)),
                Passed::More if self.position < end => {}
                Passed::More | Passed::Nothing => return Ok(None),
            }
        }
    }

    /// Copies the newest message that is wanted out, if there is one that is newer than the one copied last; what lies between is
    /// left out on purpose, and so is a message that publishers overwrite while the rest is looked at.
    ///
    /// Cost: a copy of the extensions of each frame since the last call, and two copies of the message.
    /// Errors: as for [`Lossy::poll_wanted`], but for `Lost`.
    pub fn poll_latest_wanted(&mut self, mut wanted: impl Wanted) -> Result<Option<Copied>, ReadError> {
        let found = match self.pass_to_latest(&mut wanted)? {
            Passed::Found(copied) => Some(copied),
            Passed::More | Passed::Nothing => None,
        };
        self.counted(Ok(found))
    }

    /// Whether there is a message that is wanted, or an error to be told: a thorough look, also at deaths and removals. The position comes
    /// to it.
    pub fn has_wanted(&mut self, mut wanted: impl Wanted) -> bool {
        let end = self.position.saturating_add(self.log.geometry.capacity);
        while self.position < end {
            let position = self.position;
            match self.step(&mut wanted) {
                Step::PassedOver => {}
                Step::Told(..) | Step::Overtaken | Step::Strange => {
                    self.position = position;
                    return true;
                }
                Step::Nothing => match self.look_round() {
                    Ok(true) if self.position > position => {}
                    other => {
                        // What was told here is told again by the next poll.
                        self.empty_polls |= POLLS_PER_LOOK_ROUND - 1;
                        return other.is_err();
                    }
                },
            }
        }
        false
    }

    /// Waits for the next message that is wanted, for at most `timeout` if there is one; `None` if there was none.
    ///
    /// Errors: as for [`Lossy::poll_wanted`].
    pub fn wait_wanted(
        &mut self,
        mut wanted: impl Wanted,
        wait: Wait,
        timeout: Option<Duration>,
    ) -> Result<Option<Copied>, ReadError> {
        let found = self.wait_for(wait, timeout, |lossy| lossy.pass(&mut wanted));
        self.counted(found)
    }

    /// Waits for a message that is wanted and newer than the one copied last, and copies the newest; for at most `timeout` if
    /// there is one.
    ///
    /// Errors: as for [`Lossy::poll_latest_wanted`].
    pub fn wait_latest_wanted(
        &mut self,
        mut wanted: impl Wanted,
        wait: Wait,
        timeout: Option<Duration>,
    ) -> Result<Option<Copied>, ReadError> {
        let found = self.wait_for(wait, timeout, |lossy| lossy.pass_to_latest(&mut wanted));
        self.counted(found)
    }

    fn wait_for(
        &mut self,
        wait: Wait,
        timeout: Option<Duration>,
        mut pass: impl FnMut(&mut Self) -> Result<Passed<Copied>, ReadError>,
    ) -> Result<Option<Copied>, ReadError> {
        let mut runs = Runs::new(wait, timeout);
        loop {
            let goes_on = match pass(self)? {
                Passed::Found(copied) => return Ok(Some(copied)),
                Passed::Nothing => runs.turns.next(|left| self.sleep(left)),
                Passed::More => runs.next(self.position, self.log.geometry.capacity),
            };
            if !goes_on {
                return Ok(None);
            }
        }
    }

    /// Passes over a run of unwanted frames.
    fn pass(&mut self, wanted: &mut impl Wanted) -> Result<Passed<Copied>, ReadError> {
        let run_end = self.position.saturating_add(run_bytes(&self.log.geometry));
        while self.position < run_end {
            match self.step(wanted) {
                Step::Told(copied, readable) => return told(copied, readable),
                Step::PassedOver => {}
                Step::Overtaken => return Err(self.lost()),
                Step::Strange => return Err(self.strange()),
                Step::Nothing => {
                    if !self.must_look_again()? {
                        return Ok(Passed::Nothing);
                    }
                }
            }
        }
        Ok(Passed::More)
    }

    /// Passes over everything that is there, and then copies the last frame that is wanted.
    fn pass_to_latest(&mut self, wanted: &mut impl Wanted) -> Result<Passed<Copied>, ReadError> {
        let end = self.position.max(self.log.head()).saturating_add(self.log.geometry.capacity);
        let mut latest = None;
        let reached_the_end = loop {
            if self.position >= end {
                break false;
            }
            match self.step(wanted) {
                Step::Told(copied, readable) => latest = Some((copied, readable)),
                Step::PassedOver => {}
                // Left out on purpose.
                Step::Overtaken => {
                    if let error @ ReadError::Forked = self.lost() {
                        return Err(error);
                    }
                }
                Step::Strange if latest.is_none() => return Err(self.strange()),
                // What is wanted first; this stays where it is.
                Step::Strange => break true,
                Step::Nothing => {
                    if latest.is_some() || !self.must_look_again()? {
                        break true;
                    }
                }
            }
        };
        if let Some((copied, readable)) = latest {
            self.copy(copied.position, copied.word);
            if !self.is_overtaken(copied.position) {
                return told(copied, readable);
            }
        }
        Ok(if reached_the_end { Passed::Nothing } else { Passed::More })
    }

    /// Looks at the frame at the position and, if it is there, goes past it. A frame that is wanted is copied.
    #[inline(always)]
    fn step(&mut self, wanted: &mut impl Wanted) -> Step {
        let position = self.position;
        let look = self.log.look(position);
        let verdict = match look {
            Look::Frame(word, _) if has_extensions(word) => {
                self.copy_extensions(position, word);
                let verdict = judge(&self.log.geometry, word, self.body(&Copied { position, word }), wanted);
                if verdict == Ok(true) {
                    self.copy(position, word);
                }
                verdict
            }
            _ => Ok(false),
        };
        if self.is_overtaken(position) {
            return Step::Overtaken;
        }
        match look {
            Look::Frame(word, end) => {
                self.position = end;
                let copied = Copied { position, word };
                match verdict {
                    Ok(true) => Step::Told(copied, Ok(())),
                    Ok(false) => Step::PassedOver,
                    Err(malformed) => Step::Told(copied, Err(malformed)),
                }
            }
            Look::Padding(end) => {
                self.position = end;
                Step::PassedOver
            }
            Look::Nothing => Step::Nothing,
            Look::Strange => Step::Strange,
        }
    }

    /// Whether what was read of the frame at `position` may have been overwritten meanwhile.
    #[inline(always)]
    fn is_overtaken(&self, position: u64) -> bool {
        // OVERTAKEN (acquire fence) pairs with OVERWRITE in reclaim.rs: bytes that were overwritten show a head past them.
        fence(Ordering::Acquire);
        self.log.head() > position
    }

    /// Copies what comes before the payload of a frame with extensions, as far as its lengths can be believed.
    #[inline(always)]
    fn copy_extensions(&mut self, position: u64, word: StateWord) {
        let geometry = &self.log.geometry;
        let (start, body_at) = (geometry.offset(position), FRAME_HEADER_BYTES as usize);
        let body_end = body_at + word.length() as usize;
        // Where the block begins: behind the stamp, aligned like the payload of a frame that has none.
        let block_at = geometry.payload_at as usize;
        let lengths_end = body_end.min(block_at + BLOCK_HEADER_BYTES);
        let buffer = bytes_of_mut(&mut self.buffer);
        self.log.ring.copy_out(start + body_at, &mut buffer[body_at..lengths_end]);
        let Some(block_bytes) = buffer[block_at..lengths_end].first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
        else {
            return;
        };
        let block_end = block_at.saturating_add(block_bytes as usize);
        if block_end <= body_end {
            self.log.ring.copy_out(start + block_at, &mut buffer[block_at..block_end]);
        }
    }

    /// After a look at nothing: as for [`Lossy::poll`].
    fn must_look_again(&mut self) -> Result<bool, ReadError> {
        self.empty_polls = self.empty_polls.wrapping_add(1);
        Ok(self.empty_polls.is_multiple_of(POLLS_PER_LOOK_ROUND) && self.look_round()?)
    }
}

/// A frame that is wanted, or what is wrong with it.
fn told(copied: Copied, readable: Result<(), Malformed>) -> Result<Passed<Copied>, ReadError> {
    match readable {
        Ok(()) => Ok(Passed::Found(copied)),
        Err(Malformed) => Err(ReadError::Malformed { position: copied.position }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::{Block, Fields};
    use crate::lossy::bytes_of;
    use crate::{Start, Topic, TopicOptions};
    use memlane_shm::MapOptions;

    #[test]
    fn of_a_frame_that_is_not_wanted_a_lossy_subscriber_copies_the_extensions_alone() {
        let root = tempfile::tempdir_in("/dev/shm").unwrap();
        let (map, permissions) = (MapOptions::default(), crate::Permissions::default());
        for stamps in [false, true] {
            let options = TopicOptions { stamps, capacity: 1 << 16, ..TopicOptions::default() };
            let path = root.path().join(if stamps { "stamps" } else { "plain" });
            let topic = Topic::create(&path, &options, &permissions, &map).unwrap();
            let mut lossy = topic.lossy(&map, Start::Live).unwrap();
            let mut publisher = topic.publisher(&map, Duration::ZERO).unwrap();
            let mut block = Block::default();
            block.key(b"key").unwrap();
            publisher.publish(block.finish(8), &[0xaa; 300]).unwrap();
            publisher.publish(&[], &[0xaa; 300]).unwrap();
            let found = lossy.poll_wanted(|fields: &Fields<'_>| {
                assert_eq!(fields.key(), Ok(Some(&b"key"[..])));
                Ok(false)
            });
            assert_eq!(found, Ok(None));
            assert!(!bytes_of(&lossy.buffer).windows(8).any(|bytes| bytes == [0xaa; 8]));
            publisher.publish(block.finish(8), &[0xaa; 300]).unwrap();
            let found = lossy.poll_latest_wanted(|_: &Fields<'_>| Ok(true)).unwrap().expect("it is wanted");
            assert!(lossy.body(&found).ends_with(&[0xaa; 300]));
        }
    }
}
