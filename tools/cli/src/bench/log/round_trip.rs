//! Latency: a message there and one back, over two topics.
//!
//! What a message is, and how it is written and read, its [`Content`] says.

use super::fanout::batch_text;
use super::{End, Side, Stage, TopicShape, size_text};
use crate::bench::lane::{Kind, Lane, Watch};
use crate::bench::latencies::{Recorded, Recorder};
use crate::bench::reference::payload::sum_of_words;
use memlane::{PublishError, Publisher, Subscriber};
use memlane_shm::clock::Ticker;
use memlane_shm::sync::{WORD_BYTES, spin_hint};
use std::time::{Duration, Instant};

/// What crosses in each direction of a round trip, and how.
pub trait Content {
    /// For names: its size and what is done with it.
    fn title(&self) -> String;

    /// Publishes it, written for round trip `number`.
    ///
    /// # Errors
    /// Those of the log.
    fn send(&mut self, publisher: &mut Publisher<[u8]>, number: u64) -> anyhow::Result<()>;

    /// Receives and reads it.
    ///
    /// # Errors
    /// Those of the log; if it doesn't come, or isn't what was sent for round trip `number`.
    fn receive(&mut self, subscriber: &mut Subscriber<[u8]>, number: u64) -> anyhow::Result<()>;
}

/// A message of `WORDS` times eight bytes, written and read whole; copied into the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words<const WORDS: usize>;

/// A message of any size in a loan, where it is written, and read whole.
#[derive(Clone, Copy, Debug)]
pub struct LoanWritten {
    /// Bytes of the message.
    pub bytes: usize,
}

/// A message in a loan that was written before; the first eight bytes are written and read.
#[derive(Clone, Copy, Debug)]
pub struct LoanTouched {
    /// Bytes of the message, 8 at least.
    pub bytes: usize,
}

/// Messages that are published together, each written and read whole.
#[derive(Clone, Debug)]
pub struct Batch {
    messages: Vec<Vec<u8>>,
}

impl Batch {
    /// Of `count` messages of `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize, count: usize) -> Self {
        Self { messages: vec![vec![0; bytes]; count] }
    }
}

/// Round trips over two topics.
#[derive(Debug)]
pub struct RoundTrips<C> {
    shape: TopicShape,
    content: C,
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

impl<C> RoundTrips<C> {
    /// # Errors
    /// If a topic can't be opened.
    pub fn new(stage: &mut Stage, shape: TopicShape, content: C) -> anyhow::Result<Self> {
        Ok(Self {
            shape,
            content,
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
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const SILENCE: &str = "the other side doesn't answer";
pub(super) const CUT: &str = "a message was cut";
pub(super) const CHANGED: &str = "what was received is not what was sent";

/// Writes all of a payload anew.
#[inline(always)]
fn fill(payload: &mut [u8], number: u64) {
    let (words, rest) = payload.as_chunks_mut::<WORD_BYTES>();
    words.fill(number.to_le_bytes());
    rest.copy_from_slice(&number.to_le_bytes()[..rest.len()]);
}

/// The sum of the words of what [`fill`] wrote.
#[inline(always)]
pub(super) fn sum_of_filled(bytes: usize, number: u64) -> u64 {
    let (words, rest) = (bytes / WORD_BYTES, bytes % WORD_BYTES);
    let last = number & ((1 << (rest * 8)) - 1);
    number.wrapping_mul(words as u64).wrapping_add(last)
}

/// Waits for a message and checks the `bytes` of it that are read.
#[inline(always)]
fn receive_and_read(subscriber: &mut Subscriber<[u8]>, bytes: usize, number: u64) -> anyhow::Result<()> {
    let Some(sample) = subscriber.receive_within(PATIENCE)? else { anyhow::bail!(SILENCE) };
    let Some(payload) = sample.get(..bytes) else { anyhow::bail!(CUT) };
    anyhow::ensure!(sum_of_words(payload) == sum_of_filled(bytes, number), CHANGED);
    Ok(())
}

impl<const WORDS: usize> Content for Words<WORDS> {
    fn title(&self) -> String {
        size_text(WORDS * WORD_BYTES)
    }

    #[inline(always)]
    fn send(&mut self, publisher: &mut Publisher<[u8]>, number: u64) -> anyhow::Result<()> {
        // All of it is written anew for each message.
        let mut payload = [[0; WORD_BYTES]; WORDS];
        payload.fill(number.to_le_bytes());
        publisher.publish(payload.as_flattened())?;
        Ok(())
    }

    #[inline(always)]
    fn receive(&mut self, subscriber: &mut Subscriber<[u8]>, number: u64) -> anyhow::Result<()> {
        receive_and_read(subscriber, WORDS * WORD_BYTES, number)
    }
}

impl Content for LoanWritten {
    fn title(&self) -> String {
        format!("{}, loan", size_text(self.bytes))
    }

    fn send(&mut self, publisher: &mut Publisher<[u8]>, number: u64) -> anyhow::Result<()> {
        let mut loan = publisher.loan(self.bytes)?;
        fill(loan.payload(), number);
        loan.publish(self.bytes)?;
        Ok(())
    }

    fn receive(&mut self, subscriber: &mut Subscriber<[u8]>, number: u64) -> anyhow::Result<()> {
        receive_and_read(subscriber, self.bytes, number)
    }
}

impl Content for LoanTouched {
    fn title(&self) -> String {
        format!("{}, loan touched", size_text(self.bytes))
    }

    #[inline(always)]
    fn send(&mut self, publisher: &mut Publisher<[u8]>, number: u64) -> anyhow::Result<()> {
        let mut loan = publisher.loan(self.bytes)?;
        loan.payload()[..WORD_BYTES].copy_from_slice(&number.to_le_bytes());
        loan.publish(self.bytes)?;
        Ok(())
    }

    #[inline(always)]
    fn receive(&mut self, subscriber: &mut Subscriber<[u8]>, number: u64) -> anyhow::Result<()> {
        receive_and_read(subscriber, WORD_BYTES, number)
    }
}

impl Content for Batch {
    fn title(&self) -> String {
        let bytes = self.messages.first().map_or(0, Vec::len);
        format!("{}{}", size_text(bytes), batch_text(self.messages.len()))
    }

    fn send(&mut self, publisher: &mut Publisher<[u8]>, number: u64) -> anyhow::Result<()> {
        self.messages.iter_mut().for_each(|message| fill(message, number));
        let slices: Vec<&[u8]> = self.messages.iter().map(Vec::as_slice).collect();
        let mut sent = 0;
        let mut start = None;
        while sent < slices.len() {
            match publisher.publish_batch(&slices[sent..]) {
                Ok(count) => sent += count,
                Err(error) => be_patient(error, &mut start)?,
            }
        }
        Ok(())
    }

    fn receive(&mut self, subscriber: &mut Subscriber<[u8]>, number: u64) -> anyhow::Result<()> {
        let count = self.messages.len();
        let bytes = self.messages.first().map_or(0, Vec::len);
        let expected = sum_of_filled(bytes, number);
        receive_and_read(subscriber, bytes, number)?;
        let (mut received, mut is_sound, mut start) = (1, true, None);
        while received < count {
            let found = subscriber.receive_batch(count - received, |message| {
                is_sound &=
                    message.is_ok_and(|message| message.view.len() == bytes && sum_of_words(message.view) == expected);
            })?;
            received += found;
            if found == 0 {
                spin_hint();
                let start = start.get_or_insert_with(Instant::now);
                anyhow::ensure!(start.elapsed() < PATIENCE, SILENCE);
            }
        }
        anyhow::ensure!(is_sound, CHANGED);
        Ok(())
    }
}

/// Waits a little if the log is full; fails with any other error, and when that has gone on for too long.
#[cold]
fn be_patient(error: PublishError, start: &mut Option<Instant>) -> anyhow::Result<()> {
    if !error.is_full() {
        return Err(error.into());
    }
    spin_hint();
    anyhow::ensure!(start.get_or_insert_with(Instant::now).elapsed() < PATIENCE, SILENCE);
    Ok(())
}

impl<C: Content> Lane for RoundTrips<C> {
    fn name(&self) -> String {
        let by_hop = if self.by_hop.is_some() { ", by hop" } else { "" };
        format!("{} {}{by_hop}", self.shape.title(), self.content.title())
    }

    fn kind(&self) -> Kind {
        Kind::Handoff
    }

    fn initiator(&mut self, count: u64, _: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let Self { content, forth, back, number, by_hop, .. } = self;
        let (publisher, subscriber) = (forth.publisher(), back.subscriber());
        let Some(by_hop) = by_hop else {
            for _ in 0..count {
                *number += 1;
                content.send(publisher, *number)?;
                content.receive(subscriber, *number)?;
            }
            return Ok(None);
        };
        by_hop.stamps.clear();
        by_hop.stamps.reserve(usize::try_from(count)? + 1);
        by_hop.stamps.push(by_hop.ticker.now());
        for _ in 0..count {
            *number += 1;
            content.send(publisher, *number)?;
            content.receive(subscriber, *number)?;
            by_hop.stamps.push(by_hop.ticker.now());
        }
        by_hop.recorder.record_differences(&by_hop.stamps);
        Ok(Some(by_hop.recorder.take()))
    }

    fn responder(&mut self, count: u64, _: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let Self { content, forth, back, number, .. } = self;
        let (subscriber, publisher) = (forth.subscriber(), back.publisher());
        for _ in 0..count {
            *number += 1;
            content.receive(subscriber, *number)?;
            content.send(publisher, *number)?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_has_the_sum_that_is_expected_of_it() {
        for bytes in [8, 12, 63, 64, 100] {
            let mut payload = vec![0; bytes];
            for number in [1, 300, u64::MAX - 5] {
                fill(&mut payload, number);
                assert_eq!(sum_of_words(&payload), sum_of_filled(bytes, number), "{bytes}");
            }
        }
    }
}
