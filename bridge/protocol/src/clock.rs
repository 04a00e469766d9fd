//! By how much a peer's clock is ahead, out of the four times of a ping and its answer (as in NTP, RFC 5905): of the last few, the one with the shortest round trip says it best.

use std::collections::VecDeque;

/// How many are remembered: clocks drift, so old ones say less and less.
const REMEMBERED: usize = 16;

/// What pings have said.
#[derive(Debug, Default)]
pub(crate) struct ClockOffset {
    /// Offset and half of the round trip, in nanoseconds.
    samples: VecDeque<(i64, u64)>,
}

impl ClockOffset {
    /// Takes in when a ping was sent, came, was answered, and when the answer came back; the middle two by the peer's clock. What can't be is passed over.
    pub(crate) fn take(&mut self, [sent, received, answered, back]: [u64; 4]) {
        let Some(round_trip) = back.checked_sub(sent).zip(answered.checked_sub(received)) else { return };
        let Some(on_the_way) = round_trip.0.checked_sub(round_trip.1) else { return };
        let there = i128::from(received) - i128::from(sent);
        let here = i128::from(answered) - i128::from(back);
        let Ok(offset) = i64::try_from((there + here) / 2) else { return };
        if self.samples.len() == REMEMBERED {
            self.samples.pop_front();
        }
        self.samples.push_back((offset, on_the_way.div_ceil(2)));
    }

    /// The offset, and by how much it may be wrong.
    pub(crate) fn best(&self) -> Option<(i64, u64)> {
        self.samples.iter().copied().min_by_key(|(_, error)| *error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_lies_within_its_bound_however_the_ways_differ() {
        for (there, back) in [(10, 10), (100, 3), (0, 70), (5000, 20)] {
            for ahead in [-1_000_000_i64, 0, 77] {
                let mut clock = ClockOffset::default();
                let at = |unix_ns: u64| unix_ns.saturating_add_signed(ahead);
                clock.take([10_000_000, at(10_000_000 + there), at(10_000_500 + there), 10_000_500 + there + back]);
                let (offset, error) = clock.best().unwrap();
                assert!(offset.abs_diff(ahead) <= error, "{offset} is not within {error} of {ahead}");
                assert_eq!(error, (there + back).div_ceil(2));
            }
        }
    }

    #[test]
    fn the_shortest_round_trip_says_it_and_old_ones_are_forgotten() {
        let mut clock = ClockOffset::default();
        clock.take([0, 105, 105, 10]);
        for _ in 0..REMEMBERED - 1 {
            clock.take([0, 150, 150, 90]);
        }
        assert_eq!(clock.best(), Some((100, 5)));
        clock.take([0, 150, 150, 90]);
        assert_eq!(clock.best(), Some((105, 45)));
    }

    #[test]
    fn times_that_cannot_be_say_nothing() {
        let mut clock = ClockOffset::default();
        for times in [[5, 0, 0, 4], [0, 9, 8, 10], [0, 0, 100, 10], [0, u64::MAX, u64::MAX, 1]] {
            clock.take(times);
        }
        assert_eq!(clock.best(), None);
    }
}
