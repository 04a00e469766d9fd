//! Random numbers that can be had again from their seed (splitmix64).

use std::time::Duration;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed that `MEMLANE_SEED` names, else one from the time.
    #[must_use]
    pub fn seed() -> u64 {
        let named = std::env::var("MEMLANE_SEED").ok().and_then(|seed| seed.parse().ok());
        named.unwrap_or_else(|| {
            mix(u64::from(crate::clock::since_boot().subsec_nanos()) << 20 | u64::from(std::process::id()))
        })
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }

    /// One of `items`.
    pub fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// A time below `bound`.
    pub fn time_below(&mut self, bound: Duration) -> Duration {
        Duration::from_nanos(self.below(bound.as_nanos() as u64))
    }
}

/// Scatters the bits of `value`: one to one, and every bit of the result depends on every bit of the value.
#[must_use]
pub fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
