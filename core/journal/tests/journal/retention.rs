//! Giving up the oldest segments: as much as is asked for, never what an offset needs, and whatever dies amid it leaves a whole journal.

use crate::log::{DIRECTORY, Log, journal, open, read};
use memlane_journal::simulated::{SimulatedDisk, Survives};
use memlane_journal::storage::Storage;
use memlane_journal::{Entry, From, Journal, JournalError, Retention};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

struct Place {
    disk: SimulatedDisk,
    storage: Arc<dyn Storage>,
    journal: Journal,
    log: Log,
}

/// A journal of many segments, that nobody writes.
fn place() -> Place {
    let disk = SimulatedDisk::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let directory = Path::new(DIRECTORY);
    let mut log = Log::new(17);
    let (mut writer, _) = open(&storage, directory).unwrap();
    while log.end < 600 << 10 {
        log.run(9).append_to(&mut writer).unwrap();
    }
    writer.sync().unwrap();
    let journal = journal(&storage, directory).unwrap();
    Place { disk, storage, journal, log }
}

impl Place {
    /// What there is, which is the end of what was published.
    fn check(&self) -> u64 {
        let journal = journal(&self.storage, Path::new(DIRECTORY)).unwrap();
        let kept = read(&journal, From::Earliest).unwrap();
        assert!(self.log.published.ends_with(&kept));
        assert_eq!(journal.verify().unwrap().findings, []);
        assert_eq!(open(&self.storage, Path::new(DIRECTORY)).unwrap().1.end, self.log.end);
        self.log.end - journal.segments().unwrap()[0]
    }
}

#[test]
fn as_many_bytes_or_messages_are_kept_as_asked_for_and_less_than_a_segment_more() {
    for keep in [1, 100 << 10, 300 << 10] {
        let place = place();
        let pruned = place.journal.prune(&Retention { bytes: Some(keep), ..Retention::default() }).unwrap();
        assert!(pruned.segments > 0 && pruned.messages > 0);
        let kept = place.check();
        assert!((keep..=keep.max(64 << 10) + (64 << 10)).contains(&kept), "{kept} of {keep}");
    }
    let place = place();
    let all = place.log.published.len() as u64;
    let pruned = place.journal.prune(&Retention { messages: Some(all / 3), ..Retention::default() }).unwrap();
    let kept = all - pruned.messages;
    assert!(kept >= all / 3 && kept < all / 2, "{kept} of {all}");
    place.check();
}

#[test]
fn what_is_younger_is_kept_and_without_limits_everything_is() {
    let place = place();
    assert_eq!(place.journal.prune(&Retention::default()).unwrap().segments, 0);
    // The times in this log are those of 1970.
    let century = Retention { age: Some(Duration::from_secs(100 * 365 * 86_400)), ..Retention::default() };
    assert_eq!(place.journal.prune(&century).unwrap().segments, 0);
    let day = Retention { age: Some(Duration::from_secs(86_400)), ..Retention::default() };
    assert!(place.journal.prune(&day).unwrap().segments > 5);
    assert!(place.check() <= 64 << 10, "the newest is kept");
}

#[test]
fn an_offset_holds_what_it_needs_and_without_that_its_reader_is_told_what_it_missed() {
    let place = place();
    let at = place.log.published[place.log.published.len() / 2].position;
    place.journal.offset("billing").unwrap().commit(at).unwrap();
    let mut reader = place.journal.read(From::Earliest).unwrap();
    assert!(matches!(reader.next().unwrap(), Some(Entry::Message(_))));

    let nothing = Retention { bytes: Some(0), ..Retention::default() };
    let pruned = place.journal.prune(&nothing).unwrap();
    assert_eq!(pruned.held_by.as_deref(), Some("billing"));
    assert!(pruned.begin <= at && at - pruned.begin < 64 << 10);
    assert_eq!(read(&place.journal, From::Position(at)).unwrap()[0].position, at);

    let pruned = place.journal.prune(&Retention { past_offsets: true, ..nothing }).unwrap();
    assert!(pruned.begin > at && pruned.held_by.is_none());
    let error = journal(&place.storage, Path::new(DIRECTORY)).unwrap().read(From::Position(at)).unwrap_err();
    let JournalError::NotRetained { position, oldest, .. } = error else { panic!("{error}") };
    assert_eq!((position, oldest), (at, pruned.begin));
    // One that was reading has its segment, and is then told.
    let error = loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it is not the end"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, JournalError::NotRetained { oldest, .. } if oldest == pruned.begin), "{error}");
    place.check();
}

#[test]
fn nobody_prunes_what_somebody_writes_but_the_writer_itself() {
    let place = place();
    let (mut writer, _) = open(&place.storage, Path::new(DIRECTORY)).unwrap();
    let retention = Retention { bytes: Some(100 << 10), ..Retention::default() };
    let error = place.journal.prune(&retention).unwrap_err();
    assert!(matches!(error, JournalError::Locked { .. }), "{error}");
    assert!(writer.prune(&retention).unwrap().segments > 5);
    drop(writer);
    place.check();
}

#[test]
fn whoever_dies_or_loses_power_while_it_prunes_leaves_a_whole_journal() {
    let place = place();
    let before = place.disk.steps();
    place.journal.prune(&Retention { bytes: Some(100 << 10), ..Retention::default() }).unwrap();
    for step in before..=place.disk.steps() {
        let losses = (0..6).map(|seed| Survives::Some((step * 6 + seed) as u64));
        let lost = losses.chain([Survives::Nothing, Survives::All]).map(|loss| place.disk.at(step).lose_power(loss));
        for disk in lost.chain([place.disk.at(step).kill()]) {
            let storage: Arc<dyn Storage> = Arc::new(disk.clone());
            let (writer, recovery) = open(&storage, Path::new(DIRECTORY)).unwrap();
            assert_eq!((writer.end(), &recovery.cut), (place.log.end, &None), "step {step}");
            let (log, journal) = (place.log.clone(), journal(&storage, Path::new(DIRECTORY)).unwrap());
            drop(writer);
            assert!(Place { disk, storage, journal, log }.check() >= 100 << 10);
        }
    }
}
