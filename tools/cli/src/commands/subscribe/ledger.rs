//! What a subscription has seen: counts, losses, rates, and how long messages took if they are stamped.

use std::fmt;
use std::time::{Duration, Instant};

use memlane::{Received, Topic};
use memlane_shm::clock::Ticker;
use serde::Serialize;

use crate::commands::ending::Ending;
use crate::commands::latencies::{Figures, Latencies};
use crate::commands::units;

#[derive(Debug)]
pub(super) struct Ledger {
    topic: Topic,
    totals: Totals,
    first_position: Option<u64>,
    last_position: Option<u64>,
    first_at: Option<Instant>,
    last_at: Instant,
    /// Totals when rates were last asked for, and when that was.
    before: (Totals, Instant),
    ticker: Ticker,
    /// Messages that were published before are history: how old they are says nothing.
    start_ticks: u64,
    latencies: Latencies,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Totals {
    messages: u64,
    bytes: u64,
    lost_ranges: u64,
    lost_bytes: u64,
    unreadable: u64,
}

/// What happened in the last while.
#[derive(Debug, Serialize)]
pub(super) struct Rates {
    event: &'static str,
    messages: u64,
    messages_per_s: f64,
    bytes_per_s: f64,
    lost_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Figures>,
}

/// What happened in all.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    event: &'static str,
    topic: String,
    ended: &'static str,
    #[serde(flatten)]
    totals: Totals,
    first_position: Option<u64>,
    last_position: Option<u64>,
    /// From the first message to the last.
    seconds: f64,
    messages_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Figures>,
}

impl Ledger {
    pub(super) fn new(topic: &Topic) -> Self {
        let (now, ticker) = (Instant::now(), Ticker::best());
        Self {
            topic: topic.clone(),
            totals: Totals::default(),
            first_position: None,
            last_position: None,
            first_at: None,
            last_at: now,
            before: (Totals::default(), now),
            ticker,
            start_ticks: ticker.now(),
            latencies: Latencies::new(),
        }
    }

    pub(super) fn messages(&self) -> u64 {
        self.totals.messages
    }

    pub(super) fn has_losses(&self) -> bool {
        self.totals.lost_ranges + self.totals.unreadable > 0
    }

    #[inline]
    pub(super) fn message(&mut self, received: &Received<'_, [u8]>) {
        if let Some(stamp) = received.stamp()
            && stamp >= self.start_ticks
        {
            let now = self.ticker.now();
            let taken_ns = self.topic.stamp_unix_ns(now).saturating_sub(self.topic.stamp_unix_ns(stamp));
            self.latencies.record(taken_ns);
        }
        self.totals.messages += 1;
        self.totals.bytes += received.view.len() as u64;
        self.first_position.get_or_insert(received.position);
        self.last_position = Some(received.position);
    }

    /// Messages came just now.
    pub(super) fn note_time(&mut self) {
        self.last_at = Instant::now();
        self.first_at.get_or_insert(self.last_at);
    }

    pub(super) fn lost(&mut self, from: u64, to: u64) {
        self.totals.lost_ranges += 1;
        self.totals.lost_bytes += to.saturating_sub(from);
    }

    pub(super) fn unreadable(&mut self) {
        self.totals.unreadable += 1;
    }

    fn latency(&self) -> Option<Figures> {
        (!self.latencies.is_empty()).then(|| self.latencies.figures())
    }

    /// The rates since they were last asked for.
    pub(super) fn rates(&mut self) -> Rates {
        let (before, at) = self.before;
        let span = at.elapsed();
        self.before = (self.totals, Instant::now());
        Rates {
            event: "rate",
            messages: self.totals.messages,
            messages_per_s: units::per_second(self.totals.messages - before.messages, span),
            bytes_per_s: units::per_second(self.totals.bytes - before.bytes, span),
            lost_bytes: self.totals.lost_bytes - before.lost_bytes,
            latency: self.latency(),
        }
    }

    pub(super) fn summary(&self, topic: &str, ending: Ending) -> Summary {
        let span = self.first_at.map_or(Duration::ZERO, |first| self.last_at - first);
        Summary {
            event: "summary",
            topic: topic.to_owned(),
            ended: ending.word(),
            totals: self.totals,
            first_position: self.first_position,
            last_position: self.last_position,
            seconds: span.as_secs_f64(),
            messages_per_s: units::per_second(self.totals.messages, span),
            latency: self.latency(),
        }
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = units::bytes(self.bytes_per_s as u64);
        write!(formatter, "{}, {bytes}/s", units::rate(self.messages_per_s))?;
        write!(formatter, ", {} in all", units::count(self.messages))?;
        write_losses(formatter, self.lost_bytes)?;
        write_latency(formatter, self.latency)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { messages, bytes, lost_bytes, unreadable, .. } = self.totals;
        let plural = if messages == 1 { "message" } else { "messages" };
        write!(formatter, "received {} {plural}, {}", units::count(messages), units::bytes(bytes))?;
        if self.seconds > 0.0 {
            let span = units::span(Duration::from_secs_f64(self.seconds));
            write!(formatter, ", in {span} ({})", units::rate(self.messages_per_s))?;
        }
        write_losses(formatter, lost_bytes)?;
        if unreadable > 0 {
            write!(formatter, "; {} unreadable", units::count(unreadable))?;
        }
        write_latency(formatter, self.latency)
    }
}

fn write_losses(formatter: &mut fmt::Formatter<'_>, lost_bytes: u64) -> fmt::Result {
    if lost_bytes == 0 { Ok(()) } else { write!(formatter, "; lost {}", units::bytes(lost_bytes)) }
}

fn write_latency(formatter: &mut fmt::Formatter<'_>, latency: Option<Figures>) -> fmt::Result {
    let Some(Figures { p50_ns, p99_ns, .. }) = latency else { return Ok(()) };
    write!(formatter, "; latency p50 {}, p99 {}", units::nanoseconds(p50_ns), units::nanoseconds(p99_ns))
}
