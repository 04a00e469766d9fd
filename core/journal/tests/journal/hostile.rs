//! Files that somebody made on purpose: every sum is right, and what they say is anything. They are refused with a place, or read; nothing panics, and
//! nothing goes on for ever.

use crate::log::{DIRECTORY, Log, journal, open};
use memlane_journal::layout::{MANIFEST_FILE, RECORD_BYTES, segment_name};
use memlane_journal::manifest::Manifest;
use memlane_journal::record::{Begin, Gap, GapReason, Record, Session};
use memlane_journal::segment::{Form, Segment, SegmentHead};
use memlane_journal::simulated::SimulatedDisk;
use memlane_journal::storage::{FileAccess, Storage};
use memlane_journal::{Compaction, Compression, From, Retention};
use std::path::Path;
use std::sync::Arc;

const ROUNDS: u32 = 500;
/// More than any journal here has entries.
const ENTRIES_MAX: u32 = 100_000;

fn directory() -> &'static Path {
    Path::new(DIRECTORY)
}

fn recorded() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let mut log = Log::new(5);
    let (mut writer, _) = open(&storage, directory()).unwrap();
    while log.end < 150 << 10 {
        let end = log.end;
        log.run(4).append_with(&mut writer, &[("feed", end + 1)]).unwrap();
    }
    disk
}

/// A number that is likely to be a bad one.
fn number(random: &mut Log, usual: u64) -> u64 {
    match random.below(9) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << 62,
        3 => (1 << 62) - 1,
        4 => usual.wrapping_add(1),
        5 => usual.wrapping_sub(64),
        6 => 1 << random.below(64),
        7 => usual ^ (1 << random.below(64)),
        _ => usual,
    }
}

fn changed_head(head: &SegmentHead, random: &mut Log) -> SegmentHead {
    let mut head = *head;
    if random.below(6) == 0 {
        let stored_bytes = number(random, head.stored_bytes());
        let (records, is_compacted) = (number(random, 20), random.below(2) == 0);
        head.form =
            if random.below(3) == 0 { Form::Plain } else { Form::Compressed { stored_bytes, records, is_compacted } };
        return head;
    }
    match random.below(6) {
        0 => head.data_bytes = number(random, head.data_bytes),
        1 => head.frames.capacity = number(random, head.frames.capacity),
        2 => head.frames.cell = number(random, head.frames.cell),
        3 => head.frames.payload_at = number(random, head.frames.payload_at),
        4 => head.frames.body_max = number(random, head.frames.body_max),
        _ => head.epoch = number(random, head.epoch),
    }
    head
}

fn changed_record(record: &Record, random: &mut Log) -> Record {
    let mut record = record.clone();
    match &mut record {
        Record::Batch(batch) => {
            let fields: [&mut u64; 6] = [
                &mut batch.position,
                &mut batch.end,
                &mut batch.messages_before,
                &mut batch.first_unix_ns,
                &mut batch.highest_unix_ns,
                &mut batch.synced,
            ];
            let index = random.below(6) as usize;
            *fields[index] = number(random, *fields[index]);
            if random.below(4) == 0 {
                batch.block_back = number(random, batch.block_back.into()) as u16;
            }
            if random.below(4) == 0 {
                batch.messages = number(random, batch.messages.into()) as u32;
            }
        }
        Record::Gap(Gap { position, end, .. }) => *position = number(random, *end),
        Record::Begin(Begin { messages_before, highest_unix_ns, synced, .. }) => {
            *messages_before = number(random, *messages_before);
            *highest_unix_ns = number(random, *highest_unix_ns);
            *synced = number(random, *synced);
        }
        Record::Session(Session { calibration, synced, boot, .. }) => {
            calibration.base_ticks = number(random, calibration.base_ticks);
            calibration.ns_per_tick = number(random, calibration.ns_per_tick);
            (*synced, *boot) = (number(random, *synced), random.below(3));
        }
        Record::SourceMoved { place, sequence, .. } => {
            (*place, *sequence) = (number(random, (*place).into()) as u32, number(random, *sequence));
        }
        Record::Block(block) => {
            let fields: [&mut u64; 4] = [&mut block.position, &mut block.end, &mut block.offset, &mut block.bytes];
            let index = random.below(4) as usize;
            *fields[index] = number(random, *fields[index]);
        }
        Record::SourceName { place, part, .. } => (*place, *part) = (number(random, 0) as u32, random.below(256) as u8),
    }
    if random.below(8) == 0 {
        let (position, end) = (record.position(), number(random, record.end()));
        let (unix_ns, highest_unix_ns, messages_before, synced) = (1, u64::MAX, 0, 0);
        let reason = GapReason::Failed;
        record = Record::Gap(Gap { position, end, reason, unix_ns, highest_unix_ns, messages_before, synced });
    }
    record
}

/// Changes something in the files on `storage`, and puts the sums right.
fn change(storage: &Arc<dyn Storage>, random: &mut Log) {
    let begins = journal(storage, directory()).unwrap().segments().unwrap();
    let begin = begins[random.below(begins.len() as u64) as usize];
    let segment = Segment::open(&**storage, directory(), begin, FileAccess::ReadWrite).unwrap();
    let file = storage.open(&directory().join(segment_name(begin)), FileAccess::ReadWrite).unwrap();
    match random.below(5) {
        0 => file.write_at(&changed_head(&segment.head, random).encode(), 0).unwrap(),
        1 => {
            let path = directory().join(MANIFEST_FILE);
            let mut manifest = Manifest::read(&**storage, directory()).unwrap().unwrap();
            match random.below(4) {
                0 => manifest.first = number(random, manifest.first),
                1 => manifest.newest = number(random, manifest.newest),
                2 => manifest.segment_bytes = number(random, manifest.segment_bytes),
                _ => manifest.subject.options.capacity = 1 << (12 + random.below(20)),
            }
            storage.open(&path, FileAccess::ReadWrite).unwrap().write_at(&manifest.encode(), 0).unwrap();
        }
        _ => {
            let mut records = segment.records(0);
            let mut all = Vec::new();
            while let Some(record) = records.next().unwrap() {
                all.push(record);
            }
            for _ in 0..=random.below(3) {
                let at = random.below(all.len() as u64);
                let record = changed_record(&all[at as usize], random);
                let bytes: [u8; RECORD_BYTES] = record.encode(segment.head.epoch, at);
                file.write_at(&bytes, segment.head.record_at(at)).unwrap();
            }
        }
    }
}

/// Does with the journal what can be done with it.
fn use_it(storage: &Arc<dyn Storage>, what: &str) {
    if let Ok(journal) = journal(storage, directory()) {
        let _ = (journal.summary(), journal.verify(), journal.offsets());
        for from in [From::Earliest, From::Position(70_000), From::Instant(1_020_000), From::Last(10)] {
            let Ok(mut reader) = journal.read(from) else { continue };
            let mut entries = 0;
            while let Ok(Some(_)) = reader.next() {
                entries += 1;
                assert!(entries < ENTRIES_MAX, "{what}: it comes to an end");
            }
        }
        let _ = journal.compress(Compression { level: 1 });
        let _ = journal.compact(Compaction::default(), Compression { level: 1 });
        let _ = journal.prune(&Retention { bytes: Some(1 << 16), ..Retention::default() });
    }
    if let Ok((mut writer, _)) = open(storage, directory()) {
        // One that goes on, goes on.
        let mut log = Log::from(writer.end().next_multiple_of(64), 9);
        if log.end == writer.end() && log.end < 1 << 60 {
            log.run(2).append_to(&mut writer).unwrap();
            writer.sync().unwrap();
        }
    }
}

#[test]
fn whatever_files_with_right_sums_say_nothing_panics_and_everything_ends() {
    // One as it was recorded, and one that is compressed.
    let disks = [recorded(), recorded()];
    let storage: Arc<dyn Storage> = Arc::new(disks[1].clone());
    journal(&storage, directory()).unwrap().compress(Compression::default()).unwrap();
    let seed = u64::from(std::process::id()) << 20 | 1;
    println!("seed {seed}");
    let mut random = Log::new(seed);
    for round in 0..ROUNDS {
        let storage: Arc<dyn Storage> = Arc::new(disks[round as usize % 2].kill());
        change(&storage, &mut random);
        use_it(&storage, &format!("round {round} of seed {seed}"));
    }
}
