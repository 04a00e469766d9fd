//! The module that records topics onto disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use memlane::BusError;
use memlane::journal::{BusRecorder, Recorder, Recording, RestoreError, Turn};
use nix::unistd::{AccessFlags, access};
use tracing::{error, info, warn};

use crate::config::{Config, JournalConfig};
use crate::module::{Context, Module, ModuleError, Order};
use crate::place::Place;

/// Records the topics of one `[[journal]]`.
#[derive(Debug)]
pub struct JournalModule {
    name: String,
    place: Place,
    config: JournalConfig,
}

/// Why topics can't be recorded.
#[derive(Debug, thiserror::Error)]
pub enum JournalModuleError {
    /// There is no writing to the directory: see to it that it is there and this user may.
    #[error("{path}: can't {action}: {source}; the node's user must be able to write there")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The bus can't be opened, or not looked through any more.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl JournalModule {
    /// For the topics that `config` names, of the bus at `place`.
    #[must_use]
    pub fn new(place: &Place, config: &JournalConfig) -> Self {
        let name = format!("journal {}", config.directory.display());
        Self { name, place: place.clone(), config: config.clone() }
    }

    fn prepare_directory(&self) -> Result<(), JournalModuleError> {
        let path = &self.config.directory;
        let failed = |action| {
            let path = path.clone();
            move |source| JournalModuleError::Directory { path, action, source }
        };
        std::fs::create_dir_all(path).map_err(failed("make it"))?;
        access(path, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|error| failed("write to it")(error.into()))
    }

    /// Makes the topics again that are gone. One that can't be stops no other.
    fn restore(&self, recorder: &BusRecorder) -> Result<(), BusError> {
        if !self.config.restore {
            return Ok(());
        }
        for topic in recorder.to_be_restored()? {
            match recorder.restore_one(&topic) {
                Ok(true) => info!(module = self.name, topic, "made again, to go on where its journal ends"),
                Ok(false) => {}
                Err(RestoreError::Bus(error)) => return Err(error),
                Err(error) => error!(module = self.name, topic, "can't be made again: {error}"),
            }
        }
        Ok(())
    }

    /// Follows orders until it is to stop, or the recorder has ended.
    fn follow(&self, context: &Context, recorder: &BusRecorder, has_ended: impl Fn() -> bool) {
        loop {
            match context.order() {
                Some(Order::Stop) => return,
                Some(Order::Reload(config)) => {
                    if let Some(own) = self.own_of(&config) {
                        recorder.set_topics(own.topics.clone());
                        recorder.set_retention(own.options.retention);
                    }
                }
                None if has_ended() => return,
                None => {}
            }
        }
    }

    fn own_of<'a>(&self, config: &'a Config) -> Option<&'a JournalConfig> {
        config.journals.iter().find(|journal| journal.directory == self.config.directory)
    }
}

impl Module for JournalModule {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(&self, context: &Context) -> Result<(), ModuleError> {
        self.prepare_directory()?;
        let bus = self.place.open().map_err(JournalModuleError::from)?;
        let recorder = BusRecorder::new(&bus, &self.config.directory, self.config.options);
        recorder.set_topics(self.config.topics.clone());
        self.restore(&recorder)?;
        let ills = Ills { module: &self.name, directory: &self.config.directory, context, topics: Mutex::default() };
        let (stop, has_ended) = (AtomicBool::new(false), AtomicBool::new(false));
        context.say_running();
        let recorded = std::thread::scope(|scope| {
            let recording = scope.spawn(|| {
                let _end = End { has_ended: &has_ended, context };
                recorder.run(&stop, |topic, what| ills.take(topic, &what))
            });
            self.follow(context, &recorder, || has_ended.load(Ordering::Acquire));
            stop.store(true, Ordering::Release);
            recorder.wake();
            recording.join()
        });
        match recorded {
            Ok(result) => Ok(result.map_err(JournalModuleError::from)?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Tells that the recorder has ended, however it did.
struct End<'a> {
    has_ended: &'a AtomicBool,
    context: &'a Context,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Release);
        self.context.wake();
    }
}

/// Which topics aren't recorded as they should be, and why.
struct Ills<'a> {
    module: &'a str,
    directory: &'a Path,
    context: &'a Context,
    topics: Mutex<BTreeMap<String, String>>,
}

impl Ills<'_> {
    fn take(&self, topic: &str, what: &Recording<'_>) {
        let module = self.module;
        match what {
            Recording::Begun(recorder, recovery) => {
                let (position, messages) = (recorder.end(), recorder.messages());
                info!(module, topic, position, messages, "recording");
                if let Some(cut) = &recovery.cut {
                    let (path, offset) = (cut.path.display(), cut.offset);
                    warn!(module, topic, "cut off {path} at byte {offset}: {}", cut.why);
                }
                self.set(topic, None);
            }
            Recording::Turn(recorder, turn) => self.take_turn(topic, recorder, turn),
            Recording::Ended(recorder) => {
                let (position, messages) = (recorder.end(), recorder.messages());
                info!(module, topic, position, messages, "recorded");
                self.set(topic, None);
            }
            Recording::Failed(error) => {
                let why = error.to_string();
                // It is tried again and again, and said once.
                if self.set(topic, Some(&why)) {
                    error!(module, topic, "not recorded, and tried again: {why}");
                }
            }
        }
    }

    fn take_turn(&self, topic: &str, recorder: &Recorder, turn: &Turn) {
        let (module, position) = (self.module, recorder.end());
        match turn {
            Turn::Failing(error) => {
                warn!(module, topic, position, "failing: {error}");
                self.set(topic, Some(&error.to_string()));
            }
            Turn::Recovered { gap } => {
                match gap {
                    Some((from, to)) => warn!(module, topic, "recovered; positions {from} to {to} are not recorded"),
                    None => info!(module, topic, "recovered; nothing is missing"),
                }
                self.set(topic, None);
            }
            Turn::NotPruned(error) => warn!(module, topic, "not pruned: {error}"),
            Turn::NotCompressed(error) => warn!(module, topic, "not compressed: {error}"),
            Turn::Recorded | Turn::Idle | Turn::StillFailing(_) => {}
        }
    }

    /// Takes down what is wrong with `topic`, or that nothing is; whether that is new.
    fn set(&self, topic: &str, why: Option<&str>) -> bool {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = match why {
            Some(why) => topics.insert(topic.to_owned(), why.to_owned()).as_deref() != Some(why),
            None => topics.remove(topic).is_some(),
        };
        if is_new {
            match topics.iter().next() {
                None => self.context.say_running(),
                Some((topic, why)) => {
                    let count = topics.len();
                    let others = if count > 1 { format!(" and {} others", count - 1) } else { String::new() };
                    let directory = self.directory.display();
                    self.context.say_impaired(format!("{topic}{others} not recorded to {directory}: {why}"));
                }
            }
        }
        is_new
    }
}
