//! Sending at a fixed rate: every latency counts from when its message was due, not from when it could be sent.
//!
//! A sender that waits for each answer measures only what it lets happen: a stall delays the messages behind it, and none of
//! them shows (coordinated omission). Here the [`Schedule`] goes on through a stall, and all messages that were due
//! meanwhile are sent late and counted as late.
//!
//! Each batch has a schedule of its own, so what a rate that can't be kept piles up is bounded by the length of a batch:
//! measure with batches of 20 ms or more ([`super::rounds::Settings`]) and look at the rate that was reached.

use memlane_shm::clock::{Calibration, Ticker};
use memlane_shm::sync::spin_hint;

use super::lane::{Kind, Lane, Watch};
use super::latencies::{Recorded, Recorder};

/// When each message of a batch is due, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    start_ticks: u64,
    ticks_per_message: f64,
}

impl Schedule {
    /// A message each `ticks_per_message` ticks, the first at `start_ticks`.
    #[must_use]
    pub fn new(start_ticks: u64, ticks_per_message: f64) -> Self {
        Self { start_ticks, ticks_per_message }
    }

    /// When message `sequence` (from 0) is due.
    #[inline]
    #[must_use]
    pub fn due_ticks(&self, sequence: u64) -> u64 {
        self.start_ticks + (sequence as f64 * self.ticks_per_message) as u64
    }
}

/// A way for messages from the first core to the second, as either side of it sees it.
pub trait OneWay {
    /// What it is, for the report.
    fn title(&self) -> String;

    /// Sends message `sequence` with `scheduled_ticks` in its payload; `false` if there is no room for it now.
    ///
    /// # Errors
    /// What ends the measurement.
    fn send(&mut self, sequence: u64, scheduled_ticks: u64) -> anyhow::Result<bool>;

    /// The `scheduled_ticks` of the next message, if it is there. Reads the whole payload.
    ///
    /// # Errors
    /// What ends the measurement.
    fn receive(&mut self) -> anyhow::Result<Option<u64>>;
}

/// A way that is sent over at a fixed rate: a lane whose responder records.
#[derive(Debug)]
pub struct OpenLoop<W> {
    way: W,
    messages_per_s: f64,
    ticks_per_message: f64,
    ticker: Ticker,
    sequence: u64,
    recorder: Recorder,
}

/// Between the start of a batch and its first message, ns: both sides are then at their places.
const LEAD_NS: f64 = 10_000.0;

impl<W: OneWay> OpenLoop<W> {
    /// Over `way` at `messages_per_s`, which is more than 0.
    #[must_use]
    pub fn new(way: W, messages_per_s: f64) -> Self {
        Self {
            way,
            messages_per_s,
            ticks_per_message: ticks_per_s() / messages_per_s,
            ticker: Ticker::best(),
            sequence: 0,
            recorder: Recorder::default(),
        }
    }
}

fn ticks_per_s() -> f64 {
    let ns_per_tick = Calibration::measure().ns_per_tick as f64 / (1_u64 << 32) as f64;
    1e9 / ns_per_tick
}

impl<W: OneWay> Lane for OpenLoop<W> {
    fn name(&self) -> String {
        format!("{} at {:e}/s", self.way.title(), self.messages_per_s)
    }

    fn kind(&self) -> Kind {
        Kind::Sampled
    }

    fn initiator(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let lead_ticks = LEAD_NS / 1e9 * self.messages_per_s * self.ticks_per_message;
        let start_ticks = self.ticker.now() + lead_ticks as u64;
        let schedule = Schedule::new(start_ticks, self.ticks_per_message);
        for number in 0..count {
            let due_ticks = schedule.due_ticks(number);
            watch.until(|| self.ticker.now() >= due_ticks)?;
            let mut polls = 0_u32;
            while !self.way.send(self.sequence, due_ticks)? {
                spin_hint();
                polls = polls.wrapping_add(1);
                if polls.is_multiple_of(1 << 16) {
                    watch.check()?;
                }
            }
            self.sequence += 1;
        }
        Ok(None)
    }

    fn responder(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        for _ in 0..count {
            let mut received = Ok(None);
            watch.until(|| {
                received = self.way.receive();
                !matches!(received, Ok(None))
            })?;
            let now = self.ticker.now();
            let scheduled_ticks = received?.unwrap_or(now);
            self.recorder.record(now.saturating_sub(scheduled_ticks));
        }
        Ok(Some(self.recorder.take()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use super::*;

    /// A queue of this process, which is full now and then.
    #[derive(Default)]
    struct Queue {
        scheduled: VecDeque<u64>,
        sequences: Vec<u64>,
        refusals: usize,
    }

    impl OneWay for Queue {
        fn title(&self) -> String {
            "queue".to_owned()
        }

        fn send(&mut self, sequence: u64, scheduled_ticks: u64) -> anyhow::Result<bool> {
            if self.refusals > 0 {
                self.refusals -= 1;
                return Ok(false);
            }
            self.sequences.push(sequence);
            self.scheduled.push_back(scheduled_ticks);
            Ok(true)
        }

        fn receive(&mut self) -> anyhow::Result<Option<u64>> {
            Ok(self.scheduled.pop_front())
        }
    }

    #[test]
    fn messages_are_due_at_even_distances_however_many() {
        let schedule = Schedule::new(1_000, 2.5);
        let due: Vec<u64> = (0..5).map(|number| schedule.due_ticks(number)).collect();
        assert_eq!(due, [1_000, 1_002, 1_005, 1_007, 1_010]);
        assert_eq!(schedule.due_ticks(4_000_000_000), 10_000_001_000);
    }

    #[test]
    fn a_message_that_found_no_room_is_sent_late_and_counted_from_when_it_was_due() {
        let queue = Queue { refusals: 1_000, ..Queue::default() };
        let mut lane = OpenLoop::new(queue, 1e6);
        let watch = Watch::new(None, Duration::from_secs(60));
        assert_eq!(lane.initiator(20, &watch).unwrap(), None);
        let (first, last) = (lane.way.scheduled[0], lane.way.scheduled[19]);
        let per_message = (last - first) as f64 / 19.0;
        assert!((per_message / lane.ticks_per_message - 1.0).abs() < 0.01);
        let recorded = lane.responder(20, &watch).unwrap().unwrap();
        assert_eq!(recorded.samples(), 20);
        lane.initiator(1, &watch).unwrap();
        assert_eq!(lane.way.sequences, (0..21).collect::<Vec<u64>>());
    }
}
