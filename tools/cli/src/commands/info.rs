//! `memlane info`: everything about a topic.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use memlane::{LastValuesOptions, Participant, Publishers, Topic};
use serde::Serialize;

use super::attach::{self, type_name};
use super::ending::Ending;
use super::members::{Member, member_table};
use super::output::{Output, print_json};
use super::place::Place;
use super::rate_limits::Limits;
use super::table::{Lean, Table};
use super::{topic_options, units};

const AFTER_HELP: &str = "\
A subscriber is gated; an observer holds nobody back, and is shown as far as it has a place to be seen. LAG is how many \
bytes of the log it has not read yet. MESSAGES counts what a participant published or received since it came; BYTES are \
those of the log, with headers and padding. FULL counts publishes that found no room, HELD is how long they waited for it, \
LOST what an observer missed. ACTIVE is how long ago it last slept, woke somebody or made room: whoever spins may be \
busy all the same. Process ids are those of the participants' own namespaces. For rates see `memlane stat`.";

/// Show a topic: options, type, participants and how far they are
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Info {
    /// The topic
    topic: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    topic: String,
    directory: PathBuf,
    created_unix_ns: u64,
    epoch: u64,
    #[serde(rename = "type")]
    message_type: Option<Type>,
    options: Options,
    memory_bytes: u64,
    log: Log,
    publishers: Vec<Member>,
    subscribers: Vec<Member>,
    observers: Vec<Member>,
}

#[derive(Debug, Serialize)]
struct Type {
    name: String,
    version: u32,
    /// Of the archived layout, in hexadecimal digits.
    fingerprint: String,
}

#[derive(Debug, Serialize)]
struct Options {
    capacity_bytes: u64,
    cell_bytes: u64,
    payload_bytes_max: u64,
    payload_align: u64,
    publishers_max: u32,
    many_publishers: bool,
    subscribers_max: u32,
    stamps: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_values: Option<LastValues>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<Limits>,
    lossy_only: bool,
    journaled: bool,
}

/// What is kept of each key.
#[derive(Debug, Serialize)]
struct LastValues {
    keys_max: u32,
    message_bytes_max: u64,
}

#[derive(Debug, Serialize)]
struct Log {
    head: u64,
    tail: u64,
    /// Unfinished messages of dead publishers that were skipped.
    abandoned: u64,
    /// Published since the topic was made.
    messages: u64,
    /// Participants that came since then, and how many of them died.
    came: u64,
    died: u64,
}

impl Info {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        let report = Report::of(&attach::open_topic(place, &self.topic)?)?;
        if self.json {
            print_json(&report)?
        } else {
            report.print()?
        }
        Ok(Ending::Done)
    }
}

impl Report {
    fn of(topic: &Topic) -> anyhow::Result<Self> {
        let (info, now) = (topic.info(), topic.snapshot()?);
        let options = &info.options;
        let (many_publishers, publishers_max) = match options.publishers {
            Publishers::One => (false, 1),
            Publishers::Many(count) => (true, count),
        };
        let members = |all: &[Participant]| all.iter().map(|one| Member::of(one, now.tail)).collect();
        let tag = &options.message_type;
        let message_type = (!tag.name.is_empty()).then(|| Type {
            name: tag.name.clone(),
            version: tag.version,
            fingerprint: format!("{:016x}", tag.fingerprint),
        });
        Ok(Self {
            topic: topic.name().to_owned(),
            directory: topic.directory().to_owned(),
            created_unix_ns: info.created_unix_ns,
            epoch: info.epoch,
            message_type,
            options: Options {
                capacity_bytes: options.capacity,
                cell_bytes: options.cell,
                payload_bytes_max: info.payload_bytes_max,
                payload_align: options.payload_align,
                publishers_max,
                many_publishers,
                subscribers_max: options.subscribers_max,
                stamps: options.stamps,
                last_values: options.last_values.map(|LastValuesOptions { keys_max, message_bytes_max }| LastValues {
                    keys_max,
                    message_bytes_max,
                }),
                rate_limit: Limits::of(&options.rate_limit),
                lossy_only: options.lossy_only,
                journaled: options.journaled,
            },
            memory_bytes: info.memory_bytes,
            log: Log {
                head: now.head,
                tail: now.tail,
                abandoned: now.abandoned,
                messages: now.messages,
                came: now.came,
                died: now.died,
            },
            publishers: members(&now.publishers),
            subscribers: members(&now.subscribers),
            observers: members(&now.observers),
        })
    }

    fn print(&self) -> anyhow::Result<()> {
        let mut output = Output::stdout()?;
        let mut facts = Table::new(&[("topic", Lean::Left), (&self.topic, Lean::Left)]);
        for (name, value) in self.facts() {
            facts.row([name.to_owned(), value]);
        }
        facts.lines().iter().try_for_each(|line| output.line(line))?;
        let tables =
            [("PUBLISHER", &self.publishers), ("SUBSCRIBER", &self.subscribers), ("OBSERVER", &self.observers)];
        for (head, members) in tables.into_iter().filter(|(_, members)| !members.is_empty()) {
            output.line("")?;
            member_table(head, members).lines().iter().try_for_each(|line| output.line(line))?;
        }
        output.flush()
    }

    fn last_values(&self) -> String {
        let options = self.options.last_values.as_ref();
        options.map_or_else(
            || "not kept".to_owned(),
            |LastValues { keys_max, message_bytes_max }| {
                topic_options::last_values(Some(LastValuesOptions {
                    keys_max: *keys_max,
                    message_bytes_max: *message_bytes_max,
                }))
            },
        )
    }

    fn subscribers_there(&self) -> String {
        if self.options.lossy_only {
            return "lossy ones only".to_owned();
        }
        format!("{} gated there, room for {}", self.subscribers.len(), self.options.subscribers_max)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let Options { capacity_bytes, cell_bytes, payload_bytes_max, payload_align, .. } = self.options;
        let Log { head, tail, abandoned, messages, came, died } = self.log;
        let made = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(self.created_unix_ns));
        let type_of = |tag: &Type| format!("{} v{}, layout {}", tag.name, tag.version, tag.fingerprint);
        let publishers =
            if self.options.many_publishers { Publishers::Many(self.options.publishers_max) } else { Publishers::One };
        vec![
            ("directory", self.directory.display().to_string()),
            ("made", made.to_string()),
            ("type", self.message_type.as_ref().map_or_else(|| type_name(&memlane::TypeTag::default()), type_of)),
            ("ring", format!("{} in cells of {}", units::bytes(capacity_bytes), units::bytes(cell_bytes))),
            ("payloads", format!("up to {} bytes, aligned to {payload_align}", units::count(payload_bytes_max))),
            ("stamps", if self.options.stamps { "yes" } else { "no" }.to_owned()),
            (
                "journaled",
                if self.options.journaled { "marked, for recorders of the whole bus" } else { "no" }.to_owned(),
            ),
            ("last values", self.last_values()),
            ("rate limit", Limits::words(self.options.rate_limit.as_ref())),
            ("publishers", format!("{} there, {}", self.publishers.len(), topic_options::publishers(publishers))),
            ("subscribers", self.subscribers_there()),
            ("observers", format!("{} there", self.observers.len())),
            (
                "came",
                format!("{} participants since it was made, of which {} died", units::count(came), units::count(died)),
            ),
            ("memory", units::bytes(self.memory_bytes)),
            ("messages", format!("{} since it was made", units::count(messages))),
            ("log", format!("from {head} to {tail}: {} to read", units::bytes(tail.saturating_sub(head)))),
            ("abandoned", format!("{abandoned} unfinished messages of dead publishers were skipped")),
        ]
    }
}
