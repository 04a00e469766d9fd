//! Snapshots: the newest whole one is there after any death, loss of power and damage, and what it needs of the journal too.

use crate::log::{DIRECTORY, Log, journal, open};
use memlane_journal::simulated::{Operation, SimulatedDisk, Survives};
use memlane_journal::storage::{FileAccess, Storage};
use memlane_journal::{JournalError, Retention};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn directory() -> &'static Path {
    Path::new(DIRECTORY)
}

fn place() -> (SimulatedDisk, Arc<dyn Storage>) {
    let disk = SimulatedDisk::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let (mut writer, _) = open(&storage, directory()).unwrap();
    Log::new(3).run(5).append_to(&mut writer).unwrap();
    writer.sync().unwrap();
    (disk, storage)
}

/// The state as of this position.
fn state(position: u64) -> Vec<u8> {
    (0..3000 + position % 500).map(|byte| (byte * position) as u8).collect()
}

fn path(position: u64) -> PathBuf {
    directory().join(format!("snapshots/book/{position:020}.snapshot"))
}

#[test]
fn the_newest_is_loaded_and_so_many_are_kept() {
    let (_, storage) = place();
    let journal = journal(&storage, directory()).unwrap();
    let mut snapshots = journal.snapshots("book").unwrap();
    assert_eq!(snapshots.load().unwrap(), None);
    for position in [64, 128, 256, 512, 1 << 40] {
        snapshots.save(position, &state(position)).unwrap();
        let loaded = snapshots.load().unwrap().unwrap();
        assert_eq!((loaded.position, loaded.state), (position, state(position)));
        assert!(loaded.damaged.is_empty() && loaded.unix_ns > 0);
    }
    assert_eq!(snapshots.positions().unwrap(), [256, 512, 1 << 40]);
    assert!(matches!(journal.snapshots("book"), Err(JournalError::SnapshotsTaken { .. })));
    drop(snapshots);
    let mut snapshots = journal.snapshots("book").unwrap().keep(1);
    snapshots.save((1 << 40) + 64, b"").unwrap();
    // Once more as of the same position.
    snapshots.save((1 << 40) + 64, b"again").unwrap();
    assert_eq!(snapshots.load().unwrap().unwrap().state, b"again");
    assert_eq!(journal.all_snapshots().unwrap(), [("book".to_owned(), vec![(1 << 40) + 64])]);
    for name in ["", "..", "a/b", ".hidden"] {
        assert!(matches!(journal.snapshots(name), Err(JournalError::OffsetName { .. })), "{name}");
    }
}

#[test]
fn after_a_loss_of_power_the_last_one_that_was_saved_is_there_or_a_later_one() {
    let (disk, storage) = place();
    let mut snapshots = journal(&storage, directory()).unwrap().snapshots("book").unwrap().keep(2);
    let mut saved = vec![(disk.steps(), None)];
    for number in 1..8_u64 {
        snapshots.save(number * 64, &state(number * 64)).unwrap();
        saved.push((disk.steps(), Some(number * 64)));
    }
    for step in saved[0].0..=disk.steps() {
        let least = saved.iter().take_while(|(from, _)| *from <= step).last().unwrap().1;
        let some = (0..16).map(|seed| Survives::Some((step * 16 + seed) as u64));
        for loss in some.chain([Survives::Nothing, Survives::All]) {
            let after: Arc<dyn Storage> = Arc::new(disk.at(step).lose_power(loss));
            let loaded = journal(&after, directory()).unwrap().snapshots("book").unwrap().load().unwrap();
            let found = loaded.as_ref().map(|snapshot| snapshot.position);
            assert!(found >= least, "step {step}, {loss:?}: {found:?}, not {least:?}");
            assert!(loaded.is_none_or(|loaded| loaded.state == state(loaded.position) && loaded.damaged.is_empty()));
        }
    }
}

#[test]
fn a_damaged_one_is_named_and_the_one_before_it_serves() {
    let (disk, storage) = place();
    let mut snapshots = journal(&storage, directory()).unwrap().snapshots("book").unwrap();
    snapshots.save(64, &state(64)).unwrap();
    snapshots.save(128, &state(128)).unwrap();
    let length = (state(128).len() + 64) as u64;
    let load = |disk: SimulatedDisk, harm: &dyn Fn(&dyn Storage)| {
        let storage: Arc<dyn Storage> = Arc::new(disk);
        harm(&*storage);
        journal(&storage, directory()).unwrap().snapshots("book").unwrap().load()
    };
    let open = |storage: &dyn Storage, position| storage.open(&path(position), FileAccess::ReadWrite).unwrap();
    for cut in (0..64).chain((64..length).step_by(97)) {
        let loaded = load(disk.kill(), &|storage| open(storage, 128).truncate(cut).unwrap()).unwrap().unwrap();
        assert_eq!((loaded.position, loaded.damaged), (64, vec![path(128)]), "cut at {cut}");
    }
    for bit in (0..64 * 8).chain((64 * 8..length * 8).step_by(1009)) {
        let flip = |storage: &dyn Storage| {
            let file = open(storage, 128);
            let mut byte = [0];
            file.read_at(&mut byte, bit / 8).unwrap();
            file.write_at(&[byte[0] ^ 1 << (bit % 8)], bit / 8).unwrap();
        };
        let loaded = load(disk.kill(), &flip).unwrap().unwrap();
        assert_eq!((loaded.position, loaded.state), (64, state(64)), "bit {bit}");
    }
    let both = |storage: &dyn Storage| {
        open(storage, 64).write_at(b"xx", 100).unwrap();
        open(storage, 128).write_at(b"xx", 100).unwrap();
    };
    let error = load(disk.kill(), &both).unwrap_err();
    assert!(matches!(&error, JournalError::Corrupt { path: named, .. } if *named == path(128)), "{error}");
}

#[test]
fn a_save_that_fails_leaves_the_one_before_it() {
    let (disk, storage) = place();
    let mut snapshots = journal(&storage, directory()).unwrap().snapshots("book").unwrap();
    snapshots.save(64, &state(64)).unwrap();
    for (operation, kind) in [
        (Operation::Write, ErrorKind::StorageFull),
        (Operation::Sync, ErrorKind::Other),
        (Operation::Name, ErrorKind::Other),
    ] {
        disk.fail(operation, 0, kind, true);
        let error = snapshots.save(128, &state(128)).unwrap_err();
        assert!(matches!(error, JournalError::NoSpace { .. } | JournalError::Storage { .. }), "{error}");
        disk.mend();
        assert_eq!(snapshots.load().unwrap().unwrap().position, 64, "{operation:?}");
    }
    snapshots.save(128, &state(128)).unwrap();
    assert_eq!(snapshots.load().unwrap().unwrap().position, 128);
}

#[test]
fn retention_keeps_what_the_oldest_snapshot_needs() {
    let disk = SimulatedDisk::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let mut log = Log::new(5);
    for _ in 0..6 {
        // Each writer begins a segment.
        let (mut writer, _) = open(&storage, directory()).unwrap();
        for _ in 0..20 {
            log.run(10).append_to(&mut writer).unwrap();
        }
    }
    let journal = journal(&storage, directory()).unwrap();
    let segments = journal.segments().unwrap();
    assert!(segments.len() >= 6);
    let mut snapshots = journal.snapshots("book").unwrap().keep(2);
    snapshots.save(segments[2] + 1, b"").unwrap();
    snapshots.save(segments[4], b"").unwrap();
    let retention = Retention { messages: Some(1), ..Retention::default() };
    let pruned = journal.prune(&retention).unwrap();
    assert_eq!((pruned.begin, pruned.held_by.as_deref()), (segments[2], Some("snapshots/book")));
    snapshots.save(segments[5], b"").unwrap();
    assert_eq!(journal.prune(&retention).unwrap().begin, segments[4]);
}
