//! What a publish costs while so many gated subscribers keep up.
//!
//! ```text
//!   publisher (first core)                       subscribers (second core)
//!   publishes a burst that fits the ring, timed
//!   SENT := number of the batch ───────────────> each of them receives all of it
//! ```
//!
//! The subscribers read between the bursts, outside of what is timed, so the figure is the publisher's work alone:
//! writing lines that another core has read, and looking at the cursors of all subscribers once in 64 stretches of a lap.

use memlane::{Publisher, Subscriber, Wait};
use memlane_shm::Region;
use memlane_shm::sync::LINE_PAIR_BYTES;
use memlane_shm::sync::Ordering::{Acquire, Release};

use super::{Side, Stage, TopicShape, size_text};
use crate::bench::lane::{Kind, Lane, Watch};
use crate::bench::latencies::Recorded;
use crate::bench::reference::payload::{Messages, sum_of_words};

/// What it needs of the file of the references.
pub const BYTES: usize = LINE_PAIR_BYTES;

/// Offset of the number of the last batch that was sent.
const SENT: usize = 0;

/// What either side holds.
#[derive(Debug)]
enum Role {
    Publisher(Box<Publisher<[u8]>>),
    Subscribers(Vec<Subscriber<[u8]>>),
}

/// Bursts of messages `M` to subscribers that keep up.
#[derive(Debug)]
pub struct Fanout<M> {
    shape: TopicShape,
    subscribers: usize,
    role: Role,
    region: Region,
    payloads: M,
    batch: usize,
    batches: u64,
    done: u64,
}

/// How many messages of `payload` bytes take up half the ring: a burst that fits in any case.
pub(super) fn burst_max(shape: &TopicShape, payload: usize) -> u64 {
    const FRAME_HEADER_BYTES: u64 = 8;
    let frame_bytes = (payload as u64 + FRAME_HEADER_BYTES).next_multiple_of(shape.cell_bytes);
    shape.capacity_bytes / frame_bytes / 2
}

/// Publishes a burst of `count` messages from number `first` on, one by one or in batches of `batch`.
#[inline(always)]
pub(super) fn publish_burst<M: Messages>(
    publisher: &mut Publisher<[u8]>,
    payloads: &M,
    first: u64,
    count: u64,
    batch: usize,
) -> anyhow::Result<()> {
    let end = first + count;
    if batch == 1 {
        for sequence in first..end {
            publisher.publish(payloads.message(sequence))?;
        }
        return Ok(());
    }
    let mut messages: Vec<&[u8]> = Vec::with_capacity(batch);
    let mut next = first;
    while next < end {
        messages.clear();
        let in_batch = (end - next).min(batch as u64);
        messages.extend((next..next + in_batch).map(|sequence| payloads.message(sequence)));
        next += publisher.publish_batch(&messages)? as u64;
    }
    Ok(())
}

/// For names: nothing, or `×64`.
pub(super) fn batch_text(batch: usize) -> String {
    if batch == 1 { String::new() } else { format!(" ×{batch}") }
}

impl<M: Messages> Fanout<M> {
    /// Publishes in batches of `batch`, or one by one (1); `region` is [`BYTES`] long and zeroed.
    ///
    /// # Errors
    /// If the topic can't be opened.
    pub fn new(
        stage: &mut Stage,
        shape: TopicShape,
        subscribers: usize,
        region: Region,
        payloads: M,
        batch: usize,
    ) -> anyhow::Result<Self> {
        let topic = stage.topic(&shape)?;
        let role = match stage.side() {
            Side::Initiator => Role::Publisher(Box::new(topic.publisher().open()?)),
            Side::Responder => {
                let open = |_| topic.subscriber().wait(Wait::BusySpin).open();
                Role::Subscribers((0..subscribers).map(open).collect::<Result<_, _>>()?)
            }
        };
        Ok(Self { shape, subscribers, role, region, payloads, batch, batches: 0, done: 0 })
    }
}

impl<M: Messages> Lane for Fanout<M> {
    fn name(&self) -> String {
        let (size, batch) = (size_text(self.payloads.bytes()), batch_text(self.batch));
        format!("{} {size}{batch} to {}", self.shape.title(), self.subscribers)
    }

    fn kind(&self) -> Kind {
        Kind::Alone
    }

    fn count_max(&self) -> u64 {
        burst_max(&self.shape, self.payloads.bytes())
    }

    fn initiator(&mut self, count: u64, _: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let Role::Publisher(publisher) = &mut self.role else { anyhow::bail!("the other side of this lane publishes") };
        publish_burst(publisher, &self.payloads, self.done, count, self.batch)?;
        self.done += count;
        self.batches += 1;
        // SENT (release) pairs with its load in `responder`.
        self.region.word(SENT).store(self.batches, Release);
        Ok(None)
    }

    fn responder(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        self.batches += 1;
        let sent = self.region.word(SENT);
        watch.until(|| sent.load(Acquire) == self.batches)?;
        let expected = self.payloads.sum(self.done, count);
        let Role::Subscribers(subscribers) = &mut self.role else { anyhow::bail!("this side of the lane subscribes") };
        for subscriber in subscribers {
            let sum = drain(subscriber, count)?;
            anyhow::ensure!(sum == expected, "what a subscriber read is not what was sent");
        }
        self.done += count;
        Ok(None)
    }
}

/// Receives `count` messages that were sent; returns the sum of their words.
pub(super) fn drain(subscriber: &mut Subscriber<[u8]>, count: u64) -> anyhow::Result<u64> {
    let (mut received, mut sum, mut failure) = (0, 0_u64, None);
    while received < count {
        let most = usize::try_from(count - received)?.min(64);
        let found = subscriber.receive_batch(most, |message| match message {
            Ok(message) => sum = sum.wrapping_add(sum_of_words(message.view)),
            Err(error) => failure = Some(error),
        })?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        anyhow::ensure!(found > 0, "a subscriber misses messages that were sent");
        received += found as u64;
    }
    Ok(sum)
}
