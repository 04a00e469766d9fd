//! Stamps: raw ticks of the core's counter, turned into nanoseconds by whoever reads them.
//!
//! Reading the counter costs about 10 ns and no system call; the conversion happens off the hot path, with a
//! [`Calibration`] that the writer leaves beside the stamps. On x86 the counter is the TSC where the processor says that it is
//! invariant, on 64-bit ARM the virtual counter; elsewhere ticks are nanoseconds of `CLOCK_MONOTONIC`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where ticks come from; kept beside the stamps, since it tells whether another process counts alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum TickSource {
    /// The processor's own constant-rate counter.
    Counter = 1,
    /// Nanoseconds of the kernel's monotonic clock.
    Monotonic = 2,
}

impl TickSource {
    /// The source that a number in a file stands for, if any.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        [Self::Counter, Self::Monotonic].into_iter().find(|source| *source as u64 == bits)
    }
}

/// A clock that reads ticks. Copy it into the structure that stamps.
#[derive(Clone, Copy, Debug)]
pub struct Ticker {
    source: TickSource,
}

impl Ticker {
    /// The best counter of this machine.
    #[must_use]
    pub fn best() -> Self {
        Self { source: if counter_is_constant() { TickSource::Counter } else { TickSource::Monotonic } }
    }

    /// The counter that a topic's stamps were made with; `None` if this process can't read it.
    #[must_use]
    pub fn of(source: TickSource) -> Option<Self> {
        (source == TickSource::Monotonic || counter_is_constant()).then_some(Self { source })
    }

    /// Where the ticks come from.
    #[must_use]
    pub fn source(self) -> TickSource {
        self.source
    }

    /// Ticks now. Not serialized: the core may read it some instructions early or late.
    #[inline]
    #[must_use]
    pub fn now(self) -> u64 {
        match self.source {
            TickSource::Counter => counter(),
            TickSource::Monotonic => monotonic_ns(),
        }
    }
}

/// How ticks relate to time: `unix_ns = base_unix_ns + (ticks − base_ticks) × ns_per_tick ÷ 2³²`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// Where the ticks come from.
    pub source: TickSource,
    /// Ticks at the base.
    pub base_ticks: u64,
    /// Nanoseconds since 1970 at the base.
    pub base_unix_ns: u64,
    /// Nanoseconds per tick, as a fixed-point number with 32 fraction bits.
    pub ns_per_tick: u64,
}

impl Calibration {
    /// Measures the counter against the kernel's clock for 2 ms, which gives its rate to about 50 parts in a million;
    /// the base is exact to a part of the time of a clock read.
    ///
    /// Cost: 2 ms of this thread, once per process for the rate; the base is taken anew in each call.
    #[must_use]
    pub fn measure() -> Self {
        static NS_PER_TICK: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
        let ticker = Ticker::best();
        let ns_per_tick = *NS_PER_TICK.get_or_init(|| match ticker.source() {
            TickSource::Monotonic => 1 << 32,
            TickSource::Counter => measure_rate(ticker),
        });
        let (base_ticks, base_unix_ns) = base(|| ticker.now());
        Self { source: ticker.source(), base_ticks, base_unix_ns, ns_per_tick }
    }

    /// That of the kernel's monotonic clock, which needs no measuring.
    #[must_use]
    pub fn monotonic() -> Self {
        let (base_ticks, base_unix_ns) = base(monotonic_ns);
        Self { source: TickSource::Monotonic, base_ticks, base_unix_ns, ns_per_tick: 1 << 32 }
    }

    /// Nanoseconds since 1970 at `ticks`; saturates instead of overflowing, since ticks may be foreign bytes.
    #[must_use]
    pub fn unix_ns(&self, ticks: u64) -> u64 {
        if ticks >= self.base_ticks {
            self.base_unix_ns.saturating_add(self.ns(ticks - self.base_ticks))
        } else {
            self.base_unix_ns.saturating_sub(self.ns(self.base_ticks - ticks))
        }
    }

    /// The ticks at so many nanoseconds since 1970, to a tick; saturates.
    #[must_use]
    pub fn ticks(&self, unix_ns: u64) -> u64 {
        let per_tick = u128::from(self.ns_per_tick.max(1));
        let ticks = |ns: u64| u64::try_from((u128::from(ns) << 32).div_ceil(per_tick)).unwrap_or(u64::MAX);
        if unix_ns >= self.base_unix_ns {
            self.base_ticks.saturating_add(ticks(unix_ns - self.base_unix_ns))
        } else {
            self.base_ticks.saturating_sub(ticks(self.base_unix_ns - unix_ns))
        }
    }

    /// The length of `ticks` ticks in nanoseconds.
    #[must_use]
    pub fn ns(&self, ticks: u64) -> u64 {
        u64::try_from((u128::from(ticks) * u128::from(self.ns_per_tick)) >> 32).unwrap_or(u64::MAX)
    }
}

/// Ticks and nanoseconds since 1970 at the same moment: of some tries the one in which least time passed between two looks at the ticks, for somebody may have
/// been in the way in the others.
fn base(ticks: impl Fn() -> u64) -> (u64, u64) {
    let look = |_| {
        let before = ticks();
        let unix_ns = unix_ns();
        let passed = ticks().saturating_sub(before);
        (passed, before + passed / 2, unix_ns)
    };
    let best = (0..16).map(look).min_by_key(|(passed, ..)| *passed);
    best.map_or((0, 0), |(_, ticks, unix_ns)| (ticks, unix_ns))
}

/// Nanoseconds since 1970 by the kernel's clock.
#[must_use]
pub fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn measure_rate(ticker: Ticker) -> u64 {
    const SPAN: Duration = Duration::from_millis(2);
    let (start, ticks_start) = (Instant::now(), ticker.now());
    let mut elapsed = Duration::ZERO;
    while elapsed < SPAN {
        std::hint::spin_loop();
        elapsed = start.elapsed();
    }
    let ticks = ticker.now().saturating_sub(ticks_start).max(1);
    u64::try_from((elapsed.as_nanos() << 32) / u128::from(ticks)).unwrap_or(1 << 32)
}

fn monotonic_ns() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn counter() -> u64 {
    // SAFETY: every x86-64 processor has the instruction; the kernel would have to forbid it (PR_SET_TSC) on purpose.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "x86_64")]
fn counter_is_constant() -> bool {
    use std::sync::OnceLock;
    static CONSTANT: OnceLock<bool> = OnceLock::new();
    // cpuid traps in a virtual machine (tens of microseconds), so it is asked once.
    *CONSTANT.get_or_init(|| {
        const ADVANCED_POWER_MANAGEMENT: u32 = 0x8000_0007;
        const INVARIANT_TSC: u32 = 1 << 8;
        core::arch::x86_64::__cpuid(0x8000_0000).eax >= ADVANCED_POWER_MANAGEMENT
            && core::arch::x86_64::__cpuid(ADVANCED_POWER_MANAGEMENT).edx & INVARIANT_TSC != 0
    })
}

#[cfg(target_arch = "aarch64")]
#[inline]
fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: reads the virtual counter, which user space may.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags)) };
    ticks
}

#[cfg(target_arch = "aarch64")]
fn counter_is_constant() -> bool {
    true
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter() -> u64 {
    monotonic_ns()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter_is_constant() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_turn_into_the_time_of_the_kernels_clock() {
        let calibration = Calibration::measure();
        let ticker = Ticker::of(calibration.source).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        let by_ticks = calibration.unix_ns(ticker.now());
        let by_kernel = unix_ns();
        assert!(by_ticks.abs_diff(by_kernel) < 1_000_000_000, "{by_ticks} against {by_kernel}");
    }

    #[test]
    fn absurd_ticks_saturate() {
        let calibration =
            Calibration { source: TickSource::Counter, base_ticks: 1 << 40, base_unix_ns: 5, ns_per_tick: u64::MAX };
        assert_eq!(calibration.unix_ns(u64::MAX), u64::MAX);
        assert_eq!(calibration.unix_ns(0), 0);
    }
}
