//! A host made up for tests: a `/proc` and a `/sys` in a directory of their own, on which every check is content.

use std::path::Path;

use memlane_shm::clock::TickSource;
use tempfile::TempDir;

use super::host::{Calls, Host, Room, Root};

/// Dropping it removes its files.
pub(super) struct MadeUp {
    directory: TempDir,
    pub(super) host: Host,
}

impl MadeUp {
    /// A well-tuned machine of eight cpus, of which two are isolated.
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let root = path.join("root");
        std::fs::create_dir(&root).unwrap();
        let room = Room { bytes: 8 << 30, free_bytes: 7 << 30, inodes: 1 << 20, free_inodes: 1 << 19 };
        let calls = Calls {
            room: Some(room),
            tick_source: TickSource::Counter,
            has_membarrier: true,
            has_futex_waitv: true,
            has_named_segments: true,
        };
        let root = Root { path: root, made_in: None };
        let host = Host { proc: path.join("proc"), sys: path.join("sys"), root, calls };
        let made_up = Self { directory, host };
        made_up.fill();
        made_up
    }

    fn fill(&self) {
        let root = self.host.root.path.canonicalize().unwrap();
        self.proc("self/mountinfo", &format!("1 0 0:1 / {} rw - tmpfs t rw,huge=advise\n", root.display()));
        self.proc("self/status", "Name:\tmemlane\nCapEff:\t0000000000000000\nCpus_allowed_list:\t0-5\n");
        self.proc(
            "self/limits",
            "Limit  Soft Limit  Hard Limit  Units\nMax locked memory  unlimited  unlimited  bytes\n",
        );
        self.proc("self/cgroup", "0::/a/b\n");
        self.proc("swaps", "Filename\tType\tSize\tUsed\tPriority\n");
        self.proc("sys/kernel/osrelease", "6.12.0\n");
        self.sys("kernel/mm/transparent_hugepage/shmem_enabled", "always within_size advise [never] deny force\n");
        for cpu in 0..8 {
            self.sys(&format!("devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"), "performance\n");
        }
        self.sys("devices/system/cpu/isolated", "6-7\n");
        self.sys("devices/system/cpu/nohz_full", "6-7\n");
        self.sys("devices/system/clocksource/clocksource0/current_clocksource", "tsc\n");
        self.sys("devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm\n");
        self.sys("fs/cgroup/cgroup.controllers", "cpu memory\n");
        for cgroup in ["a", "a/b"] {
            self.sys(&format!("fs/cgroup/{cgroup}/cpu.max"), "max 100000\n");
            self.sys(&format!("fs/cgroup/{cgroup}/memory.max"), "max\n");
            self.sys(&format!("fs/cgroup/{cgroup}/memory.current"), "1048576\n");
        }
    }

    /// Writes a file below its `/proc`.
    pub(super) fn proc(&self, path: &str, text: &str) {
        write(&self.host.proc.join(path), text);
    }

    /// Writes a file below its `/sys`.
    pub(super) fn sys(&self, path: &str, text: &str) {
        write(&self.host.sys.join(path), text);
    }

    /// Removes a file or a directory, such as `sys/fs`.
    pub(super) fn remove(&self, path: &str) {
        let path = self.directory.path().join(path);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }

    /// What the root's file system is mounted with.
    pub(super) fn mount(&self, kind: &str, options: &str) {
        let root = self.host.root.path.canonicalize().unwrap();
        self.proc("self/mountinfo", &format!("1 0 0:1 / {} rw - {kind} t {options}\n", root.display()));
    }

    /// Changes what it says about its room.
    pub(super) fn room(&mut self, change: impl FnOnce(&mut Room)) {
        change(self.host.calls.room.as_mut().unwrap());
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
