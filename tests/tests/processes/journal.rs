//! Recorders that are killed over and over, and publishers beside them: what was published is in the journal, in order, once each.

use crate::stage;
use memlane::journal::{Disk, Entry, From, Journal};
use memlane::{Publishers, Start, Subscriber};
use memlane_tests::random::Random;
use memlane_tests::role::{Place, Record, Report, Role};
use memlane_tests::stage::{Actor, Stage, poll_until};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LIVES: u32 = 120;

/// Where a recorder's life may end by itself.
const RECORDERS_POINTS: &[&str] = &[
    "journal.before_write",
    "journal.half_written",
    "journal.data_written",
    "journal.recorded",
    "journal.synced",
    "journal.closed",
    "journal.segment_made",
    "journal.rolled",
    "journal.manifest_written",
    "journal.recovering",
    "journal.compressing",
    "journal.compressed",
    "journal.replaced",
    "durable.said",
    "join.announced",
    "join.gated",
    "release.before",
    "release.after",
];

const PUBLISHERS_POINTS: &[&str] = &["claim.claimed", "write.half", "commit.before", "commit.after"];

struct Recording {
    stage: Stage,
    place: Place,
    directory: PathBuf,
}

impl Recording {
    fn recorder(&self, crash: Option<&str>, sync: bool) -> Actor {
        let plan = Record { sync, ..Record::new(&self.place, &self.directory) };
        self.start(&Role::Record(plan), crash)
    }

    /// One that compresses and compacts what it has recorded.
    fn shrinking(&self, crash: Option<&str>, sync: bool) -> Actor {
        let plan = Record { sync, shrink: true, ..Record::new(&self.place, &self.directory) };
        self.start(&Role::Record(plan), crash)
    }

    fn start(&self, role: &Role, crash: Option<&str>) -> Actor {
        match crash {
            Some(crash) => self.stage.start_armed(role, crash),
            None => self.stage.start(role),
        }
    }
}

fn journal(directory: &Path) -> Journal {
    Journal::open(Arc::new(Disk), directory).unwrap()
}

/// What the journal has: positions and payloads.
fn recorded(directory: &Path) -> Vec<(u64, Vec<u8>)> {
    let (mut reader, mut all) = (journal(directory).read(From::Earliest).unwrap(), Vec::new());
    while let Some(entry) = reader.next().unwrap() {
        if let Entry::Message(message) = entry {
            all.push((message.position, message.payload().to_vec()));
        }
    }
    all
}

/// Takes what is recorded already, so that the ring keeps what isn't: whatever a dead recorder has not recorded, the next one finds.
fn follow(subscriber: &mut Subscriber<[u8]>, directory: &Path, seen: &mut Vec<(u64, Vec<u8>)>) {
    let Ok(summary) = Journal::open(Arc::new(Disk), directory).and_then(|journal| journal.summary()) else { return };
    // By their number, for behind the last one there may be padding, and behind that one that isn't recorded.
    while (seen.len() as u64) < summary.messages_ever {
        let Some(message) = subscriber.receive_within(Duration::from_millis(1)).unwrap() else { return };
        seen.push((message.position(), message.to_vec()));
    }
}

/// Recorders and publishers live again and again, each time killed somewhere.
fn comes_back(publishers: Publishers) {
    let stage = stage();
    let (topic, place) = stage.topic("t", |topic| topic.capacity_bytes(256 << 10).publishers(publishers).stamps(true));
    let directory = stage.root().join("journal");
    let recording = Recording { stage, place, directory };
    let directory = &recording.directory;
    let seed = Random::seed();
    println!("MEMLANE_SEED={seed}");
    let mut random = Random::new(seed);
    let mut subscriber = topic.subscriber::<[u8]>().start(Start::Earliest).open().unwrap();
    let (is_over, mut seen) = (AtomicBool::new(false), Vec::new());
    let source = Role::Source { place: recording.place.clone(), name: "venue.a".to_owned() };
    std::thread::scope(|scope| {
        let following = scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                follow(&mut subscriber, directory, &mut seen);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut publisher = recording.start(&source, None);
        for life in 0..LIVES {
            let crash = format!("{}:{}", random.one_of(RECORDERS_POINTS), 1 + random.below(20) * random.below(3));
            let (crash, sync) = ((random.below(4) > 0).then_some(crash.as_str()), random.below(2) == 0);
            let mut recorder = match random.below(2) {
                0 => recording.recorder(crash, sync),
                _ => recording.shrinking(crash, sync),
            };
            std::thread::sleep(Duration::from_millis(4) + random.time_below(Duration::from_millis(25)));
            recorder.kill();
            if life % 3 == 0 {
                publisher.kill();
                let crash = format!("{}:{}", random.one_of(PUBLISHERS_POINTS), 1 + random.below(500));
                publisher = recording.start(&source, Some(&crash));
            }
        }
        publisher.kill();
        let mut last = recording.recorder(None, true);
        last.await_ready();
        let mut source = recording.start(&source, None);
        source.await_ready();
        source.ask_to_stop();
        let last_number = source.answer().unwrap();
        last.ask_to_stop();
        let end = last.answer().unwrap();
        is_over.store(true, Ordering::Release);
        following.join().unwrap();
        println!("{last_number} numbers up to position {end} in {LIVES} lives of recorders, {publishers:?}");
    });
    follow(&mut subscriber, directory, &mut seen);
    assert!(subscriber.try_receive().unwrap().is_none(), "all of it is recorded");
    let report = journal(directory).verify().unwrap();
    assert_eq!(report.findings, []);
    let recorded = recorded(directory);
    assert_eq!(recorded.len(), seen.len());
    assert!(recorded == seen, "the journal is the log");
    let numbers = recorded.iter().map(|(_, payload)| u64::from_le_bytes(payload[..8].try_into().unwrap()));
    assert!(numbers.eq(1..=recorded.len() as u64), "each number once, in order");
    assert!(recorded.len() > 1_000, "{}", recorded.len());
}

#[test]
fn a_recorder_killed_over_and_over_leaves_out_nothing_of_one_publisher_and_repeats_nothing() {
    comes_back(Publishers::One);
}

#[test]
fn a_recorder_killed_over_and_over_leaves_out_nothing_of_many_publishers_and_repeats_nothing() {
    comes_back(Publishers::Many(4));
}

#[test]
fn a_recorder_killed_at_each_of_its_places_is_followed_by_one_that_goes_on_there() {
    for point in RECORDERS_POINTS.iter().filter(|point| point.starts_with("journal.")) {
        let stage = stage();
        let (topic, place) = stage.topic("t", |topic| topic.capacity_bytes(4 << 20));
        let directory = stage.root().join("journal");
        let recording = Recording { stage, place, directory };
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        for number in 0..300_u64 {
            publisher.publish(&[&number.to_le_bytes()[..], &[7; 4000]].concat()).unwrap();
        }
        // The recovery needs something to recover from.
        if *point == "journal.recovering" {
            recording.recorder(Some("journal.data_written:2"), false).await_killed();
        }
        recording.shrinking(Some(point), true).await_killed();
        let mut next = recording.recorder(None, true);
        next.await_ready();
        next.ask_to_stop();
        next.answer().unwrap();
        let report = journal(&recording.directory).verify().unwrap();
        assert_eq!((report.messages, report.gaps, &report.findings[..]), (300, 0, &[][..]), "{point}");
    }
}

#[test]
fn what_the_ring_let_go_of_while_nobody_recorded_is_a_gap_that_says_so() {
    let stage = stage();
    let (topic, place) = stage.topic("t", |topic| topic.capacity_bytes(64 << 10));
    let directory = stage.root().join("journal");
    let recording = Recording { stage, place, directory };
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    publisher.publish(b"first").unwrap();
    let record = || {
        let mut recorder = recording.recorder(None, false);
        recorder.await_ready();
        recorder.ask_to_stop();
        recorder.answer().unwrap()
    };
    let from = record();
    for _ in 0..1000 {
        publisher.publish(&[7; 500]).unwrap();
    }
    record();
    let mut reader = journal(&recording.directory).read(From::Position(from)).unwrap();
    let Some(Entry::Gap(gap)) = reader.next().unwrap() else { panic!("there is none") };
    assert_eq!((gap.position, gap.reason), (from, memlane::journal::GapReason::NotRecorded));
    let Some(Entry::Message(message)) = reader.next().unwrap() else { panic!("it goes on") };
    assert_eq!(message.position, gap.end);
}

#[test]
fn a_recorder_of_a_removed_topic_ends_with_all_of_it_recorded() {
    let stage = stage();
    let (topic, place) = stage.topic("t", |topic| topic);
    let directory = stage.root().join("journal");
    let recording = Recording { stage, place, directory };
    let mut recorder = recording.recorder(None, false);
    recorder.await_ready();
    topic.publisher::<[u8]>().open().unwrap().publish(b"last").unwrap();
    recording.stage.bus().remove("t").unwrap();
    let ended = poll_until(|| recorder.has_ended());
    assert!(ended.is_some());
    assert_eq!(recorded(&recording.directory), [(0, b"last".to_vec())]);
}

#[test]
fn a_host_that_restarts_over_and_over_leaves_each_number_of_a_source_once_and_in_order() {
    for publishers in [Publishers::One, Publishers::Many(4)] {
        let stage = stage();
        let (_, place) = stage.topic("t", |topic| topic.capacity_bytes(256 << 10).publishers(publishers));
        let directory = stage.root().join("journal");
        let recording = Recording { stage, place, directory };
        let seed = Random::seed();
        println!("MEMLANE_SEED={seed}");
        let mut random = Random::new(seed);
        let record = |crash: Option<&str>| {
            let plan = Record { restore: true, shrink: true, ..Record::new(&recording.place, &recording.directory) };
            recording.start(&Role::Record(plan), crash)
        };
        let source = Role::Source { place: recording.place.clone(), name: "venue.a".to_owned() };
        for life in 0..40 {
            let crash = format!("{}:{}", random.one_of(RECORDERS_POINTS), 1 + random.below(20) * random.below(3));
            let mut recorder = record((life > 0 && random.below(3) > 0).then_some(&crash));
            // Before it records nobody may publish, or there is a gap. It may die on the way there.
            let records = poll_until(|| {
                if recorder.has_ended().is_some() {
                    recorder = record(None);
                }
                let snapshot = recording.place.open().ok()?.snapshot().ok()?;
                snapshot.subscribers.iter().find(|one| one.position.is_some()).map(drop)
            });
            assert!(records.is_some());
            let mut publisher = recording.start(&source, None);
            std::thread::sleep(Duration::from_millis(5) + random.time_below(Duration::from_millis(25)));
            recorder.kill();
            publisher.kill();
            recording.stage.bus().remove("t").unwrap();
        }
        let report = journal(&recording.directory).verify().unwrap();
        assert!(report.is_whole(), "{report:?}");
        let recorded = recorded(&recording.directory);
        let numbers = recorded.iter().map(|(_, payload)| u64::from_le_bytes(payload[..8].try_into().unwrap()));
        assert!(numbers.eq(1..=recorded.len() as u64), "each number once, in order");
        println!("{} numbers in 40 runs of a host, {publishers:?}", recorded.len());
        assert!(recorded.len() > 100, "{}", recorded.len());
    }
}

#[test]
fn a_publisher_that_waits_for_a_recorder_that_is_killed_is_told() {
    let stage = stage();
    let (topic, place) = stage.topic("t", |topic| topic);
    let directory = stage.root().join("journal");
    let recording = Recording { stage, place, directory };
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    // It dies between the sync and the word of it, or with its sync ahead.
    for point in ["journal.recorded:3", "durable.said:3"] {
        let mut recorder = recording.recorder(Some(point), true);
        recorder.await_ready();
        let mut position = 0;
        let error = loop {
            match publisher.publish_durable(b"x", Duration::from_secs(30)) {
                Ok(durable) => position = durable,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, memlane::DurableError::NotRecorded { .. }), "{error}");
        recorder.await_killed();
        // What was said to be durable is there.
        assert!(recorded(&recording.directory).iter().any(|(recorded, _)| *recorded == position));
    }
    let mut recorder = recording.recorder(None, true);
    recorder.await_ready();
    publisher.publish_durable(b"x", Duration::from_secs(30)).unwrap();
    recorder.ask_to_stop();
    recorder.answer().unwrap();
}

#[test]
fn a_reader_killed_over_and_over_while_it_commits_does_each_message_at_least_once_and_in_order() {
    let stage = stage();
    let (topic, place) = stage.topic("t", |topic| topic.capacity_bytes(1 << 20));
    let directory = stage.root().join("journal");
    let recording = Recording { stage, place, directory };
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    for number in 0..2000_u64 {
        publisher.publish(&number.to_le_bytes()).unwrap();
    }
    let mut recorder = recording.recorder(None, false);
    recorder.await_ready();
    recorder.ask_to_stop();
    recorder.answer().unwrap();
    let all: Vec<u64> = recorded(&recording.directory).iter().map(|(position, _)| *position).collect();

    let seed = Random::seed();
    println!("MEMLANE_SEED={seed}");
    let mut random = Random::new(seed);
    let role = Role::Commit { directory: recording.directory.clone(), name: "reader".to_owned() };
    let (mut next, mut repeated, mut is_over) = (0, 0, false);
    for life in 0..60 {
        let point = random.one_of(&["offset.half_written", "offset.written"]);
        let crash = format!("{point}:{}", 1 + random.below(70));
        let mut reader = recording.start(&role, (life < 59).then_some(&crash));
        assert!(poll_until(|| reader.has_ended()).is_some());
        for report in reader.last_reports() {
            let Report::Answer(Ok(position)) = report else { panic!("{report:?}") };
            if position == u64::MAX {
                is_over = true;
                break;
            }
            let at = all.iter().position(|one| *one == position).unwrap();
            assert!(at <= next, "message {at} comes before {next} was done");
            repeated += usize::from(at < next);
            next = at + 1;
        }
    }
    println!("{repeated} of {} were done twice, in 60 lives", all.len());
    assert!(is_over && next == all.len() && repeated < 60, "{next} of {}, {repeated} twice", all.len());
}

#[test]
fn a_service_killed_over_and_over_while_it_saves_goes_on_at_its_last_snapshot_and_counts_each_message_once() {
    let stage = stage();
    let (topic, place) = stage.topic("t", |topic| topic.capacity_bytes(1 << 20));
    let directory = stage.root().join("journal");
    let recording = Recording { stage, place, directory };
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    for number in 0..1000_u64 {
        publisher.publish(&number.to_le_bytes()).unwrap();
    }
    let mut recorder = recording.recorder(None, false);
    recorder.await_ready();
    recorder.ask_to_stop();
    recorder.answer().unwrap();
    let all: Vec<u64> = recorded(&recording.directory).iter().map(|(position, _)| *position).collect();

    let seed = Random::seed();
    println!("MEMLANE_SEED={seed}");
    let mut random = Random::new(seed);
    let role = Role::Save { directory: recording.directory.clone(), name: "count".to_owned() };
    let (mut saved, mut is_over) = (0, false);
    for life in 0..60 {
        let crash = format!("{}:{}", random.one_of(&["snapshot.written", "snapshot.saved"]), 1 + random.below(8));
        let mut service = recording.start(&role, (life < 59).then_some(&crash));
        assert!(poll_until(|| service.has_ended()).is_some());
        for report in service.last_reports() {
            let Report::Answer(Ok(position)) = report else { panic!("{report:?}") };
            is_over = position == u64::MAX;
            saved = if is_over { saved } else { position };
        }
        let loaded = journal(&recording.directory).snapshots("count").unwrap().load().unwrap();
        let Some(loaded) = loaded else {
            assert_eq!(saved, 0, "{crash}");
            continue;
        };
        let count = all.iter().filter(|position| **position < loaded.position).count() as u64;
        assert_eq!(loaded.state[..8], count.to_le_bytes(), "{crash}");
        assert!(loaded.position >= saved && loaded.damaged.is_empty(), "{crash}: {} of {saved}", loaded.position);
        // Also what was saved and not reported any more.
        saved = loaded.position;
    }
    // Whoever died before it had given up the oldest ones left that to the next that saves: one at most, if the last one had nothing to save.
    let kept = journal(&recording.directory).all_snapshots().unwrap();
    assert!((3..=4).contains(&kept[0].1.len()), "{kept:?}");
    assert!(is_over && saved > *all.last().unwrap(), "{saved}");
}

#[test]
fn a_recorder_killed_while_it_prunes_leaves_a_whole_journal_of_what_is_to_be_kept() {
    let stage = stage();
    let (topic, place) = stage.topic("t", |topic| topic.capacity_bytes(4 << 20));
    let directory = stage.root().join("journal");
    let recording = Recording { stage, place, directory };
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let mut published = 0;
    let mut publish = |count: u64| {
        for number in published..published + count {
            publisher.publish(&[&number.to_le_bytes()[..], &[7; 4000]].concat()).unwrap();
        }
        published += count;
        published
    };
    publish(500);
    // What is compressed beside may be given up meanwhile.
    let keep = Record { sync: true, shrink: true, ..Record::new(&recording.place, &recording.directory) };
    let role = Role::Record(Record { keep_bytes: Some(600 << 10), ..keep });
    for life in 1..4 {
        let mut pruning = recording.start(&role, Some("journal.pruning"));
        pruning.await_killed();
        let report = journal(&recording.directory).verify().unwrap();
        assert!(report.is_whole() && report.gaps == 0, "life {life}: {report:?}");
        publish(300);
    }
    let published = publish(0);
    let mut last = recording.start(&role, None);
    last.await_ready();
    last.ask_to_stop();
    last.answer().unwrap();
    let recorded = recorded(&recording.directory);
    let kept: Vec<u64> =
        recorded.iter().map(|(_, payload)| u64::from_le_bytes(payload[..8].try_into().unwrap())).collect();
    assert!(kept.len() > 140 && kept.len() < 500, "{}", kept.len());
    assert!(kept.iter().copied().eq(published - kept.len() as u64..published), "the last ones, all of them");
}
