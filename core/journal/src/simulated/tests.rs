//! The simulated disk keeps what `storage.rs` promises, and nothing beyond.

use super::*;

fn file(disk: &SimulatedDisk, name: &str) -> Box<dyn StoredFile> {
    disk.create_directory(Path::new("/d")).unwrap();
    disk.create(&Path::new("/d").join(name)).unwrap()
}

fn content(disk: &SimulatedDisk, name: &str) -> Option<Vec<u8>> {
    let file = disk.open(&Path::new("/d").join(name), FileAccess::Read).ok()?;
    let mut bytes = vec![0; file.length().unwrap() as usize];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    Some(bytes)
}

#[test]
fn what_was_synced_survives_and_nothing_else_must() {
    let disk = SimulatedDisk::new();
    let a = file(&disk, "a");
    a.write_at(&[1; 1000], 0).unwrap();
    a.sync().unwrap();
    assert_eq!(content(&disk.lose_power(Survives::Nothing), "a"), None, "its name wasn't");
    disk.sync_directory(Path::new("/d")).unwrap();
    a.write_at(&[2; 1000], 0).unwrap();
    assert_eq!(content(&disk, "a"), Some(vec![2; 1000]));
    assert_eq!(content(&disk.lose_power(Survives::Nothing), "a"), Some(vec![1; 1000]));
    assert_eq!(content(&disk.lose_power(Survives::All), "a"), Some(vec![2; 1000]));
    let step = disk.steps() - 1;
    let torn = content(&disk.lose_power(Survives::Torn(step, 1)), "a").unwrap();
    assert_eq!(torn, [vec![2; 512], vec![1; 488]].concat());
    assert_eq!(content(&disk.kill(), "a"), Some(vec![2; 1000]));
    assert_eq!(content(&disk.at(step), "a"), Some(vec![1; 1000]), "as it was before");
}

#[test]
fn coins_give_every_mixture_of_sectors() {
    let disk = SimulatedDisk::new();
    let a = file(&disk, "a");
    a.reserve(1024, Room::Reserved).unwrap();
    a.sync().unwrap();
    disk.sync_directory(Path::new("/d")).unwrap();
    a.write_at(&[1; 1024], 0).unwrap();
    let states = (0..64_u64).map(|seed| {
        let bytes = content(&disk.lose_power(Survives::Some(seed)), "a").unwrap();
        (bytes[0], bytes[512])
    });
    assert_eq!(states.collect::<BTreeSet<_>>().len(), 4);
}

#[test]
fn names_survive_in_order() {
    let disk = SimulatedDisk::new();
    file(&disk, "a").sync().unwrap();
    disk.rename(Path::new("/d/a"), Path::new("/d/b")).unwrap();
    file(&disk, "c").sync().unwrap();
    for seed in 0..64_u64 {
        let after = disk.lose_power(Survives::Some(seed));
        let names = after.list(Path::new("/d")).unwrap();
        assert!(
            [&[][..], &["a"], &["b"], &["b", "c"]].contains(&&names.iter().map(String::as_str).collect::<Vec<_>>()[..]),
            "{names:?}"
        );
    }
}

#[test]
fn a_sync_that_fails_drops_what_it_was_to_make_durable() {
    let disk = SimulatedDisk::new();
    let a = file(&disk, "a");
    disk.sync_directory(Path::new("/d")).unwrap();
    a.write_at(b"lost", 0).unwrap();
    disk.fail(Operation::Sync, 0, io::ErrorKind::Other, true);
    a.sync().unwrap_err();
    a.sync().unwrap();
    assert_eq!(content(&disk, "a").unwrap(), b"lost");
    assert_eq!(content(&disk.lose_power(Survives::All), "a").unwrap(), b"");
}

#[test]
fn a_write_that_fails_is_half_done() {
    let disk = SimulatedDisk::new();
    let a = file(&disk, "a");
    disk.fail(Operation::Write, 1, io::ErrorKind::StorageFull, false);
    a.write_at(b"whole", 0).unwrap();
    assert_eq!(a.write_at(b"half", 5).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(a.write_at(b"half", 5).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.mend();
    assert_eq!(content(&disk, "a").unwrap(), b"wholeha");
}

#[test]
fn a_lock_is_held_by_one_and_let_go_of_at_death() {
    let disk = SimulatedDisk::new();
    let lock = disk.lock(Path::new("/d/lock")).unwrap();
    assert!(lock.is_some() && disk.lock(Path::new("/d/lock")).unwrap().is_none());
    assert!(disk.kill().lock(Path::new("/d/lock")).unwrap().is_some());
    drop(lock);
    assert!(disk.lock(Path::new("/d/lock")).unwrap().is_some());
}
