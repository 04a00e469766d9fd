//! Looks at a bus, and what happened from one to the next.
//!
//! A look reads counters that participants keep for themselves: it costs them nothing. Rates are differences of two looks over the time
//! between them. Counters are foreign numbers: one that goes back has risen by nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use memlane::{BusError, OpenError, Participant, Pattern, Role, Snapshot, Topic, TopicError};
use serde::Serialize;

use super::members::Member;
use super::place::Place;
use super::units::per_second;

/// The topics of a bus at a moment.
#[derive(Debug)]
pub(super) struct Look {
    at: Instant,
    topics: BTreeMap<String, Seen>,
    /// Of topics that could not be looked at, why.
    pub(super) errors: Vec<String>,
}

/// A topic at a moment.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) epoch: u64,
    pub(super) capacity_bytes: u64,
    pub(super) snapshot: Snapshot,
}

/// A topic at a look, and what happened there since the look before.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TopicFigures {
    pub(super) topic: String,
    pub(super) publishers: usize,
    pub(super) subscribers: usize,
    pub(super) observers: usize,
    pub(super) capacity_bytes: u64,
    pub(super) head: u64,
    pub(super) tail: u64,
    pub(super) messages: u64,
    /// Publishes that found no room, of the living publishers.
    pub(super) full: u64,
    /// How long the living publishers waited for room, together.
    pub(super) held_ns: u64,
    /// How many of them wait now.
    pub(super) waiting: usize,
    /// What the living observers missed.
    pub(super) losses: u64,
    pub(super) lost_bytes: u64,
    pub(super) came: u64,
    pub(super) died: u64,
    pub(super) abandoned: u64,
    /// Of the slowest gated subscriber.
    pub(super) lag_bytes: Option<u64>,
    /// Who publishers were held up by, if they were since the look before, or are now.
    pub(super) held_by: Option<Holder>,
    pub(super) rates: Option<TopicRates>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) participants: Vec<MemberFigures>,
}

/// The slowest gated subscriber.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Holder {
    pub(super) slot: u32,
    pub(super) name: String,
    pub(super) pid: u64,
}

/// What happened on a topic between two looks.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct TopicRates {
    pub(super) seconds: f64,
    pub(super) messages_per_s: f64,
    pub(super) log_bytes_per_s: f64,
    pub(super) full_per_s: f64,
    /// Of the publisher that was held up most, as a share of the time: 0 to 1.
    pub(super) held_share: f64,
    pub(super) losses_per_s: f64,
    pub(super) lost_bytes_per_s: f64,
    pub(super) came: u64,
    pub(super) died: u64,
}

/// A participant at a look, and what it did since the look before.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MemberFigures {
    #[serde(flatten)]
    pub(super) member: Member,
    pub(super) rates: Option<MemberRates>,
}

/// What a participant did between two looks.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct MemberRates {
    pub(super) messages_per_s: f64,
    /// Publishers: into the log. Subscribers: how far they read.
    pub(super) log_bytes_per_s: f64,
    pub(super) full_per_s: f64,
    pub(super) held_share: f64,
    pub(super) losses_per_s: f64,
    pub(super) lost_bytes_per_s: f64,
}

impl Look {
    /// Looks at the topics that match `pattern`; a bus that nobody has made has none.
    ///
    /// Cost: some 10 µs for each topic. Errors: if the bus can't be listed.
    pub(super) fn at(place: &Place, pattern: &Pattern) -> anyhow::Result<Self> {
        let mut look = Self { at: Instant::now(), topics: BTreeMap::new(), errors: Vec::new() };
        let bus = match place.open_existing() {
            Err(BusError::NotFound { .. }) => return Ok(look),
            bus => bus?,
        };
        for name in bus.topics_matching(pattern)? {
            match bus.topic(&name)?.open().and_then(|topic| Ok(Seen::of(&topic)?)) {
                Ok(seen) => drop(look.topics.insert(name, seen)),
                // Removed a moment ago.
                Err(OpenError::Topic(TopicError::NotFound { .. })) => {}
                Err(error) => look.errors.push(format!("topic {name}: {error}")),
            }
        }
        Ok(look)
    }

    /// What there is, and what happened since `before`, with the participants if they are wanted; in the order of the topics' names.
    pub(super) fn figures(&self, before: Option<&Self>, with_participants: bool) -> Vec<TopicFigures> {
        let figures = |(name, seen): (&String, &Seen)| {
            let earlier = before.and_then(|before| Some((before.topics.get(name)?, self.at.duration_since(before.at))));
            let mut figures = TopicFigures::of(name, seen, earlier);
            if with_participants {
                figures.participants = seen.members(earlier);
            }
            figures
        };
        self.topics.iter().map(figures).collect()
    }

    #[cfg(test)]
    pub(super) fn made_up(at: Instant, topics: impl IntoIterator<Item = (&'static str, Seen)>) -> Self {
        let topics = topics.into_iter().map(|(name, seen)| (name.to_owned(), seen)).collect();
        Self { at, topics, errors: Vec::new() }
    }
}

/// The topic at the look before, and how long ago that was.
type Earlier<'a> = Option<(&'a Seen, Duration)>;

impl Seen {
    fn of(topic: &Topic) -> Result<Self, TopicError> {
        let info = topic.info();
        Ok(Self { epoch: info.epoch, capacity_bytes: info.options.capacity, snapshot: topic.snapshot()? })
    }

    /// Only if it is the same topic, and time has passed.
    fn same<'a>(&self, earlier: Earlier<'a>) -> Earlier<'a> {
        earlier.filter(|(seen, span)| seen.epoch == self.epoch && !span.is_zero())
    }

    fn members(&self, earlier: Earlier<'_>) -> Vec<MemberFigures> {
        let earlier = self.same(earlier);
        let figures = |one: &Participant| MemberFigures {
            member: Member::of(one, self.snapshot.tail),
            rates: earlier.map(|(before, span)| MemberRates::of(one, before.find(one), span)),
        };
        self.snapshot.participants().map(figures).collect()
    }

    /// The same participant, not another one in its slot.
    fn find(&self, one: &Participant) -> Option<&Participant> {
        let is_same = |earlier: &&Participant| {
            let identity = |it: &Participant| (it.role, it.slot, it.pid, it.since_unix_ns);
            identity(earlier) == identity(one)
        };
        self.snapshot.participants().find(is_same)
    }
}

impl MemberRates {
    /// One that wasn't there before came since: all that it counts happened since then.
    fn of(one: &Participant, before: Option<&Participant>, span: Duration) -> Self {
        let rise = |value: fn(&Participant) -> u64| value(one).saturating_sub(before.map_or(0, value));
        let per_second = |value| per_second(rise(value), span);
        let bytes = match (one.role, one.position, before.and_then(|before| before.position)) {
            (Role::Publisher, ..) => per_second(|it| it.log_bytes),
            (_, Some(now), Some(then)) => super::units::per_second(now.saturating_sub(then), span),
            _ => 0.0,
        };
        Self {
            messages_per_s: per_second(|it| it.messages),
            log_bytes_per_s: bytes,
            full_per_s: per_second(|it| it.full),
            held_share: (per_second(|it| it.held_ns) / 1e9).min(1.0),
            losses_per_s: per_second(|it| it.losses),
            lost_bytes_per_s: per_second(|it| it.lost_bytes),
        }
    }
}

impl TopicFigures {
    fn of(name: &str, seen: &Seen, earlier: Earlier<'_>) -> Self {
        let now = &seen.snapshot;
        let sum = |value: fn(&Participant) -> u64| now.participants().map(value).fold(0, u64::saturating_add);
        let rates = seen.same(earlier).map(|(before, span)| TopicRates::of(now, before, span));
        let waiting = now.publishers.iter().filter(|publisher| publisher.is_held).count();
        let were_held = waiting > 0 || rates.is_some_and(|rates| rates.held_share > 0.0);
        let slowest = now.slowest();
        Self {
            topic: name.to_owned(),
            publishers: now.publishers.len(),
            subscribers: now.subscribers.len(),
            observers: now.observers.len(),
            capacity_bytes: seen.capacity_bytes,
            head: now.head,
            tail: now.tail,
            messages: now.messages,
            full: sum(|it| it.full),
            held_ns: sum(|it| it.held_ns),
            waiting,
            losses: sum(|it| it.losses),
            lost_bytes: sum(|it| it.lost_bytes),
            came: now.came,
            died: now.died,
            abandoned: now.abandoned,
            lag_bytes: slowest.and_then(|slowest| Some(now.tail.saturating_sub(slowest.position?))),
            held_by: slowest.filter(|_| were_held).map(Holder::of),
            rates,
            participants: Vec::new(),
        }
    }

    /// The share of the ring that the slowest gated subscriber has yet to read: 0 to 1.
    pub(super) fn lag_share(&self) -> Option<f64> {
        self.lag_bytes.map(|lag| share(lag, self.capacity_bytes))
    }
}

/// `part` of `whole`: 0 to 1.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
}

impl TopicRates {
    fn of(now: &Snapshot, before: &Seen, span: Duration) -> Self {
        let then = &before.snapshot;
        let members: Vec<_> = now.participants().map(|one| MemberRates::of(one, before.find(one), span)).collect();
        let sum = |value: fn(&MemberRates) -> f64| members.iter().map(value).sum::<f64>();
        Self {
            seconds: span.as_secs_f64(),
            messages_per_s: per_second(now.messages.saturating_sub(then.messages), span),
            log_bytes_per_s: per_second(now.tail.saturating_sub(then.tail), span),
            full_per_s: sum(|it| it.full_per_s),
            held_share: members.iter().map(|it| it.held_share).fold(0.0, f64::max),
            losses_per_s: sum(|it| it.losses_per_s),
            lost_bytes_per_s: sum(|it| it.lost_bytes_per_s),
            came: now.came.saturating_sub(then.came),
            died: now.died.saturating_sub(then.died),
        }
    }
}

impl Holder {
    fn of(slowest: &Participant) -> Self {
        let member = Member::of(slowest, 0);
        Self { slot: member.slot, name: member.called().to_owned(), pid: member.pid }
    }
}

#[cfg(test)]
#[path = "looks_tests.rs"]
pub(super) mod tests;
