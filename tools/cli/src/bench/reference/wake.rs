//! The limit of waking up: a process sleeps in a futex wait on one core, and is woken from the other.
//!
//! ```text
//!   waker (first core)                       sleeper (second core)
//!   sees ASLEEP = n  <────────────────────── ASLEEP := n, then futex wait while SIGNAL = n − 1
//!   idles for IDLE, so that it surely sleeps
//!   stamp; SIGNAL := n; futex wake ────────> runs again: WOKEN_TICKS := stamp; WOKEN := n
//!   latency = WOKEN_TICKS − stamp <───────── (both read the same counter)
//! ```
//!
//! ASLEEP, SIGNAL and WOKEN are stored with release and loaded with acquire. A round in which the wake found nobody
//! asleep is not counted.
//!
//! With a second thread, that one sleeps while SIGNAL = n − 1, on the sleeper's core, and hands the wake on:
//!
//! ```text
//!   waker ──> SIGNAL ──> second thread: RELAYED := n; futex wake ──> sleeper, in a futex wait while RELAYED = n − 1
//! ```

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use memlane_shm::clock::Ticker;
use memlane_shm::sync::Ordering::{Acquire, Relaxed, Release};
use memlane_shm::sync::{LINE_PAIR_BYTES, spin_hint};
use memlane_shm::{Region, futex};

use crate::bench::lane::{Kind, Lane, Watch};
use crate::bench::latencies::{Recorded, Recorder};

/// What it needs of the file.
pub const BYTES: usize = 4 * LINE_PAIR_BYTES;

const SIGNAL: usize = 0;
const ASLEEP: usize = LINE_PAIR_BYTES;
const WOKEN: usize = 2 * LINE_PAIR_BYTES;
const WOKEN_TICKS: usize = WOKEN + 8;
const RELAYED: usize = 3 * LINE_PAIR_BYTES;

/// Bounds one wait, so that the watch is looked at.
const NAP: Duration = Duration::from_millis(100);

/// How long the waker leaves the sleeper alone after it announced its sleep. Lanes that are held against this one must
/// wait as long: how deep a core sleeps, and so how long it takes to wake, depends on how long nothing happened.
pub const IDLE: Duration = Duration::from_micros(200);

/// Spins for [`IDLE`].
pub fn idle() {
    let start = Instant::now();
    while start.elapsed() < IDLE {
        spin_hint();
    }
}

/// A bare futex wait and wake.
#[derive(Debug)]
pub struct FutexWake {
    region: Region,
    /// The word that the sleeper sleeps on.
    awaited: usize,
    relay: Option<Relay>,
    rounds: u64,
    ticker: Ticker,
    recorder: Recorder,
}

impl FutexWake {
    /// Over [`BYTES`] zeroed bytes.
    #[must_use]
    pub fn new(region: Region) -> Self {
        Self { region, awaited: SIGNAL, relay: None, rounds: 0, ticker: Ticker::best(), recorder: Recorder::default() }
    }

    /// The same, with a second thread that is woken first, and wakes the sleeper.
    #[must_use]
    pub fn through_a_second_thread(self) -> Self {
        Self { awaited: RELAYED, ..self }
    }

    fn wake(&mut self, watch: &Watch<'_>) -> anyhow::Result<()> {
        let round = self.rounds;
        let words = &self.region;
        watch.until(|| words.word(ASLEEP).load(Acquire) == round)?;
        idle();
        let stamp = self.ticker.now();
        words.word(SIGNAL).store(round, Release);
        let woken = futex::wake(words, SIGNAL, 1);
        watch.until(|| words.word(WOKEN).load(Acquire) == round)?;
        if woken > 0 {
            let ticks = words.word(WOKEN_TICKS).load(Relaxed);
            self.recorder.record(ticks.saturating_sub(stamp));
        }
        Ok(())
    }

    fn sleep(&self, watch: &Watch<'_>) -> anyhow::Result<()> {
        let (round, awaited) = (self.rounds, self.awaited);
        let words = &self.region;
        words.word(ASLEEP).store(round, Release);
        while words.word(awaited).load(Acquire) != round {
            // The futex compares the low half.
            futex::wait(words, awaited, (round - 1) as u32, Some(NAP));
            if words.word(awaited).load(Acquire) != round {
                watch.check()?;
            }
        }
        words.word(WOKEN_TICKS).store(self.ticker.now(), Relaxed);
        words.word(WOKEN).store(round, Release);
        Ok(())
    }
}

impl Lane for FutexWake {
    fn name(&self) -> String {
        let how = if self.awaited == RELAYED { "two bare futex wakes" } else { "bare futex wake" };
        how.to_owned()
    }

    fn kind(&self) -> Kind {
        Kind::Sampled
    }

    fn count_max(&self) -> u64 {
        1_000
    }

    fn initiator(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        for _ in 0..count {
            self.rounds += 1;
            self.wake(watch)?;
        }
        Ok(Some(self.recorder.take()))
    }

    fn responder(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        if self.awaited == RELAYED && self.relay.is_none() {
            self.relay = Some(Relay::start(self.region.clone())?);
        }
        for _ in 0..count {
            self.rounds += 1;
            self.sleep(watch)?;
        }
        Ok(None)
    }
}

/// The second thread, which ends with this.
#[derive(Debug)]
struct Relay {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// On the core of whoever calls this.
    fn start(words: Region) -> std::io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let run = move || {
            let mut relayed = words.word(RELAYED).load(Acquire);
            while !ends.load(Relaxed) {
                let signal = words.word(SIGNAL).load(Acquire);
                if signal == relayed {
                    futex::wait(&words, SIGNAL, signal as u32, Some(NAP));
                } else {
                    words.word(RELAYED).store(signal, Release);
                    futex::wake(&words, RELAYED, 1);
                    relayed = signal;
                }
            }
        };
        let thread = thread::Builder::new().name("relay".to_owned()).spawn(run)?;
        Ok(Self { is_over, thread: Some(thread) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        // It wakes within a nap; a panic in it has been printed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
