//! What a message costs within one process: published, and received by the same thread from a warm cache.
//!
//! This is the least that the library itself costs; what crossing from core to core adds is measured by `memlane bench`.
//! `cargo bench -p memlane-benches --bench exchange` takes some 40 s; a word behind `--` chooses among the names.

#![forbid(unsafe_code)]

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use memlane::{Bus, Publisher, Publishers, Subscriber, Topic};
use memlane_benches::Quote;
use std::hint::black_box;
use std::time::Duration;

const BATCH: usize = 64;
const PUBLISHERS: [(&str, Publishers); 2] = [("one", Publishers::One), ("many", Publishers::Many(16))];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(50)
        .configure_from_args();
    // In shared memory, as topics are; gone with the last of its topics' users.
    let root = tempfile::tempdir_in("/dev/shm").expect("/dev/shm can be written");
    let bus = Bus::builder("exchange").root(root.path()).open().expect("its root was just made");
    one_by_one(&mut criterion, &bus);
    typed(&mut criterion, &bus);
    batches(&mut criterion, &bus);
    loans(&mut criterion, &bus);
    criterion.final_summary();
}

/// A fresh topic, and both ends of it.
fn raw_ends(bus: &Bus, publishers: Publishers) -> (Publisher<[u8]>, Subscriber<[u8]>) {
    let topic = fresh(bus, |topic| topic.publishers(publishers));
    let publisher = topic.publisher().open().expect("nobody else publishes");
    (publisher, topic.subscriber().open().expect("slots are free"))
}

fn fresh(bus: &Bus, with: impl FnOnce(memlane::TopicBuilder) -> memlane::TopicBuilder) -> Topic {
    // Those who have the last one keep its memory.
    let _ = bus.remove("t");
    with(bus.topic("t").expect("a name")).create().expect("the last one is gone")
}

/// Has the group tell messages and bytes per second, of so many messages an iteration.
fn set_throughput(group: &mut BenchmarkGroup<'_, WallTime>, messages: usize, payload_bytes: usize) {
    let (elements, bytes) = (messages as u64, (messages * payload_bytes) as u64);
    group.throughput(Throughput::ElementsAndBytes { elements, bytes });
}

fn one_by_one(criterion: &mut Criterion, bus: &Bus) {
    for (name, publishers) in PUBLISHERS {
        let mut group = criterion.benchmark_group(format!("one_by_one/{name}"));
        for bytes in [16, 48, 64, 256, 1024] {
            let (mut publisher, mut subscriber) = raw_ends(bus, publishers);
            let payload = vec![7_u8; bytes];
            set_throughput(&mut group, 1, bytes);
            group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
                bencher.iter(|| {
                    publisher.publish(black_box(&payload)).expect("the subscriber keeps up");
                    receive_one(&mut subscriber, bytes);
                });
            });
        }
        group.finish();
    }
}

/// Receives the message that is there, and touches both its ends.
fn receive_one(subscriber: &mut Subscriber<[u8]>, bytes: usize) {
    let sample = subscriber.try_receive().expect("it is whole").expect("it was just published");
    assert_eq!((sample[0], sample[bytes - 1]), (7, 7));
}

fn typed(criterion: &mut Criterion, bus: &Bus) {
    for (name, publishers) in PUBLISHERS {
        let mut group = criterion.benchmark_group(format!("typed/{name}"));
        let topic = fresh(bus, |topic| topic.publishers(publishers).message::<Quote>());
        let mut publisher = topic.publisher::<Quote>().open().expect("nobody else publishes");
        let mut subscriber = topic.subscriber::<Quote>().open().expect("slots are free");
        let quote = Quote { bid: 1, ask: 2, bid_size: 3, ask_size: 4, time: 5, symbol: *b"ZIEXT   " };
        set_throughput(&mut group, 1, 48);
        group.bench_function(BenchmarkId::from_parameter(48), |bencher| {
            bencher.iter(|| {
                publisher.publish(black_box(&quote)).expect("the subscriber keeps up");
                let sample = subscriber.try_receive().expect("it is valid").expect("it was just published");
                assert_eq!((sample.bid.to_native(), sample.time.to_native()), (1, 5));
            });
        });
        group.finish();
    }
}

fn batches(criterion: &mut Criterion, bus: &Bus) {
    for (name, publishers) in PUBLISHERS {
        let mut group = criterion.benchmark_group(format!("batches_of_{BATCH}/{name}"));
        for bytes in [16, 48, 64, 256, 1024] {
            let (mut publisher, mut subscriber) = raw_ends(bus, publishers);
            let payload = vec![7_u8; bytes];
            let batch = [&payload[..]; BATCH];
            set_throughput(&mut group, BATCH, bytes);
            group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
                bencher.iter(|| {
                    assert_eq!(publisher.publish_batch(black_box(&batch)).expect("the subscriber keeps up"), BATCH);
                    let mut sum = 0;
                    let received = subscriber.receive_batch(BATCH, |message| {
                        sum += message.map_or(0, |message| usize::from(message.view[bytes - 1]));
                    });
                    assert_eq!((received.expect("they are whole"), sum), (BATCH, 7 * BATCH));
                });
            });
        }
        group.finish();
    }
}

/// Written where it is read from 1,025 bytes on; here both ends of it, since filling memory isn't what is measured:
/// so no bytes per second.
fn loans(criterion: &mut Criterion, bus: &Bus) {
    for (name, publishers) in PUBLISHERS {
        let mut group = criterion.benchmark_group(format!("loan/{name}"));
        for bytes in [64, 1024, 64 << 10] {
            let (mut publisher, mut subscriber) = raw_ends(bus, publishers);
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
                bencher.iter(|| {
                    let mut loan = publisher.loan(bytes).expect("the subscriber keeps up");
                    let payload = loan.payload();
                    (payload[0], payload[bytes - 1]) = (7, 7);
                    loan.publish(bytes).expect("it was claimed");
                    receive_one(&mut subscriber, bytes);
                });
            });
        }
        group.finish();
    }
}
