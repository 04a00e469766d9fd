//! A journal that is opened again goes on where it was whole, and says what it cut, or says what is wrong and touches nothing.

use crate::log::{DIRECTORY, Log, journal, open, read};
use memlane_journal::layout::{MANIFEST_FILE, segment_name};
use memlane_journal::simulated::SimulatedDisk;
use memlane_journal::storage::{FileAccess, Storage};
use memlane_journal::{From, JournalError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct Place {
    storage: Arc<dyn Storage>,
    log: Log,
}

fn directory() -> &'static Path {
    Path::new(DIRECTORY)
}

/// A journal of some segments, whose writer has gone.
fn place() -> Place {
    let storage: Arc<dyn Storage> = Arc::new(SimulatedDisk::new());
    let mut log = Log::new(11);
    let (mut writer, _) = open(&storage, directory()).unwrap();
    while log.end < 200 << 10 {
        log.run(5).append_to(&mut writer).unwrap();
    }
    writer.sync().unwrap();
    Place { storage, log }
}

impl Place {
    fn segments(&self) -> Vec<u64> {
        journal(&self.storage, directory()).unwrap().segments().unwrap()
    }

    fn path(&self, begin: u64) -> PathBuf {
        directory().join(segment_name(begin))
    }

    /// Every name in the directory.
    fn names(&self) -> Vec<String> {
        self.storage.list(directory()).unwrap()
    }
}

#[test]
fn a_journal_goes_on_where_it_ended_however_often_it_is_opened() {
    let mut place = place();
    for _ in 0..20 {
        let (mut writer, recovery) = open(&place.storage, directory()).unwrap();
        assert_eq!((recovery.end, recovery.cut), (place.log.end, None));
        assert_eq!(recovery.messages, place.log.published.len() as u64);
        if place.log.below(2) == 0 {
            place.log.run(3).append_to(&mut writer).unwrap();
        }
    }
    let journal = journal(&place.storage, directory()).unwrap();
    assert_eq!(read(&journal, From::Earliest).unwrap(), place.log.published);
    assert_eq!(journal.verify().unwrap().findings, []);
}

#[test]
fn data_without_a_record_are_cut_off_and_told() {
    let place = place();
    let newest = *place.segments().last().unwrap();
    let file = place.storage.open(&place.path(newest), FileAccess::ReadWrite).unwrap();
    // As a writer leaves it that dies between the two writes.
    file.write_at(&[7; 100], 4096 + place.log.end - newest).unwrap();
    let report = journal(&place.storage, directory()).unwrap().verify().unwrap();
    assert!(report.is_whole() && report.findings[0].what == "there are data without a record", "{report:?}");
    assert_eq!(report.findings[0].position, place.log.end);
    let cut = open(&place.storage, directory()).unwrap().1.cut.unwrap();
    assert_eq!((cut.position, cut.why), (place.log.end, "there are data without a record"));
    assert_eq!(cut.path, place.path(newest));
    let (_, recovery) = open(&place.storage, directory()).unwrap();
    assert_eq!((recovery.end, recovery.cut), (place.log.end, None), "once");
    assert_eq!(journal(&place.storage, directory()).unwrap().verify().unwrap().findings, []);
}

#[test]
fn a_segment_that_is_missing_in_the_middle_or_at_an_end_is_named() {
    for index in 0..4 {
        let place = place();
        let segments = place.segments();
        assert!(segments.len() >= 4);
        let begin = if index == 3 { segments[segments.len() - 1] } else { segments[index] };
        place.storage.remove(&place.path(begin)).unwrap();
        let before = place.names();
        let error = open(&place.storage, directory()).unwrap_err();
        assert!(
            matches!(&error, JournalError::Missing { path, from } if *path == place.path(begin) && *from == begin),
            "{error}"
        );
        assert_eq!(place.names(), before, "nothing was touched");
        let report = journal(&place.storage, directory()).unwrap().verify().unwrap();
        // The newest is known to be gone by the manifest alone.
        assert!(!report.is_whole());
        assert_eq!((report.findings[0].position, &report.findings[0].path), (begin, &place.path(begin)));
    }
}

#[test]
fn a_segment_of_another_topic_and_one_under_a_wrong_name_are_named() {
    let (place, other) = (place(), place());
    let segments = place.segments();
    let subject = memlane_journal::Subject { epoch: 99, ..crate::log::subject() };
    let elsewhere = Path::new("/journal/other");
    memlane_journal::Writer::open(
        place.storage.clone(),
        elsewhere,
        &subject,
        crate::log::calibration(),
        segments[1],
        crate::log::options(),
    )
    .unwrap();
    copy(&place.storage, &elsewhere.join(segment_name(segments[1])), &place.path(segments[1]));
    let error = open(&place.storage, directory()).unwrap_err();
    assert!(error.to_string().contains("the journal of another topic (number 0000000000000063"), "{error}");

    copy(&other.storage, &other.path(segments[2]), &other.path(segments[1]));
    let error = open(&other.storage, directory()).unwrap_err();
    assert!(error.to_string().contains(&format!("its first page says that it begins at {}", segments[2])), "{error}");
}

#[test]
fn a_manifest_that_is_missing_or_damaged_is_no_reason_to_begin_anew() {
    let place = place();
    let path = directory().join(MANIFEST_FILE);
    let file = place.storage.open(&path, FileAccess::ReadWrite).unwrap();
    file.write_at(&[1], 100).unwrap();
    let error = open(&place.storage, directory()).unwrap_err();
    assert!(
        matches!(&error, JournalError::Manifest { .. }) && error.to_string().contains("put back a copy of it"),
        "{error}"
    );
    place.storage.remove(&path).unwrap();
    let error = open(&place.storage, directory()).unwrap_err();
    assert!(error.to_string().contains("it is missing, though there are segments"), "{error}");
}

#[test]
fn what_was_being_made_when_its_maker_died_is_removed() {
    let place = place();
    for name in ["manifest.new", "00000000000000999999.segment.new"] {
        place.storage.create(&directory().join(name)).unwrap().write_at(b"half", 0).unwrap();
    }
    open(&place.storage, directory()).unwrap();
    assert!(place.names().iter().all(|name| !name.ends_with(".new")), "{:?}", place.names());

    // A journal that died before it had a manifest.
    let storage: Arc<dyn Storage> = Arc::new(SimulatedDisk::new());
    open(&storage, directory()).unwrap();
    storage.remove(&directory().join(MANIFEST_FILE)).unwrap();
    let (writer, recovery) = open(&storage, directory()).unwrap();
    assert_eq!((writer.end(), recovery.cut), (0, None));
}

fn copy(storage: &Arc<dyn Storage>, from: &Path, to: &Path) {
    let file = storage.open(from, FileAccess::Read).unwrap();
    let mut bytes = vec![0; file.length().unwrap() as usize];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    storage.remove(to).unwrap();
    storage.create(to).unwrap().write_at(&bytes, 0).unwrap();
}
