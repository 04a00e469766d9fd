//! Two publishers on one topic, one on each core, and nobody who subscribes.
//!
//! The messages of a batch are a pool; each publisher takes 64 at a time from it (fewer large ones) and publishes them one by one. The batch
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
use crate::bench::reference::payload::Messages;

/// What it needs of the file of the references.
pub const BYTES: usize = LINE_PAIR_BYTES;

/// Offset of how many messages were taken so far, over all batches.
const TAKEN: usize = 0;

/// Messages that are taken from the pool at once, at most.
const TAKEN_AT_ONCE_MAX: usize = 64;

/// Bytes that are taken at once, unless one message has more.
const BYTES_AT_ONCE: usize = 64 << 10;

/// Shares in batches in which fewer times something was taken say little.
const TAKES_MIN: u64 = 16;

/// How many messages of so many bytes are taken at once.
fn taken_at_once(payload: usize) -> u64 {
    (BYTES_AT_ONCE / payload).clamp(1, TAKEN_AT_ONCE_MAX) as u64
}

/// The first publisher's share of the messages of each batch, 0 to 1.
pub type Shares = Rc<RefCell<Vec<f64>>>;

/// Publishers of messages `M` on one topic.
#[derive(Debug)]
pub struct Rivals<M> {
    shape: TopicShape,
    publisher: Option<Publisher<[u8]>>,
    with_rival: bool,
    region: Region,
    payloads: M,
    /// Messages in all batches before this one.
    before: u64,
    shares: Shares,
}

impl<M: Messages> Rivals<M> {
    /// On both cores (`with_rival`), or on the first alone; `region` is [`BYTES`] long and zeroed.
    ///
    /// # Errors
    /// If the topic can't be opened.
    pub fn new(
        stage: &mut Stage,
        shape: TopicShape,
        with_rival: bool,
        region: Region,
        payloads: M,
    ) -> anyhow::Result<Self> {
        let topic = stage.topic(&shape)?;
        let publishes = with_rival || stage.side() == Side::Initiator;
        let publisher = publishes.then(|| topic.publisher().open()).transpose()?;
        let shares = Shares::default();
        Ok(Self { shape, publisher, with_rival, region, payloads, before: 0, shares })
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
        let at_once = taken_at_once(self.payloads.bytes());
        let mut own = 0;
        loop {
            // A pool that is empty stays as it is, so that the next batch finds its own beginning.
            let found = taken.fetch_update(Relaxed, Relaxed, |next| (next < end).then(|| (next + at_once).min(end)));
            let Ok(first) = found else { return Ok(own) };
            let last = (first + at_once).min(end);
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

impl<M: Messages> Lane for Rivals<M> {
    fn name(&self) -> String {
        let publishers = if self.with_rival { "two at once" } else { "one alone" };
        format!("{} {}, {publishers}", self.shape.title(), size_text(self.payloads.bytes()))
    }

    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn initiator(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let own = self.publish(count, watch)?;
        if count >= TAKES_MIN * taken_at_once(self.payloads.bytes()) {
            self.shares.borrow_mut().push(own as f64 / count as f64);
        }
        Ok(None)
    }

    fn responder(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        self.publish(count, watch)?;
        Ok(None)
    }
}
