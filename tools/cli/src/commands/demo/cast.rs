//! Who takes part, and on which cores: subscribers of every kind, some of them busy if there are cores to give away.

use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::wire::{Manner, SubscriberPart, Waiting};

/// A subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) part: SubscriberPart,
    /// The cores that it is kept to.
    pub(super) cores: Vec<usize>,
}

/// How long to watch what the cores do. The kernel counts in steps of 10 ms.
const WATCH_FOR: Duration = Duration::from_millis(150);
/// A core that is idle for such a share of the time is as good as free.
const IDLE_SHARE_MIN: f64 = 0.8;
/// The publisher and the subscribers.
const PROCESSES: usize = 6;

/// The subscribers.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    pub(super) subscribers: Vec<Member>,
    /// The cores that there are.
    pub(super) cores: Vec<usize>,
    /// Those of them that are not left to the busy ones.
    pub(super) common_cores: Vec<usize>,
    /// Whether publisher and subscribers have to wait for a core.
    pub(super) crowded: bool,
}

impl Cast {
    /// Subscribers for these cores, of which `idle` are idle, the idlest first. A busy one gets an idle core to itself, or it
    /// and others would only keep each other from it; the publisher and those who sleep between messages share the rest.
    pub(super) fn for_cores(cores: Vec<usize>, idle: &[usize]) -> Self {
        let mut common_cores = cores.clone();
        let crowded = cores.len() < PROCESSES;
        let mut idle = idle.iter().copied();
        let mut busy_with = |cores_needed: usize| {
            let own_core = if cores.len() >= cores_needed { idle.next() } else { None };
            common_cores.retain(|core| Some(*core) != own_core);
            own_core
        };
        let own_cores = [busy_with(2), busy_with(PROCESSES)];
        let member = |name, manner, waiting, own_core: Option<usize>| {
            let waiting = if own_core.is_some() { Waiting::Busy } else { waiting };
            let cores = own_core.map_or_else(|| common_cores.clone(), |core| vec![core]);
            Member { name, part: SubscriberPart { manner, waiting }, cores }
        };
        let blocking = if crowded { Waiting::BlockAtOnce } else { Waiting::Block };
        let subscribers = vec![
            member("quoter", Manner::Gated, blocking, own_cores[0]),
            member("risk", Manner::Gated, blocking, own_cores[1]),
            member("store", Manner::Gated, blocking, None),
            member("screen", Manner::Latest, Waiting::Naps, None),
            member("watch", Manner::Lossy, blocking, None),
        ];
        Self { subscribers, cores, common_cores, crowded }
    }
}

/// The cores that this process may run on.
pub(super) fn cores() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false)).collect()
}

/// Those of `cores` that nobody uses much, the idlest first. Watches them for a moment.
pub(super) fn idle_cores(cores: &[usize]) -> Vec<usize> {
    let before = ticks();
    std::thread::sleep(WATCH_FOR);
    let after = ticks();
    let idle_share = |core: usize| {
        let find = |ticks: &[(usize, Ticks)]| ticks.iter().find(|entry| entry.0 == core).map(|entry| entry.1);
        let (before, after) = (find(&before)?, find(&after)?);
        let all = after.all.saturating_sub(before.all);
        (all > 0).then(|| after.idle.saturating_sub(before.idle) as f64 / all as f64)
    };
    // A core of which nothing is known is as good as another.
    let mut shares: Vec<_> = cores.iter().map(|core| (*core, idle_share(*core).unwrap_or(1.0))).collect();
    shares.retain(|(_, share)| *share >= IDLE_SHARE_MIN);
    // Of equals the last: the first has most of the system's own work.
    shares.sort_by(|(core, share), (other, other_share)| other_share.total_cmp(share).then(other.cmp(core)));
    shares.into_iter().map(|(core, _)| core).collect()
}

/// What a core has done since the system started, in the kernel's ticks.
#[derive(Clone, Copy, Debug)]
struct Ticks {
    idle: u64,
    all: u64,
}

/// What each core has done; empty where the kernel doesn't say.
fn ticks() -> Vec<(usize, Ticks)> {
    let statistics = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    statistics.lines().filter_map(core_ticks).collect()
}

/// Reads a line `cpu3 <user> <nice> <system> <idle> <iowait> ..` of `/proc/stat`.
fn core_ticks(line: &str) -> Option<(usize, Ticks)> {
    let mut words = line.split_whitespace();
    let core = words.next()?.strip_prefix("cpu")?.parse().ok()?;
    let ticks: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
    Some((core, Ticks { idle: ticks.get(3)? + ticks.get(4)?, all: ticks.iter().sum() }))
}

/// Keeps this process to these cores. One that can't be kept runs where it may: slower, and as correct.
pub(super) fn keep_to(cores: &[usize]) {
    let mut set = CpuSet::new();
    let is_set = cores.iter().all(|core| set.set(*core).is_ok());
    if is_set && !cores.is_empty() {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(cast: &Cast) -> Vec<usize> {
        let busy = cast.subscribers.iter().filter(|member| member.part.waiting == Waiting::Busy);
        busy.map(|member| member.cores[0]).collect()
    }

    #[test]
    fn busy_ones_have_a_core_to_themselves_and_leave_one_to_the_others() {
        for count in 0..10 {
            let cores: Vec<usize> = (0..count).collect();
            let cast = Cast::for_cores(cores.clone(), &cores);
            let busy = busy(&cast);
            let expected = match count {
                0 | 1 => 0,
                2..6 => 1,
                _ => 2,
            };
            assert_eq!(busy.len(), expected);
            assert!(busy.iter().all(|core| !cast.common_cores.contains(core)));
            assert_eq!(cast.common_cores.len() + busy.len(), count);
            assert!(count == 0 || !cast.common_cores.is_empty());
        }
    }

    #[test]
    fn nobody_is_busy_where_no_core_is_idle() {
        let cores: Vec<usize> = (0..8).collect();
        assert!(busy(&Cast::for_cores(cores.clone(), &[])).is_empty());
        assert_eq!(busy(&Cast::for_cores(cores, &[3])), [3]);
    }

    #[test]
    fn lines_of_proc_stat_are_read_and_others_left_out() {
        let (core, ticks) = core_ticks("cpu3 10 20 30 400 5 6 7 8 0 0").unwrap();
        assert_eq!((core, ticks.idle, ticks.all), (3, 405, 486));
        for line in ["cpu  1 2 3 4 5", "cpu1 1 2 3", "intr 1 2 3 4 5", "", "cpux 1 2 3 4 5"] {
            assert!(core_ticks(line).is_none(), "{line:?}");
        }
        assert!(idle_cores(&cores()).iter().all(|core| cores().contains(core)));
    }
}
