//! Receiving from every topic whose name matches a pattern.

use crate::bus::Bus;
use crate::error::{BusError, OpenError, ReceiveError};
use crate::pattern::Pattern;
use crate::raw::Trusted;
use crate::received::Sample;
use crate::selector::{Selectable, Selector};
use crate::subscriber::{Kind, Subscriber, Taken};
use core::marker::PhantomData;
use memlane_ring::{Start, TopicError, Wait};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

/// How often the bus is looked through for new topics where it has no bell that tells.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How to open a [`PatternSubscriber`].
#[derive(Clone, Debug)]
pub struct PatternSubscriberBuilder<P: ?Sized> {
    bus: Bus,
    pattern: Pattern,
    kind: Kind,
    start: Start,
    wait: Wait,
    prefault: bool,
    payload: PhantomData<fn() -> P>,
}

impl<P: ?Sized + Trusted> PatternSubscriberBuilder<P> {
    pub(crate) fn new(bus: Bus, pattern: Pattern) -> Self {
        let (kind, start, wait) = (Kind::default(), Start::default(), Wait::default());
        Self { bus, pattern, kind, start, wait, prefault: false, payload: PhantomData }
    }

    /// What to do when publishers are faster, for each topic. Default [`Kind::Gated`].
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Where to begin on topics that are there already. Default [`Start::Live`]. On those made later it begins at their beginning.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How to wait, in the calls that do. Default [`Wait::default`].
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Touch the memory of each topic when it is joined. Default no: joining many, and one that was just made, should be quick.
    #[must_use]
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.prefault = prefault;
        self
    }

    /// Opens a subscriber on every topic that matches now.
    ///
    /// Cost: some 50 µs a topic. Errors: [`BusError`] if the bus can't be looked through; a topic that can't be joined is told by the next
    /// call that receives.
    pub fn open(self) -> Result<PatternSubscriber<P>, BusError> {
        let selector = Selector::new(&self.bus).wait(self.wait);
        let mut subscriber = PatternSubscriber {
            changes: selector.changes(),
            selector,
            members: Vec::new(),
            refused: BTreeSet::new(),
            failures: VecDeque::new(),
            looked: Instant::now(),
            start: self.start,
            options: self,
        };
        subscriber.look_through()?;
        subscriber.start = Start::Earliest;
        Ok(subscriber)
    }
}

/// Receives messages of type `P` from every topic whose name matches a pattern, also from topics that are made later.
///
/// Each topic keeps its order; between topics there is none, and none is served twice while another waits. A topic that is removed is read to its end and
/// left. One that is made and removed again before this process has looked is missed.
pub struct PatternSubscriber<P: ?Sized> {
    options: PatternSubscriberBuilder<P>,
    selector: Selector,
    members: Vec<Member<P>>,
    /// Topics that could not be joined: told once, and not tried again as long as they are there.
    refused: BTreeSet<String>,
    failures: VecDeque<PatternError>,
    /// What the bus's bell counted when it was looked through last.
    changes: u64,
    looked: Instant,
    /// Where to begin on topics that are joined now.
    start: Start,
}

struct Member<P: ?Sized> {
    topic: String,
    subscriber: Subscriber<P>,
}

/// What went wrong with one topic, or with the bus. The others go on.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// A message of this topic could not be received, or some were lost.
    #[error("topic {topic}: {source}")]
    Receive {
        /// Its name.
        topic: String,
        /// Why.
        source: ReceiveError,
    },
    /// This topic matches, but can't be joined; it isn't tried again as long as it is there.
    #[error("topic {topic} can't be joined: {source}")]
    Open {
        /// Its name.
        topic: String,
        /// Why.
        source: Box<OpenError>,
    },
    /// The bus can't be looked through for new topics.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl<P: ?Sized + Trusted> PatternSubscriber<P> {
    /// The next message of any topic, with the topic's name, if there is one. Never waits.
    ///
    /// Cost: a look at a cache line of each topic that has nothing, and what [`Subscriber::try_receive`] costs.
    /// Errors: [`PatternError`]; go on receiving after it.
    pub fn try_receive(&mut self) -> Result<Option<(&str, Sample<'_, P>)>, PatternError> {
        self.receive_within(Duration::ZERO)
    }

    /// The next message of any topic, with the topic's name; waits for it without end.
    ///
    /// Errors: [`PatternError`]; go on receiving after it.
    pub fn receive(&mut self) -> Result<(&str, Sample<'_, P>), PatternError> {
        Ok(self.wait_for(None)?.expect("a wait without a deadline ends with a message"))
    }

    /// The next message of any topic, with the topic's name; waits for it up to `timeout`. `None` if the time was up.
    ///
    /// Errors: [`PatternError`]; go on receiving after it.
    pub fn receive_within(&mut self, timeout: Duration) -> Result<Option<(&str, Sample<'_, P>)>, PatternError> {
        self.wait_for(Some(timeout))
    }

    /// Waits until there may be a message, or something to tell, for at most `timeout`.
    pub fn wait(&mut self, timeout: Duration) {
        if self.failures.is_empty() {
            self.select(Some(timeout));
        }
    }

    /// The topics that it receives from now, in no order.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| &*member.topic)
    }

    fn wait_for(&mut self, timeout: Option<Duration>) -> Result<Option<(&str, Sample<'_, P>)>, PatternError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let (found, taken) = loop {
            self.look_through_if_changed()?;
            if let Some(failure) = self.failures.pop_front() {
                return Err(failure);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let Some(found) = self.select(left) else {
                if left.is_some_and(|left| left.is_zero()) {
                    return Ok(None);
                }
                continue;
            };
            let Member { topic, subscriber } = &mut self.members[found];
            match subscriber.take() {
                Ok(Some(taken)) => {
                    let awaited = subscriber.awaited();
                    if awaited.is_live() || awaited.is_there() || matches!(taken, Taken::Copied(_)) {
                        break (found, taken);
                    }
                }
                Ok(None) => continue,
                Err(ReceiveError::Removed) => {}
                Err(source) => return Err(PatternError::Receive { topic: topic.clone(), source }),
            }
            // Removed, and read to its end.
            self.members.swap_remove(found);
        };
        let Member { topic, subscriber } = &mut self.members[found];
        match subscriber.sample(taken) {
            Ok(sample) => Ok(Some((&**topic, sample))),
            Err(source) => Err(PatternError::Receive { topic: topic.clone(), source }),
        }
    }

    /// Waits for one that has something, for a change of the bus, or for `left`.
    fn select(&mut self, left: Option<Duration>) -> Option<usize> {
        let counts = self.selector.counts_changes();
        let left = if counts { left } else { Some(left.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)) };
        let mut members: Vec<&mut dyn Selectable> =
            self.members.iter_mut().map(|member| &mut member.subscriber as &mut dyn Selectable).collect();
        self.selector.select_or_change(&mut members, counts.then_some(self.changes), left).flatten()
    }

    fn look_through_if_changed(&mut self) -> Result<(), BusError> {
        let is_due = if self.selector.counts_changes() {
            self.selector.changes() != self.changes
        } else {
            self.looked.elapsed() >= LOOK_EVERY
        };
        if is_due { self.look_through() } else { Ok(()) }
    }

    /// Joins the topics that match and weren't there before.
    fn look_through(&mut self) -> Result<(), BusError> {
        // Before the list: what changes meanwhile is looked for again.
        self.changes = self.selector.changes();
        self.looked = Instant::now();
        let names: BTreeSet<String> = self.options.bus.topics_matching(&self.options.pattern)?.into_iter().collect();
        self.refused.retain(|name| names.contains(name));
        let joined: BTreeSet<&str> = self
            .members
            .iter()
            .filter(|member| member.subscriber.awaited().is_live())
            .map(|member| &*member.topic)
            .collect();
        let new: Vec<String> =
            names.iter().filter(|name| !joined.contains(&***name) && !self.refused.contains(*name)).cloned().collect();
        for topic in new {
            match self.join(&topic) {
                Ok(subscriber) => self.members.push(Member { topic, subscriber }),
                // It went again.
                Err(OpenError::Topic(TopicError::NotFound { .. })) => {}
                Err(source) => {
                    self.refused.insert(topic.clone());
                    self.failures.push_back(PatternError::Open { topic, source: source.into() });
                }
            }
        }
        Ok(())
    }

    fn join(&self, topic: &str) -> Result<Subscriber<P>, OpenError> {
        let PatternSubscriberBuilder { bus, kind, wait, prefault, .. } = &self.options;
        let topic = bus.topic(topic).expect("it was listed as a name").prefault(*prefault).open()?;
        topic.subscriber::<P>().kind(*kind).start(self.start).wait(*wait).open()
    }
}

impl<P: ?Sized> fmt::Debug for PatternSubscriber<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics = self.members.len();
        formatter
            .debug_struct("PatternSubscriber")
            .field("pattern", &self.options.pattern)
            .field("topics", &topics)
            .finish_non_exhaustive()
    }
}
