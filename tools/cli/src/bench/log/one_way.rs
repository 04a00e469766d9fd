//! Messages one way at a rate that the clock sets: what [`OpenLoop`](crate::bench::open_loop::OpenLoop) sends over.

use super::{End, Side, Stage, TopicShape, size_text};
use crate::bench::open_loop::OneWay;
use crate::bench::reference::payload::{Payloads, sum_of_words};

/// Bytes of the time at which a message was due, which begins its payload.
const STAMP_BYTES: usize = 8;

/// A topic, from the first core to the second, for payloads of `PAYLOAD` bytes.
#[derive(Debug)]
pub struct LogWay<const PAYLOAD: usize> {
    shape: TopicShape,
    end: End,
    payloads: Payloads<PAYLOAD>,
}

impl<const PAYLOAD: usize> LogWay<PAYLOAD> {
    /// # Errors
    /// If the topic can't be opened.
    pub fn new(stage: &mut Stage, shape: TopicShape) -> anyhow::Result<Self> {
        Ok(Self { shape, end: stage.end(&shape, Side::Initiator)?, payloads: Payloads::default() })
    }
}

impl<const PAYLOAD: usize> OneWay for LogWay<PAYLOAD> {
    fn title(&self) -> String {
        format!("{} {}", self.shape.title(), size_text(PAYLOAD))
    }

    fn send(&mut self, sequence: u64, scheduled_ticks: u64) -> anyhow::Result<bool> {
        let mut message = *self.payloads.message(sequence);
        message[..STAMP_BYTES].copy_from_slice(&scheduled_ticks.to_le_bytes());
        match self.end.publisher().publish(&message) {
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
