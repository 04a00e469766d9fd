//! Subscribes and tallies, until the topic's last message comes or it is told to stop.

use super::{Prompt, say, say_ready};
use crate::random::Random;
use crate::role::{Report, Subscribe};
use crate::tally::Tally;
use memlane::{ReceiveError, Subscriber, Topic};
use std::time::{Duration, Instant};

/// How often somebody who waits for a message looks whether to stop.
const GLANCE: Duration = Duration::from_millis(20);

pub(super) fn play(plan: &Subscribe) -> anyhow::Result<()> {
    let topic = plan.place.open()?;
    let mut listener = Listener {
        plan,
        subscriber: open(plan, &topic)?,
        tally: Tally::new(plan.strictness),
        came_at: None,
        is_over: false,
    };
    let prompt = Prompt::listen();
    say_ready()?;
    let mut random = Random::new(1);
    let mut joined_at = 0;
    while !prompt.says_stop() && !listener.is_over {
        listener.turn();
        if plan.pause_at_random_us > 0 && random.below(64) == 0 {
            std::thread::sleep(Duration::from_micros(random.below(plan.pause_at_random_us)));
        }
        if plan.rejoin_every > 0 && listener.tally.messages >= joined_at + plan.rejoin_every {
            joined_at = listener.tally.messages;
            listener.subscriber = open(plan, &topic)?;
        }
    }
    let tally = listener.tally.clone();
    drop(listener);
    say(&Report::Received(tally))
}

fn open(plan: &Subscribe, topic: &Topic) -> anyhow::Result<Subscriber<[u8]>> {
    Ok(topic.subscriber::<[u8]>().kind(plan.manner.kind()).start(plan.start()).wait(plan.wait()).open()?)
}

struct Listener<'a> {
    plan: &'a Subscribe,
    subscriber: Subscriber<[u8]>,
    tally: Tally,
    came_at: Option<Instant>,
    is_over: bool,
}

impl Listener<'_> {
    fn turn(&mut self) {
        let before = self.tally.messages;
        let received = if self.plan.batch { self.receive_batch() } else { self.receive() };
        if let Err(error) = received {
            self.error(&error);
        }
        // The last message comes when the test has done what it had to do.
        if self.tally.messages > before && !self.tally.ended {
            let now = Instant::now();
            let gap = self.came_at.map_or(Duration::ZERO, |came_at| now - came_at);
            self.tally.longest_gap_us = self.tally.longest_gap_us.max(gap.as_micros() as u64);
            self.came_at = Some(now);
        }
        self.is_over |= self.tally.ended;
    }

    fn receive(&mut self) -> Result<(), ReceiveError> {
        let sample = match self.plan.patient {
            true => Some(self.subscriber.receive()?),
            false => self.subscriber.receive_within(GLANCE)?,
        };
        let Some(sample) = sample else { return Ok(()) };
        self.tally.message(sample.position(), &sample);
        if self.plan.hold_us > 0 {
            std::thread::sleep(Duration::from_micros(self.plan.hold_us));
            self.tally.still_whole(sample.position(), &sample);
        }
        Ok(())
    }

    fn receive_batch(&mut self) -> Result<(), ReceiveError> {
        let (tally, mut losses) = (&mut self.tally, Vec::new());
        let count = self.subscriber.receive_batch(16, |received| match received {
            Ok(received) => tally.message(received.position, received.view),
            Err(error) => losses.push(error),
        })?;
        losses.iter().for_each(|error| self.error(error));
        if count == 0 { self.receive() } else { Ok(()) }
    }

    fn error(&mut self, error: &ReceiveError) {
        self.tally.error(error);
        match error {
            ReceiveError::Forked | ReceiveError::Removed => self.is_over = true,
            ReceiveError::Corrupt { .. } if self.plan.forgiving => {
                // In memory that somebody damages all the time, the next look may find the same.
                let _ = self.subscriber.skip_to_live();
                std::thread::sleep(Duration::from_micros(100));
            }
            ReceiveError::Corrupt { .. } => self.is_over = true,
            _ => {}
        }
    }
}
