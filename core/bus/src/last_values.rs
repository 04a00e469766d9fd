//! Joining with the last message of each key: a snapshot at a position, and then the log from there.

use crate::backfill::{Backfill, Plan};
use crate::error::{OpenError, ReceiveError};
use crate::raw::{self, Trusted};
use crate::received::Received;
use crate::subscriber::{Reader, Subscriber, SubscriberBuilder};
use core::marker::PhantomData;
use memlane_ring::layout::Geometry;
use memlane_ring::{Kept, LastValues as Values};
use std::fmt;

/// The last message of each key, at a position of the log: what a subscriber would have that had read all messages before that
/// position and none after. A copy, in memory of this process.
///
/// A key whose last message has an empty payload is left out: such a message takes it out.
pub struct LastValues<P: ?Sized> {
    values: Values,
    geometry: Geometry,
    trust: bool,
    payload: PhantomData<fn() -> P>,
}

impl<P: ?Sized> fmt::Debug for LastValues<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("LastValues");
        debug.field("position", &self.position()).field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<P: ?Sized> LastValues<P> {
    /// The position that it is the state at, and from which its subscriber goes on.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.values.position()
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.messages().len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<P: ?Sized + Trusted> LastValues<P> {
    /// The last message of `key`, if there is one, as it was published.
    ///
    /// Cost: a look into a hash map, and the check of the message. Errors: [`ReceiveError::Invalid`], if it is no value of the type.
    pub fn get(&self, key: &[u8]) -> Result<Option<Received<'_, P>>, ReceiveError> {
        self.values.get(key).map(|kept| self.received(kept)).transpose()
    }

    /// The last message of each key, in the order in which they were published.
    ///
    /// Cost and errors of each: as for [`LastValues::get`].
    pub fn iter(&self) -> impl Iterator<Item = Result<Received<'_, P>, ReceiveError>> {
        self.values.messages().iter().map(|kept| self.received(kept))
    }

    fn received<'a>(&'a self, kept: &'a Kept) -> Result<Received<'a, P>, ReceiveError> {
        raw::received(&self.geometry, (kept.position(), kept.word()), kept.body(), self.trust)
    }
}

impl<P: ?Sized + Trusted> SubscriberBuilder<'_, P> {
    /// Opens the subscriber with the last message of each key: the state at a position, and then every message from there on, without
    /// a gap or a repetition. For topics that were made with [`TopicBuilder::last_values`](crate::TopicBuilder::last_values).
    ///
    /// The subscriber begins where the state ends, whatever [`SubscriberBuilder::start`] says. A filter counts for what it receives; the
    /// state has all keys.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let root = memlane::doc_root();
    /// # let bus = memlane::Bus::builder("last").root(&root).open()?;
    /// let topic = bus.topic("quotes")?.last_values(1000, 128).open_or_create()?;
    /// let mut publisher = topic.publisher::<[u8]>().open()?;
    /// publisher.message().key(b"ZIEXT")?.publish(b"20.50")?;
    /// publisher.message().key(b"ZIEXT")?.publish(b"20.75")?;
    ///
    /// let (quotes, mut subscriber) = topic.subscriber::<[u8]>().open_with_last_values()?;
    /// assert_eq!(quotes.get(b"ZIEXT")?.map(|quote| quote.view), Some(&b"20.75"[..]));
    /// publisher.message().key(b"ZIEXT")?.publish(b"21.00")?;
    /// assert_eq!(&*subscriber.receive()?, b"21.00");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cost: as for [`SubscriberBuilder::open`], and a copy of the table and of what the log holds. A gated one holds publishers up
    /// meanwhile, once the ring is full; one that is not begins again when it is overtaken.
    /// Errors: [`OpenError`]; `NoLastValues` if the topic keeps none, `Overtaken` if publishers were too fast for a subscriber that isn't gated.
    pub fn open_with_last_values(mut self) -> Result<(LastValues<P>, Subscriber<P>), OpenError> {
        self.topic.check_type::<P>()?;
        if self.plan.as_ref().is_some_and(Plan::is_replay) {
            return Err(OpenError::LastValuesOfReplay { topic: self.topic.name().to_owned() });
        }
        let (values, reader) = Reader::open_with_last_values(self.topic.log(), self.topic.map(), self.kind)?;
        let reader = match (self.plan.take(), reader) {
            (Some(plan), Reader::Lossy(live)) => Reader::Backfilled(Backfill::around(plan, self.topic, live)?.into()),
            (_, reader) => reader,
        };
        let geometry = *self.topic.log().geometry();
        let values = LastValues { values, geometry, trust: self.trust, payload: PhantomData };
        Ok((values, self.reading(reader)))
    }
}
