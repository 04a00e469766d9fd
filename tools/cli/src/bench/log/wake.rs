//! Waking up: a blocked subscriber sleeps on one core, and a publish on the other wakes it.
//!
//! ```text
//!   publisher (first core)                   subscriber (second core), blocks without a spin
//!   sees ASLEEP = n  <────────────────────── ASLEEP := n, then receive
//!   idles as long as beside the bare futex, so that it surely sleeps
//!   stamp; publish ────────────────────────> has the message: WOKEN_TICKS := stamp; WOKEN := n
//!   latency = WOKEN_TICKS − stamp <───────── (both read the same counter)
//! ```

use std::time::{Duration, Instant};

use memlane::{Bus, Kind as SubscriberKind, Selectable, Selector, Subscriber, Wait};
use memlane_shm::Region;
use memlane_shm::clock::Ticker;
use memlane_shm::sync::LINE_PAIR_BYTES;
use memlane_shm::sync::Ordering::{Acquire, Relaxed, Release};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};
use tokio::runtime::{self, Runtime};

use super::{End, Side, Stage, TopicShape, size_text};
use crate::bench::lane::{Kind, Lane, Watch};
use crate::bench::latencies::{Recorded, Recorder};
use crate::bench::reference::wake::idle;

/// What it needs of the file of the references.
pub const BYTES: usize = 2 * LINE_PAIR_BYTES;

const ASLEEP: usize = 0;
const WOKEN: usize = LINE_PAIR_BYTES;
const WOKEN_TICKS: usize = WOKEN + 8;

/// Sleeps at once when there is nothing to receive.
const BLOCK: Wait = Wait::Block { spins: 0 };

/// Wakes a blocked subscriber time and again.
#[derive(Debug)]
pub struct Wake {
    shape: TopicShape,
    end: End,
    /// On the responder's side, if it waits for many topics at once.
    others: Option<Others>,
    others_count: usize,
    /// What runs the task that waits, if one does.
    executor: Option<Executor>,
    message: Vec<u8>,
    region: Region,
    rounds: u64,
    ticker: Ticker,
    recorder: Recorder,
}

impl Wake {
    /// With payloads of `payload` bytes; `region` is [`BYTES`] long and zeroed.
    ///
    /// # Errors
    /// If the topic can't be opened.
    pub fn new(stage: &mut Stage, shape: TopicShape, payload: usize, region: Region) -> anyhow::Result<Self> {
        let topic = stage.topic(&shape)?;
        let end = match stage.side() {
            Side::Initiator => End::Send(Box::new(topic.publisher().open()?)),
            Side::Responder => {
                End::Receive(Box::new(topic.subscriber().kind(SubscriberKind::Gated).wait(BLOCK).open()?))
            }
        };
        Ok(Self {
            shape,
            end,
            others: None,
            others_count: 0,
            executor: None,
            message: vec![7; payload],
            region,
            rounds: 0,
            ticker: Ticker::best(),
            recorder: Recorder::default(),
        })
    }

    /// The same, for a subscriber that waits for `count` idle topics besides, through a selector.
    ///
    /// # Errors
    /// If they can't be opened.
    pub fn among(mut self, stage: &Stage, count: usize) -> anyhow::Result<Self> {
        self.others_count = count;
        if stage.side() == Side::Responder {
            self.others = Some(Others::open(stage.bus(), count)?);
        }
        Ok(self)
    }

    /// The same, for a task in `executor`.
    #[must_use]
    pub fn in_a_task(mut self, executor: Executor) -> Self {
        self.executor = Some(executor);
        self
    }

    fn wake(&mut self, watch: &Watch<'_>) -> anyhow::Result<()> {
        let round = self.rounds;
        let words = &self.region;
        // ASLEEP and WOKEN (acquire) pair with their stores in `sleep`.
        watch.until(|| words.word(ASLEEP).load(Acquire) == round)?;
        idle();
        let stamp = self.ticker.now();
        self.end.publisher().publish(&self.message)?;
        watch.until(|| words.word(WOKEN).load(Acquire) == round)?;
        let ticks = words.word(WOKEN_TICKS).load(Relaxed);
        self.recorder.record(ticks.saturating_sub(stamp));
        Ok(())
    }

    fn sleep(&mut self, watch: &Watch<'_>) -> anyhow::Result<()> {
        /// Bounds one wait, so that the watch is looked at.
        const NAP: Duration = Duration::from_millis(100);
        let round = self.rounds;
        let words = &self.region;
        // ASLEEP and WOKEN (release) pair with their loads in `wake`.
        words.word(ASLEEP).store(round, Release);
        loop {
            let subscriber = self.end.subscriber();
            if let Some(others) = &mut self.others {
                others.select(subscriber, NAP);
            }
            let sample = if self.others.is_some() {
                subscriber.try_receive()?
            } else if let Some(executor) = &self.executor {
                let receive = async { tokio::time::timeout(NAP, subscriber.receive_async()).await.ok().transpose() };
                executor.block_on(receive)?
            } else {
                subscriber.receive_within(NAP)?
            };
            if let Some(sample) = sample {
                let now = self.ticker.now();
                anyhow::ensure!(sample.len() == self.message.len(), "what was received is not what was sent");
                words.word(WOKEN_TICKS).store(now, Relaxed);
                words.word(WOKEN).store(round, Release);
                return Ok(());
            }
            watch.check()?;
        }
    }
}

impl Lane for Wake {
    fn name(&self) -> String {
        let among = if self.others_count == 0 { String::new() } else { format!(", of {}", self.others_count + 1) };
        let how = self.executor.as_ref().map_or("blocked", Executor::name);
        format!("{} {}, {how}{among}", self.shape.title(), size_text(self.message.len()))
    }

    fn kind(&self) -> Kind {
        Kind::Sampled
    }

    fn count_max(&self) -> u64 {
        1_000
    }

    fn initiator(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        for _ in 0..count {
            self.rounds += 1;
            self.wake(watch)?;
        }
        Ok(Some(self.recorder.take()))
    }

    fn responder(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        for _ in 0..count {
            self.rounds += 1;
            self.sleep(watch)?;
        }
        Ok(None)
    }
}

/// What runs a task; its timers are tokio's.
#[derive(Debug)]
pub enum Executor {
    /// A tokio runtime with one thread, whose process's waiting thread shares its core.
    Tokio(Runtime),
    /// [`memlane::block_on`] inside a tokio runtime, whose one thread has the timers and shares its core.
    Memlane(Runtime),
}

impl Executor {
    /// # Errors
    /// If there can be no thread.
    pub fn tokio() -> std::io::Result<Self> {
        Ok(Self::Tokio(runtime::Builder::new_current_thread().enable_time().build()?))
    }

    /// # Errors
    /// If there can be no thread.
    pub fn memlane() -> std::io::Result<Self> {
        Ok(Self::Memlane(runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Tokio(_) => "async in tokio",
            Self::Memlane(_) => "async in memlane::block_on",
        }
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self {
            Self::Tokio(runtime) => runtime.block_on(future),
            Self::Memlane(runtime) => {
                let _inside = runtime.enter();
                memlane::block_on(future)
            }
        }
    }
}

/// Idle topics, and what waits for them all.
#[derive(Debug)]
struct Others {
    selector: Selector,
    subscribers: Vec<Subscriber<[u8]>>,
}

impl Others {
    fn open(bus: &Bus, count: usize) -> anyhow::Result<Self> {
        allow_files(count as u64 * 2 + 256)?;
        let subscribers = (0..count).map(|index| {
            let topic = bus.topic(&format!("idle.{index}"))?.capacity_bytes(4096).subscribers_max(8).prefault(false);
            Ok(topic.open_or_create()?.subscriber().open()?)
        });
        let selector = Selector::new(bus).wait(BLOCK);
        Ok(Self { selector, subscribers: subscribers.collect::<anyhow::Result<_>>()? })
    }

    /// Waits for `busy` and all the others.
    fn select(&mut self, busy: &mut Subscriber<[u8]>, timeout: Duration) -> Option<usize> {
        let others = self.subscribers.iter_mut().map(|subscriber| subscriber as &mut dyn Selectable);
        let mut all: Vec<&mut dyn Selectable> = others.chain([busy as &mut dyn Selectable]).collect();
        self.selector.select(&mut all, Some(timeout))
    }
}

/// Lets this process have so many files open: each subscriber has two.
fn allow_files(count: u64) -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    anyhow::ensure!(count <= hard, "{count} files must be open at once, and the limit is {hard}: raise `ulimit -n`");
    if soft < count {
        setrlimit(Resource::RLIMIT_NOFILE, count, hard)?;
    }
    Ok(())
}

/// The share of a core, in percent, that a selector over `count` topics takes while nobody publishes on any of them for `time`.
///
/// # Errors
/// If the topics can't be opened, or the kernel does not tell the time.
pub fn idle_percent_of_selector(bus: &Bus, count: usize, time: Duration) -> anyhow::Result<f64> {
    let mut others = Others::open(bus, count)?;
    let mut last = bus.topic("idle")?.open_or_create()?.subscriber::<[u8]>().open()?;
    percent_of(time, || Ok(others.select(&mut last, time).is_some()))
}

/// The share of a core, in percent, that a blocked subscriber takes while a living publisher has nothing to say: the
/// processor time of its thread over `time`, in which it sleeps once.
///
/// # Errors
/// If the topic can't be opened, or the kernel does not tell the time.
pub fn idle_percent(bus: &Bus, time: Duration) -> anyhow::Result<f64> {
    let topic = bus.topic("idle")?.open_or_create()?;
    let _publisher = topic.publisher::<[u8]>().open()?;
    let mut subscriber = topic.subscriber::<[u8]>().wait(BLOCK).open()?;
    percent_of(time, || Ok(subscriber.receive_within(time)?.is_some()))
}

/// The share of a core that `wait` takes, which is to find nothing in `time`.
fn percent_of(time: Duration, wait: impl FnOnce() -> anyhow::Result<bool>) -> anyhow::Result<f64> {
    let start = Instant::now();
    let before = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    let found = wait()?;
    let after = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    anyhow::ensure!(!found, "a topic on which nobody publishes has a message");
    anyhow::ensure!(start.elapsed() >= time, "a wait ended too early");
    let (before, after): (Duration, Duration) = (before.into(), after.into());
    Ok(after.saturating_sub(before).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0)
}
