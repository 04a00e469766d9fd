//! What passing over a frame by its key takes, beside reading one of 64 bytes: `cargo run --release -p memlane-benches --bin skipping`.
//!
//! One thread publishes 20,000 messages with a key, which is more than the second-level cache holds, and then has two subscribers take them by turns: one that reads each
//! whole, and one whose filter wants none. Prints medians over rounds, and of the ratio within a round.

#![forbid(unsafe_code)]

use memlane::{Bus, Filter, Subscriber};
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

const MESSAGES: usize = 20_000;
const ROUNDS: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let root = tempfile::tempdir_in("/dev/shm")?;
    let bus = Bus::builder("skipping").root(root.path()).open()?;
    let topic = bus.topic("t")?.create()?;
    let mut publisher = topic.publisher::<[u8]>().open()?;
    let mut reader = topic.subscriber::<[u8]>().open()?;
    let mut skipper = topic.subscriber::<[u8]>().filter(Filter::key("wanted")).open()?;
    let (mut read_ns, mut skip_ns, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for _ in 0..MESSAGES {
            publisher.message().key(b"other!")?.publish(black_box(&[7; 64]))?;
        }
        // Who comes first finds the lines farther away.
        let (read, skipped) = if round % 2 == 0 {
            let read = read_all(&mut reader)?;
            (read, skip_all(&mut skipper)?)
        } else {
            let skipped = skip_all(&mut skipper)?;
            (read_all(&mut reader)?, skipped)
        };
        read_ns.push(per_message(read));
        skip_ns.push(per_message(skipped));
        ratios.push(per_message(skipped) / per_message(read));
    }
    let [read, skipped, ratio] = [read_ns, skip_ns, ratios].map(median);
    println!("reading a message of 64 bytes with a key: {read:.1} ns");
    println!("passing over one whose key isn't wanted:  {skipped:.1} ns");
    println!("ratio: {ratio:.2}");
    Ok(())
}

fn read_all(subscriber: &mut Subscriber<[u8]>) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    let mut sum = 0_u64;
    for _ in 0..MESSAGES {
        let sample = subscriber.try_receive()?.ok_or("a message is missing")?;
        sum += sample.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    }
    let taken = start.elapsed();
    assert_eq!(sum, 7 * 64 * MESSAGES as u64);
    Ok(taken)
}

fn skip_all(subscriber: &mut Subscriber<[u8]>) -> Result<Duration, Box<dyn Error>> {
    let (from, start) = (subscriber.position(), Instant::now());
    assert!(subscriber.try_receive()?.is_none(), "no message has that key");
    let taken = start.elapsed();
    assert!(subscriber.position() - from >= 64 * MESSAGES as u64, "it passed over all of them");
    Ok(taken)
}

fn per_message(time: Duration) -> f64 {
    time.as_nanos() as f64 / MESSAGES as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
