//! What is measured between the two processes: a [`Lane`], and how each side waits for the other: a [`Watch`].
//!
//! To add a lane: hold what one side needs (a publisher and a subscriber, say), implement [`Lane`], and put it at the same
//! place of the list that both processes make. The initiator runs on the first core, the responder on the second; each
//! of them has its own copy of the lane and is called once per batch with the same count.

use std::time::{Duration, Instant};

use memlane_shm::sync::spin_hint;

use super::exchange::ExchangeError;
use super::latencies::Recorded;
use super::machine::PeerProcess;

/// What the count of a batch counts, when its time ends, and which figure comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Round trips; ends when the initiator returns. Figure: ns per hop, half a round trip. Latencies that the lane
    /// records are of round trips.
    Handoff,
    /// Messages one way; ends when the responder has returned. Figure: messages per second.
    Stream,
    /// Operations of the initiator alone; ends when it returns. Figure: ns per operation.
    Alone,
    /// Operations whose recorded latencies are all that counts. Figure: the median of each batch.
    Sampled,
}

/// One thing to measure, as one of the two processes holds it. A lane keeps its state from batch to batch.
pub trait Lane {
    /// What it is, for the report; the same in both processes.
    fn name(&self) -> String;

    /// What its count and its time mean.
    fn kind(&self) -> Kind;

    /// Most operations that one batch may have.
    fn count_max(&self) -> u64 {
        1 << 20
    }

    /// The side of the first core. Runs `count` operations; returns latencies if this side records them.
    ///
    /// # Errors
    /// Those of its waits ([`Watch::until`]) and its own; any ends the measurement.
    fn initiator(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>>;

    /// For lanes that time a part of their batch themselves: how long that part of the last batch took on this side, in ticks.
    /// It then stands for the time of the whole batch.
    fn timed_ticks(&self) -> Option<u64> {
        None
    }

    /// The side of the second core, entered shortly before the initiator.
    ///
    /// # Errors
    /// As [`Lane::initiator`].
    fn responder(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>>;
}

/// Bounds the waits of one batch: by a deadline, and by the life of the peer.
///
/// The peer's side has nobody to watch: the kernel kills it with its parent.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    peer: Option<&'a PeerProcess>,
    start: Instant,
    patience: Duration,
}

impl<'a> Watch<'a> {
    /// Starts to count the patience now.
    #[must_use]
    pub fn new(peer: Option<&'a PeerProcess>, patience: Duration) -> Self {
        Self { peer, start: Instant::now(), patience }
    }

    /// Polls `is_done` until it says so, with one pause after each poll that did not.
    ///
    /// # Errors
    /// [`ExchangeError::PeerDied`] and [`ExchangeError::Deadline`].
    #[inline(always)]
    pub fn until(&self, is_done: impl FnMut() -> bool) -> Result<(), ExchangeError> {
        self.poll::<1>(is_done)
    }

    /// As [`Watch::until`], with as many pauses: none polls as fast as the core can.
    ///
    /// # Errors
    /// As [`Watch::until`].
    #[inline(always)]
    pub fn poll<const PAUSES: usize>(&self, mut is_done: impl FnMut() -> bool) -> Result<(), ExchangeError> {
        /// Polls between two looks at the clock and the peer: some milliseconds at most.
        const POLLS: u32 = 1 << 16;
        loop {
            for _ in 0..POLLS {
                if is_done() {
                    return Ok(());
                }
                for _ in 0..PAUSES {
                    spin_hint();
                }
            }
            self.check()?;
        }
    }

    /// Looks whether waiting still makes sense. Cost: two system calls.
    ///
    /// # Errors
    /// As [`Watch::until`].
    #[cold]
    pub fn check(&self) -> Result<(), ExchangeError> {
        if let Some(ending) = self.peer.and_then(PeerProcess::ending) {
            return Err(ExchangeError::PeerDied { ending });
        }
        if self.start.elapsed() > self.patience {
            return Err(ExchangeError::Deadline { seconds: self.patience.as_secs() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_what_it_waits_for_has_come() {
        let mut polls = 0;
        let watch = Watch::new(None, Duration::from_secs(60));
        let is_done = || {
            polls += 1;
            polls == 100_000
        };
        watch.poll::<0>(is_done).unwrap();
        assert_eq!(polls, 100_000);
    }

    #[test]
    fn a_wait_for_what_never_comes_ends_with_the_patience() {
        let watch = Watch::new(None, Duration::ZERO);
        assert!(matches!(watch.until(|| false), Err(ExchangeError::Deadline { seconds: 0 })));
    }
}
