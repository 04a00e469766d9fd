//! `memlane journal repair`: what is whole in a damaged journal, in a new one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use memlane::journal::{Disk, Repaired, Storage};
use serde::Serialize;

use super::super::ending::{Ending, complain};
use super::super::output::{Output, print_json};
use super::super::units;

const AFTER_HELP: &str = "\
Everything that is whole is carried over to a new journal in NEW: messages with their positions and times, sources, gaps. What isn't is a gap there, and told here; the exit code is then 3. \
A manifest that is missing or damaged is made anew out of the segments, without the description of the messages' type. Offsets and snapshots come along. The damaged journal stays as it is: \
look at the new one, move the old one away, and give the new one its name. Nobody may record meanwhile.

Example:
  memlane journal repair journal/md.trades --to journal/md.trades.repaired";

/// Carry over what is whole in a damaged journal to a new one
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Repair {
    /// The damaged journal
    directory: PathBuf,
    /// The directory of the new one, which is made
    #[arg(long, value_name = "NEW")]
    to: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    messages: u64,
    end: u64,
    lost: &'a [(u64, u64)],
    found: &'a [String],
}

impl Repair {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        let storage: Arc<dyn Storage> = Arc::new(Disk);
        let repaired = memlane::journal::repair(&storage, &self.directory, &self.to)?;
        for beside in ["offsets", "snapshots"] {
            copy(&self.directory.join(beside), &self.to.join(beside))?;
        }
        let Repaired { messages, end, lost, found } = &repaired;
        if self.json {
            print_json(&Told { messages: *messages, end: *end, lost, found })?;
        } else {
            found.iter().for_each(|found| complain(found));
            for (from, to) in lost {
                complain(&format!("positions {from} to {to} could not be carried over"));
            }
            let mut output = Output::stdout()?;
            let lost = if lost.is_empty() { "nothing is lost".to_owned() } else { format!("{} gaps", lost.len()) };
            output.line(&format!(
                "{}: {} messages up to position {end}; {lost}",
                self.to.display(),
                units::count(*messages)
            ))?;
            output.flush()?;
        }
        Ok(if lost.is_empty() { Ending::Done } else { Ending::Unsound })
    }
}

/// Copies a directory of files and of such directories, if it is there.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    let failed = || format!("can't copy {} to {}", from.display(), to.display());
    std::fs::create_dir_all(to).with_context(failed)?;
    for entry in std::fs::read_dir(from).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().with_context(failed)?.is_dir() {
            copy(&from, &to)?;
        } else {
            std::fs::copy(&from, &to).with_context(failed)?;
        }
    }
    Ok(())
}
