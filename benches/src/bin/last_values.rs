//! What keeping the last message of each key costs: `cargo run --release -p memlane-benches --bin last_values`.
//!
//! One thread publishes messages of 64 bytes with a key of 8, by turns to a topic that keeps last values and to one that doesn't, which
//! are alike otherwise; nobody subscribes. Then it joins, with 1,000 to 100,000 keys in the table. Prints medians over rounds, and of the
//! ratio within a round.

#![forbid(unsafe_code)]

use memlane::{Bus, Kind, Publisher};
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

const MESSAGES: u64 = 20_000;
const ROUNDS: usize = 200;
const JOINS: usize = 21;

fn main() -> Result<(), Box<dyn Error>> {
    let root = tempfile::tempdir_in("/dev/shm")?;
    let bus = Bus::builder("last").root(root.path()).open()?;
    for keys in [16, 1_000, 100_000] {
        let plain_name = format!("plain-{keys}");
        let mut plain = bus.topic(&plain_name)?.create()?.publisher::<[u8]>().open()?;
        let topic = bus.topic(&format!("kept-{keys}"))?.last_values(keys as u32, 128).create()?;
        let mut kept = topic.publisher::<[u8]>().open()?;
        let (mut plain_ns, mut kept_ns, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        // Each key has its place when it is measured.
        publish(&mut kept, keys, 2 * keys)?;
        for round in 0..ROUNDS {
            let measure = |publisher: &mut Publisher<[u8]>| publish(publisher, keys, MESSAGES);
            let (before, after) = if round % 2 == 0 {
                let before = measure(&mut plain)?;
                (before, measure(&mut kept)?)
            } else {
                let after = measure(&mut kept)?;
                (measure(&mut plain)?, after)
            };
            let [before, after] = [before, after].map(|time| time.as_nanos() as f64 / MESSAGES as f64);
            plain_ns.push(before);
            kept_ns.push(after);
            ratios.push(after / before);
        }
        let [plain_ns, kept_ns, ratio] = [plain_ns, kept_ns, ratios].map(median);
        println!("{keys} keys: a publish takes {plain_ns:.1} ns without last values, {kept_ns:.1} ns with: {ratio:.2}");
        for kind in [Kind::Gated, Kind::Lossy] {
            let mut times = Vec::new();
            for _ in 0..JOINS {
                let start = Instant::now();
                let (values, _) = topic.subscriber::<[u8]>().kind(kind).open_with_last_values()?;
                times.push(start.elapsed().as_nanos() as f64 / 1e6);
                assert_eq!(values.len() as u64, keys);
            }
            println!("{keys} keys: joining {kind:?} with all of them takes {:.2} ms", median(times));
        }
        let mut times = Vec::new();
        for _ in 0..JOINS {
            let start = Instant::now();
            black_box(topic.subscriber::<[u8]>().open()?);
            times.push(start.elapsed().as_nanos() as f64 / 1e6);
        }
        println!("{keys} keys: joining without them takes {:.2} ms", median(times));
        bus.remove(&plain_name)?;
    }
    Ok(())
}

/// Publishes so many messages, with a key after the other.
fn publish(publisher: &mut Publisher<[u8]>, keys: u64, messages: u64) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    for message in 0..messages {
        // Not in their order of registration: far from one another.
        let key = message.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys;
        publisher.message().key(&key.to_le_bytes())?.publish(black_box(&[7; 64]))?;
    }
    Ok(start.elapsed())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
