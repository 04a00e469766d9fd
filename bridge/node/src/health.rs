//! How a node's modules are: for logs, for systemd, and for whoever asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a module is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has been begun, and doesn't work yet.
    Starting,
    /// It does all that it is there for.
    Running,
    /// It runs, but can't do a part of what it is there for.
    Impaired {
        /// Why.
        why: String,
    },
    /// It was told to stop, and finishes what it has begun.
    Draining,
    /// It failed, and is begun again after a while.
    Failed {
        /// Why.
        why: String,
    },
}

/// How a module is, and was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleHealth {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: State,
    /// How often it failed so far.
    pub failures: u64,
}

/// How all modules of a node are. Clones show the same node; it may be looked at from any thread.
#[derive(Clone, Debug, Default)]
pub struct Health {
    modules: Arc<Mutex<BTreeMap<u64, ModuleHealth>>>,
}

impl Health {
    /// Each module, in the order in which they were begun first. Cost: a lock and a copy.
    #[must_use]
    pub fn modules(&self) -> Vec<ModuleHealth> {
        self.lock().values().cloned().collect()
    }

    /// Whether no module has failed or is impaired.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        !self.lock().values().any(|module| matches!(module.state, State::Failed { .. } | State::Impaired { .. }))
    }

    /// Whether every module runs, be it impaired, and none is about to end.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(|module| matches!(module.state, State::Running | State::Impaired { .. }))
    }

    /// Whether every module has come so far that it runs, or has failed: the node has begun then, as well as it can.
    #[must_use]
    pub(crate) fn is_settled(&self) -> bool {
        self.lock().values().all(|module| module.state != State::Starting || module.failures > 0)
    }

    /// All of it in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let modules = self.modules();
        let run = |module: &&ModuleHealth| matches!(module.state, State::Running | State::Impaired { .. });
        let running = modules.iter().filter(run).count();
        let mut summary = match modules.len() {
            0 => "no module is configured".to_owned(),
            all => format!("{running} of {all} modules run"),
        };
        for ModuleHealth { name, state, .. } in &modules {
            if let State::Failed { why } | State::Impaired { why } = state {
                summary = format!("{summary}; {name}: {why}");
            }
        }
        summary.replace(['\n', '\r'], " ")
    }

    pub(crate) fn add(&self, id: u64, name: &str) {
        let health = ModuleHealth { name: name.to_owned(), state: State::Starting, failures: 0 };
        self.lock().insert(id, health);
    }

    /// Whether that is something new.
    pub(crate) fn set(&self, id: u64, state: State) -> bool {
        let mut modules = self.lock();
        let Some(module) = modules.get_mut(&id) else { return false };
        module.failures += u64::from(matches!(state, State::Failed { .. }));
        std::mem::replace(&mut module.state, state.clone()) != state
    }

    pub(crate) fn remove(&self, id: u64) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, ModuleHealth>> {
        // A panic while it was held left nothing half-done.
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_in_part_is_ready_and_not_healthy() {
        let health = Health::default();
        assert!(health.is_healthy() && health.is_ready() && health.is_settled());
        health.add(1, "a");
        health.add(2, "b");
        assert!(health.is_healthy() && !health.is_ready() && !health.is_settled());
        health.set(1, State::Running);
        health.set(2, State::Impaired { why: "one\nof two".to_owned() });
        assert!(!health.is_healthy() && health.is_ready() && health.is_settled());
        assert_eq!(health.summary(), "2 of 2 modules run; b: one of two");
        health.set(2, State::Failed { why: "gone".to_owned() });
        health.set(2, State::Starting);
        assert!(health.is_healthy() && !health.is_ready() && health.is_settled());
        assert_eq!(health.modules()[1].failures, 1);
    }
}
