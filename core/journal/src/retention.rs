//! Giving up the oldest segments: the manifest first, then the files, so that what dies in between leaves files that the next writer removes.

use crate::error::JournalError;
use crate::layout::{LOCK_FILE, segment_name};
use crate::manifest::Manifest;
use crate::read::Journal;
use crate::seek;
use crate::storage::Storage;
use memlane_shm::{clock, crash_point};
use std::io;
use std::time::Duration;

/// How much of a journal is kept. A segment is given up as soon as one limit that is given doesn't ask for it, and never while it is the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// At least the last so many bytes of the log.
    pub bytes: Option<u64>,
    /// At least what was published in so long a time.
    pub age: Option<Duration>,
    /// At least the last so many messages.
    pub messages: Option<u64>,
    /// Also what an offset or the oldest of some snapshots still needs: its reader is then told what it missed. Default: each holds everything from its position on.
    pub past_offsets: bool,
}

/// What was given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many segments.
    pub segments: usize,
    /// Where the journal begins now.
    pub begin: u64,
    /// How many messages were in them.
    pub messages: u64,
    /// The offset that holds what else would have been given up, if one does.
    pub held_by: Option<String>,
}

impl Retention {
    /// Whether it limits anything.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.bytes.is_some() || self.age.is_some() || self.messages.is_some()
    }

    /// Whether what lies before `next`, the begin of a segment, may go, in a journal that ends at `end`.
    fn lets_go(&self, next: &seek::Mark, end: &seek::Mark, now_unix_ns: u64) -> bool {
        let age_ns = |age: Duration| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        self.bytes.is_some_and(|bytes| end.end.saturating_sub(next.end) >= bytes)
            || self.messages.is_some_and(|messages| end.messages.saturating_sub(next.messages) >= messages)
            || self.age.is_some_and(|age| next.highest_unix_ns < now_unix_ns.saturating_sub(age_ns(age)))
    }
}

impl Journal {
    /// Gives up the oldest segments, as far as `retention` lets them go; nobody may record meanwhile, for whom [`RecorderOptions`](crate::RecorderOptions) do it.
    ///
    /// Cost: some ten system calls for each segment that goes. Errors: [`JournalError`]; [`JournalError::Locked`] if somebody records.
    pub fn prune(&self, retention: &Retention) -> Result<Pruned, JournalError> {
        let path = self.directory().join(LOCK_FILE);
        let lock = self.storage().lock(&path).map_err(JournalError::of(&path, "lock it"))?;
        let _lock = lock.ok_or_else(|| JournalError::Locked { path: self.directory().to_path_buf() })?;
        // As it is now that nobody changes it.
        let journal = Self::open(self.storage().clone(), self.directory())?;
        let mut manifest = journal.manifest().clone();
        prune(&journal, &mut manifest, retention)
    }
}

/// The same for whoever has the lock, and `manifest`, which is the journal's.
pub(crate) fn prune(journal: &Journal, manifest: &mut Manifest, retention: &Retention) -> Result<Pruned, JournalError> {
    let segments = journal.segments()?;
    let newest = journal.segment(segments[segments.len() - 1])?;
    let end = seek::last_mark(&newest)?;
    let first_messages = seek::begin_mark(&journal.segment(segments[0])?)?.messages;
    let offsets = journal.offsets()?.into_iter().map(|(name, committed)| (committed.map_or(0, |at| at.position), name));
    let snapshots = journal.all_snapshots()?.into_iter();
    let snapshots = snapshots.filter_map(|(name, positions)| Some((*positions.first()?, format!("snapshots/{name}"))));
    let needed = offsets.chain(snapshots).min();
    let mut pruned = Pruned { begin: segments[0], ..Pruned::default() };
    for begin in &segments[1..] {
        let next = seek::begin_mark(&journal.segment(*begin)?)?;
        if !retention.lets_go(&next, &end, clock::unix_ns()) {
            break;
        }
        if let Some((position, name)) = needed.as_ref().filter(|_| !retention.past_offsets)
            && *position < *begin
        {
            pruned.held_by = Some(name.clone());
            break;
        }
        pruned.segments += 1;
        (pruned.begin, pruned.messages) = (*begin, next.messages.saturating_sub(first_messages));
    }
    if pruned.segments > 0 {
        // It may not be yet, where nobody asks for syncs.
        let first = journal.segment(pruned.begin)?;
        first.file.sync().map_err(JournalError::of(&first.path, "sync it"))?;
        manifest.first = pruned.begin;
        // One of the newest, but none that goes.
        manifest.newest = manifest.newest.max(pruned.begin);
        manifest.replace(journal.storage().as_ref(), journal.directory())?;
        crash_point!("journal.pruning");
        for begin in &segments[..pruned.segments] {
            remove(journal.storage().as_ref(), journal, *begin)?;
        }
    }
    Ok(pruned)
}

fn remove(storage: &dyn Storage, journal: &Journal, begin: u64) -> Result<(), JournalError> {
    let path = journal.directory().join(segment_name(begin));
    match storage.remove(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(JournalError::of(&path, "remove it")(error)),
        _ => Ok(()),
    }
}
