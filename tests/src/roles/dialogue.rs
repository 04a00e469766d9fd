//! Two who answer each other: when a wake-up is lost, both sleep for ever.

use super::{Prompt, say, say_ready};
use crate::random::Random;
use crate::role::{Place, Report};
use memlane::{Subscriber, Wait};
use std::time::{Duration, Instant};

/// An answer comes at a random moment of this time, in which the other one is going to sleep.
const HESITATION: Duration = Duration::from_micros(30);

pub(super) fn play(hears: &Place, says: &Place, messages: u64, begins: bool) -> anyhow::Result<()> {
    let mut random = Random::new(messages + u64::from(begins));
    let mut publisher = says.open()?.publisher::<[u8]>().open()?;
    let mut subscriber = hears.open()?.subscriber::<[u8]>().wait(Wait::Block { spins: 10 }).open()?;
    say_ready()?;
    if begins {
        Prompt::listen().await_go();
    }
    for number in 0..messages {
        if !begins {
            hear(&mut subscriber, number)?;
        }
        let until = Instant::now() + random.time_below(HESITATION);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        publisher.publish(&number.to_le_bytes())?;
        if begins {
            hear(&mut subscriber, number)?;
        }
    }
    say(&Report::Answer(Ok(messages)))
}

fn hear(subscriber: &mut Subscriber<[u8]>, number: u64) -> anyhow::Result<()> {
    let sample = subscriber.receive()?;
    anyhow::ensure!(*sample == number.to_le_bytes(), "message {number} was expected, {:?} came", &*sample);
    Ok(())
}
