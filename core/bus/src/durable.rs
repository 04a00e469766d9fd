//! Publishing until it is on disk: see [`Publisher::publish_durable`].

use crate::asynchronous::nap;
use crate::error::PublishError;
use crate::payload::Payload;
use crate::publisher::Publisher;
use memlane_ring::{ClaimError, DurableError as RingError};
use std::time::{Duration, Instant};

/// Why it isn't known that a message is durable.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DurableError {
    /// It was not published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// It is published at this position, and nobody who lives records the topic and syncs what it records: start a recorder, with another sync than
    /// none, and wait again.
    #[error(
        "published at position {position}, but nobody records the topic and syncs it: start a recorder, with another sync than none"
    )]
    NotRecorded {
        /// The message.
        position: u64,
    },
    /// It is published at this position, and the topic was removed since, or this is a forked child.
    #[error("published at position {position}, but the topic can't be used any more: {source}")]
    Gone {
        /// The message.
        position: u64,
        /// Why not.
        source: ClaimError,
    },
    /// It is published at this position, and was not durable in time. It may be any moment: wait again.
    #[error("published at position {position}, but not durable in time")]
    TimedOut {
        /// The message.
        position: u64,
    },
}

impl<P: ?Sized + Payload> Publisher<P> {
    /// Publishes a message, and waits until it survives a loss of power; returns its position. All of it takes `timeout` at most, also the wait for room.
    ///
    /// What several publishers have published when the recorder syncs becomes durable together. Cost: the time of a sync, or of the recorder's interval. Errors:
    /// [`DurableError`], which says whether the message is published.
    pub fn publish_durable(&mut self, message: &P, timeout: Duration) -> Result<u64, DurableError> {
        let deadline = Instant::now().checked_add(timeout);
        let position = self.publish_within(message, timeout)?;
        let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
        self.wait_durable(position, left)?;
        Ok(position)
    }

    /// Waits until the message at `position` survives a loss of power: for who publishes many and then waits for the last.
    ///
    /// Cost and errors: as for [`Publisher::publish_durable`].
    pub fn wait_durable(&self, position: u64, timeout: Duration) -> Result<(), DurableError> {
        match self.log.wait_durable(position, timeout) {
            Ok(true) => Ok(()),
            Ok(false) => Err(DurableError::TimedOut { position }),
            Err(error) => Err(explain(error, position)),
        }
    }

    /// As [`Publisher::publish_durable`], without a deadline: the task waits, the thread doesn't. Dropped while it waits, the message may be published.
    ///
    /// Cost: it looks once a millisecond. Errors: [`DurableError`].
    pub async fn publish_durable_async(&mut self, message: &P) -> Result<u64, DurableError> {
        let position = self.publish_async(message).await?;
        while !self.log.is_durable(position).map_err(|error| explain(error, position))? {
            nap().await;
        }
        Ok(position)
    }

    /// Everything before this position survives a loss of power, as whoever records the topic has it; zero if nobody has yet.
    #[must_use]
    pub fn durable_position(&self) -> u64 {
        self.log.durable_position()
    }
}

fn explain(error: RingError, position: u64) -> DurableError {
    match error {
        RingError::NotRecorded => DurableError::NotRecorded { position },
        RingError::Gone(source) => DurableError::Gone { position, source },
    }
}
