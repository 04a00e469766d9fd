//! Each verdict on memory, on hosts made up for it.

use std::os::unix::fs::PermissionsExt;

use super::super::check::Verdict::{Bad, Ok, Unknown, Warn};
use super::super::made_up::MadeUp;
use super::*;

#[test]
fn little_room_is_warned_of_and_none_for_a_topic_is_bad() {
    let mut host = MadeUp::new();
    let cases =
        [(8 << 30, 7 << 30, Ok), (8 << 30, 200 << 20, Warn), (64 << 20, 60 << 20, Warn), (64 << 20, 1 << 20, Bad)];
    for (bytes, free_bytes, verdict) in cases {
        host.room(|room| (room.bytes, room.free_bytes) = (bytes, free_bytes));
        let check = room(&host.host);
        assert_eq!((check.verdict, check.mend.is_empty()), (verdict, verdict == Ok), "{}", check.found);
    }
    let check = room(&host.host);
    assert!(check.mend[0].starts_with("mount -o remount,size=1G /"), "{:?}", check.mend);
    assert!(check.found.contains(": 1 MiB of 64 MiB, "), "{}", check.found);
}

#[test]
fn a_file_system_without_inodes_has_no_room_but_one_that_does_not_count_them_has() {
    let mut host = MadeUp::new();
    for (inodes, free_inodes, verdict) in [(1 << 20, 0, Bad), (1 << 20, 500, Warn), (0, 0, Ok)] {
        host.room(|room| (room.inodes, room.free_inodes) = (inodes, free_inodes));
        let check = room(&host.host);
        assert_eq!(check.verdict, verdict, "{}", check.found);
        assert_eq!(check.mend.iter().any(|mend| mend.contains("nr_inodes=4194304")), verdict != Ok);
    }
}

#[test]
fn a_root_on_a_disk_is_warned_of_and_one_that_is_not_there_is_bad() {
    let mut host = MadeUp::new();
    host.mount("ext4", "rw");
    let check = room(&host.host);
    assert!(check.verdict == Warn && check.found.contains("ext4, not tmpfs"), "{check:?}");
    host.host.calls.room = None;
    assert_eq!(room(&host.host).verdict, Unknown);
    host.remove("root");
    for check in [room(&host.host), directory(&host.host)] {
        assert!(check.verdict == Bad && check.mend[0].starts_with("mkdir -p /"), "{check:?}");
    }
}

#[test]
fn named_segments_are_the_way_out_where_the_root_is_on_no_tmpfs() {
    let mut host = MadeUp::new();
    for (kind, has_named_segments, verdict) in
        [("tmpfs", true, Ok), ("tmpfs", false, Ok), ("ext4", true, Warn), ("ext4", false, Bad)]
    {
        host.mount(kind, "rw");
        host.host.calls.has_named_segments = has_named_segments;
        let check = backing(&host.host);
        assert_eq!((check.verdict, check.mend.is_empty()), (verdict, verdict == Ok), "{}", check.found);
        assert_eq!(check.found.contains("named segments"), has_named_segments || verdict == Bad, "{}", check.found);
        assert_eq!(check.mend.iter().any(|mend| mend.contains("MEMLANE_BACKING=named")), verdict == Warn);
    }
}

#[test]
fn the_default_root_must_be_private_and_need_not_be_there_yet() {
    let mut host = MadeUp::new();
    host.host.root.made_in = host.host.root.path.parent().map(Into::into);
    let mode = |mode| std::fs::set_permissions(&host.host.root.path, PermissionsExt::from_mode(mode)).unwrap();
    mode(0o700);
    assert_eq!(directory(&host.host).verdict, Ok);
    mode(0o770);
    let check = directory(&host.host);
    assert!(check.verdict == Bad && check.mend[0].starts_with("chmod go-w /"), "{check:?}");
    host.remove("root");
    let check = directory(&host.host);
    assert!(check.verdict == Ok && check.found.contains("will be made"), "{check:?}");
    std::fs::write(&host.host.root.path, "a file").unwrap();
    assert_eq!(directory(&host.host).verdict, Bad);
}

#[test]
fn a_given_root_that_only_others_may_write_to_can_be_read_only() {
    let host = MadeUp::new();
    std::fs::set_permissions(&host.host.root.path, PermissionsExt::from_mode(0o500)).unwrap();
    // root may write anywhere.
    let verdict = if nix::unistd::geteuid().is_root() { Ok } else { Warn };
    assert_eq!(directory(&host.host).verdict, verdict);
    std::fs::remove_dir(&host.host.root.path).unwrap();
    std::fs::write(&host.host.root.path, "a file").unwrap();
    assert_eq!(directory(&host.host).verdict, Bad);
}

#[test]
fn huge_pages_go_by_the_mount_and_are_denied_or_forced_by_the_kernel() {
    let host = MadeUp::new();
    let cases = [
        ("[never] deny force", "rw,huge=advise", Ok),
        ("[never] deny force", "rw,huge=never", Warn),
        ("[always] never deny force", "rw,size=1k", Warn),
        ("never [deny] force", "rw,huge=always", Warn),
        ("never deny [force]", "rw", Ok),
    ];
    for (setting, options, verdict) in cases {
        host.sys("kernel/mm/transparent_hugepage/shmem_enabled", setting);
        host.mount("tmpfs", options);
        let check = huge_pages(&host.host);
        assert_eq!((check.verdict, check.mend.len()), (verdict, usize::from(verdict == Warn)), "{setting}, {options}");
    }
    host.sys("kernel/mm/transparent_hugepage/shmem_enabled", "always [never]");
    host.mount("ext4", "rw");
    assert_eq!(huge_pages(&host.host).verdict, Unknown);
    host.remove("proc/self/mountinfo");
    assert_eq!(huge_pages(&host.host).verdict, Unknown);
    host.remove("sys/kernel");
    assert_eq!(huge_pages(&host.host).verdict, Unknown);
}

#[test]
fn a_limit_of_locked_memory_counts_unless_the_process_may_ignore_it() {
    let host = MadeUp::new();
    let limit =
        |soft: &str| host.proc("self/limits", &format!("Max locked memory         {soft}    unlimited    bytes\n"));
    for (soft, verdict) in [("unlimited", Ok), ("8388608", Warn), ("1073741824", Ok), ("odd", Unknown)] {
        limit(soft);
        assert_eq!(memlock(&host.host).verdict, verdict, "{soft}");
    }
    limit("8388608");
    assert!(memlock(&host.host).found.contains("8 MiB"));
    host.proc("self/status", "CapEff:\t0000000000004000\n");
    assert_eq!(memlock(&host.host).verdict, Ok);
    for (map, verdict) in [("         0          0 4294967295\n", Ok), ("0 1000 1\n1 100000 65536\n", Warn)] {
        host.proc("self/uid_map", map);
        assert_eq!(memlock(&host.host).verdict, verdict, "{map}");
    }
}

#[test]
fn swap_is_warned_of_with_its_size() {
    let host = MadeUp::new();
    assert_eq!(swap(&host.host).verdict, Ok);
    host.proc(
        "swaps",
        "Filename Type Size Used Priority\n/dev/a partition 1048576 0 -2\n/dev/zram0 partition 1048576 0 5\n",
    );
    let check = swap(&host.host);
    assert_eq!((check.verdict, check.found.as_str(), check.mend[0].as_str()), (Warn, "on: 2 GiB", "swapoff -a"));
    host.remove("proc/swaps");
    assert_eq!(swap(&host.host).verdict, Unknown);
}
