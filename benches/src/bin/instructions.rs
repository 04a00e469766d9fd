//! What callgrind counts: publishing and receiving, in bursts, each in a function of its own.
//!
//! `cargo xtask instructions` runs it under callgrind for each case and prints instructions per message. Usage:
//! `instructions CASE PAYLOAD_BYTES SUBSCRIBERS`; the cases are those of `main`. Prints how many messages went through each
//! of the functions that are counted. The `nothing` cases are the loops around the calls alone, to be taken off.

#![forbid(unsafe_code)]

use memlane::{Bus, Kind, Publisher, Publishers, Subscriber, Topic, Wait};
use memlane_benches::Quote;
use std::hint::black_box;
use std::time::Duration;

/// Messages of a burst; small enough that no burst fills the ring.
const BURST: usize = 1_000;
/// Bursts; several laps of the ring, so that reclaiming is counted.
const BURSTS: usize = 200;

const QUOTE: Quote = Quote { bid: 1, ask: 2, bid_size: 3, ask_size: 4, time: 5, symbol: *b"ZIEXT   " };

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
    let messages = match case.as_str() {
        "one" | "many" => raw(&builder.create()?, &payload, subscribers)?,
        "one-asleep" => asleep(&builder.create()?, &payload, subscribers)?,
        "one-batch" | "many-batch" => batches(&builder.create()?, &payload, subscribers)?,
        "one-loan" => loans(&builder.create()?, payload.len(), subscribers)?,
        "typed" => typed(&builder.message::<Quote>().create()?)?,
        "nothing" => (0..BURSTS).map(|_| publish_nothing(&payload[..]).min(receive_nothing(&payload))).sum(),
        "nothing-typed" => (0..BURSTS).map(|_| publish_nothing(&QUOTE)).sum(),
        _ => return Err("no such case".into()),
    };
    println!("{messages}");
    std::fs::remove_dir_all(&root)?;
    Ok(())
}

fn open(topic: &Topic, count: usize) -> Result<Vec<Subscriber<[u8]>>, memlane::OpenError> {
    (0..count).map(|_| topic.subscriber::<[u8]>().kind(Kind::Gated).wait(Wait::BusySpin).open()).collect()
}

fn raw(topic: &Topic, payload: &[u8], count: usize) -> Result<usize, Box<dyn std::error::Error>> {
    let mut subscribers = open(topic, count)?;
    let mut publisher = topic.publisher::<[u8]>().open()?;
    for _ in 0..BURSTS {
        assert_eq!(publish_burst(&mut publisher, payload, BURST), BURST);
        let received: usize = subscribers.iter_mut().map(receive_burst).sum();
        assert_eq!(received, BURST * count);
    }
    Ok(BURST * BURSTS)
}

/// Every message finds all subscribers asleep.
fn asleep(topic: &Topic, payload: &[u8], count: usize) -> Result<usize, Box<dyn std::error::Error>> {
    let wait = Wait::Block { spins: 0 };
    let subscribers = (0..count).map(|_| topic.subscriber::<[u8]>().wait(wait).open());
    let subscribers = subscribers.collect::<Result<Vec<_>, _>>()?;
    let mut publisher = topic.publisher::<[u8]>().open()?;
    std::thread::scope(|scope| {
        for mut subscriber in subscribers {
            scope.spawn(move || {
                (0..BURSTS).for_each(|_| assert!(subscriber.receive().is_ok_and(|sample| sample[0] == 7)))
            });
        }
        for _ in 0..BURSTS {
            // Long enough for all of them, on one core, to read the last one and to fall asleep.
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(publish_burst(&mut publisher, payload, 1), 1);
        }
    });
    Ok(BURSTS)
}

fn batches(topic: &Topic, payload: &[u8], count: usize) -> Result<usize, Box<dyn std::error::Error>> {
    let mut subscribers = open(topic, count)?;
    let mut publisher = topic.publisher::<[u8]>().open()?;
    let batch = vec![payload; BURST];
    for _ in 0..BURSTS {
        assert_eq!(publish_batches(&mut publisher, &batch), BURST);
        let received: usize = subscribers.iter_mut().map(receive_batches).sum();
        assert_eq!(received, BURST * count);
    }
    Ok(BURST * BURSTS)
}

fn loans(topic: &Topic, bytes: usize, count: usize) -> Result<usize, Box<dyn std::error::Error>> {
    let mut subscribers = open(topic, count)?;
    let mut publisher = topic.publisher::<[u8]>().open()?;
    for _ in 0..BURSTS {
        assert_eq!(publish_loans(&mut publisher, bytes), BURST);
        let received: usize = subscribers.iter_mut().map(receive_burst).sum();
        assert_eq!(received, BURST * count);
    }
    Ok(BURST * BURSTS)
}

fn typed(topic: &Topic) -> Result<usize, Box<dyn std::error::Error>> {
    let mut subscriber = topic.subscriber::<Quote>().open()?;
    let mut publisher = topic.publisher::<Quote>().open()?;
    for _ in 0..BURSTS {
        assert_eq!(publish_quotes(&mut publisher, &QUOTE), BURST);
        let mut sum = 0;
        while let Some(sample) = subscriber.receive_within(Duration::ZERO)? {
            sum += sample.bid.to_native();
        }
        assert_eq!(sum, BURST as i64);
    }
    Ok(BURST * BURSTS)
}

#[inline(never)]
fn publish_burst(publisher: &mut Publisher<[u8]>, payload: &[u8], count: usize) -> usize {
    (0..count).filter(|_| publisher.publish(black_box(payload)).is_ok()).count()
}

#[inline(never)]
fn publish_loans(publisher: &mut Publisher<[u8]>, bytes: usize) -> usize {
    let mut publish = || {
        let mut loan = publisher.loan(black_box(bytes))?;
        loan.payload()[..8].copy_from_slice(&[7; 8]);
        loan.publish(bytes)
    };
    (0..BURST).filter(|_| publish().is_ok()).count()
}

#[inline(never)]
fn publish_quotes(publisher: &mut Publisher<Quote>, quote: &Quote) -> usize {
    (0..BURST).filter(|_| publisher.publish(black_box(quote)).is_ok()).count()
}

/// The loop of the two above, without the publish.
#[inline(never)]
fn publish_nothing<T: ?Sized>(message: &T) -> usize {
    (0..BURST).filter(|_| size_of_val(black_box(message)) > 0).count()
}

#[inline(never)]
fn receive_burst(subscriber: &mut Subscriber<[u8]>) -> usize {
    let mut count = 0;
    while let Ok(Some(sample)) = subscriber.try_receive() {
        count += usize::from(sample[0] == 7);
    }
    count
}

/// The loop of the one above, with the look at the payload and without the receiving.
#[inline(never)]
fn receive_nothing(payload: &[u8]) -> usize {
    (0..BURST).map(|_| usize::from(black_box(payload)[0] == 7)).sum()
}

#[inline(never)]
fn publish_batches(publisher: &mut Publisher<[u8]>, batch: &[&[u8]]) -> usize {
    let mut published = 0;
    while let Ok(count @ 1..) = publisher.publish_batch(&batch[published..]) {
        published += count;
    }
    published
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
