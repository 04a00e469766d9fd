//! `memlane journal`: what is recorded, looked at, checked, printed, exported, pruned, compressed and repaired.

mod compress;
mod dump;
mod export;
mod list;
mod prune;
mod repair;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use memlane::journal::{Disk, From, Gap, GapReason, Journal};

use super::ending::Ending;
use super::units;
pub(super) use compress::Shrink;
pub(super) use prune::Keep;

const AFTER_HELP: &str = "\
A DIRECTORY is a topic's journal, or one that holds the journals of several, as `memlane record --to` was given. A journal may be \
looked at while it is recorded.

Examples:
  memlane journal ls /var/lib/memlane
  memlane journal verify /var/lib/memlane
  memlane journal dump /var/lib/memlane/md.trades --since 2026-11-25T14:30:00Z --count 10";

/// Look after what is recorded: list, check, print, export, prune, compress, repair
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, arg_required_else_help = true)]
pub(super) struct JournalCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    #[command(name = "ls")]
    List(list::List),
    Verify(verify::Verify),
    Dump(dump::Dump),
    Export(export::Export),
    Prune(prune::Prune),
    Compress(compress::Compress),
    Compact(compress::Compact),
    Repair(repair::Repair),
}

/// Where to begin to read.
#[derive(Clone, Debug, Args)]
pub(super) struct Begin {
    /// Begin at this position, or with the message behind it
    #[arg(long, value_name = "POSITION", conflicts_with_all = ["since", "last"])]
    from: Option<u64>,
    /// Begin with the first message that was published at this time, or after it: 2026-11-25T14:30:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "last")]
    since: Option<u64>,
    /// Begin with the last so many messages
    #[arg(long, value_name = "N", value_parser = units::parse_count)]
    last: Option<u64>,
    /// Begin where the offset of this name is; with the oldest message, if nothing was committed to it
    #[arg(long, value_name = "NAME", conflicts_with_all = ["from", "since", "last"])]
    offset: Option<String>,
}

impl Begin {
    pub(super) fn from(&self, journal: &Journal) -> anyhow::Result<From> {
        if let Some(name) = &self.offset {
            let found = journal.offsets()?.into_iter().find(|(found, _)| found == name);
            let Some((_, committed)) = found else {
                anyhow::bail!("{}: there is no offset {name}: see `memlane offsets ls`", journal.directory().display())
            };
            return Ok(committed.map_or(From::Earliest, |committed| From::Position(committed.position)));
        }
        Ok(match (self.from, self.since, self.last) {
            (Some(position), ..) => From::Position(position),
            (_, Some(unix_ns), _) => From::Instant(unix_ns),
            (.., Some(count)) => From::Last(count),
            _ => From::Earliest,
        })
    }
}

fn parse_time(text: &str) -> Result<u64, String> {
    let complaint = || "not a time: give one such as 2026-11-25T14:30:00Z".to_owned();
    let time: SystemTime = humantime::parse_rfc3339_weak(text).map_err(|_| complaint())?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| complaint())?;
    u64::try_from(since.as_nanos()).map_err(|_| complaint())
}

/// What is missing in a gap, if messages may be.
pub(super) fn missing(gap: &Gap) -> Option<String> {
    let why = match gap.reason {
        GapReason::Abandoned => return None,
        GapReason::NotRecorded => "nobody recorded, and the ring let go of it",
        GapReason::Failed => "the journal could not be written",
        GapReason::Damaged => "they were damaged, and left out by a repair",
    };
    Some(format!("positions {} to {} are not in the journal: {why}", gap.position, gap.end))
}

impl JournalCommand {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        match &self.action {
            Action::List(list) => list.run(),
            Action::Verify(verify) => verify.run(),
            Action::Dump(dump) => dump.run(),
            Action::Export(export) => export.run(),
            Action::Prune(prune) => prune.run(),
            Action::Compress(compress) => compress.run(),
            Action::Compact(compact) => compact.run(),
            Action::Repair(repair) => repair.run(),
        }
    }
}

/// The journals at `path`: the one, or those in it, each with the name of its directory. One without a manifest counts if there is no other.
fn journals(path: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let is_journal = |path: &Path| {
        let names = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.into_iter().any(|name| name == "manifest" || name.to_string_lossy().ends_with(".segment"))
    };
    if is_journal(path) {
        return Ok(vec![(name(path), path.to_owned())]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    let directories = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<_> = directories.filter(|path| is_journal(path)).map(|path| (name(&path), path)).collect();
    found.sort_unstable();
    anyhow::ensure!(!found.is_empty(), "{}: no journal is here: `memlane record` makes them", path.display());
    Ok(found)
}

/// Opens the journal at `path`, or the one in it, if it is one.
fn open_the_one(path: &Path) -> anyhow::Result<Journal> {
    match &journals(path)?[..] {
        [(_, only)] => open(only),
        several => {
            let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
            anyhow::bail!("{}: several journals are here, give one of them: {}", path.display(), names.join(", "))
        }
    }
}

pub(super) fn open(path: &Path) -> anyhow::Result<Journal> {
    Ok(Journal::open(Arc::new(Disk), path)?)
}
