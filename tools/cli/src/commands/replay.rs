//! `memlane replay`: messages out of journals, into topics.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use memlane::journal::{Entry, Journal, Message, Reader};
use memlane::{PublishError, Publisher, Topic};
use serde::Serialize;

use super::attach::{self, Deadline};
use super::ending::{Ending, complain};
use super::journal::{self, Begin, missing};
use super::output::print_json;
use super::pacing::{Finish, Pacer, Speed};
use super::place::Place;
use super::signals::{LOOK_EVERY, Signals};
use super::units;

const AFTER_HELP: &str = "\
Each journal is replayed to the topic that has the name of its directory, or to --to if it is one only. A topic that isn't there is made with the \
options that the journal's had; it is another topic all the same, with positions of its own. Messages keep their keys, headers and whatever else \
they carry; their stamps are new. Several journals are replayed in the order of their times, message by message, as they happened; times of two \
topics are comparable to about a microsecond.

Messages are published again at the pace at which they were published (--speed recorded), some times as fast, or flat out. A full topic makes \
`replay` wait until the slowest gated subscriber has made room.

Examples:
  memlane --bus test replay journal/md.trades                        onto another bus, as it was
  memlane replay journal/md.trades --to md.trades.again --speed max
  memlane --bus test replay journal/md.trades journal/md.quotes --since 2026-11-25T14:30:00Z --speed 10";

/// Publish recorded messages again
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Replay {
    /// The journals
    #[arg(required = true, value_name = "JOURNAL")]
    journals: Vec<PathBuf>,
    /// The topic, for one journal
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    #[command(flatten)]
    begin: Begin,
    /// How fast: recorded, max (flat out), or how many times as fast as recorded
    #[arg(long, value_name = "SPEED", default_value = "recorded", value_parser = Speed::parse)]
    speed: Speed,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = units::parse_count)]
    count: Option<u64>,
    /// Begin only once so many gated subscribers are on each topic
    #[arg(long, value_name = "K")]
    wait_for_subscribers: Option<usize>,
    /// Longest wait for subscribers, and for room [default: as long as it takes]
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    timeout: Option<Duration>,
    /// Print the summary as JSON, on stdout
    #[arg(long)]
    json: bool,
}

/// What was replayed.
#[derive(Debug, Default, Serialize)]
struct Summary {
    ended: &'static str,
    messages: u64,
    bytes: u64,
    /// Gaps that were met, in which there may have been messages.
    gaps: u64,
    seconds: f64,
    messages_per_s: f64,
}

/// A journal on its way into a topic.
struct Lane {
    reader: Reader,
    /// When its next message was published, in nanoseconds since 1970; `None` at its end.
    next_unix_ns: Option<u64>,
    topic: Topic,
    publisher: Publisher<[u8]>,
}

impl Replay {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        anyhow::ensure!(
            self.to.is_none() || self.journals.len() == 1,
            "--to is one topic: give one journal with it, or leave it out"
        );
        let signals = Signals::watch()?;
        let mut lanes = Vec::new();
        for path in &self.journals {
            match self.lane(place, path, &signals)? {
                Ok(lane) => lanes.push(lane),
                Err(ending) => return Ok(ending),
            }
        }
        for lane in &lanes {
            if let Some(count) = self.wait_for_subscribers
                && let Err(ending) =
                    attach::wait_for_subscribers(&lane.topic, count, &signals, Deadline::after(self.timeout))?
            {
                complain(&format!(
                    "{count} gated subscribers were waited for, and did not come: nothing was published"
                ));
                return Ok(ending);
            }
        }
        let (start, mut summary) = (Instant::now(), Summary::default());
        let result = self.replay(&mut lanes, &signals, &mut summary);
        summary.seconds = start.elapsed().as_secs_f64();
        summary.messages_per_s = units::per_second(summary.messages, start.elapsed());
        summary.ended = result.as_ref().map_or("failed", |ending| ending.word());
        if matches!(result, Ok(Ending::TimedOut)) {
            complain(attach::NO_ROOM);
        }
        if self.json {
            print_json(&summary)?;
        } else {
            let Summary { messages, bytes, messages_per_s, .. } = summary;
            let (count, size) = (units::count(messages), units::bytes(bytes));
            let span = units::span(Duration::from_secs_f64(summary.seconds));
            complain(&format!("replayed {count} messages, {size}, in {span} ({})", units::rate(messages_per_s)));
        }
        result
    }

    fn lane(&self, place: &Place, path: &Path, signals: &Signals) -> anyhow::Result<attach::Waited<Lane>> {
        let found = journal::open(path)?;
        let name = match (&self.to, path.canonicalize()?.file_name()) {
            (Some(name), _) => name.clone(),
            (None, Some(name)) => name.to_string_lossy().into_owned(),
            (None, None) => anyhow::bail!("{}: give the topic's name with --to", path.display()),
        };
        let subject = found.subject();
        let topic = place.open()?.topic(&name)?.like(subject).open_or_create()?;
        anyhow::ensure!(
            topic.info().epoch != subject.epoch,
            "topic {name} is the one that the journal is of: its messages would be recorded once more; replay to another topic (--to) or bus (--bus)"
        );
        anyhow::ensure!(
            topic.info().options.message_type == subject.options.message_type,
            "topic {name} carries {}, the journal's messages are {}: replay to another topic (--to)",
            attach::type_name(&topic.info().options.message_type),
            attach::type_name(&subject.options.message_type)
        );
        let publisher = match attach::open_publisher(&topic, None, |builder| builder, signals)? {
            Ok(publisher) => publisher,
            Err(ending) => return Ok(Err(ending)),
        };
        let mut reader = self.read(&found)?;
        Ok(Ok(Lane { next_unix_ns: reader.next_unix_ns()?, reader, topic, publisher }))
    }

    fn read(&self, journal: &Journal) -> anyhow::Result<Reader> {
        Ok(journal.read(self.begin.from(journal)?)?)
    }

    fn replay(&self, lanes: &mut [Lane], signals: &Signals, summary: &mut Summary) -> anyhow::Result<Ending> {
        let left = self.count.unwrap_or(u64::MAX);
        let (mut pacer, mut first_unix_ns) = (None, None);
        while summary.messages < left {
            let next = lanes.iter_mut().filter(|lane| lane.next_unix_ns.is_some()).min_by_key(|lane| lane.next_unix_ns);
            let Some(lane) = next else { break };
            if let Some(stop) = signals.stop() {
                return Ok(Ending::Stopped(stop));
            }
            match lane.reader.next()? {
                Some(Entry::Message(message)) => {
                    if self.speed != Speed::Max {
                        let since = message.unix_ns.saturating_sub(*first_unix_ns.get_or_insert(message.unix_ns));
                        let pacer = pacer.get_or_insert_with(|| Pacer::start(Finish::Spin));
                        if let Err(stop) = pacer.wait_until(self.speed.span(since), signals) {
                            return Ok(Ending::Stopped(stop));
                        }
                    }
                    let published = self.publish(&mut lane.publisher, &message, signals);
                    let bytes = message.payload().len();
                    if let Err(ending) = published.map_err(|error| attach::explain(error, &lane.topic, bytes))? {
                        return Ok(ending);
                    }
                    summary.messages += 1;
                    summary.bytes += bytes as u64;
                }
                Some(Entry::Gap(gap)) => {
                    if let Some(missing) = missing(&gap) {
                        summary.gaps += 1;
                        complain(&format!("topic {}: {missing}", lane.topic.name()));
                    }
                }
                None => {}
            }
            lane.next_unix_ns = lane.reader.next_unix_ns()?;
        }
        Ok(if summary.gaps > 0 { Ending::Unsound } else { Ending::Done })
    }

    /// Publishes; waits for room until the deadline, or a signal.
    fn publish(
        &self,
        publisher: &mut Publisher<[u8]>,
        message: &Message<'_>,
        signals: &Signals,
    ) -> Result<attach::Waited<()>, PublishError> {
        let mut timeout = Duration::ZERO;
        let mut deadline = None;
        loop {
            match publisher.republish_within(message, timeout) {
                Err(error) if error.is_full() => {}
                Err(error) if error.is_rate_limited() => std::thread::sleep(publisher.rate_wait().min(LOOK_EVERY)),
                other => return other.map(|_| Ok(())),
            }
            let deadline = deadline.get_or_insert_with(|| Deadline::after(self.timeout));
            timeout = deadline.slice();
            if let Some(stop) = signals.stop() {
                return Ok(Err(Ending::Stopped(stop)));
            }
            if deadline.has_passed() {
                return Ok(Err(Ending::TimedOut));
            }
        }
    }
}
