//! Who takes part, and on which cores: subscribers of every kind, some of them busy if there are cores to give away.

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
    /// Subscribers for these cores. A busy one gets a core to itself, or it would only keep others from it; the publisher and
    /// those who sleep between messages share the rest.
    pub(super) fn for_cores(cores: Vec<usize>) -> Self {
        let mut common_cores = cores.clone();
        let crowded = cores.len() < PROCESSES;
        let mut busy_with = |cores_needed: usize| if cores.len() >= cores_needed { common_cores.pop() } else { None };
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

    #[test]
    fn busy_ones_have_a_core_to_themselves_and_leave_one_to_the_others() {
        for count in 0..10 {
            let cast = Cast::for_cores((0..count).collect());
            let busy: Vec<_> = cast.subscribers.iter().filter(|member| member.part.waiting == Waiting::Busy).collect();
            assert_eq!(
                busy.len(),
                match count {
                    0 | 1 => 0,
                    2..6 => 1,
                    _ => 2,
                }
            );
            assert!(busy.iter().all(|member| !cast.common_cores.contains(&member.cores[0])));
            assert_eq!(cast.common_cores.len() + busy.len(), count);
            assert!(count == 0 || !cast.common_cores.is_empty());
        }
    }
}
