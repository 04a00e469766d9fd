//! `memlane record`: topics, onto disk.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use clap::{Args, ValueEnum};
use memlane::Topic;
use memlane::journal::{
    BusRecorder, OnFailure, RecordError, Recorder, RecorderOptions, Recording, Recovery, SyncPolicy, Turn,
};
use serde::Serialize;

use super::attach::{self, Deadline};
use super::ending::{Ending, complain};
use super::journal::{Keep, Shrink};
use super::output::Output;
use super::place::Place;
use super::signals::{LOOK_EVERY, Signals};
use super::units;

const AFTER_HELP: &str = "\
Each topic gets a directory of its own in DIRECTORY. It is recorded from the oldest message that its ring still has, or from where its \
journal ends. The recorder holds publishers back as a gated subscriber does: nothing is missed.

--sync says when messages are made to survive a loss of power: batch (each batch before the next, with all that was published \
meanwhile in the next), a span of time (so often), or none (when the kernel likes). The death of a process loses nothing either way.

Read it with `memlane journal`; it may be read while it is recorded.

Examples:
  memlane record md.trades --to /var/lib/memlane
  memlane record md.trades md.quotes --to journal --sync 10ms
  memlane record orders --to journal --sync batch
  memlane record md.trades --to journal --restore     after a restart of the host
  memlane record md.trades --to journal --compress    with each segment compressed that is full
  memlane record md.trades --to journal --drain       what is there, and no more
  memlane record --marked --to journal --restore      all that was made with --journaled, before and from now on";

/// Record topics onto disk
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Record {
    /// The topics
    #[arg(required_unless_present = "marked", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Every topic of the bus that is marked (made with --journaled), also those made later
    #[arg(long, conflicts_with_all = ["topics", "wait_for_topic", "drain"])]
    marked: bool,
    /// Where to; it is made if it is missing
    #[arg(long, value_name = "DIRECTORY")]
    to: PathBuf,
    /// When to make messages survive a loss of power: batch, none, or a span of time
    #[arg(long, value_name = "WHEN", default_value = "100ms", value_parser = units::parse_sync)]
    sync: SyncPolicy,
    /// If the disk is full or fails: hold (messages wait in the ring, and publishers for room in it), or go-on (the journal gets a gap)
    #[arg(long, value_enum, default_value_t = Failure::Hold, hide_possible_values = true)]
    on_failure: Failure,
    /// Size of a segment, the files that a journal consists of
    #[arg(long, value_name = "SIZE", default_value = "128MiB", value_parser = units::parse_bytes)]
    segment: u64,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    shrink: Shrink,
    /// Make topics again that are gone, as after a restart of the host: each goes on where its journal ends
    #[arg(long)]
    restore: bool,
    /// Wait for topics that haven't been made yet
    #[arg(long, conflicts_with = "restore")]
    wait_for_topic: bool,
    /// End once everything that is there is recorded
    #[arg(long)]
    drain: bool,
    /// Say what happens as JSON, an object a line
    #[arg(long)]
    json: bool,
}

/// What becomes of messages that the journal can't take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Failure {
    Hold,
    GoOn,
}

impl From<Failure> for OnFailure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Hold => Self::Hold,
            Failure::GoOn => Self::GoOn,
        }
    }
}

/// Something that happened to a topic.
#[derive(Debug, Serialize)]
struct Event<'a> {
    event: &'static str,
    topic: &'a str,
    /// Where its journal ends.
    position: u64,
    /// How many messages its journal was ever given.
    messages: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<String>,
}

impl Record {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        let signals = Signals::watch()?;
        if self.marked {
            return self.run_marked(place, &signals);
        }
        let mut recorders = Vec::new();
        for name in &self.topics {
            match self.open(place, name, &signals)? {
                Ok(opened) => recorders.push((name.as_str(), opened)),
                Err(ending) => return Ok(ending),
            }
        }
        let (stop, working) = (AtomicBool::new(self.drain), AtomicUsize::new(recorders.len()));
        let work = |(name, recorder): (&str, Recorder)| {
            let result = self.record(name, recorder, &stop);
            working.fetch_sub(1, Ordering::Release);
            result
        };
        let failures: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = recorders.into_iter().map(|each| scope.spawn(|| work(each))).collect();
            while working.load(Ordering::Acquire) > 0 {
                if signals.stop().is_some() {
                    stop.store(true, Ordering::Release);
                }
                std::thread::sleep(LOOK_EVERY / 10);
            }
            let results = threads.into_iter().map(|thread| thread.join().expect("a recorder doesn't panic"));
            results.filter_map(Result::err).collect()
        });
        match failures.into_iter().next() {
            Some(failure) => Err(failure),
            None => Ok(Ending::Done),
        }
    }

    /// Records what is marked, until it is to stop.
    fn run_marked(&self, place: &Place, signals: &Signals) -> anyhow::Result<Ending> {
        let recorder = BusRecorder::new(&place.open()?, &self.to, self.options());
        if self.restore {
            for name in recorder.restore()? {
                complain(&format!("topic {name}: made again, to go on where its journal ends"));
            }
        }
        let (stop, has_failed) = (AtomicBool::new(false), AtomicBool::new(false));
        let tell = |name: &str, what: Recording<'_>| {
            // Where nobody listens, it goes on all the same.
            let _ = match what {
                Recording::Begun(recorder, recovery) => {
                    self.tell(name, recorder, "recording", told(recovery, &self.to.join(name)))
                }
                Recording::Turn(recorder, turn) => self.tell_turn(name, recorder, turn),
                Recording::Ended(recorder) => self.tell(name, recorder, "recorded", None),
                Recording::Failed(error) => {
                    has_failed.store(true, Ordering::Relaxed);
                    complain(&format!("topic {name}: {error}"));
                    Ok(())
                }
            };
        };
        std::thread::scope(|scope| {
            let recording = scope.spawn(|| recorder.run(&stop, tell));
            while signals.stop().is_none() && !recording.is_finished() {
                std::thread::sleep(LOOK_EVERY / 10);
            }
            stop.store(true, Ordering::Release);
            recorder.wake();
            recording.join().expect("a recorder doesn't panic")
        })?;
        Ok(if has_failed.into_inner() { Ending::Unsound } else { Ending::Done })
    }

    fn options(&self) -> RecorderOptions {
        RecorderOptions {
            sync: self.sync,
            on_failure: self.on_failure.into(),
            segment_bytes: self.segment,
            retention: self.keep.retention(),
            compression: self.shrink.compression(),
            compaction: self.shrink.compaction(),
        }
    }

    fn open(&self, place: &Place, name: &str, signals: &Signals) -> anyhow::Result<attach::Waited<Recorder>> {
        let topic = if self.restore {
            self.restored(place, name)?
        } else if self.wait_for_topic {
            match attach::wait_for(signals, Deadline::after(None), || attach::find_topic(place, name))? {
                Ok(topic) => topic,
                Err(ending) => return Ok(Err(ending)),
            }
        } else {
            attach::open_topic(place, name)?
        };
        let directory = self.to.join(name);
        let (recorder, recovery) = topic.record(&directory, self.options())?;
        let found = told(&recovery, &directory);
        self.tell(name, &recorder, "recording", found)?;
        Ok(Ok(recorder))
    }

    fn restored(&self, place: &Place, name: &str) -> anyhow::Result<Topic> {
        let directory = self.to.join(name);
        let topic = attach::find_topic(place, name)?;
        anyhow::ensure!(
            topic.is_some() || directory.join("manifest").exists(),
            "topic {name}: it isn't there, and {} has no journal to restore it from",
            directory.display()
        );
        Ok(place.open()?.topic(name)?.open_or_restore(&directory)?)
    }

    /// Records until it is to stop, or the topic is removed.
    fn record(&self, name: &str, mut recorder: Recorder, stop: &AtomicBool) -> anyhow::Result<()> {
        // Where nobody listens, it goes on all the same.
        let result = recorder.run(stop, |recorder, turn| drop(self.tell_turn(name, recorder, turn)));
        match result {
            Ok(()) => self.tell(name, &recorder, "recorded", None),
            Err(RecordError::Removed) => {
                self.tell(name, &recorder, "recorded", Some("the topic was removed".to_owned()))
            }
            Err(error) => {
                complain(&format!("topic {name}: {error}"));
                Err(error.into())
            }
        }
    }

    fn tell_turn(&self, topic: &str, recorder: &Recorder, turn: &Turn) -> anyhow::Result<()> {
        let (event, what) = match turn {
            Turn::Failing(error) => ("failing", error.to_string()),
            Turn::NotPruned(error) => ("not pruned", error.to_string()),
            Turn::NotCompressed(error) => ("not compressed", error.to_string()),
            Turn::Recovered { gap: Some((from, to)) } => {
                ("recovered", format!("positions {from} to {to} are not recorded"))
            }
            Turn::Recovered { gap: None } => ("recovered", "nothing is missing".to_owned()),
            Turn::Recorded | Turn::Idle | Turn::StillFailing(_) => return Ok(()),
        };
        self.tell(topic, recorder, event, Some(what))
    }

    fn tell(&self, topic: &str, recorder: &Recorder, event: &'static str, what: Option<String>) -> anyhow::Result<()> {
        let (position, messages) = (recorder.end(), recorder.messages());
        if self.json {
            let mut output = Output::stdout()?;
            output.json(&Event { event, topic, position, messages, what })?;
            return output.flush();
        }
        let what = what.map_or_else(String::new, |what| format!("; {what}"));
        let count = units::count(messages);
        complain(&match event {
            "recording" => format!("topic {topic}: recording from position {position}{what}"),
            "recorded" => format!("topic {topic}: recorded up to position {position}, {count} messages in all{what}"),
            other => format!("topic {topic}: {other} at position {position}{what}"),
        });
        Ok(())
    }
}

/// What was found when the journal was opened, if it is worth a word.
fn told(recovery: &Recovery, directory: &Path) -> Option<String> {
    let cut = recovery.cut.as_ref().map(|cut| {
        let aside = match cut.set_aside.len() {
            0 => String::new(),
            count => format!(", and {count} segments behind it set aside"),
        };
        format!("cut off {} at byte {}: {}{aside}", cut.path.display(), cut.offset, cut.why)
    });
    let goes_on = (recovery.end > recovery.begin).then(|| {
        let count = units::count(recovery.messages);
        format!("{} goes on, with {count} messages before", directory.display())
    });
    let all: Vec<String> = goes_on.into_iter().chain(cut).collect();
    (!all.is_empty()).then(|| all.join("; "))
}
