//! What came and went while one looked: the newest events of a bus, as lines.

use std::collections::VecDeque;

use memlane::{Bus, Event, Participant, Pattern, Watcher};

use crate::commands::members::role_word;

/// How many are kept.
const EVENTS_MAX: usize = 500;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) unix_ns: u64,
    pub(super) topic: String,
    pub(super) what: String,
    pub(super) is_death: bool,
}

/// Watches a bus that may come and go.
#[derive(Debug, Default)]
pub(super) struct Events {
    watcher: Option<Watcher>,
    /// The newest first.
    pub(super) told: VecDeque<Told>,
}

impl Events {
    /// Takes down what happened since the last call. What is there at the first is no news.
    pub(super) fn look(&mut self, bus: Option<Bus>, pattern: &Pattern, unix_ns: u64) {
        let Some(bus) = bus else {
            self.watcher = None;
            return;
        };
        let mut is_news = true;
        let watcher = self.watcher.get_or_insert_with(|| {
            is_news = false;
            bus.watch(pattern.clone())
        });
        // A bus that can't be listed is told of by who draws it.
        let mut next = watcher.try_next().unwrap_or_default();
        while let Some(event) = next {
            if is_news {
                self.told.push_front(Told::of(event, unix_ns));
            }
            next = watcher.next_found();
        }
        self.told.truncate(EVENTS_MAX);
    }
}

fn who(participant: &Participant) -> String {
    let name = participant.label.name();
    let name = if name.is_empty() { "without a name" } else { name };
    format!("{} {name} ({})", role_word(participant.role), participant.pid)
}

impl Told {
    pub(super) fn of(event: Event, unix_ns: u64) -> Self {
        let is_death = matches!(&event, Event::Died { .. } | Event::Passed { died: 1.., .. });
        let (topic, what) = match event {
            Event::TopicMade { topic } => (topic, "the topic was made".to_owned()),
            Event::TopicRemoved { topic } => (topic, "the topic was removed".to_owned()),
            Event::Joined { topic, participant } => (topic, format!("{} joined", who(&participant))),
            Event::Left { topic, participant } => (topic, format!("{} left", who(&participant))),
            Event::Died { topic, participant } => (topic, format!("{} died", who(&participant))),
            Event::Passed { topic, role, count, died, .. } => {
                let died = if died > 0 { format!(", {died} of them by dying") } else { String::new() };
                (topic, format!("{count} × {} came and went{died}", role_word(role)))
            }
        };
        Self { unix_ns, topic, what, is_death }
    }
}
