//! The recorder of a whole bus: every topic that is marked as journaled, or whose name matches, without a word of configuration for each.
//!
//! It sleeps on the bell of the bus, which counts the topics that come and go, and wakes up every two seconds in any case. Whoever asks something
//! of it (to stop, to record other topics) stores that, then has the bell count; it reads the count, then looks at what is asked, and sleeps only as long as the
//! bell counts no more. The bell rings for messages too, at a publisher's cost: after such a ring it keeps away from the bell for a while.

use crate::bus::Bus;
use crate::error::{BusError, OpenError};
use crate::journal::RestoreError;
use crate::pattern::Pattern;
use crate::topic::Topic;
use memlane_journal::storage::Storage;
use memlane_journal::{
    Journal, JournalError, RecordError, Recorder, RecorderControl, RecorderOptions, Recovery, Retention, Turn,
    disk::Disk,
};
use memlane_ring::{BusBell, TopicError};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// How often it looks for topics where the bus has no bell that counts them, or one waits for the end of the one before.
const LOOK_SOON: Duration = Duration::from_millis(50);
/// How often it looks in any case: the bus may have been removed and made anew, with another bell.
const LOOK_ANYWAY: Duration = Duration::from_secs(2);
/// A topic that could not be recorded is tried again after so long, twice as long each time, up to the second.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Which topics of a bus are recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RecordedTopics {
    /// Those that were made with [`TopicBuilder::journaled`](crate::TopicBuilder::journaled).
    #[default]
    Marked,
    /// Those whose name matches one of these.
    Matching(Vec<Pattern>),
}

impl RecordedTopics {
    fn may_have(&self, name: &str) -> bool {
        match self {
            Self::Marked => true,
            Self::Matching(patterns) => patterns.iter().any(|pattern| pattern.matches(name)),
        }
    }
}

/// Records each topic of a bus that was made with [`TopicBuilder::journaled`](crate::TopicBuilder::journaled), or whose name matches, also those made later, into a directory of its
/// name. Clones are the same recorder.
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
///     recorder.wake();
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct BusRecorder {
    bus: Bus,
    directory: PathBuf,
    options: RecorderOptions,
    asked: Arc<Mutex<Asked>>,
}

/// What may be asked of it while it runs.
#[derive(Clone, Debug)]
struct Asked {
    topics: RecordedTopics,
    retention: Retention,
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
    /// Of what is marked on `bus`, into directories in `directory`; each topic is recorded with `options`.
    #[must_use]
    pub fn new(bus: &Bus, directory: &Path, options: RecorderOptions) -> Self {
        let asked = Asked { topics: RecordedTopics::default(), retention: options.retention };
        Self { bus: bus.clone(), directory: directory.to_path_buf(), options, asked: Arc::new(Mutex::new(asked)) }
    }

    /// Records these topics from now on, also while it runs: those that are none of them any more are recorded to where they are now, and left.
    ///
    /// Cost: a few system calls.
    pub fn set_topics(&self, topics: RecordedTopics) {
        self.asked().topics = topics;
        self.wake();
    }

    /// Keeps so much of each topic from now on, also while it runs.
    ///
    /// Cost: a few system calls.
    pub fn set_retention(&self, retention: Retention) {
        self.asked().retention = retention;
        self.wake();
    }

    /// Has [`BusRecorder::run`] look at what is asked of it, also whether it is to stop, within a twentieth of a second; else it may take two seconds.
    ///
    /// Cost: a few system calls.
    pub fn wake(&self) {
        if let Some(bell) = BusBell::open(self.bus.directory()) {
            bell.note_change();
        }
    }

    /// Makes the topics again that are gone, as after a restart of the host: those that it is to record and that have a journal here, each to go on where that ends; returns their
    /// names.
    ///
    /// Cost: as of [`TopicBuilder::open_or_restore`](crate::TopicBuilder::open_or_restore) for each. Errors: [`RestoreError`], of the first that can't be made; those after it aren't
    /// tried.
    pub fn restore(&self) -> Result<Vec<String>, RestoreError> {
        let mut restored = Vec::new();
        for name in self.to_be_restored()? {
            if self.restore_one(&name)? {
                restored.push(name);
            }
        }
        Ok(restored)
    }

    /// The topics that [`BusRecorder::restore`] would make again, unless their journals say that they aren't to be recorded, sorted.
    ///
    /// Errors: [`BusError`], if the bus or the directory can't be looked through.
    pub fn to_be_restored(&self) -> Result<Vec<String>, BusError> {
        let there = self.bus.topics()?;
        let mut names = match Disk.list(&self.directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(|source| of_directory(&self.directory, source))?,
        };
        let topics = self.asked().topics.clone();
        names.retain(|name| !there.contains(name) && topics.may_have(name));
        names.sort_unstable();
        Ok(names)
    }

    /// Makes the topic `name` again, if it has a journal here and is to be recorded; whether it did.
    ///
    /// Errors: [`RestoreError`].
    pub fn restore_one(&self, name: &str) -> Result<bool, RestoreError> {
        let directory = self.directory.join(name);
        let Ok(journal) = Journal::open(Arc::new(Disk), &directory) else { return Ok(false) };
        let Ok(builder) = self.bus.topic(name) else { return Ok(false) };
        if self.asked().topics == RecordedTopics::Marked && !journal.subject().options.journaled {
            return Ok(false);
        }
        builder.open_or_restore(&directory)?;
        Ok(true)
    }

    /// Records until `stop` says so (see [`BusRecorder::wake`]), and then what was published before that. What happens to a topic is told to `tell` with its name, from the threads that record:
    /// one for each.
    ///
    /// One topic that can't be recorded stops no other; it is tried again when it is made anew, and after a while: a second at first, up to a minute. Errors: [`BusError`], if the bus can't be looked
    /// through.
    pub fn run(&self, stop: &AtomicBool, tell: impl Fn(&str, Recording<'_>) + Sync) -> Result<(), BusError> {
        let tell = &tell;
        std::thread::scope(|scope| {
            let mut recorders = Recorders::default();
            self.look_after(&mut recorders, scope, stop, tell)
        })
    }

    fn look_after<'scope, 'env: 'scope>(
        &'env self,
        recorders: &mut Recorders<'scope>,
        scope: &'scope Scope<'scope, 'env>,
        stop: &AtomicBool,
        tell: &'env (impl Fn(&str, Recording<'_>) + Sync),
    ) -> Result<(), BusError> {
        let open_bell = || BusBell::open_to_sleep(self.bus.directory());
        let (mut bell, mut looked): (_, Option<(u64, Instant)>) = (open_bell(), None);
        loop {
            // Before what is asked: what comes after it ends the sleep.
            let changes = bell.as_ref().map_or(0, BusBell::changes);
            if stop.load(Ordering::Acquire) {
                return Ok(());
            }
            recorders.take_in_what_ended();
            let is_new = looked.is_none_or(|(before, at)| before != changes || at.elapsed() >= LOOK_ANYWAY);
            if is_new || bell.is_none() || recorders.are_to_look_soon() {
                self.look(recorders, scope, tell)?;
                looked = Some((changes, Instant::now()));
            }
            match bell.as_ref().filter(|_| !recorders.are_to_look_soon()) {
                Some(bell) => sleep_on(bell, changes, recorders.longest_sleep()),
                None => std::thread::sleep(LOOK_SOON),
            }
            if looked.is_some_and(|(_, at)| at.elapsed() >= LOOK_ANYWAY) {
                bell = open_bell();
            }
        }
    }

    /// Has each topic recorded that is to be, and no other.
    fn look<'scope, 'env: 'scope>(
        &'env self,
        recorders: &mut Recorders<'scope>,
        scope: &'scope Scope<'scope, 'env>,
        tell: &'env (impl Fn(&str, Recording<'_>) + Sync),
    ) -> Result<(), BusError> {
        let asked = self.asked().clone();
        let names = self.bus.topics()?;
        recorders.follow(&asked, &names);
        for name in names.into_iter().filter(|name| asked.topics.may_have(name)) {
            let Some(which) = Which::of(&self.bus.directory().join(&name)) else { continue };
            if !recorders.are_to_try(&name, which) {
                continue;
            }
            let topic = match self.bus.topic(&name).map(|topic| topic.open()) {
                Ok(Ok(topic)) => topic,
                // It is gone again, or nobody can say whether it is marked.
                Ok(Err(OpenError::Topic(error)))
                    if asked.topics != RecordedTopics::Marked && !matches!(error, TopicError::NotFound { .. }) =>
                {
                    tell(&name, Recording::Failed(&error.into()));
                    recorders.has_failed(name, which);
                    continue;
                }
                _ => continue,
            };
            let is_marked = topic.info().options.journaled;
            if asked.topics == RecordedTopics::Marked && !is_marked {
                recorders.unmarked.insert(name, which);
                continue;
            }
            let control = RecorderControl::new(asked.retention);
            let thread = std::thread::Builder::new().name("memlane-record".to_owned());
            let spawned = thread.spawn_scoped(scope, {
                let (name, control) = (name.clone(), control.clone());
                move || self.record(&name, &topic, &control, tell)
            });
            match spawned {
                Ok(thread) => drop(recorders.working.insert(name, Working { which, is_marked, control, thread })),
                Err(source) => {
                    let path = self.directory.join(&name);
                    let error = JournalError::Storage { path, action: "begin a thread that records to it", source };
                    tell(&name, Recording::Failed(&error.into()));
                    recorders.has_failed(name, which);
                }
            }
        }
        Ok(())
    }

    /// Records the topic until it is to stop, or is removed.
    fn record(
        &self,
        name: &str,
        topic: &Topic,
        control: &RecorderControl,
        tell: &impl Fn(&str, Recording<'_>),
    ) -> Outcome {
        let failed = |error| {
            tell(name, Recording::Failed(&error));
            Outcome::Failed
        };
        let (mut recorder, recovery) = match topic.record(&self.directory.join(name), self.options) {
            Ok(begun) => begun,
            Err(error) => return failed(error),
        };
        tell(name, Recording::Begun(&recorder, &recovery));
        match recorder.run_by(control, |recorder, turn| tell(name, Recording::Turn(recorder, turn))) {
            Ok(()) | Err(RecordError::Removed) => {
                tell(name, Recording::Ended(&recorder));
                Outcome::Ended
            }
            Err(error) => failed(error),
        }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A topic among all that ever have its name, by its directory: inode, and when what is in it changed last, which is when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Which(u64, i64, i64);

impl Which {
    fn of(path: &Path) -> Option<Self> {
        let found = path.symlink_metadata().ok()?;
        Some(Self(found.ino(), found.mtime(), found.mtime_nsec()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ended,
    Failed,
}

#[derive(Debug)]
struct Working<'scope> {
    which: Which,
    is_marked: bool,
    control: RecorderControl,
    thread: ScopedJoinHandle<'scope, Outcome>,
}

/// A topic that could not be recorded.
#[derive(Debug)]
struct Failed {
    which: Which,
    again_at: Instant,
    next_wait: Duration,
}

/// Who records what, and what isn't recorded.
#[derive(Debug, Default)]
struct Recorders<'scope> {
    working: BTreeMap<String, Working<'scope>>,
    failed: BTreeMap<String, Failed>,
    /// They need not be opened again to know that.
    unmarked: BTreeMap<String, Which>,
    /// Whether a topic waits for the end of the one before.
    one_waits: bool,
    followed: Option<Asked>,
}

impl Recorders<'_> {
    fn take_in_what_ended(&mut self) {
        let ended = self.working.iter().filter(|(_, working)| working.thread.is_finished());
        for name in ended.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let Some(working) = self.working.remove(&name) else { continue };
            match working.thread.join().expect("a recorder doesn't panic") {
                Outcome::Failed => self.has_failed(name, working.which),
                Outcome::Ended => drop(self.failed.remove(&name)),
            }
        }
    }

    fn has_failed(&mut self, name: String, which: Which) {
        let (first, longest) = RETRY_AFTER;
        let before = self.failed.get(&name).filter(|failed| failed.which == which);
        let wait = before.map_or(first, |failed| failed.next_wait);
        let failed = Failed { which, again_at: Instant::now() + wait, next_wait: (wait * 2).min(longest) };
        self.failed.insert(name, failed);
    }

    /// Takes in what is asked, and what is there.
    fn follow(&mut self, asked: &Asked, names: &[String]) {
        self.one_waits = false;
        let is_there = |name: &String| names.binary_search(name).is_ok();
        self.failed.retain(|name, _| is_there(name));
        self.unmarked.retain(|name, _| is_there(name));
        for (name, working) in &self.working {
            let before = self.followed.as_ref();
            let is_asked = match &asked.topics {
                RecordedTopics::Marked => working.is_marked,
                topics => topics.may_have(name),
            };
            if !is_asked {
                working.control.stop();
            } else if before.is_some_and(|before| before.retention != asked.retention) {
                working.control.set_retention(asked.retention);
            }
        }
        self.followed = Some(asked.clone());
    }

    /// Whether the topic is to be opened, to be recorded.
    fn are_to_try(&mut self, name: &str, which: Which) -> bool {
        if let Some(working) = self.working.get(name) {
            // One that is made anew waits for the end of the one before; so does one that is asked for again.
            self.one_waits |= working.which != which || working.control.stops();
            return false;
        }
        let is_marked_alone = self.followed.as_ref().is_none_or(|asked| asked.topics == RecordedTopics::Marked);
        let is_unmarked = is_marked_alone && self.unmarked.get(name) == Some(&which);
        let rests =
            self.failed.get(name).is_some_and(|failed| failed.which == which && Instant::now() < failed.again_at);
        !is_unmarked && !rests
    }

    fn are_to_look_soon(&self) -> bool {
        self.one_waits || self.failed.values().any(|failed| Instant::now() >= failed.again_at)
    }

    /// Until there is something to do though nothing changes.
    fn longest_sleep(&self) -> Duration {
        let again = self.failed.values().map(|failed| failed.again_at).min();
        again.map_or(LOOK_ANYWAY, |at| at.saturating_duration_since(Instant::now()).min(LOOK_ANYWAY))
    }
}

/// However it ends, those who record are not waited for in vain.
impl Drop for Recorders<'_> {
    fn drop(&mut self) {
        for working in self.working.values() {
            working.control.stop();
        }
    }
}

/// Sleeps until the bell counts other changes, at most for `longest`.
fn sleep_on(bell: &BusBell, changes: u64, longest: Duration) {
    let begin = Instant::now();
    bell.sleep(changes, longest);
    if bell.changes() == changes && begin.elapsed() < longest {
        std::thread::sleep(LOOK_SOON);
    }
}

fn of_directory(path: &Path, source: std::io::Error) -> BusError {
    BusError::Directory { path: path.to_path_buf(), action: "list it", source }
}
