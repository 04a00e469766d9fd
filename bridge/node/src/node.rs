//! A node from its configuration to its end: one loop, which sleeps until something happens or is due.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use memlane::LabelError;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;
use tracing::{error, info, warn};

use crate::backoff::BackoffPolicy;
use crate::bridge::BridgeModule;
use crate::config::{Config, ConfigError};
use crate::journal::JournalModule;
use crate::logging::Log;
use crate::module::Module;
use crate::notify::Notifier;
use crate::place::Place;
use crate::reload::refusals;
use crate::supervise::{Event, Supervisor};

/// How long to sleep where nothing is due.
const SLEEP_MAX: Duration = Duration::from_secs(3600);
/// After so long systemd hears that the node is ready though a module hasn't come so far, as on a file server that doesn't answer: else it would end the
/// others too.
const READY_AFTER: Duration = Duration::from_secs(30);

/// How to run a node.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration, which is read again at SIGHUP.
    pub config: PathBuf,
    /// Which bus, where the configuration doesn't say it.
    pub usual: Place,
    /// Whether to log as JSON, whatever the configuration says.
    pub is_json: bool,
}

/// How a node ended that was told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every module finished what it had begun.
    Drained,
    /// The time for that was up. The log says which did not.
    CutShort,
}

/// Why a node could not begin. Nothing was begun.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration can't be read, or not be followed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node's name can't be shown to others.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// The system lets it not listen to signals.
    #[error("can't watch for signals: {0}")]
    Signals(#[from] io::Error),
}

/// Runs a node until SIGTERM or SIGINT; a second one ends the process at once. Logs to stderr, and tells systemd how it is.
///
/// One for a process: it takes the process's signals, log and panic hook. Errors: [`NodeError`].
pub fn run(options: &Options) -> Result<Ended, NodeError> {
    let config = Config::read(&options.config)?;
    let place = Place::of(&config.node, &options.usual)?;
    let (sender, events) = channel();
    watch_signals(&sender)?;
    let log = Log::begin(&config.log, options.is_json);
    let now = Instant::now();
    let supervisor = Supervisor::new(BackoffPolicy::default(), sender);
    let (notifier, config) = (Notifier::of_environment(now), Arc::new(config));
    let ready_at = Some(now + READY_AFTER);
    let mut node = Node { config, place, supervisor, notifier, log, ready_at, stop_deadline: None };
    node.begin(now);
    Ok(node.run(&events))
}

/// Sends signals to `events`.
fn watch_signals(events: &Sender<Event>) -> Result<(), NodeError> {
    let seen = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag down, and puts it up.
        flag::register_conditional_shutdown(signal, 128 + signal, seen.clone())?;
        flag::register(signal, seen.clone())?;
    }
    let (mut signals, sender) = (Signals::new([SIGHUP, SIGINT, SIGTERM])?, events.clone());
    let watch = move || {
        for signal in signals.forever() {
            if sender.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("memlane-signals".to_owned()).spawn(watch)?;
    Ok(())
}

/// The modules that `config` asks for.
fn modules(config: &Arc<Config>, place: &Place) -> Vec<Arc<dyn Module>> {
    let journal = |journal| Arc::new(JournalModule::new(place, journal)) as Arc<dyn Module>;
    let bridge = BridgeModule::new(place, config).map(|bridge| Arc::new(bridge) as Arc<dyn Module>);
    // Journals first, and last to end: what the bridge brings is recorded.
    config.journals.iter().map(journal).chain(bridge).collect()
}

struct Node {
    config: Arc<Config>,
    place: Place,
    supervisor: Supervisor,
    notifier: Notifier,
    log: Log,
    /// When it counts as ready at last, until that has come.
    ready_at: Option<Instant>,
    /// Once it is to end.
    stop_deadline: Option<Instant>,
}

impl Node {
    fn begin(&mut self, now: Instant) {
        let (name, bus) = (&self.config.node.name, &self.place.bus);
        info!(node = name, bus, config = %self.config.path.display(), "begins");
        for module in modules(&self.config, &self.place) {
            self.supervisor.add(module, now);
        }
        if self.supervisor.running().is_empty() {
            warn!("the configuration asks for nothing: give it a [[journal]] or a [bridge], and send SIGHUP");
        }
    }

    fn run(&mut self, events: &Receiver<Event>) -> Ended {
        loop {
            let now = Instant::now();
            self.supervisor.begin_what_is_due(now);
            self.notifier.sign(now);
            match self.stop_deadline {
                None => {
                    self.ready_at = self.ready_at.filter(|at| now < *at);
                    let health = self.supervisor.health();
                    self.notifier.is_so(health.is_settled() || self.ready_at.is_none(), &health.summary());
                }
                Some(_) if self.supervisor.running().is_empty() => {
                    info!("ended; all that was begun is finished");
                    return Ended::Drained;
                }
                Some(deadline) if now >= deadline => {
                    let left = self.supervisor.running().join(", ");
                    error!("ended before it had finished, since the time for that is up: {left}");
                    return Ended::CutShort;
                }
                Some(_) => {}
            }
            let due = [self.supervisor.next_due(), self.notifier.next_sign(), self.ready_at, self.stop_deadline];
            let due = due.into_iter().flatten().min().unwrap_or(now + SLEEP_MAX);
            match events.recv_timeout(due.saturating_duration_since(now)) {
                Ok(Event::Signal(SIGHUP)) if self.stop_deadline.is_none() => self.reload(),
                Ok(Event::Signal(SIGHUP)) => {}
                Ok(Event::Signal(signal)) => self.stop(signal),
                Ok(event) => self.supervisor.take(event, Instant::now()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the supervisor has a sender"),
            }
        }
    }

    fn stop(&mut self, signal: i32) {
        if self.stop_deadline.is_some() {
            return;
        }
        let drain = self.config.node.drain;
        let signal = signal_name(signal).unwrap_or("a signal");
        info!("{signal}: ends, and takes up to {:.1} s to finish what is begun", drain.as_secs_f64());
        self.notifier.stops(drain);
        self.stop_deadline = Some(Instant::now() + drain);
        self.supervisor.stop();
    }

    /// Goes over to what the configuration says now; if it can't, says why, and goes on as before.
    fn reload(&mut self) {
        self.notifier.reloads();
        let status = match self.read_again() {
            Ok(config) => {
                self.go_over_to(config);
                self.supervisor.health().summary()
            }
            Err(complaints) => {
                let count = complaints.len();
                for complaint in complaints {
                    error!("{complaint}");
                }
                error!("the configuration is refused; the node goes on by the one before");
                format!("the new configuration is refused for {count} reasons; the one before goes on")
            }
        };
        self.notifier.has_reloaded(&status);
    }

    /// The configuration as it is now, or all that keeps the node from following it.
    fn read_again(&self) -> Result<Arc<Config>, Vec<String>> {
        let path = &self.config.path;
        let config = Config::read(path).map_err(|error| match error {
            ConfigError::Unsound(unsound) => unsound.problems.iter().map(|problem| problem.line_in(path)).collect(),
            other => vec![other.to_string()],
        })?;
        let refusals = refusals(&self.config, &config);
        if refusals.is_empty() {
            return Ok(Arc::new(config));
        }
        Err(refusals.iter().map(|refusal| refusal.shown_in(path)).collect())
    }

    fn go_over_to(&mut self, config: Arc<Config>) {
        self.supervisor.reload(modules(&config, &self.place), &config, Instant::now());
        info!("goes on by the new configuration");
        self.log.set_level(config.log.level);
        self.config = config;
    }
}
