//! How long to wait before what failed is tried again: longer each time, never the same, and as at first once it has held for a while.
//!
//! No clock and no chance of its own, so that it can be tested.

use std::time::Duration;

/// When what fails is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// The wait after the first failure, at most.
    pub first: Duration,
    /// The wait after any failure, at most.
    pub longest: Duration,
    /// Who runs so long before it fails has not failed before.
    pub forgiven_after: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        let [first, longest, forgiven_after] = [500, 30_000, 60_000].map(Duration::from_millis);
        Self { first, longest, forgiven_after }
    }
}

/// The failures of one module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    policy: BackoffPolicy,
    /// In a row.
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(policy: BackoffPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// How long to wait after it has failed, having run for so long. `chance`, from 0 to 1, says where between half of the wait and all of it.
    pub(crate) fn failed(&mut self, ran: Duration, chance: f64) -> Duration {
        if ran >= self.policy.forgiven_after {
            self.failures = 0;
        }
        let doubled = self.policy.first.saturating_mul(1 << self.failures.min(31));
        self.failures = self.failures.saturating_add(1);
        let wait = doubled.min(self.policy.longest);
        wait / 2 + (wait / 2).mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(chance: f64, ran: [u64; 9]) -> [u128; 9] {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        ran.map(|seconds| backoff.failed(Duration::from_secs(seconds), chance).as_millis())
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        assert_eq!(waits(1.0, [0; 9]), [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn chance_takes_up_to_half_of_a_wait_away() {
        assert_eq!(waits(0.0, [0; 9]), [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
        assert_eq!(waits(0.5, [0; 9])[..2], [375, 750]);
    }

    #[test]
    fn who_ran_for_a_while_begins_at_the_shortest_wait_again() {
        let ran = [0, 0, 59, 60, 0, 0, 3_600, 0, 0];
        assert_eq!(waits(1.0, ran), [500, 1_000, 2_000, 500, 1_000, 2_000, 500, 1_000, 2_000]);
    }

    #[test]
    fn any_number_of_failures_can_be_waited_after() {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        for _ in 0..1_000 {
            assert!(backoff.failed(Duration::ZERO, 1.0) <= Duration::from_secs(30));
        }
    }
}
