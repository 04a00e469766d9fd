//! A topic goes: by whoever removes it, after the death of its maker or its remover, or because its memory went before.

use crate::error::TopicError;
use crate::layout::status;
use crate::topic::{LOG_FILE, Topic, bus_of, not_found, note_change};
use crate::wake;
use memlane_shm::segment::{is_at, open_locks};
use memlane_shm::sync::Ordering;
use memlane_shm::{Access, MapOptions, SegmentError, directory, named};
use std::path::Path;
use std::time::Duration;

/// The lock on a topic's `log` of who removes it because its memory is gone: no publisher's.
const LOST_LOCK: u32 = u32::MAX;

impl Topic {
    /// Removes the topic in the directory `path`: its name at once, its files when the last participant leaves. Participants are told,
    /// as far as this process may write to the files, once the name is gone. One that can't be read is removed all the same.
    ///
    /// Cost: about 20 system calls. Errors: [`TopicError`]; then it is there as before, and nobody was told anything.
    pub fn remove(path: &Path) -> Result<(), TopicError> {
        directory::remove(path, Self::take_leave).map_err(|error| not_found(path, error))?;
        note_change(bus_of(path));
        Ok(())
    }

    /// Removes what dead makers and removers of topics left half-done in the directory `parent`, and tells participants in a dead
    /// remover's stead; returns how many directories that were.
    ///
    /// Errors: [`TopicError`] if `parent` can't be read; what can't be removed is left.
    pub fn remove_abandoned(parent: &Path) -> Result<usize, TopicError> {
        Ok(directory::remove_abandoned(parent, Self::take_leave)?)
    }

    /// Removes the topic in the directory `path` if its named segments are gone, as after a restart of the host; whether it did.
    ///
    /// Of several who try at once one does, and none removes a topic that is made in its place meanwhile; unless somebody else removes it by
    /// [`Topic::remove`] and makes it anew at the very same moment. Errors: [`TopicError`]; then it is there as before.
    pub fn remove_lost(path: &Path) -> Result<bool, TopicError> {
        let log = path.join(LOG_FILE);
        let failed = |error| SegmentError::of(&log, "lock it", error);
        let locks = match open_locks(&log, Access::ReadWrite) {
            Err(SegmentError::NotFound { .. }) => return Ok(false),
            locks => locks?,
        };
        if !locks.try_lock(LOST_LOCK).map_err(failed)? {
            // Whoever has it is at it.
            std::thread::sleep(Duration::from_millis(1));
            return Ok(false);
        }
        let is_lost = matches!(named::check_memory(&log, locks.file()), Err(SegmentError::Lost { .. }));
        if !is_at(&log, locks.file()) || !is_lost {
            return Ok(false);
        }
        Self::remove(path).map(|()| true)
    }

    /// Tells those who have the topic mapped, whose files lie in the directory `hidden` by now, that it is removed.
    fn take_leave(hidden: &Path) {
        let mapped = Self::open(hidden)
            .and_then(|topic| Ok((topic.map_log(Access::ReadWrite, &MapOptions::default())?, topic.map_subs()?)));
        // Who may not write the files may still remove the directory; then nobody is told.
        if let Ok((log, subs)) = mapped {
            log.control(status::REMOVED).store(1, Ordering::Release);
            wake::ring_for_good(&log, &subs);
            wake::ring_publishers(&subs);
        }
    }
}
