//! Named sources: publishers whose messages are numbered for ever, so that whoever comes back goes on where it stopped.

use crate::error::{OpenError, PublishError};
use crate::name::{self, NameError};
use crate::outgoing::OutgoingMessage;
use crate::payload::Payload;
use crate::publisher::{Publisher, PublisherBuilder};
use memlane_ring::Seat;
use std::time::Duration;

/// Publishes messages of type `P` under a name, each with the next number: [`Received::source`](crate::Received::source) gives both.
///
/// The name is its alone: as long as it lives, another publisher of that name is refused. When it comes back, after whatever end, it learns
/// the number of its last message from the log, so that it can go on without a repeat or a gap:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let root = memlane::doc_root();
/// # let topic = memlane::Bus::builder("source").root(&root).open()?.topic("fills")?.open_or_create()?;
/// let fills = ["100 @ 99.5", "50 @ 99.6", "75 @ 99.4"];
/// let mut feed = topic.publisher::<[u8]>().open_source("venue.a")?;
/// feed.publish(fills[0].as_bytes())?;
/// drop(feed);
///
/// // … a restart, or a crash …
/// let mut feed = topic.publisher::<[u8]>().open_source("venue.a")?;
/// for fill in &fills[feed.last_sequence() as usize..] {
///     feed.publish(fill.as_bytes())?;
/// }
/// assert_eq!(feed.last_sequence(), 3);
/// # Ok(())
/// # }
/// ```
///
/// The topic remembers the name, and how far it got, for as long as the topic is there, also past what the log still holds.
#[derive(Debug)]
pub struct SourcePublisher<P: ?Sized> {
    publisher: Publisher<P>,
    name: String,
    last_sequence: u64,
    /// Given back after the publisher's place.
    _seat: Seat,
}

impl<P: ?Sized + Payload> PublisherBuilder<'_, P> {
    /// Opens the publisher under the name of a source: a name as topics have, of up to 120 bytes.
    ///
    /// A topic keeps at most 12 names, and one more for each of its many publishers. Where it has any, whoever makes room looks at each frame once more.
    /// Cost: as for [`PublisherBuilder::open`], and a look at each frame that is in the log. Errors: [`OpenError`]; in
    /// [`TopicError::SourceTaken`](crate::TopicError::SourceTaken) somebody uses the name.
    pub fn open_source(self, name: &str) -> Result<SourcePublisher<P>, OpenError> {
        name::check(name).map_err(|NameError { name, reason }| OpenError::SourceName { name, reason })?;
        let seat = self.topic().log().seat(name)?;
        let mut publisher = self.open()?;
        let last_sequence = publisher.log.last_sequence(&seat).map_err(OpenError::Log)?;
        Ok(SourcePublisher { publisher, name: name.to_owned(), last_sequence, _seat: seat })
    }
}

impl<P: ?Sized + Payload> SourcePublisher<P> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of its last message; zero before the first, which gets 1.
    #[must_use]
    pub fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// Publishes a message with the next number; returns its position. Never waits.
    ///
    /// Cost: that of a publish with two fields. Errors: [`PublishError`]; nothing was published, and the number isn't used up.
    pub fn publish(&mut self, message: &P) -> Result<u64, PublishError> {
        self.publish_with(Ok, message, None)
    }

    /// As [`SourcePublisher::publish`], but waits up to `timeout` for room.
    ///
    /// Errors: [`PublishError`]; `Full` if the time was up.
    pub fn publish_within(&mut self, message: &P, timeout: Duration) -> Result<u64, PublishError> {
        self.publish_with(Ok, message, Some(timeout))
    }

    /// Publishes a message with the next number and the fields that `add` gives it; waits up to `timeout` for room, if there is one.
    ///
    /// Errors: [`PublishError`]; nothing was published, and the number isn't used up.
    pub fn publish_with<'a>(
        &'a mut self,
        add: impl FnOnce(OutgoingMessage<'a, P>) -> Result<OutgoingMessage<'a, P>, PublishError>,
        message: &P,
        timeout: Option<Duration>,
    ) -> Result<u64, PublishError> {
        let next = self.last_sequence + 1;
        let outgoing = add(self.publisher.message().source(&self.name, next)?)?;
        let position = match timeout {
            Some(timeout) => outgoing.publish_within(message, timeout)?,
            None => outgoing.publish(message)?,
        };
        self.last_sequence = next;
        Ok(position)
    }

    /// Goes on as if the last message had had the number `sequence`, which isn't below the last one's: for sources that number their
    /// messages themselves, and leave numbers out.
    ///
    /// # Panics
    /// If it is below.
    pub fn skip_to(&mut self, sequence: u64) {
        assert!(sequence >= self.last_sequence, "{sequence} is below the last number, {}", self.last_sequence);
        self.last_sequence = sequence;
    }
}
