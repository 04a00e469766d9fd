//! What is written comes back, from wherever one begins to read.

use crate::log::{DIRECTORY, Log, journal, open, options, read, subject};
use memlane_journal::record::GapReason;
use memlane_journal::simulated::SimulatedDisk;
use memlane_journal::storage::Storage;
use memlane_journal::{Entry, From, JournalError, SourceStanding, Writer, WriterOptions};
use memlane_shm::clock::Calibration;
use std::path::Path;
use std::sync::Arc;

fn place() -> (Arc<dyn Storage>, &'static Path) {
    (Arc::new(SimulatedDisk::new()), Path::new(DIRECTORY))
}

/// A journal of some segments.
fn recorded(storage: &Arc<dyn Storage>, directory: &Path) -> Log {
    let mut log = Log::new(42);
    let (mut writer, _) = open(storage, directory).unwrap();
    while log.end < 400 << 10 {
        let messages = 1 + log.below(9) as usize;
        log.run(messages).append_to(&mut writer).unwrap();
    }
    writer.sync().unwrap();
    log
}

#[test]
fn everything_comes_back_from_the_earliest_on_over_many_segments() {
    let (storage, directory) = place();
    let log = recorded(&storage, directory);
    let journal = journal(&storage, directory).unwrap();
    assert_eq!(read(&journal, From::Earliest).unwrap(), log.published);
    let summary = journal.summary().unwrap();
    assert!(summary.segments.len() > 5, "{summary:?}");
    assert_eq!((summary.begin, summary.end, summary.messages), (0, log.end, log.published.len() as u64));
    let report = journal.verify().unwrap();
    assert_eq!(report.findings, []);
    assert_eq!((report.messages, report.bytes), (log.published.len() as u64, log.end));
}

#[test]
fn reading_begins_at_any_position_instant_or_count() {
    let (storage, directory) = place();
    let log = recorded(&storage, directory);
    let journal = journal(&storage, directory).unwrap();
    for index in (0..log.published.len()).step_by(13) {
        let wanted = &log.published[index..];
        assert_eq!(read(&journal, From::Position(wanted[0].position)).unwrap(), wanted);
        assert_eq!(read(&journal, From::Position(wanted[0].position.saturating_sub(1))).unwrap(), wanted);
        assert_eq!(read(&journal, From::Last(wanted.len() as u64)).unwrap(), wanted);
        // The first that was published then or later, and all that come behind it in the log.
        let first = log.published.iter().position(|message| message.unix_ns >= wanted[0].unix_ns).unwrap();
        assert_eq!(read(&journal, From::Instant(wanted[0].unix_ns)).unwrap(), &log.published[first..]);
    }
    assert_eq!(read(&journal, From::Instant(u64::MAX)).unwrap(), []);
    assert_eq!(read(&journal, From::Position(log.end)).unwrap(), []);
    assert_eq!(read(&journal, From::Last(0)).unwrap(), []);
    assert_eq!(read(&journal, From::Last(u64::MAX)).unwrap(), log.published);
}

#[test]
fn a_reader_goes_on_as_the_writer_does() {
    let (storage, directory) = place();
    let mut log = Log::new(7);
    let (mut writer, _) = open(&storage, directory).unwrap();
    let mut reader = journal(&storage, directory).unwrap().read(From::Earliest).unwrap();
    let mut read = 0;
    for round in 0..400 {
        if round % 50 == 49 {
            // The writer goes and comes.
            drop(writer);
            (writer, _) = open(&storage, directory).unwrap();
        }
        log.run(3).append_to(&mut writer).unwrap();
        while let Some(Entry::Message(message)) = reader.next().unwrap() {
            assert_eq!(message.position, log.published[read].position);
            assert_eq!(message.payload(), log.published[read].payload);
            read += 1;
        }
        assert_eq!((read, reader.position()), (log.published.len(), log.end));
    }
}

#[test]
fn a_gap_stands_where_it_is_and_is_no_damage() {
    let (storage, directory) = place();
    let mut log = Log::new(7);
    let (mut writer, _) = open(&storage, directory).unwrap();
    log.run(3).append_to(&mut writer).unwrap();
    let from = log.end;
    log.run(5);
    writer.gap(log.end, GapReason::Failed).unwrap();
    let to = log.end;
    log.run(2).append_to(&mut writer).unwrap();
    // One that is longer than a segment.
    while log.end < 300 << 10 {
        log.run(9);
    }
    writer.gap(log.end, GapReason::NotRecorded).unwrap();
    log.run(2).append_to(&mut writer).unwrap();
    drop(writer);

    let (writer, recovery) = open(&storage, directory).unwrap();
    assert_eq!((writer.end(), recovery.cut), (log.end, None));
    let journal = journal(&storage, directory).unwrap();
    let mut reader = journal.read(From::Earliest).unwrap();
    let mut gaps = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        if let Entry::Gap(gap) = entry {
            gaps.push((gap.position, gap.end, gap.reason));
        }
    }
    assert_eq!(gaps[0], (from, to, GapReason::Failed));
    assert_eq!(gaps[1].2, GapReason::NotRecorded);
    assert_eq!(gaps.len(), 2);
    assert!(journal.verify().unwrap().is_whole());
}

#[test]
fn a_frame_longer_than_a_segment_gets_one_of_its_own() {
    let (storage, directory) = place();
    let large = WriterOptions { segment_bytes: 64 << 10, ..options() };
    let subject = memlane_journal::Subject {
        options: memlane_ring::TopicOptions { capacity: 1 << 20, ..subject().options },
        ..subject()
    };
    let open = || Writer::open(storage.clone(), directory, &subject, crate::log::calibration(), 0, large).unwrap();
    let mut bytes = vec![7; 200 << 10];
    let word = memlane_ring::layout::StateWord::new(0, memlane_ring::layout::Phase::Committed, 0, 0, (200 << 10) - 8);
    bytes[..8].copy_from_slice(&word.0.to_le_bytes());
    let frames =
        memlane_journal::Frames { position: 0, bytes: &bytes, messages: 1, first_unix_ns: 1, highest_unix_ns: 1 };
    open().0.append(&frames, &[]).unwrap();
    assert_eq!(open().0.end(), 200 << 10);
    let journal = journal(&storage, directory).unwrap();
    assert_eq!(read(&journal, From::Earliest).unwrap().len(), 1);
    assert!(journal.verify().unwrap().is_whole());
}

#[test]
fn sources_are_remembered_over_segments_and_writers() {
    let (storage, directory) = place();
    let mut log = Log::new(7);
    let (mut writer, _) = open(&storage, directory).unwrap();
    let long = "x".repeat(120);
    log.run(1).append_with(&mut writer, &[("feed.a", 5), (&long, 1)]).unwrap();
    while log.end < 200 << 10 {
        log.run(9).append_to(&mut writer).unwrap();
    }
    log.run(1).append_with(&mut writer, &[("feed.b", 9), ("feed.a", 7)]).unwrap();
    drop(writer);
    let (writer, _) = open(&storage, directory).unwrap();
    let source = |name: &str, sequence| SourceStanding { name: name.to_owned(), sequence };
    assert_eq!(writer.sources(), [source("feed.a", 7), source(&long, 1), source("feed.b", 9)]);
}

#[test]
fn a_second_writer_another_topic_and_options_that_cant_be_are_refused() {
    let (storage, directory) = place();
    let (writer, _) = open(&storage, directory).unwrap();
    let error = open(&storage, directory).unwrap_err();
    assert!(matches!(error, JournalError::Locked { .. }), "{error}");
    drop(writer);

    let open = |subject, options| {
        Writer::open(storage.clone(), directory, &subject, crate::log::calibration(), 0, options).map(drop).unwrap_err()
    };
    let error = open(memlane_journal::Subject { epoch: 1, ..subject() }, options());
    assert!(error.to_string().contains("number 0000000000005eed, not 0000000000000001"), "{error}");
    let other = memlane_ring::TopicOptions { capacity: 1 << 20, ..subject().options };
    let error = open(memlane_journal::Subject { options: other, ..subject() }, options());
    assert!(error.to_string().contains("its ring is of another size"), "{error}");
    let error = open(subject(), WriterOptions { segment_bytes: 1000, ..options() });
    assert_eq!(error.to_string(), "segment_bytes can't be 1000: a multiple of 64 KiB, up to 1 TiB");
    let error = journal(&storage, Path::new("/elsewhere")).unwrap_err();
    assert_eq!(error.to_string(), "/elsewhere: no journal is here");
}

#[test]
fn when_the_clock_was_set_back_every_message_has_the_time_of_its_day_and_instants_find_the_first() {
    const HOUR: u64 = 3_600_000_000_000;
    let (storage, directory) = place();
    let mut log = Log::new(7);
    // By an hour, and forth again by half of one.
    for ahead in [HOUR, 0, HOUR / 2] {
        let calibration = Calibration { base_unix_ns: ahead, ..crate::log::calibration() };
        let (mut writer, _) =
            Writer::open(storage.clone(), directory, &crate::log::subject(), calibration, 0, crate::log::options())
                .unwrap();
        for _ in 0..30 {
            let mut run = log.run(3);
            let new = run.messages.len();
            let published = log.published.iter_mut().rev().take(new);
            run.messages.iter_mut().chain(published).for_each(|message| message.unix_ns += ahead);
            run.append_to(&mut writer).unwrap();
        }
    }
    let journal = journal(&storage, directory).unwrap();
    assert!(journal.verify().unwrap().is_whole());
    assert!(read(&journal, From::Earliest).unwrap() == log.published);
    assert!(read(&journal, From::Last(100)).unwrap() == log.published[log.published.len() - 100..]);
    for wanted in log.published.iter().step_by(7) {
        let first = log.published.iter().position(|message| message.unix_ns >= wanted.unix_ns).unwrap();
        let found = read(&journal, From::Instant(wanted.unix_ns)).unwrap();
        assert!(found == log.published[first..], "{} of {first}", log.published.len() - found.len());
    }
}
