//! The recorder of a whole bus: every topic that is marked as journaled, without a word of configuration for each.

use crate::bus::Bus;
use crate::error::BusError;
use crate::journal::RestoreError;
use crate::pattern::Pattern;
use crate::topic::Topic;
use crate::watch::Event;
use memlane_journal::storage::Storage;
use memlane_journal::{Journal, RecordError, Recorder, RecorderOptions, Recovery, Turn, disk::Disk};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

/// How often it looks for topics that were made.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Records each topic of a bus that was made with [`TopicBuilder::journaled`](crate::TopicBuilder::journaled), also those made later, into a directory of its name.
///
/// ```
/// use memlane::journal::{BusRecorder, RecorderOptions};
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let root = memlane::doc_root();
/// # let directory = root.join("journals");
/// # let bus = memlane::Bus::builder("marked").root(&root).open()?;
/// let recorder = BusRecorder::new(&bus, &directory, RecorderOptions::default());
/// let stop = AtomicBool::new(false);
/// std::thread::scope(|scope| {
///     scope.spawn(|| recorder.run(&stop, |topic, what| println!("{topic}: {what:?}")));
///     let topic = bus.topic("orders")?.journaled(true).open_or_create()?;
///     topic.publisher::<[u8]>().open()?.publish(b"buy")?;
///     stop.store(true, Ordering::Release);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct BusRecorder {
    bus: Bus,
    directory: PathBuf,
    options: RecorderOptions,
}

/// What happens to a topic that is recorded.
#[derive(Debug)]
pub enum Recording<'a> {
    /// It begins, or goes on.
    Begun(&'a Recorder, &'a Recovery),
    /// Something that isn't a matter of course.
    Turn(&'a Recorder, &'a Turn),
    /// It was to end, or the topic was removed: all of it is recorded.
    Ended(&'a Recorder),
    /// It could not be recorded, or not any more.
    Failed(&'a RecordError),
}

impl BusRecorder {
    /// Of `bus`, into directories in `directory`; each topic is recorded with `options`.
    #[must_use]
    pub fn new(bus: &Bus, directory: &Path, options: RecorderOptions) -> Self {
        Self { bus: bus.clone(), directory: directory.to_path_buf(), options }
    }

    /// Makes the topics again that are gone, as after a restart of the host: those that were marked and have a journal here, each to go on where that ends; returns their names.
    ///
    /// Cost: as of [`TopicBuilder::open_or_restore`](crate::TopicBuilder::open_or_restore) for each. Errors: [`RestoreError`], of the first that can't be made.
    pub fn restore(&self) -> Result<Vec<String>, RestoreError> {
        let there = self.bus.topics()?;
        let names = match Disk.list(&self.directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(|source| of_directory(&self.directory, source))?,
        };
        let mut restored = Vec::new();
        for name in names.into_iter().filter(|name| !there.contains(name)) {
            let directory = self.directory.join(&name);
            let Ok(journal) = Journal::open(Arc::new(Disk), &directory) else { continue };
            let Ok(builder) = self.bus.topic(&name) else { continue };
            if journal.subject().options.journaled {
                builder.open_or_restore(&directory)?;
                restored.push(name);
            }
        }
        Ok(restored)
    }

    /// Records until `stop` says so, and then what was published before that. What happens to a topic is told to `tell` with its name, from the threads that record:
    /// one for each.
    ///
    /// One topic that can't be recorded stops no other; it is tried again when it is made anew. Errors: [`BusError`], if the bus can't be looked through.
    pub fn run(&self, stop: &AtomicBool, tell: impl Fn(&str, Recording<'_>) + Sync) -> Result<(), BusError> {
        let tell = &tell;
        std::thread::scope(|scope| {
            let looked = self.look_after(scope, stop, tell);
            // Nobody else may ask them to.
            stop.store(true, Ordering::Release);
            looked
        })
    }

    fn look_after<'scope, 'env: 'scope>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        stop: &'env AtomicBool,
        tell: &'env (impl Fn(&str, Recording<'_>) + Sync),
    ) -> Result<(), BusError> {
        let mut watcher = self.bus.watch(everything()).interval(LOOK_EVERY);
        let mut working: BTreeMap<String, ScopedJoinHandle<'scope, ()>> = BTreeMap::new();
        let mut made = BTreeSet::new();
        while !stop.load(Ordering::Acquire) {
            if let Some(Event::TopicMade { topic }) = watcher.next_within(LOOK_EVERY)? {
                made.insert(topic);
            }
            // One that is made anew waits for the end of the one before.
            working.retain(|_, thread| !thread.is_finished());
            for name in std::mem::take(&mut made) {
                if working.contains_key(&name) {
                    made.insert(name);
                    continue;
                }
                // One that is gone again, or may not be opened, is nobody's to record.
                let Some(topic) = self.bus.topic(&name).ok().and_then(|topic| topic.open().ok()) else { continue };
                if topic.info().options.journaled {
                    let thread = scope.spawn({
                        let name = name.clone();
                        move || self.record(&name, &topic, stop, tell)
                    });
                    working.insert(name, thread);
                }
            }
        }
        Ok(())
    }

    fn record(&self, name: &str, topic: &Topic, stop: &AtomicBool, tell: &impl Fn(&str, Recording<'_>)) {
        let (mut recorder, recovery) = match topic.record(&self.directory.join(name), self.options) {
            Ok(begun) => begun,
            Err(error) => return tell(name, Recording::Failed(&error)),
        };
        tell(name, Recording::Begun(&recorder, &recovery));
        match recorder.run(stop, |recorder, turn| tell(name, Recording::Turn(recorder, turn))) {
            Ok(()) | Err(RecordError::Removed) => tell(name, Recording::Ended(&recorder)),
            Err(error) => tell(name, Recording::Failed(&error)),
        }
    }
}

/// Every topic.
fn everything() -> Pattern {
    ">".parse().expect("a pattern that everything matches is one")
}

fn of_directory(path: &Path, source: std::io::Error) -> BusError {
    BusError::Directory { path: path.to_path_buf(), action: "list it", source }
}
