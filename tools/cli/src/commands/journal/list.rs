//! `memlane journal ls`: which journals there are, and what they have.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::super::attach::type_name;
use super::super::ending::{Ending, complain};
use super::super::output::{Output, print_json};
use super::super::table::{Lean, Table};
use super::super::units;

const AFTER_HELP: &str = "\
BEGIN is the oldest position that can be read, END where the journal goes on. MESSAGES are those that it has, with those \
that compaction has left out. SIZE is what lies between BEGIN and END, ON DISK what its files take. NEWEST is when the newest \
was published. DURABLE is up to where its records say that everything survives a loss of power, in bytes before END: what was \
synced after the last record isn't known to them.";

/// List journals
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct List {
    /// A journal, or a directory of journals
    directory: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a journal has.
#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    #[serde(rename = "type")]
    message_type: String,
    epoch: u64,
    begin: u64,
    end: u64,
    synced: u64,
    messages: u64,
    segments: usize,
    disk_bytes: u64,
    newest_unix_ns: u64,
}

#[derive(Debug, Serialize)]
struct Listing {
    journals: Vec<Row>,
    /// Journals that could not be looked at, and why.
    errors: Vec<String>,
}

impl List {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        let mut listing = Listing { journals: Vec::new(), errors: Vec::new() };
        for (name, path) in super::journals(&self.directory)? {
            match Row::of(name, &path) {
                Ok(row) => listing.journals.push(row),
                Err(error) => listing.errors.push(format!("{error:#}")),
            }
        }
        if self.json {
            print_json(&listing)?
        } else {
            listing.print()?
        }
        for error in &listing.errors {
            complain(error);
        }
        anyhow::ensure!(listing.errors.is_empty(), "{} journals could not be looked at", listing.errors.len());
        Ok(Ending::Done)
    }
}

/// How many bytes the files in `directory` take, without those in directories below.
fn disk_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    // In units of 512 bytes, whatever the file system's are.
    entries.filter_map(|entry| entry.metadata().ok()).filter(Metadata::is_file).map(|file| file.blocks() * 512).sum()
}

impl Row {
    fn of(topic: String, path: &Path) -> anyhow::Result<Self> {
        let journal = super::open(path)?;
        let summary = journal.summary()?;
        let subject = journal.subject();
        Ok(Self {
            topic,
            message_type: type_name(&subject.options.message_type),
            epoch: subject.epoch,
            begin: summary.begin,
            end: summary.end,
            synced: summary.synced,
            messages: summary.messages,
            segments: summary.segments.len(),
            disk_bytes: disk_bytes(path),
            newest_unix_ns: summary.highest_unix_ns,
        })
    }

    fn newest(&self) -> String {
        if self.newest_unix_ns == 0 { String::new() } else { units::time(self.newest_unix_ns) }
    }
}

impl Listing {
    fn print(&self) -> anyhow::Result<()> {
        use Lean::{Left, Right};
        let mut table = Table::new(&[
            ("TOPIC", Left),
            ("MESSAGES", Right),
            ("SIZE", Right),
            ("ON DISK", Right),
            ("SEGMENTS", Right),
            ("BEGIN", Right),
            ("END", Right),
            ("DURABLE", Right),
            ("NEWEST", Left),
            ("TYPE", Left),
        ]);
        for row in &self.journals {
            let behind = row.end.saturating_sub(row.synced);
            table.row([
                row.topic.clone(),
                units::count(row.messages),
                units::bytes(row.end - row.begin),
                units::bytes(row.disk_bytes),
                row.segments.to_string(),
                row.begin.to_string(),
                row.end.to_string(),
                if behind == 0 { "all".to_owned() } else { format!("-{}", units::short_bytes(behind)) },
                row.newest(),
                row.message_type.clone(),
            ]);
        }
        let mut output = Output::stdout()?;
        table.lines().iter().try_for_each(|line| output.line(line))?;
        output.flush()
    }
}
