//! `memlane gc`: what dead processes left goes.

use clap::Args;
use memlane::{BusError, Garbage};
use serde::Serialize;

use super::ending::Ending;
use super::output::{Output, print_json};
use super::place::Place;

const AFTER_HELP: &str = "\
Half-made topics, slots and unfinished messages go. Nothing needs it: whoever is held up by a dead process clears it \
away itself, within milliseconds. It only makes room earlier. \
Topics that can't be looked at, for want of permission or of a free slot, are skipped and counted.";

/// Clear away what dead processes left
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Gc {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    directories: usize,
    publishers: usize,
    subscribers: usize,
    connections: usize,
    skipped_topics: usize,
}

impl Gc {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        let garbage = match place.open_existing() {
            // Where nobody has been, nobody left anything.
            Err(BusError::NotFound { .. }) => Garbage::default(),
            bus => bus?.collect_garbage()?,
        };
        let Garbage { directories, publishers, subscribers, connections, skipped } = garbage;
        if self.json {
            print_json(&Report { directories, publishers, subscribers, connections, skipped_topics: skipped })?;
        } else {
            let mut output = Output::stdout()?;
            output.line(&format!(
                "cleared away: {directories} half-made directories, {publishers} dead publishers, {subscribers} dead subscribers, {connections} connections of dead clients and servers; topics skipped: {skipped}"
            ))?;
            output.flush()?;
        }
        Ok(Ending::Done)
    }
}
