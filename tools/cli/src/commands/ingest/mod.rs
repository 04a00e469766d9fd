//! `memlane ingest`: a recorded market feed, message by message, into a topic.

mod source;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;
use memlane::{Publisher, Topic};
use serde::Serialize;

use super::attach::{self, Deadline, Waited};
use super::ending::{Ending, complain};
use super::latencies::Figures;
use super::output::print_json;
use super::pacing::{Finish, Pacer, Speed};
use super::place::Place;
use super::progress;
use super::signals::Signals;
use super::topic_options::TopicOptions;
use super::units;
use crate::capture::{self, Capture};
use source::Source;

const AFTER_HELP: &str = "\
Read are pcap files of IEX DEEP 1.0 packets, and lines of `<receive time in ns> <raw JSON>`; either of them as it is \
or packed with gzip. A message of the topic is a DEEP message without its length, or a line's JSON, byte for byte.

Bad packets are left out; they and gaps in the sequence numbers are told on stderr and counted. They are facts about \
the capture and not failures: the exit code stays 0. A full topic makes `ingest` wait until the slowest gated subscriber has made room.

Examples:
  memlane ingest day.pcap.gz --topic md.deep             as it was received
  memlane ingest day.pcap.gz --topic md.deep --speed 10  ten times as fast
  memlane ingest day.pcap.gz --topic md.deep --speed max --json
  zcat day.pcap.gz | memlane ingest - --topic md.deep

That a second process gets everything:
  memlane ingest day.pcap.gz --topic md.deep --wait-for-subscribers 1 &
  memlane sub md.deep --wait-for-topic --format hex --count 391999";

/// Publish a recorded market feed, as it was recorded or flat out
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Ingest {
    /// The capture; - for stdin
    file: PathBuf,
    /// The topic; it is made if it isn't there
    #[arg(long)]
    topic: String,
    /// How fast: recorded, max (flat out), or how many times as fast as recorded
    #[arg(long, value_name = "SPEED", default_value = "recorded", value_parser = Speed::parse)]
    speed: Speed,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = units::parse_count)]
    limit: Option<u64>,
    /// At the end begin again, until stopped or --limit is reached
    #[arg(long = "loop")]
    repeat: bool,
    /// Begin only once so many gated subscribers are there
    #[arg(long, value_name = "K")]
    wait_for_subscribers: Option<usize>,
    /// Longest wait for subscribers, and for room [default: as long as it takes]
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    timeout: Option<Duration>,
    /// If another publishes to a topic for one: wait so long for it to go
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    stand_by: Option<Duration>,
    /// Publish even to a topic that carries a type
    #[arg(long)]
    untyped: bool,
    /// Print the summary as JSON, on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: TopicOptions,
}

/// What was read and published. A capture that was read more than once is counted each time.
#[derive(Debug, Default, Serialize)]
struct Summary {
    topic: String,
    file: PathBuf,
    ended: &'static str,
    /// Messages published.
    messages: u64,
    bytes: u64,
    /// Packets, or lines, that were accepted and refused.
    packets: u64,
    bad_packets: u64,
    skipped_frames: u64,
    sequence_gaps: u64,
    sequence_restarts: u64,
    messages_missed: u64,
    /// How often the capture was begun.
    passes: u64,
    first_position: Option<u64>,
    last_position: Option<u64>,
    seconds: f64,
    messages_per_s: f64,
    /// How late messages were published, if there was a speed to keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    lateness: Option<Figures>,
}

impl Ingest {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        let signals = Signals::watch()?;
        let source = match (Source::open(&self.file, self.repeat, &signals), signals.stop()) {
            (Err(_), Some(stop)) => return Ok(Ending::Stopped(stop)),
            (source, _) => source?,
        };
        let topic = self.options.open_or_create(&place.open()?, &self.topic)?;
        attach::check_untyped(&topic, self.untyped)?;
        let mut publisher = match attach::open_publisher(&topic, self.stand_by, |builder| builder, &signals)? {
            Ok(publisher) => publisher,
            Err(ending) => return Ok(ending),
        };
        if let Some(count) = self.wait_for_subscribers
            && let Err(ending) = attach::wait_for_subscribers(&topic, count, &signals, Deadline::after(self.timeout))?
        {
            complain(&format!("{count} gated subscribers were waited for, and did not come: nothing was published"));
            return Ok(ending);
        }
        let bar = progress::bar(source.bytes_total());
        let mut run = Run {
            settings: self,
            topic: &topic,
            publisher: &mut publisher,
            signals: &signals,
            bar,
            summary: Summary { topic: self.topic.clone(), file: self.file.clone(), ..Summary::default() },
            pacer: None,
            base: Duration::ZERO,
        };
        let start = Instant::now();
        let result = run.all_passes(source);
        run.bar.finish_and_clear();
        let mut summary = run.summary;
        summary.lateness = run.pacer.map(|pacer| pacer.lateness());
        summary.seconds = start.elapsed().as_secs_f64();
        summary.messages_per_s = units::per_second(summary.messages, start.elapsed());
        let result = match (result, signals.stop()) {
            // A read that a signal ended looks like a failure.
            (Err(_), Some(stop)) => Ok(Ending::Stopped(stop)),
            (result, _) => result,
        };
        summary.ended = result.as_ref().map_or("failed", |ending| ending.word());
        if matches!(result, Ok(Ending::TimedOut)) {
            complain(attach::NO_ROOM);
        }
        if self.json {
            print_json(&summary)?
        } else {
            complain(&summary.to_string())
        }
        result
    }
}

/// A capture on its way into a topic.
struct Run<'a> {
    settings: &'a Ingest,
    topic: &'a Topic,
    publisher: &'a mut Publisher<[u8]>,
    signals: &'a Signals,
    bar: ProgressBar,
    summary: Summary,
    pacer: Option<Pacer>,
    /// When this pass began, by the schedule.
    base: Duration,
}

impl Run<'_> {
    fn all_passes(&mut self, mut source: Source) -> anyhow::Result<Ending> {
        loop {
            let mut capture = source.begin()?;
            self.summary.passes += 1;
            let before = self.summary.messages;
            let result = self.pass(&mut capture, &source);
            self.take_down(capture.summary());
            let is_over = result.is_err() || !self.settings.repeat || self.is_at_limit();
            if let Some(ending) = result? {
                return Ok(ending);
            }
            // An empty capture would go round for ever.
            if is_over || self.summary.messages == before {
                return Ok(Ending::Done);
            }
        }
    }

    fn is_at_limit(&self) -> bool {
        self.settings.limit.is_some_and(|limit| self.summary.messages >= limit)
    }

    /// Publishes what is left of the capture; `None` at its end, or at the limit.
    fn pass(&mut self, capture: &mut Capture, source: &Source) -> anyhow::Result<Option<Ending>> {
        let mut first_ns = None;
        let mut due = self.base;
        let mut problems_told = 0;
        while !self.is_at_limit() {
            let next = capture.next_message();
            let is_end = next.is_none();
            if let Some(message) = next {
                let capture::Message { received_ns, bytes } = message?;
                let since_ns = received_ns.saturating_sub(*first_ns.get_or_insert(received_ns));
                due = due.max(self.base + self.settings.speed.span(since_ns));
                if let Err(ending) = self.publish(due, bytes)? {
                    return Ok(Some(ending));
                }
            }
            // The first pass tells the problems; the others have the same.
            if self.summary.passes == 1 {
                let new = &capture.problems()[problems_told..];
                problems_told += new.len();
                new.iter().for_each(|problem| self.bar.suspend(|| complain(&problem.to_string())));
            }
            if is_end {
                break;
            }
            if self.summary.messages.is_multiple_of(256) {
                self.bar.set_position(source.bytes_read());
                self.bar.set_message(format!("{} messages", units::count(self.summary.messages)));
            }
        }
        self.base = due;
        Ok(None)
    }

    #[inline]
    fn publish(&mut self, due: Duration, bytes: &[u8]) -> anyhow::Result<Waited<()>> {
        if self.settings.speed != Speed::Max
            && let Err(stop) =
                self.pacer.get_or_insert_with(|| Pacer::start(Finish::Spin)).wait_until(due, self.signals)
        {
            return Ok(Err(Ending::Stopped(stop)));
        }
        if let Some(stop) = self.signals.stop() {
            return Ok(Err(Ending::Stopped(stop)));
        }
        let published = attach::publish(self.publisher, Default::default(), bytes, self.signals, self.settings.timeout);
        match published.map_err(|error| attach::explain(error, self.topic, bytes.len()))? {
            Ok(position) => {
                let summary = &mut self.summary;
                summary.messages += 1;
                summary.bytes += bytes.len() as u64;
                summary.first_position.get_or_insert(position);
                summary.last_position = Some(position);
                Ok(Ok(()))
            }
            Err(ending) => Ok(Err(ending)),
        }
    }

    /// Adds what a pass found to the summary.
    fn take_down(&mut self, found: &capture::Summary) {
        let summary = &mut self.summary;
        summary.packets += found.packets;
        summary.bad_packets += found.bad_packets;
        summary.skipped_frames += found.skipped_frames;
        summary.sequence_gaps += found.sequence_gaps;
        summary.sequence_restarts += found.sequence_restarts;
        summary.messages_missed = summary.messages_missed.saturating_add(found.messages_missed);
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "published {} messages, {}, in {} ({}); {} bad packets, {} sequence gaps",
            units::count(self.messages),
            units::bytes(self.bytes),
            units::span(Duration::from_secs_f64(self.seconds)),
            units::rate(self.messages_per_s),
            self.bad_packets,
            self.sequence_gaps
        )?;
        let Some(Figures { p50_ns, p99_ns, max_ns, .. }) = self.lateness else { return Ok(()) };
        let [p50, p99, max] = [p50_ns, p99_ns, max_ns].map(units::nanoseconds);
        write!(formatter, "; late by p50 {p50}, p99 {p99}, max {max}")
    }
}
