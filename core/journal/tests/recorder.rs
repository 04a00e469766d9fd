//! A recorder whose disk is full or fails: nothing is lost where publishers are to wait, and where they aren't the journal says what it lacks.

#![forbid(unsafe_code)]

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane_journal::record::GapReason;
use memlane_journal::simulated::{Operation, SimulatedDisk, Survives};
use memlane_journal::storage::Storage;
use memlane_journal::{
    Entry, From, Journal, OnFailure, RecordError, Recorder, RecorderOptions, Recovery, SyncPolicy, Turn,
};
use memlane_ring::extension::{Block, TAG_SOURCE, TAG_SOURCE_SEQUENCE};
use memlane_ring::{ClaimError, Permissions, Publisher, Topic, TopicOptions};
use memlane_shm::MapOptions;
use scratch::{Scratch, scratch};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MAP: MapOptions = MapOptions { prefault: false, huge_pages: false, lock_memory: false };

struct Place {
    _root: Scratch,
    topic: Topic,
    publisher: Publisher,
    disk: SimulatedDisk,
    published: u64,
}

fn place() -> Place {
    let root = scratch();
    let options = TopicOptions { capacity: 64 << 10, ..TopicOptions::default() };
    let topic = Topic::create(&root.path().join("t"), &options, &Permissions::default(), &MAP).unwrap();
    let publisher = topic.publisher(&MAP, Duration::ZERO).unwrap();
    Place { _root: root, topic, publisher, disk: SimulatedDisk::new(), published: 0 }
}

fn directory() -> &'static Path {
    Path::new("/journal/t")
}

fn journal(disk: &SimulatedDisk) -> Journal {
    Journal::open(Arc::new(disk.clone()), directory()).unwrap()
}

impl Place {
    fn recorder(&self, sync: SyncPolicy, on_failure: OnFailure) -> (Recorder, Recovery) {
        let storage: Arc<dyn Storage> = Arc::new(self.disk.clone());
        let options = RecorderOptions { sync, on_failure, segment_bytes: 64 << 10, ..RecorderOptions::default() };
        Recorder::open(&self.topic, "", storage, directory(), options).unwrap()
    }

    /// Publishes the next numbers, as many as there is room for but at most so many; says how many.
    fn publish(&mut self, count: u64) -> u64 {
        for done in 0..count {
            match self.publisher.publish(&[], &[&self.published.to_le_bytes()[..], &[7; 200]].concat()) {
                Ok(_) => self.published += 1,
                Err(ClaimError::Full) => return done,
                Err(error) => panic!("{error}"),
            }
        }
        count
    }
}

/// The numbers that the journal on `disk` has, and its gaps.
fn recorded(disk: &SimulatedDisk) -> (Vec<u64>, Vec<GapReason>) {
    let (mut reader, mut numbers, mut gaps) = (journal(disk).read(From::Earliest).unwrap(), Vec::new(), Vec::new());
    while let Some(entry) = reader.next().unwrap() {
        match entry {
            Entry::Message(message) => numbers.push(u64::from_le_bytes(message.payload()[..8].try_into().unwrap())),
            Entry::Gap(gap) => gaps.push(gap.reason),
        }
    }
    (numbers, gaps)
}

/// Takes turns until there is nothing to record.
fn drain(recorder: &mut Recorder) {
    while !matches!(recorder.turn().unwrap(), Turn::Idle) {}
}

#[test]
fn with_a_full_disk_publishers_wait_and_nothing_is_lost() {
    for operation in [Operation::Write, Operation::Reserve, Operation::Name] {
        let mut place = place();
        let (mut recorder, _) = place.recorder(SyncPolicy::None, OnFailure::Hold);
        place.disk.fail(operation, 5, ErrorKind::StorageFull, false);
        let mut told = Vec::new();
        // More than the ring holds, as far as there is room.
        for _ in 0..2000 {
            place.publish(1);
            match recorder.turn().unwrap() {
                Turn::Failing(error) => told.push(error.to_string()),
                Turn::Recorded | Turn::Idle | Turn::StillFailing(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told.len(), 1, "once: {told:?}");
        assert!(told[0].contains("no room to"), "{told:?}");
        assert_eq!(place.publish(1), 0, "the ring is full, and stays so");
        place.disk.mend();
        let recovered = recorder.turn().unwrap();
        assert!(matches!(recovered, Turn::Recovered { gap: None }), "{recovered:?}");
        drain(&mut recorder);
        assert!(place.publish(10) == 10);
        drain(&mut recorder);
        assert_eq!(recorded(&place.disk), ((0..place.published).collect(), vec![]), "{operation:?}");
        assert!(journal(&place.disk).verify().unwrap().findings.is_empty());
    }
}

#[test]
fn with_a_full_disk_a_topic_that_is_to_go_on_goes_on_and_the_journal_has_the_gap() {
    let mut place = place();
    let (mut recorder, _) = place.recorder(SyncPolicy::None, OnFailure::GoOn);
    assert_eq!(place.publish(20), 20);
    drain(&mut recorder);
    place.disk.fail(Operation::Write, 0, ErrorKind::StorageFull, false);
    for round in 0..50 {
        assert_eq!(place.publish(20), 20, "nobody is held up");
        let turn = recorder.turn().unwrap();
        assert!(matches!(turn, Turn::Failing(_)) == (round == 0), "{turn:?}");
    }
    place.disk.mend();
    let (lost_from, lost_to) = (20, place.published);
    assert_eq!(place.publish(5), 5);
    let Turn::Recovered { gap: Some((from, to)) } = recorder.turn().unwrap() else { panic!("it says what is missing") };
    assert!(from < to);
    drain(&mut recorder);
    let (numbers, gaps) = recorded(&place.disk);
    assert_eq!(numbers, (0..lost_from).chain(lost_to..place.published).collect::<Vec<_>>());
    assert_eq!(gaps, [GapReason::Failed]);
    assert!(journal(&place.disk).verify().unwrap().is_whole());
}

#[test]
fn after_a_sync_that_failed_what_it_was_for_is_written_once_more() {
    let mut place = place();
    let (mut recorder, _) = place.recorder(SyncPolicy::Batch, OnFailure::Hold);
    for round in 0..60 {
        // Over several segments, so that also the syncs of a new one fail.
        place.publish(60);
        // The kernel drops what it could not write, and says so once.
        place.disk.fail(Operation::Sync, round % 7, ErrorKind::Other, true);
        let mut tries = 0;
        while !matches!(recorder.turn().unwrap(), Turn::Idle) {
            tries += 1;
            assert!(tries < 10, "it comes to an end");
        }
        place.disk.mend();
        assert_eq!(recorder.synced(), recorder.end());
        let after = place.disk.lose_power(Survives::Nothing);
        assert_eq!(recorded(&after), ((0..place.published).collect(), vec![]), "round {round}");
    }
    drop(recorder);
    let (recorder, recovery) = place.recorder(SyncPolicy::Batch, OnFailure::Hold);
    assert_eq!((recorder.messages(), recovery.cut), (place.published, None));
}

#[test]
fn after_a_sync_beside_that_failed_what_it_was_for_is_a_gap_and_nothing_else_is_said_to_be_durable() {
    let mut place = place();
    let (mut recorder, _) = place.recorder(SyncPolicy::Interval(Duration::from_nanos(1)), OnFailure::Hold);
    let mut gaps = Vec::new();
    for round in 0..60 {
        place.publish(10);
        if round % 10 == 3 {
            place.disk.fail(Operation::Sync, 0, ErrorKind::Other, true);
        }
        // Until all is durable that isn't in a gap.
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let turn = recorder.turn().unwrap();
            if let Turn::Recovered { gap } = turn {
                gaps.push(gap.expect("the ring has let go of it"));
            } else if matches!(turn, Turn::Idle) && recorder.synced() == recorder.end() {
                break;
            }
            assert!(Instant::now() < deadline, "round {round}: it never comes to an end");
            std::thread::sleep(Duration::from_micros(100));
        }
        let (durable, after) = (recorder.synced(), place.disk.lose_power(Survives::Nothing));
        let storage: Arc<dyn Storage> = Arc::new(after.clone());
        let calibration = place.topic.header().calibration;
        let (writer, _) = memlane_journal::Writer::resume(storage, directory(), calibration).unwrap().unwrap();
        assert!(writer.end() >= durable, "round {round}: {} of {durable}", writer.end());
    }
    assert!(gaps.len() >= 3, "{gaps:?}");
    recorder.run(&AtomicBool::new(true), |_, _| ()).unwrap();
    let (numbers, recorded_gaps) = recorded(&place.disk);
    assert_eq!(recorded_gaps, vec![GapReason::Failed; gaps.len()]);
    assert!(
        numbers.is_sorted() && numbers.len() as u64 + 10 * 10 > place.published,
        "{} of {}",
        numbers.len(),
        place.published
    );
    assert!(journal(&place.disk).verify().unwrap().is_whole());
}

#[test]
fn a_recorder_that_is_to_stop_while_its_disk_fails_says_so() {
    let mut place = place();
    let (mut recorder, _) = place.recorder(SyncPolicy::None, OnFailure::Hold);
    place.publish(3);
    place.disk.fail(Operation::Write, 0, ErrorKind::StorageFull, false);
    let error = recorder.run(&AtomicBool::new(true), |_, _| ()).unwrap_err();
    assert!(matches!(error, RecordError::Journal(_)) && error.to_string().contains("no room"), "{error}");
    place.disk.mend();
    recorder.run(&AtomicBool::new(true), |_, _| ()).unwrap();
    assert_eq!(recorded(&place.disk).0, [0, 1, 2]);
}

#[test]
fn with_syncs_at_intervals_everything_is_durable_in_the_end() {
    let mut place = place();
    let (mut recorder, _) = place.recorder(SyncPolicy::Interval(Duration::from_micros(100)), OnFailure::Hold);
    for _ in 0..200 {
        place.publish(7);
        recorder.turn().unwrap();
    }
    recorder.run(&AtomicBool::new(true), |_, _| ()).unwrap();
    assert_eq!(recorder.synced(), recorder.end());
    let after = place.disk.lose_power(Survives::Nothing);
    assert_eq!(recorded(&after), ((0..place.published).collect(), vec![]));
}

#[test]
fn a_topic_that_was_made_anew_is_not_recorded_behind_the_old_one() {
    let mut place = place();
    place.publish(1);
    drain(&mut place.recorder(SyncPolicy::None, OnFailure::Hold).0);
    Topic::remove(place.topic.path()).unwrap();
    let options = place.topic.header().options.clone();
    let anew = Topic::create(place.topic.path(), &options, &Permissions::default(), &MAP).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(place.disk.clone());
    let error = Recorder::open(&anew, "", storage, directory(), RecorderOptions::default()).unwrap_err();
    assert!(error.to_string().contains("the journal of another topic (number"), "{error}");
}

#[test]
fn names_of_sources_that_no_topic_has_places_for_are_recorded_and_not_remembered() {
    let mut place = place();
    let (mut recorder, _) = place.recorder(SyncPolicy::None, OnFailure::Hold);
    let mut block = Block::default();
    let names =
        (0..100).map(|number| format!("source.{number}")).chain(["x".repeat(121), "y".repeat(5000), String::new()]);
    let mut published = 0;
    for name in names {
        block.clear();
        // As they stand in a frame, whoever wrote them.
        block.field(TAG_SOURCE, &[name.as_bytes()]).unwrap();
        block.field(TAG_SOURCE_SEQUENCE, &[&7_u64.to_le_bytes()]).unwrap();
        place.publisher.publish(block.finish(8), b"x").unwrap();
        published += 1;
        drain(&mut recorder);
    }
    assert_eq!(recorder.messages(), published);
    drop(recorder);
    let (recorder, recovery) = place.recorder(SyncPolicy::None, OnFailure::Hold);
    assert_eq!((recorder.messages(), recovery.cut), (published, None));
    assert!(journal(&place.disk).verify().unwrap().findings.is_empty());
    // And the topic can come back with those that are.
    drop(recorder);
    let storage: Arc<dyn Storage> = Arc::new(place.disk.clone());
    let calibration = place.topic.header().calibration;
    let (writer, _) = memlane_journal::Writer::resume(storage, directory(), calibration).unwrap().unwrap();
    assert_eq!(writer.sources().len(), place.topic.geometry().sources_max() as usize);
}

#[test]
fn a_recorder_that_is_to_stop_stops_however_much_is_published() {
    let Place { topic, mut publisher, disk, _root, .. } = place();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let options = RecorderOptions { sync: SyncPolicy::None, segment_bytes: 64 << 10, ..RecorderOptions::default() };
    let (mut recorder, _) = Recorder::open(&topic, "", storage, directory(), options).unwrap();
    let (stop, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0_u64.. {
                let _ = publisher.publish(&[], &number.to_le_bytes());
                if number == 20_000 {
                    stop.store(true, Ordering::Release);
                }
                if is_over.load(Ordering::Acquire) {
                    break;
                }
            }
        });
        recorder.run(&stop, |_, _| ()).unwrap();
        is_over.store(true, Ordering::Release);
    });
    assert!(recorder.messages() > 0);
}
