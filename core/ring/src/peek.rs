//! Messages that are looked at before they are taken: for those who tell by its extensions what a message is for.
//!
//! The cursor stays before the message meanwhile, so it is held in place as a frame is.
//! Ordering: as in read.rs and wait.rs.

use crate::error::ReadError;
use crate::layout::{LINE_BYTES, StateWord, slot};
use crate::read::Gated;
use memlane_shm::sync::{Ordering, spin_hint};

impl Gated {
    /// Polls up to `polls` times whether there is a message, and leaves it where it is. `misses` counts the polls of one wait that found
    /// nothing, over all calls for it: the first of them begins when a message usually comes.
    ///
    /// Cost: as of a wait that finds a message, or doesn't, after so many polls; never enters the kernel but to ask after the dead.
    /// Errors: as for [`Gated::poll`].
    #[inline(always)]
    pub fn poll_for(&mut self, misses: &mut u32, polls: u32) -> Result<bool, ReadError> {
        if *misses == 0 {
            self.first_look.hold_off();
        }
        for _ in 0..polls {
            if self.usual.spans_lines() {
                // Asked for together with the header, it comes together with it.
                self.log.ring.prefetch_for_read(self.log.geometry.offset(self.position) + LINE_BYTES as usize);
            }
            if self.find()?.is_some() {
                self.first_look.learn(*misses);
                return Ok(true);
            }
            *misses = misses.saturating_add(1);
            spin_hint();
        }
        Ok(false)
    }

    /// The next message, if it is there: its state word, and everything after its header. The next call finds it again.
    ///
    /// Errors: as for [`Gated::poll`].
    #[inline(always)]
    pub fn peek(&mut self) -> Result<Option<(StateWord, &[u8])>, ReadError> {
        let Some(found) = self.find()? else { return Ok(None) };
        // SAFETY: it is committed, and the cursor in our slot keeps reclaiming off it as long as `self` is borrowed.
        Ok(Some((found.word, unsafe { self.log.body(self.position, found.length) })))
    }

    /// Passes over the next message, if it is there.
    ///
    /// Errors: as for [`Gated::poll`].
    #[inline(always)]
    pub fn skip(&mut self) -> Result<(), ReadError> {
        self.poll().map(drop)
    }

    /// Whether a publisher ever came to this slot.
    ///
    /// Cost: a load.
    #[must_use]
    pub fn has_publisher_come(&self, slot: u32) -> bool {
        // Acquire: who sees that it came sees what it did before.
        self.log.slot(slot).word(slot::INCARNATION).load(Ordering::Acquire) > 0
    }
}
