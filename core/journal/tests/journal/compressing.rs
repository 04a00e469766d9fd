//! Compressed journals are read as before, from everywhere, and what is damaged in them is noticed and named.

use crate::log::{DIRECTORY, Log, Published, journal, open, read};
use memlane_journal::layout::segment_name;
use memlane_journal::record::GapReason;
use memlane_journal::segment::{Form, Segment};
use memlane_journal::simulated::{Operation, SimulatedDisk};
use memlane_journal::storage::{FileAccess, Storage};
use memlane_journal::{Compression, Entry, From, JournalError, Reader};
use std::io;
use std::path::Path;
use std::sync::Arc;

fn directory() -> &'static Path {
    Path::new(DIRECTORY)
}

/// A journal of some segments, with batches of all sizes, sources and a gap, that nobody writes any more.
fn recorded(seed: u64) -> (Arc<dyn Storage>, SimulatedDisk, Log) {
    let disk = SimulatedDisk::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let mut log = Log::new(seed);
    log.repeats = true;
    let (mut writer, _) = open(&storage, directory()).unwrap();
    for round in 0..90 {
        let messages = 1 + log.below(9) as usize;
        let source = ["feed", "a name that is so long that one record has no room for it"][round as usize % 2];
        log.run(messages).append_with(&mut writer, &[(source, round + 1)]).unwrap();
        if round == 33 {
            let before = log.published.len();
            log.run(3);
            log.published.truncate(before);
            writer.gap(log.end, GapReason::Failed).unwrap();
        }
    }
    writer.sync().unwrap();
    writer.close().unwrap();
    (storage, disk, log)
}

fn forms(storage: &Arc<dyn Storage>) -> Vec<Form> {
    let journal = journal(storage, directory()).unwrap();
    journal.segments().unwrap().iter().map(|begin| journal.segment(*begin).unwrap().head.form).collect()
}

fn rest(mut reader: Reader) -> Result<Vec<Published>, JournalError> {
    let mut all = Vec::new();
    while let Some(entry) = reader.next()? {
        if let Entry::Message(message) = entry {
            all.push(Published::of(&message));
        }
    }
    Ok(all)
}

#[test]
fn a_compressed_journal_is_read_from_everywhere_as_before_and_is_smaller() {
    let (storage, _, log) = recorded(3);
    let before = journal(&storage, directory()).unwrap();
    let (summary, report) = (before.summary().unwrap(), before.verify().unwrap());
    let froms = || {
        let positions = log.published.iter().map(|message| From::Position(message.position));
        let instants = log.published.iter().map(|message| From::Instant(message.unix_ns));
        let lasts = (0..=log.published.len() as u64).map(From::Last);
        [From::Earliest].into_iter().chain(positions).chain(instants).chain(lasts)
    };
    let expected: Vec<_> = froms().map(|from| read(&before, from).unwrap()).collect();
    let compressed = before.compress(Compression::default()).unwrap();
    assert_eq!(compressed.segments, summary.segments.len() as u64);
    assert!(compressed.bytes_after * 3 < compressed.bytes_before, "{compressed:?}");
    let after = journal(&storage, directory()).unwrap();
    assert_eq!(after.summary().unwrap(), summary);
    let again = after.verify().unwrap();
    assert_eq!(
        (again.messages, again.bytes, again.gaps, &*again.findings),
        (report.messages, report.bytes, report.gaps, &[][..])
    );
    assert!(again.batches < report.batches, "batches became larger");
    for (from, expected) in froms().zip(expected) {
        assert!(read(&after, from).unwrap() == expected, "{from:?}");
    }
    // There is nothing left to do.
    assert_eq!(after.compress(Compression { level: 19 }).unwrap().segments, 0);
}

#[test]
fn a_compressed_journal_is_gone_on_with_and_knows_its_sources() {
    let (storage, ..) = recorded(4);
    let (writer, _) = open(&storage, directory()).unwrap();
    let (end, messages, sources) = (writer.end(), writer.messages(), writer.sources().to_vec());
    drop(writer);
    let before = journal(&storage, directory()).unwrap();
    // The last one is empty, and stays.
    before.compress(Compression::default()).unwrap();
    assert_eq!(forms(&storage).iter().filter(|form| **form == Form::Plain).count(), 1);
    let (mut writer, recovery) = open(&storage, directory()).unwrap();
    assert_eq!((recovery.end, recovery.cut, writer.messages(), writer.sources()), (end, None, messages, &sources[..]));
    let mut log = Log::from(end, 7);
    log.run(5).append_to(&mut writer).unwrap();
    writer.sync().unwrap();
    let all = read(&before, From::Earliest).unwrap();
    assert_eq!(all.len() as u64, messages + log.published.len() as u64);
    assert!(all.ends_with(&log.published));
    assert!(matches!(before.compress(Compression::default()), Err(JournalError::Locked { .. })));
}

#[test]
fn who_reads_while_segments_are_compressed_misses_nothing() {
    let (storage, _, log) = recorded(5);
    let before = journal(&storage, directory()).unwrap();
    for read in [0, 1, 10, log.published.len() / 2] {
        let mut reader = before.read(From::Earliest).unwrap();
        let mut count = 0;
        while count < read {
            count += usize::from(matches!(reader.next().unwrap(), Some(Entry::Message(_))));
        }
        before.compress(Compression::default()).unwrap();
        assert!(rest(reader).unwrap() == log.published[read..], "{read}");
    }
}

#[test]
fn a_flipped_bit_in_a_compressed_segment_is_noticed_and_no_message_changes() {
    let (storage, disk, log) = recorded(6);
    journal(&storage, directory()).unwrap().compress(Compression::default()).unwrap();
    let begins = journal(&storage, directory()).unwrap().segments().unwrap();
    let mut random = Log::new(u64::from(std::process::id()) << 8 | 1);
    let mut noticed = 0;
    for round in 0..400 {
        let storage: Arc<dyn Storage> = Arc::new(disk.kill());
        let path = directory().join(segment_name(begins[random.below(begins.len() as u64) as usize]));
        let file = storage.open(&path, FileAccess::ReadWrite).unwrap();
        let (at, bit, mut byte) = (random.below(file.length().unwrap()), random.below(8), [0]);
        file.read_at(&mut byte, at).unwrap();
        file.write_at(&[byte[0] ^ 1 << bit], at).unwrap();
        let what = format!("round {round}: bit {bit} of byte {at} of {}", path.display());
        let journal = journal(&storage, directory()).unwrap();
        let found = journal.read(From::Earliest).and_then(|mut reader| {
            let mut count = 0;
            while let Some(entry) = reader.next()? {
                let Entry::Message(message) = entry else { continue };
                assert_eq!(message.payload(), log.published[count].payload, "{what}");
                count += 1;
            }
            Ok(count)
        });
        let report = journal.verify().unwrap();
        if report.findings.is_empty() {
            // A byte that means nothing: between the page's fields, or behind the last block.
            assert_eq!(found.unwrap(), log.published.len(), "{what}");
            continue;
        }
        noticed += 1;
        assert!(report.findings.iter().all(|finding| finding.path == path), "{what}: {report:?}");
        let error = found.expect_err(&what).to_string();
        assert!(error.contains(&path.display().to_string()), "{what}: {error}");
        // Nor is it compressed once more, or taken for a loss of power.
        if let Err(error) = open(&storage, directory()) {
            assert!(error.to_string().contains(&path.display().to_string()), "{what}: {error}");
        }
    }
    assert!(noticed > 300, "{noticed} of 400");
}

#[test]
fn a_compressed_segment_cut_anywhere_is_damage_and_stays_as_it_is() {
    let (storage, disk, _) = recorded(7);
    journal(&storage, directory()).unwrap().compress(Compression::default()).unwrap();
    for begin in journal(&storage, directory()).unwrap().segments().unwrap() {
        let path = directory().join(segment_name(begin));
        let length = storage.open(&path, FileAccess::Read).unwrap().length().unwrap();
        for cut in (0..length).rev().step_by(61) {
            let storage: Arc<dyn Storage> = Arc::new(disk.kill());
            storage.open(&path, FileAccess::ReadWrite).unwrap().truncate(cut).unwrap();
            let error = open(&storage, directory()).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains(&path.display().to_string()), "cut at {cut} of {length}: {error}");
            assert_eq!(storage.open(&path, FileAccess::Read).unwrap().length().unwrap(), cut, "it is untouched");
        }
    }
}

#[test]
fn a_damaged_segment_is_not_compressed_and_is_named() {
    let (storage, ..) = recorded(8);
    let begins = journal(&storage, directory()).unwrap().segments().unwrap();
    let path = directory().join(segment_name(begins[1]));
    let segment = Segment::open(&*storage, directory(), begins[1], FileAccess::Read).unwrap();
    storage.open(&path, FileAccess::ReadWrite).unwrap().write_at(b"x", segment.head.offset(begins[1] + 9)).unwrap();
    let error = journal(&storage, directory()).unwrap().compress(Compression::default()).unwrap_err();
    assert!(
        matches!(&error, JournalError::Corrupt { path: found, position, .. } if *found == path && *position == begins[1]),
        "{error}"
    );
    let compressed = |form: &Form| *form != Form::Plain;
    assert_eq!(forms(&storage).iter().map(compressed).collect::<Vec<_>>()[..2], [true, false]);
}

#[test]
fn a_disk_that_refuses_leaves_the_old_segments_and_nothing_else() {
    for operation in [Operation::Write, Operation::Sync, Operation::Name] {
        for after in 0..3 {
            let (storage, disk, log) = recorded(9);
            let names = storage.list(directory()).unwrap();
            disk.fail(operation, after, io::ErrorKind::StorageFull, false);
            let failed = journal(&storage, directory()).unwrap().compress(Compression::default());
            disk.mend();
            assert!(matches!(failed, Err(JournalError::NoSpace { .. })), "{operation:?} {after}: {failed:?}");
            let left: Vec<String> =
                storage.list(directory()).unwrap().into_iter().filter(|name| !name.ends_with(".new")).collect();
            assert_eq!(left, names.clone(), "{operation:?} {after}");
            let found = journal(&storage, directory()).unwrap();
            assert!(read(&found, From::Earliest).unwrap() == log.published, "{operation:?} {after}");
            // And the next try does it.
            found.compress(Compression::default()).unwrap();
            assert_eq!(storage.list(directory()).unwrap(), names, "{operation:?} {after}");
            assert!(forms(&storage).iter().all(|form| *form != Form::Plain));
        }
    }
}

#[test]
fn a_level_that_is_none_is_refused() {
    let (storage, ..) = recorded(10);
    for level in [0, 23, 255] {
        let error = journal(&storage, directory()).unwrap().compress(Compression { level }).unwrap_err();
        assert!(error.to_string().contains("1 to 22"), "{error}");
    }
}
