//! `memlane sub`: messages of a topic, to stdout.

pub(super) mod fields;
mod ledger;
mod pattern;
pub(super) mod print;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use memlane::journal::{Disk, From as Begin, Journal};
use memlane::{Kind, LastValues, OpenError, ReceiveError, Received, Start, Subscriber, Topic, TopicError, Wait};

use super::attach::{self, Deadline};
use super::ending::{Ending, complain};
use super::output::Output;
use super::place::Place;
use super::signals::Signals;
use super::units;
use ledger::Ledger;
use print::{Columns, Format, Printer};

/// Messages that are taken together at most, so that a gated subscriber makes room in time.
const BATCH_MESSAGES_MAX: usize = 256;
/// Polls before yielding.
const SPINS: u32 = 300;

const AFTER_HELP: &str = "\
A gated subscriber (the default) misses nothing and holds publishers back when it is slow: so does a slow reader of \
its output. With --lossy nobody is held back; every range that was missed is told on stderr, and the exit code is 3.

Messages of a topic that describes its type (one made with `message::<T>()`) are printed by the names of their fields, with \
--json as `message`; --format text or hex prints their bytes. Text is printed as it is, a line for each message; control \
characters and bytes that are no UTF-8 as \\n, \\xff. \
Figures go to stderr, with --json or --quiet to stdout.

Examples:
  memlane sub md.trades                         what comes from now on, until ^C
  memlane sub md.trades --from earliest --drain what is there, and no more
  memlane sub md.trades --count 1 --timeout 5s  the next message, if it comes in time
  memlane sub md.quotes --latest --spin busy    always the newest one, at the price of a core
  memlane sub images --count 1 --format raw > a.png
  memlane sub md.trades --quiet                 rates only, a line each second
  memlane sub md.trades --from earliest --journal /var/lib/memlane/md.trades
                                                all that was recorded, and then what comes
  memlane sub md.quotes --last-values --keys    the last quote of each key, and then what comes
  memlane sub --pattern 'md.*.trades'           of every topic that matches, also of those made later";

/// Subscribe to a topic and print its messages
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Subscribe {
    /// The topic
    topic: String,
    /// TOPIC is a pattern: `*` stands for one token, `>` at the end for one or more. A line begins with the topic's name
    #[arg(long, conflicts_with_all = ["stamps", "quiet", "wait_for_topic"])]
    pattern: bool,
    /// How to print messages: fields (by name, if the topic describes its type, else text), text, hex, a line each, or raw
    #[arg(long, value_enum, default_value_t = Format::Fields, hide_possible_values = true)]
    format: Format,
    /// Where to begin: live (with the next message), latest (with the newest), earliest (with the oldest), or a position
    #[arg(long, value_name = "WHERE", default_value = "live", value_parser = parse_start)]
    from: Start,
    /// Print the last message of each key first, and then what comes from there on. For topics with last values
    #[arg(long, conflicts_with_all = ["from", "pattern", "quiet"])]
    last_values: bool,
    /// Only the newest message each time; what came in between is left out
    #[arg(long, conflicts_with = "lossy")]
    latest: bool,
    /// Hold nobody back; report what was missed
    #[arg(long)]
    lossy: bool,
    /// Hold nobody back and miss nothing: read in this journal, which `memlane record` writes, what the ring has let go; --from earliest, or a position, begins in it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["pattern", "latest", "lossy", "wait_for_topic"])]
    journal: Option<PathBuf>,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = units::parse_count)]
    count: Option<u64>,
    /// End once there is nothing more to read
    #[arg(long)]
    drain: bool,
    /// Longest wait for each message, and for the topic [default: as long as it takes]
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    timeout: Option<Duration>,
    /// Wait for the topic to be made
    #[arg(long)]
    wait_for_topic: bool,
    /// How to wait: busy (fastest, takes a core), yield (takes what others leave of one), block (sleeps)
    #[arg(long, value_enum, default_value_t = Spin::Block, hide_possible_values = true)]
    spin: Spin,
    /// Print each message's position before it
    #[arg(long)]
    positions: bool,
    /// Print each message's key before it
    #[arg(long)]
    keys: bool,
    /// Print the time of each message's publishing before it
    #[arg(long)]
    stamps: bool,
    /// Print each message's headers before it
    #[arg(long)]
    headers: bool,
    /// Print no messages, but each second how many came
    #[arg(long, short)]
    quiet: bool,
    /// Print everything as JSON, an object a line: messages with all that belongs to them, rates, the summary
    #[arg(long)]
    json: bool,
}

/// How to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Spin {
    Busy,
    Yield,
    Block,
}

impl From<Spin> for Wait {
    fn from(spin: Spin) -> Self {
        match spin {
            Spin::Busy => Self::BusySpin,
            Spin::Yield => Self::SpinThenYield { spins: SPINS },
            Spin::Block => Self::default(),
        }
    }
}

fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "live" => Ok(Start::Live),
        "latest" => Ok(Start::Latest),
        "earliest" => Ok(Start::Earliest),
        position => position
            .parse()
            .map(Start::Position)
            .map_err(|_| "give live, latest, earliest, or a position as `--positions` shows them".to_owned()),
    }
}

impl Subscribe {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        let signals = Signals::watch()?;
        if self.pattern {
            return pattern::run(self, place, &signals);
        }
        let (topic, subscriber, values) = match self.open(place, &signals)? {
            Ok(opened) => opened,
            Err(ending) => {
                if ending == Ending::TimedOut {
                    complain(&format!("topic {} was not made in time", self.topic));
                }
                return Ok(ending);
            }
        };
        anyhow::ensure!(
            !self.stamps || topic.info().options.stamps,
            "topic {} has no stamps: leave --stamps out, or make the topic anew with --stamps",
            self.topic
        );
        anyhow::ensure!(
            self.format != Format::Raw || !(self.json || self.positions || self.keys || self.stamps || self.headers),
            "--format raw prints nothing but the messages' bytes: leave out --json, --positions, --keys, --stamps and --headers"
        );
        let columns =
            Columns { positions: self.positions, keys: self.keys, stamps: self.stamps, headers: self.headers };
        let mut run = Run {
            settings: self,
            printer: Printer::new(Output::stdout()?, Some(&topic), self.format, self.json, columns),
            ledger: Ledger::new(&topic),
            failure: None,
            ending: None,
        };
        if let Some(values) = &values {
            run.printer.last_values(values)?;
        }
        let ending = run.until_the_end(subscriber, &signals)?;
        let ending = if ending == Ending::Done && run.ledger.has_losses() { Ending::Unsound } else { ending };
        if ending == Ending::TimedOut {
            complain("no message came in time");
        }
        run.report(ending)?;
        Ok(ending)
    }

    fn open(&self, place: &Place, signals: &Signals) -> anyhow::Result<attach::Waited<Opened>> {
        if !self.wait_for_topic {
            let topic = attach::open_topic(place, &self.topic)?;
            let (subscriber, values) = self.subscriber(&topic)?;
            return Ok(Ok((topic, subscriber, values)));
        }
        attach::wait_for(signals, Deadline::after(self.timeout), || {
            let Some(topic) = attach::find_topic(place, &self.topic)? else { return Ok(None) };
            match self.subscriber(&topic) {
                Ok((subscriber, values)) => Ok(Some((topic, subscriber, values))),
                // It was removed this very moment.
                Err(OpenError::Topic(TopicError::NotFound { .. })) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn kind(&self) -> Kind {
        match (self.lossy, self.latest) {
            (true, _) => Kind::Lossy,
            (_, true) => Kind::Latest,
            _ => Kind::Gated,
        }
    }

    fn subscriber(&self, topic: &Topic) -> Result<Joined, OpenError> {
        let mut builder = topic.subscriber().kind(self.kind()).start(self.from).wait(self.spin.into());
        if let Some(directory) = &self.journal {
            let journal = Journal::open(Arc::new(Disk), directory)?;
            builder = builder.backfilled(&journal);
            builder = match self.from {
                Start::Earliest => builder.replay(&journal, Begin::Earliest),
                Start::Position(position) => builder.replay(&journal, Begin::Position(position)),
                Start::Live | Start::Latest => builder,
            };
        }
        if self.last_values {
            return builder.open_with_last_values().map(|(values, subscriber)| (subscriber, Some(values)));
        }
        builder.open().map(|subscriber| (subscriber, None))
    }
}

/// A subscriber, and the last values if they were asked for.
type Joined = (Subscriber<[u8]>, Option<LastValues<[u8]>>);

/// A topic, its subscriber, and the last values if they were asked for.
type Opened = (Topic, Subscriber<[u8]>, Option<LastValues<[u8]>>);

/// A subscription at work.
struct Run<'a> {
    settings: &'a Subscribe,
    printer: Printer,
    ledger: Ledger,
    /// What a message could not be printed for.
    failure: Option<anyhow::Error>,
    /// That the end was met between messages.
    ending: Option<Ending>,
}

impl Run<'_> {
    fn until_the_end(&mut self, mut subscriber: Subscriber<[u8]>, signals: &Signals) -> anyhow::Result<Ending> {
        let timeout = self.settings.timeout;
        let mut deadline = Deadline::after(timeout);
        let mut next_rates = Instant::now() + Duration::from_secs(1);
        loop {
            let left = self.settings.count.map_or(u64::MAX, |count| count.saturating_sub(self.ledger.messages()));
            if left == 0 {
                return Ok(Ending::Done);
            }
            if let Some(stop) = signals.stop() {
                // Without a count, that is how it was meant to end.
                return Ok(if self.settings.count.is_none() { Ending::Done } else { Ending::Stopped(stop) });
            }
            let most = left.min(BATCH_MESSAGES_MAX as u64) as usize;
            let mut received = match subscriber.receive_batch(most, |next| self.take(next)) {
                Ok(received) => received > 0,
                Err(error) => {
                    self.take(Err(error));
                    true
                }
            };
            if !received && self.settings.drain {
                return Ok(Ending::Done);
            }
            if !received {
                self.printer.output.flush()?;
                match subscriber.receive_within(deadline.slice()) {
                    Ok(Some(sample)) => {
                        self.take(Ok(&sample.received()));
                        received = true;
                    }
                    Ok(None) if deadline.has_passed() => return Ok(Ending::TimedOut),
                    Ok(None) => self.printer.output.check_reader()?,
                    Err(error) => self.take(Err(error)),
                }
            }
            if received {
                self.ledger.note_time();
                if timeout.is_some() {
                    deadline = Deadline::after(timeout);
                }
            }
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if let Some(ending) = self.ending {
                return Ok(ending);
            }
            if self.settings.quiet && Instant::now() >= next_rates {
                next_rates += Duration::from_secs(1);
                self.print_rates()?;
            }
        }
    }

    /// Takes what came: a message, or what came instead.
    #[inline]
    fn take(&mut self, next: Result<&Received<'_, [u8]>, ReceiveError>) {
        match next {
            Ok(received) => {
                self.ledger.message(received);
                if !self.settings.quiet && self.failure.is_none() {
                    self.failure = self.printer.message(received).err();
                }
            }
            Err(error) => self.take_error(error),
        }
    }

    #[cold]
    fn take_error(&mut self, error: ReceiveError) {
        match &error {
            ReceiveError::Lost { from, to } => {
                self.ledger.lost(*from, *to);
                if self.settings.quiet {
                    return;
                }
            }
            ReceiveError::Malformed { .. } | ReceiveError::Invalid { .. } => self.ledger.unreadable(),
            ReceiveError::Removed if self.settings.count.is_none() => self.ending = Some(Ending::Done),
            ReceiveError::Removed
            | ReceiveError::Corrupt { .. }
            | ReceiveError::Forked
            | ReceiveError::Journal(_)
            | ReceiveError::Topic(_) => {
                self.failure.get_or_insert(error.into());
                return;
            }
        }
        // In the order in which things happened, as far as two streams go.
        if let Err(failure) = self.printer.output.flush() {
            self.failure.get_or_insert(failure);
        }
        complain(&error.to_string());
    }

    fn print_rates(&mut self) -> anyhow::Result<()> {
        let rates = self.ledger.rates();
        if self.settings.json {
            self.printer.output.json(&rates)?
        } else {
            self.printer.output.line(&rates.to_string())?
        }
        self.printer.output.flush()
    }

    fn report(&mut self, ending: Ending) -> anyhow::Result<()> {
        let summary = self.ledger.summary(&self.settings.topic, ending);
        let output = &mut self.printer.output;
        if self.settings.json {
            output.json(&summary)?;
        } else if self.settings.quiet {
            output.line(&summary.to_string())?;
        }
        output.flush()?;
        if !self.settings.json && !self.settings.quiet {
            complain(&summary.to_string());
        }
        Ok(())
    }
}
