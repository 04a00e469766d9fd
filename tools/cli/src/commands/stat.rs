//! `memlane stat`: what goes on, look by look.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use memlane::{Pattern, Role};
use serde::Serialize;

use super::ending::{Ending, complain};
use super::looks::{Look, TopicFigures};
use super::members::role_word;
use super::output::Output;
use super::place::Place;
use super::signals::Signals;
use super::table::{Lean, Table};
use super::units;

const AFTER_HELP: &str = "\
The first look shows totals; each later one what happened since the look before. Looking costs the participants nothing.

  MSG/S, B/S   messages, and bytes of the log with headers and padding, a second; at the first look in all
  LAG          bytes that the slowest gated subscriber has yet to read
  FULL/S       publishes that found no room
  HELD         share of the time that publishers waited for room (of the one held up most); at the first look how long
  HELD BY      who held them: the slowest gated subscriber
  LOST/S       bytes that subscribers without a gate missed
  WAIT, DIED   publishers that wait for room now; participants that died

With --json, a line for each look: unix_ns, and for each topic counts (publishers, subscribers, observers, waiting), totals
since it was made (head, tail, messages, came, died, abandoned), totals of those who are there (full, held_ns, losses,
lost_bytes), lag_bytes, held_by, and rates: null at the first look, then seconds, messages_per_s, log_bytes_per_s,
full_per_s, held_share (0 to 1), losses_per_s, lost_bytes_per_s, came, died.

Examples:
  memlane stat                                  a table each second, until ^C
  memlane stat 'md.>' --interval 5s --count 3   three looks
  memlane stat --json --count 2 | tail -1       rates of one second, for a program";

/// Show what goes on: rates, lag, who holds whom up, losses
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Stat {
    /// Only topics that match: tokens as names have, `*` for any one, and at the end `>` for one or more
    #[arg(value_name = "PATTERN", default_value = ">", hide_default_value = true)]
    pattern: Pattern,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
    /// Show each participant too
    #[arg(long, short)]
    participants: bool,
    /// From one look to the next
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::parse_interval)]
    interval: Duration,
    /// End after so many looks [default: until stopped]
    #[arg(long, value_name = "N", value_parser = units::parse_count)]
    count: Option<u64>,
}

/// One look.
#[derive(Debug, Serialize)]
struct Document<'a> {
    unix_ns: u64,
    bus: &'a str,
    topics: Vec<TopicFigures>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    errors: &'a [String],
}

impl Stat {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        let signals = Signals::watch()?;
        let mut output = Output::stdout()?;
        let mut before: Option<Look> = None;
        let mut due = Instant::now();
        let mut looks = 0;
        while self.count.is_none_or(|count| looks < count) {
            while let left @ 1.. = due.saturating_duration_since(Instant::now()).as_nanos() {
                if let Some(stop) = signals.stop() {
                    // Without a count, that is how it was meant to end.
                    return Ok(if self.count.is_none() { Ending::Done } else { Ending::Stopped(stop) });
                }
                output.check_reader()?;
                let left = Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX));
                std::thread::sleep(left.min(super::signals::LOOK_EVERY));
            }
            // Whoever was stopped for a while doesn't catch up.
            due = due.max(Instant::now() - self.interval) + self.interval;
            let look = Look::at(place, &self.pattern)?;
            let topics = look.figures(before.as_ref(), self.participants);
            if self.json {
                let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
                let unix_ns = u64::try_from(unix_ns).unwrap_or(u64::MAX);
                output.json(&Document { unix_ns, bus: &place.bus, topics, errors: &look.errors })?;
            } else {
                if looks > 0 {
                    output.line("")?;
                }
                self.print(&mut output, &topics, &place.bus)?;
            }
            output.flush()?;
            if !self.json {
                look.errors.iter().for_each(|error| complain(error));
            }
            before = Some(look);
            looks += 1;
        }
        Ok(Ending::Done)
    }

    fn print(&self, output: &mut Output, topics: &[TopicFigures], bus: &str) -> anyhow::Result<()> {
        if topics.is_empty() {
            return output.line(&format!("bus {bus} has no such topics: `memlane pub` and `memlane ingest` make them"));
        }
        topic_table(topics).lines().iter().try_for_each(|line| output.line(line))?;
        if self.participants && topics.iter().any(|topic| !topic.participants.is_empty()) {
            output.line("")?;
            participant_table(topics).lines().iter().try_for_each(|line| output.line(line))?;
        }
        Ok(())
    }
}

fn topic_table(topics: &[TopicFigures]) -> Table {
    use Lean::{Left, Right};
    let are_rates = topics.iter().any(|topic| topic.rates.is_some());
    let heads = if are_rates { ["MSG/S", "B/S", "FULL/S", "LOST/S"] } else { ["MESSAGES", "BYTES", "FULL", "LOST"] };
    let [messages, bytes, full, lost] = heads.map(|head| (head, Right));
    let mut table = Table::new(&[
        ("TOPIC", Left),
        ("PUB", Right),
        ("SUB", Right),
        ("OBS", Right),
        messages,
        bytes,
        ("LAG", Right),
        full,
        ("HELD", Right),
        lost,
        ("WAIT", Right),
        ("DIED", Right),
        ("HELD BY", Left),
    ]);
    for topic in topics {
        let [messages, bytes, full, held, lost] = match &topic.rates {
            Some(rates) => [
                units::short_count(rates.messages_per_s.round() as u64),
                units::bytes(rates.log_bytes_per_s as u64),
                units::short_count(rates.full_per_s.round() as u64),
                units::percent(rates.held_share),
                units::bytes(rates.lost_bytes_per_s as u64),
            ],
            // A topic that came among others that have rates.
            None if are_rates => Default::default(),
            None => [
                units::short_count(topic.messages),
                units::bytes(topic.tail),
                units::short_count(topic.full),
                units::nanoseconds(topic.held_ns),
                units::bytes(topic.lost_bytes),
            ],
        };
        let holder = topic.held_by.as_ref().map(|holder| format!("{} ({})", holder.name, holder.pid));
        table.row([
            topic.topic.clone(),
            topic.publishers.to_string(),
            topic.subscribers.to_string(),
            topic.observers.to_string(),
            messages,
            bytes,
            topic.lag_bytes.map_or_else(|| "-".to_owned(), units::bytes),
            full,
            held,
            lost,
            topic.waiting.to_string(),
            topic.died.to_string(),
            holder.unwrap_or_default(),
        ]);
    }
    table
}

fn participant_table(topics: &[TopicFigures]) -> Table {
    use Lean::{Left, Right};
    let are_rates = topics.iter().any(|topic| topic.rates.is_some());
    let heads = if are_rates { ["MSG/S", "FULL/S", "LOST/S"] } else { ["MESSAGES", "FULL", "LOST"] };
    let [messages, full, lost] = heads.map(|head| (head, Right));
    let mut table = Table::new(&[
        ("TOPIC", Left),
        ("ROLE", Left),
        ("SLOT", Right),
        ("NAME", Left),
        ("PID", Right),
        messages,
        ("LAG", Right),
        full,
        ("HELD", Right),
        lost,
        ("TAGS", Left),
    ]);
    for topic in topics {
        for one in &topic.participants {
            let member = &one.member;
            let publishes = member.role == Role::Publisher;
            let [messages, full, held, lost] = match (&one.rates, member.publishing, member.losses) {
                (Some(rates), publishing, losses) => [
                    units::short_count(rates.messages_per_s.round() as u64),
                    publishing.map_or_else(String::new, |_| units::short_count(rates.full_per_s.round() as u64)),
                    publishing.map_or_else(String::new, |_| units::percent(rates.held_share)),
                    losses.map_or_else(String::new, |_| units::bytes(rates.lost_bytes_per_s as u64)),
                ],
                (None, ..) if are_rates => Default::default(),
                (None, publishing, losses) => [
                    units::short_count(member.messages),
                    publishing.map_or_else(String::new, |own| units::short_count(own.full)),
                    publishing.map_or_else(String::new, |own| units::nanoseconds(own.held_ns)),
                    losses.map_or_else(String::new, |own| units::bytes(own.lost_bytes)),
                ],
            };
            let lag = member.lag_bytes.map_or_else(|| if publishes { "" } else { "joining" }.to_owned(), units::bytes);
            table.row([
                topic.topic.clone(),
                role_word(member.role).to_owned(),
                member.slot.to_string(),
                member.called().to_owned(),
                member.pid.to_string(),
                messages,
                lag,
                full,
                held,
                lost,
                member.tags(),
            ]);
        }
    }
    table
}
