//! `memlane pub`: messages from arguments, stdin, files or made up, into a topic.

mod source;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;
use memlane::{OnFull, Publisher, PublisherBuilder, RateLimit, Topic};
use serde::Serialize;

use super::attach::{self, Deadline, Fields, Waited};
use super::ending::{Ending, complain};
use super::latencies::Figures;
use super::output::print_json;
use super::pacing::{Beat, Finish, Pacer};
use super::place::Place;
use super::progress;
use super::rate_limits::{self, parse_rate_limit};
use super::signals::Signals;
use super::topic_options::TopicOptions;
use super::units;
use source::Source;

/// At a rate below this, each message moves the progress bar.
const SLOW_PER_S: f64 = 1_000.0;

const AFTER_HELP: &str = "\
The topic is made if it isn't there. A full one makes `pub` wait until the slowest gated subscriber has made room; \
--timeout bounds that.

Examples:
  memlane pub greetings hello world             two messages
  tail -f app.log | memlane pub logs            a message for each line, as it comes
  memlane pub images --file a.png --file b.png  each file as a message
  memlane pub load --size 64 --count 10M --json ten million messages, flat out
  memlane pub load --size 1KiB --rate 50k       50,000 a second until ^C";

/// Publish messages: arguments, lines of stdin, files, or made-up ones
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Publish {
    /// The topic
    topic: String,
    /// Messages; without any, and without --file or --size, each line of stdin is one
    #[arg(value_name = "MESSAGE", conflicts_with_all = ["file", "size", "raw"])]
    messages: Vec<String>,
    /// Publish all of this file as one message; may be given more than once
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size", "raw"])]
    file: Vec<PathBuf>,
    /// Publish all of stdin as one message
    #[arg(long, conflicts_with = "size")]
    raw: bool,
    /// Make up messages of this size: a number, then letters
    #[arg(long, value_name = "BYTES", value_parser = units::parse_bytes)]
    size: Option<u64>,
    /// How many to make up [default: until stopped]
    #[arg(long, value_name = "N", requires = "size", value_parser = units::parse_count)]
    count: Option<u64>,
    /// Messages per second [default: as they come]
    #[arg(long, value_name = "N/s", value_parser = units::parse_rate)]
    rate: Option<f64>,
    /// Give each message this key: what it is about
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Give each message this header; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_header)]
    header: Vec<(String, String)>,
    /// Longest wait for room, and for the subscribers to wait for [default: as long as it takes]
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    timeout: Option<Duration>,
    /// Begin only once so many gated subscribers are there
    #[arg(long, value_name = "K")]
    wait_for_subscribers: Option<usize>,
    /// If another publishes to a topic for one: wait so long for it to go
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    stand_by: Option<Duration>,
    /// Publish no more than this in a second, and at once, beside what the topic's --rate-limit says: likewise messages, as in 1000/s:50,
    /// or bytes, as in 1MiB/s:64KiB
    #[arg(long, value_name = "N/s[:BURST]", value_parser = parse_rate_limit)]
    own_rate_limit: Vec<RateLimit>,
    /// Drop the oldest messages where there is no room: refuses topics that aren't --lossy-only
    #[arg(long)]
    drop_oldest: bool,
    /// Publish bytes even to a topic that carries a type
    #[arg(long)]
    untyped: bool,
    /// Print the summary as JSON, on stdout
    #[arg(long)]
    json: bool,
    /// Print no summary
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    #[command(flatten)]
    options: TopicOptions,
}

pub(super) fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("not a header: give KEY=VALUE, with a key".to_owned()),
    }
}

/// What was published.
#[derive(Debug, Default, Serialize)]
struct Summary {
    topic: String,
    ended: &'static str,
    messages: u64,
    bytes: u64,
    first_position: Option<u64>,
    last_position: Option<u64>,
    seconds: f64,
    messages_per_s: f64,
    /// How late the messages were, if there was a rate to keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    lateness: Option<Figures>,
}

impl Publish {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        let signals = Signals::watch()?;
        let topic = self.options.open_or_create(&place.open()?, &self.topic)?;
        attach::check_untyped(&topic, self.untyped)?;
        let mut publisher =
            match attach::open_publisher(&topic, self.stand_by, |builder| self.choose(builder), &signals)? {
                Ok(publisher) => publisher,
                Err(ending) => return Ok(ending),
            };
        if let Some(count) = self.wait_for_subscribers
            && let Err(ending) = attach::wait_for_subscribers(&topic, count, &signals, Deadline::after(self.timeout))?
        {
            complain(&format!("{count} gated subscribers were waited for, and did not come: nothing was published"));
            return Ok(ending);
        }
        let mut source = self.source(&topic, &signals)?;
        let mut summary = Summary { topic: self.topic.clone(), ..Summary::default() };
        let start = Instant::now();
        let bar = progress::bar(source.messages());
        let result = self.publish_all(&mut publisher, &topic, &mut source, &mut summary, &signals, &bar);
        bar.finish_and_clear();
        summary.seconds = start.elapsed().as_secs_f64();
        summary.messages_per_s = units::per_second(summary.messages, start.elapsed());
        let ending = match (result, signals.stop()) {
            // A read that a signal ended looks like a failure.
            (Err(_), Some(stop)) => Ending::Stopped(stop),
            (result, _) => result?,
        };
        summary.ended = ending.word();
        if ending == Ending::TimedOut {
            complain(attach::NO_ROOM);
        }
        self.report(&summary)?;
        Ok(ending)
    }

    fn choose<'a>(&self, builder: PublisherBuilder<'a, [u8]>) -> PublisherBuilder<'a, [u8]> {
        let builder = builder.rate_limit(rate_limits::together(&self.own_rate_limit));
        if self.drop_oldest { builder.on_full(OnFull::DropOldest) } else { builder }
    }

    fn source(&self, topic: &Topic, signals: &Signals) -> anyhow::Result<Source> {
        let longest = usize::try_from(topic.info().payload_bytes_max).unwrap_or(usize::MAX);
        if let Some(size) = self.size {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > longest {
                return Err(attach::explain(memlane::ClaimError::TooLong.into(), topic, size));
            }
            return Ok(Source::made_up(size, self.count));
        }
        if !self.file.is_empty() {
            return Ok(Source::Files(self.file.clone().into_iter(), Vec::new()));
        }
        if !self.messages.is_empty() {
            return Ok(Source::Arguments(self.messages.clone().into_iter(), Vec::new()));
        }
        if self.raw { Source::whole_stdin(signals, longest) } else { Source::lines_of_stdin(signals, longest) }
    }

    fn publish_all(
        &self,
        publisher: &mut Publisher<[u8]>,
        topic: &Topic,
        source: &mut Source,
        summary: &mut Summary,
        signals: &Signals,
        bar: &ProgressBar,
    ) -> anyhow::Result<Ending> {
        let fields = Fields { key: self.key.as_deref(), headers: &self.header };
        let mut pace = self.rate.map(|rate| (Beat::per_second(rate), Pacer::start(Finish::Spin)));
        let ending = loop {
            let Some(message) = source.next_message()? else { break Ending::Done };
            if let Some((beat, pacer)) = &mut pace
                && let Err(stop) = pacer.wait_until(beat.due(summary.messages), signals)
            {
                break Ending::Stopped(stop);
            }
            if let Some(stop) = signals.stop() {
                break Ending::Stopped(stop);
            }
            match attach::publish(publisher, fields, message, signals, self.timeout) {
                Ok(Waited::Ok(position)) => summary.add(position, message.len()),
                Ok(Waited::Err(ending)) => break ending,
                Err(error) => return Err(attach::explain(error, topic, message.len())),
            }
            if summary.messages.is_multiple_of(1024) || self.rate.is_some_and(|rate| rate < SLOW_PER_S) {
                bar.set_position(summary.messages);
                bar.set_message(format!("{} messages", units::count(summary.messages)));
            }
        };
        summary.lateness = pace.map(|(_, pacer)| pacer.lateness());
        Ok(ending)
    }

    fn report(&self, summary: &Summary) -> anyhow::Result<()> {
        if self.json {
            return print_json(summary);
        }
        if !self.quiet {
            let Summary { messages, bytes, seconds, messages_per_s, .. } = summary;
            let plural = if *messages == 1 { "message" } else { "messages" };
            complain(&format!(
                "published {} {plural}, {}, in {} ({})",
                units::count(*messages),
                units::bytes(*bytes),
                units::span(Duration::from_secs_f64(*seconds)),
                units::rate(*messages_per_s)
            ));
        }
        Ok(())
    }
}

impl Summary {
    #[inline]
    fn add(&mut self, position: u64, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
        self.first_position.get_or_insert(position);
        self.last_position = Some(position);
    }
}
