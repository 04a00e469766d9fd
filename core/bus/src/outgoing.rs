//! A message with extensions: put together field by field, then published.

use crate::error::PublishError;
use crate::name;
use crate::payload::Payload;
use crate::publisher::{OnFull, Publisher};
use memlane_ring::ClaimError;
use memlane_ring::extension::{ExtensionError, Source, TraceContext};
use std::time::Duration;

/// A message that is being given headers and other fields: each of these once, headers as many as there is room for.
///
/// ```
/// use memlane::TraceContext;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let root = memlane::doc_root();
/// # let bus = memlane::Bus::builder("fields").root(&root).open()?;
/// # let topic = bus.topic("orders.requests")?.open_or_create()?;
/// # let mut subscriber = topic.subscriber::<[u8]>().open()?;
/// # let mut publisher = topic.publisher::<[u8]>().open()?;
/// let trace: TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse()?;
/// let request = publisher.message().key(b"order 17")?.correlation_id(17)?.reply_to("orders.replies")?;
/// request.trace_context(trace)?.content_type("application/json")?.publish(b"{}")?;
///
/// let request = subscriber.receive()?;
/// assert_eq!(request.key()?, Some(&b"order 17"[..]));
/// assert_eq!((request.correlation_id()?, request.reply_to()?), (Some(17), Some("orders.replies")));
/// assert_eq!(request.trace_context()?, Some(trace));
/// assert_eq!(request.schema_id()?, None);
/// # Ok(())
/// # }
/// ```
///
/// Cost of a field: its bytes and 4 more in the message, copied twice; no allocation once the publisher is warm. All of them
/// together take at most 64 KiB, and count as part of the payload where its length is bounded.
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

    /// Says what the message is about, in any bytes: what [`Filter::key`](crate::Filter::key) asks for.
    ///
    /// Errors: [`PublishError::Extension`].
    pub fn key(self, key: &[u8]) -> Result<Self, PublishError> {
        self.publisher.block.key(key)?;
        Ok(self)
    }

    /// Says which request or conversation the message belongs to: a number of the application's, a UUID, or a client and a count.
    ///
    /// Errors: [`PublishError::Extension`].
    pub fn correlation_id(self, id: u128) -> Result<Self, PublishError> {
        self.publisher.block.correlation_id(id)?;
        Ok(self)
    }

    /// Says on which topic of the bus an answer is awaited.
    ///
    /// Errors: [`PublishError::Extension`]; `Name` if it can't be a topic's name.
    pub fn reply_to(self, topic: &str) -> Result<Self, PublishError> {
        name::check(topic).map_err(|_| ExtensionError::Name)?;
        self.publisher.block.reply_topic(topic)?;
        Ok(self)
    }

    /// Says which trace the message belongs to, and below which span.
    ///
    /// Errors: [`PublishError::Extension`]; `TraceContext` if one of its ids is all zero.
    pub fn trace_context(self, context: TraceContext) -> Result<Self, PublishError> {
        self.publisher.block.trace_context(context)?;
        Ok(self)
    }

    /// Adds what tracing systems on the way want passed on: the text of a `tracestate` header, which is not looked into.
    ///
    /// Errors: [`PublishError::Extension`].
    pub fn trace_state(self, state: &str) -> Result<Self, PublishError> {
        self.publisher.block.trace_state(state)?;
        Ok(self)
    }

    /// Says what kind of bytes the payload is: a media type such as `application/json`, which is not looked into.
    ///
    /// Errors: [`PublishError::Extension`].
    pub fn content_type(self, content_type: &str) -> Result<Self, PublishError> {
        self.publisher.block.content_type(content_type)?;
        Ok(self)
    }

    /// Says which schema the payload follows, by the number that a registry gave it.
    ///
    /// Errors: [`PublishError::Extension`].
    pub fn schema_id(self, id: u64) -> Result<Self, PublishError> {
        self.publisher.block.schema_id(id)?;
        Ok(self)
    }

    /// Says who sent the message, by a name that outlives the process, and its number among the messages of that source.
    ///
    /// Nobody checks that the numbers grow, or that only one publisher uses the name: [`SourcePublisher`](crate::SourcePublisher) does both.
    /// Errors: [`PublishError::Extension`]; `Name` if the name isn't like a topic's.
    pub fn source(self, name: &str, sequence: u64) -> Result<Self, PublishError> {
        name::check(name).map_err(|_| ExtensionError::Name)?;
        self.publisher.block.source(Source { name, sequence })?;
        Ok(self)
    }

    /// Publishes it; returns its position. Where there is no room, does what the publisher chose with
    /// [`on_full`](crate::PublisherBuilder::on_full).
    ///
    /// Errors: as for [`Publisher::publish`].
    pub fn publish(self, message: &P) -> Result<u64, PublishError> {
        let Publisher { log, wait, on_full, scratch, block, .. } = self.publisher;
        let extensions = block.finish(log.geometry().payload_align);
        let payload = message.encode(scratch)?;
        match (log.publish(extensions, payload), *on_full) {
            (Err(ClaimError::Full), OnFull::Wait(longest)) => {
                Ok(log.publish_waiting(extensions, payload, *wait, Some(longest))?)
            }
            (outcome, _) => Ok(outcome?),
        }
    }

    /// As [`OutgoingMessage::publish`], but waits up to `timeout` for room.
    ///
    /// Errors: [`PublishError`]; `Full` if the time was up.
    pub fn publish_within(self, message: &P, timeout: Duration) -> Result<u64, PublishError> {
        let Publisher { log, wait, scratch, block, .. } = self.publisher;
        let extensions = block.finish(log.geometry().payload_align);
        let payload = message.encode(scratch)?;
        match log.publish(extensions, payload) {
            Err(error) if error.passes() => Ok(log.publish_waiting(extensions, payload, *wait, Some(timeout))?),
            other => Ok(other?),
        }
    }
}
