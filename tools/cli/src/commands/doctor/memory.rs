//! Checks of memory: the file system of the topics, huge pages, locking and swapping.

use std::os::unix::fs::MetadataExt;

use nix::unistd::{AccessFlags, eaccess};

use super::super::units;
use super::check::{Check, Group, Subject};
use super::host::{Host, Mount, Room};

/// What a topic of the default size takes, rounded up.
pub(super) const TOPIC_BYTES: u64 = 5 << 20;
/// With less room than this a host is soon full.
const FREE_BYTES_MIN: u64 = 64 << 20;
/// A topic takes a directory and some files in it.
const TOPIC_INODES: u64 = 8;
const FREE_INODES_MIN: u64 = 1_000;
/// The capability to lock memory without a limit: a bit of `CapEff`.
const CAP_IPC_LOCK: u32 = 14;

const ROOM: Subject = Subject {
    group: Group::Memory,
    name: "tmpfs_room",
    why: "A topic reserves all its memory on the tmpfs when it is made (4 MiB by default).",
};

/// Room where the topics lie.
pub(super) fn room(host: &Host) -> Check {
    let Some(directory) = host.root.existing() else {
        let path = host.root.made_in.as_ref().unwrap_or(&host.root.path).display();
        let mend = match host.root.made_in {
            Some(_) => format!("mkdir -p -m 1777 {path} && mount -t tmpfs -o mode=1777 tmpfs {path}"),
            None => format!("mkdir -p {path} && mount -t tmpfs tmpfs {path}"),
        };
        return ROOM.bad(format!("{path} is no directory"), vec![mend]);
    };
    let Some(room) = host.calls.room else {
        return ROOM.unknown(format!("the file system of {} does not tell its room", directory.display()));
    };
    let mount = host.mount();
    let place = mount.as_ref().map_or(directory, |mount| &mount.path).display().to_string();
    let found = format!("free on {place}: {}", describe(&room));
    let larger = room.bytes.saturating_mul(2).max(1 << 30).next_multiple_of(1 << 30) >> 30;
    let remount = || {
        vec![
            format!("mount -o remount,size={larger}G {place}"),
            format!("in a container: start it with --shm-size={larger}g"),
        ]
    };
    let more_inodes = || vec![format!("mount -o remount,nr_inodes={} {place}", room.inodes.saturating_mul(4))];
    let has_few_inodes = |min| room.inodes > 0 && room.free_inodes < min;
    if room.free_bytes < TOPIC_BYTES {
        ROOM.bad(found, remount())
    } else if has_few_inodes(TOPIC_INODES) {
        ROOM.bad(found, more_inodes())
    } else if mount.as_ref().is_some_and(|mount| !is_memory(mount)) {
        let kind = mount.map_or_else(String::new, |mount| mount.kind);
        let mend = "give a directory on a tmpfs: memlane --root DIR …, or MEMLANE_ROOT".to_owned();
        let or = "or have new buses there use named segments: MEMLANE_BACKING=named".to_owned();
        ROOM.warn(format!("{found}, which is {kind}, not tmpfs"), vec![mend, or])
    } else if room.free_bytes < FREE_BYTES_MIN || room.free_bytes < room.bytes / 10 {
        ROOM.warn(found, [vec!["memlane ls, then memlane rm what nobody needs".to_owned()], remount()].concat())
    } else if has_few_inodes(FREE_INODES_MIN) {
        ROOM.warn(found, more_inodes())
    } else {
        ROOM.ok(found)
    }
}

fn describe(room: &Room) -> String {
    let free = format!("{} of {}", units::bytes(room.free_bytes), units::bytes(room.bytes));
    match room.inodes {
        0 => free,
        _ => format!("{free}, {} inodes", units::short_count(room.free_inodes)),
    }
}

const DIRECTORY: Subject = Subject {
    group: Group::Memory,
    name: "bus_directory",
    why: "Topics are made in it; the default one is used only if nobody else can write to it.",
};

/// Whether this user can make topics in the root.
pub(super) fn directory(host: &Host) -> Check {
    let path = &host.root.path;
    let shown = path.display();
    let Ok(found) = path.symlink_metadata() else {
        return match &host.root.made_in {
            Some(parent) if can_make_files(parent) => DIRECTORY.ok(format!("{shown} will be made by the first topic")),
            Some(parent) => {
                let mend = vec![format!("chmod 1777 {}", parent.display())];
                DIRECTORY.bad(format!("{shown} can't be made: no permission"), mend)
            }
            None => DIRECTORY.bad(format!("{shown} is not there"), vec![format!("mkdir -p {shown}")]),
        };
    };
    let is_default = host.root.made_in.is_some();
    let user = nix::unistd::geteuid().as_raw();
    // As the bus has it: links are followed only where the root was given.
    if is_default && (!found.is_dir() || found.uid() != user) {
        let mend = vec![format!("ls -ld {shown}; remove it if nobody needs it, or give another --root")];
        DIRECTORY.bad(format!("{shown} is no directory of this user"), mend)
    } else if is_default && found.mode() & 0o022 != 0 {
        DIRECTORY.bad(format!("others may write to {shown}"), vec![format!("chmod go-w {shown}")])
    } else if !path.is_dir() {
        DIRECTORY.bad(format!("{shown} is no directory"), vec!["give another --root".to_owned()])
    } else if !can_make_files(path) {
        let mend = vec![format!("chown {user} {shown}, or chgrp and chmod g+w for users who share it")];
        DIRECTORY.warn(format!("{shown} can be read only: no topics can be made in it"), mend)
    } else {
        DIRECTORY.ok(shown.to_string())
    }
}

fn is_memory(mount: &Mount) -> bool {
    matches!(mount.kind.as_str(), "tmpfs" | "ramfs" | "hugetlbfs")
}

const BACKING: Subject = Subject {
    group: Group::Memory,
    name: "backing",
    why: "Topics lie in files of the bus's directory, if that is on a tmpfs, or in named segments of the kernel's.",
};

/// Which kinds of memory topics can have here.
pub(super) fn backing(host: &Host) -> Check {
    let has_files = host.mount().is_some_and(|mount| is_memory(&mount));
    match (has_files, host.calls.has_named_segments) {
        (true, true) => BACKING.ok("files, and named segments"),
        (true, false) => BACKING.ok("files"),
        (false, true) => BACKING.warn(
            "named segments only",
            vec!["MEMLANE_BACKING=named (or --backing named) before the bus is made".to_owned()],
        ),
        (false, false) => {
            let mend = "mount -t tmpfs -o mode=1777 tmpfs /dev/shm".to_owned();
            BACKING.bad("neither files on a tmpfs nor named segments", vec![mend])
        }
    }
}

fn can_make_files(directory: &std::path::Path) -> bool {
    eaccess(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

const HUGE_PAGES: Subject = Subject {
    group: Group::Memory,
    name: "huge_pages",
    why: "They save address-cache misses on rings of many MiB (the topic option huge_pages).",
};

/// Whether topics can have huge pages.
///
/// A mounted tmpfs goes by its option `huge=`. Of `shmem_enabled` only `deny` and `force` count for it: the rest of that
/// file is about the kernel's own mount.
pub(super) fn huge_pages(host: &Host) -> Check {
    const FILE: &str = "kernel/mm/transparent_hugepage/shmem_enabled";
    let Some(setting) = host.sys(FILE) else {
        return HUGE_PAGES.unknown(format!("no /sys/{FILE}: the kernel has no transparent huge pages"));
    };
    let chosen = setting.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    let (Some(chosen), Some(mount)) = (chosen, host.mount()) else {
        return HUGE_PAGES.unknown("the kernel does not tell how the tmpfs is mounted");
    };
    let remount = |Mount { path, .. }: &Mount| format!("mount -o remount,huge=advise {}", path.display());
    match (chosen, mount.option("huge")) {
        ("deny", huge) => {
            let mut mend = vec![format!("echo never > /sys/{FILE}")];
            mend.extend(huge.is_none_or(|huge| huge == "never").then(|| remount(&mount)));
            HUGE_PAGES.warn("denied to all of shared memory (shmem_enabled)", mend)
        }
        ("force", _) => HUGE_PAGES.ok("forced on all of shared memory (shmem_enabled)"),
        _ if mount.kind == "hugetlbfs" => HUGE_PAGES.ok("hugetlbfs"),
        _ if mount.kind != "tmpfs" => {
            HUGE_PAGES.unknown(format!("{} is {}, not tmpfs", mount.path.display(), mount.kind))
        }
        (_, Some(huge)) if huge != "never" => HUGE_PAGES.ok(format!("{} has huge={huge}", mount.path.display())),
        _ => HUGE_PAGES.warn(format!("{} is mounted without huge=advise", mount.path.display()), vec![remount(&mount)]),
    }
}

const MEMLOCK: Subject = Subject {
    group: Group::Memory,
    name: "memlock",
    why: "Topics with the option lock_memory are locked in memory, which this limit may refuse.",
};

/// How much memory may be locked.
pub(super) fn memlock(host: &Host) -> Check {
    let capabilities = host.status("CapEff").and_then(|bits| u64::from_str_radix(&bits, 16).ok()).unwrap_or(0);
    if capabilities >> CAP_IPC_LOCK & 1 == 1 && is_initial_user_namespace(host) {
        return MEMLOCK.ok("no limit: this process has CAP_IPC_LOCK");
    }
    let limits = host.proc("self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    match line.and_then(|line| line.split_whitespace().next()).map(|soft| (soft, soft.parse::<u64>())) {
        Some(("unlimited", _)) => MEMLOCK.ok("no limit"),
        Some((_, Ok(bytes))) if bytes >= FREE_BYTES_MIN => MEMLOCK.ok(format!("up to {}", units::bytes(bytes))),
        Some((_, Ok(bytes))) => {
            let mend = vec![
                "ulimit -l unlimited".to_owned(),
                "for good: `* - memlock unlimited` in /etc/security/limits.conf".to_owned(),
                "in a systemd unit: LimitMEMLOCK=infinity".to_owned(),
                "in a container: start it with --ulimit memlock=-1".to_owned(),
            ];
            MEMLOCK.warn(format!("up to {}: room for few topics", units::bytes(bytes)), mend)
        }
        _ => MEMLOCK.unknown("no limit of locked memory in /proc/self/limits"),
    }
}

/// Whether capabilities count for all of the host, as they don't in a rootless container.
fn is_initial_user_namespace(host: &Host) -> bool {
    // Kernels without such namespaces have no such file.
    host.proc("self/uid_map").is_none_or(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

const SWAP: Subject = Subject {
    group: Group::Memory,
    name: "swap",
    why: "A topic's pages may be swapped out when memory runs short; reading them back takes ms.",
};

/// Whether memory may be swapped out.
pub(super) fn swap(host: &Host) -> Check {
    let Some(text) = host.proc("swaps") else {
        return SWAP.unknown("no /proc/swaps: the kernel may have no swap at all");
    };
    let sizes = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    let sizes: Vec<u64> = sizes.collect();
    if sizes.is_empty() {
        return SWAP.ok("off");
    }
    let bytes = sizes.iter().sum::<u64>().saturating_mul(1024);
    let mend = vec![
        "swapoff -a".to_owned(),
        "or make topics with lock_memory; or mount the tmpfs with noswap (Linux 6.4 or later)".to_owned(),
    ];
    SWAP.warn(format!("on: {}", units::bytes(bytes)), mend)
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
