//! `memlane journal prune`: giving up the oldest segments.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use memlane::journal::{Pruned, Retention};

use super::super::ending::{Ending, complain};
use super::super::units;

const AFTER_HELP: &str = "\
Whole segments go, the oldest first, as soon as one of the limits that are given doesn't ask for them; the newest stays. What an offset still needs \
stays too (see `memlane offsets ls`), unless --past-offsets is given: its reader is then told what it missed. While a journal is recorded, give the \
limits to `memlane record`.";

/// Give up the oldest of what is recorded
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Prune {
    /// A journal, or a directory of journals
    directory: PathBuf,
    #[command(flatten)]
    keep: Keep,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::commands) struct Keep {
    /// Keep at least the last so many bytes of the log
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    keep_bytes: Option<u64>,
    /// Keep at least what was published in so long a time: 12h, 7days
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    keep_age: Option<Duration>,
    /// Keep at least the last so many messages
    #[arg(long, value_name = "N", value_parser = units::parse_count)]
    keep_messages: Option<u64>,
    /// Give up also what an offset still needs
    #[arg(long)]
    past_offsets: bool,
}

impl Keep {
    pub(in crate::commands) fn retention(self) -> Retention {
        let Self { keep_bytes: bytes, keep_age: age, keep_messages: messages, past_offsets } = self;
        Retention { bytes, age, messages, past_offsets }
    }
}

impl Prune {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        let retention = self.keep.retention();
        anyhow::ensure!(
            retention.is_limited(),
            "nothing says what to keep: give --keep-bytes, --keep-age or --keep-messages"
        );
        for (topic, path) in super::journals(&self.directory)? {
            let Pruned { segments, begin, messages, held_by } = super::open(&path)?.prune(&retention)?;
            let held = held_by.map_or_else(String::new, |name| format!("; the offset {name} holds the rest"));
            let (count, of_them) = (units::count(messages), if segments == 1 { "segment" } else { "segments" });
            complain(&format!("{topic}: {segments} {of_them} given up, {count} messages; it begins at {begin}{held}"));
        }
        Ok(Ending::Done)
    }
}
