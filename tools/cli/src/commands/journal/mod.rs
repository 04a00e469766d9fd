//! `memlane journal`: what is recorded, looked at, checked and printed.

mod dump;
mod list;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use memlane::journal::{Disk, Journal};

use super::ending::Ending;

const AFTER_HELP: &str = "\
A DIRECTORY is a topic's journal, or one that holds the journals of several, as `memlane record --to` was given. A journal may be \
looked at while it is recorded.

Examples:
  memlane journal ls /var/lib/memlane
  memlane journal verify /var/lib/memlane
  memlane journal dump /var/lib/memlane/md.trades --since 2026-11-25T14:30:00Z --count 10";

/// Look at what is recorded: list, check, print
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
}

impl JournalCommand {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        match &self.action {
            Action::List(list) => list.run(),
            Action::Verify(verify) => verify.run(),
            Action::Dump(dump) => dump.run(),
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

fn open(path: &Path) -> anyhow::Result<Journal> {
    Ok(Journal::open(Arc::new(Disk), path)?)
}
