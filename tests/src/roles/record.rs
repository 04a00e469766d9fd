//! A recorder.

use super::{Prompt, say, say_ready};
use crate::role::{Place, Report};
use memlane::journal::{RecorderOptions, SyncPolicy};
use std::path::Path;

/// Records until told to stop; answers with the position where the journal ends.
pub(super) fn play(place: &Place, directory: &Path, sync: bool, restore: bool) -> anyhow::Result<()> {
    let topic = if restore { place.bus()?.topic(&place.topic)?.open_or_restore(directory)? } else { place.open()? };
    let sync = if sync { SyncPolicy::Batch } else { SyncPolicy::None };
    // Small segments, so that it rolls all the time.
    let options = RecorderOptions { sync, segment_bytes: 256 << 10, ..RecorderOptions::default() };
    let (mut recorder, _) = topic.record(directory, options)?;
    let prompt = Prompt::listen();
    say_ready()?;
    recorder.run(&prompt.flags.stop, |_, turn| eprintln!("{turn:?}"))?;
    say(&Report::Answer(Ok(recorder.end())))
}
