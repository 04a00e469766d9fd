//! Where a subscriber begins, and how a gated one takes its slot.
//!
//! A joiner first holds everything (its slot says "joining"), then reads the head, then chooses a place at or past it, and
//! then holds from there. The fence between the first two pairs with the one in reclaim.rs: either the joiner sees
//! a head that has moved, or the reclaimer sees the joiner.

use crate::layout::{slot, subs};
use crate::memory::{Log, Subs};
use memlane_shm::LockFile;
use memlane_shm::crash_point;
use memlane_shm::sync::{Ordering, fence};

/// Where a subscriber begins to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the next message that is published.
    #[default]
    Live,
    /// With the newest message that is there, if there is one.
    Latest,
    /// With the oldest message that is still whole.
    Earliest,
    /// With the message at this position.
    Position(u64),
}

/// Why no place could be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// The position asked for isn't in the log, or is within a frame.
    NotThere { from: u64, to: u64 },
    /// There are bytes that no publisher writes.
    Corrupt { position: u64 },
}

/// The place to begin, at or past `head`, from which on nothing may be reclaimed meanwhile.
pub(crate) fn place(log: &Log, head: u64, start: Start) -> Result<u64, NoPlace> {
    let newest = |from| log.newest(from).ok_or(NoPlace::Corrupt { position: from });
    match start {
        Start::Earliest => Ok(head),
        Start::Live => Ok(newest(log.hint(head))?.1),
        Start::Latest => {
            let (last, end) = newest(log.hint(head))?;
            Ok(last.unwrap_or(end))
        }
        Start::Position(wanted) => {
            let near = log.hint(head);
            let end = newest(near)?.1;
            let from = if near <= wanted { near } else { head };
            if head <= wanted && wanted <= end && log.each_boundary(from, wanted, |_| ()) == wanted {
                Ok(wanted)
            } else {
                Err(NoPlace::NotThere { from: head, to: end })
            }
        }
    }
}

/// Takes a free slot, if there is one, and puts the cursor where the subscriber begins; gives both.
///
/// `locks` is a description of the file `subs` of the subscriber's own.
pub(crate) fn join(
    log: &Log,
    subscribers: &Subs,
    locks: &LockFile,
    start: Start,
) -> Result<Option<(u32, u64)>, JoinError> {
    let Some(slot) = take_slot(log, subscribers, locks)? else { return Ok(None) };
    crash_point!("join.announced");
    // JOIN pairs with the fence in reclaim.rs.
    fence(Ordering::SeqCst);
    let found = place(log, log.head(), start);
    let cursor = subscribers.cursor(slot);
    match found {
        Ok(position) => {
            cursor.store(position + 1, Ordering::Release);
            crash_point!("join.gated");
            Ok(Some((slot, position)))
        }
        Err(none) => {
            cursor.store(0, Ordering::Release);
            subscribers.slot(slot).leave();
            let _ = locks.unlock(slot);
            Err(JoinError::NoPlace(none))
        }
    }
}

/// Locks a free slot and has it hold everything.
fn take_slot(log: &Log, subscribers: &Subs, locks: &LockFile) -> std::io::Result<Option<u32>> {
    // Twice: whoever clears up after a dead one has its lock for a moment.
    for slot in (0..subscribers.slots_max()).chain(0..subscribers.slots_max()) {
        if locks.try_lock(slot)? {
            subscribers.control(subs::SLOTS_USED).fetch_max(u64::from(slot) + 1, Ordering::AcqRel);
            subscribers.cursor(slot).store(slot::JOINING, Ordering::Release);
            crate::label::clear(&subscribers.region, log.geometry.subscriber_label_at(slot));
            #[cfg(not(loom))]
            crate::durable::forget_recorder(subscribers, slot);
            subscribers.slot(slot).arrive(subscribers.messages(slot).load(Ordering::Relaxed), 0);
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

/// The two ways in which joining fails.
#[derive(Debug)]
pub(crate) enum JoinError {
    System(std::io::Error),
    NoPlace(NoPlace),
}

impl From<std::io::Error> for JoinError {
    fn from(error: std::io::Error) -> Self {
        Self::System(error)
    }
}
