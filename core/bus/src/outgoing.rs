//! A message with extensions: put together field by field, then published.

use crate::error::PublishError;
use crate::payload::Payload;
use crate::publisher::Publisher;
use memlane_ring::ClaimError;
use std::time::Duration;

/// A message that is being given headers.
#[derive(Debug)]
pub struct OutgoingMessage<'a, P: ?Sized> {
    publisher: &'a mut Publisher<P>,
}

impl<'a, P: ?Sized + Payload> OutgoingMessage<'a, P> {
    /// The publisher's block holds the fields; it has none yet.
    pub(crate) fn new(publisher: &'a mut Publisher<P>) -> Self {
        Self { publisher }
    }

    /// Adds a header: a key of 1 to 255 bytes, and a value.
    ///
    /// Errors: [`PublishError::Extension`].
    pub fn header(self, key: &str, value: &[u8]) -> Result<Self, PublishError> {
        self.publisher.block.user_header(key, value)?;
        Ok(self)
    }

    /// Publishes it; returns its position.
    ///
    /// Errors: as for [`Publisher::publish`].
    pub fn publish(self, message: &P) -> Result<u64, PublishError> {
        let Publisher { log, scratch, block, .. } = self.publisher;
        let payload_align = log.geometry().payload_align;
        Ok(log.publish(block.finish(payload_align), message.encode(scratch)?)?)
    }

    /// As [`OutgoingMessage::publish`], but waits up to `timeout` for room.
    ///
    /// Errors: [`PublishError`]; `Full` if the time was up.
    pub fn publish_within(self, message: &P, timeout: Duration) -> Result<u64, PublishError> {
        let Publisher { log, wait, scratch, block, .. } = self.publisher;
        let extensions = block.finish(log.geometry().payload_align);
        let payload = message.encode(scratch)?;
        match log.publish(extensions, payload) {
            Err(ClaimError::Full) => Ok(log.publish_waiting(extensions, payload, *wait, Some(timeout))?),
            other => Ok(other?),
        }
    }
}
