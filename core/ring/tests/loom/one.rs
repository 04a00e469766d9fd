//! One publisher.

use crate::kit::{self, Expected, check};
use loom::thread;
use memlane_ring::model::{self, CELL, Publish, Topic};
use memlane_ring::{Gated, OnePublisher, Publishers, Start};

/// A ring of four cells with a message in each of its first `published`, all read by the gated subscriber.
fn used_topic(published: u64) -> (Topic, OnePublisher, Gated, Expected) {
    let topic = Topic::new(4, Publishers::One, 1);
    let mut publisher = topic.one().unwrap();
    let mut gated = topic.gated(Start::Earliest).unwrap();
    let mut read = Expected::from(0);
    for number in 0..published {
        publisher.publish_words(number, 2).unwrap();
        read.poll_gated(&mut gated, 1);
    }
    (topic, publisher, gated, read)
}

/// Publishes messages from `number` on as long as there is room, at most `count`; gives the number of the next.
fn publish(publisher: &mut OnePublisher, number: u64, count: usize) -> u64 {
    number + kit::publish_all(publisher, number, &vec![2; count]).len() as u64
}

#[test]
fn over_a_lap_the_gated_sees_all_and_the_lossy_sees_or_is_told() {
    check(3, || {
        let (topic, mut publisher, mut gated, mut read) = used_topic(2);
        let mut lossy = topic.lossy(Start::Earliest);
        let mut copied = Expected::from(0);
        let writer = thread::spawn(move || {
            let next = publish(&mut publisher, 2, 4);
            (publisher, next)
        });
        let reader = thread::spawn(move || {
            read.poll_gated(&mut gated, 2);
            (gated, read)
        });
        copied.poll_lossy(&mut lossy, 2);
        let (publisher, published) = writer.join().unwrap();
        let (mut gated, mut read) = reader.join().unwrap();
        read.poll_gated(&mut gated, 5);
        copied.poll_lossy(&mut lossy, 6);
        assert_eq!((read.next(), copied.next()), (published * CELL, published * CELL));
        drop(publisher);
    });
}

#[test]
fn the_latest_is_whole_and_newer_than_the_one_before() {
    check(3, || {
        let (topic, mut publisher, gated, _) = used_topic(3);
        drop(gated);
        let mut lossy = topic.lossy(Start::Latest);
        let writer = thread::spawn(move || {
            let next = publish(&mut publisher, 3, 4);
            (publisher, next)
        });
        let mut newest = None;
        for _ in 0..3 {
            if let Some(seen) = model::read_latest(&mut lossy).unwrap() {
                assert!(Some(seen) > newest && seen.1 == seen.0 / CELL, "{seen:?} after {newest:?}");
                newest = Some(seen);
            }
        }
        let (publisher, published) = writer.join().unwrap();
        let last = model::read_latest(&mut lossy).unwrap().or(newest);
        assert_eq!(last, Some(((published - 1) * CELL, published - 1)));
        drop(publisher);
    });
}
