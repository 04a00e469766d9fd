//! Many publishers.

use crate::kit::{check, publish_all};
use loom::thread;
use memlane_ring::model::{self, CELL, Seen, Topic};
use memlane_ring::{Gated, Lossy, ManyPublisher, Publishers, ReadError, Start};

/// Polls so many times.
fn poll(subscriber: &mut Gated, polls: usize) -> Vec<Seen> {
    (0..polls).filter_map(|_| model::read_gated(subscriber).unwrap()).collect()
}

/// Polls so many times; what was lost stands as a range without a number.
fn poll_lossy(subscriber: &mut Lossy, polls: usize) -> Vec<Result<Seen, (u64, u64)>> {
    let poll = |_| match model::read_lossy(subscriber) {
        Ok(seen) => seen.map(Ok),
        Err(ReadError::Lost { from, to }) => Some(Err((from, to))),
        Err(error) => panic!("{error}"),
    };
    (0..polls).filter_map(poll).collect()
}

fn in_order(mut messages: Vec<Seen>) -> Vec<Seen> {
    messages.sort_unstable();
    messages
}

/// A publisher that finds one cell before the end of the lap, where its message doesn't fit, meets one whose message does.
#[test]
fn two_claims_at_the_end_of_a_lap_are_both_seen_whole_and_in_order() {
    check(2, || {
        let topic = Topic::new(8, Publishers::Many(2), 1);
        let (mut first, mut second) = (topic.many(), topic.many());
        let mut gated = topic.gated(Start::Live).unwrap();
        let mut published = publish_all(&mut first, 0, &[2; 7]);
        let mut seen = poll(&mut gated, 7);
        assert!(model::make_room(&mut first, 4 * CELL));
        let other = thread::spawn(move || {
            let published = publish_all(&mut second, 100, &[4]);
            (second, published)
        });
        let reader = thread::spawn(move || {
            seen.extend(poll(&mut gated, 2));
            (gated, seen)
        });
        published.extend(publish_all(&mut first, 7, &[2]));
        let (second, others) = other.join().unwrap();
        let (mut gated, mut seen) = reader.join().unwrap();
        seen.extend(poll(&mut gated, 3));
        published.extend(others);
        assert_eq!(seen, in_order(published));
        assert_eq!(seen.len(), 9, "there was room for all");
        drop((first, second));
    });
}

/// A ring of four cells: whoever sleeps over its claim finds all of them in another lap.
#[test]
fn a_publisher_that_sleeps_while_the_other_publishes_a_lap_never_claims_in_it() {
    check(2, || {
        let topic = Topic::new(4, Publishers::Many(2), 1);
        let (mut first, mut second) = (topic.many(), topic.many());
        let mut lossy = topic.lossy(Start::Earliest);
        let mut published = publish_all(&mut first, 0, &[2; 3]);
        let other = thread::spawn(move || {
            let published = publish_all(&mut second, 100, &[2]);
            (second, published)
        });
        published.extend(publish_all(&mut first, 3, &[2; 4]));
        let (second, others) = other.join().unwrap();
        published.extend(others);
        let published = in_order(published);
        assert!((0..).step_by(CELL as usize).zip(&published).all(|(cell, seen)| cell == seen.0), "{published:?}");
        let seen = poll_lossy(&mut lossy, 10);
        let whole: Vec<Seen> = seen.iter().filter_map(|seen| seen.ok()).collect();
        assert!(published.ends_with(&whole) && !whole.is_empty(), "{published:?} but {seen:?}");
        drop((first, second));
    });
}

#[test]
fn a_lossy_subscriber_sees_or_is_told_while_two_publish_over_a_lap() {
    check(2, || {
        let topic = Topic::new(4, Publishers::Many(2), 1);
        let (mut first, mut second) = (topic.many(), topic.many());
        let mut lossy = topic.lossy(Start::Earliest);
        let mut published = publish_all(&mut first, 0, &[2; 3]);
        let other = thread::spawn(move || {
            let published = publish_all(&mut second, 100, &[2]);
            (second, published)
        });
        let reader = thread::spawn(move || {
            let seen = poll_lossy(&mut lossy, 1);
            (lossy, seen)
        });
        published.extend(publish_all(&mut first, 3, &[2]));
        let (second, others) = other.join().unwrap();
        let (mut lossy, mut seen) = reader.join().unwrap();
        seen.extend(poll_lossy(&mut lossy, 8));
        published.extend(others);
        let mut next = 0;
        let mut expected = in_order(published).into_iter().filter(|(position, _)| *position < lossy.position());
        for seen in seen {
            match seen {
                Ok(seen) => {
                    assert_eq!((seen.0, Some(seen)), (next, expected.next()));
                    next += CELL;
                }
                Err((from, to)) => {
                    assert!(from == next && from < to);
                    for _ in (from..to).step_by(CELL as usize) {
                        expected.next();
                    }
                    next = to;
                }
            }
        }
        assert_eq!(expected.next(), None);
        drop((first, second));
    });
}

/// A full ring of eight cells, in its second lap, whose messages from the third on (cells 2 to 8) nobody holds.
fn full_topic() -> (Topic, ManyPublisher, ManyPublisher) {
    let topic = Topic::new(8, Publishers::Many(2), 1);
    let (mut first, second) = (topic.many(), topic.many());
    let mut gated = topic.gated(Start::Earliest).unwrap();
    publish_all(&mut first, 0, &[2; 7]);
    assert_eq!(poll(&mut gated, 2).len(), 2);
    assert_eq!(publish_all(&mut first, 7, &[2; 3]).len(), 2, "the gate stands at the third message");
    drop(gated);
    (topic, first, second)
}

/// The message of one publisher goes over a cell that the other one frees meanwhile.
#[test]
fn a_lossy_subscriber_is_told_when_one_publisher_writes_where_another_made_room() {
    check(3, || {
        let (topic, mut first, mut second) = full_topic();
        let mut lossy = topic.lossy(Start::Earliest);
        let other = thread::spawn(move || {
            let _ = model::make_room(&mut first, 2 * CELL);
            first
        });
        let reader = thread::spawn(move || {
            let seen = poll_lossy(&mut lossy, 1);
            let as_it_was = seen == [Ok((2 * CELL, 2))];
            let lost = matches!(seen[..], [Err((from, to))] if from == 2 * CELL && to > from);
            assert!(as_it_was || lost, "{seen:?}");
        });
        let published = publish_all(&mut second, 100, &[6]);
        assert!(published.is_empty() || published == [(9 * CELL, 100)]);
        drop((other.join().unwrap(), second));
        reader.join().unwrap();
    });
}

#[test]
fn a_publisher_that_claims_where_another_made_room_finds_it_free() {
    check(3, || {
        let (topic, mut first, mut second) = full_topic();
        let other = thread::spawn(move || {
            let _ = model::make_room(&mut first, 2 * CELL);
            first
        });
        let published = publish_all(&mut second, 100, &[2; 2]);
        drop((other.join().unwrap(), second));
        let mut lossy = topic.lossy(Start::Earliest);
        let seen: Vec<Seen> = poll_lossy(&mut lossy, 9).into_iter().map(|seen| seen.unwrap()).collect();
        assert!(seen.ends_with(&published), "{published:?} but {seen:?}");
    });
}
