//! A recorder.

use super::{Prompt, say, say_ready};
use crate::role::{Place, Report};
use memlane::journal::{Disk, Entry, From, Journal, RecorderOptions, Retention, SyncPolicy};
use std::path::Path;
use std::sync::Arc;

/// Records until told to stop; answers with the position where the journal ends.
pub(super) fn play(
    place: &Place,
    directory: &Path,
    sync: bool,
    restore: bool,
    keep_bytes: Option<u64>,
) -> anyhow::Result<()> {
    let topic = if restore { place.bus()?.topic(&place.topic)?.open_or_restore(directory)? } else { place.open()? };
    let sync = if sync { SyncPolicy::Batch } else { SyncPolicy::None };
    // Small segments, so that it rolls all the time.
    let retention = Retention { bytes: keep_bytes, ..Retention::default() };
    let options = RecorderOptions { sync, segment_bytes: 256 << 10, retention, ..RecorderOptions::default() };
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
