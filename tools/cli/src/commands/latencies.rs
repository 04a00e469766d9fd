//! How long things took, or how late they were: a histogram and the figures of it.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Spans of up to ten minutes are told apart, to three figures.
const NS_MAX: u64 = 600_000_000_000;
const FIGURES: u8 = 3;

/// Spans in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    histogram: Histogram<u64>,
}

/// The figures of some spans, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) count: u64,
    pub(super) mean_ns: u64,
    pub(super) p50_ns: u64,
    pub(super) p99_ns: u64,
    pub(super) p999_ns: u64,
    pub(super) max_ns: u64,
}

impl Latencies {
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, NS_MAX, FIGURES);
        Self { histogram: histogram.expect("the bounds are right") }
    }

    /// Takes a span down.
    #[inline]
    pub(super) fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    pub(super) fn figures(&self) -> Figures {
        let histogram = &self.histogram;
        let at = |quantile| histogram.value_at_quantile(quantile).min(histogram.max());
        Figures {
            count: histogram.len(),
            mean_ns: histogram.mean() as u64,
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            max_ns: histogram.max(),
        }
    }

    /// How many spans fall between each two of these bounds, in ns; the first counts from zero.
    pub(super) fn counts_below(&self, bounds_ns: &[u64]) -> Vec<u64> {
        let mut low = 0;
        let mut count = |high: u64| {
            let count = self.histogram.count_between(low, high.saturating_sub(1));
            low = high;
            count
        };
        bounds_ns.iter().map(|high| count(*high)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::new();
        (1..=1_000).for_each(|ns| latencies.record(ns));
        latencies.record(u64::MAX);
        let figures = latencies.figures();
        assert_eq!((figures.count, figures.p50_ns, figures.p99_ns), (1_001, 501, 991));
        assert!(figures.max_ns >= NS_MAX);
        assert_eq!(latencies.counts_below(&[500, 1_000]), [499, 500]);
    }

    #[test]
    fn nothing_recorded_is_all_zeros() {
        assert_eq!(Latencies::new().figures(), Figures::default());
    }
}
