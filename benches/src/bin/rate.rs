//! What a rate limit takes, beside governor's check before a publish: `cargo run --release -p memlane-benches --bin rate`.
//!
//! One thread publishes batches of 20,000 messages of 64 bytes by turns: without a limit, with one that never refuses, and without one
//! but after a check of governor's that never refuses either. Prints medians over rounds, and of what each takes more within a round.

#![forbid(unsafe_code)]

use governor::clock::{Clock, MonotonicClock, QuantaClock};
use governor::{Quota, RateLimiter};
use memlane::{Bus, Publisher, RateLimit};
use std::error::Error;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Instant;

const MESSAGES: usize = 20_000;
const ROUNDS: usize = 300;
/// A second and at once: never reached.
const PLENTY: u32 = 1_000_000_000;

type Batch = Box<dyn FnMut() -> Result<(), Box<dyn Error>>>;

fn main() -> Result<(), Box<dyn Error>> {
    let root = tempfile::tempdir_in("/dev/shm")?;
    let bus = Bus::builder("rate").root(root.path()).open()?;
    let plenty = u64::from(PLENTY);
    let messages = RateLimit::default().messages(plenty, plenty);
    let both = messages.bytes(1000 * plenty, 1000 * plenty);
    let publisher = |name: &str, own: RateLimit, of_topic: RateLimit| -> Result<Publisher<[u8]>, Box<dyn Error>> {
        Ok(bus.topic(name)?.rate_limit(of_topic).create()?.publisher::<[u8]>().rate_limit(own).open()?)
    };
    let none = RateLimit::default();
    let mut ways: [(&str, Batch); 7] = [
        ("no limit", alone(publisher("none", none, none)?)),
        ("own limit of messages", alone(publisher("own", messages, none)?)),
        ("own limit of messages and bytes", alone(publisher("own-both", both, none)?)),
        ("the topic's limit of messages", alone(publisher("topic", none, messages)?)),
        ("the topic's limit of messages and bytes", alone(publisher("topic-both", none, both)?)),
        ("governor, std's clock", checked(publisher("monotonic", none, none)?, MonotonicClock)),
        ("governor, quanta's clock", checked(publisher("quanta", none, none)?, QuantaClock::default())),
    ];
    let mut times = [const { Vec::new() }; 7];
    let mut extras = [const { Vec::new() }; 7];
    for round in 0..ROUNDS {
        let mut taken = [0.0; 7];
        // Each goes first as often as any other.
        for turn in 0..ways.len() {
            let way = (round + turn) % ways.len();
            let start = Instant::now();
            ways[way].1()?;
            taken[way] = start.elapsed().as_nanos() as f64 / MESSAGES as f64;
        }
        for (way, time) in taken.iter().enumerate() {
            times[way].push(*time);
            extras[way].push(time - taken[0]);
        }
    }
    for ((name, _), (time, extra)) in ways.iter().zip(times.into_iter().zip(extras)) {
        println!("{name:>40}: {:6.1} ns a publish, {:5.1} ns more", median(time), median(extra));
    }
    Ok(())
}

/// A batch that only publishes.
fn alone(mut publisher: Publisher<[u8]>) -> Batch {
    Box::new(move || {
        for _ in 0..MESSAGES {
            publisher.publish(black_box(&[7; 64]))?;
        }
        Ok(())
    })
}

/// A batch that asks governor before each publish.
fn checked<C: Clock + 'static>(mut publisher: Publisher<[u8]>, clock: C) -> Batch {
    let plenty = NonZeroU32::new(PLENTY).unwrap_or(NonZeroU32::MAX);
    let limiter = RateLimiter::direct_with_clock(Quota::per_second(plenty).allow_burst(plenty), clock);
    Box::new(move || {
        for _ in 0..MESSAGES {
            limiter.check().map_err(|_| "it was to let everything through")?;
            publisher.publish(black_box(&[7; 64]))?;
        }
        Ok(())
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
