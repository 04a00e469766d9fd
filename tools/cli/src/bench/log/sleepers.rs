//! What a publish costs while many subscribers are blocked: one that wakes all of them, and the burst after it.
//!
//! ```text
//!   publisher (first core)                    subscribers (second core): a thread each, blocked in receive
//!   publishes one message, a latency ───────> wake up one after another, and wait for GATHER
//!   publishes a burst, timed as the batch
//!   SENT := number of the batch ────────────> GATHER: all receive the burst, and block again
//! ```
//!
//! The wake-up of all of them is a system call that takes about a microsecond each, once for as long as they sleep; so it
//! is told on its own, and the burst is what a publish costs with so many sleepers about.

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use memlane::{Publisher, Subscriber, Wait};
use memlane_shm::Region;
use memlane_shm::clock::Ticker;
use memlane_shm::sync::LINE_PAIR_BYTES;
use memlane_shm::sync::Ordering::{Acquire, Relaxed, Release};

use super::fanout::{batch_text, burst_max, drain, publish_burst};
use super::{Side, Stage, TopicShape, size_text};
use crate::bench::lane::{Kind, Lane, Watch};
use crate::bench::latencies::{Recorded, Recorder};
use crate::bench::reference::payload::Messages;

/// What it needs of the file of the references.
pub const BYTES: usize = LINE_PAIR_BYTES;

/// Offset of the number of the last batch that was sent.
const SENT: usize = 0;

/// The subscribers' threads, as the thread that leads them sees them.
#[derive(Debug)]
struct Crew {
    shared: Arc<Shared>,
    size: usize,
}

#[derive(Debug)]
struct Shared {
    /// Begins and ends the receiving of a burst, for all threads and the one that leads them.
    gather: Barrier,
    /// Messages in the burst, and the sum of their words.
    count: AtomicU64,
    sum: AtomicU64,
    /// Threads that are about to block.
    blocked: AtomicUsize,
}

#[derive(Debug)]
enum Role {
    Publisher(Box<Publisher<[u8]>>),
    Subscribers(Crew),
}

/// Bursts of messages `M` to subscribers that sleep.
#[derive(Debug)]
pub struct Sleepers<M> {
    shape: TopicShape,
    subscribers: usize,
    role: Role,
    region: Region,
    payloads: M,
    batch: usize,
    batches: u64,
    /// Messages in all bursts, the ones that wake left out.
    done: u64,
    ticker: Ticker,
    recorder: Recorder,
    timed_ticks: Option<u64>,
}

impl<M: Messages> Sleepers<M> {
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
                let open = |_| topic.subscriber().wait(Wait::Block { spins: 0 }).open();
                Role::Subscribers(Crew::start((0..subscribers).map(open).collect::<Result<_, _>>()?)?)
            }
        };
        Ok(Self {
            shape,
            subscribers,
            role,
            region,
            payloads,
            batch,
            batches: 0,
            done: 0,
            ticker: Ticker::best(),
            recorder: Recorder::default(),
            timed_ticks: None,
        })
    }
}

impl Crew {
    /// Starts a thread for each subscriber. They end with the process.
    fn start(subscribers: Vec<Subscriber<[u8]>>) -> anyhow::Result<Self> {
        /// What a thread needs here is little.
        const STACK_BYTES: usize = 256 * 1024;
        let size = subscribers.len();
        let shared = Arc::new(Shared {
            gather: Barrier::new(size + 1),
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            blocked: AtomicUsize::new(0),
        });
        for mut subscriber in subscribers {
            let shared = shared.clone();
            std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
                if let Err(error) = shared.serve(&mut subscriber) {
                    eprintln!("memlane: a subscriber of the bench failed: {error:#}");
                    // The conductor finds its peer gone.
                    std::process::exit(1);
                }
            })?;
        }
        let crew = Self { shared, size };
        crew.wait_until_asleep();
        Ok(crew)
    }

    /// Waits until all threads are blocked. They share the core of this one, so what is not blocked runs while it sleeps.
    fn wait_until_asleep(&self) {
        const NAP: Duration = Duration::from_millis(1);
        while self.shared.blocked.load(Acquire) < self.size {
            std::thread::sleep(NAP);
        }
        // The last ones have said so, but may not be there yet.
        std::thread::sleep(NAP);
    }

    /// Has all of them receive a burst of `count` messages with this `sum`, and waits until they sleep again.
    fn receive(&self, count: u64, sum: u64) {
        self.shared.count.store(count, Relaxed);
        self.shared.sum.store(sum, Relaxed);
        // The barrier publishes both.
        self.shared.gather.wait();
        self.shared.gather.wait();
        self.wait_until_asleep();
    }
}

impl Shared {
    /// A subscriber's life.
    fn serve(&self, subscriber: &mut Subscriber<[u8]>) -> anyhow::Result<()> {
        loop {
            self.blocked.fetch_add(1, Release);
            drop(subscriber.receive()?);
            self.blocked.fetch_sub(1, Release);
            self.gather.wait();
            let sum = drain(subscriber, self.count.load(Relaxed))?;
            anyhow::ensure!(sum == self.sum.load(Relaxed), "what it read is not what was sent");
            self.gather.wait();
        }
    }
}

impl<M: Messages> Lane for Sleepers<M> {
    fn name(&self) -> String {
        let (size, batch) = (size_text(self.payloads.bytes()), batch_text(self.batch));
        format!("{} {size}{batch} to {} asleep", self.shape.title(), self.subscribers)
    }

    fn kind(&self) -> Kind {
        Kind::Alone
    }

    fn count_max(&self) -> u64 {
        burst_max(&self.shape, self.payloads.bytes())
    }

    fn initiator(&mut self, count: u64, _: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let Role::Publisher(publisher) = &mut self.role else { anyhow::bail!("the other side of this lane publishes") };
        let start = self.ticker.now();
        publisher.publish(self.payloads.message(0))?;
        let woken = self.ticker.now();
        publish_burst(publisher, &self.payloads, self.done, count, self.batch)?;
        self.timed_ticks = Some(self.ticker.now().saturating_sub(woken));
        self.recorder.record(woken.saturating_sub(start));
        self.done += count;
        self.batches += 1;
        // SENT (release) pairs with its load in `responder`.
        self.region.word(SENT).store(self.batches, Release);
        Ok(Some(self.recorder.take()))
    }

    fn timed_ticks(&self) -> Option<u64> {
        self.timed_ticks
    }

    fn responder(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        self.batches += 1;
        let sent = self.region.word(SENT);
        watch.until(|| sent.load(Acquire) == self.batches)?;
        let Role::Subscribers(crew) = &self.role else { anyhow::bail!("this side of the lane subscribes") };
        crew.receive(count, self.payloads.sum(self.done, count));
        self.done += count;
        Ok(None)
    }
}
