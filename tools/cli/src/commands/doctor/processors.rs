//! Checks of processors: how many there are for this process, how fast they run, who else runs on them.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{Check, Group, Subject};
use super::host::{Host, format_cpus, parse_cpus};

/// With fewer cpus than this, none can be kept from everybody else.
const CPUS_TO_SPARE_MIN: usize = 4;

const CPUS: Subject = Subject {
    group: Group::Processors,
    name: "cpus",
    why: "Two processes that spin need a cpu each; on a shared one a message takes a time slice.",
};

/// How many cpus this process may use.
pub(super) fn cpus(host: &Host) -> Check {
    let Some(cpus) = host.allowed_cpus() else {
        return CPUS.unknown("no Cpus_allowed_list in /proc/self/status");
    };
    let found = format!("{} for this process: {}", cpus.len(), format_cpus(&cpus));
    if cpus.len() > 1 {
        return CPUS.ok(found);
    }
    let mend = vec![
        "taskset -c 0,1 memlane …".to_owned(),
        "in a container: start it with --cpuset-cpus=0,1; or block instead of spinning".to_owned(),
    ];
    CPUS.warn(found, mend)
}

const GOVERNOR: Subject = Subject {
    group: Group::Processors,
    name: "governor",
    why: "A cpu that was slowed down to save power answers the first messages late.",
};

/// Whether the cpus run at full speed.
pub(super) fn governor(host: &Host) -> Check {
    let cpus = host.allowed_cpus().unwrap_or_default();
    let mut counts = BTreeMap::<String, usize>::new();
    for cpu in &cpus {
        if let Some(governor) = host.sys(&format!("devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor")) {
            *counts.entry(governor).or_default() += 1;
        }
    }
    if counts.is_empty() {
        return GOVERNOR.unknown("no cpufreq here, as in most virtual machines");
    }
    let found = counts.iter().map(|(governor, count)| format!("{governor} on {count}")).collect::<Vec<_>>().join(", ");
    let found = format!("{found} of {} cpus", cpus.len());
    if counts.keys().all(|governor| governor == "performance") {
        return GOVERNOR.ok(found);
    }
    GOVERNOR.warn(found, vec!["cpupower frequency-set --governor performance".to_owned()])
}

const ISOLATED: Subject = Subject {
    group: Group::Processors,
    name: "isolated_cpus",
    why: "The scheduler and its tick interrupt who spins, which makes the slowest messages slow.",
};

/// Whether some cpus are kept from the scheduler and its tick.
pub(super) fn isolated(host: &Host) -> Check {
    let list = |name: &str| host.sys(&format!("devices/system/cpu/{name}"));
    let Some(isolated) = list("isolated").as_deref().and_then(parse_cpus) else {
        return ISOLATED.unknown("no /sys/devices/system/cpu/isolated");
    };
    // Kernels that can't stop the tick have no file, others write "(null)" for none.
    let tickless = list("nohz_full").as_deref().and_then(parse_cpus).unwrap_or_default();
    let allowed = host.allowed_cpus().unwrap_or_default();
    let ticking: BTreeSet<usize> = isolated.difference(&tickless).copied().collect();
    if isolated.is_empty() {
        if allowed.len() < CPUS_TO_SPARE_MIN {
            return ISOLATED.ok(format!("none, and none to spare of {}", allowed.len()));
        }
        let last: BTreeSet<usize> = allowed.iter().rev().take(2).copied().collect();
        return ISOLATED.warn("none", boot_with(&last));
    }
    let found = format!("isolated: {}; without tick: {}", format_cpus(&isolated), none_or(&tickless));
    if ticking.is_empty() { ISOLATED.ok(found) } else { ISOLATED.warn(found, boot_with(&isolated)) }
}

fn none_or(cpus: &BTreeSet<usize>) -> String {
    if cpus.is_empty() { "none".to_owned() } else { format_cpus(cpus) }
}

fn boot_with(cpus: &BTreeSet<usize>) -> Vec<String> {
    let cpus = format_cpus(cpus);
    vec![
        format!("boot with isolcpus={cpus} nohz_full={cpus} rcu_nocbs={cpus}"),
        format!("then pin what spins: taskset -c {cpus} PROGRAM"),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict::{Ok, Unknown, Warn};
    use super::super::made_up::MadeUp;
    use super::*;

    fn allow(host: &MadeUp, cpus: &str) {
        host.proc("self/status", &format!("Cpus_allowed_list:\t{cpus}\n"));
    }

    #[test]
    fn a_process_on_a_single_cpu_is_warned() {
        let host = MadeUp::new();
        let check = cpus(&host.host);
        assert_eq!((check.verdict, check.found.as_str()), (Ok, "6 for this process: 0-5"));
        allow(&host, "3");
        assert_eq!(cpus(&host.host).verdict, Warn);
        host.remove("proc/self/status");
        assert_eq!(cpus(&host.host).verdict, Unknown);
    }

    #[test]
    fn governors_other_than_performance_are_warned_of_and_counted() {
        let host = MadeUp::new();
        assert_eq!(governor(&host.host).verdict, Ok);
        // Not a cpu of this process.
        host.sys("devices/system/cpu/cpu7/cpufreq/scaling_governor", "powersave\n");
        assert_eq!(governor(&host.host).verdict, Ok);
        host.sys("devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n");
        let check = governor(&host.host);
        assert_eq!((check.verdict, check.found.as_str()), (Warn, "performance on 5, powersave on 1 of 6 cpus"));
        assert_eq!(check.mend, ["cpupower frequency-set --governor performance"]);
        host.remove("sys/devices/system/cpu");
        assert_eq!(governor(&host.host).verdict, Unknown);
    }

    #[test]
    fn cpus_are_isolated_well_only_if_they_have_no_tick_either() {
        let host = MadeUp::new();
        assert_eq!(isolated(&host.host).verdict, Ok);
        for nohz_full in ["6", "(null)"] {
            host.sys("devices/system/cpu/nohz_full", nohz_full);
            let check = isolated(&host.host);
            assert_eq!(check.verdict, Warn, "{nohz_full}");
            assert_eq!(check.mend[0], "boot with isolcpus=6-7 nohz_full=6-7 rcu_nocbs=6-7");
        }
    }

    #[test]
    fn isolation_is_asked_for_only_where_there_are_cpus_to_spare() {
        let host = MadeUp::new();
        host.sys("devices/system/cpu/isolated", "\n");
        let check = isolated(&host.host);
        assert_eq!((check.verdict, check.mend[1].as_str()), (Warn, "then pin what spins: taskset -c 4-5 PROGRAM"));
        allow(&host, "0-1");
        assert_eq!(isolated(&host.host).verdict, Ok);
        host.remove("sys/devices/system/cpu/isolated");
        assert_eq!(isolated(&host.host).verdict, Unknown);
    }
}
