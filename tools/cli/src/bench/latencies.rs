//! Latencies, one by one: recorded in counter ticks, handed on as pairs, merged into a distribution in nanoseconds.
//!
//! ```text
//!   Stamps ── differences ──┐
//!                           ├─> Recorder ── take ──> Recorded (ticks, count)… ── add ──> Distribution (ns)
//!   ticker.now() − stamp ───┘     of a lane            of one batch                     of many batches
//! ```
//!
//! While a batch runs nothing is computed: a lane keeps stamps, or bumps one count of a histogram. Percentiles are of HDR
//! histograms with three significant digits, so they are off by a thousandth at most.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Significant decimal digits of every histogram.
const SIGNIFICANT_DIGITS: u8 = 3;

/// The longest latency told apart from a longer one: about 20 s of a counter of 3 GHz.
const TICKS_MAX: u64 = 1 << 36;

/// Most pairs that one batch can have: the buckets of its histogram.
pub const PAIRS_MAX: usize = 28 * 1024;

fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, TICKS_MAX, SIGNIFICANT_DIGITS)
        .expect("the bounds are constants that the histogram accepts")
}

/// Counts latencies of one batch.
#[derive(Clone, Debug)]
pub struct Recorder {
    histogram: Histogram<u64>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { histogram: empty_histogram() }
    }
}

impl Recorder {
    /// Counts one latency. Cost: a few nanoseconds, no allocation.
    #[inline]
    pub fn record(&mut self, ticks: u64) {
        self.histogram.saturating_record(ticks);
    }

    /// Counts the time between each two stamps that follow each other.
    pub fn record_differences(&mut self, stamps: &[u64]) {
        for pair in stamps.windows(2) {
            self.record(pair[1].saturating_sub(pair[0]));
        }
    }

    /// Hands out what was counted and starts anew.
    #[must_use]
    pub fn take(&mut self) -> Recorded {
        let pairs =
            self.histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect();
        self.histogram.reset();
        Recorded { pairs }
    }
}

/// The latencies of one batch: pairs of ticks and how often they occurred, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    pairs: Vec<(u64, u64)>,
}

impl Recorded {
    /// From pairs of ticks and counts; sorts them.
    #[must_use]
    pub fn from_pairs(mut pairs: Vec<(u64, u64)>) -> Self {
        pairs.sort_unstable();
        Self { pairs }
    }

    /// Pairs of ticks and counts, ascending.
    #[must_use]
    pub fn pairs(&self) -> &[(u64, u64)] {
        &self.pairs
    }

    /// How many latencies were counted.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.pairs.iter().map(|(_, count)| count).sum()
    }

    /// The median in ticks; `None` of nothing.
    #[must_use]
    pub fn median_ticks(&self) -> Option<u64> {
        let half = self.samples().div_ceil(2);
        let mut passed = 0;
        self.pairs.iter().find_map(|(ticks, count)| {
            passed += count;
            (passed >= half).then_some(*ticks)
        })
    }
}

/// The merged latencies of many batches.
#[derive(Clone, Debug)]
pub struct Distribution {
    histogram: Histogram<u64>,
    ns_per_unit: f64,
}

impl Distribution {
    /// An empty one; `ns_per_unit` says what a recorded tick is worth (half a tick's length if round trips were
    /// recorded and one way is asked for).
    #[must_use]
    pub fn new(ns_per_unit: f64) -> Self {
        Self { histogram: empty_histogram(), ns_per_unit }
    }

    /// Adds a batch.
    pub fn add(&mut self, recorded: &Recorded) {
        for (ticks, count) in &recorded.pairs {
            self.histogram.saturating_record_n(*ticks, *count);
        }
    }

    /// How many latencies it holds.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency that the share `quantile` (0 to 1) of all does not exceed, in nanoseconds.
    #[must_use]
    pub fn ns_at_quantile(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 * self.ns_per_unit
    }

    /// The usual percentiles; `None` of nothing.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        (self.samples() > 0).then(|| Percentiles {
            samples: self.samples(),
            p50_ns: self.ns_at_quantile(0.5),
            p99_ns: self.ns_at_quantile(0.99),
            p999_ns: self.ns_at_quantile(0.999),
            max_ns: self.histogram.max() as f64 * self.ns_per_unit,
        })
    }

    /// The whole curve, ascending, ten points for each halving of what is left above.
    #[must_use]
    pub fn curve(&self) -> Vec<CurvePoint> {
        const POINTS_PER_HALVING: u32 = 10;
        self.histogram
            .iter_quantiles(POINTS_PER_HALVING)
            .map(|step| CurvePoint {
                percentile: step.quantile_iterated_to() * 100.0,
                ns: step.value_iterated_to() as f64 * self.ns_per_unit,
            })
            .collect()
    }
}

/// The usual percentiles of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many latencies they are of.
    pub samples: u64,
    /// The median, ns.
    pub p50_ns: f64,
    /// The 99th percentile, ns.
    pub p99_ns: f64,
    /// The 99.9th percentile, ns.
    pub p999_ns: f64,
    /// The longest, ns.
    pub max_ns: f64,
}

/// One point of a percentile curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Share of latencies that are not longer, in percent.
    pub percentile: f64,
    /// The latency, ns.
    pub ns: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_comes_out_of_its_recorder_whole_and_once() {
        let mut recorder = Recorder::default();
        recorder.record_differences(&[100, 150, 200, 300]);
        let recorded = recorder.take();
        assert_eq!(recorded.pairs(), [(50, 2), (100, 1)]);
        assert_eq!(recorded.samples(), 3);
        assert_eq!(recorded.median_ticks(), Some(50));
        assert_eq!(recorder.take(), Recorded::default());
        assert_eq!(Recorded::default().median_ticks(), None);
    }

    #[test]
    fn a_stamp_before_its_predecessor_counts_as_no_time_at_all() {
        let mut recorder = Recorder::default();
        recorder.record_differences(&[100, 90]);
        assert_eq!(recorder.take().samples(), 1);
    }

    #[test]
    fn no_recorder_has_more_pairs_than_have_room() {
        assert!(empty_histogram().distinct_values() <= PAIRS_MAX);
    }

    #[test]
    fn merged_batches_have_the_percentiles_of_all_their_latencies() {
        let mut all = Distribution::new(0.5);
        all.add(&Recorded::from_pairs(vec![(200, 1), (100, 989)]));
        all.add(&Recorded::from_pairs(vec![(400, 9), (1_000, 1)]));
        let percentiles = all.percentiles().unwrap();
        assert_eq!(percentiles.samples, 1_000);
        assert_eq!(percentiles.p50_ns, 50.0);
        assert_eq!(percentiles.p99_ns, 100.0);
        assert_eq!(percentiles.p999_ns, 200.0);
        assert_eq!(percentiles.max_ns, 500.0);
        assert_eq!(Distribution::new(1.0).percentiles(), None);
    }

    #[test]
    fn a_curve_ascends_to_the_maximum() {
        let mut all = Distribution::new(1.0);
        all.add(&Recorded::from_pairs((1..1_000).map(|ns| (ns, 1)).collect()));
        let curve = all.curve();
        assert!(curve.windows(2).all(|two| { two[0].percentile <= two[1].percentile && two[0].ns <= two[1].ns }));
        assert_eq!(curve.last().unwrap().ns, 999.0);
    }
}
