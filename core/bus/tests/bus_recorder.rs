//! The recorder of a whole bus: what is marked is recorded, whenever it is made, and comes back after a restart of the host.

#![forbid(unsafe_code)]

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane::journal::{
    BusRecorder, Disk, Entry, From, Journal, RecordedTopics, RecorderOptions, Recording, Retention, SyncPolicy,
};
use memlane::{Bus, DurableError, Topic};
use scratch::{Scratch, scratch};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    bus: Bus,
    directory: PathBuf,
    _root: Scratch,
}

/// Has the recorder stop, also where a test fails.
struct Stop<'a>(&'a AtomicBool, &'a BusRecorder);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        self.1.wake();
    }
}

fn stage() -> Stage {
    let root = scratch();
    let bus = Bus::builder("marked").root(root.path()).open().unwrap();
    Stage { bus, directory: root.path().join("kept"), _root: root }
}

impl Stage {
    /// Of all that is marked.
    fn recorder(&self) -> BusRecorder {
        let options =
            RecorderOptions { sync: SyncPolicy::Batch, segment_bytes: 64 << 10, ..RecorderOptions::default() };
        BusRecorder::new(&self.bus, &self.directory, options)
    }

    /// Runs `work` while the bus is recorded; what was told, a word and a topic each.
    fn recorded(&self, work: impl FnOnce()) -> Vec<(String, &'static str)> {
        self.recorded_by(&self.recorder(), work)
    }

    fn recorded_by(&self, recorder: &BusRecorder, work: impl FnOnce()) -> Vec<(String, &'static str)> {
        recorder.restore().unwrap();
        let (stop, told) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            let recording = scope.spawn(|| {
                recorder.run(&stop, |topic, what| {
                    let word = match what {
                        Recording::Begun(..) => "begun",
                        Recording::Turn(..) => "turn",
                        Recording::Ended(_) => "ended",
                        Recording::Failed(_) => "failed",
                    };
                    told.lock().unwrap().push((topic.to_owned(), word));
                })
            });
            let stop = Stop(&stop, recorder);
            work();
            drop(stop);
            recording.join().unwrap().unwrap();
        });
        told.into_inner().unwrap()
    }

    fn make(&self, name: &str, journaled: bool) -> Topic {
        self.bus.topic(name).unwrap().capacity_bytes(16 << 10).journaled(journaled).open_or_create().unwrap()
    }
}

fn publish(topic: &Topic, payload: &[u8]) {
    topic.publisher::<[u8]>().open().unwrap().publish(payload).unwrap();
}

/// Until it survives a loss of power, also if its recorder is about to come.
fn publish_durable(topic: &Topic, payload: &[u8]) {
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let position = match publisher.publish_durable(payload, PATIENCE) {
        Ok(_) => return,
        Err(DurableError::NotRecorded { position }) => position,
        Err(error) => panic!("{error}"),
    };
    while let Err(error) = publisher.wait_durable(position, PATIENCE) {
        assert!(matches!(error, DurableError::NotRecorded { .. }) && Instant::now() < deadline, "{error}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn await_recorder(topic: &Topic) {
    let deadline = Instant::now() + PATIENCE;
    while topic.snapshot().unwrap().subscribers.iter().all(|one| one.position.is_none()) {
        assert!(Instant::now() < deadline, "nobody records it");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn payloads(directory: &Path) -> Vec<Vec<u8>> {
    let mut reader = Journal::open(Arc::new(Disk), directory).unwrap().read(From::Earliest).unwrap();
    let mut all = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        let Entry::Message(message) = entry else { panic!("there is no gap") };
        all.push(message.payload().to_vec());
    }
    all
}

#[test]
fn what_is_marked_is_recorded_whenever_it_is_made_and_nothing_else() {
    let stage = stage();
    let (before, plain) = (stage.make("before", true), stage.make("plain", false));
    publish(&before, b"1");
    publish(&plain, b"1");
    let told = stage.recorded(|| {
        await_recorder(&before);
        let later = stage.make("later", true);
        assert!(later.info().options.stamps, "what is kept has times");
        await_recorder(&later);
        publish(&later, b"2");
        publish(&before, b"2");
        assert!(plain.snapshot().unwrap().subscribers.is_empty());
        // A durable publish needs no more than the mark.
        publish_durable(&later, b"3");
    });
    assert_eq!(payloads(&stage.directory.join("before")), [b"1", b"2"]);
    assert_eq!(payloads(&stage.directory.join("later")), [b"2", b"3"]);
    assert!(!stage.directory.join("plain").exists());
    let count = |word| told.iter().filter(|(_, told)| *told == word).count();
    assert_eq!((count("begun"), count("ended"), count("failed")), (2, 2, 0), "{told:?}");
}

#[test]
fn after_a_restart_of_the_host_marked_topics_are_there_again_and_go_on() {
    let stage = stage();
    for life in 0..4_u8 {
        stage.recorded(|| {
            let topic = if life == 0 {
                stage.make("t", true)
            } else {
                // It was made by nobody but the recorder.
                stage.bus.topic("t").unwrap().open().unwrap()
            };
            await_recorder(&topic);
            publish_durable(&topic, &[life]);
        });
        stage.bus.remove("t").unwrap();
    }
    assert_eq!(payloads(&stage.directory.join("t")), [[0], [1], [2], [3]]);
}

#[test]
fn one_that_is_made_anew_is_refused_and_stops_no_other() {
    let stage = stage();
    let told = stage.recorded(|| {
        let (first, other) = (stage.make("t", true), stage.make("other", true));
        await_recorder(&first);
        stage.bus.remove("t").unwrap();
        // The journal in its directory is of the one before.
        let second = stage.make("t", true);
        await_recorder(&other);
        publish(&second, b"not recorded");
        publish(&other, b"recorded");
        let deadline = Instant::now() + PATIENCE;
        let kept = stage.directory.join("other");
        while !kept.join("manifest").exists() || payloads(&kept).is_empty() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(300));
    });
    let of_t: Vec<_> = told.iter().filter(|(topic, _)| topic == "t").map(|(_, word)| *word).collect();
    // And tried again after a while.
    assert_eq!(of_t[..3], ["begun", "ended", "failed"]);
    assert!(of_t[3..].iter().all(|word| *word == "failed"), "{of_t:?}");
}

/// Waits until nobody records the topic.
fn await_end(topic: &Topic) {
    let deadline = Instant::now() + PATIENCE;
    while !topic.snapshot().unwrap().subscribers.is_empty() {
        assert!(Instant::now() < deadline, "it is recorded for ever");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn matching(patterns: &[&str]) -> RecordedTopics {
    RecordedTopics::Matching(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect())
}

#[test]
fn topics_are_recorded_by_their_names_which_may_change_meanwhile() {
    let stage = stage();
    let recorder = stage.recorder();
    recorder.set_topics(matching(&["md.*", "orders"]));
    let (plain, marked, other) = (stage.make("md.a", false), stage.make("orders", true), stage.make("x.y", true));
    let told = stage.recorded_by(&recorder, || {
        await_recorder(&plain);
        await_recorder(&marked);
        publish_durable(&plain, b"1");
        recorder.set_topics(matching(&["x.>"]));
        await_recorder(&other);
        await_end(&plain);
        publish(&plain, b"2");
        recorder.set_topics(RecordedTopics::Marked);
        await_recorder(&marked);
        assert!(plain.snapshot().unwrap().subscribers.is_empty());
        recorder.set_topics(matching(&["md.a"]));
        await_recorder(&plain);
        publish_durable(&plain, b"3");
    });
    assert_eq!(payloads(&stage.directory.join("md.a")), [b"1", b"2", b"3"]);
    assert!(told.iter().all(|(_, word)| *word != "failed"), "{told:?}");
    assert_eq!(told.iter().filter(|(topic, word)| topic == "md.a" && *word == "begun").count(), 2);
}

#[test]
fn a_topic_that_could_not_be_recorded_is_tried_again() {
    let stage = stage();
    std::fs::create_dir(&stage.directory).unwrap();
    let kept = stage.directory.join("t");
    std::fs::write(&kept, "in the way").unwrap();
    let topic = stage.make("t", true);
    publish(&topic, b"1");
    let told = stage.recorded(|| {
        std::thread::sleep(Duration::from_millis(100));
        std::fs::remove_file(&kept).unwrap();
        await_recorder(&topic);
        publish_durable(&topic, b"2");
    });
    assert_eq!(payloads(&kept), [b"1", b"2"]);
    assert!(told.contains(&("t".to_owned(), "begun")), "{told:?}");
}

#[test]
fn what_is_kept_may_change_while_it_is_recorded() {
    let stage = stage();
    let recorder = stage.recorder();
    let topic = stage.make("t", true);
    let segments = || std::fs::read_dir(stage.directory.join("t")).unwrap().count();
    stage.recorded_by(&recorder, || {
        await_recorder(&topic);
        for _ in 0..100 {
            publish_durable(&topic, &[1; 3000]);
        }
        let many = segments();
        recorder.set_retention(Retention { bytes: Some(64 << 10), ..Retention::default() });
        let deadline = Instant::now() + PATIENCE;
        while segments() >= many - 2 {
            assert!(Instant::now() < deadline, "nothing is given up");
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}
