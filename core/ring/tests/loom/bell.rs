//! Sleeping on the bell of a bus as the news comes. No time-out ends a sleep here, and a ring of a topic's own doorbell wakes nobody who sleeps
//! on the bell.

use crate::kit::{check, publish};
use loom::thread;
use memlane_ring::model::{self, CELL, Topic};
use memlane_ring::{Publishers, Start};

fn topic(publishers: Publishers, bell: &memlane_ring::BusBell) -> Topic {
    Topic::new(4, publishers, 2).with_sleepers().with_bell(bell)
}

#[test]
fn who_goes_to_sleep_on_the_bell_as_the_publisher_commits_is_woken() {
    check(3, || {
        let bell = model::bell();
        let topic = topic(Publishers::One, &bell);
        let mut publisher = topic.one().unwrap();
        publish(&mut publisher, 0, 2).unwrap();
        let mut gated = topic.gated(Start::Live).unwrap();
        let writer = thread::spawn(move || {
            publish(&mut publisher, 1, 2).unwrap();
            publisher
        });
        assert_eq!(model::block_on_bell(&mut gated, &bell), Ok((CELL, 1)));
        drop(writer.join().unwrap());
    });
}

#[test]
fn of_two_on_the_bell_the_one_that_goes_to_sleep_as_the_other_is_woken_is_woken_too() {
    check(2, || {
        let bell = model::bell();
        let topic = topic(Publishers::One, &bell);
        let mut publisher = topic.one().unwrap();
        publish(&mut publisher, 0, 2).unwrap();
        let mut first = topic.gated(Start::Live).unwrap();
        let mut second = topic.gated(Start::Live).unwrap();
        let bell_of_first = bell.clone();
        let reader = thread::spawn(move || {
            assert_eq!(model::block_on_bell(&mut first, &bell_of_first), Ok((CELL, 1)));
        });
        let writer = thread::spawn(move || {
            publish(&mut publisher, 1, 2).unwrap();
            publisher
        });
        assert_eq!(model::block_on_bell(&mut second, &bell), Ok((CELL, 1)));
        reader.join().unwrap();
        drop(writer.join().unwrap());
    });
}

/// One of two publishers dies at `point`, in the middle of ringing; the other publishes afterwards.
fn the_next_one_rings(point: &'static str) {
    check(2, move || {
        let bell = model::bell();
        let topic = topic(Publishers::Many(2), &bell);
        let (mut mortal, mut second) = (topic.many(), topic.many());
        publish(&mut mortal, 0, 2).unwrap();
        let mut gated = topic.gated(Start::Live).unwrap();
        let writer = thread::spawn(move || {
            let survivor = model::live_until(point, mortal, |mortal| {
                publish(mortal, 1, 2).unwrap();
            });
            publish(&mut second, 2, 2).unwrap();
            (survivor, second)
        });
        assert_eq!(model::block_on_bell(&mut gated, &bell), Ok((CELL, 1)));
        drop(writer.join().unwrap());
    });
}

#[test]
fn after_a_publisher_died_before_it_rang_the_next_commit_rings_the_bell() {
    the_next_one_rings("wake.before");
}

#[test]
fn after_a_publisher_died_between_the_doorbell_and_the_bell_the_next_commit_rings_the_bell() {
    the_next_one_rings("wake.bell");
}

#[test]
fn who_waits_for_topics_and_goes_to_sleep_as_one_comes_is_woken() {
    check(3, || {
        let bell = model::bell();
        let known = bell.changes();
        let its = bell.clone();
        let maker = thread::spawn(move || its.note_change());
        assert_eq!(model::block_for_change(&bell, known), known + 1);
        maker.join().unwrap();
    });
}
