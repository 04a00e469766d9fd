//! Offsets: what was committed is there after any death, and after a loss of power what was synced, or something later.

use crate::log::{DIRECTORY, Log, journal, open};
use memlane_journal::JournalError;
use memlane_journal::simulated::{Operation, SimulatedDisk, Survives};
use memlane_journal::storage::{FileAccess, Storage};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

fn directory() -> &'static Path {
    Path::new(DIRECTORY)
}

/// A journal with something in it.
fn place() -> (SimulatedDisk, Arc<dyn Storage>) {
    let disk = SimulatedDisk::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let (mut writer, _) = open(&storage, directory()).unwrap();
    Log::new(3).run(5).append_to(&mut writer).unwrap();
    writer.sync().unwrap();
    (disk, storage)
}

#[test]
fn an_offset_is_where_it_was_committed_to_last_and_one_at_a_time_has_it() {
    let (_, storage) = place();
    let journal = journal(&storage, directory()).unwrap();
    assert_eq!(journal.offsets().unwrap(), []);
    let mut offset = journal.offset("billing.eu-1").unwrap();
    assert_eq!(offset.position(), None);
    for position in [64, 128, 192, 64] {
        offset.commit(position).unwrap();
        assert_eq!(offset.position(), Some(position));
        let error = journal.offset("billing.eu-1").unwrap_err();
        assert!(matches!(error, JournalError::OffsetTaken { .. }), "{error}");
        drop(offset);
        offset = journal.offset("billing.eu-1").unwrap();
        assert_eq!(offset.position(), Some(position));
    }
    journal.offset("audit").unwrap();
    let all = journal.offsets().unwrap();
    let all: Vec<_> = all.iter().map(|(name, at)| (name.as_str(), at.map(|at| at.position))).collect();
    assert_eq!(all, [("audit", None), ("billing.eu-1", Some(64))]);
    drop(offset);
    assert!(journal.remove_offset("billing.eu-1").unwrap());
    assert!(!journal.remove_offset("billing.eu-1").unwrap());
    assert_eq!(journal.offset("billing.eu-1").unwrap().position(), None);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let (_, storage) = place();
    let journal = journal(&storage, directory()).unwrap();
    for name in ["", ".", "..", "../manifest", "a/b", ".hidden", "a b", "\u{e4}", &"x".repeat(121)] {
        let error = journal.offset(name).unwrap_err();
        assert!(error.to_string().contains("can't be an offset's name"), "{error}");
    }
}

#[test]
fn after_a_loss_of_power_an_offset_is_what_was_synced_or_something_later() {
    let (disk, storage) = place();
    let mut offset = journal(&storage, directory()).unwrap().offset("reader").unwrap();
    // The step from which on, and the position that is durable since.
    let mut synced = vec![(0, None)];
    for number in 1..40_u64 {
        offset.commit(number * 64).unwrap();
        if number % 3 == 0 {
            offset.sync().unwrap();
            synced.push((disk.steps(), Some(number * 64)));
        }
    }
    for step in 0..=disk.steps() {
        let least = synced.iter().take_while(|(from, _)| *from <= step).last().unwrap().1;
        let losses = (0..8).map(|seed| Survives::Some((step * 8 + seed) as u64));
        for loss in losses.chain([Survives::Nothing, Survives::All]) {
            let after: Arc<dyn Storage> = Arc::new(disk.at(step).lose_power(loss));
            let Ok(journal) = journal(&after, directory()) else { continue };
            let found = journal.offset("reader").unwrap().position();
            assert!(found >= least && found.unwrap_or(0) <= 40 * 64, "step {step}, {loss:?}: {found:?}, not {least:?}");
            assert!(found.is_none_or(|position| position.is_multiple_of(64)));
        }
    }
}

#[test]
fn what_was_synced_outlives_syncs_that_fail_and_readers_that_never_sync() {
    let (disk, storage) = place();
    let mut offset = journal(&storage, directory()).unwrap().offset("reader").unwrap();
    offset.commit(64).unwrap();
    disk.fail(Operation::Sync, 0, ErrorKind::Other, true);
    offset.commit(128).unwrap();
    offset.sync().unwrap_err();
    let found = |disk: &SimulatedDisk, loss| {
        let after: Arc<dyn Storage> = Arc::new(disk.lose_power(loss));
        journal(&after, directory()).unwrap().offset("reader").unwrap().position()
    };
    assert_eq!(found(&disk, Survives::All), Some(64), "the kernel dropped it");
    // What the failed sync was for is written once more.
    offset.sync().unwrap();
    assert_eq!(found(&disk, Survives::Nothing), Some(128));
    drop(offset);
    let steps = disk.steps();
    for life in 0..5 {
        let mut offset = journal(&storage, directory()).unwrap().offset("reader").unwrap();
        for number in 1..=life {
            offset.commit(128 + life * 640 + number * 64).unwrap();
        }
    }
    for step in steps..=disk.steps() {
        for seed in 0..32 {
            let position = found(&disk.at(step), Survives::Some((step * 32 + seed) as u64));
            assert!(position >= Some(128), "step {step}, seed {seed}: {position:?}");
        }
    }
}

#[test]
fn a_torn_slot_leaves_the_one_before_it_and_a_damaged_file_is_told() {
    let (disk, storage) = place();
    let mut offset = journal(&storage, directory()).unwrap().offset("reader").unwrap();
    offset.commit(64).unwrap();
    offset.commit(128).unwrap();
    let path = directory().join("offsets/reader");
    for bit in 0..128 * 8 {
        let damaged: Arc<dyn Storage> = Arc::new(disk.kill());
        let file = damaged.open(&path, FileAccess::ReadWrite).unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, bit / 8).unwrap();
        file.write_at(&[byte[0] ^ 1 << (bit % 8)], bit / 8).unwrap();
        let found = journal(&damaged, directory()).unwrap().offset("reader").unwrap().position();
        assert_eq!(found, Some(if bit < 64 * 8 { 128 } else { 64 }), "bit {bit}");
    }
    let file = storage.open(&path, FileAccess::ReadWrite).unwrap();
    file.write_at(&[7; 128], 0).unwrap();
    drop(offset);
    let error = journal(&storage, directory()).unwrap().offset("reader").unwrap_err();
    assert!(error.to_string().contains("none of its slots is whole"), "{error}");
}
