//! Discovery: what is on a bus, and what comes and goes there.
//!
//! Nobody announces anything but by what it holds: a topic is there if its directory is, a participant lives if the kernel says that its lock is held.
//! A watcher looks at both now and then and tells what changed. Each slot counts its holders and those that died, so nothing that happens
//! between two looks is lost: what came and went meanwhile is told as a number.

use crate::bus::Bus;
use crate::error::BusError;
use crate::pattern::Pattern;
use memlane_ring::snapshot::{Comings, History, Participant, Role, Snapshot};
use memlane_ring::{Topic as Log, TopicError};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// What happened on a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A topic is there, or is again.
    TopicMade {
        /// Its name.
        topic: String,
    },
    /// A topic was removed, with everybody on it.
    TopicRemoved {
        /// Its name.
        topic: String,
    },
    /// A participant came.
    Joined {
        /// The topic.
        topic: String,
        /// Who, as it was when it was seen first.
        participant: Participant,
    },
    /// A participant left.
    Left {
        /// The topic.
        topic: String,
        /// Who, as it was when it was seen last.
        participant: Participant,
    },
    /// A participant died: the kernel dropped its lock before it had left.
    Died {
        /// The topic.
        topic: String,
        /// Who, as it was when it was seen last.
        participant: Participant,
    },
    /// Participants came and ended between two looks.
    Passed {
        /// The topic.
        topic: String,
        /// What they did there.
        role: Role,
        /// In which slot.
        slot: u32,
        /// How many.
        count: u64,
        /// How many of them died.
        died: u64,
    },
}

/// A topic that is watched.
#[derive(Debug)]
struct Watched {
    identity: [u8; 16],
    slots: BTreeMap<(Role, u32), Seen>,
}

/// A slot as it was at the last look.
#[derive(Debug, Default)]
struct Seen {
    comings: Comings,
    holder: Option<Participant>,
}

/// Tells what comes and goes on a bus: first everything that is there, then every change.
#[derive(Debug)]
pub struct Watcher {
    bus: Bus,
    pattern: Pattern,
    interval: Duration,
    next_look: Instant,
    /// Whether what is found was there before.
    is_first_look: bool,
    topics: BTreeMap<String, Watched>,
    events: VecDeque<Event>,
}

impl Bus {
    /// Watches the topics that match `pattern`, and their participants.
    ///
    /// ```
    /// use memlane::{Bus, Event};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let root = memlane::doc_root();
    /// let bus = Bus::builder("watch").root(&root).label(memlane::Label::new("feed")?.tag("venue", "xnas")?).open()?;
    /// let mut watcher = bus.watch(">".parse()?);
    /// let topic = bus.topic("md.trades")?.open_or_create()?;
    /// let publisher = topic.publisher::<[u8]>().open()?;
    /// assert!(matches!(watcher.try_next()?, Some(Event::TopicMade { topic }) if topic == "md.trades"));
    /// assert!(matches!(watcher.try_next()?, Some(Event::Joined { participant, .. }) if participant.label.name() == "feed"));
    /// drop(publisher);
    /// assert!(matches!(watcher.next_event()?, Event::Left { .. }));
    /// # bus.remove("md.trades")?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn watch(&self, pattern: Pattern) -> Watcher {
        Watcher {
            bus: self.clone(),
            pattern,
            interval: Duration::from_millis(100),
            next_look: Instant::now(),
            is_first_look: true,
            topics: BTreeMap::new(),
            events: VecDeque::new(),
        }
    }

    /// Every topic that matches `pattern`, with its participants. One that can't be looked at stands with the reason.
    ///
    /// Cost: some 10 µs for each topic. Errors: [`BusError`], if the bus can't be listed.
    pub fn snapshot(&self, pattern: &Pattern) -> Result<BTreeMap<String, Result<Snapshot, TopicError>>, BusError> {
        let look = |name: String| {
            let snapshot = Log::open(&self.directory().join(&name)).and_then(|log| log.snapshot());
            // Removed a moment ago: it isn't there.
            (!matches!(snapshot, Err(TopicError::NotFound { .. }))).then_some((name, snapshot))
        };
        Ok(self.topics_matching(pattern)?.into_iter().filter_map(look).collect())
    }
}

impl Watcher {
    /// How often to look. Default 100 ms; a look takes some 10 µs for each topic, so for thousands it should be rarer.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// The next event, if there is one: looks at once, if nothing is left from the last look.
    ///
    /// Cost: some 10 µs for each topic. Errors: [`BusError`], if the bus can't be listed. A topic that can't be looked at is there, without
    /// participants.
    pub fn try_next(&mut self) -> Result<Option<Event>, BusError> {
        if self.events.is_empty() {
            self.look()?;
        }
        Ok(self.events.pop_front())
    }

    /// The next event of those that the last look found, without another look.
    ///
    /// Cost: none.
    pub fn next_found(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next event; waits for it without end.
    ///
    /// Errors: as for [`Watcher::try_next`].
    pub fn next_event(&mut self) -> Result<Event, BusError> {
        loop {
            if let Some(event) = self.next_within(Duration::MAX)? {
                return Ok(event);
            }
        }
    }

    /// The next event; waits for it up to `timeout`. `None` if the time was up.
    ///
    /// Errors: as for [`Watcher::try_next`].
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<Event>, BusError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let now = Instant::now();
            let is_over = deadline.is_some_and(|deadline| now >= deadline);
            if is_over || now >= self.next_look {
                self.next_look = now + self.interval;
                self.look()?;
                if is_over {
                    return Ok(self.events.pop_front());
                }
            } else {
                let until = deadline.map_or(self.next_look, |deadline| deadline.min(self.next_look));
                std::thread::sleep(until - now);
            }
        }
    }

    /// Looks at the bus, and takes down what changed.
    fn look(&mut self) -> Result<(), BusError> {
        let names = self.bus.topics_matching(&self.pattern)?;
        self.topics.retain(|topic, _| {
            let is_there = names.binary_search(topic).is_ok();
            if !is_there {
                self.events.push_back(Event::TopicRemoved { topic: topic.clone() });
            }
            is_there
        });
        for name in names {
            let Ok(log) = Log::open(&self.bus.directory().join(&name)) else { continue };
            let identity = log.header().identity();
            if self.topics.get(&name).is_some_and(|watched| watched.identity != identity) {
                self.topics.remove(&name);
                self.events.push_back(Event::TopicRemoved { topic: name.clone() });
            }
            let watched = self.topics.entry(name.clone()).or_insert_with(|| {
                self.events.push_back(Event::TopicMade { topic: name.clone() });
                Watched { identity, slots: BTreeMap::new() }
            });
            if let Ok((snapshot, history)) = log.look_at_participants() {
                watched.compare(&name, snapshot, history, self.is_first_look, &mut self.events);
            }
        }
        self.is_first_look = false;
        Ok(())
    }
}

impl Watched {
    fn compare(
        &mut self,
        topic: &str,
        snapshot: Snapshot,
        history: History,
        is_first_look: bool,
        events: &mut VecDeque<Event>,
    ) {
        let all = [snapshot.publishers, snapshot.subscribers, snapshot.observers].into_iter().flatten();
        let mut living: BTreeMap<_, _> = all.map(|one| ((one.role, one.slot), one)).collect();
        for (role, slot, comings) in history {
            let holder = living.remove(&(role, slot));
            let seen = self.slots.entry((role, slot)).or_insert_with(|| {
                if is_first_look { Seen::before(comings, holder.is_some()) } else { Seen::default() }
            });
            let topic = topic.to_owned();
            seen.turn((role, slot), comings, holder, |event| events.push_back(event(topic.clone())));
        }
    }
}

impl Seen {
    /// What was before the watcher, whose business that isn't.
    fn before(comings: Comings, is_held: bool) -> Self {
        let came = comings.came.wrapping_sub(is_held.into());
        Self { comings: Comings { came, is_taken: comings.is_taken && !is_held, ..comings }, holder: None }
    }

    /// Goes on to what the slot is now, and tells what must have happened.
    fn turn(
        &mut self,
        (role, slot): (Role, u32),
        comings: Comings,
        holder: Option<Participant>,
        mut tell: impl FnMut(Box<dyn FnOnce(String) -> Event>),
    ) {
        let before = core::mem::replace(&mut self.comings, comings);
        // A dead one that nobody has found yet, now and at the last look.
        let deaths = |at: Comings, is_held: bool| at.died.wrapping_add((at.is_taken && !is_held).into());
        let mut died = deaths(comings, holder.is_some()).wrapping_sub(deaths(before, self.holder.is_some()));
        let mut came = comings.came.wrapping_sub(before.came);
        if let Some(participant) = self.holder.take() {
            if came == 0 && holder.is_some() {
                self.holder = holder;
                return;
            }
            let is_dead = died > 0;
            died = died.wrapping_sub(is_dead.into());
            tell(Box::new(move |topic| {
                if is_dead { Event::Died { topic, participant } } else { Event::Left { topic, participant } }
            }));
        }
        came = came.wrapping_sub(holder.is_some().into());
        // Foreign numbers that go back, or far ahead, are told as nothing.
        if (1..1 << 32).contains(&came) {
            let died = died.min(came);
            tell(Box::new(move |topic| Event::Passed { topic, role, slot, count: came, died }));
        }
        if let Some(participant) = holder.clone() {
            tell(Box::new(move |topic| Event::Joined { topic, participant }));
        }
        self.holder = holder;
    }
}
