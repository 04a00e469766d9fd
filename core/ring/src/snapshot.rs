//! Who is on a topic, and how far.

use crate::error::TopicError;
use crate::layout::{publisher_slot, status};
use crate::topic::{LOG_FILE, SUBS_FILE, Topic};
use memlane_shm::sync::Ordering;
use memlane_shm::{Access, LockFile, MapOptions, SegmentError};

/// One who takes part in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Its slot.
    pub slot: u32,
    /// Its process id, in its own namespace.
    pub pid: u64,
    /// Where a subscriber reads next; `None` for publishers, and while joining.
    pub position: Option<u64>,
}

/// A topic at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The oldest position that can still be read.
    pub head: u64,
    /// The end of what was published.
    pub tail: u64,
    /// Claims of dead publishers that were turned into padding.
    pub abandoned: u64,
    /// The living publishers.
    pub publishers: Vec<Participant>,
    /// The living subscribers with a slot.
    pub subscribers: Vec<Participant>,
}

impl Topic {
    /// Who is there and how far, as far as this process may know.
    ///
    /// Cost: a few system calls for each participant. Errors: [`TopicError`].
    pub fn snapshot(&self) -> Result<Snapshot, TopicError> {
        let log = self.map_log(Access::ReadOnly, &MapOptions::default())?;
        let head = log.head();
        let publishers = self.locks(LOG_FILE, Access::ReadOnly)?;
        let held = |locks: &LockFile, slot| locks.is_held_by_another(slot).unwrap_or(false);
        let participant = |slot, pid: u64, position| Participant { slot, pid, position };
        let publishing = (0..self.geometry.publishers_max)
            .filter(|slot| held(&publishers, *slot))
            .map(|slot| participant(slot, log.publisher(slot, publisher_slot::PID).load(Ordering::Relaxed), None))
            .collect();
        let subscribers = match self.map_subs_for(Access::ReadOnly) {
            Ok(subs) => {
                let locks = self.locks(SUBS_FILE, Access::ReadOnly)?;
                (0..subs.slots_used())
                    .filter(|slot| held(&locks, *slot))
                    .map(|slot| {
                        let position = subs.cursor(slot).load(Ordering::Acquire).checked_sub(1);
                        participant(slot, subs.pid(slot).load(Ordering::Relaxed), position)
                    })
                    .collect()
            }
            Err(TopicError::Segment(SegmentError::NoPermission { .. })) => Vec::new(),
            Err(error) => return Err(error),
        };
        let tail = log.newest(log.hint(head)).map_or(head, |(_, end)| end);
        let abandoned = log.control(status::ABANDONED).load(Ordering::Relaxed);
        Ok(Snapshot { head, tail, abandoned, publishers: publishing, subscribers })
    }
}
