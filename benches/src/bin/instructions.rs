//! What callgrind counts: publishing and receiving, in bursts, each in a function of its own.
//!
//! `cargo xtask instructions` runs it under callgrind for each case and prints instructions per message. Usage:
//! `instructions CASE PAYLOAD_BYTES SUBSCRIBERS`, where CASE is `one`, `many`, `one-batch`, `many-batch` or `typed`.

#![forbid(unsafe_code)]

use memlane::{Bus, Kind, Message, Publisher, Publishers, Subscriber, Topic, Wait};
use rkyv::{Archive, Serialize};
use std::hint::black_box;
use std::time::Duration;

/// Messages of a burst; small enough that no burst fills the ring.
const BURST: usize = 1_000;
/// Bursts; several laps of the ring, so that reclaiming is counted.
const BURSTS: usize = 200;

/// A message of 48 bytes.
#[derive(Archive, Serialize, Message)]
struct Quote {
    bid: i64,
    ask: i64,
    bid_size: u64,
    ask_size: u64,
    time: u64,
    symbol: [u8; 8],
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, case, payload_bytes, subscribers] = &arguments[..] else {
        return Err("usage: instructions CASE PAYLOAD_BYTES SUBSCRIBERS".into());
    };
    let payload = vec![7_u8; payload_bytes.parse()?];
    let subscribers: usize = subscribers.parse()?;
    let root = std::env::temp_dir().join(format!("memlane-instructions-{}", std::process::id()));
    std::fs::create_dir_all(&root)?;
    let bus = Bus::builder("instructions").root(&root).open()?;
    let publishers = if case.starts_with("many") { Publishers::Many(16) } else { Publishers::One };
    let builder = bus.topic("t")?.publishers(publishers).prefault(false);
    match case.as_str() {
        "typed" => typed(&builder.message::<Quote>().create()?)?,
        "one-batch" | "many-batch" => batches(&builder.create()?, &payload, subscribers)?,
        _ => raw(&builder.create()?, &payload, subscribers)?,
    }
    std::fs::remove_dir_all(&root)?;
    Ok(())
}

fn open(topic: &Topic, count: usize) -> Result<Vec<Subscriber<[u8]>>, memlane::OpenError> {
    (0..count).map(|_| topic.subscriber::<[u8]>().kind(Kind::Gated).wait(Wait::BusySpin).open()).collect()
}

fn raw(topic: &Topic, payload: &[u8], count: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut subscribers = open(topic, count)?;
    let mut publisher = topic.publisher::<[u8]>().open()?;
    for _ in 0..BURSTS {
        assert_eq!(publish_burst(&mut publisher, payload), BURST);
        let received: usize = subscribers.iter_mut().map(receive_burst).sum();
        assert_eq!(received, BURST * count);
    }
    Ok(())
}

fn batches(topic: &Topic, payload: &[u8], count: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut subscribers = open(topic, count)?;
    let mut publisher = topic.publisher::<[u8]>().open()?;
    let batch = vec![payload; BURST];
    for _ in 0..BURSTS {
        assert_eq!(publish_batches(&mut publisher, &batch), BURST);
        let received: usize = subscribers.iter_mut().map(receive_batches).sum();
        assert_eq!(received, BURST * count);
    }
    Ok(())
}

fn typed(topic: &Topic) -> Result<(), Box<dyn std::error::Error>> {
    let mut subscriber = topic.subscriber::<Quote>().open()?;
    let mut publisher = topic.publisher::<Quote>().open()?;
    let quote = Quote { bid: 1, ask: 2, bid_size: 3, ask_size: 4, time: 5, symbol: *b"ZIEXT   " };
    for _ in 0..BURSTS {
        assert_eq!(publish_quotes(&mut publisher, &quote), BURST);
        let mut sum = 0;
        while let Some(sample) = subscriber.receive_within(Duration::ZERO)? {
            sum += sample.bid.to_native();
        }
        assert_eq!(sum, BURST as i64);
    }
    Ok(())
}

#[inline(never)]
fn publish_burst(publisher: &mut Publisher<[u8]>, payload: &[u8]) -> usize {
    (0..BURST).filter(|_| publisher.publish(black_box(payload)).is_ok()).count()
}

#[inline(never)]
fn receive_burst(subscriber: &mut Subscriber<[u8]>) -> usize {
    let mut count = 0;
    while let Ok(Some(sample)) = subscriber.try_receive() {
        count += usize::from(sample[0] == 7);
    }
    count
}

#[inline(never)]
fn publish_batches(publisher: &mut Publisher<[u8]>, batch: &[&[u8]]) -> usize {
    publisher.publish_batch(batch).unwrap_or(0)
}

#[inline(never)]
fn receive_batches(subscriber: &mut Subscriber<[u8]>) -> usize {
    let mut count = 0;
    while let Ok(received @ 1..) = subscriber.receive_batch(64, |message| {
        count += message.map_or(0, |message| usize::from(message.view[0] == 7));
    }) {
        let _ = received;
    }
    count
}

#[inline(never)]
fn publish_quotes(publisher: &mut Publisher<Quote>, quote: &Quote) -> usize {
    (0..BURST).filter(|_| publisher.publish(quote).is_ok()).count()
}
