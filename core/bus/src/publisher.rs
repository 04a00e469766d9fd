//! Publishing: typed or raw, one by one, in batches, or in place.

use crate::error::{OpenError, PublishError};
use crate::outgoing::OutgoingMessage;
use crate::payload::{EncodeError, Payload, Scratch};
use crate::topic::Topic;
use core::marker::PhantomData;
use memlane_ring::extension::Block;
use memlane_ring::{ClaimError, Label, Payloads, Publisher as Log, RateLimit, STAGED_BYTES_MAX, Wait};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many messages are committed together at most.
const BATCH_MAX: usize = 64;

/// What publishing does where there is no room: where a gated subscriber, or a publisher that hasn't finished, holds the space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// It is refused.
    #[default]
    Error,
    /// It waits up to so long, then is refused.
    Wait(Duration),
    /// The oldest messages go, whoever hasn't read them: only on topics that are [`crate::TopicBuilder::lossy_only`]. There only a publisher
    /// of many that hasn't finished, and lives, can still hold the space; that is refused.
    DropOldest,
}

/// How to open a publisher.
#[derive(Debug)]
pub struct PublisherBuilder<'a, P: ?Sized> {
    topic: &'a Topic,
    stand_by: Duration,
    wait: Wait,
    stage_up_to: usize,
    label: Arc<Label>,
    rate_limit: RateLimit,
    on_full: OnFull,
    payload: PhantomData<fn(&P)>,
}

impl<'a, P: ?Sized + Payload> PublisherBuilder<'a, P> {
    pub(crate) fn new(topic: &'a Topic) -> Self {
        Self {
            topic,
            stand_by: Duration::ZERO,
            wait: Wait::default(),
            stage_up_to: STAGED_BYTES_MAX,
            label: Arc::clone(topic.label()),
            rate_limit: RateLimit::default(),
            on_full: OnFull::default(),
            payload: PhantomData,
        }
    }

    /// On a topic for one publisher: how long to stand by for the one that is there to go or die, taking over within a
    /// millisecond. Default zero: refused at once.
    #[must_use]
    pub fn stand_by(mut self, longest: Duration) -> Self {
        self.stand_by = longest;
        self
    }

    /// How to wait for room, in the calls that do. Default [`Wait::default`].
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Loans of up to `bytes` bytes are written on the side and copied into the log when they are published, longer ones where they
    /// stay. Default [`STAGED_BYTES_MAX`], which was measured: see `docs/decisions/0004-staging.md`.
    #[must_use]
    pub fn stage_up_to(mut self, bytes: usize) -> Self {
        self.stage_up_to = bytes;
        self
    }

    /// Who it is, for people who look at the topic, in place of the bus's [`label`](crate::BusBuilder::label).
    #[must_use]
    pub fn label(mut self, label: Label) -> Self {
        self.label = Arc::new(label);
        self
    }

    pub(crate) fn topic(&self) -> &Topic {
        self.topic
    }

    /// How much this publisher may publish, beside what its topic says. Default no limit, which costs nothing; a limit costs a read of
    /// the clock for each message.
    #[must_use]
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.rate_limit = limit;
        self
    }

    /// What [`Publisher::publish`] and [`OutgoingMessage::publish`] do where there is no room. Default [`OnFull::Error`]. Loans and batches
    /// have calls that wait.
    #[must_use]
    pub fn on_full(mut self, on_full: OnFull) -> Self {
        self.on_full = on_full;
        self
    }

    /// Opens the publisher.
    ///
    /// Cost: about ten system calls and the mapping of the ring. Errors: [`OpenError`].
    pub fn open(self) -> Result<Publisher<P>, OpenError> {
        self.topic.check_type::<P>()?;
        if self.on_full == OnFull::DropOldest && !self.topic.log().header().options.lossy_only {
            return Err(OpenError::NotLossyOnly { topic: self.topic.name().to_owned() });
        }
        let log = self.topic.log().limited_publisher(self.topic.map(), self.stand_by, &self.rate_limit)?;
        let log = log.stage_up_to(self.stage_up_to);
        log.set_label(&self.label);
        Ok(Publisher {
            log,
            wait: self.wait,
            on_full: self.on_full,
            scratch: Scratch::new(),
            batch: Vec::new(),
            block: Block::default(),
            payload: PhantomData,
        })
    }
}

/// Publishes messages of type `P` to a topic. Dropping it leaves the topic.
#[derive(Debug)]
pub struct Publisher<P: ?Sized> {
    pub(crate) log: Log,
    pub(crate) wait: Wait,
    pub(crate) on_full: OnFull,
    pub(crate) scratch: Scratch,
    batch: Vec<Scratch>,
    pub(crate) block: Block,
    payload: PhantomData<fn(&P)>,
}

impl<P: ?Sized + Payload> Publisher<P> {
    /// Publishes a message; returns its position. Never waits.
    ///
    /// ```
    /// use memlane::{Bus, Message};
    /// use rkyv::{Archive, Serialize};
    ///
    /// #[derive(Archive, Serialize, Message)]
    /// #[message(name = "md.trade", version = 1)]
    /// struct Trade {
    ///     price: i64,
    ///     size: u32,
    ///     symbol: [u8; 8],
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let root = memlane::doc_root();
    /// let bus = Bus::builder("typed").root(&root).open()?;
    /// let topic = bus.topic("md.trades")?.message::<Trade>().open_or_create()?;
    /// let mut subscriber = topic.subscriber::<Trade>().open()?;
    /// topic.publisher::<Trade>().open()?.publish(&Trade { price: 1_2345, size: 100, symbol: *b"ZIEXT   " })?;
    ///
    /// let trade = subscriber.receive()?;
    /// assert_eq!((trade.price.to_native(), trade.size.to_native()), (1_2345, 100));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cost: one copy into shared memory; no system call unless a subscriber sleeps; no allocation once warm.
    /// Errors: [`PublishError`]; nothing was published.
    #[inline(always)]
    pub fn publish(&mut self, message: &P) -> Result<u64, PublishError> {
        match self.log.publish(&[], message.encode(&mut self.scratch)?) {
            Err(error) => self.refused(error, message),
            Ok(position) => Ok(position),
        }
    }

    /// What becomes of a message that the log refused.
    #[cold]
    fn refused(&mut self, error: ClaimError, message: &P) -> Result<u64, PublishError> {
        match (error, self.on_full) {
            (ClaimError::Full, OnFull::Wait(longest)) => self.publish_within(message, longest),
            _ => Err(error.into()),
        }
    }

    /// After an error that [`PublishError::is_rate_limited`]: how long until the same may be published, unless other publishers of the
    /// topic use up its limit first.
    #[must_use]
    pub fn rate_wait(&self) -> Duration {
        self.log.rate_wait()
    }

    /// As [`Publisher::publish`], but waits up to `timeout` for room.
    ///
    /// Errors: [`PublishError`]; `Full` if the time was up.
    #[inline]
    pub fn publish_within(&mut self, message: &P, timeout: Duration) -> Result<u64, PublishError> {
        let payload = message.encode(&mut self.scratch)?;
        match self.log.publish(&[], payload) {
            Err(error) if error.passes() => Ok(self.log.publish_waiting(&[], payload, self.wait, Some(timeout))?),
            other => Ok(other?),
        }
    }

    /// Publishes the first of `messages` that there is room for, up to 64 together, so that they cross as one; returns how
    /// many were published, which is all unless the log is full or one of them can't be published. Never waits.
    ///
    /// Cost: per message a copy; per 64 messages what one message costs besides.
    /// Errors: [`PublishError`] if the first could not be published; if a later one could not, the count says where to go on.
    pub fn publish_batch(&mut self, messages: &[&P]) -> Result<usize, PublishError> {
        let mut published = 0;
        while published < messages.len() {
            let chunk = &messages[published..messages.len().min(published + BATCH_MAX)];
            let mut payloads = Encoding { messages: chunk.iter(), scratch: &mut self.scratch, error: None };
            let Some(outcome) = self.log.publish_each(&mut payloads) else {
                return self.publish_chunks(messages, publish_what_fits);
            };
            let failure = match (outcome, payloads.error) {
                (Ok(count), failure) => {
                    published += count;
                    failure.map(PublishError::from)
                }
                (Err(error), _) => Some(error.into()),
            };
            match failure {
                Some(error) if published == 0 => return Err(error),
                Some(_) => break,
                None => {}
            }
        }
        Ok(published)
    }

    /// As [`Publisher::publish_batch`], but waits up to `timeout` in all for room; returns how many were published, which is
    /// all unless the time was up or one of them can't be published.
    ///
    /// Errors: [`PublishError`] if the first could not be published; `Full` if the time was up before it was.
    pub fn publish_batch_within(&mut self, messages: &[&P], timeout: Duration) -> Result<usize, PublishError> {
        let (wait, mut left) = (self.wait, timeout);
        self.publish_chunks(messages, |log, payloads| match publish_what_fits(log, payloads) {
            Err(error) if error.passes() => {
                let start = Instant::now();
                let bytes = payloads.first().map_or(0, |payload| payload.len());
                let published = log.waiting(bytes, wait, Some(left), |log| publish_what_fits(log, payloads));
                left = left.saturating_sub(start.elapsed());
                published
            }
            other => other,
        })
    }

    /// Encodes up to 64 messages at a time and has `publish` publish what it can of them, as long as that is something.
    fn publish_chunks(
        &mut self,
        messages: &[&P],
        mut publish: impl FnMut(&mut Log, &[&[u8]]) -> Result<usize, ClaimError>,
    ) -> Result<usize, PublishError> {
        let mut published = 0;
        for chunk in messages.chunks(BATCH_MAX) {
            let count = match self.publish_chunk(chunk, &mut publish) {
                Err(error) if published == 0 => return Err(error),
                other => other.unwrap_or(0),
            };
            published += count;
            if count < chunk.len() {
                break;
            }
        }
        Ok(published)
    }

    fn publish_chunk(
        &mut self,
        messages: &[&P],
        publish: &mut impl FnMut(&mut Log, &[&[u8]]) -> Result<usize, ClaimError>,
    ) -> Result<usize, PublishError> {
        if self.batch.len() < messages.len() {
            self.batch.resize_with(messages.len(), Scratch::new);
        }
        let mut payloads: [&[u8]; BATCH_MAX] = [&[]; BATCH_MAX];
        let mut encoded = 0;
        for ((payload, message), scratch) in payloads.iter_mut().zip(messages).zip(&mut self.batch) {
            match message.encode(scratch) {
                Ok(bytes) => *payload = bytes,
                Err(error) if encoded == 0 => return Err(error.into()),
                // Those before it are published; the count says that it wasn't.
                Err(_) => break,
            }
            encoded += 1;
        }
        let mut published = 0;
        // The end of a lap, or of the room that is known, ends a batch though there may be more room: go on from there.
        while published < encoded {
            match publish(&mut self.log, &payloads[published..encoded]) {
                Ok(count) => published += count,
                Err(error) if published == 0 => return Err(error.into()),
                Err(_) => break,
            }
        }
        Ok(published)
    }

    /// A message with headers, to be put together and published.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let root = memlane::doc_root();
    /// # let bus = memlane::Bus::builder("headers").root(&root).open()?;
    /// # let topic = bus.topic("t")?.open_or_create()?;
    /// # let mut subscriber = topic.subscriber::<[u8]>().open()?;
    /// # let mut publisher = topic.publisher::<[u8]>().open()?;
    /// publisher.message().header("venue", b"xnas")?.publish(b"hello")?;
    /// let message = subscriber.receive()?;
    /// assert_eq!(message.header("venue"), Some(&b"xnas"[..]));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn message(&mut self) -> OutgoingMessage<'_, P> {
        self.block.clear();
        OutgoingMessage::new(self)
    }

    /// Frees at once what dead participants of the topic left; returns how many publishers and subscribers that were.
    /// Whoever is held up does the same by itself.
    pub fn sweep(&self) -> (usize, usize) {
        self.log.sweep()
    }
}

/// Publishes the first of `payloads`, as many as there is room for.
fn publish_what_fits(log: &mut Log, mut payloads: &[&[u8]]) -> Result<usize, ClaimError> {
    loop {
        match log.publish_batch(payloads) {
            // One of many publishers claims room for all of them at once: there may be some for fewer.
            Err(ClaimError::Full) if log.geometry().many && payloads.len() > 1 => {
                payloads = &payloads[..payloads.len() / 2];
            }
            other => return other,
        }
    }
}

/// Messages that are encoded one after the other, into the same buffer.
struct Encoding<'a, P: ?Sized> {
    messages: core::slice::Iter<'a, &'a P>,
    scratch: &'a mut Scratch,
    /// Why the last one could not be encoded, after which no other is.
    error: Option<EncodeError>,
}

impl<P: ?Sized + Payload> Payloads for Encoding<'_, P> {
    #[inline(always)]
    fn next(&mut self) -> Option<&[u8]> {
        match self.messages.next()?.encode(self.scratch) {
            Ok(payload) => Some(payload),
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }
}
