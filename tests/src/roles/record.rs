//! A recorder.

use super::{Prompt, say, say_ready};
use crate::role::{Record, Report};
use memlane::journal::{
    Compaction, Compression, Disk, Entry, From, Journal, OnFailure, RecorderOptions, Retention, SyncPolicy,
};
use std::path::Path;
use std::sync::Arc;

/// Records until told to stop; answers with the position where the journal ends.
pub(super) fn play(plan: &Record) -> anyhow::Result<()> {
    let Record { place, directory, sync, go_on, restore, keep_bytes, shrink } = plan;
    let topic = if *restore { place.bus()?.topic(&place.topic)?.open_or_restore(directory)? } else { place.open()? };
    let sync = if *sync { SyncPolicy::Batch } else { SyncPolicy::None };
    let on_failure = if *go_on { OnFailure::GoOn } else { OnFailure::Hold };
    // Small segments, so that it rolls all the time.
    let retention = Retention { bytes: *keep_bytes, ..Retention::default() };
    let (compression, compaction) = (shrink.then(Compression::default), shrink.then(Compaction::default));
    let options = RecorderOptions { sync, on_failure, segment_bytes: 256 << 10, retention, compression, compaction };
    let (mut recorder, _) = topic.record(directory, options)?;
    let prompt = Prompt::listen();
    say_ready()?;
    recorder.run(&prompt.flags.stop, |_, turn| eprintln!("{turn:?}"))?;
    say(&Report::Answer(Ok(recorder.end())))
}

/// Commits the positions behind the messages of a journal, from the offset `name` on, and says each.
pub(super) fn commit(directory: &Path, name: &str) -> anyhow::Result<()> {
    let journal = Journal::open(Arc::new(Disk), directory)?;
    let mut offset = journal.offset(name)?;
    let mut reader = journal.read(offset.position().map_or(From::Earliest, From::Position))?;
    while let Some(entry) = reader.next()? {
        let Entry::Message(message) = entry else { continue };
        // What is to be done with the message is done before its commit.
        say(&Report::Answer(Ok(message.position)))?;
        let end = reader.position();
        offset.commit(end)?;
    }
    say(&Report::Answer(Ok(u64::MAX)))
}

/// How many messages of a journal come before each position that is saved.
pub(super) fn save(directory: &Path, name: &str) -> anyhow::Result<()> {
    let journal = Journal::open(Arc::new(Disk), directory)?;
    let mut snapshots = journal.snapshots(name)?;
    let loaded = snapshots.load()?;
    let mut count =
        loaded.as_ref().map_or(0, |snapshot| u64::from_le_bytes(snapshot.state[..8].try_into().unwrap_or_default()));
    let mut reader = journal.read(loaded.map_or(From::Earliest, |snapshot| From::Position(snapshot.position)))?;
    while let Some(entry) = reader.next()? {
        let Entry::Message(_) = entry else { continue };
        count += 1;
        if count.is_multiple_of(5) {
            // Of different lengths, and more than a page.
            let mut state = vec![count as u8; 8 + (count as usize % 7) * 1000];
            state[..8].copy_from_slice(&count.to_le_bytes());
            let position = reader.position();
            snapshots.save(position, &state)?;
            say(&Report::Answer(Ok(position)))?;
        }
    }
    say(&Report::Answer(Ok(u64::MAX)))
}
