//! Rate limits, with a clock that stands where the test puts it.

use super::*;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000 * PARTS_PER_NS;

fn limit(limit: RateLimit) -> (Limit, [AtomicU64; 2]) {
    limit.check().unwrap();
    (Limit::new(&limit), [AtomicU64::new(0), AtomicU64::new(0)])
}

fn take(limit: &(Limit, [AtomicU64; 2]), now: u64, messages: u64, bytes: u64) -> Result<(), Refusal> {
    limit.0.take([&limit.1[0], &limit.1[1]], now, messages, bytes)
}

#[test]
fn a_burst_passes_exactly_and_comes_back_one_by_one() {
    // Three a second doesn't divide a second: the burst is exact all the same.
    for per_second in [1, 3, 7, 1000, 3_000_000] {
        let limit = limit(RateLimit::default().messages(per_second, 5));
        let (start, each) = (10 * SECOND, SECOND.div_ceil(per_second));
        for _ in 0..5 {
            assert_eq!(take(&limit, start, 1, 0), Ok(()));
        }
        assert_eq!(take(&limit, start, 1, 0), Err(Refusal::Wait(each)));
        assert_eq!(take(&limit, start + each - 1, 1, 0), Err(Refusal::Wait(1)));
        assert_eq!(take(&limit, start + each, 1, 0), Ok(()));
        assert_eq!(take(&limit, start + each, 1, 0), Err(Refusal::Wait(each)));
        // After a long pause there is a burst, and no more.
        assert_eq!(take(&limit, start + 1000 * SECOND, 5, 0), Ok(()));
        assert_eq!(take(&limit, start + 1000 * SECOND, 1, 0), Err(Refusal::Wait(each)));
    }
}

#[test]
fn what_is_refused_for_its_bytes_uses_up_no_message() {
    let limit = limit(RateLimit::default().messages(1, 2).bytes(100, 100));
    assert_eq!(take(&limit, SECOND, 1, 100), Ok(()));
    assert_eq!(take(&limit, SECOND, 1, 50), Err(Refusal::Wait(SECOND / 2)));
    assert_eq!(take(&limit, SECOND, 1, 0), Ok(()), "one of two messages is left");
    assert_eq!(take(&limit, SECOND, 1, 0), Err(Refusal::Wait(SECOND)));
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    let limit = limit(RateLimit::default().messages(1, 1).bytes(7, 10));
    assert_eq!(take(&limit, SECOND * 9, 1, 10), Ok(()));
    limit.0.give_back([&limit.1[0], &limit.1[1]], 1, 10);
    assert_eq!(take(&limit, SECOND * 9, 1, 10), Ok(()));
}

#[test]
fn more_than_a_burst_is_refused_for_good() {
    let limit = limit(RateLimit::default().bytes(1000, 100));
    assert_eq!(take(&limit, SECOND, 1, 101), Err(Refusal::Never));
    assert_eq!(take(&limit, SECOND, 1, 100), Ok(()));
}

#[test]
fn a_word_from_the_far_future_counts_as_a_burst_that_is_used_up() {
    for hostile in [u64::MAX, u64::MAX / 2, 1000 * SECOND] {
        let limit = limit(RateLimit::default().messages(1, 5));
        limit.1[0].store(hostile, Ordering::Relaxed);
        assert_eq!(take(&limit, SECOND, 1, 0), Err(Refusal::Wait(SECOND)));
        // Nothing was stored, and it passes after that wait: nobody is held up for longer.
        let waited = 2 * SECOND;
        limit.1[0].store(SECOND + 5 * SECOND, Ordering::Relaxed);
        assert_eq!(take(&limit, waited, 1, 0), Ok(()));
    }
}

#[test]
fn rates_that_cannot_be_are_refused() {
    for (per_second, burst) in [(0, 1), (1, 0), (RATE_MAX + 1, 1), (1, RATE_MAX), (1, 864_001)] {
        assert!(RateLimit::default().bytes(per_second, burst).check().is_err(), "{per_second} {burst}");
    }
    assert!(RateLimit::default().messages(1, 864_000).bytes(RATE_MAX, RATE_MAX).check().is_ok());
}

proptest! {
    #[test]
    fn no_run_passes_more_than_a_burst_and_the_rate(
        per_second in 1u64..1_000_000_000, burst in 1u64..10_000,
        steps in prop::collection::vec((0u64..SECOND / 100, 1u64..200), 1..200),
    ) {
        let rate = RateLimit::default().bytes(per_second, burst);
        prop_assume!(rate.check().is_ok());
        let limit = limit(rate);
        // The reference: a bucket in exact fractions, of byte-parts: `level` ÷ SECOND bytes are in it.
        let (full, mut level, mut now) = (u128::from(burst) * u128::from(SECOND), u128::from(burst) * u128::from(SECOND), 50 * SECOND);
        for (pause, bytes) in steps {
            now += pause;
            level = full.min(level + u128::from(pause) * u128::from(per_second));
            let wanted = u128::from(bytes) * u128::from(SECOND);
            match take(&limit, now, 1, bytes) {
                Ok(()) => { prop_assert!(wanted <= level, "more than the bucket holds"); level -= wanted; }
                Err(Refusal::Never) => prop_assert!(bytes > burst),
                // Rounding takes at most a part for each step.
                Err(Refusal::Wait(parts)) => prop_assert!(level + u128::from(parts) * u128::from(per_second)
                    <= wanted + 201 * u128::from(per_second), "a wait that is too long"),
            }
        }
    }
}
