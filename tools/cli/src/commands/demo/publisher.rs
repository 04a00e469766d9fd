//! The demo's publisher, in its own process.

use std::time::{Duration, Instant};

use memlane::{Publisher, Topic};

use super::digest::Digest;
use super::script::Script;
use super::wire::{
    MARK, MARK_END, MARK_FLAT_OUT, NAP, Pace, Progress, Published, PublisherPart, Report, Stretch, tell,
};
use crate::commands::attach::{self, Waited};
use crate::commands::pacing::{Beat, Finish, Pacer};
use crate::commands::signals::Signals;

/// How often it tells how far it is.
const TELL_EVERY: Duration = Duration::from_millis(200);
/// Messages between two looks at the clock, when flat out.
const MESSAGES_PER_LOOK: u64 = 64;
/// Longest wait for room for the end mark.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Publishes, tells about it, and ends. SIGTERM makes it skip to the end mark.
pub(super) fn run(part: &PublisherPart, topic: &Topic) -> anyhow::Result<()> {
    let result = Performance::open(part, topic).and_then(|performance| performance.play(part));
    tell(&match &result {
        Ok(published) => Report::Published(*published),
        Err(error) => Report::Failed(format!("{error:#}")),
    })
}

struct Performance<'a> {
    topic: &'a Topic,
    publisher: Publisher<[u8]>,
    signals: Signals,
    script: Script,
    digest: Digest,
    published: Published,
    start: Instant,
    tell_next: Instant,
}

impl<'a> Performance<'a> {
    fn open(part: &PublisherPart, topic: &'a Topic) -> anyhow::Result<Self> {
        let signals = Signals::watch_patiently()?;
        let script = Script::load(part.input.as_deref())?;
        let publisher = topic.publisher().open()?;
        tell(&Report::Ready)?;
        let start = Instant::now();
        let (digest, published) = (Digest::default(), Published::default());
        Ok(Self { topic, publisher, signals, script, digest, published, start, tell_next: start + TELL_EVERY })
    }

    fn play(mut self, part: &PublisherPart) -> anyhow::Result<Published> {
        let start = Instant::now();
        let is_on = self.paced(part)?;
        self.published.paced = Stretch { messages: self.published.messages, seconds: start.elapsed().as_secs_f64() };
        if is_on && self.mark(MARK_FLAT_OUT)? {
            // Even one that sees the newest message only, now and then, sees the mark.
            std::thread::sleep(6 * NAP);
            let (start, before) = (Instant::now(), self.published.messages);
            self.flat_out(start + part.flat_out)?;
            let messages = self.published.messages - before;
            self.published.flat_out = Stretch { messages, seconds: start.elapsed().as_secs_f64() };
        }
        // A signal has been obeyed by now; the end mark goes out all the same.
        let outgoing = self.publisher.message().header(MARK, MARK_END)?;
        outgoing.publish_within(&[], END_WITHIN)?;
        self.published.digest = self.digest.value();
        Ok(self.published)
    }

    /// At a pace, for so long; says whether no signal came.
    fn paced(&mut self, part: &PublisherPart) -> anyhow::Result<bool> {
        let mut pacer = Pacer::start(if part.shares_core { Finish::Yield } else { Finish::Spin });
        loop {
            let index = self.published.messages;
            let due = match part.pace {
                Pace::Recorded => self.script.due(index),
                Pace::PerSecond(rate) => Beat::per_second(rate).due(index),
            };
            if pacer.wait_until(due.min(part.paced), &self.signals).is_err() {
                return Ok(false);
            }
            if pacer.elapsed() >= part.paced {
                return Ok(true);
            }
            if !self.publish()? {
                return Ok(false);
            }
            self.tell_if_due(Instant::now(), false)?;
        }
    }

    fn flat_out(&mut self, until: Instant) -> anyhow::Result<()> {
        loop {
            for _ in 0..MESSAGES_PER_LOOK {
                if !self.publish()? {
                    return Ok(());
                }
            }
            let now = Instant::now();
            if now >= until || self.signals.stop().is_some() {
                return Ok(());
            }
            self.tell_if_due(now, true)?;
        }
    }

    /// Publishes the next message; says whether no signal came.
    #[inline]
    fn publish(&mut self) -> anyhow::Result<bool> {
        let message = self.script.message(self.published.messages);
        let waited = attach::publish(&mut self.publisher, Default::default(), message, &self.signals, None)
            .map_err(|error| attach::explain(error, self.topic, message.len()))?;
        let Waited::Ok(position) = waited else { return Ok(false) };
        self.digest.add(position, message);
        self.published.messages += 1;
        self.published.bytes += message.len() as u64;
        Ok(true)
    }

    fn mark(&mut self, mark: &[u8]) -> anyhow::Result<bool> {
        loop {
            match self.publisher.message().header(MARK, mark)?.publish_within(&[], Duration::from_millis(100)) {
                Err(error) if error.is_full() && self.signals.stop().is_none() => {}
                Err(error) if error.is_full() => return Ok(false),
                other => return Ok(other.map(|_| true)?),
            }
        }
    }

    #[inline]
    fn tell_if_due(&mut self, now: Instant, is_flat_out: bool) -> anyhow::Result<()> {
        if now < self.tell_next {
            return Ok(());
        }
        self.tell_next = now + TELL_EVERY;
        let seconds = (now - self.start).as_secs_f64();
        tell(&Report::Progress(Progress { seconds, messages: self.published.messages, is_flat_out, latency: None }))
    }
}
