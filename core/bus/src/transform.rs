//! Consume, transform, produce, exactly once: each message of one topic becomes messages of another, once, however often whoever does it dies.
//!
//! Each output is numbered by the input that it was made of, so the output topic itself says how far the input was done, in the same
//! store that publishes the output: there is nothing beside it that could be lost or be ahead.

use crate::error::{OpenError, PublishError, ReceiveError};
use crate::outgoing::OutgoingMessage;
use crate::payload::Payload;
use crate::raw::Trusted;
use crate::received::Received;
use crate::source::SourcePublisher;
use crate::subscriber::Subscriber;
use crate::topic::Topic;
use core::marker::PhantomData;
use memlane_journal::{From, Journal};
use memlane_ring::{Start, TopicError, Wait};
use std::error::Error;
use std::time::Duration;

/// How to open a [`Transform`].
#[derive(Debug)]
pub struct TransformBuilder<'a, I: ?Sized, O: ?Sized> {
    input: &'a Topic,
    output: &'a Topic,
    name: &'a str,
    journal: Option<&'a Journal>,
    start: Start,
    wait: Wait,
    patience: Duration,
    types: PhantomData<fn(&I, &O)>,
}

impl<'a, I: ?Sized + Trusted, O: ?Sized + Payload> TransformBuilder<'a, I, O> {
    /// The input's journal: what the ring has let go while nobody was there is read from it, and no publisher of the input is ever held up.
    ///
    /// Without one, opening is refused once the ring has let go of the message that was worked on last; and as long as it lives, a transform holds publishers back
    /// as a gated subscriber does.
    #[must_use]
    pub fn journal(mut self, journal: &'a Journal) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Where to begin if it has never published anything. Default [`Start::Earliest`].
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How to wait for input, and for room for output. Default [`Wait::default`].
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// How long to wait for room for an output. Default without end: a slow subscriber of the output holds the transform up, and without a journal the
    /// input's publishers with it.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Opens it, at the input that its last output was made of.
    ///
    /// Cost: as of opening a subscriber and a source's publisher. Errors: [`OpenError`]; [`TopicError::SourceTaken`] if one of that name lives, [`TopicError::NoSuchPosition`] if the
    /// input isn't there that the last output was made of.
    pub fn open(self) -> Result<Transform<I, O>, OpenError> {
        // Positions mean something for this very topic alone.
        let source = format!("{}.{:016x}", self.name, self.input.info().epoch);
        let output = self.output.publisher::<O>().wait(self.wait).open_source(&source)?;
        let cell = self.input.log().geometry().cell;
        let start = match output.last_sequence().checked_sub(1) {
            None => self.start,
            Some(last) => {
                let position = last - last % cell;
                let (from, to) = self.input.snapshot().map(|input| (input.head, input.tail))?;
                if position >= to {
                    // The output knows more of the input than there is.
                    return Err(TopicError::NoSuchPosition { position, from, to }.into());
                }
                Start::Position(position)
            }
        };
        let builder = self.input.subscriber::<I>().wait(self.wait);
        let input = match (self.journal, start) {
            (None, start) => builder.start(start),
            (Some(journal), Start::Earliest) => builder.replay(journal, From::Earliest).backfilled(journal),
            (Some(journal), Start::Position(at)) => builder.replay(journal, From::Position(at)).backfilled(journal),
            (Some(journal), start) => builder.start(start).backfilled(journal),
        };
        Ok(Transform { input: input.open()?, output, cell, patience: self.patience })
    }
}

/// Makes messages of type `O` on one topic out of those of type `I` on another, each once.
///
/// It may be killed at any moment: who opens it again, under the same name, goes on where the output topic says that it got to. The function that
/// makes outputs of an input is called again for the one that was being worked on, and must make the same outputs of it; those that were published are left out. What the
/// function does beside publishing is done at least once.
///
/// ```
/// use memlane::Transform;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let root = memlane::doc_root();
/// # let bus = memlane::Bus::builder("transform").root(&root).open()?;
/// let orders = bus.topic("orders")?.open_or_create()?;
/// let checked = bus.topic("orders.checked")?.open_or_create()?;
/// orders.publisher::<[u8]>().open()?.publish(b"buy 100")?;
///
/// let mut check = Transform::<[u8], [u8]>::builder(&orders, &checked, "checker").open()?;
/// check.turn(Duration::from_secs(1), |order, outputs| {
///     if order.view.starts_with(b"buy") {
///         outputs.publish(order.view)?;
///     }
///     Ok(())
/// })?;
/// # let mut result = checked.subscriber::<[u8]>().start(memlane::Start::Earliest).open()?;
/// # assert_eq!(&*result.receive()?, b"buy 100");
/// # Ok(())
/// # }
/// ```
///
/// Inputs of which nothing is made leave no trace: after a death they are looked at once more, from the last on of which something was. What was published and not
/// yet synced by its recorder is gone after a loss of power, of the input as of the output; if more of the input is, opening is refused.
#[derive(Debug)]
pub struct Transform<I: ?Sized, O: ?Sized> {
    input: Subscriber<I>,
    output: SourcePublisher<O>,
    cell: u64,
    patience: Duration,
}

impl<I: ?Sized + Trusted, O: ?Sized + Payload> Transform<I, O> {
    /// One from `input` to `output`. Its `name` is its identity for ever, and another's while it lives is refused; a name as topics have, of up to
    /// 100 bytes.
    #[must_use]
    pub fn builder<'a>(input: &'a Topic, output: &'a Topic, name: &'a str) -> TransformBuilder<'a, I, O> {
        let (wait, patience) = (Wait::default(), Duration::MAX);
        TransformBuilder {
            input,
            output,
            name,
            journal: None,
            start: Start::Earliest,
            wait,
            patience,
            types: PhantomData,
        }
    }

    /// Waits for a message, for at most `timeout`, and has `transform` make outputs of it; says whether there was one.
    ///
    /// An error of `transform` leaves the message where it is: the next turn gets it again, and leaves out what has been published of it.
    ///
    /// Cost: that of a receive and of publishing with a source. Errors: [`TransformError`]; after any of them turns may go on.
    pub fn turn(
        &mut self,
        timeout: Duration,
        transform: impl FnOnce(&Received<'_, I>, &mut Outputs<'_, O>) -> Result<(), Box<dyn Error + Send + Sync>>,
    ) -> Result<bool, TransformError> {
        let Some(sample) = self.input.receive_within(timeout)? else { return Ok(false) };
        let position = sample.position();
        let (first, last) = (position + 1, position + self.cell);
        let mut outputs = Outputs { publisher: &mut self.output, next: first, last, patience: self.patience };
        let made = transform(&sample.received(), &mut outputs);
        let Err(source) = made else { return Ok(true) };
        sample.leave();
        self.input.go_back_to(position);
        Err(TransformError::Failed { position, source })
    }

    /// Where it reads its input next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.input.position()
    }
}

/// Where the outputs of one input go.
#[derive(Debug)]
pub struct Outputs<'a, O: ?Sized> {
    publisher: &'a mut SourcePublisher<O>,
    next: u64,
    last: u64,
    patience: Duration,
}

impl<O: ?Sized + Payload> Outputs<'_, O> {
    /// Publishes `message`; returns its position, or `None` if that was done before a death.
    ///
    /// Cost: that of a publish with two fields. Errors: [`OutputError`].
    pub fn publish(&mut self, message: &O) -> Result<Option<u64>, OutputError> {
        self.publish_with(Ok, message)
    }

    /// The same with the fields that `add` gives it.
    ///
    /// Errors: [`OutputError`].
    pub fn publish_with<'a>(
        &'a mut self,
        add: impl FnOnce(OutgoingMessage<'a, O>) -> Result<OutgoingMessage<'a, O>, PublishError>,
        message: &O,
    ) -> Result<Option<u64>, OutputError> {
        let sequence = self.next;
        if sequence > self.last {
            return Err(OutputError::TooMany);
        }
        self.next += 1;
        if sequence <= self.publisher.last_sequence() {
            return Ok(None);
        }
        self.publisher.skip_to(sequence - 1);
        Ok(Some(self.publisher.publish_with(add, message, Some(self.patience))?))
    }
}

/// Why an output was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// The output topic refused it.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Of one input at most as many outputs can be made as a cell of the input topic has bytes: put several into one message, or make the topic with larger cells.
    #[error("too many outputs of one input: at most as many as a cell of the input topic has bytes")]
    TooMany,
}

/// Why a message was not transformed.
#[derive(Debug, thiserror::Error)]
pub enum TransformError {
    /// It could not be received, or messages were lost.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// No outputs could be made of the input at this position, or not all. It comes again.
    #[error("the input at position {position} could not be transformed: {source}")]
    Failed {
        /// Where.
        position: u64,
        /// What was said.
        source: Box<dyn Error + Send + Sync>,
    },
}
