//! `memlane offsets`: how far readers of a journal have come, looked at and moved.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use memlane::journal::Summary;
use serde::Serialize;

use super::ending::{Ending, complain};
use super::journal;
use super::output::{Output, print_json};
use super::table::{Lean, Table};
use super::units;

const AFTER_HELP: &str = "\
An offset is a position with a name, kept beside the journal: everything before it is done. Whoever reads commits to it, and goes on from it after any \
death. One that somebody who lives has can't be moved or removed.

Examples:
  memlane offsets ls journal/orders
  memlane offsets set journal/orders billing 128000
  memlane offsets set journal/orders billing earliest";

/// List, move and remove the offsets of a journal's readers
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, arg_required_else_help = true)]
pub(super) struct Offsets {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List offsets: where they are, and how far behind the end
    Ls {
        /// The journal
        journal: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Move an offset, or make it
    Set {
        /// The journal
        journal: PathBuf,
        /// The offset
        name: String,
        /// Where to: earliest, end, or a position
        #[arg(value_parser = parse_where)]
        to: Where,
    },
    /// Remove an offset
    Rm {
        /// The journal
        journal: PathBuf,
        /// The offset
        name: String,
    },
}

/// Where an offset is moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Earliest,
    End,
    Position(u64),
}

fn parse_where(text: &str) -> Result<Where, String> {
    match text {
        "earliest" => Ok(Where::Earliest),
        "end" => Ok(Where::End),
        position => position.parse().map(Where::Position).map_err(|_| "give earliest, end, or a position".to_owned()),
    }
}

/// An offset at a moment.
#[derive(Debug, Serialize)]
struct Row {
    offset: String,
    /// `None` if nothing was ever committed.
    position: Option<u64>,
    /// How much of the journal lies behind it, in bytes.
    lag_bytes: u64,
    committed_unix_ns: Option<u64>,
}

impl Offsets {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        match &self.action {
            Action::Ls { journal, json } => list(journal, *json),
            Action::Set { journal, name, to } => set(journal, name, *to),
            Action::Rm { journal, name } => {
                let removed = journal::open(journal)?.remove_offset(name)?;
                anyhow::ensure!(removed, "{}: there is no offset {name}", journal.display());
                Ok(Ending::Done)
            }
        }
    }
}

fn list(path: &Path, json: bool) -> anyhow::Result<Ending> {
    let journal = journal::open(path)?;
    let Summary { begin, end, .. } = journal.summary()?;
    let rows: Vec<Row> = journal
        .offsets()?
        .into_iter()
        .map(|(offset, committed)| Row {
            offset,
            position: committed.map(|committed| committed.position),
            lag_bytes: end.saturating_sub(committed.map_or(begin, |committed| committed.position.max(begin))),
            committed_unix_ns: committed.map(|committed| committed.unix_ns),
        })
        .collect();
    if json {
        print_json(&rows)?;
        return Ok(Ending::Done);
    }
    if rows.is_empty() {
        complain(&format!("{}: no reader keeps an offset here", path.display()));
        return Ok(Ending::Done);
    }
    use Lean::{Left, Right};
    let mut table = Table::new(&[("OFFSET", Left), ("POSITION", Right), ("LAG", Right), ("COMMITTED", Left)]);
    for Row { offset, position, lag_bytes, committed_unix_ns } in rows {
        let position = position.map_or_else(|| "none".to_owned(), |position| position.to_string());
        let committed = committed_unix_ns.map_or_else(String::new, units::time);
        table.row([offset, position, units::bytes(lag_bytes), committed]);
    }
    let mut output = Output::stdout()?;
    table.lines().iter().try_for_each(|line| output.line(line))?;
    output.flush()?;
    Ok(Ending::Done)
}

fn set(path: &Path, name: &str, to: Where) -> anyhow::Result<Ending> {
    let journal = journal::open(path)?;
    let Summary { begin, end, .. } = journal.summary()?;
    let position = match to {
        Where::Earliest => begin,
        Where::End => end,
        Where::Position(position) => position,
    };
    anyhow::ensure!(
        (begin..=end).contains(&position),
        "{}: position {position} is not in it: it has {begin} to {end}",
        path.display()
    );
    let mut offset = journal.offset(name)?;
    offset.commit(position)?;
    offset.sync()?;
    Ok(Ending::Done)
}
