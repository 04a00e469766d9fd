//! Two publishers on one topic, one on each core, and nobody who subscribes.
//!
//! The messages of a batch are a pool; each publisher takes 64 at a time from it and publishes them one by one. The batch
//! ends when the pool is empty, so a publisher that is held up leaves more to the other, and their shares show it.

use std::cell::RefCell;
use std::rc::Rc;

use memlane::Publisher;
use memlane_shm::Region;
use memlane_shm::sync::LINE_PAIR_BYTES;
use memlane_shm::sync::Ordering::Relaxed;

use super::{Side, Stage, TopicShape, size_text};
use crate::bench::lane::{Kind, Lane, Watch};
use crate::bench::latencies::Recorded;
use crate::bench::reference::payload::Payloads;

/// What it needs of the file of the references.
pub const BYTES: usize = LINE_PAIR_BYTES;

/// Offset of how many messages were taken so far, over all batches.
const TAKEN: usize = 0;

/// Messages that are taken from the pool at once.
const TAKEN_AT_ONCE: u64 = 64;

/// Shares in batches of fewer messages say little.
const BATCH_MIN: u64 = 64 * TAKEN_AT_ONCE;

/// The first publisher's share of the messages of each batch, 0 to 1.
pub type Shares = Rc<RefCell<Vec<f64>>>;

/// Publishers of payloads of `PAYLOAD` bytes on one topic.
#[derive(Debug)]
pub struct Rivals<const PAYLOAD: usize> {
    shape: TopicShape,
    publisher: Option<Publisher<[u8]>>,
    with_rival: bool,
    region: Region,
    payloads: Payloads<PAYLOAD>,
    /// Messages in all batches before this one.
    before: u64,
    shares: Shares,
}

impl<const PAYLOAD: usize> Rivals<PAYLOAD> {
    /// On both cores (`with_rival`), or on the first alone; `region` is [`BYTES`] long and zeroed.
    ///
    /// # Errors
    /// If the topic can't be opened.
    pub fn new(stage: &mut Stage, shape: TopicShape, with_rival: bool, region: Region) -> anyhow::Result<Self> {
        let topic = stage.topic(&shape)?;
        let publishes = with_rival || stage.side() == Side::Initiator;
        let publisher = publishes.then(|| topic.publisher().open()).transpose()?;
        let shares = Shares::default();
        Ok(Self { shape, publisher, with_rival, region, payloads: Payloads::default(), before: 0, shares })
    }

    /// Where the shares are found once the lane has run; filled on the first core.
    #[must_use]
    pub fn shares(&self) -> Shares {
        self.shares.clone()
    }

    /// Publishes messages of the pool until none is left; returns how many.
    fn publish(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<u64> {
        let end = self.before + count;
        self.before = end;
        let Some(publisher) = &mut self.publisher else { return Ok(0) };
        let taken = self.region.word(TAKEN);
        let mut own = 0;
        loop {
            // A pool that is empty stays as it is, so that the next batch finds its own beginning.
            let found =
                taken.fetch_update(Relaxed, Relaxed, |next| (next < end).then(|| (next + TAKEN_AT_ONCE).min(end)));
            let Ok(first) = found else { return Ok(own) };
            let last = (first + TAKEN_AT_ONCE).min(end);
            for sequence in first..last {
                let payload = self.payloads.message(sequence);
                let mut outcome = publisher.publish(payload);
                if matches!(outcome, Err(error) if error.is_full()) {
                    // An unfinished message of the rival is in the way.
                    watch.until(|| {
                        outcome = publisher.publish(payload);
                        !matches!(outcome, Err(error) if error.is_full())
                    })?;
                }
                outcome?;
            }
            own += last - first;
        }
    }
}

impl<const PAYLOAD: usize> Lane for Rivals<PAYLOAD> {
    fn name(&self) -> String {
        let publishers = if self.with_rival { "two at once" } else { "one alone" };
        format!("{} {}, {publishers}", self.shape.title(), size_text(PAYLOAD))
    }

    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn initiator(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let own = self.publish(count, watch)?;
        if count >= BATCH_MIN {
            self.shares.borrow_mut().push(own as f64 / count as f64);
        }
        Ok(None)
    }

    fn responder(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        self.publish(count, watch)?;
        Ok(None)
    }
}
