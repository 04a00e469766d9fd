//! Repairs: whatever was damaged, all that is whole is in the new journal, what isn't is a gap, and the old one stays as it is.

use crate::log::{DIRECTORY, Log, Published, journal, open, read};
use memlane_journal::layout::{MANIFEST_FILE, segment_name};
use memlane_journal::record::GapReason;
use memlane_journal::simulated::SimulatedDisk;
use memlane_journal::storage::{FileAccess, Storage};
use memlane_journal::{Compression, Entry, From, JournalError, Repaired, repair};
use std::path::Path;
use std::sync::Arc;

const NEW: &str = "/repaired";

fn directory() -> &'static Path {
    Path::new(DIRECTORY)
}

fn new() -> &'static Path {
    Path::new(NEW)
}

/// A journal of some segments by two writers, with sources.
fn recorded() -> (SimulatedDisk, Log) {
    let disk = SimulatedDisk::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let mut log = Log::new(11);
    for _ in 0..2 {
        let (mut writer, _) = open(&storage, directory()).unwrap();
        let end = log.end + (100 << 10);
        while log.end < end {
            let sequence = log.end + 1;
            log.run(4).append_with(&mut writer, &[("feed.a", sequence), ("feed.b", 7)]).unwrap();
        }
        writer.sync().unwrap();
    }
    (disk, log)
}

/// Repairs a copy of the disk after `harm`; what came of it, and what is there then.
fn repaired(disk: &SimulatedDisk, harm: impl FnOnce(&Arc<dyn Storage>)) -> (Repaired, Vec<Published>) {
    let storage: Arc<dyn Storage> = Arc::new(disk.kill());
    harm(&storage);
    let repaired = repair(&storage, directory(), new()).unwrap();
    let journal = journal(&storage, new()).unwrap();
    assert!(journal.verify().unwrap().is_whole(), "{repaired:?}");
    let messages = read(&journal, From::Earliest).unwrap();
    assert_eq!((repaired.messages, repaired.end), (messages.len() as u64, journal.end().unwrap()));
    let mut reader = journal.read(From::Earliest).unwrap();
    let mut gaps = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        if let Entry::Gap(gap) = entry {
            assert_eq!(gap.reason, GapReason::Damaged);
            gaps.push((gap.position, gap.end));
        }
    }
    assert_eq!(gaps, repaired.lost);
    (repaired, messages)
}

/// All messages but those in `lost`.
fn but_for(log: &Log, lost: &[(u64, u64)]) -> Vec<Published> {
    let is_lost = |message: &&Published| !lost.iter().any(|(from, to)| (*from..*to).contains(&message.position));
    log.published.iter().filter(is_lost).cloned().collect()
}

fn flip(storage: &Arc<dyn Storage>, begin: u64, bit: u64) {
    let file = storage.open(&directory().join(segment_name(begin)), FileAccess::ReadWrite).unwrap();
    let mut byte = [0];
    if file.read_at(&mut byte, bit / 8).unwrap() == 1 {
        file.write_at(&[byte[0] ^ 1 << (bit % 8)], bit / 8).unwrap();
    }
}

#[test]
fn a_journal_that_is_whole_is_the_same_afterwards() {
    let (disk, log) = recorded();
    let (repaired, messages) = repaired(&disk, |_| ());
    assert!(messages == log.published && repaired.lost.is_empty() && repaired.found.is_empty(), "{repaired:?}");
    // Without its manifest too, and it can be gone on with: the topic is the same, with its sources.
    let storage: Arc<dyn Storage> = Arc::new(disk.kill());
    storage.remove(&directory().join(MANIFEST_FILE)).unwrap();
    let repaired = repair(&storage, directory(), new()).unwrap();
    assert!(repaired.lost.is_empty(), "{repaired:?}");
    assert!(read(&journal(&storage, new()).unwrap(), From::Earliest).unwrap() == log.published);
    let (writer, _) = open(&storage, new()).unwrap();
    let sources: Vec<_> = writer.sources().iter().map(|source| (source.name.as_str(), source.sequence)).collect();
    let last = log.published.iter().rev().map(|message| message.position).next().unwrap();
    assert!(sources[0].0 == "feed.a" && sources[0].1 <= last + 1 && sources[0].1 + 4000 > last, "{sources:?}, {last}");
    assert_eq!(sources[1], ("feed.b", 7));
    drop(writer);
    let again = repair(&storage, directory(), new()).unwrap_err();
    assert!(matches!(again, JournalError::Exists { .. }), "{again}");
}

#[test]
fn what_is_missing_or_damaged_is_a_gap_and_nothing_else_is_lost() {
    let (disk, log) = recorded();
    let segments = journal(&(Arc::new(disk.kill()) as Arc<dyn Storage>), directory()).unwrap().segments().unwrap();
    assert!(segments.len() >= 4);
    // A segment in the middle is gone, or its first page, or its first record.
    let gone = [(segments[1], segments[2])];
    let remove = |storage: &Arc<dyn Storage>| storage.remove(&directory().join(segment_name(segments[1]))).unwrap();
    for (what, harm) in [
        ("gone", &remove as &dyn Fn(&Arc<dyn Storage>)),
        ("page", &|storage| flip(storage, segments[1], 100)),
        ("session", &|storage| {
            let journal = journal(storage, directory()).unwrap();
            let records_at = journal.segment(segments[1]).unwrap().head.record_at(0);
            flip(storage, segments[1], records_at * 8 + 70);
        }),
    ] {
        let (repaired, messages) = repaired(&disk, harm);
        assert_eq!(repaired.lost, gone, "{what}");
        assert!(messages == but_for(&log, &gone), "{what}");
    }
    // A batch in the middle, and the last one: positions are not given to others.
    let wanted = log.published[log.published.len() / 3].position;
    let segment = *segments.iter().rev().find(|begin| **begin <= wanted).unwrap();
    let (result, messages) = repaired(&disk, |storage| flip(storage, segment, (4096 + wanted - segment + 9) * 8));
    let [(from, to)] = result.lost[..] else { panic!("{result:?}") };
    assert!((from..to).contains(&wanted) && to - from < 5000 && messages == but_for(&log, &result.lost), "{result:?}");
    assert!(result.found.len() == 1 && result.found[0].contains("the data aren't"), "{:?}", result.found);
    let (last, newest) = (log.published.last().unwrap().position, segments[segments.len() - 1]);
    let (result, messages) = repaired(&disk, |storage| flip(storage, newest, (4096 + last - newest + 9) * 8));
    assert!(result.end == log.end && result.lost[0].1 == log.end && messages == but_for(&log, &result.lost));
}

#[test]
fn whatever_bits_are_flipped_all_that_is_whole_is_there_and_in_order() {
    let (disk, log) = recorded();
    let segments = journal(&(Arc::new(disk.kill()) as Arc<dyn Storage>), directory()).unwrap().segments().unwrap();
    let mut random = Log::new(3);
    let mut losses = 0;
    for round in 0..150 {
        let flips: Vec<(u64, u64)> = (0..=random.below(4))
            .map(|_| (segments[random.below(segments.len() as u64) as usize], random.below((4096 + 90_000) * 8)))
            .collect();
        let (repaired, messages) =
            repaired(&disk, |storage| flips.iter().for_each(|(begin, bit)| flip(storage, *begin, *bit)));
        losses += repaired.lost.len();
        assert!(messages == but_for(&log, &repaired.lost), "round {round}: {} messages, {repaired:?}", messages.len());
    }
    assert!(losses > 50, "{losses}");
}

#[test]
fn without_a_manifest_and_without_a_page_there_is_no_topic() {
    let (disk, _) = recorded();
    let storage: Arc<dyn Storage> = Arc::new(disk.kill());
    storage.remove(&directory().join(MANIFEST_FILE)).unwrap();
    for begin in journal(&(Arc::new(disk.kill()) as Arc<dyn Storage>), directory()).unwrap().segments().unwrap() {
        flip(&storage, begin, 100);
    }
    let error = repair(&storage, directory(), new()).unwrap_err();
    assert!(matches!(error, JournalError::NotFound { .. }), "{error}");
    // Somebody records to it.
    let storage: Arc<dyn Storage> = Arc::new(disk.kill());
    let _writer = open(&storage, directory()).unwrap();
    assert!(matches!(repair(&storage, directory(), new()), Err(JournalError::Locked { .. })));
}

/// A journal of compressed segments, also the newest.
fn compressed() -> (SimulatedDisk, Log) {
    let disk = SimulatedDisk::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let mut log = Log::new(12);
    log.repeats = true;
    let (mut writer, _) = open(&storage, directory()).unwrap();
    while log.end < 170 << 10 {
        log.run(4).append_to(&mut writer).unwrap();
    }
    writer.sync().unwrap();
    writer.close().unwrap();
    drop(writer);
    assert_eq!(journal(&storage, directory()).unwrap().compress(Compression::default()).unwrap().segments, 3);
    (disk, log)
}

#[test]
fn of_a_compressed_journal_all_blocks_but_the_damaged_ones_are_carried_over() {
    let (disk, log) = compressed();
    let (whole, messages) = repaired(&disk, |_| ());
    assert!(messages == log.published && whole.lost.is_empty() && whole.found.is_empty(), "{whole:?}");
    let storage: Arc<dyn Storage> = Arc::new(disk.kill());
    let begins = journal(&storage, directory()).unwrap().segments().unwrap();
    // The first byte of the first block of the second segment.
    let (damaged, messages) = repaired(&disk, |storage| flip(storage, begins[1], 4096 * 8 + 3));
    assert_eq!(damaged.found.len(), 1, "{damaged:?}");
    assert_eq!(damaged.lost.len(), 1, "{damaged:?}");
    let (from, to) = damaged.lost[0];
    assert!(from == begins[1] && to <= begins[2], "{damaged:?}");
    assert!(messages == but_for(&log, &damaged.lost));
    assert_eq!(damaged.end, log.end);
}

#[test]
fn positions_of_a_compressed_segment_that_cannot_be_opened_are_not_given_to_others() {
    let (disk, log) = compressed();
    let storage: Arc<dyn Storage> = Arc::new(disk.kill());
    let newest = *journal(&storage, directory()).unwrap().segments().unwrap().last().unwrap();
    // Its first page: how far it reached isn't known any more, and its file is shorter than that.
    let (damaged, messages) = repaired(&disk, |storage| flip(storage, newest, 24 * 8));
    assert!(damaged.end >= log.end, "{} of {}", damaged.end, log.end);
    assert_eq!(damaged.lost, [(newest, damaged.end)]);
    assert!(messages == but_for(&log, &damaged.lost));
}
