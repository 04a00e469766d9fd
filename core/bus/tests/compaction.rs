//! Journals that are compressed, or keep the last message of each key, while they are recorded and afterwards: what is to stay is there, at its position.

#![forbid(unsafe_code)]

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane::journal::{
    Compaction, Compressed, Compression, Disk, Entry, From, Journal, Recorder, RecorderOptions, Retention, SyncPolicy,
    Turn,
};
use memlane::{Bus, Publisher, Topic};
use scratch::{Scratch, scratch};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A message of a journal: its position, its key and its payload.
type Recorded = (u64, Option<Vec<u8>>, Vec<u8>);

struct Stage {
    root: Scratch,
    topic: Topic,
    log: Vec<Recorded>,
    random: u64,
}

impl Stage {
    fn new(stamps: bool) -> Self {
        Self::of(16 << 10, stamps)
    }

    fn of(capacity_bytes: u64, stamps: bool) -> Self {
        let root = scratch();
        let bus = Bus::builder("kept").root(root.path()).open().unwrap();
        let topic = bus.topic("t").unwrap().capacity_bytes(capacity_bytes).prefault(false).stamps(stamps);
        Self { topic: topic.create().unwrap(), root, log: Vec::new(), random: 7 }
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join("journal")
    }

    fn journal(&self) -> Journal {
        Journal::open(Arc::new(Disk), &self.directory()).unwrap()
    }

    fn recorder(&self, options: RecorderOptions) -> Recorder {
        let options = RecorderOptions { segment_bytes: 64 << 10, ..options };
        self.topic.record(&self.directory(), options).unwrap().0
    }

    /// A number below `end`. Xorshift64 (Marsaglia, 2003).
    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }

    /// Publishes `count` messages, most of them with one of `keys` keys and some of them deletions, and records them.
    fn publish(&mut self, recorder: &mut Recorder, count: u64, keys: u64) {
        let mut publisher: Publisher<[u8]> = self.topic.publisher().open().unwrap();
        for number in 0..count {
            let key = Some(self.below(keys + 1)).filter(|key| *key < keys).map(|key| key.to_string().into_bytes());
            let length = if self.below(8) == 0 { 0 } else { 1 + self.below(200) };
            let payload = vec![self.below(256) as u8; length as usize];
            let position = match &key {
                Some(key) => publisher.message().key(key).unwrap().publish_within(&payload, PATIENCE).unwrap(),
                None => publisher.publish_within(&payload, PATIENCE).unwrap(),
            };
            self.log.push((position, key, payload));
            // The ring has room for so many.
            if self.below(16) == 0 || number % 32 == 0 {
                turns(recorder);
            }
        }
        turns(recorder);
    }
}

/// Records what is there.
fn turns(recorder: &mut Recorder) {
    loop {
        match recorder.turn().unwrap() {
            Turn::Recorded => {}
            Turn::Idle => return,
            other => panic!("{other:?}"),
        }
    }
}

fn all(journal: &Journal) -> Vec<Recorded> {
    let (mut reader, mut all) = (journal.read(From::Earliest).unwrap(), Vec::new());
    while let Some(entry) = reader.next().unwrap() {
        let Entry::Message(message) = entry else { panic!("there is no gap") };
        all.push((message.position, message.key().map(<[u8]>::to_vec), message.payload().to_vec()));
    }
    all
}

/// What is left of `log` if nothing stays of a key before `closed_end` but its last message before that.
fn compacted(log: &[Recorded], closed_end: u64, keeps_deletions: bool) -> Vec<Recorded> {
    let closed = log.iter().filter(|message| message.0 < closed_end);
    let last: BTreeMap<_, u64> = closed.filter_map(|message| Some((message.1.clone()?, message.0))).collect();
    let stays = |(position, key, payload): &&Recorded| match key {
        Some(key) if *position < closed_end => last[key] == *position && (keeps_deletions || !payload.is_empty()),
        _ => true,
    };
    log.iter().filter(stays).cloned().collect()
}

/// Has the recorder go on until `is_done`.
fn until(recorder: &mut Recorder, is_done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_done() {
        turns(recorder);
        assert!(Instant::now() < deadline, "it comes to nothing");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How many bytes each closed segment has, compressed or not.
fn closed_bytes(journal: &Journal) -> Vec<u64> {
    let begins = journal.segments().unwrap();
    let closed = begins[..begins.len() - 1].iter();
    closed.map(|begin| journal.segment(*begin).unwrap().length().unwrap()).collect()
}

#[test]
fn a_recorder_that_compresses_leaves_every_closed_segment_smaller_and_all_messages_there() {
    for (sync, stamps) in
        [(SyncPolicy::Batch, true), (SyncPolicy::Interval(Duration::from_millis(1)), true), (SyncPolicy::None, false)]
    {
        let mut stage = Stage::new(stamps);
        let compression = Some(Compression::default());
        let options = RecorderOptions { sync, compression, ..RecorderOptions::default() };
        let mut recorder = stage.recorder(options);
        stage.publish(&mut recorder, 4_000, 100);
        let journal = stage.journal();
        // Each of 64 KiB, with frames whose payloads are one byte over and over.
        until(&mut recorder, || closed_bytes(&journal).iter().all(|bytes| *bytes < 48 << 10));
        assert!(closed_bytes(&journal).len() > 5);
        assert!(all(&journal) == stage.log);
        assert_eq!(journal.verify().unwrap().findings, []);
        // And one that comes after it goes on.
        drop(recorder);
        let mut recorder = stage.recorder(options);
        stage.publish(&mut recorder, 1_000, 100);
        until(&mut recorder, || closed_bytes(&journal).iter().all(|bytes| *bytes < 48 << 10));
        assert!(all(&journal) == stage.log);
    }
}

#[test]
fn times_are_those_of_their_batches_where_the_topic_has_no_stamps_compressed_or_not() {
    let mut stage = Stage::new(false);
    let mut recorder = stage.recorder(RecorderOptions::default());
    stage.publish(&mut recorder, 500, 10);
    drop(recorder);
    let times = |journal: &Journal| {
        let (mut reader, mut times) = (journal.read(From::Earliest).unwrap(), Vec::new());
        while let Some(Entry::Message(message)) = reader.next().unwrap() {
            times.push((message.position, message.unix_ns));
        }
        times
    };
    let before = times(&stage.journal());
    assert!(before.windows(2).any(|pair| pair[0].1 < pair[1].1));
    drop(stage.recorder(RecorderOptions::default()));
    assert!(stage.journal().compress(Compression::default()).unwrap().segments > 0);
    assert_eq!(times(&stage.journal()), before);
}

#[test]
fn a_compacted_journal_has_the_last_message_of_each_key_and_all_without_one_at_their_positions() {
    for stamps in [true, false] {
        let mut stage = Stage::new(stamps);
        let mut recorder = stage.recorder(RecorderOptions::default());
        stage.publish(&mut recorder, 3_000, 40);
        let stop = true.into();
        recorder.run(&stop, |_, _| ()).unwrap();
        drop(recorder);
        let journal = stage.journal();
        let summary = journal.summary().unwrap();
        let Compressed { segments, bytes_before, bytes_after, left_out } =
            journal.compact(Compaction::default(), Compression::default()).unwrap();
        let expected = compacted(&stage.log, summary.end, true);
        assert_eq!(left_out as usize, stage.log.len() - expected.len());
        assert!(segments > 3 && bytes_after * 5 < bytes_before, "{bytes_before} to {bytes_after} in {segments}");
        let journal = stage.journal();
        assert_eq!(all(&journal), expected);
        assert_eq!(journal.verify().unwrap().findings, []);
        // What was counted and where it ends stays as it was.
        assert_eq!(journal.summary().unwrap(), summary);
        // Deletions go when they are old, and then nothing is left to do.
        let at_once = Compaction { deletions_kept: Duration::ZERO };
        journal.compact(at_once, Compression::default()).unwrap();
        assert_eq!(all(&stage.journal()), compacted(&stage.log, summary.end, false));
        assert_eq!(journal.compact(at_once, Compression::default()).unwrap(), Compressed::default());
        // It goes on, and later messages take the place of those that were compacted before.
        let mut recorder = stage.recorder(RecorderOptions::default());
        stage.publish(&mut recorder, 1_000, 60);
        recorder.run(&true.into(), |_, _| ()).unwrap();
        drop(recorder);
        let end = stage.journal().summary().unwrap().end;
        stage.journal().compact(at_once, Compression::default()).unwrap();
        assert_eq!(all(&stage.journal()), compacted(&stage.log, end, false));
    }
}

#[test]
fn a_recorder_that_compacts_keeps_every_last_message_and_what_is_not_closed_yet() {
    let mut stage = Stage::new(true);
    let options = RecorderOptions {
        sync: SyncPolicy::Batch,
        compaction: Some(Compaction::default()),
        ..RecorderOptions::default()
    };
    let mut recorder = stage.recorder(options);
    let journal = stage.journal();
    for _ in 0..4 {
        stage.publish(&mut recorder, 2_000, 50);
        std::thread::sleep(Duration::from_millis(250));
        turns(&mut recorder);
        let found = all(&journal);
        // Whatever is compacted by now, all that stays is what was published, and no last message of a key is missing.
        let end = u64::MAX;
        let last = compacted(&stage.log, end, true);
        assert!(last.iter().all(|message| found.contains(message)));
        assert!(found.iter().all(|message| stage.log.binary_search_by_key(&message.0, |other| other.0).is_ok()));
    }
    // Of some 1.2 MB hardly anything is left.
    until(&mut recorder, || closed_bytes(&journal).iter().sum::<u64>() < 400 << 10);
    assert!(closed_bytes(&journal).len() > 10);
    assert_eq!(journal.verify().unwrap().findings, []);
}

#[test]
fn a_subscriber_with_a_compressed_journal_gets_each_message_once() {
    let mut stage = Stage::new(true);
    let compression = Some(Compression { level: 1 });
    let options = RecorderOptions { sync: SyncPolicy::Batch, compression, ..RecorderOptions::default() };
    let mut recorder = stage.recorder(options);
    let journal = stage.journal();
    let mut subscriber = stage.topic.subscriber::<[u8]>().replay(&journal, From::Earliest).open().unwrap();
    let mut seen = Vec::new();
    for _ in 0..40 {
        stage.publish(&mut recorder, 100, 10);
        std::thread::sleep(Duration::from_millis(5));
        // It reads more slowly than is published.
        for _ in 0..70 {
            let message = subscriber.try_receive().unwrap().unwrap();
            seen.push((message.position(), message.to_vec()));
        }
    }
    while let Some(message) = subscriber.try_receive().unwrap() {
        seen.push((message.position(), message.to_vec()));
    }
    let expected: Vec<_> = stage.log.iter().map(|(position, _, payload)| (*position, payload.clone())).collect();
    assert!(seen == expected, "{} of {}", seen.len(), expected.len());
}

#[test]
fn a_batch_that_is_longer_than_a_block_becomes_several_and_is_read_from_everywhere() {
    for stamps in [true, false] {
        let mut stage = Stage::of(4 << 20, stamps);
        let mut publisher: Publisher<[u8]> = stage.topic.publisher().open().unwrap();
        for number in 0..3000_u32 {
            let key = (number % 700).to_string().into_bytes();
            // One is longer than a block.
            let payload = vec![number as u8; if number == 1500 { 150_000 } else { 200 }];
            let position = publisher.message().key(&key).unwrap().publish(&payload).unwrap();
            stage.log.push((position, Some(key), payload));
        }
        let mut recorder = stage.recorder(RecorderOptions { segment_bytes: 4 << 20, ..RecorderOptions::default() });
        recorder.run(&true.into(), |_, _| ()).unwrap();
        drop(recorder);
        let journal = stage.journal();
        let report = journal.verify().unwrap();
        assert!(report.batches * (64 << 10) < report.bytes, "{report:?}");
        let summary = journal.summary().unwrap();
        journal.compress(Compression::default()).unwrap();
        let compressed = journal.verify().unwrap();
        assert_eq!((compressed.messages, compressed.bytes, &*compressed.findings), (3000, report.bytes, &[][..]));
        assert!(compressed.batches > report.batches, "{compressed:?}");
        assert_eq!(journal.summary().unwrap(), summary);
        assert!(all(&journal) == stage.log);
        for (index, (position, ..)) in stage.log.iter().enumerate().step_by(7) {
            let left = (stage.log.len() - index) as u64;
            for from in [From::Position(*position), From::Last(left)] {
                let mut reader = journal.read(from).unwrap();
                let Some(Entry::Message(message)) = reader.next().unwrap() else { panic!("{from:?}") };
                assert_eq!(message.position, *position, "{from:?}");
            }
        }
        journal.compact(Compaction::default(), Compression::default()).unwrap();
        assert!(all(&journal) == compacted(&stage.log, summary.end, true));
        assert_eq!(journal.verify().unwrap().findings, []);
        assert_eq!(journal.summary().unwrap(), summary);
    }
}

#[test]
fn what_is_given_up_while_it_is_compressed_does_not_come_back() {
    let mut stage = Stage::new(true);
    let retention = Retention { messages: Some(10), ..Retention::default() };
    // So hard that it takes longer than the segment is kept.
    let compression = Some(Compression { level: 19 });
    let sync = SyncPolicy::None;
    let mut recorder = stage.recorder(RecorderOptions { sync, retention, compression, ..RecorderOptions::default() });
    for _ in 0..40 {
        stage.publish(&mut recorder, 300, 10);
    }
    let journal = stage.journal();
    let begin = journal.summary().unwrap().begin;
    assert!(begin > 1 << 20);
    // The last step may still be under way.
    until(&mut recorder, || {
        let names = std::fs::read_dir(stage.directory()).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap());
        !names.into_iter().any(|name| name.ends_with(".segment.new"))
    });
    for entry in std::fs::read_dir(stage.directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(position) = name.strip_suffix(".segment") {
            assert!(position.parse::<u64>().unwrap() >= begin, "{name} was given up before {begin}");
        }
    }
}
