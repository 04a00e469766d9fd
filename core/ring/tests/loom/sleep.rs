//! Going to sleep as the news comes. No time-out ends a sleep here: who is left asleep is a deadlock, which loom reports.

use crate::kit::{Expected, check, publish};
use loom::thread;
use memlane_ring::model::{self, CELL, Publish, Topic};
use memlane_ring::{Publishers, Start};

/// A publisher commits while a subscriber of either kind goes to sleep.
fn sleeps_as_a_message_comes<P: Publish + 'static>(publishers: Publishers, gated: bool, publisher: fn(&Topic) -> P) {
    check(3, move || {
        let topic = Topic::new(4, publishers, 1).with_sleepers();
        let mut publisher = publisher(&topic);
        // In a new topic whoever publishes first rings.
        publish(&mut publisher, 0, 2).unwrap();
        let mut reader = gated.then(|| topic.gated(Start::Live).unwrap());
        let mut lossy = topic.lossy(Start::Live);
        let writer = thread::spawn(move || {
            publish(&mut publisher, 1, 2).unwrap();
            publisher
        });
        let seen = match &mut reader {
            Some(gated) => model::block_gated(gated),
            None => model::block_lossy(&mut lossy),
        };
        assert_eq!(seen.unwrap(), Some((CELL, 1)));
        drop(writer.join().unwrap());
    });
}

#[test]
fn a_gated_subscriber_that_goes_to_sleep_as_the_publisher_commits_is_woken() {
    sleeps_as_a_message_comes(Publishers::One, true, |topic| topic.one().unwrap());
}

#[test]
fn a_lossy_subscriber_that_goes_to_sleep_as_the_publisher_commits_is_woken() {
    sleeps_as_a_message_comes(Publishers::One, false, |topic| topic.one().unwrap());
}

#[test]
fn a_gated_subscriber_that_goes_to_sleep_as_one_of_many_commits_is_woken() {
    sleeps_as_a_message_comes(Publishers::Many(2), true, Topic::many);
}

/// Two messages by two publishers, and a subscriber that sleeps until it has both.
#[test]
fn a_subscriber_that_sleeps_twice_is_woken_by_both_publishers() {
    check(2, || {
        let topic = Topic::new(4, Publishers::Many(2), 1).with_sleepers();
        let (mut first, mut second) = (topic.many(), topic.many());
        publish(&mut first, 0, 2).unwrap();
        let mut gated = topic.gated(Start::Live).unwrap();
        let other = thread::spawn(move || {
            publish(&mut second, 2, 2).unwrap();
            second
        });
        let reader = thread::spawn(move || {
            let seen = [(); 2].map(|()| model::block_gated(&mut gated).unwrap().unwrap().1);
            assert!(seen == [1, 2] || seen == [2, 1], "{seen:?}");
        });
        publish(&mut first, 1, 2).unwrap();
        drop((other.join().unwrap(), first));
        reader.join().unwrap();
    });
}

/// Whoever committed dies at `point`, before it has rung or after, and the one that comes after it sees to the sleeper.
fn sleeps_as_the_publisher_dies<P: Publish + 'static>(
    point: &'static str,
    publishers: Publishers,
    publisher: fn(&Topic) -> P,
) {
    check(3, move || {
        let topic = Topic::new(4, publishers, 1).with_sleepers();
        let mut mortal = publisher(&topic);
        publish(&mut mortal, 0, 2).unwrap();
        let mut gated = topic.gated(Start::Live).unwrap();
        let writer = thread::spawn(move || {
            let survivor = model::live_until(point, mortal, |mortal| {
                publish(mortal, 1, 2).unwrap();
            });
            drop(survivor);
            drop(publisher(&topic));
        });
        assert_eq!(model::block_gated(&mut gated).unwrap(), Some((CELL, 1)));
        writer.join().unwrap();
    });
}

#[test]
fn a_subscriber_is_woken_by_the_successor_of_a_publisher_that_died_after_its_commit() {
    sleeps_as_the_publisher_dies("commit.after", Publishers::One, |topic| topic.one().unwrap());
}

#[test]
fn a_subscriber_is_woken_by_the_successor_of_a_publisher_that_died_before_it_rang() {
    sleeps_as_the_publisher_dies("wake.before", Publishers::One, |topic| topic.one().unwrap());
}

#[test]
fn a_subscriber_is_woken_by_whoever_takes_the_place_of_one_of_many_that_died_after_its_commit() {
    sleeps_as_the_publisher_dies("commit.after", Publishers::Many(2), Topic::many);
}

#[test]
fn a_subscriber_is_woken_by_the_next_commit_after_one_of_many_died_before_it_rang() {
    check(3, || {
        let topic = Topic::new(4, Publishers::Many(2), 1).with_sleepers();
        let (mut mortal, mut second) = (topic.many(), topic.many());
        publish(&mut mortal, 0, 2).unwrap();
        let mut gated = topic.gated(Start::Live).unwrap();
        let writer = thread::spawn(move || {
            let survivor = model::live_until("wake.before", mortal, |mortal| {
                publish(mortal, 1, 2).unwrap();
            });
            publish(&mut second, 2, 2).unwrap();
            (survivor, second)
        });
        assert_eq!(model::block_gated(&mut gated).unwrap(), Some((CELL, 1)));
        drop(writer.join().unwrap());
    });
}

/// A subscriber reads on while a publisher, for whose message it holds the room, goes to sleep.
fn sleeps_as_room_is_made<P: Publish + 'static>(publishers: Publishers, publisher: fn(&Topic) -> P) {
    check(3, move || {
        let topic = Topic::new(4, publishers, 1).with_sleepers();
        let mut publisher = publisher(&topic);
        let mut gated = topic.gated(Start::Earliest).unwrap();
        let mut read = Expected::from(0);
        for number in 0..3 {
            publish(&mut publisher, number, 2).unwrap();
        }
        assert_eq!(publish(&mut publisher, 3, 2), None, "the gate holds the first message");
        let writer = thread::spawn(move || {
            assert_eq!(publisher.block_words(3, 2), Ok(3 * CELL));
            publisher
        });
        read.poll_gated(&mut gated, 2);
        drop(writer.join().unwrap());
        read.poll_gated(&mut gated, 2);
        assert_eq!(read.next(), 4 * CELL);
    });
}

#[test]
fn a_publisher_that_goes_to_sleep_as_a_subscriber_makes_room_is_woken() {
    sleeps_as_room_is_made(Publishers::One, |topic| topic.one().unwrap());
}

#[test]
fn one_of_many_that_goes_to_sleep_as_a_subscriber_makes_room_is_woken() {
    sleeps_as_room_is_made(Publishers::Many(2), Topic::many);
}
