//! Where the two cores were while a batch ran: near each other, sharing a cache, or far.
//!
//! The raw handoff tells them apart. On the machines that the bounds were made for (Zen servers under KVM, two virtual
//! cores) it takes 50–100 ns between cores that share a last-level cache, 200–300 ns between others, and 15–30 ns when the
//! hypervisor has put both virtual cores onto the two threads of one real core.

use serde::Serialize;

use super::statistics::{Batch, quantile};

/// A handoff faster than this is between two threads of one core, ns. They share what two cores pass to each other, so
/// such batches say nothing about cores, and are dropped.
pub const SIBLING_HANDOFF_NS_MAX: f64 = 35.0;

/// A handoff faster than this is near, ns.
pub const NEAR_HANDOFF_NS_MAX: f64 = 110.0;

/// A handoff slower than this is far, ns.
pub const FAR_HANDOFF_NS_MIN: f64 = 180.0;

/// A handoff slower than this is none: another program had one of the cores meanwhile, ns. Such batches are dropped.
pub const DISTURBED_HANDOFF_NS_MIN: f64 = 600.0;

/// If the constants keep less than this share of batches, the machine is another one than they were made for.
const KEPT_SHARE_MIN: f64 = 0.1;

/// Near on another machine: up to this multiple of the fastest handoff (110 ns of 65 ns).
const NEAR_MULTIPLE_MAX: f64 = 1.7;

/// Far on another machine: from this multiple of the fastest handoff on (180 ns of 65 ns).
const FAR_MULTIPLE_MIN: f64 = 2.75;

/// Disturbed on another machine: from this multiple on (600 ns of 65 ns).
const DISTURBED_MULTIPLE_MIN: f64 = 9.0;

/// What counts as the fastest: a twentieth of all handoffs was faster.
const FASTEST_SHARE: f64 = 0.05;

/// Where the two cores are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// They share a cache.
    Near,
    /// They don't.
    Far,
}

/// Which batches a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Those that ran near.
    Near,
    /// Those that ran far.
    Far,
    /// All that were kept.
    All,
}

/// One value for each placement and one over both; `None` where there was nothing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ByPlacement<T> {
    /// Of the batches that ran near.
    pub near: Option<T>,
    /// Of the batches that ran far.
    pub far: Option<T>,
    /// Over all kept batches.
    pub all: Option<T>,
}

impl<T> Default for ByPlacement<T> {
    fn default() -> Self {
        Self { near: None, far: None, all: None }
    }
}

impl<T> ByPlacement<T> {
    /// What `make` makes of each part.
    #[must_use]
    pub fn from_parts(mut make: impl FnMut(Part) -> Option<T>) -> Self {
        Self { near: make(Part::Near), far: make(Part::Far), all: make(Part::All) }
    }

    /// The value of a part.
    #[must_use]
    pub fn part(&self, part: Part) -> Option<&T> {
        match part {
            Part::Near => self.near.as_ref(),
            Part::Far => self.far.as_ref(),
            Part::All => self.all.as_ref(),
        }
    }

    /// What `turn` makes of each value.
    #[must_use]
    pub fn and_then<U>(&self, turn: impl Fn(&T) -> Option<U>) -> ByPlacement<U> {
        ByPlacement::from_parts(|part| self.part(part).and_then(&turn))
    }
}

/// Where near begins and ends, and where far begins.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Thresholds {
    /// Below, both run on one core, ns.
    pub sibling_ns_max: f64,
    /// Below, they are near, ns.
    pub near_ns_max: f64,
    /// Above, they are far, ns.
    pub far_ns_min: f64,
    /// Above, something else ran on one of them, ns.
    pub disturbed_ns_min: f64,
    /// Whether they are relative to the fastest handoff seen, because the constants fit next to no batch.
    pub is_relative: bool,
}

impl Thresholds {
    /// The constants.
    pub const ABSOLUTE: Self = Self {
        sibling_ns_max: SIBLING_HANDOFF_NS_MAX,
        near_ns_max: NEAR_HANDOFF_NS_MAX,
        far_ns_min: FAR_HANDOFF_NS_MIN,
        disturbed_ns_min: DISTURBED_HANDOFF_NS_MIN,
        is_relative: false,
    };

    /// Chooses for the handoffs (before, after) of all batches: the constants, or, where these keep fewer than a tenth of
    /// the batches, multiples of the fastest handoff seen.
    #[must_use]
    pub fn choose(brackets: &[(f64, f64)]) -> Self {
        let kept =
            brackets.iter().filter(|(before, after)| Self::ABSOLUTE.placement(*before, *after).is_some()).count();
        if kept as f64 >= KEPT_SHARE_MIN * brackets.len() as f64 {
            return Self::ABSOLUTE;
        }
        let mut handoffs: Vec<f64> = brackets.iter().flat_map(|(before, after)| [*before, *after]).collect();
        handoffs.sort_by(f64::total_cmp);
        let fastest_ns = quantile(&handoffs, FASTEST_SHARE).unwrap_or(NEAR_HANDOFF_NS_MAX);
        Self {
            sibling_ns_max: 0.0,
            near_ns_max: fastest_ns * NEAR_MULTIPLE_MAX,
            far_ns_min: fastest_ns * FAR_MULTIPLE_MIN,
            disturbed_ns_min: fastest_ns * DISTURBED_MULTIPLE_MIN,
            is_relative: true,
        }
    }

    /// The placement that both handoffs tell; `None` if they disagree or tell none.
    #[must_use]
    pub fn placement(&self, before_ns: f64, after_ns: f64) -> Option<Placement> {
        let (low, high) = (before_ns.min(after_ns), before_ns.max(after_ns));
        if low >= self.sibling_ns_max && high < self.near_ns_max {
            Some(Placement::Near)
        } else if low > self.far_ns_min && high < self.disturbed_ns_min {
            Some(Placement::Far)
        } else {
            None
        }
    }

    /// The placement of a batch.
    #[must_use]
    pub fn placement_of(&self, batch: &Batch) -> Option<Placement> {
        self.placement(batch.limit_before_ns, batch.limit_after_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_placed_only_if_both_sides_agree() {
        let absolute = Thresholds::ABSOLUTE;
        assert_eq!(absolute.placement(60.0, 70.0), Some(Placement::Near));
        assert_eq!(absolute.placement(240.0, 280.0), Some(Placement::Far));
        for (before, after) in [(60.0, 280.0), (280.0, 60.0), (60.0, 150.0), (150.0, 150.0)] {
            assert_eq!(absolute.placement(before, after), None);
        }
    }

    #[test]
    fn a_handoff_while_another_program_ran_is_not_far() {
        assert_eq!(Thresholds::ABSOLUTE.placement(13_000.0, 13_000.0), None);
        assert_eq!(Thresholds::ABSOLUTE.placement(250.0, 13_000.0), None);
    }

    #[test]
    fn two_threads_of_one_core_are_not_near() {
        assert_eq!(Thresholds::ABSOLUTE.placement(16.0, 16.0), None);
        assert_eq!(Thresholds::ABSOLUTE.placement(60.0, 16.0), None);
    }

    #[test]
    fn the_constants_hold_where_they_fit_a_tenth_of_the_batches() {
        let mut brackets = vec![(150.0, 150.0); 9];
        brackets.push((60.0, 60.0));
        assert_eq!(Thresholds::choose(&brackets), Thresholds::ABSOLUTE);
        assert_eq!(Thresholds::choose(&[]), Thresholds::ABSOLUTE);
    }

    #[test]
    fn on_another_machine_placement_is_relative_to_the_fastest_handoff() {
        for fastest in [20.0, 130.0] {
            let far = fastest * 4.0;
            // Far ones of a slow machine would fit the constants, so they are few here.
            let mut brackets = vec![(fastest, fastest * 1.1); 95];
            brackets.extend([(far, far); 5]);
            let thresholds = Thresholds::choose(&brackets);
            assert!(thresholds.is_relative);
            let placement = |ns| thresholds.placement(ns, ns);
            assert_eq!(placement(fastest), Some(Placement::Near));
            assert_eq!(placement(fastest * 2.2), None);
            assert_eq!(placement(far), Some(Placement::Far));
        }
    }
}
