//! Checks of the kernel: its version, its clock, and system calls that not every kernel and container allows.

use memlane_shm::clock::TickSource;

use super::check::{Check, Group, Subject};
use super::host::Host;

/// Locks that belong to an open file came with it, and death is asked of them.
const VERSION_MIN: (u32, u32) = (3, 15);
const MEMBARRIER_SINCE: (u32, u32) = (4, 16);
const FUTEX_WAITV_SINCE: (u32, u32) = (5, 16);

const VERSION: Subject = Subject {
    group: Group::Kernel,
    name: "kernel_version",
    why: "Cheap fences need Linux 4.16, waiting on many topics at once needs Linux 5.16.",
};

/// Whether the kernel has what memlane uses.
pub(super) fn version(host: &Host) -> Check {
    let (Some(release), Some(version)) = (host.proc("sys/kernel/osrelease"), host.kernel_version()) else {
        return VERSION.unknown("no version in /proc/sys/kernel/osrelease");
    };
    let found = format!("Linux {release}");
    let mend = || vec!["install a kernel of 5.16 or later".to_owned()];
    if version < VERSION_MIN {
        VERSION.bad(found, mend())
    } else if version < FUTEX_WAITV_SINCE {
        VERSION.warn(found, mend())
    } else {
        VERSION.ok(found)
    }
}

const CLOCK: Subject = Subject {
    group: Group::Kernel,
    name: "clock_source",
    why: "Stamps and deadlines read a clock: 10 to 30 ns each, or a microsecond by a slow source.",
};

/// Clock sources that are read without a system call.
const FAST_SOURCES: [&str; 5] =
    ["tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page", "riscv_clocksource"];

/// What the kernel's clock and the stamps are read from.
pub(super) fn clock(host: &Host) -> Check {
    const DIRECTORY: &str = "devices/system/clocksource/clocksource0";
    let Some(current) = host.sys(&format!("{DIRECTORY}/current_clocksource")) else {
        return CLOCK.unknown(format!("no /sys/{DIRECTORY}/current_clocksource"));
    };
    let stamps = match host.calls.tick_source {
        TickSource::Counter => "stamps read the cpu's counter",
        TickSource::Monotonic => "stamps read the kernel's clock",
    };
    let found = format!("{current}; {stamps}");
    if !FAST_SOURCES.contains(&current.as_str()) {
        let available = host.sys(&format!("{DIRECTORY}/available_clocksource")).unwrap_or_default();
        let mend = match available.split_whitespace().find(|source| FAST_SOURCES.contains(source)) {
            Some(fast) => format!("echo {fast} > /sys/{DIRECTORY}/current_clocksource"),
            None => "boot with clocksource=tsc, if the cpu's counter can be trusted".to_owned(),
        };
        return CLOCK.warn(found, vec![mend]);
    }
    match host.calls.tick_source {
        TickSource::Counter => CLOCK.ok(found),
        TickSource::Monotonic => {
            let mend = "in a virtual machine: give it an invariant counter (QEMU: -cpu host,+invtsc)".to_owned();
            CLOCK.warn(found, vec![mend])
        }
    }
}

const MEMBARRIER: Subject = Subject {
    group: Group::Kernel,
    name: "membarrier",
    why: "With it a publish executes no fence, and blocked subscribers need no deadline to sleep.",
};

/// Whether the fence of the hot path is free.
pub(super) fn membarrier(host: &Host) -> Check {
    call(host, MEMBARRIER, host.calls.has_membarrier, MEMBARRIER_SINCE)
}

const FUTEX_WAITV: Subject = Subject {
    group: Group::Kernel,
    name: "futex_waitv",
    why: "With it a thread sleeps on many topics at once, by one system call.",
};

/// Whether a thread can sleep on many topics.
pub(super) fn futex_waitv(host: &Host) -> Check {
    call(host, FUTEX_WAITV, host.calls.has_futex_waitv, FUTEX_WAITV_SINCE)
}

/// A system call that came to Linux in version `since`.
fn call(host: &Host, subject: Subject, is_there: bool, since: (u32, u32)) -> Check {
    let name = subject.name;
    let (major, minor) = since;
    if is_there {
        subject.ok("works")
    } else if host.kernel_version().is_some_and(|version| version < since) {
        subject.warn("the kernel is too old", vec![format!("install a kernel of {major}.{minor} or later")])
    } else {
        let mend = vec![format!("in a container: allow {name} in its seccomp profile (--security-opt seccomp=FILE)")];
        subject.warn("refused, though the kernel may have it: a seccomp filter?", mend)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict::{Bad, Ok, Unknown, Warn};
    use super::super::made_up::MadeUp;
    use super::*;

    #[test]
    fn old_kernels_are_warned_of_and_very_old_ones_are_bad() {
        let host = MadeUp::new();
        for (release, verdict) in [("6.12.0-1-amd64", Ok), ("5.15.9", Warn), ("3.10.0-el7", Bad), ("odd", Unknown)] {
            host.proc("sys/kernel/osrelease", release);
            assert_eq!(version(&host.host).verdict, verdict, "{release}");
        }
        host.remove("proc/sys");
        assert_eq!(version(&host.host).verdict, Unknown);
    }

    #[test]
    fn a_slow_clock_source_is_mended_by_the_fast_one_that_is_available() {
        let host = MadeUp::new();
        assert_eq!(clock(&host.host).verdict, Ok);
        host.sys("devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
        let check = clock(&host.host);
        assert_eq!(check.verdict, Warn);
        assert_eq!(check.mend, ["echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource"]);
        host.sys("devices/system/clocksource/clocksource0/available_clocksource", "hpet acpi_pm\n");
        assert!(clock(&host.host).mend[0].starts_with("boot with "));
        host.remove("sys/devices/system/clocksource");
        assert_eq!(clock(&host.host).verdict, Unknown);
    }

    #[test]
    fn stamps_that_need_the_kernels_clock_are_warned_of() {
        let mut host = MadeUp::new();
        host.host.calls.tick_source = TickSource::Monotonic;
        let check = clock(&host.host);
        assert!(check.verdict == Warn && check.mend[0].contains("invtsc"), "{check:?}");
    }

    #[test]
    fn missing_calls_are_blamed_on_the_kernel_or_on_a_filter_by_its_version() {
        let mut host = MadeUp::new();
        assert_eq!((membarrier(&host.host).verdict, futex_waitv(&host.host).verdict), (Ok, Ok));
        (host.host.calls.has_membarrier, host.host.calls.has_futex_waitv) = (false, false);
        host.proc("sys/kernel/osrelease", "5.4.0");
        let (filtered, old) = (membarrier(&host.host), futex_waitv(&host.host));
        assert!(
            filtered.verdict == Warn && filtered.mend[0].contains("allow membarrier in its seccomp"),
            "{filtered:?}"
        );
        assert!(old.verdict == Warn && old.mend == ["install a kernel of 5.16 or later"], "{old:?}");
    }
}
