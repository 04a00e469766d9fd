//! Begins modules, begins again what fails, and ends them all in reverse order.
//!
//! It has no loop and no clock of its own: whoever runs it hands it events as they come, and the time, and asks when something is due next.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Instant;

use tracing::{error, info};

use crate::backoff::{Backoff, BackoffPolicy};
use crate::config::Config;
use crate::health::{Health, State};
use crate::module::{Context, Module};

/// What happens in a node.
#[derive(Debug)]
pub enum Event {
    /// The thread of a module has ended.
    Ended {
        /// Which one's.
        id: u64,
        /// What it said; that it panicked is a failure.
        result: Result<(), String>,
    },
    /// A module says of itself what it hadn't said before: [`Health`] has it.
    News,
    /// A signal has come.
    Signal(i32),
}

/// A node's modules.
pub struct Supervisor {
    slots: Vec<Slot>,
    health: Health,
    events: Sender<Event>,
    policy: BackoffPolicy,
    next_id: u64,
    is_stopping: bool,
}

struct Slot {
    id: u64,
    module: Arc<dyn Module>,
    context: Context,
    backoff: Backoff,
    work: Work,
    /// Whether it was told to stop.
    leaves: bool,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Runs { since: Instant },
    Rests { until: Instant },
}

impl Supervisor {
    /// One without modules. What happens is sent to `events`, to be handed back to [`Supervisor::take`].
    #[must_use]
    pub fn new(policy: BackoffPolicy, events: Sender<Event>) -> Self {
        Self { slots: Vec::new(), health: Health::default(), events, policy, next_id: 0, is_stopping: false }
    }

    /// How its modules are.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Begins `module`.
    ///
    /// Cost: a thread.
    pub fn add(&mut self, module: Arc<dyn Module>, now: Instant) {
        let id = self.next_id;
        self.next_id += 1;
        self.health.add(id, module.name());
        let context = Context::new(id, module.name(), self.health.clone(), self.events.clone());
        let (backoff, work) = (Backoff::new(self.policy), Work::Rests { until: now });
        self.slots.push(Slot { id, module, context, backoff, work, leaves: false });
        self.begin_what_is_due(now);
    }

    /// Goes over to `modules`: those with new names are begun, those whose names are none of theirs are told to stop, and the others are told of
    /// `config`.
    pub fn reload(&mut self, modules: Vec<Arc<dyn Module>>, config: &Arc<Config>, now: Instant) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.leaves) {
            match modules.iter().find(|module| module.name() == slot.module.name()) {
                Some(module) => {
                    // It is what is begun when this one fails.
                    slot.module = Arc::clone(module);
                    slot.context.tell_reload(Arc::clone(config));
                }
                None => {
                    info!(module = slot.module.name(), "not in the configuration any more: ends");
                    slot.tell_stop();
                }
            }
        }
        self.remove_what_rests();
        for module in modules {
            if !self.slots.iter().any(|slot| !slot.leaves && slot.module.name() == module.name()) {
                info!(module = module.name(), "new in the configuration: begins");
                self.add(module, now);
            }
        }
    }

    /// Takes in that something has happened.
    pub fn take(&mut self, event: Event, now: Instant) {
        if let Event::Ended { id, result } = event {
            self.has_ended(id, result, now);
        }
        self.stop_the_last();
    }

    /// Begins what has rested long enough.
    pub fn begin_what_is_due(&mut self, now: Instant) {
        if self.is_stopping {
            return;
        }
        for slot in &mut self.slots {
            if matches!(slot.work, Work::Rests { until } if until <= now) && !slot.leaves {
                self.health.set(slot.id, State::Starting);
                // Orders that were for the one before are none of this one's: it begins with what they said.
                slot.context = Context::new(slot.id, slot.module.name(), self.health.clone(), self.events.clone());
                slot.work = Work::Runs { since: now };
                info!(module = slot.module.name(), "begins");
                slot.begin(&self.events);
            }
        }
    }

    /// When something is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        let rests = self.slots.iter().filter_map(|slot| match slot.work {
            Work::Rests { until } => Some(until),
            Work::Runs { .. } => None,
        });
        rests.min().filter(|_| !self.is_stopping)
    }

    /// Tells all modules to stop, each once those begun after it have ended.
    pub fn stop(&mut self) {
        self.is_stopping = true;
        self.stop_the_last();
    }

    /// The names of those that haven't ended.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        self.slots.iter().map(|slot| slot.module.name().to_owned()).collect()
    }

    fn has_ended(&mut self, id: u64, result: Result<(), String>, now: Instant) {
        let Some(index) = self.slots.iter().position(|slot| slot.id == id) else { return };
        let slot = &mut self.slots[index];
        let name = slot.module.name();
        if slot.leaves {
            match result {
                Ok(()) => info!(module = name, "ended"),
                Err(why) => error!(module = name, "failed while it was to end: {why}"),
            }
            self.health.remove(id);
            self.slots.remove(index);
            return;
        }
        let why = result.err().unwrap_or_else(|| "it ended without being told to".to_owned());
        let Work::Runs { since } = slot.work else { return };
        let wait = slot.backoff.failed(now.saturating_duration_since(since), fastrand::f64());
        error!(module = name, "failed: {why}; begins again in {:.1} s", wait.as_secs_f64());
        slot.work = Work::Rests { until: now + wait };
        self.health.set(id, State::Failed { why });
    }

    /// While all are to stop: tells the last one, if it wasn't yet.
    fn stop_the_last(&mut self) {
        if !self.is_stopping {
            return;
        }
        while let Some(last) = self.slots.last_mut() {
            last.tell_stop();
            if matches!(last.work, Work::Runs { .. }) {
                return;
            }
            self.remove_what_rests();
        }
    }

    /// Forgets those that are to stop and don't run.
    fn remove_what_rests(&mut self) {
        let health = &self.health;
        self.slots.retain(|slot| {
            let goes = slot.leaves && matches!(slot.work, Work::Rests { .. });
            if goes {
                health.remove(slot.id);
            }
            !goes
        });
    }
}

impl Slot {
    fn tell_stop(&mut self) {
        if !std::mem::replace(&mut self.leaves, true) {
            self.context.tell_stop();
        }
    }

    fn begin(&self, events: &Sender<Event>) {
        let (id, module, context) = (self.id, Arc::clone(&self.module), self.context.clone());
        let sender = events.clone();
        let run = move || {
            let result = match catch_unwind(AssertUnwindSafe(|| module.run(&context))) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(with_causes(&*error)),
                Err(panic) => Err(format!("it panicked: {}", words_of(&*panic))),
            };
            // Without a supervisor there is nobody to tell.
            let _ = sender.send(Event::Ended { id, result });
        };
        if let Err(error) = thread::Builder::new().name("memlane-module".to_owned()).spawn(run) {
            let result = Err(format!("the system has no thread for it: {error}"));
            let _ = events.send(Event::Ended { id, result });
        }
    }
}

/// An error with its causes; those that it says itself aren't said twice.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        cause = inner.source();
    }
    said
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Supervisor").field("running", &self.running()).finish_non_exhaustive()
    }
}
