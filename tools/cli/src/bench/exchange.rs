//! The protocol of the two processes: which lane runs next, for how many operations, and what came of it.
//!
//! ```text
//!   initiator, first core: Conductor                 responder, second core: follow()
//!   lane, count; command := n ──────COMMAND────────>  sees n
//!   sees n  <───────────────────────BEGUN───────────  begun := n, enters Lane::responder
//!   Lane::initiator, timed  <────── the lane ──────>
//!   sees n  <───────────────────────DONE────────────  latencies, state; done := n
//! ```
//!
//! Each arrow is a store with release and a load with acquire of one word of the control file; the words before it
//! belong to it. The responder spins between batches, so that a batch begins with both cores awake.
//! A responder that fails says why on standard error and ends; the conductor finds its process gone.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::Duration;

use memlane_shm::clock::Ticker;
use memlane_shm::sync::Ordering::{Acquire, Relaxed, Release};
use memlane_shm::{Access, MapOptions, Region, Segment, SegmentOptions};

use super::lane::{Kind, Lane, Watch};
use super::latencies::{PAIRS_MAX, Recorded};
use super::machine::{self, Cores, PeerCommand, PeerProcess, Pinned};

/// How long either side waits for the other before it gives up: for one batch, or for the next command.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Why the two processes could not work together.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The peer ended in the middle; its own message tells why, unless it was killed.
    #[error("the peer process ended too early ({ending}); see its message, if it left one")]
    PeerDied {
        /// Exit code or signal.
        ending: String,
    },
    /// The peer lives but does not answer: the machine is overloaded, or a lane waits for what never comes.
    #[error("the peer process did not answer within {seconds} s")]
    Deadline {
        /// How long it had.
        seconds: u64,
    },
    /// The two processes hold different lists of lanes: a mistake of whoever made the lists.
    #[error("the peer process prepared other lanes than this one")]
    Mismatch,
    /// A command names no lane: a mistake of whoever gave it.
    #[error("there is no lane number {lane}")]
    NoSuchLane {
        /// The number that was asked for.
        lane: usize,
    },
    /// More latencies than the control file has room for.
    #[error("a batch of {lane:?} recorded more different latencies than can be handed over")]
    TooManyLatencies {
        /// Its name.
        lane: String,
    },
}

/// Name of the control file in the directory of a measurement.
const FILE: &str = "control";

// Offsets of its words, in bytes. Each group that one side writes and the other polls has two lines of its own.
const COMMAND: usize = 0;
const LANE: usize = 8;
const COUNT: usize = 16;
const BEGUN: usize = 128;
const DONE: usize = 256;
const PAIRS: usize = 264;
const PARENT: usize = 384;
const CORE: usize = 392;
const READY: usize = 512;
const FIRST_PAIR: usize = 1024;

const PAIR_BYTES: usize = 16;
const FILE_BYTES: usize = FIRST_PAIR + PAIRS_MAX * PAIR_BYTES;

/// Stands in the word of the lane when there is nothing more to do.
const QUIT: u64 = u64::MAX;

/// A number that both processes find for the same lists of lanes, and no zero.
fn fingerprint(lanes: &[Box<dyn Lane>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for lane in lanes {
        (lane.name(), lane.kind()).hash(&mut hasher);
    }
    hasher.finish() | 1
}

/// What came of one batch.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Its time in ticks; where it ends depends on the kind of its lane.
    pub elapsed_ticks: u64,
    /// Its latencies, if one side recorded them.
    pub recorded: Option<Recorded>,
}

/// The side that says what runs: it holds its half of the lanes, the peer process and the control file.
pub struct Conductor {
    lanes: Vec<Box<dyn Lane>>,
    // Goes before the pin, so that this thread still has its core while the peer dies.
    peer: PeerProcess,
    _pinned: Pinned,
    control: Segment,
    sequence: u64,
    ticker: Ticker,
    patience: Duration,
}

impl std::fmt::Debug for Conductor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Conductor")
            .field("peer", &self.peer)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl Conductor {
    /// Pins this thread, starts the peer, which must call [`follow`] with `directory` and the same list of lanes, and
    /// waits until it is ready.
    ///
    /// What the lanes share must lie in `directory` before the call.
    ///
    /// # Errors
    /// Of the machine, of the control file, and [`ExchangeError`].
    pub fn start(
        directory: &Path,
        cores: Cores,
        command: &PeerCommand,
        lanes: Vec<Box<dyn Lane>>,
    ) -> anyhow::Result<Self> {
        let options = SegmentOptions { map: prefaulted(), ..SegmentOptions::default() };
        let control = Segment::create(&directory.join(FILE), FILE_BYTES as u64, &options)?;
        let words = control.region();
        words.word(CORE).store(cores.responder as u64, Relaxed);
        let id = u64::from(std::process::id());
        // Published to the peer by its start.
        words.word(PARENT).store(id, Release);
        let pinned = Pinned::to(cores.initiator)?;
        let peer = PeerProcess::start(command)?;
        let ready = words.word(READY);
        Watch::new(Some(&peer), PATIENCE).until(|| ready.load(Acquire) != 0)?;
        if ready.load(Acquire) != fingerprint(&lanes) {
            return Err(ExchangeError::Mismatch.into());
        }
        Ok(Self { lanes, peer, _pinned: pinned, control, sequence: 0, ticker: Ticker::best(), patience: PATIENCE })
    }

    /// Its lanes, in the order of the list.
    #[must_use]
    pub fn lanes(&self) -> &[Box<dyn Lane>] {
        &self.lanes
    }

    /// Runs one batch of the lane with number `lane` in both processes.
    ///
    /// # Errors
    /// [`ExchangeError`], and those of the lane. None can be recovered from: the two sides may be out of step.
    pub fn run(&mut self, lane: usize, count: u64) -> anyhow::Result<Turn> {
        let number = lane;
        let Some(lane) = self.lanes.get_mut(number) else {
            return Err(ExchangeError::NoSuchLane { lane: number }.into());
        };
        self.sequence += 1;
        let sequence = self.sequence;
        let words = self.control.region();
        let (begun, done) = (words.word(BEGUN), words.word(DONE));
        words.word(LANE).store(number as u64, Relaxed);
        words.word(COUNT).store(count, Relaxed);
        let watch = Watch::new(Some(&self.peer), self.patience);
        // COMMAND (release) pairs with the load of `command` in `follow`.
        words.word(COMMAND).store(sequence, Release);
        // BEGUN (acquire) pairs with its store in `follow`.
        watch.until(|| begun.load(Acquire) == sequence)?;
        let start = self.ticker.now();
        let own = lane.initiator(count, &watch)?;
        let returned = self.ticker.now();
        // DONE (acquire) pairs with its store in `follow`.
        watch.until(|| done.load(Acquire) == sequence)?;
        let end = match lane.kind() {
            Kind::Stream => self.ticker.now(),
            Kind::Handoff | Kind::Alone | Kind::Sampled => returned,
        };
        let elapsed_ticks = lane.timed_ticks().unwrap_or(end.saturating_sub(start));
        Ok(Turn { elapsed_ticks, recorded: own.or_else(|| read_pairs(words)) })
    }

    /// Lets the peer end and waits for it.
    ///
    /// # Errors
    /// [`ExchangeError::PeerDied`] if it ends with a failure.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.sequence += 1;
        let words = self.control.region();
        words.word(LANE).store(QUIT, Relaxed);
        words.word(COMMAND).store(self.sequence, Release);
        // Its end is the answer.
        let watch = Watch::new(None, self.patience);
        watch.until(|| self.peer.ending().is_some())?;
        let status = self.peer.wait()?;
        if status.success() {
            return Ok(());
        }
        let ending = status.to_string();
        Err(ExchangeError::PeerDied { ending }.into())
    }
}

/// The peer's whole life: dies with its parent, pins itself, makes its lanes and runs what the conductor says.
///
/// # Errors
/// Of the machine, the control file and the lanes. The caller prints it and ends with a failure.
pub fn follow(directory: &Path, make_lanes: impl FnOnce() -> anyhow::Result<Vec<Box<dyn Lane>>>) -> anyhow::Result<()> {
    let control = Segment::open(&directory.join(FILE), Access::ReadWrite, &prefaulted())?;
    let words = control.region();
    let parent = u32::try_from(words.word(PARENT).load(Acquire)).unwrap_or(0);
    machine::die_with_parent(parent)?;
    let core = usize::try_from(words.word(CORE).load(Relaxed));
    let _pinned = Pinned::to(core.unwrap_or(usize::MAX))?;
    let mut lanes = make_lanes()?;
    words.word(READY).store(fingerprint(&lanes), Release);
    let command = words.word(COMMAND);
    let mut sequence = 0;
    loop {
        let seen = sequence;
        let watch = Watch::new(None, PATIENCE);
        // COMMAND (acquire) pairs with its store in `Conductor`.
        watch.until(|| {
            sequence = command.load(Acquire);
            sequence != seen
        })?;
        let number = words.word(LANE).load(Relaxed);
        if number == QUIT {
            return Ok(());
        }
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let count = words.word(COUNT).load(Relaxed);
        let Some(lane) = lanes.get_mut(number) else {
            return Err(ExchangeError::NoSuchLane { lane: number }.into());
        };
        let watch = Watch::new(None, PATIENCE);
        // BEGUN (release) pairs with its load in `Conductor::run`.
        words.word(BEGUN).store(sequence, Release);
        let recorded = lane.responder(count, &watch)?;
        write_pairs(words, recorded.as_ref(), &lane.name())?;
        // DONE (release) pairs with its load in `Conductor::run`.
        words.word(DONE).store(sequence, Release);
    }
}

fn prefaulted() -> MapOptions {
    MapOptions { prefault: true, ..MapOptions::default() }
}

fn write_pairs(words: &Region, recorded: Option<&Recorded>, lane: &str) -> Result<(), ExchangeError> {
    let pairs = recorded.map_or(&[][..], Recorded::pairs);
    if pairs.len() > PAIRS_MAX {
        return Err(ExchangeError::TooManyLatencies { lane: lane.to_owned() });
    }
    for (index, (ticks, count)) in pairs.iter().enumerate() {
        let offset = FIRST_PAIR + index * PAIR_BYTES;
        words.word(offset).store(*ticks, Relaxed);
        words.word(offset + 8).store(*count, Relaxed);
    }
    words.word(PAIRS).store(pairs.len() as u64, Relaxed);
    Ok(())
}

fn read_pairs(words: &Region) -> Option<Recorded> {
    let pairs = usize::try_from(words.word(PAIRS).load(Relaxed)).ok()?;
    let pairs = (0..pairs.min(PAIRS_MAX)).map(|index| {
        let offset = FIRST_PAIR + index * PAIR_BYTES;
        let (ticks, count) = (words.word(offset), words.word(offset + 8));
        (ticks.load(Relaxed), count.load(Relaxed))
    });
    let recorded = Recorded::from_pairs(pairs.collect());
    (recorded.samples() > 0).then_some(recorded)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str, Kind);

    impl Lane for Named {
        fn name(&self) -> String {
            self.0.to_owned()
        }

        fn kind(&self) -> Kind {
            self.1
        }

        fn initiator(&mut self, _: u64, _: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
            Ok(None)
        }

        fn responder(&mut self, _: u64, _: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
            Ok(None)
        }
    }

    #[test]
    fn lists_of_lanes_are_told_apart_by_name_kind_and_order() {
        let list = |names: &[(&'static str, Kind)]| {
            let lanes: Vec<Box<dyn Lane>> =
                names.iter().map(|(name, kind)| Box::new(Named(name, *kind)) as Box<dyn Lane>).collect();
            fingerprint(&lanes)
        };
        let (a, b) = (("a", Kind::Stream), ("b", Kind::Stream));
        assert_eq!(list(&[a, b]), list(&[a, b]));
        assert_ne!(list(&[a, b]), list(&[b, a]));
        assert_ne!(list(&[a]), list(&[("a", Kind::Handoff)]));
        assert_ne!(list(&[]), 0);
    }

    #[test]
    fn latencies_cross_the_control_file_unchanged() {
        let words = Region::private(FILE_BYTES);
        assert_eq!(read_pairs(&words), None);
        let recorded = Recorded::from_pairs(vec![(7, 3), (9, 1)]);
        write_pairs(&words, Some(&recorded), "lane").unwrap();
        assert_eq!(read_pairs(&words), Some(recorded));
        write_pairs(&words, None, "lane").unwrap();
        assert_eq!(read_pairs(&words), None);
    }

    #[test]
    fn a_batch_with_too_many_latencies_is_refused() {
        let words = Region::private(FILE_BYTES);
        let pairs = (0..=PAIRS_MAX as u64).map(|ticks| (ticks, 1)).collect();
        let refused = write_pairs(&words, Some(&Recorded::from_pairs(pairs)), "lane");
        assert!(matches!(refused, Err(ExchangeError::TooManyLatencies { .. })));
    }
}
