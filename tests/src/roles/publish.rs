//! Publishes marked payloads in all ways that there are, and writes down what it did.

use super::{Prompt, say, say_ready};
use crate::ledger::Ledger;
use crate::payload::Mark;
use crate::random::Random;
use crate::role::{Publish, Report, Way};
use anyhow::Context;
use memlane::{PublishError, Publisher, Start, Topic, Wait};
use std::time::{Duration, Instant};

/// How often somebody who waits for room looks whether to stop.
const GLANCE: Duration = Duration::from_millis(20);
const BATCH: u64 = 8;

pub(super) fn play(plan: &Publish) -> anyhow::Result<()> {
    let topic = plan.place.open()?;
    if plan.stand_by_ms > 0 {
        say(&Report::StandsBy)?;
    }
    let mut speaker = Speaker::new(plan, &topic)?;
    let mut random = Random::new(plan.sender.into());
    let prompt = Prompt::listen();
    say_ready()?;
    if plan.wait_for_go {
        prompt.await_go();
    }
    while !prompt.says_stop()
        && (plan.messages == 0 || speaker.count < plan.messages)
        && (plan.forgiving || speaker.errors.len() < 8)
    {
        speaker.turn(&topic)?;
        if plan.pause_us > 0 {
            std::thread::sleep(Duration::from_micros(plan.pause_us));
        }
        if plan.pause_at_random_us > 0 && random.below(64) == 0 {
            std::thread::sleep(Duration::from_micros(random.below(plan.pause_at_random_us)));
        }
    }
    let longest_wait_us = speaker.longest_wait.as_micros() as u64;
    let (messages, errors) = (speaker.count, std::mem::take(&mut speaker.errors));
    drop(speaker);
    say(&Report::Published { messages, longest_wait_us, errors })
}

struct Speaker<'a> {
    plan: &'a Publish,
    publisher: Option<Publisher<[u8]>>,
    ledger: Ledger,
    /// The number of the next message.
    next: u64,
    /// Messages published by this process.
    count: u64,
    opened_at: u64,
    waiting_since: Option<Instant>,
    longest_wait: Duration,
    errors: Vec<String>,
    buffers: Vec<Vec<u8>>,
}

impl<'a> Speaker<'a> {
    fn new(plan: &'a Publish, topic: &Topic) -> anyhow::Result<Self> {
        let ledger = Ledger::open(&plan.place.ledger())?;
        let publisher = open(plan, topic)?;
        let next = if plan.resume { resume(plan, topic, &ledger)? } else { 0 };
        Ok(Self {
            plan,
            publisher: Some(publisher),
            ledger,
            next,
            count: 0,
            opened_at: 0,
            waiting_since: None,
            longest_wait: Duration::ZERO,
            errors: Vec::new(),
            buffers: vec![Vec::new(); BATCH as usize],
        })
    }

    /// Publishes once, or waits a moment for room.
    fn turn(&mut self, topic: &Topic) -> anyhow::Result<()> {
        if self.plan.reopen_every > 0 && self.count >= self.opened_at + self.plan.reopen_every {
            self.opened_at = self.count;
            self.publisher = None;
            self.publisher = Some(open(self.plan, topic)?);
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let published = match self.way() {
            Way::Batch => self.batch()?,
            Way::Loan => self.loan()?,
            Way::Single | Way::Mixed => self.single()?,
        };
        match published {
            Ok(0) => {}
            Ok(count) => {
                self.next += count;
                self.count += count;
                self.ledger.published(self.plan.sender, self.next)?;
                self.longest_wait = self.longest_wait.max(since.elapsed());
                self.waiting_since = None;
            }
            Err(error) if error.is_full() || error.is_rate_limited() => {}
            Err(error) => {
                self.errors.push(error.to_string());
                self.errors.truncate(8);
            }
        }
        Ok(())
    }

    fn way(&self) -> Way {
        match self.plan.way {
            Way::Mixed => [Way::Single, Way::Batch, Way::Loan][(self.next / BATCH % 3) as usize],
            way => way,
        }
    }

    fn mark(&self, index: u64) -> Mark {
        Mark { sender: self.plan.sender, number: self.next + index }
    }

    fn single(&mut self) -> anyhow::Result<Result<u64, PublishError>> {
        let mark = self.mark(0);
        self.buffers[0].resize(mark.length(self.plan.bytes_max), 0);
        mark.fill(&mut self.buffers[0]);
        self.ledger.begin(self.plan.sender, self.next + 1)?;
        let publisher = self.publisher.as_mut().context("open")?;
        Ok(publisher.publish_within(&self.buffers[0], GLANCE).map(|_| 1))
    }

    fn batch(&mut self) -> anyhow::Result<Result<u64, PublishError>> {
        for index in 0..BATCH {
            let mark = self.mark(index);
            let buffer = &mut self.buffers[index as usize];
            buffer.resize(mark.length(self.plan.bytes_max), 0);
            mark.fill(buffer);
        }
        self.ledger.begin(self.plan.sender, self.next + BATCH)?;
        let messages: Vec<&[u8]> = self.buffers.iter().map(Vec::as_slice).collect();
        let publisher = self.publisher.as_mut().context("open")?;
        Ok(publisher.publish_batch_within(&messages, GLANCE).map(|count| count as u64))
    }

    /// Writes in place; of mixed ways, gives some claims up and uses some in part.
    fn loan(&mut self) -> anyhow::Result<Result<u64, PublishError>> {
        let mark = self.mark(0);
        let length = mark.length(self.plan.bytes_max);
        let (gives_up, in_part) =
            (self.plan.way == Way::Mixed && mark.number.is_multiple_of(5), mark.number.is_multiple_of(3));
        let claimed = if in_part { (length + 200).min(self.plan.bytes_max) } else { length };
        self.ledger.begin(self.plan.sender, self.next + 1)?;
        let publisher = self.publisher.as_mut().context("open")?;
        if gives_up {
            match publisher.loan_within(claimed, GLANCE) {
                Ok(mut loan) => loan.payload().fill(0xee),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(publisher.loan_within(claimed, GLANCE).and_then(|mut loan| {
            mark.fill(&mut loan.payload()[..length]);
            loan.publish(length).map(|_| 1)
        }))
    }
}

fn open(plan: &Publish, topic: &Topic) -> anyhow::Result<Publisher<[u8]>> {
    let wait = if plan.spin { Wait::SpinThenYield { spins: 100 } } else { Wait::default() };
    let stand_by = Duration::from_millis(plan.stand_by_ms);
    Ok(topic.publisher::<[u8]>().wait(wait).stand_by(stand_by).open()?)
}

/// Where a publisher that follows another one goes on: after the newest message in the log.
fn resume(plan: &Publish, topic: &Topic, ledger: &Ledger) -> anyhow::Result<u64> {
    let mut subscriber = topic.subscriber::<[u8]>().lossy().start(Start::Latest).open()?;
    let newest = subscriber.try_receive()?;
    let next = match newest {
        Some(sample) => Mark::check(&sample).map_err(anyhow::Error::msg)?.number + 1,
        None => 0,
    };
    let published = ledger.entry(plan.sender)?.published;
    anyhow::ensure!(next >= published, "the log ends with message {next}, {published} were published");
    Ok(next)
}
