//! Topics that come back: with their numbers, at the position where their journal ends.

#![forbid(unsafe_code)]

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane::journal::{
    Compaction, Compression, Disk, Entry, From, Journal, JournalError, OnFailure, Recorder, RecorderOptions,
    RestoreError, SyncPolicy,
};
use memlane::{Bus, DurableError, Message, OpenError, Publishers, Start, Topic, TopicBuilder};
use rkyv::{Archive, Serialize};
use scratch::{Scratch, scratch};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

struct Recorded {
    bus: Bus,
    _root: Scratch,
    directory: PathBuf,
}

fn recorded() -> Recorded {
    let root = scratch();
    let bus = Bus::builder("journal").root(root.path()).open().unwrap();
    let directory = root.path().join("kept");
    Recorded { bus, _root: root, directory }
}

impl Recorded {
    fn builder(&self) -> TopicBuilder {
        self.bus.topic("t").unwrap().capacity_bytes(16 << 10)
    }

    fn record(&self, topic: &Topic) -> Recorder {
        let options = RecorderOptions {
            sync: SyncPolicy::None,
            on_failure: OnFailure::Hold,
            segment_bytes: 64 << 10,
            ..RecorderOptions::default()
        };
        let mut recorder = topic.record(&self.directory, options).unwrap().0;
        while !matches!(recorder.turn().unwrap(), memlane::journal::Turn::Idle) {}
        recorder
    }
}

/// What the journal has: positions and payloads.
fn read(directory: &Path) -> Vec<(u64, Vec<u8>)> {
    let mut reader = Journal::open(Arc::new(Disk), directory).unwrap().read(From::Earliest).unwrap();
    let mut all = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        let Entry::Message(message) = entry else { panic!("there is no gap") };
        all.push((message.position, message.payload().to_vec()));
    }
    all
}

#[test]
fn a_topic_that_is_gone_goes_on_where_its_journal_ends() {
    for publishers in [Publishers::One, Publishers::Many(3)] {
        let recorded = recorded();
        let mut published = Vec::new();
        let mut epoch = None;
        for life in 0..12_usize {
            let topic = recorded.builder().publishers(publishers).open_or_restore(&recorded.directory).unwrap();
            assert_eq!(*epoch.get_or_insert(topic.info().epoch), topic.info().epoch);
            let snapshot = topic.snapshot().unwrap();
            let end = published.last().map_or(0, |(position, _): &(u64, Vec<u8>)| *position);
            assert!(snapshot.head == snapshot.tail && snapshot.head >= end, "{snapshot:?}");
            assert_eq!(snapshot.messages, published.len() as u64);
            let mut earliest = topic.subscriber::<[u8]>().start(Start::Earliest).open().unwrap();
            let mut publisher = topic.publisher::<[u8]>().open().unwrap();
            // A recorder that came first, or one that comes when there is something.
            let mut recorder = (life % 2 == 0).then(|| recorded.record(&topic));
            for number in 0..life * 13 % 40 {
                let payload = vec![number as u8; number * 37 % 900];
                let position = publisher.publish_within(&payload, Duration::from_millis(1)).unwrap();
                published.push((position, payload.clone()));
                let message = earliest.try_receive().unwrap().unwrap();
                assert_eq!((message.position(), &*message), (position, &payload[..]));
                drop(message);
                if let Some(recorder) = &mut recorder {
                    recorder.turn().unwrap();
                } else if number % 7 == 6 {
                    recorder = Some(recorded.record(&topic));
                }
            }
            recorder.get_or_insert_with(|| recorded.record(&topic)).turn().unwrap();
            drop((recorder, publisher, earliest));
            recorded.bus.remove("t").unwrap();
        }
        assert!(published.len() > 100);
        assert!(read(&recorded.directory) == published, "one log, over all lives, {publishers:?}");
    }
}

#[test]
fn what_was_not_recorded_is_gone_and_a_source_learns_that_it_must_send_it_again() {
    for publishers in [Publishers::One, Publishers::Many(3)] {
        let recorded = recorded();
        let restore = || recorded.builder().publishers(publishers).open_or_restore(&recorded.directory).unwrap();
        let topic = restore();
        let mut source = topic.publisher::<[u8]>().open_source("venue.a").unwrap();
        for number in 1..=5_u64 {
            source.publish(&number.to_le_bytes()).unwrap();
        }
        recorded.record(&topic);
        for number in 6..=9_u64 {
            source.publish(&number.to_le_bytes()).unwrap();
        }
        drop(source);
        recorded.bus.remove("t").unwrap();

        let topic = restore();
        let mut source = topic.publisher::<[u8]>().open_source("venue.a").unwrap();
        assert_eq!(source.last_sequence(), 5);
        for number in 6..=12_u64 {
            source.publish(&number.to_le_bytes()).unwrap();
        }
        recorded.record(&topic);
        let numbers: Vec<u64> = read(&recorded.directory)
            .iter()
            .map(|(_, payload)| u64::from_le_bytes(payload[..].try_into().unwrap()))
            .collect();
        assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    }
}

#[test]
fn many_that_restore_a_topic_at_once_get_the_same_one() {
    let recorded = recorded();
    let topic = recorded.builder().create().unwrap();
    topic.publisher::<[u8]>().open().unwrap().publish(b"before").unwrap();
    recorded.record(&topic);
    for _ in 0..20 {
        recorded.bus.remove("t").unwrap();
        let created: Vec<u64> = std::thread::scope(|scope| {
            let restore = || recorded.builder().open_or_restore(&recorded.directory).unwrap().info().created_unix_ns;
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(restore)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(created.iter().all(|one| *one == created[0]), "{created:?}");
    }
}

#[derive(Archive, Serialize, Message)]
#[message(name = "md.tick", version = 1)]
struct Tick {
    price: i64,
}

#[test]
fn a_restored_topic_has_the_options_and_the_type_that_it_had() {
    let recorded = recorded();
    let topic = recorded.builder().message::<Tick>().stamps(true).subscribers_max(3).create().unwrap();
    recorded.record(&topic);
    let before = topic.info();
    recorded.bus.remove("t").unwrap();
    let topic = recorded.builder().capacity_bytes(1 << 20).open_or_restore(&recorded.directory).unwrap();
    assert_eq!(topic.info().options, before.options);
    assert_eq!((topic.info().epoch, topic.description().unwrap().is_some()), (before.epoch, true));
    topic.publisher::<Tick>().open().unwrap().publish(&Tick { price: 1 }).unwrap();
}

/// The last message of each key: its position and payload.
fn last_values(topic: &Topic) -> Vec<(Vec<u8>, u64, Vec<u8>)> {
    let (values, _) = topic.subscriber::<[u8]>().open_with_last_values().unwrap();
    let all = values.iter().map(|message| {
        let message = message.unwrap();
        (message.key().unwrap().unwrap().to_vec(), message.position, message.view.to_vec())
    });
    all.collect()
}

#[test]
fn a_topic_with_last_values_comes_back_with_them_and_they_go_on() {
    for (publishers, stamps, compacts) in [(Publishers::One, true, false), (Publishers::Many(3), false, true)] {
        let recorded = recorded();
        let made = recorded.builder().publishers(publishers).stamps(stamps).last_values(100, 200).create().unwrap();
        let mut recorder = recorded.record(&made);
        let publish = |topic: &Topic, key: &str, payload: &[u8]| {
            let mut publisher = topic.publisher::<[u8]>().open().unwrap();
            publisher.message().key(key.as_bytes()).unwrap().publish(payload).unwrap()
        };
        // More than the ring holds, so that the table has some and the ring others.
        for number in 0..1000_u32 {
            let key = (number * 7919 % 90).to_string();
            let length = if number % 13 == 0 { 0 } else { 150 };
            publish(&made, &key, &[number as u8; 150][..length]);
            while !matches!(recorder.turn().unwrap(), memlane::journal::Turn::Idle) {}
        }
        made.publisher::<[u8]>().open().unwrap().publish(b"without a key").unwrap();
        recorder.run(&AtomicBool::new(true), |_, _| ()).unwrap();
        drop(recorder);
        let before = last_values(&made);
        assert!(before.len() > 50 && before.len() < 90);
        recorded.bus.remove("t").unwrap();
        if compacts {
            let journal = Journal::open(Arc::new(Disk), &recorded.directory).unwrap();
            assert!(journal.compact(Compaction::default(), Compression::default()).unwrap().left_out > 500);
        }
        let now = memlane_shm::clock::unix_ns();
        let again = recorded.builder().open_or_restore(&recorded.directory).unwrap();
        assert_eq!(last_values(&again), before);
        // In time, too, though the clock of the stamps is another one.
        let (values, _) = again.subscriber::<[u8]>().open_with_last_values().unwrap();
        for message in values.iter().filter(|_| stamps) {
            let unix_ns = again.stamp_unix_ns(message.unwrap().stamp().unwrap());
            assert!(unix_ns < now && now - unix_ns < 60_000_000_000, "{unix_ns}");
        }
        // What comes takes their place, also that of what was deleted before, and the ring goes around.
        let mut expected = before;
        let mut new = recorded.record(&again);
        for number in 0..400_u32 {
            let key = (number * 31 % 100).to_string();
            let position = publish(&again, &key, &[1; 100]);
            expected.retain(|(before, ..)| *before != key.as_bytes());
            expected.push((key.into_bytes(), position, vec![1; 100]));
            while !matches!(new.turn().unwrap(), memlane::journal::Turn::Idle) {}
        }
        assert_eq!(last_values(&again), expected);
        drop(values);
    }
}

#[test]
fn a_journal_that_is_damaged_is_told_and_nothing_is_made() {
    let recorded = recorded();
    let topic = recorded.builder().last_values(10, 100).create().unwrap();
    topic.publisher::<[u8]>().open().unwrap().message().key(b"a").unwrap().publish(b"1").unwrap();
    recorded.record(&topic);
    recorded.bus.remove("t").unwrap();
    // A message whose bytes aren't what was recorded is no last value.
    let segment = recorded.directory.join("00000000000000000000.segment");
    let whole = std::fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    damaged[4096 + 30] ^= 1;
    std::fs::write(&segment, &damaged).unwrap();
    let error = recorded.builder().open_or_restore(&recorded.directory).unwrap_err();
    assert!(matches!(&error, RestoreError::Journal(JournalError::Corrupt { .. })), "{error}");
    assert!(matches!(recorded.builder().open(), Err(OpenError::Topic(_))), "it isn't there");
    std::fs::write(&segment, &whole).unwrap();

    std::fs::write(recorded.directory.join("manifest"), "garbage").unwrap();
    let error = recorded.builder().open_or_restore(&recorded.directory).unwrap_err();
    assert!(matches!(&error, RestoreError::Journal(_)) && error.to_string().contains("manifest"), "{error}");
    assert!(matches!(recorded.builder().open(), Err(OpenError::Topic(_))), "it isn't there");
}

/// Has a recorder at work that syncs like this, while `then` runs.
fn while_recording(recorded: &Recorded, topic: &Topic, sync: SyncPolicy, then: impl FnOnce()) {
    let options =
        RecorderOptions { sync, on_failure: OnFailure::Hold, segment_bytes: 64 << 10, ..RecorderOptions::default() };
    let mut recorder = topic.record(&recorded.directory, options).unwrap().0;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let recording = scope.spawn(|| {
            recorder.run(&stop, |_, _| ()).unwrap();
            drop(recorder);
        });
        // Also if it panics, or the recorder would go on for ever.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(then));
        stop.store(true, Ordering::Release);
        recording.join().unwrap();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn a_durable_message_is_in_the_journal_when_its_publish_returns() {
    for publishers in [Publishers::One, Publishers::Many(3)] {
        for sync in [SyncPolicy::Batch, SyncPolicy::Interval(Duration::from_millis(2))] {
            let recorded = recorded();
            let topic = recorded.builder().publishers(publishers).create().unwrap();
            while_recording(&recorded, &topic, sync, || {
                let mut publisher = topic.publisher::<[u8]>().open().unwrap();
                for number in 0..50_u64 {
                    let position = publisher.publish_durable(&number.to_le_bytes(), Duration::from_secs(20)).unwrap();
                    assert!(publisher.durable_position() > position);
                    assert_eq!(read(&recorded.directory).last().unwrap().0, position);
                }
            });
        }
    }
}

#[test]
fn many_that_wait_for_their_messages_to_be_durable_are_all_woken() {
    let recorded = recorded();
    let topic = recorded.builder().publishers(Publishers::Many(6)).create().unwrap();
    while_recording(&recorded, &topic, SyncPolicy::Batch, || {
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
                    for _ in 0..200 {
                        publisher.publish_durable(&[7; 40], Duration::from_secs(20)).unwrap();
                    }
                });
            }
        });
    });
    assert_eq!(read(&recorded.directory).len(), 6 * 200);
}

#[test]
fn a_task_waits_until_its_message_is_durable() {
    let recorded = recorded();
    let topic = recorded.builder().create().unwrap();
    while_recording(&recorded, &topic, SyncPolicy::Batch, || {
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let position = memlane::block_on(publisher.publish_durable_async(b"hello")).unwrap();
        assert!(publisher.durable_position() > position);
    });
}

#[test]
fn without_a_recorder_that_syncs_a_durable_publish_says_so_and_where_the_message_is() {
    let recorded = recorded();
    let topic = recorded.builder().create().unwrap();
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let refused = |publisher: &mut memlane::Publisher<[u8]>| {
        let error = publisher.publish_durable(b"x", Duration::from_secs(20)).unwrap_err();
        let DurableError::NotRecorded { position } = error else { panic!("{error}") };
        position
    };
    assert_eq!(refused(&mut publisher), 0, "nobody records");
    while_recording(&recorded, &topic, SyncPolicy::None, || {
        assert_eq!(refused(&mut publisher), 64, "nobody syncs");
    });
    while_recording(&recorded, &topic, SyncPolicy::Batch, || {
        publisher.wait_durable(64, Duration::from_secs(20)).unwrap();
    });
    assert_eq!(refused(&mut publisher), 128, "nobody any more");
    // A subscriber in its place is none either.
    let _subscriber = topic.subscriber::<[u8]>().open().unwrap();
    assert_eq!(refused(&mut publisher), 192);
    publisher.wait_durable(64, Duration::ZERO).unwrap();
}

#[test]
fn a_recorder_that_takes_too_long_is_not_waited_for_longer_than_asked() {
    let recorded = recorded();
    let topic = recorded.builder().create().unwrap();
    while_recording(&recorded, &topic, SyncPolicy::Interval(Duration::from_secs(3600)), || {
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let error = publisher.publish_durable(b"x", Duration::from_millis(30)).unwrap_err();
        assert_eq!(error, DurableError::TimedOut { position: 0 });
    });
    let publisher = topic.publisher::<[u8]>().open().unwrap();
    publisher.wait_durable(0, Duration::ZERO).expect("it synced when it ended");
}
