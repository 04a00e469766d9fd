//! `memlane journal dump`: the messages of a journal, to stdout.

use std::path::PathBuf;

use clap::Args;
use memlane::journal::Entry;

use super::super::ending::{Ending, complain};
use super::super::output::Output;
use super::super::signals::Signals;
use super::super::subscribe::print::{Columns, Format, Item, Printer};
use super::super::units;
use super::{Begin, missing};

const AFTER_HELP: &str = "\
Messages are printed as `memlane sub` prints them. A gap of the journal is told on stderr, where it lies: the exit code is then 3, unless \
the gap is a frame that a dead publisher left unfinished, for in it there was no message.

Examples:
  memlane journal dump journal/md.trades --last 10
  memlane journal dump journal/md.trades --since 2026-11-25T14:30:00Z --stamps
  memlane journal dump journal/md.trades --format raw > all";

/// Print the messages of a journal
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Dump {
    /// The journal, or a directory with one journal in it
    directory: PathBuf,
    #[command(flatten)]
    begin: Begin,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = units::parse_count)]
    count: Option<u64>,
    /// How to print messages: fields (by name, if the topic describes its type, else text), text, hex, a line each, or raw
    #[arg(long, value_enum, default_value_t = Format::Fields, hide_possible_values = true)]
    format: Format,
    /// Print each message's position before it
    #[arg(long)]
    positions: bool,
    /// Print each message's key before it
    #[arg(long)]
    keys: bool,
    /// Print the time of each message's publishing before it; where the topic has no stamps, when it was recorded
    #[arg(long)]
    stamps: bool,
    /// Print each message's headers before it
    #[arg(long)]
    headers: bool,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

impl Dump {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        anyhow::ensure!(
            self.format != Format::Raw || !(self.json || self.positions || self.keys || self.stamps || self.headers),
            "--format raw prints nothing but the messages' bytes: leave out --json, --positions, --keys, --stamps and --headers"
        );
        let signals = Signals::watch()?;
        let journal = super::open_the_one(&self.directory)?;
        let columns =
            Columns { positions: self.positions, keys: self.keys, stamps: self.stamps, headers: self.headers };
        let description = &journal.subject().description;
        let mut printer = Printer::described(Output::stdout()?, description, self.format, self.json, columns);
        let (mut reader, mut left, mut has_gap) =
            (journal.read(self.begin.from(&journal)?)?, self.count.unwrap_or(u64::MAX), false);
        while left > 0 {
            if let Some(stop) = signals.stop() {
                printer.output.flush()?;
                return Ok(Ending::Stopped(stop));
            }
            match reader.next()? {
                None => break,
                Some(Entry::Message(message)) => {
                    left -= 1;
                    printer.print("message", &Item::recorded(&message))?;
                }
                Some(Entry::Gap(gap)) => {
                    if let Some(missing) = missing(&gap) {
                        has_gap = true;
                        printer.output.flush()?;
                        complain(&missing);
                    }
                }
            }
        }
        printer.output.flush()?;
        Ok(if has_gap { Ending::Unsound } else { Ending::Done })
    }
}
