//! Keeping to a schedule: sleep until shortly before the moment, then spin.

use std::time::{Duration, Instant};

use super::latencies::{Figures, Latencies};
use super::signals::{LOOK_EVERY, Signals, Stop};

/// The kernel wakes a sleeper up to so much late, usually.
const LATE_WAKE_UP: Duration = Duration::from_micros(80);
/// A sleep that is shorter than this isn't worth the two switches.
const SHORT_SLEEP: Duration = Duration::from_micros(15);

/// What to do in the last moment before the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// Spin: nearly always exact, and nobody else gets the core meanwhile.
    Spin,
    /// Let others have the core, and be late rather than in their way.
    Yield,
}

/// A schedule, counted from its start.
#[derive(Debug)]
pub(super) struct Pacer {
    start: Instant,
    finish: Finish,
    lateness: Latencies,
}

impl Pacer {
    /// A schedule that starts now.
    pub(super) fn start(finish: Finish) -> Self {
        // Sleeps then end within microseconds of their time; a kernel that refuses leaves us its usual 50 µs.
        let _ = nix::sys::prctl::set_timerslack(1_000);
        Self { start: Instant::now(), finish, lateness: Latencies::new() }
    }

    /// Waits until the moment `due` after the start, and takes down how late that was. Returns at once if it has passed already.
    pub(super) fn wait_until(&mut self, due: Duration, signals: &Signals) -> Result<(), Stop> {
        loop {
            if let Some(stop) = signals.stop() {
                return Err(stop);
            }
            let now = self.start.elapsed();
            let Some(left) = due.checked_sub(now) else {
                self.lateness.record(u64::try_from((now - due).as_nanos()).unwrap_or(u64::MAX));
                return Ok(());
            };
            match self.finish {
                Finish::Spin if left > LATE_WAKE_UP => std::thread::sleep((left - LATE_WAKE_UP).min(LOOK_EVERY)),
                Finish::Spin => std::hint::spin_loop(),
                Finish::Yield if left > SHORT_SLEEP => std::thread::sleep(left.min(LOOK_EVERY)),
                Finish::Yield => std::thread::yield_now(),
            }
        }
    }

    /// How long ago the schedule started.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// How late the moments were that were waited for.
    pub(super) fn lateness(&self) -> Figures {
        self.lateness.figures()
    }
}

/// How fast something that was recorded is done once more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Speed {
    Max,
    /// So many times as fast as recorded.
    Times(f64),
}

impl Speed {
    /// Reads `recorded`, `max` or a factor.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "recorded" => Ok(Self::Times(1.0)),
            "max" => Ok(Self::Max),
            factor => match factor.trim_end_matches('x').parse::<f64>() {
                Ok(factor) if (1e-6..=1e9).contains(&factor) => Ok(Self::Times(factor)),
                _ => Err("give recorded, max, or a factor such as 10 or 0.5".to_owned()),
            },
        }
    }

    /// How long a recorded span takes.
    pub(super) fn span(self, recorded_ns: u64) -> Duration {
        match self {
            Self::Max => Duration::ZERO,
            // Exact, where nothing is to be scaled.
            Self::Times(1.0) => Duration::from_nanos(recorded_ns),
            Self::Times(factor) => {
                Duration::try_from_secs_f64(recorded_ns as f64 / factor / 1e9).unwrap_or(Duration::MAX / 4)
            }
        }
    }
}

/// Moments that are equally far apart: so many per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beat {
    per_second: f64,
}

impl Beat {
    pub(super) fn per_second(per_second: f64) -> Self {
        Self { per_second }
    }

    /// When number `index` is due; 0 is at the start.
    pub(super) fn due(self, index: u64) -> Duration {
        Duration::try_from_secs_f64(index as f64 / self.per_second).unwrap_or(Duration::MAX)
    }
}
