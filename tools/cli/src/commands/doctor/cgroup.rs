//! Checks of the limits that a container or a service manager sets: those of cgroup v2.
//!
//! A limit holds for everything below it, so those of the parents count too, as far as they can be seen.

use super::super::units;
use super::check::{Check, Group, Subject};
use super::host::Host;
use super::memory::TOPIC_BYTES;

const DIRECTORY: &str = "fs/cgroup";
const NOT_THERE: &str = "no cgroup v2, and only its limits are read";

/// The cgroup of this process and its parents below the root, innermost first, as directories below `/sys`; `None`
/// without cgroup v2.
fn cgroups(host: &Host) -> Option<Vec<String>> {
    host.sys(&format!("{DIRECTORY}/cgroup.controllers"))?;
    let text = host.proc("self/cgroup")?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    // The cgroup may lie outside of what this namespace shows: then only the limits of the namespace can be seen.
    if names.contains(&"..") {
        names.clear();
    }
    let depths = (0..=names.len()).rev();
    Some(depths.map(|depth| [&[DIRECTORY], &names[..depth]].concat().join("/")).collect())
}

const CPU: Subject = Subject {
    group: Group::Cgroup,
    name: "cgroup_cpu",
    why: "Who spins uses a quota up, and then stands still to the end of the period, for ms.",
};

/// Whether a quota stops those who spin.
pub(super) fn cpu(host: &Host) -> Check {
    let Some(cgroups) = cgroups(host) else {
        return CPU.unknown(NOT_THERE);
    };
    let quotas = cgroups.iter().filter_map(|directory| Some((quota_cpus(host, directory)?, directory)));
    let Some((cpus, directory)) = quotas.min_by(|left, right| left.0.total_cmp(&right.0)) else {
        return CPU.ok("no quota");
    };
    let allowed = host.allowed_cpus().map_or(1, |cpus| cpus.len());
    let found = format!("a quota of {cpus:.2} cpus, on {allowed} that may be used");
    if cpus >= allowed as f64 {
        return CPU.ok(found);
    }
    let mend = vec![
        format!("echo max > /sys/{directory}/cpu.max"),
        "in a container: start it with --cpuset-cpus instead of --cpus".to_owned(),
        "in a systemd unit: AllowedCPUs= instead of CPUQuota=".to_owned(),
    ];
    CPU.warn(found, mend)
}

/// How many cpus' time a cgroup may use, if it has a quota.
fn quota_cpus(host: &Host, directory: &str) -> Option<f64> {
    let text = host.sys(&format!("{directory}/cpu.max"))?;
    let (quota, period) = text.split_once(' ')?;
    let (quota, period) = (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?);
    (period > 0).then_some(quota as f64 / period as f64)
}

const MEMORY: Subject = Subject {
    group: Group::Cgroup,
    name: "cgroup_memory",
    why: "Topics count as memory of who first touched their pages; past the limit it may be killed.",
};

/// Whether topics fit into the limit of memory.
pub(super) fn memory(host: &Host) -> Check {
    let Some(cgroups) = cgroups(host) else {
        return MEMORY.unknown(NOT_THERE);
    };
    let limits = cgroups.iter().filter_map(|directory| {
        let (left_bytes, limit_bytes) = memory_left(host, directory)?;
        Some((left_bytes, limit_bytes, directory))
    });
    let Some((left_bytes, limit_bytes, directory)) = limits.min() else {
        return MEMORY.ok("no limit");
    };
    let tmpfs_bytes = host.calls.room.map_or(0, |room| room.free_bytes);
    let found = format!("{} left of {}", units::bytes(left_bytes), units::bytes(limit_bytes));
    let mend = || {
        vec![
            format!("echo max > /sys/{directory}/memory.max"),
            "in a container: start it with a larger --memory, or a smaller --shm-size".to_owned(),
            "in a systemd unit: MemoryMax=infinity".to_owned(),
        ]
    };
    if left_bytes < TOPIC_BYTES {
        MEMORY.bad(found, mend())
    } else if left_bytes < tmpfs_bytes {
        MEMORY.warn(format!("{found}; the tmpfs has room for {}", units::bytes(tmpfs_bytes)), mend())
    } else {
        MEMORY.ok(found)
    }
}

/// How much memory a cgroup may still take, and its limit, if it has one. What the kernel has cached of files doesn't
/// count: it goes when memory is needed.
fn memory_left(host: &Host, directory: &str) -> Option<(u64, u64)> {
    let read = |name: &str| host.sys(&format!("{directory}/{name}"));
    let limit_bytes = read("memory.max")?.parse::<u64>().ok()?;
    let used_bytes = read("memory.current").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let statistics = read("memory.stat").unwrap_or_default();
    let cached = statistics.lines().filter_map(|line| match line.split_once(' ')? {
        ("active_file" | "inactive_file", bytes) => bytes.parse::<u64>().ok(),
        _ => None,
    });
    let kept_bytes = used_bytes.saturating_sub(cached.sum());
    Some((limit_bytes.saturating_sub(kept_bytes), limit_bytes))
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict::{Bad, Ok, Unknown, Warn};
    use super::super::made_up::MadeUp;
    use super::*;

    #[test]
    fn the_smallest_quota_counts_of_a_cgroup_and_its_parents() {
        let host = MadeUp::new();
        assert_eq!(cpu(&host.host).verdict, Ok);
        host.sys("fs/cgroup/a/b/cpu.max", "900000 100000\n");
        assert_eq!(cpu(&host.host).verdict, Ok, "more than the process could use");
        host.sys("fs/cgroup/a/cpu.max", "150000 100000\n");
        let check = cpu(&host.host);
        assert_eq!((check.verdict, check.found.as_str()), (Warn, "a quota of 1.50 cpus, on 6 that may be used"));
        assert_eq!(check.mend[0], "echo max > /sys/fs/cgroup/a/cpu.max");
        host.sys("fs/cgroup/a/cpu.max", "100 0\n");
        assert_eq!(cpu(&host.host).verdict, Ok, "nonsense is no quota");
    }

    #[test]
    fn memory_that_the_tmpfs_promises_but_the_limit_refuses_is_warned_of() {
        let host = MadeUp::new();
        assert_eq!(memory(&host.host).verdict, Ok);
        for (limit, verdict) in [("17179869184", Ok), ("2147483648", Warn), ("2097152", Bad)] {
            host.sys("fs/cgroup/a/memory.max", limit);
            let check = memory(&host.host);
            assert_eq!((check.verdict, check.mend.is_empty()), (verdict, verdict == Ok), "{limit}");
        }
        let check = memory(&host.host);
        assert_eq!(
            (check.found.as_str(), check.mend[0].as_str()),
            ("1 MiB left of 2 MiB", "echo max > /sys/fs/cgroup/a/memory.max")
        );
    }

    #[test]
    fn cached_files_do_not_count_as_memory_in_use() {
        let host = MadeUp::new();
        host.sys("fs/cgroup/a/b/memory.max", "1073741824");
        host.sys("fs/cgroup/a/b/memory.current", "1073741824");
        assert_eq!(memory(&host.host).verdict, Bad);
        host.sys("fs/cgroup/a/b/memory.stat", "anon 1\nshmem 2\nactive_file 268435456\ninactive_file 268435456\n");
        let check = memory(&host.host);
        assert!(check.verdict == Warn && check.found.starts_with("512 MiB left of 1 GiB"), "{check:?}");
    }

    #[test]
    fn a_container_sees_the_limits_of_its_own_root() {
        let host = MadeUp::new();
        host.sys("fs/cgroup/cpu.max", "50000 100000\n");
        for path in ["/", "/../../elsewhere"] {
            host.proc("self/cgroup", &format!("4:memory:/x\n0::{path}\n"));
            let check = cpu(&host.host);
            assert_eq!((check.verdict, check.mend[0].as_str()), (Warn, "echo max > /sys/fs/cgroup/cpu.max"), "{path}");
        }
    }

    #[test]
    fn limits_of_cgroup_v1_are_unknown() {
        let host = MadeUp::new();
        host.remove("sys/fs/cgroup/cgroup.controllers");
        assert_eq!((cpu(&host.host).verdict, memory(&host.host).verdict), (Unknown, Unknown));
    }
}
