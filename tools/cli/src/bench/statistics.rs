//! Sorts batches by placement and says what they amount to: medians, spreads, ratios, percentiles.
//!
//! A batch counts if the handoffs on both sides of it were near, or both far; else it is dropped. Times vary with the
//! placement, ratios less, so times are given by placement and ratios over all kept batches too.

use std::time::Duration;

use serde::Serialize;

use super::lane::Kind;
use super::latencies::{Distribution, Percentiles, Recorded};
use super::placement::{ByPlacement, Placement, Thresholds};

/// What a lane is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneInfo {
    /// Its name.
    pub name: String,
    /// What its figures mean.
    pub kind: Kind,
}

/// One batch of one lane, with the raw handoffs on both sides.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Number of the lane.
    pub lane: usize,
    /// The plain raw handoff right before, ns per hop.
    pub limit_before_ns: f64,
    /// The plain raw handoff right after, ns per hop.
    pub limit_after_ns: f64,
    /// How many operations it had: round trips, messages, samples.
    pub operations: u64,
    /// Its figure: ns per hop, message or operation, or the median of its samples; no number if it has none.
    pub ns_per_operation: f64,
    /// How long it took, ns.
    pub elapsed_ns: f64,
    /// Its latencies one by one, if its lane records them.
    pub recorded: Option<Recorded>,
}

impl Batch {
    /// The handoff beside it: the mean of both sides, ns.
    #[must_use]
    pub fn limit_ns(&self) -> f64 {
        f64::midpoint(self.limit_before_ns, self.limit_after_ns)
    }
}

/// A batch of each lane but the limit, one right after the other.
#[derive(Clone, Debug)]
pub struct Round {
    /// In the order in which they ran.
    pub batches: Vec<Batch>,
}

impl Round {
    fn batch(&self, lane: usize) -> Option<&Batch> {
        self.batches.iter().find(|batch| batch.lane == lane)
    }
}

/// What a lane is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// The plain raw handoff on both sides of each batch.
    Limit,
    /// The batch of this lane in the same round.
    Lane(usize),
}

/// All that was measured.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// The lanes; the first is the limit.
    pub lanes: Vec<LaneInfo>,
    /// The rounds in order.
    pub rounds: Vec<Round>,
    /// How long a tick is.
    pub ns_per_tick: f64,
    /// How long it took in all, without the warm-up.
    pub elapsed: Duration,
    /// How often the kernel took the initiator's core away meanwhile, if it says.
    pub interruptions: Option<u64>,
}

/// How many batches were where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchCounts {
    /// Kept, near.
    pub near: usize,
    /// Kept, far.
    pub far: usize,
    /// Dropped: the two sides differ, or are neither near nor far.
    pub dropped: usize,
}

impl Rounds {
    /// Every batch.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.rounds.iter().flat_map(|round| &round.batches)
    }

    /// Where near ends and far begins in these rounds.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        let brackets: Vec<_> = self.batches().map(|batch| (batch.limit_before_ns, batch.limit_after_ns)).collect();
        Thresholds::choose(&brackets)
    }

    /// How many batches were where.
    #[must_use]
    pub fn counts(&self, thresholds: &Thresholds) -> BatchCounts {
        let mut counts = BatchCounts::default();
        for batch in self.batches() {
            match thresholds.placement_of(batch) {
                Some(Placement::Near) => counts.near += 1,
                Some(Placement::Far) => counts.far += 1,
                None => counts.dropped += 1,
            }
        }
        counts
    }

    /// The handoff beside the kept batches, ns.
    #[must_use]
    pub fn limits(&self, thresholds: &Thresholds) -> ByPlacement<Spread> {
        let values = self.batches().filter_map(|batch| Some((thresholds.placement_of(batch)?, batch.limit_ns())));
        spreads(values)
    }

    /// The figures of the kept batches of `lane`, each turned by `figure`.
    #[must_use]
    pub fn figures(&self, thresholds: &Thresholds, lane: usize, figure: impl Fn(&Batch) -> f64) -> ByPlacement<Spread> {
        let values = self
            .batches()
            .filter(|batch| batch.lane == lane)
            .filter_map(|batch| Some((thresholds.placement_of(batch)?, figure(batch))));
        spreads(values)
    }

    /// What the batches of `lane` are to what stood beside them, batch by batch: of rates if both are streams, so that
    /// more is better; else of times, so that less is.
    ///
    /// Batches whose counterpart was placed differently are left out.
    #[must_use]
    pub fn ratios(&self, thresholds: &Thresholds, lane: usize, beside: Beside) -> ByPlacement<Spread> {
        let values = self.rounds.iter().filter_map(|round| {
            let batch = round.batch(lane)?;
            let placement = thresholds.placement_of(batch)?;
            let ratio = match beside {
                Beside::Limit => batch.ns_per_operation / batch.limit_ns(),
                Beside::Lane(other) => {
                    let other = round.batch(other)?;
                    if thresholds.placement_of(other) != Some(placement) {
                        return None;
                    }
                    self.ratio(batch, other)
                }
            };
            Some((placement, ratio))
        });
        spreads(values)
    }

    fn ratio(&self, batch: &Batch, other: &Batch) -> f64 {
        let is_stream = |batch: &Batch| self.lanes[batch.lane].kind == Kind::Stream;
        if is_stream(batch) && is_stream(other) {
            other.ns_per_operation / batch.ns_per_operation
        } else {
            batch.ns_per_operation / other.ns_per_operation
        }
    }

    /// The latencies of the kept batches of `lane`, merged.
    #[must_use]
    pub fn distributions(&self, thresholds: &Thresholds, lane: usize) -> ByPlacement<Distribution> {
        let hops = if self.lanes[lane].kind == Kind::Handoff { 2.0 } else { 1.0 };
        let empty = || Distribution::new(self.ns_per_tick / hops);
        let (mut near, mut far, mut all) = (empty(), empty(), empty());
        for batch in self.batches().filter(|batch| batch.lane == lane) {
            let (Some(placement), Some(recorded)) = (thresholds.placement_of(batch), &batch.recorded) else {
                continue;
            };
            match placement {
                Placement::Near => near.add(recorded),
                Placement::Far => far.add(recorded),
            }
            all.add(recorded);
        }
        let some = |one: Distribution| (one.samples() > 0).then_some(one);
        ByPlacement { near: some(near), far: some(far), all: some(all) }
    }
}

/// Median and spread of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// How many there are.
    pub count: usize,
    /// A tenth of them lies below.
    pub p10: f64,
    /// The median.
    pub p50: f64,
    /// A tenth of them lies above.
    pub p90: f64,
}

impl Spread {
    /// Of `values` that are numbers; `None` if there are none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        Some(Self {
            count: values.len(),
            p10: quantile(&values, 0.1)?,
            p50: quantile(&values, 0.5)?,
            p90: quantile(&values, 0.9)?,
        })
    }
}

/// The value at `share` (0 to 1) of ascending `values`, between neighbours in proportion; `None` of nothing.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let place = share * last as f64;
    let below = (place.floor() as usize).min(last);
    let above = (below + 1).min(last);
    Some(values[below] + (values[above] - values[below]) * (place - below as f64))
}

fn spreads(values: impl Iterator<Item = (Placement, f64)>) -> ByPlacement<Spread> {
    let (mut near, mut far, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for (placement, value) in values {
        match placement {
            Placement::Near => near.push(value),
            Placement::Far => far.push(value),
        }
        all.push(value);
    }
    ByPlacement { near: Spread::of(near), far: Spread::of(far), all: Spread::of(all) }
}

/// Percentiles against the same percentiles of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PercentileRatios {
    /// Median to median.
    pub p50: f64,
    /// 99th percentile to 99th percentile.
    pub p99: f64,
    /// 99.9th percentile to 99.9th percentile.
    pub p999: f64,
}

impl PercentileRatios {
    /// Of `own` against those of the limit.
    #[must_use]
    pub fn of(own: &Percentiles, limit: &Percentiles) -> Self {
        Self { p50: own.p50_ns / limit.p50_ns, p99: own.p99_ns / limit.p99_ns, p999: own.p999_ns / limit.p999_ns }
    }

    /// By placement, and over both: the mean of the two, weighted by samples. (Percentiles of near and far latencies
    /// together would be those of the far ones alone.)
    #[must_use]
    pub fn by_placement(own: &ByPlacement<Percentiles>, limit: &ByPlacement<Percentiles>) -> ByPlacement<Self> {
        let at = |own: Option<Percentiles>, limit: Option<Percentiles>| {
            Some((own?.samples as f64, Self::of(&own?, &limit?)))
        };
        let (near, far) = (at(own.near, limit.near), at(own.far, limit.far));
        let parts: Vec<_> = near.into_iter().chain(far).collect();
        let samples: f64 = parts.iter().map(|(samples, _)| samples).sum();
        let mean = |ratio: fn(&Self) -> f64| {
            let weighted = parts.iter().map(|(samples, own)| samples * ratio(own));
            weighted.sum::<f64>() / samples
        };
        ByPlacement {
            near: near.map(|(_, ratios)| ratios),
            far: far.map(|(_, ratios)| ratios),
            all: (!parts.is_empty()).then(|| Self {
                p50: mean(|one| one.p50),
                p99: mean(|one| one.p99),
                p999: mean(|one| one.p999),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: usize = 1;
    const OTHER: usize = 2;

    fn batch(lane: usize, limits_ns: (f64, f64), ns_per_operation: f64) -> Batch {
        Batch {
            lane,
            limit_before_ns: limits_ns.0,
            limit_after_ns: limits_ns.1,
            operations: 1_000,
            ns_per_operation,
            elapsed_ns: 1_000.0 * ns_per_operation,
            recorded: None,
        }
    }

    fn rounds(kind: Kind, rounds: Vec<Vec<Batch>>) -> Rounds {
        let lane = |name: &str, kind| LaneInfo { name: name.to_owned(), kind };
        let batches = |batches| Round { batches };
        Rounds {
            lanes: vec![lane("limit", Kind::Handoff), lane("own", kind), lane("other", kind)],
            rounds: rounds.into_iter().map(batches).collect(),
            ns_per_tick: 0.5,
            elapsed: Duration::from_secs(1),
            interruptions: None,
        }
    }

    /// Three near rounds at 0.8, one far at 0.9, one that changed place, one between.
    fn drifting() -> Rounds {
        rounds(
            Kind::Handoff,
            vec![
                vec![batch(OWN, (60.0, 60.0), 48.0)],
                vec![batch(OWN, (50.0, 70.0), 48.0)],
                vec![batch(OWN, (100.0, 100.0), 80.0)],
                vec![batch(OWN, (200.0, 300.0), 225.0)],
                vec![batch(OWN, (60.0, 300.0), 100.0)],
                vec![batch(OWN, (150.0, 150.0), 100.0)],
            ],
        )
    }

    #[test]
    fn batches_that_changed_place_are_dropped() {
        let rounds = drifting();
        let expected = BatchCounts { near: 3, far: 1, dropped: 2 };
        assert_eq!(rounds.counts(&rounds.thresholds()), expected);
    }

    #[test]
    fn ratios_to_the_limit_are_of_each_batch_to_the_handoffs_beside_it() {
        let rounds = drifting();
        let ratios = rounds.ratios(&rounds.thresholds(), OWN, Beside::Limit);
        let median = |spread: Option<Spread>| (spread.unwrap().p50 * 1e9).round() / 1e9;
        assert_eq!(median(ratios.near), 0.8);
        assert_eq!(median(ratios.far), 0.9);
        assert_eq!(median(ratios.all), 0.8);
        assert_eq!(ratios.all.unwrap().count, 4);
    }

    #[test]
    fn a_stream_twice_as_fast_as_the_one_beside_it_has_the_ratio_two() {
        let near = (60.0, 60.0);
        let round = vec![batch(OWN, near, 8.0), batch(OTHER, near, 16.0)];
        let streams = rounds(Kind::Stream, vec![round.clone()]);
        let ratios = streams.ratios(&streams.thresholds(), OWN, Beside::Lane(OTHER));
        assert_eq!(ratios.near.unwrap().p50, 2.0);
        let alone = rounds(Kind::Alone, vec![round]);
        let ratios = alone.ratios(&alone.thresholds(), OWN, Beside::Lane(OTHER));
        assert_eq!(ratios.near.unwrap().p50, 0.5);
    }

    #[test]
    fn lanes_that_ran_at_different_places_are_not_compared() {
        let streams =
            rounds(Kind::Stream, vec![vec![batch(OWN, (60.0, 60.0), 8.0), batch(OTHER, (250.0, 250.0), 16.0)]]);
        let ratios = streams.ratios(&streams.thresholds(), OWN, Beside::Lane(OTHER));
        assert_eq!(ratios, ByPlacement::default());
    }

    #[test]
    fn latencies_are_merged_by_placement_in_ns_per_hop() {
        let mut drifting = drifting();
        for round in &mut drifting.rounds {
            // Round trips of as many ticks of half a nanosecond as a hop has quarters of one.
            let ticks = (round.batches[0].ns_per_operation * 4.0) as u64;
            round.batches[0].recorded = Some(Recorded::from_pairs(vec![(ticks, 10)]));
        }
        let latencies = drifting.distributions(&drifting.thresholds(), OWN);
        let percentiles = latencies.and_then(Distribution::percentiles);
        let near = percentiles.near.unwrap();
        assert_eq!((near.samples, near.p50_ns, near.max_ns), (30, 48.0, 80.0));
        assert_eq!(percentiles.far.unwrap().p50_ns, 225.0);
        assert_eq!(percentiles.all.unwrap().samples, 40);
        assert!(drifting.distributions(&drifting.thresholds(), OTHER).all.is_none());
    }

    #[test]
    fn percentile_ratios_over_both_placements_are_weighted_by_samples() {
        let percentiles = |samples, ns| {
            Some(Percentiles { samples, p50_ns: ns, p99_ns: ns * 2.0, p999_ns: ns * 4.0, max_ns: ns * 8.0 })
        };
        let own =
            ByPlacement { near: percentiles(300, 50.0), far: percentiles(100, 200.0), all: percentiles(400, 60.0) };
        let limit =
            ByPlacement { near: percentiles(500, 100.0), far: percentiles(500, 200.0), all: percentiles(1_000, 120.0) };
        let ratios = PercentileRatios::by_placement(&own, &limit);
        assert_eq!(ratios.near.unwrap().p999, 0.5);
        assert_eq!(ratios.far.unwrap().p99, 1.0);
        assert_eq!(ratios.all.unwrap().p50, 0.625);
        let nothing = PercentileRatios::by_placement(&own, &ByPlacement::default());
        assert_eq!(nothing, ByPlacement::default());
    }

    #[test]
    fn a_spread_leaves_out_what_is_no_number() {
        let spread = Spread::of(vec![f64::NAN, 3.0, 1.0, 2.0, f64::INFINITY]).unwrap();
        assert_eq!((spread.count, spread.p50), (3, 2.0));
        assert_eq!((spread.p10, spread.p90), (1.2, 2.8));
        assert_eq!(Spread::of(vec![f64::NAN]), None);
    }
}
