//! Runs the lanes in short alternating batches, the raw handoff before and after each.
//!
//! ```text
//!   limit │ lane 1 │ limit │ lane 2 │ limit │ … │ limit │ lane n │ limit     one round
//!   limit │ lane 2 │ limit │ lane 3 │ limit │ … │ limit │ lane 1 │ limit     the next
//!     └─────beside─────┘
//! ```
//!
//! Two virtual cores drift between sharing a cache and not, and a figure means nothing without saying which: the handoffs
//! on either side of a batch tell. They are shared by neighbours, so a round of n lanes has n + 1 of them.
//! Batches last as long as [`Settings`] says, whatever an operation takes: their counts follow the speed of the last one.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use memlane_shm::clock::Calibration;

use super::exchange::{Conductor, Turn};
use super::lane::{Kind, Lane};
use super::machine::{self, Cores, PeerCommand};
use super::statistics::{Batch, LaneInfo, Round, Rounds};

/// The lane that all others are bracketed with: the plain raw handoff, first of every list.
pub const LIMIT: usize = 0;

/// Number of the first of the others.
const FIRST_LANE: usize = LIMIT + 1;

/// How long and how often to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// No round begins after this time.
    pub time: Duration,
    /// Most rounds, however short.
    pub rounds_max: usize,
    /// How long a batch is meant to take.
    pub batch: Duration,
    /// How long a handoff between two batches is meant to take.
    pub limit: Duration,
}

impl Settings {
    /// Batches of 2 ms with handoffs of 0.5 ms between them, for `time`, at most 20,000 rounds.
    #[must_use]
    pub fn lasting(time: Duration) -> Self {
        Self { time, rounds_max: 20_000, batch: Duration::from_millis(2), limit: Duration::from_micros(500) }
    }
}

/// Rounds that only find out how many operations fill a batch and warm caches up; they are not counted.
const WARM_UP_ROUNDS: usize = 8;

/// How many operations the first batch of a lane has.
const FIRST_COUNT: u64 = 16;

/// Is told after each round how much time has passed, and may end the measurement there.
pub type OnRound<'a> = &'a mut dyn FnMut(Duration) -> ControlFlow<()>;

/// Starts the peer, runs rounds of `lanes` (the plain handoff first) until the settings say that it is enough, and ends
/// the peer.
///
/// The peer must come to [`super::exchange::follow`] with `directory` and the same list.
///
/// # Errors
/// Of the machine, of the exchange and of the lanes.
pub fn measure(
    directory: &Path,
    cores: Cores,
    command: &PeerCommand,
    lanes: Vec<Box<dyn Lane>>,
    settings: &Settings,
    on_round: OnRound<'_>,
) -> anyhow::Result<Rounds> {
    let calibration = Calibration::measure();
    let ns_per_tick = calibration.ns_per_tick as f64 / (1_u64 << 32) as f64;
    let infos: Vec<LaneInfo> = lanes.iter().map(|lane| LaneInfo { name: lane.name(), kind: lane.kind() }).collect();
    let paces = lanes
        .iter()
        .enumerate()
        .map(|(lane, info)| {
            let target = if lane == LIMIT { settings.limit } else { settings.batch };
            Pace::new(target, info.count_max(), ns_per_tick)
        })
        .collect();
    let conductor = Conductor::start(directory, cores, command, lanes)?;
    let mut runner = Runner { conductor, rounds: 0, paces, infos, ns_per_tick };
    for _ in 0..WARM_UP_ROUNDS {
        runner.round()?;
    }
    let interruptions_before = machine::interruptions();
    let start = Instant::now();
    let mut rounds = Vec::new();
    while rounds.is_empty() || rounds.len() < settings.rounds_max && start.elapsed() < settings.time {
        rounds.push(runner.round()?);
        if on_round(start.elapsed()).is_break() {
            break;
        }
    }
    let elapsed = start.elapsed();
    let interruptions =
        machine::interruptions().zip(interruptions_before).map(|(after, before)| after.saturating_sub(before));
    runner.conductor.finish()?;
    Ok(Rounds { lanes: runner.infos, rounds, ns_per_tick, elapsed, interruptions })
}

struct Runner {
    conductor: Conductor,
    /// How many it has run, the warm-up included.
    rounds: usize,
    paces: Vec<Pace>,
    infos: Vec<LaneInfo>,
    ns_per_tick: f64,
}

impl Runner {
    /// Runs every lane once. Each round begins with another lane, so that what disturbs the machine at a steady beat
    /// doesn't hit the same lane each time.
    fn round(&mut self) -> anyhow::Result<Round> {
        let lanes = self.infos.len() - FIRST_LANE;
        let mut before_ns = self.limit_ns()?;
        let mut batches = Vec::with_capacity(lanes);
        for step in 0..lanes {
            let lane = FIRST_LANE + (self.rounds + step) % lanes;
            let (count, turn) = self.batch(lane)?;
            let after_ns = self.limit_ns()?;
            batches.push(Batch {
                lane,
                limit_before_ns: before_ns,
                limit_after_ns: after_ns,
                operations: count,
                ns_per_operation: self.ns_per_operation(lane, count, &turn),
                elapsed_ns: turn.elapsed_ticks as f64 * self.ns_per_tick,
                recorded: turn.recorded,
            });
            before_ns = after_ns;
        }
        self.rounds += 1;
        Ok(Round { batches })
    }

    fn limit_ns(&mut self) -> anyhow::Result<f64> {
        let (count, turn) = self.batch(LIMIT)?;
        Ok(self.ns_per_operation(LIMIT, count, &turn))
    }

    fn batch(&mut self, lane: usize) -> anyhow::Result<(u64, Turn)> {
        let count = self.paces[lane].count;
        let turn = self.conductor.run(lane, count)?;
        self.paces[lane].learn(turn.elapsed_ticks);
        Ok((count, turn))
    }

    fn ns_per_operation(&self, lane: usize, count: u64, turn: &Turn) -> f64 {
        let kind = self.infos[lane].kind;
        let ticks = match kind {
            Kind::Handoff => turn.elapsed_ticks as f64 / (2 * count) as f64,
            Kind::Stream | Kind::Alone => turn.elapsed_ticks as f64 / count as f64,
            Kind::Sampled => turn
                .recorded
                .as_ref()
                .and_then(|recorded| recorded.median_ticks())
                .map_or(f64::NAN, |ticks| ticks as f64),
        };
        ticks * self.ns_per_tick
    }
}

/// How many operations make a batch of the time wanted.
#[derive(Clone, Copy, Debug)]
struct Pace {
    count: u64,
    count_max: u64,
    target_ticks: f64,
}

impl Pace {
    fn new(target: Duration, count_max: u64, ns_per_tick: f64) -> Self {
        Self { count: FIRST_COUNT.min(count_max), count_max, target_ticks: target.as_nanos() as f64 / ns_per_tick }
    }

    /// Corrects the count after a batch, by a factor of eight at most: one that was disturbed says little.
    fn learn(&mut self, elapsed_ticks: u64) {
        let wanted = self.count as f64 * self.target_ticks / elapsed_ticks.max(1) as f64;
        let bounded = wanted.clamp(self.count as f64 / 8.0, self.count as f64 * 8.0);
        self.count = (bounded as u64).clamp(1, self.count_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(Duration::from_micros(1), 1_000, 1.0)
    }

    #[test]
    fn batches_grow_and_shrink_to_the_time_wanted() {
        let mut pace = pace();
        for ns_per_operation in [2, 2, 2, 20, 20, 20] {
            pace.learn(pace.count * ns_per_operation);
        }
        assert_eq!(pace.count, 50);
    }

    #[test]
    fn batches_have_at_least_one_operation_and_never_more_than_their_lane_allows() {
        let mut pace = pace();
        for _ in 0..10 {
            pace.learn(0);
        }
        assert_eq!(pace.count, 1_000);
        for _ in 0..10 {
            pace.learn(u64::MAX);
        }
        assert_eq!(pace.count, 1);
    }
}
