//! Rate limits: how many messages and bytes a publisher, or all publishers of a topic together, may publish in a second.
//!
//! The generic cell rate algorithm, as governor has it: a word says when everything that was let through would have passed at the even
//! rate (the theoretical arrival time), in 64ths of a nanosecond of the kernel's monotonic clock. What is asked for moves it on, and is
//! refused if the word would then be further ahead than a burst is long. One word holds the whole state, so that publishers of
//! a topic share it by compare-and-swap: there is no lock that a dead one could hold.
//!
//! Invariant: a word that is further ahead than a burst is long was written by no publisher, and counts as a burst that is used up.
//! So foreign bytes hold nobody up for longer than what it asks for takes at the even rate.
//! A publisher that dies between asking and publishing has used up what it asked for, which comes back by itself.
//! Ordering: the words order nothing else; all accesses are relaxed.

use crate::error::{ClaimError, TopicError};
use crate::layout::{Geometry, rate};
use crate::memory::Log;
use memlane_shm::clock::{Calibration, Ticker};
use memlane_shm::sync::{AtomicU64, Ordering};
use std::time::Duration;

/// So many, on average, in a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// On average, per second: 1 to 10¹².
    pub per_second: u64,
    /// At once: 1 to 10¹², and at most what takes ten days at the even rate.
    pub burst: u64,
}

/// Limits of messages and of bytes (of payloads with their extensions). `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// Of messages.
    pub messages: Option<Rate>,
    /// Of bytes. A message that is longer than the burst is refused for good.
    pub bytes: Option<Rate>,
}

/// The largest rate and burst.
const RATE_MAX: u64 = 1_000_000_000_000;
/// The longest that a burst may take at the even rate, in nanoseconds: ten days.
const BURST_NS_MAX: u64 = 10 * 24 * 3600 * 1_000_000_000;
/// Parts of a nanosecond that words count in: fine enough for 10⁹ a second, and enough of them for nine years of uptime.
const PARTS_PER_NS: u64 = 64;
const PARTS_PER_SECOND: u64 = PARTS_PER_NS * 1_000_000_000;

impl RateLimit {
    /// Limits messages: so many `per_second`, and up to `burst` at once.
    #[must_use]
    pub fn messages(mut self, per_second: u64, burst: u64) -> Self {
        self.messages = Some(Rate { per_second, burst });
        self
    }

    /// Limits bytes of payloads and extensions: so many `per_second`, and up to `burst` at once.
    #[must_use]
    pub fn bytes(mut self, per_second: u64, burst: u64) -> Self {
        self.bytes = Some(Rate { per_second, burst });
        self
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.messages.is_none() && self.bytes.is_none()
    }

    /// Whether its numbers can be.
    ///
    /// Errors: [`TopicError::BadOption`].
    pub fn check(&self) -> Result<(), TopicError> {
        for Rate { per_second, burst } in self.messages.iter().chain(&self.bytes) {
            let bad = |value, reason| Err(TopicError::BadOption { option: "rate_limit", value, reason });
            if !(1..=RATE_MAX).contains(per_second) {
                return bad(*per_second, "a rate is 1 to 10^12 a second");
            }
            let burst_ns = u128::from(*burst) * 1_000_000_000 / u128::from(*per_second);
            if !(1..=RATE_MAX).contains(burst) || burst_ns > BURST_NS_MAX.into() {
                return bad(*burst, "a burst is 1 to 10^12, and at most what takes ten days at the rate");
            }
        }
        Ok(())
    }
}

/// A checked rate in the unit of the words.
#[derive(Clone, Copy, Debug)]
struct Cell {
    rate: Rate,
    /// What each one costs, if it is to be a whole number of parts, so that a burst of single ones is exact; zero if not.
    one: u64,
    /// How far ahead of now a word may be.
    tolerance: u64,
}

/// Why a cell refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// In so many parts of a nanosecond there is enough.
    Wait(u64),
    /// More than a burst is asked for.
    Never,
}

impl Cell {
    fn new(rate: Rate, one_by_one: bool) -> Self {
        let one = if one_by_one { PARTS_PER_SECOND.div_ceil(rate.per_second) } else { 0 };
        let mut cell = Self { rate, one, tolerance: 0 };
        cell.tolerance = cell.cost(rate.burst);
        cell
    }

    /// How long `count` take at the even rate, rounded up: the limit is never exceeded.
    fn cost(&self, count: u64) -> u64 {
        if self.one > 0 {
            return count.saturating_mul(self.one);
        }
        // A division of 128 bits takes longer than all the rest: it is for bursts.
        match count.checked_mul(PARTS_PER_SECOND) {
            Some(parts) => parts.div_ceil(self.rate.per_second),
            None => {
                let parts = u128::from(count) * u128::from(PARTS_PER_SECOND);
                u64::try_from(parts.div_ceil(self.rate.per_second.into())).unwrap_or(u64::MAX)
            }
        }
    }

    /// Takes `count` at `now`, in parts of a nanosecond.
    fn take(&self, word: &AtomicU64, now: u64, count: u64) -> Result<(), Refusal> {
        if count > self.rate.burst {
            return Err(Refusal::Never);
        }
        let latest = now.saturating_add(self.tolerance);
        let mut found = word.load(Ordering::Relaxed);
        loop {
            let next = found.clamp(now, latest).saturating_add(self.cost(count));
            if next > latest {
                return Err(Refusal::Wait(next - latest));
            }
            match word.compare_exchange(found, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => found = other,
            }
        }
    }

    /// Gives back what was taken and not used.
    fn give_back(&self, word: &AtomicU64, count: u64) {
        let mut found = word.load(Ordering::Relaxed);
        while let Err(other) =
            word.compare_exchange(found, found.saturating_sub(self.cost(count)), Ordering::Relaxed, Ordering::Relaxed)
        {
            found = other;
        }
    }
}

/// A limit with the words that it counts in.
#[derive(Debug)]
struct Limit {
    messages: Option<Cell>,
    bytes: Option<Cell>,
}

impl Limit {
    fn new(limit: &RateLimit) -> Self {
        Self {
            messages: limit.messages.map(|rate| Cell::new(rate, true)),
            bytes: limit.bytes.map(|rate| Cell::new(rate, false)),
        }
    }

    /// Takes `messages` and `bytes`, or neither.
    fn take(&self, words: [&AtomicU64; 2], now: u64, messages: u64, bytes: u64) -> Result<(), Refusal> {
        if let Some(cell) = &self.messages {
            cell.take(words[0], now, messages)?;
        }
        let Some(cell) = &self.bytes else { return Ok(()) };
        cell.take(words[1], now, bytes).inspect_err(|_| {
            if let Some(cell) = &self.messages {
                cell.give_back(words[0], messages);
            }
        })
    }

    fn give_back(&self, words: [&AtomicU64; 2], messages: u64, bytes: u64) {
        for (cell, word, count) in [(&self.messages, words[0], messages), (&self.bytes, words[1], bytes)] {
            if let Some(cell) = cell {
                cell.give_back(word, count);
            }
        }
    }
}

/// A clock that reads parts of a nanosecond.
#[derive(Clone, Copy, Debug)]
struct Clock {
    ticker: Ticker,
    calibration: Calibration,
}

impl Clock {
    fn monotonic() -> Self {
        let calibration = Calibration::monotonic();
        Self { ticker: Ticker::of(calibration.source).unwrap_or_else(Ticker::best), calibration }
    }

    /// The processor's counter, if there is one that can be relied on. Cost: 2 ms, once in a process.
    fn fastest() -> Self {
        Self { ticker: Ticker::best(), calibration: Calibration::measure() }
    }

    fn now(&self) -> u64 {
        self.calibration.ns(self.ticker.now()).saturating_mul(PARTS_PER_NS)
    }
}

/// What a limited publisher asks before it claims: its own limit and its topic's.
#[derive(Debug)]
pub(crate) struct Meter {
    own: Limit,
    own_words: [AtomicU64; 2],
    own_clock: Clock,
    /// With the clock that all its publishers read alike, if it limits anything.
    topic: Option<(Limit, Clock)>,
    /// How long the last refusal said to wait.
    pub(crate) wait: Duration,
}

impl Meter {
    /// A meter of both limits, which were checked; `None` if neither limits anything.
    pub(crate) fn new(own: &RateLimit, topic: &RateLimit) -> Option<Box<Self>> {
        if own.is_none() && topic.is_none() {
            return None;
        }
        Some(Box::new(Self {
            own: Limit::new(own),
            own_words: [AtomicU64::new(0), AtomicU64::new(0)],
            own_clock: if own.is_none() { Clock::monotonic() } else { Clock::fastest() },
            // Each process measures the counter for itself: what others share needs the kernel's clock.
            topic: (!topic.is_none()).then(|| (Limit::new(topic), Clock::monotonic())),
            wait: Duration::ZERO,
        }))
    }

    /// Takes `messages` with `bytes` bytes in all from both limits, or from neither.
    ///
    /// Errors: [`ClaimError::RateLimited`], then `wait` says for how long; [`ClaimError::LongerThanBurst`].
    pub(crate) fn take(&mut self, log: &Log, messages: u64, bytes: u64) -> Result<(), ClaimError> {
        let own_words = [&self.own_words[0], &self.own_words[1]];
        let is_limited = self.own.messages.is_some() || self.own.bytes.is_some();
        let of_own = if is_limited { self.own.take(own_words, self.own_clock.now(), messages, bytes) } else { Ok(()) };
        let taken = of_own.and_then(|()| {
            let Some((topic, clock)) = &self.topic else { return Ok(()) };
            let of_topic = topic.take(topic_words(log), clock.now(), messages, bytes);
            of_topic.inspect_err(|_| self.own.give_back(own_words, messages, bytes))
        });
        taken.map_err(|refusal| match refusal {
            Refusal::Never => ClaimError::LongerThanBurst,
            Refusal::Wait(parts) => {
                self.wait = Duration::from_nanos(parts.div_ceil(PARTS_PER_NS));
                ClaimError::RateLimited
            }
        })
    }

    /// Gives back what was taken for a message that was not published.
    pub(crate) fn give_back(&self, log: &Log, messages: u64, bytes: u64) {
        self.own.give_back([&self.own_words[0], &self.own_words[1]], messages, bytes);
        if let Some((topic, _)) = &self.topic {
            topic.give_back(topic_words(log), messages, bytes);
        }
    }
}

fn topic_words(log: &Log) -> [&AtomicU64; 2] {
    [log.control(rate::MESSAGES), log.control(rate::BYTES)]
}

/// How many bytes a frame with a body of `body` bytes counts as.
pub(crate) fn counted_bytes(geometry: &Geometry, body: u64) -> u64 {
    (body + crate::layout::FRAME_HEADER_BYTES).saturating_sub(geometry.payload_at)
}

#[cfg(all(test, not(loom)))]
mod tests;
