//! Brings the table forward, before the head moves past frames. Cold: with room, by the one publisher or the holder of the lease.

use super::Table;
use super::layout::DAMAGED;
use super::table::Damaged;
use crate::extension::Parts;
use crate::layout::{FLAG_EXTENSIONS, StateWord};
use crate::look::Look;
use crate::memory::Log;
use memlane_shm::crash_point;
use memlane_shm::sync::{Ordering, fence};

impl Table {
    /// Folds the frames of `log` up to `to`, where one begins, that are not folded yet. Only whoever moves the head may call it, and
    /// before it does.
    ///
    /// Where the table or the log hold what no publisher writes, the table is given up, for good; the log is not held up by it.
    pub(crate) fn fold(&self, log: &Log, to: u64) {
        // FOLDED (acquire): what the folder before this one wrote is written over.
        let from = self.folded().load(Ordering::Acquire);
        // What was given up is never behind.
        if from >= to {
            return;
        }
        let folded = self.fold_frames(log, from, to).map_or(DAMAGED, |()| to);
        crash_point!("fold.before");
        // FOLDED (release) pairs with the acquire above and in read.rs.
        self.folded().store(folded, Ordering::Release);
        crash_point!("fold.after");
    }

    fn fold_frames(&self, log: &Log, from: u64, to: u64) -> Result<(), Damaged> {
        // Below the head others may write.
        if !log.geometry.is_cell(from) || from < log.head() {
            return Err(Damaged);
        }
        let mut position = from;
        while position < to {
            position = match log.look(position) {
                Look::Frame(word, end) => {
                    self.fold_frame(log, position, word)?;
                    end
                }
                Look::Padding(end) => end,
                Look::Nothing | Look::Strange => return Err(Damaged),
            };
        }
        if position == to { Ok(()) } else { Err(Damaged) }
    }

    fn fold_frame(&self, log: &Log, position: u64, word: StateWord) -> Result<(), Damaged> {
        if word.flags() & FLAG_EXTENSIONS == 0 || word.length() > self.places.body_max {
            return Ok(());
        }
        // SAFETY:
        // - `look` found the frame.
        // - It lies at or past the head, which nobody but this publisher moves, and so nobody overwrites it.
        let body = unsafe { log.body(position, word.length()) };
        let key = Parts::of(&log.geometry, word, body).and_then(|parts| parts.fields.key());
        let Ok(Some(key)) = key else { return Ok(()) };
        // A key that isn't there was published by nobody who keeps to the rules.
        let Ok(number) = self.find(key)? else { return Ok(()) };
        // REPLACED: the position, a fence, the bytes; read.rs has them the other way round.
        self.position(number).store(position + 1, Ordering::Release);
        fence(Ordering::Release);
        self.state(number).store(word.0, Ordering::Relaxed);
        crash_point!("fold.half");
        self.region.copy_in(self.places.body_at(number), body);
        Ok(())
    }
}
