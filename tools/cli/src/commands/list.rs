//! `memlane ls`: the topics of a bus.

use clap::Args;
use memlane::{Bus, BusError, Pattern};
use serde::Serialize;

use super::attach::type_name;
use super::ending::{Ending, complain};
use super::output::{Output, print_json};
use super::place::Place;
use super::table::{Lean, Table};
use super::units;

const AFTER_HELP: &str = "\
HEAD is the oldest position that can still be read, TAIL the end; what lies between, in bytes, is IN LOG. \
SUB are gated subscribers, OBS those that hold nobody back, as far as they may be seen.";

/// List the topics of the bus
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct List {
    /// Only those that match: tokens as names have, `*` for any one, and at the end `>` for one or more
    #[arg(value_name = "PATTERN", default_value = ">", hide_default_value = true)]
    pattern: Pattern,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A topic at a moment.
#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    capacity_bytes: u64,
    memory_bytes: u64,
    publishers: usize,
    subscribers: usize,
    observers: usize,
    head: u64,
    tail: u64,
    #[serde(rename = "type")]
    message_type: String,
}

#[derive(Debug, Serialize)]
struct Listing {
    bus: String,
    topics: Vec<Row>,
    /// Topics that could not be looked at, and why.
    errors: Vec<String>,
}

impl List {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        let mut listing = Listing { bus: place.bus.clone(), topics: Vec::new(), errors: Vec::new() };
        let bus = match place.open_existing() {
            Ok(bus) => Some(bus),
            // A bus that nobody has made has no topics.
            Err(BusError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        for name in bus.as_ref().map_or(Ok(Vec::new()), |bus| bus.topics_matching(&self.pattern))? {
            match bus.as_ref().map(|bus| Row::of(bus, &name)) {
                Some(Ok(row)) => listing.topics.push(row),
                Some(Err(error)) => listing.errors.push(format!("{error:#}")),
                None => {}
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
        anyhow::ensure!(listing.errors.is_empty(), "{} topics could not be looked at", listing.errors.len());
        Ok(Ending::Done)
    }
}

impl Row {
    fn of(bus: &Bus, name: &str) -> anyhow::Result<Self> {
        let topic = bus.topic(name)?.open()?;
        let (info, now) = (topic.info(), topic.snapshot()?);
        Ok(Self {
            topic: name.to_owned(),
            capacity_bytes: info.options.capacity,
            memory_bytes: info.memory_bytes,
            publishers: now.publishers.len(),
            subscribers: now.subscribers.len(),
            observers: now.observers.len(),
            head: now.head,
            tail: now.tail,
            message_type: type_name(&info.options.message_type),
        })
    }
}

impl Listing {
    fn print(&self) -> anyhow::Result<()> {
        if self.topics.is_empty() {
            complain(&format!("bus {} has no topics: `memlane pub` and `memlane ingest` make them", self.bus));
            return Ok(());
        }
        use Lean::{Left, Right};
        let mut table = Table::new(&[
            ("TOPIC", Left),
            ("SIZE", Right),
            ("PUB", Right),
            ("SUB", Right),
            ("OBS", Right),
            ("HEAD", Right),
            ("TAIL", Right),
            ("IN LOG", Right),
            ("TYPE", Left),
        ]);
        for row in &self.topics {
            table.row([
                row.topic.clone(),
                units::bytes(row.capacity_bytes),
                row.publishers.to_string(),
                row.subscribers.to_string(),
                row.observers.to_string(),
                row.head.to_string(),
                row.tail.to_string(),
                units::bytes(row.tail.saturating_sub(row.head)),
                row.message_type.clone(),
            ]);
        }
        let mut output = Output::stdout()?;
        table.lines().iter().try_for_each(|line| output.line(line))?;
        output.flush()
    }
}
