//! `memlane journal compress` and `compact`: less room for what is recorded.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use memlane::journal::{Compaction, Compressed, Compression};

use super::super::ending::{Ending, complain};
use super::super::units;

const COMPRESS_AFTER_HELP: &str = "\
Segments are compressed with Zstandard, in blocks of 64 KiB, so that a reader decompresses hardly more than it reads. Positions, times and offsets stay, and \
everything reads a compressed journal as it reads another one. While a journal is recorded, give --compress to `memlane record`.

Examples:
  memlane journal compress /var/lib/memlane
  memlane journal compress /var/lib/memlane/md.trades --level 19";

const COMPACT_AFTER_HELP: &str = "\
A message goes that is followed by another one of its key. Messages without a key stay. A message of a key without payload says that the key is gone: it goes \
too, a day after it was published, or as --keep-deletions says, so that who reads on hears of it. What stays, stays at its position. All of it is compressed. While a journal is recorded, give \
--compact to `memlane record`.

Examples:
  memlane journal compact /var/lib/memlane/settings
  memlane journal compact /var/lib/memlane/orders.open --keep-deletions 7days";

/// Compress what is recorded
#[derive(Debug, Args)]
#[command(after_help = COMPRESS_AFTER_HELP)]
pub(super) struct Compress {
    /// A journal, or a directory of journals
    directory: PathBuf,
    /// How hard to try: 1, the quickest, to 22
    #[arg(long, value_name = "N", default_value_t = Compression::default().level)]
    level: u8,
}

/// Keep the last message of each key
#[derive(Debug, Args)]
#[command(after_help = COMPACT_AFTER_HELP)]
pub(super) struct Compact {
    /// A journal, or a directory of journals
    directory: PathBuf,
    /// How hard to try to compress: 1, the quickest, to 22
    #[arg(long, value_name = "N", default_value_t = Compression::default().level)]
    level: u8,
    /// Keep a deletion for so long a time
    #[arg(long, value_name = "TIME", default_value = "1day", value_parser = units::parse_duration)]
    keep_deletions: Duration,
}

/// What a recorder does with what it has recorded.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::commands) struct Shrink {
    /// Compress each segment that is full, with this level: 1, the quickest, to 22
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    compress: Option<u8>,
    /// Keep the last message of each key of what is full: see `memlane journal compact --help`
    #[arg(long)]
    compact: bool,
    /// Keep a deletion for so long a time
    #[arg(long, value_name = "TIME", default_value = "1day", requires = "compact", value_parser = units::parse_duration)]
    keep_deletions: Duration,
}

impl Shrink {
    pub(in crate::commands) fn compression(self) -> Option<Compression> {
        self.compress.map(|level| Compression { level })
    }

    pub(in crate::commands) fn compaction(self) -> Option<Compaction> {
        self.compact.then_some(Compaction { deletions_kept: self.keep_deletions })
    }
}

impl Compress {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        for (topic, path) in super::journals(&self.directory)? {
            tell(&topic, super::open(&path)?.compress(Compression { level: self.level })?);
        }
        Ok(Ending::Done)
    }
}

impl Compact {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        let compaction = Compaction { deletions_kept: self.keep_deletions };
        for (topic, path) in super::journals(&self.directory)? {
            tell(&topic, super::open(&path)?.compact(compaction, Compression { level: self.level })?);
        }
        Ok(Ending::Done)
    }
}

fn tell(topic: &str, compressed: Compressed) {
    let Compressed { segments, bytes_before, bytes_after, left_out } = compressed;
    let of_them = if segments == 1 { "segment" } else { "segments" };
    let (before, after) = (units::bytes(bytes_before), units::bytes(bytes_after));
    let gone = if left_out > 0 { format!(", {} messages left out", units::count(left_out)) } else { String::new() };
    complain(&match segments {
        0 => format!("{topic}: nothing to do"),
        _ => format!("{topic}: {segments} {of_them} compressed, {before} to {after}{gone}"),
    });
}
