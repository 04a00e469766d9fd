//! Throughput: messages one way, nothing lost, every byte read.
//!
//! After a look that found nothing the subscriber pauses 256 times, some microseconds, so that it does not follow on the
//! publisher's heels (see [`crate::bench::reference::ring`], which has readers as patient to compare with).

use super::fanout::batch_text;
use super::{End, Side, Stage, TopicShape, size_text};
use crate::bench::lane::{Kind, Lane, Watch};
use crate::bench::latencies::Recorded;
use crate::bench::reference::payload::{Messages, sum_of_words};
use crate::bench::reference::ring::PAUSES_PATIENT;
use memlane::PublishError;

/// Messages that are received in one call, at most.
const RECEIVED_AT_ONCE: usize = 64;

/// Messages `M` one way, in batches of `batch` messages or one by one (1).
#[derive(Debug)]
pub struct Stream<M> {
    shape: TopicShape,
    batch: usize,
    end: End,
    payloads: M,
    done: u64,
}

impl<M: Messages> Stream<M> {
    /// # Errors
    /// If the topic can't be opened.
    pub fn new(stage: &mut Stage, shape: TopicShape, batch: usize, payloads: M) -> anyhow::Result<Self> {
        let end = stage.end(&shape, Side::Initiator)?;
        Ok(Self { shape, batch, end, payloads, done: 0 })
    }

    fn send_one_by_one(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<()> {
        let publisher = self.end.publisher();
        for sequence in self.done..self.done + count {
            let payload = self.payloads.message(sequence);
            let mut outcome = publisher.publish(payload);
            if matches!(outcome, Err(error) if error.is_full()) {
                watch.until(|| {
                    outcome = publisher.publish(payload);
                    !matches!(outcome, Err(error) if error.is_full())
                })?;
            }
            outcome?;
        }
        Ok(())
    }

    fn send_batches(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<()> {
        let publisher = self.end.publisher();
        let mut messages: Vec<&[u8]> = Vec::with_capacity(self.batch);
        let (mut next, end) = (self.done, self.done + count);
        while next < end {
            messages.clear();
            let in_batch = (end - next).min(self.batch as u64);
            messages.extend((next..next + in_batch).map(|sequence| self.payloads.message(sequence)));
            let mut outcome: Result<usize, PublishError> = publisher.publish_batch(&messages);
            if matches!(outcome, Err(error) if error.is_full()) {
                watch.until(|| {
                    outcome = publisher.publish_batch(&messages);
                    !matches!(outcome, Err(error) if error.is_full())
                })?;
            }
            next += outcome? as u64;
        }
        Ok(())
    }
}

impl<M: Messages> Lane for Stream<M> {
    fn name(&self) -> String {
        let (size, batch) = (size_text(self.payloads.bytes()), batch_text(self.batch));
        format!("{} {size}{batch}, cell {}", self.shape.title(), self.shape.cell_bytes)
    }

    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn initiator(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        if self.batch == 1 {
            self.send_one_by_one(count, watch)?
        } else {
            self.send_batches(count, watch)?
        }
        self.done += count;
        Ok(None)
    }

    fn responder(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let subscriber = self.end.subscriber();
        let (mut received, mut sum, mut failure) = (0, 0_u64, None);
        while received < count {
            watch.poll::<PAUSES_PATIENT>(|| {
                let most = RECEIVED_AT_ONCE.min((count - received) as usize);
                let outcome = subscriber.receive_batch(most, |message| match message {
                    Ok(message) => sum = sum.wrapping_add(sum_of_words(message.view)),
                    Err(error) => failure = Some(error),
                });
                let found = outcome.as_ref().is_ok_and(|found| *found == 0);
                match outcome {
                    Ok(found) => received += found as u64,
                    Err(error) => failure = Some(error),
                }
                !found
            })?;
            if let Some(error) = failure {
                return Err(error.into());
            }
        }
        anyhow::ensure!(
            sum == self.payloads.sum(self.done, count),
            "{}: what was read is not what was sent",
            self.name()
        );
        self.done += count;
        Ok(None)
    }
}
