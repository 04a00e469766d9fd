//! Messages one way at a rate that the clock sets: what [`OpenLoop`](crate::bench::open_loop::OpenLoop) sends over.

use super::{End, Side, Stage, TopicShape, size_text};
use crate::bench::open_loop::OneWay;
use crate::bench::reference::payload::{Messages, sum_of_words};

/// Bytes of the time at which a message was due, which begins its payload.
const STAMP_BYTES: usize = 8;

/// A topic, from the first core to the second, for messages `M` of 8 bytes at least.
#[derive(Debug)]
pub struct LogWay<M> {
    shape: TopicShape,
    end: End,
    payloads: M,
    /// A message with its time in front.
    stamped: Vec<u8>,
}

impl<M: Messages> LogWay<M> {
    /// # Errors
    /// If the topic can't be opened.
    pub fn new(stage: &mut Stage, shape: TopicShape, payloads: M) -> anyhow::Result<Self> {
        let stamped = vec![0; payloads.bytes()];
        Ok(Self { shape, end: stage.end(&shape, Side::Initiator)?, payloads, stamped })
    }
}

impl<M: Messages> OneWay for LogWay<M> {
    fn title(&self) -> String {
        format!("{} {}", self.shape.title(), size_text(self.payloads.bytes()))
    }

    fn send(&mut self, sequence: u64, scheduled_ticks: u64) -> anyhow::Result<bool> {
        // A constant length where the size of the messages is one.
        let message = &mut self.stamped[..self.payloads.bytes()];
        message.copy_from_slice(self.payloads.message(sequence));
        message[..STAMP_BYTES].copy_from_slice(&scheduled_ticks.to_le_bytes());
        match self.end.publisher().publish(message) {
            Ok(_) => Ok(true),
            Err(error) if error.is_full() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&mut self) -> anyhow::Result<Option<u64>> {
        let Some(sample) = self.end.subscriber().try_receive()? else { return Ok(None) };
        let Some(stamp) = sample.first_chunk::<STAMP_BYTES>() else { anyhow::bail!("a message was cut") };
        std::hint::black_box(sum_of_words(&sample));
        Ok(Some(u64::from_le_bytes(*stamp)))
    }
}
