//! The supervisor with modules that do as they are told, and a clock that goes as the test says.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::backoff::BackoffPolicy;
use crate::health::State;
use crate::module::{Context, Module, ModuleError, Order};
use crate::supervise::{Event, Supervisor};

/// What a module does when it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Fail,
    Panic,
    Return,
    Run,
}

struct Puppet {
    name: &'static str,
    does: Arc<Mutex<Does>>,
    /// Who has ended, in order.
    ended: Arc<Mutex<Vec<&'static str>>>,
}

impl Module for Puppet {
    fn name(&self) -> &str {
        self.name
    }

    fn run(&self, context: &Context) -> Result<(), ModuleError> {
        let does = *self.does.lock().unwrap();
        match does {
            Does::Fail => Err("no disk".into()),
            Does::Panic => panic!("a bug"),
            Does::Return => Ok(()),
            Does::Run => {
                context.say_running();
                while !matches!(context.order(), Some(Order::Stop)) {}
                self.ended.lock().unwrap().push(self.name);
                Ok(())
            }
        }
    }
}

struct Stage {
    supervisor: Supervisor,
    events: Receiver<Event>,
    ended: Arc<Mutex<Vec<&'static str>>>,
    now: Instant,
}

fn stage() -> Stage {
    let (sender, events) = channel();
    let supervisor = Supervisor::new(BackoffPolicy::default(), sender);
    Stage { supervisor, events, ended: Arc::default(), now: Instant::now() }
}

impl Stage {
    fn puppet(&self, name: &'static str, does: Does) -> (Arc<dyn Module>, Arc<Mutex<Does>>) {
        let does = Arc::new(Mutex::new(does));
        (Arc::new(Puppet { name, does: does.clone(), ended: self.ended.clone() }), does)
    }

    fn add(&mut self, name: &'static str, does: Does) -> Arc<Mutex<Does>> {
        let (module, does) = self.puppet(name, does);
        self.supervisor.add(module, self.now);
        does
    }

    /// Hands events on until `is_so`.
    fn until(&mut self, is_so: impl Fn(&Supervisor) -> bool) {
        while !is_so(&self.supervisor) {
            let event = self.events.recv_timeout(Duration::from_secs(60)).expect("nothing happens any more");
            self.supervisor.take(event, self.now);
        }
    }

    fn state(&self, name: &str) -> State {
        state(&self.supervisor, name)
    }
}

fn state(supervisor: &Supervisor, name: &str) -> State {
    let modules = supervisor.health().modules();
    modules.into_iter().find(|module| module.name == name).unwrap().state
}

fn has_failed(supervisor: &Supervisor, name: &str) -> bool {
    matches!(state(supervisor, name), State::Failed { .. })
}

#[test]
fn who_fails_panics_or_returns_is_begun_again_after_a_while_and_the_others_go_on() {
    for (does, word) in
        [(Does::Fail, "no disk"), (Does::Panic, "it panicked: a bug"), (Does::Return, "without being told")]
    {
        let mut stage = stage();
        stage.add("sound", Does::Run);
        let its = stage.add("ill", does);
        stage.until(|supervisor| has_failed(supervisor, "ill") && state(supervisor, "sound") == State::Running);
        let State::Failed { why } = stage.state("ill") else { panic!("it has failed") };
        assert!(why.contains(word), "{why}");
        let due = stage.supervisor.next_due().unwrap();
        let wait = due - stage.now;
        assert!((Duration::from_millis(250)..=Duration::from_millis(500)).contains(&wait), "{wait:?}");

        stage.supervisor.begin_what_is_due(due - Duration::from_nanos(1));
        assert!(has_failed(&stage.supervisor, "ill"));
        *its.lock().unwrap() = Does::Run;
        stage.supervisor.begin_what_is_due(due);
        stage.until(|supervisor| state(supervisor, "ill") == State::Running);
        assert_eq!((stage.state("sound"), stage.supervisor.next_due()), (State::Running, None));
        stage.supervisor.stop();
        stage.until(|supervisor| supervisor.running().is_empty());
    }
}

#[test]
fn waits_grow_with_each_failure_in_a_row() {
    let mut stage = stage();
    stage.add("ill", Does::Fail);
    let mut longest = Duration::ZERO;
    for _ in 0..8 {
        stage.until(|supervisor| has_failed(supervisor, "ill"));
        let due = stage.supervisor.next_due().unwrap();
        longest = due - stage.now;
        stage.now = due;
        stage.supervisor.begin_what_is_due(due);
    }
    assert!((Duration::from_secs(15)..=Duration::from_secs(30)).contains(&longest), "{longest:?}");
}

#[test]
fn all_end_in_reverse_order_and_who_rests_is_not_begun_for_it() {
    let mut stage = stage();
    stage.add("a", Does::Run);
    stage.add("ill", Does::Fail);
    stage.add("b", Does::Run);
    stage.add("c", Does::Run);
    stage.until(|supervisor| has_failed(supervisor, "ill") && supervisor.health().summary().starts_with("3 of 4"));
    stage.supervisor.stop();
    assert_eq!(stage.supervisor.next_due(), None);
    stage.supervisor.begin_what_is_due(stage.now + Duration::from_secs(3600));
    stage.until(|supervisor| supervisor.running().is_empty());
    assert_eq!(*stage.ended.lock().unwrap(), ["c", "b", "a"]);
}

#[test]
fn a_reload_begins_what_is_new_ends_what_is_gone_and_tells_what_stays() {
    let mut stage = stage();
    stage.add("stays", Does::Run);
    stage.add("goes", Does::Run);
    stage.add("ill and goes", Does::Fail);
    stage.until(|supervisor| {
        has_failed(supervisor, "ill and goes") && supervisor.health().summary().starts_with("2 of 3")
    });
    let config = crate::config::Config::parse("[node]\nname = \"n\"\n", std::path::Path::new("x.toml")).unwrap();
    let new = vec![stage.puppet("stays", Does::Run).0, stage.puppet("comes", Does::Run).0];
    stage.supervisor.reload(new, &Arc::new(config), stage.now);
    stage
        .until(|supervisor| supervisor.running() == ["stays", "comes"] && state(supervisor, "comes") == State::Running);
    assert_eq!((stage.state("stays"), stage.ended.lock().unwrap().as_slice()), (State::Running, &["goes"][..]));
    stage.supervisor.stop();
    stage.until(|supervisor| supervisor.running().is_empty());
}
