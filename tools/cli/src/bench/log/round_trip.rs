//! Latency: a message there and one back, over two topics.

use super::{End, Side, Stage, TopicShape, size_text};
use crate::bench::lane::{Kind, Lane, Watch};
use crate::bench::latencies::{Recorded, Recorder};
use crate::bench::reference::payload::sum_of_words;
use memlane::{Publisher, Subscriber};
use memlane_shm::clock::Ticker;
use std::time::Duration;

/// What is done with a message's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// Written and read whole.
    Whole,
    /// In a loan that was written before; the first eight bytes are written and read.
    Touched,
}

/// Round trips over two topics, with payloads of `WORDS` times eight bytes.
#[derive(Debug)]
pub struct RoundTrips<const WORDS: usize> {
    shape: TopicShape,
    handling: Handling,
    forth: End,
    back: End,
    number: u64,
    /// If latencies are recorded, and not only the time of a batch.
    by_hop: Option<ByHop>,
}

#[derive(Debug)]
struct ByHop {
    ticker: Ticker,
    stamps: Vec<u64>,
    recorder: Recorder,
}

impl<const WORDS: usize> RoundTrips<WORDS> {
    /// # Errors
    /// If a topic can't be opened.
    pub fn new(stage: &mut Stage, shape: TopicShape, handling: Handling) -> anyhow::Result<Self> {
        Ok(Self {
            shape,
            handling,
            forth: stage.end(&shape, Side::Initiator)?,
            back: stage.end(&shape, Side::Responder)?,
            number: 0,
            by_hop: None,
        })
    }

    /// The same, with a stamp after each round trip, which is the start of the next too.
    #[must_use]
    pub fn by_hop(mut self) -> Self {
        self.by_hop = Some(ByHop { ticker: Ticker::best(), stamps: Vec::new(), recorder: Recorder::default() });
        self
    }
}

/// Longest wait for an answer; who doesn't answer so long is dead.
const PATIENCE: Duration = Duration::from_secs(10);

#[inline(always)]
fn send<const WORDS: usize>(publisher: &mut Publisher<[u8]>, handling: Handling, number: u64) -> anyhow::Result<()> {
    match handling {
        Handling::Whole => {
            // All of it is written anew for each message.
            let mut payload = [[0; 8]; WORDS];
            payload.fill(number.to_le_bytes());
            publisher.publish(payload.as_flattened())?;
        }
        Handling::Touched => {
            let mut loan = publisher.loan(WORDS * 8)?;
            loan.payload()[..8].copy_from_slice(&number.to_le_bytes());
            loan.publish(WORDS * 8)?;
        }
    }
    Ok(())
}

#[inline(always)]
fn receive<const WORDS: usize>(
    subscriber: &mut Subscriber<[u8]>,
    handling: Handling,
    number: u64,
) -> anyhow::Result<()> {
    let Some(sample) = subscriber.receive_within(PATIENCE)? else { anyhow::bail!("the other side doesn't answer") };
    let bytes = if handling == Handling::Whole { WORDS * 8 } else { 8 };
    let Some(payload) = sample.get(..bytes) else { anyhow::bail!("a message was cut") };
    let expected = number.wrapping_mul(bytes as u64 / 8);
    anyhow::ensure!(sum_of_words(payload) == expected, "what was received is not what was sent");
    Ok(())
}

impl<const WORDS: usize> Lane for RoundTrips<WORDS> {
    fn name(&self) -> String {
        let handling = if self.handling == Handling::Whole { "" } else { ", loan touched" };
        let by_hop = if self.by_hop.is_some() { ", by hop" } else { "" };
        format!("{} {}{handling}{by_hop}", self.shape.title(), size_text(WORDS * 8))
    }

    fn kind(&self) -> Kind {
        Kind::Handoff
    }

    fn initiator(&mut self, count: u64, _: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let Self { handling, forth, back, number, by_hop, .. } = self;
        let (publisher, subscriber) = (forth.publisher(), back.subscriber());
        let Some(by_hop) = by_hop else {
            for _ in 0..count {
                *number += 1;
                send::<WORDS>(publisher, *handling, *number)?;
                receive::<WORDS>(subscriber, *handling, *number)?;
            }
            return Ok(None);
        };
        by_hop.stamps.clear();
        by_hop.stamps.reserve(usize::try_from(count)? + 1);
        by_hop.stamps.push(by_hop.ticker.now());
        for _ in 0..count {
            *number += 1;
            send::<WORDS>(publisher, *handling, *number)?;
            receive::<WORDS>(subscriber, *handling, *number)?;
            by_hop.stamps.push(by_hop.ticker.now());
        }
        by_hop.recorder.record_differences(&by_hop.stamps);
        Ok(Some(by_hop.recorder.take()))
    }

    fn responder(&mut self, count: u64, _: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let Self { handling, forth, back, number, .. } = self;
        let (subscriber, publisher) = (forth.subscriber(), back.publisher());
        for _ in 0..count {
            *number += 1;
            receive::<WORDS>(subscriber, *handling, *number)?;
            send::<WORDS>(publisher, *handling, *number)?;
        }
        Ok(None)
    }
}
