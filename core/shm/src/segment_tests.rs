//! What holds of segments, of both kinds.

use super::*;
use crate::named;

/// A directory in which a test makes segments of one kind.
struct Place {
    directory: tempfile::TempDir,
    options: SegmentOptions,
}

impl Place {
    fn path(&self) -> PathBuf {
        self.directory.path().join("segment")
    }

    fn memory(&self) -> PathBuf {
        named::memory_path(&self.path()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = named::remove_directory(self.directory.path());
    }
}

/// Has a test run with files and with named segments.
fn with_both(test: impl Fn(&Place)) {
    for backing in [Backing::File, Backing::Named] {
        let directory = match backing {
            Backing::File => tempfile::tempdir_in("/dev/shm"),
            Backing::Named => tempfile::tempdir(),
        };
        test(&Place {
            directory: directory.unwrap(),
            options: SegmentOptions { backing, ..SegmentOptions::default() },
        });
    }
}

#[test]
fn what_one_mapping_writes_another_reads() {
    with_both(|place| {
        let map = MapOptions { huge_pages: true, prefault: true, lock_memory: false };
        let options = SegmentOptions { mode: 0o640, map, ..place.options };
        let writer = Segment::create(&place.path(), 1 << 20, &options).unwrap();
        let reader = Segment::open(&place.path(), Access::ReadOnly, &map).unwrap();
        let other = Segment::open(&place.path(), Access::ReadWrite, &map).unwrap();
        writer.region().word(4096).store(42, Ordering::Release);
        other.region().word(8192).store(43, Ordering::Release);
        assert_eq!(reader.region().word(4096).load(Ordering::Acquire), 42);
        assert_eq!(reader.region().word(8192).load(Ordering::Acquire), 43);
        assert_eq!((reader.region().len(), other.region().len()), (1 << 20, 1 << 20));
        for path in [place.path(), place.memory()] {
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o640);
        }
        assert_eq!(place.memory().metadata().unwrap().blocks() * 512, 1 << 20, "all of it is reserved");
    });
}

/// Page faults of this thread so far that needed no disk.
fn minor_faults() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // The name in brackets may hold anything; `minflt` is the eighth after it.
    status.rsplit_once(')').unwrap().1.split_whitespace().nth(7).unwrap().parse().unwrap()
}

#[test]
fn what_was_prefaulted_takes_no_fault_at_its_first_store() {
    with_both(|place| {
        let pages = 64;
        Segment::create(&place.path(), pages * 4096, &place.options).unwrap();
        let options = MapOptions { prefault: true, ..MapOptions::default() };
        let segment = Segment::open(&place.path(), Access::ReadWrite, &options).unwrap();
        let before = minor_faults();
        (0..pages as usize).for_each(|page| segment.region().word(page * 4096).store(1, Ordering::Relaxed));
        // Else one a page; asking for the figure takes a few.
        assert!(minor_faults() - before < pages / 4);
    });
}

#[test]
fn a_segment_outlives_its_file_and_its_handle() {
    with_both(|place| {
        let segment = Segment::create(&place.path(), 4096, &place.options).unwrap();
        let memory = place.memory();
        let region = segment.region().clone();
        drop(segment);
        named::remove_file(&place.path()).unwrap();
        assert!(!memory.exists() && !place.path().exists());
        region.word(0).store(1, Ordering::Relaxed);
        assert_eq!(region.word(0).load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_size_that_no_file_system_has_is_an_error_that_leaves_nothing() {
    with_both(|place| {
        let before = named_segments();
        let error = Segment::create(&place.path(), 1 << 50, &place.options).unwrap_err();
        assert!(matches!(error, SegmentError::NoSpace { .. } | SegmentError::System { .. }), "{error}");
        assert!(!place.path().exists());
        let is_left = |path: &&PathBuf| path.metadata().is_ok_and(|found| found.size() == 1 << 50);
        assert_eq!(named_segments().iter().filter(|path| !before.contains(path)).find(is_left), None);
    });
}

/// All of them that there are, also others'.
fn named_segments() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("/memlane-")).collect()
}

#[test]
fn a_taken_name_a_missing_file_and_an_empty_one_are_told_apart() {
    with_both(|place| {
        let (path, map) = (place.path(), MapOptions::default());
        let missing = Segment::open(&path, Access::ReadOnly, &map).unwrap_err();
        assert!(matches!(missing, SegmentError::NotFound { .. }), "{missing}");
        Segment::create(&path, 4096, &place.options).unwrap();
        let taken = Segment::create(&path, 4096, &place.options).unwrap_err();
        assert!(matches!(taken, SegmentError::Exists { .. }), "{taken}");
        Segment::open(&path, Access::ReadOnly, &map).unwrap();
        File::options().write(true).open(place.memory()).unwrap().set_len(0).unwrap();
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let empty = Segment::open(&path, access, &map).unwrap_err();
            assert!(empty.to_string().contains("it is empty"), "{empty}");
        }
    });
}

#[test]
fn who_may_only_read_maps_for_reading_only() {
    with_both(|place| {
        let options = SegmentOptions { mode: 0o400, ..place.options };
        let segment = Segment::create(&place.path(), 4096, &options).unwrap();
        segment.write_first_page(b"page").unwrap();
        let reader = Segment::open(&place.path(), Access::ReadOnly, &options.map).unwrap();
        let mappings = std::fs::read_to_string("/proc/self/maps").unwrap();
        let at = format!("{:x}-", reader.region().word(0) as *const _ as usize);
        let line = mappings.lines().find(|line| line.starts_with(&at)).unwrap();
        assert!(line.contains(" r--s "), "{line}");
        let mut page = [0; 4];
        File::open(place.path()).unwrap().read_exact_at(&mut page, 0).unwrap();
        assert_eq!(&page, b"page", "it can be read without mapping it");
        if !nix::unistd::geteuid().is_root() {
            let refused = Segment::open(&place.path(), Access::ReadWrite, &options.map).unwrap_err();
            assert!(matches!(refused, SegmentError::NoPermission { .. }), "{refused}");
        }
    });
}

#[test]
fn a_link_that_is_damaged_or_leads_nowhere_is_an_error() {
    let place = Place {
        directory: tempfile::tempdir().unwrap(),
        options: SegmentOptions { backing: Backing::Named, ..SegmentOptions::default() },
    };
    drop(Segment::create(&place.path(), 4096, &place.options).unwrap());
    let open = |access| Segment::open(&place.path(), access, &MapOptions::default());
    let link = std::fs::read(place.path()).unwrap();
    for bit in 4096 * 8..link.len() * 8 {
        let mut flipped = link.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(place.path(), flipped).unwrap();
        let refused = open(Access::ReadOnly).unwrap_err();
        assert!(refused.to_string().contains("the link to its memory is damaged"), "bit {bit}: {refused}");
    }
    std::fs::write(place.path(), &link).unwrap();
    open(Access::ReadWrite).unwrap();
    std::fs::remove_file(place.memory()).unwrap();
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let lost = open(access).unwrap_err();
        assert!(matches!(lost, SegmentError::Lost { .. }), "{lost}");
    }
}

#[test]
fn removing_a_directory_removes_its_memory_through_no_symbolic_link() {
    let options = SegmentOptions { backing: Backing::Named, ..SegmentOptions::default() };
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let make = |path: &Path| {
        Segment::create(path, 4096, &options).unwrap();
        named::memory_path(path).unwrap()
    };
    let (own, foreign) = (ours.path().join("below"), theirs.path().join("segment"));
    std::fs::create_dir(&own).unwrap();
    let unreadable = own.join("unreadable");
    let removed = [make(&own.join("segment")), make(&unreadable)];
    std::fs::set_permissions(&unreadable, PermissionsExt::from_mode(0o000)).unwrap();
    let kept = make(&foreign);
    std::os::unix::fs::symlink(&foreign, own.join("file")).unwrap();
    std::os::unix::fs::symlink(theirs.path(), own.join("directory")).unwrap();
    named::remove_directory(ours.path()).unwrap();
    assert!(removed.iter().all(|memory| !memory.exists()) && !own.exists());
    assert!(kept.exists() && foreign.exists());
    named::remove_file(&foreign).unwrap();
    assert!(!kept.exists());
}

#[test]
fn memory_of_another_user_is_not_removed_by_a_link_to_it() {
    if !nix::unistd::geteuid().is_root() {
        return println!("another user's link: skipped, it needs root");
    }
    let place = Place {
        directory: tempfile::tempdir().unwrap(),
        options: SegmentOptions { backing: Backing::Named, ..SegmentOptions::default() },
    };
    drop(Segment::create(&place.path(), 4096, &place.options).unwrap());
    let (memory, link) = (place.memory(), place.path());
    std::os::unix::fs::chown(&link, Some(65534), None).unwrap();
    named::remove_file(&link).unwrap();
    assert!(memory.exists(), "it is root's, the link was not");
    std::fs::remove_file(memory).unwrap();
}

#[test]
fn words_outside_of_a_region_are_refused() {
    let panics = |access: fn(&Region)| std::panic::catch_unwind(|| access(&Region::private(64))).is_err();
    assert!(panics(|region| _ = region.word(64)));
    assert!(panics(|region| _ = region.word(4)));
    assert!(panics(|region| region.copy_in(60, &[0; 5])));
    assert!(!panics(|region| region.copy_in(60, &[0; 4])));
}

#[test]
fn copies_of_every_length_arrive_whole() {
    let region = Region::private(1024);
    for length in 0..=600 {
        let bytes: Vec<u8> = (0..length).map(|index| (index * 7 + length) as u8).collect();
        region.copy_in(8, &bytes);
        let mut back = vec![0; length];
        region.copy_out(8, &mut back);
        assert_eq!(back, bytes);
    }
}
