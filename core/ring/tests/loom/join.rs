//! A gated subscriber joins while publishers make room: where it begins, and all that comes after, is whole.

use crate::kit::{Expected, check, publish_all};
use loom::thread;
use memlane_ring::model::{self, CELL, Publish, Topic};
use memlane_ring::{Publishers, Start};
use std::rc::Rc;

/// Somebody joins while a publisher, which nobody has held up so far, goes over the end of the lap.
fn joins_while_room_is_made<P: Publish + 'static>(publishers: Publishers, start: Start, publisher: fn(&Topic) -> P) {
    check(3, move || {
        let topic = Topic::new(4, publishers, 1);
        let mut publisher = publisher(&topic);
        assert_eq!(publish_all(&mut publisher, 0, &[2; 3]).len(), 3);
        let writer = thread::spawn(move || {
            let published = 3 + publish_all(&mut publisher, 3, &[2; 3]).len() as u64;
            (publisher, published)
        });
        let mut gated = topic.gated(start).expect("no position was asked for");
        let mut read = Expected::from(gated.position());
        read.poll_gated(&mut gated, 1);
        let (publisher, published) = writer.join().unwrap();
        read.poll_gated(&mut gated, 6);
        assert_eq!(read.next(), published * CELL, "all that came after is there");
        drop(publisher);
    });
}

#[test]
fn at_the_earliest_while_the_publisher_makes_room() {
    joins_while_room_is_made(Publishers::One, Start::Earliest, |topic| topic.one().unwrap());
}

#[test]
fn at_the_latest_while_the_publisher_makes_room() {
    joins_while_room_is_made(Publishers::One, Start::Latest, |topic| topic.one().unwrap());
}

#[test]
fn at_the_earliest_while_one_of_many_makes_room() {
    joins_while_room_is_made(Publishers::Many(2), Start::Earliest, Topic::many);
}

#[test]
fn at_the_latest_while_one_of_many_makes_room() {
    joins_while_room_is_made(Publishers::Many(2), Start::Latest, Topic::many);
}

/// The publisher dies between the two halves of making room; its successor must look who joined meanwhile.
#[test]
fn at_the_earliest_while_the_publisher_dies_and_another_goes_on() {
    check(3, || {
        let topic = Rc::new(Topic::new(4, Publishers::One, 1));
        let mut publisher = topic.one().unwrap();
        assert_eq!(publish_all(&mut publisher, 0, &[2; 3]).len(), 3);
        let place = topic.clone();
        let writer = thread::spawn(move || {
            let _ = model::live_until("reclaim.head_moved", publisher, |publisher| {
                publish_all(publisher, 3, &[2; 2]);
            });
            let mut successor = place.one().expect("the lock is free");
            // The message that its predecessor died after is there.
            let newest = model::read_latest(&mut place.lossy(Start::Latest)).unwrap();
            let from = newest.expect("there are three at least").1 + 1;
            let published = from + publish_all(&mut successor, from, &[2; 3]).len() as u64;
            (successor, published)
        });
        let mut gated = topic.gated(Start::Earliest).expect("no position was asked for");
        let mut read = Expected::from(gated.position());
        read.poll_gated(&mut gated, 1);
        let (publisher, published) = writer.join().unwrap();
        read.poll_gated(&mut gated, 6);
        assert_eq!(read.next(), published * CELL, "all that came after is there");
        drop(publisher);
    });
}
