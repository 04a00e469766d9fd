//! The limit of latency: how long one core takes to see what the other stored.
//!
//! ```text
//!   offset 0      FORTH: number of the last round trip begun     stored by the initiator
//!   offset 128    BACK:  number of the last round trip answered  stored by the responder
//! ```
//!
//! Each word has two lines of its own. FORTH (release) and BACK (release) pair with the loads (acquire) of the side that
//! polls them.

use memlane_shm::Region;
use memlane_shm::clock::Ticker;
use memlane_shm::sync::LINE_PAIR_BYTES;
use memlane_shm::sync::Ordering::{Acquire, Release};

use crate::bench::lane::{Kind, Lane, Watch};
use crate::bench::latencies::{Recorded, Recorder};

/// What a handoff needs of the file.
pub const BYTES: usize = 2 * LINE_PAIR_BYTES;

const FORTH: usize = 0;
const BACK: usize = LINE_PAIR_BYTES;

/// The two words and how many round trips they have made.
#[derive(Debug)]
struct Words {
    region: Region,
    round_trips: u64,
}

impl Words {
    /// Begins `count` round trips and waits for each to be answered; `on_answer` runs after each.
    #[inline(always)]
    fn initiate<const PAUSES: usize>(
        &mut self,
        count: u64,
        watch: &Watch<'_>,
        mut on_answer: impl FnMut(),
    ) -> anyhow::Result<()> {
        let (forth, back) = (self.region.word(FORTH), self.region.word(BACK));
        for number in self.round_trips + 1..=self.round_trips + count {
            forth.store(number, Release);
            watch.poll::<PAUSES>(|| back.load(Acquire) == number)?;
            on_answer();
        }
        self.round_trips += count;
        Ok(())
    }

    /// Answers `count` round trips.
    #[inline(always)]
    fn respond<const PAUSES: usize>(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<()> {
        let (forth, back) = (self.region.word(FORTH), self.region.word(BACK));
        for number in self.round_trips + 1..=self.round_trips + count {
            watch.poll::<PAUSES>(|| forth.load(Acquire) == number)?;
            back.store(number, Release);
        }
        self.round_trips += count;
        Ok(())
    }
}

/// How it polls, for names.
fn manner(pauses: usize) -> &'static str {
    match pauses {
        0 => "plain",
        1 => "one pause",
        _ => "some pauses",
    }
}

/// A handoff whose batches are timed as a whole.
#[derive(Debug)]
pub struct Handoff<const PAUSES: usize> {
    words: Words,
}

impl<const PAUSES: usize> Handoff<PAUSES> {
    /// Over [`BYTES`] zeroed bytes.
    #[must_use]
    pub fn new(region: Region) -> Self {
        Self { words: Words { region, round_trips: 0 } }
    }
}

impl<const PAUSES: usize> Lane for Handoff<PAUSES> {
    fn name(&self) -> String {
        format!("raw handoff, {}", manner(PAUSES))
    }

    fn kind(&self) -> Kind {
        Kind::Handoff
    }

    fn initiator(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        self.words.initiate::<PAUSES>(count, watch, || {})?;
        Ok(None)
    }

    fn responder(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        self.words.respond::<PAUSES>(count, watch)?;
        Ok(None)
    }
}

/// A handoff with a stamp after each round trip, which is the start of the next too.
///
/// The clock read is part of what is measured (a few ns per hop), as it is in every lane that records.
#[derive(Debug)]
pub struct ByHop<const PAUSES: usize> {
    words: Words,
    ticker: Ticker,
    stamps: Vec<u64>,
    recorder: Recorder,
}

impl<const PAUSES: usize> ByHop<PAUSES> {
    /// Over [`BYTES`] zeroed bytes.
    #[must_use]
    pub fn new(region: Region) -> Self {
        Self {
            words: Words { region, round_trips: 0 },
            ticker: Ticker::best(),
            stamps: Vec::new(),
            recorder: Recorder::default(),
        }
    }
}

impl<const PAUSES: usize> Lane for ByHop<PAUSES> {
    fn name(&self) -> String {
        format!("raw handoff, {}, by hop", manner(PAUSES))
    }

    fn kind(&self) -> Kind {
        Kind::Handoff
    }

    fn initiator(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let Self { words, ticker, stamps, recorder } = self;
        stamps.clear();
        stamps.reserve(usize::try_from(count)? + 1);
        stamps.push(ticker.now());
        words.initiate::<PAUSES>(count, watch, || stamps.push(ticker.now()))?;
        recorder.record_differences(stamps);
        Ok(Some(recorder.take()))
    }

    fn responder(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        self.words.respond::<PAUSES>(count, watch)?;
        Ok(None)
    }
}
