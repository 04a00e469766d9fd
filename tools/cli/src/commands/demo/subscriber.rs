//! A subscriber of the demo, in its own process.

use std::time::{Duration, Instant};

use memlane::{ReceiveError, Received as Message, Start, Topic};
use memlane_shm::clock::Ticker;

use super::digest::Digest;
use super::show::BOUNDS_NS;
use super::wire::{MARK, MARK_END, MARK_FLAT_OUT, NAP, Progress, Received, Report, SubscriberPart, Waiting, tell};
use crate::commands::latencies::Latencies;

/// How often it tells how far it is.
const TELL_EVERY: Duration = Duration::from_millis(200);
const BATCH_MESSAGES_MAX: usize = 64;

/// Receives until the end mark, and tells about it.
pub(super) fn run(part: SubscriberPart, topic: &Topic) -> anyhow::Result<()> {
    let result = receive_all(part, topic);
    tell(&match result {
        Ok(received) => Report::Received(received),
        Err(error) => Report::Failed(format!("{error:#}")),
    })
}

fn receive_all(part: SubscriberPart, topic: &Topic) -> anyhow::Result<Received> {
    let builder = topic.subscriber::<[u8]>().kind(part.manner.into()).wait(part.waiting.into());
    let mut subscriber = builder.start(Start::Earliest).open()?;
    let mut notes = Notes::new(topic);
    tell(&Report::Ready)?;
    let start = Instant::now();
    let mut tell_next = start + TELL_EVERY;
    while !notes.has_ended {
        let count = match subscriber.receive_batch(BATCH_MESSAGES_MAX, |next| notes.take(next)) {
            Ok(count) => count,
            Err(error) => {
                notes.take(Err(error));
                1
            }
        };
        if part.waiting == Waiting::Naps {
            std::thread::sleep(NAP);
        } else if count == 0 {
            match subscriber.receive_within(TELL_EVERY) {
                Ok(Some(sample)) => notes.take(Ok(&sample.received())),
                Ok(None) => {}
                Err(error) => notes.take(Err(error)),
            }
        }
        if let Some(error) = notes.failure.take() {
            return Err(error.into());
        }
        // Right after a message, when the next is not yet due.
        let now = Instant::now();
        if now >= tell_next {
            tell_next = now + TELL_EVERY;
            tell(&Report::Progress(notes.progress(now - start)))?;
        }
    }
    notes.received.digest = notes.digest.value();
    notes.received.latency = notes.latencies.figures();
    notes.received.histogram = notes.latencies.counts_below(&BOUNDS_NS);
    Ok(notes.received)
}

/// What it takes down.
struct Notes<'a> {
    topic: &'a Topic,
    ticker: Ticker,
    latencies: Latencies,
    digest: Digest,
    received: Received,
    preemptions_before: u64,
    last_position: Option<u64>,
    is_flat_out: bool,
    has_ended: bool,
    failure: Option<ReceiveError>,
}

impl<'a> Notes<'a> {
    fn new(topic: &'a Topic) -> Self {
        Self {
            topic,
            ticker: Ticker::best(),
            latencies: Latencies::new(),
            digest: Digest::default(),
            received: Received::default(),
            preemptions_before: preemptions(),
            last_position: None,
            is_flat_out: false,
            has_ended: false,
            failure: None,
        }
    }

    #[inline]
    fn take(&mut self, next: Result<&Message<'_, [u8]>, ReceiveError>) {
        match next {
            Ok(message) => self.message(message),
            Err(ReceiveError::Lost { from, to }) => {
                self.received.lost_ranges += 1;
                self.received.lost_bytes += to.saturating_sub(from);
            }
            Err(error) => self.failure = Some(error),
        }
    }

    #[inline]
    fn message(&mut self, message: &Message<'_, [u8]>) {
        // First of all, so that nothing that is done here counts.
        let now = if self.is_flat_out { 0 } else { self.ticker.now() };
        if message.view.is_empty() {
            return self.mark(message);
        }
        if let Some(stamp) = message.stamp()
            && !self.is_flat_out
        {
            self.latencies.record(self.topic.stamp_unix_ns(now).saturating_sub(self.topic.stamp_unix_ns(stamp)));
        }
        self.digest.add(message.position, message.view);
        self.received.out_of_order += u64::from(self.last_position.is_some_and(|last| message.position <= last));
        self.last_position = Some(message.position);
        self.received.messages += 1;
        self.received.bytes += message.view.len() as u64;
    }

    #[cold]
    fn mark(&mut self, message: &Message<'_, [u8]>) {
        match message.headers().find(|header| header.0 == MARK).map(|header| header.1) {
            Some(MARK_FLAT_OUT) => {
                self.is_flat_out = true;
                self.received.preemptions = preemptions().saturating_sub(self.preemptions_before);
            }
            Some(MARK_END) => self.has_ended = true,
            _ => {}
        }
    }

    fn progress(&self, since: Duration) -> Progress {
        Progress {
            seconds: since.as_secs_f64(),
            messages: self.received.messages,
            is_flat_out: self.is_flat_out,
            latency: Some(self.latencies.figures()),
        }
    }
}

/// How often the kernel gave this process's core to others while it wanted it; zero where the kernel doesn't say.
fn preemptions() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let count = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
