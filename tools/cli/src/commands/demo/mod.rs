//! `memlane demo`: a publisher and subscribers of every kind, each a process of its own, with a check at the end.
//!
//! ```text
//!   demo (mod.rs) ── starts, in this order ──> subscribers (subscriber.rs), publisher (publisher.rs)
//!     │  <── reports, a line of JSON each (wire.rs), over their stdouts (children.rs)
//!     └─ live rates (screen.rs), then the table and the check (verdict.rs, show.rs)
//! ```
//!
//! The publisher sends at the feed's own pace first, which is when latencies are taken, then flat out, then an end mark that
//! ends every subscriber. A ^C only makes it send the end mark sooner. The bus has a name of its own, and goes at the end.

mod bus;
mod cast;
mod children;
mod digest;
mod publisher;
mod screen;
mod script;
mod show;
mod subscriber;
mod verdict;
mod wire;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::ending::Ending;
use super::place::Place;
use super::signals::Signals;
use super::units;
use bus::TemporaryBus;
use cast::Cast;
use children::{Event, Troupe};
use screen::Screen;
use verdict::Verdict;
use wire::{Assignment, Pace, PublisherPart, Role};

/// The hidden subcommand that the demo's processes run.
pub(super) const PARTICIPANT: &str = "demo-participant";

/// The topic on the demo's own bus.
const TOPIC: &str = "md.feed";
/// How much of the time is for the feed's own pace; the rest is flat out.
const PACED_SHARE: f64 = 0.6;
/// How long processes may take to begin, and then to end, on a machine that is busy otherwise.
const GRACE: Duration = Duration::from_secs(15);

const AFTER_HELP: &str = "\
The publisher first keeps the feed's own pace (about 8,000 messages a second, in bursts), and the subscribers take \
down how long each message took from the publisher's call to their hands. Then it publishes flat out. In the end \
each subscriber's count and checksum are held against the publisher's: exit code 3 if a gated one differs.

A capture is played from memory, so only its beginning is; `memlane ingest` publishes all of one.

Examples:
  memlane demo
  memlane demo --seconds 8 --rate 100k
  memlane demo --input day.pcap.gz --json";

/// See it work: live rates, latencies and a check; needs nothing
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Demo {
    /// How long to publish, from 0.5 s to an hour
    #[arg(long, value_name = "TIME", default_value = "5", value_parser = parse_seconds)]
    seconds: Duration,
    /// Messages per second in the first part [default: the feed's own pace]
    #[arg(long, value_name = "N/s", value_parser = units::parse_rate)]
    rate: Option<f64>,
    /// Publish the beginning of this capture, as `memlane ingest` reads it, instead of a generated feed: its first 65,536
    /// messages, or 32 MiB, over and over
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let span = units::parse_duration(text)?;
    let fits = (Duration::from_millis(500)..=Duration::from_secs(3600)).contains(&span);
    if fits { Ok(span) } else { Err("give a time from 0.5 s to an hour".to_owned()) }
}

/// One process of the demo (started by `memlane demo`)
#[derive(Debug, Args)]
pub(super) struct Participant {
    /// What to do, as JSON
    assignment: String,
}

impl Participant {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        let assignment: Assignment = serde_json::from_str(&self.assignment)?;
        children::die_with(assignment.parent)?;
        cast::keep_to(&assignment.cores);
        let bus = place.open_existing()?;
        let topic = bus.topic(&assignment.topic)?.open()?;
        match &assignment.role {
            Role::Publisher(part) => publisher::run(part, &topic),
            Role::Subscriber(part) => subscriber::run(*part, &topic),
        }?;
        Ok(Ending::Done)
    }
}

impl Demo {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        if let Some(input) = &self.input {
            // Said here, once, rather than by the publisher.
            script::Script::check(input)?;
        }
        let signals = Signals::watch_patiently()?;
        let cores = cast::cores();
        let idle_cores = cast::idle_cores(&cores);
        let cast = Cast::for_cores(cores, &idle_cores);
        let bus = TemporaryBus::create(place)?;
        bus.topic(TOPIC)?.stamps(true).create()?;
        let screen = Screen::open(&cast, self.json);
        screen.say(&self.headline(&cast), self.json)?;
        let verdict = self.play(&bus, &cast, screen, &signals)?;
        drop(bus);
        let (verdict, stop) = match (verdict, signals.stop()) {
            (None, Some(stop)) => return Ok(Ending::Stopped(stop)),
            (verdict, stop) => (verdict.unwrap_or_default(), stop),
        };
        if self.json {
            show::json(&verdict, stop.is_some())?
        } else {
            show::text(&verdict)?
        }
        Ok(match (verdict.is_ok(), stop) {
            (false, _) => Ending::Unsound,
            (true, Some(stop)) => Ending::Stopped(stop),
            (true, None) => Ending::Done,
        })
    }

    fn headline(&self, cast: &Cast) -> String {
        let feed = match &self.input {
            Some(path) => format!("the first messages of {}", path.display()),
            None => "a generated market feed".to_owned(),
        };
        let pace =
            self.rate.map_or_else(|| "at the feed's own pace".to_owned(), |rate| format!("at {}", units::rate(rate)));
        let (subscribers, cores) = (cast.subscribers.len(), cast.cores.len());
        let sharing = match (cores, cores - cast.common_cores.len()) {
            (0 | 1, _) => "All share one core".to_owned(),
            (_, 0) => format!("All share {cores} cores, as other programs keep them busy"),
            (_, 1) => format!("Of {cores} cores, the busy subscriber has one to itself"),
            _ => format!("Of {cores} cores, the busy subscribers have one each to themselves"),
        };
        wrap(&format!(
            "A publisher and {subscribers} subscribers, each a process of its own, pass on {feed} through shared memory, \
             {pace} first, then flat out. {sharing}."
        ))
    }

    /// Has everybody play their part; returns what came of it, if it was not stopped before it began.
    fn play(
        &self,
        bus: &TemporaryBus,
        cast: &Cast,
        mut screen: Screen,
        signals: &Signals,
    ) -> anyhow::Result<Option<Verdict>> {
        let mut troupe = Troupe::new(bus.place(), TOPIC);
        for member in &cast.subscribers {
            troupe.start(member.name, &member.cores, Role::Subscriber(member.part))?;
        }
        let mut publisher = None;
        let mut end_by = None;
        let mut deadline = Instant::now() + GRACE;
        while !troupe.is_over() {
            if let Some(Event { child, report }) = troupe.next_event(Duration::from_millis(50)) {
                screen.take(child, &report);
                troupe.take(child, report);
            }
            if publisher.is_none() && troupe.all_are_ready() {
                deadline = Instant::now() + self.seconds + GRACE;
                publisher =
                    Some(troupe.start("publisher", &cast.common_cores, Role::Publisher(self.publisher_part(cast)))?);
            }
            screen.refresh();
            if end_by.is_none() && (Instant::now() >= deadline || troupe.has_failed() || signals.stop().is_some()) {
                let Some(publisher) = publisher.filter(|publisher| troupe.is_ready(*publisher)) else { break };
                // It ends with the end mark, and everybody after it; those who don't are ended below.
                troupe.ask_to_end(publisher);
                end_by = Some(Instant::now() + GRACE);
            }
            if end_by.is_some_and(|end_by| Instant::now() >= end_by) {
                break;
            }
        }
        screen.close();
        if signals.stop().is_some() && !publisher.is_some_and(|publisher| troupe.is_ready(publisher)) {
            return Ok(None);
        }
        Ok(Some(Verdict::of(cast, &troupe.end(), publisher)))
    }

    fn publisher_part(&self, cast: &Cast) -> PublisherPart {
        PublisherPart {
            input: self.input.clone(),
            pace: self.rate.map_or(Pace::Recorded, Pace::PerSecond),
            paced: self.seconds.mul_f64(PACED_SHARE),
            flat_out: self.seconds.mul_f64(1.0 - PACED_SHARE),
            shares_core: cast.crowded,
        }
    }
}

/// Breaks text into lines that any terminal has room for.
fn wrap(text: &str) -> String {
    const COLUMNS: usize = 78;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        let text = "word ".repeat(40) + &"x".repeat(100);
        let wrapped = wrap(&text);
        assert_eq!(wrapped.replace('\n', " "), text);
        assert!(wrapped.lines().all(|line| line.len() <= 78 || !line.contains(' ')));
    }
}
