//! Rates from made-up looks.

use super::*;
use memlane::{Comings, Label};

/// A participant that has done nothing yet.
pub(in super::super) fn participant(role: Role, slot: u32, name: &str) -> Participant {
    Participant {
        role,
        slot,
        // Larger than any process id: no program of this host is shown for it.
        pid: 5_000_000 + u64::from(slot),
        label: Label::new(name).unwrap(),
        since_unix_ns: 1,
        active_unix_ns: 1,
        position: (role != Role::Publisher).then_some(0),
        messages: 0,
        log_bytes: 0,
        full: 0,
        held_ns: 0,
        is_held: false,
        losses: 0,
        lost_bytes: 0,
        comings: Comings { came: 1, died: 0, is_taken: true },
    }
}

/// A topic with one publisher, a fast and a slow subscriber, and an observer; `seconds` in.
pub(in super::super) fn seen(seconds: u64) -> Seen {
    let tail = seconds * 64_000;
    let publisher = Participant {
        messages: seconds * 1_000,
        log_bytes: tail,
        full: seconds * 10,
        held_ns: seconds * 250_000_000,
        ..participant(Role::Publisher, 0, "feed")
    };
    let fast = Participant { position: Some(tail), ..participant(Role::Subscriber, 0, "fast") };
    let slow = Participant { position: Some(tail - tail / 2), ..participant(Role::Subscriber, 1, "slow") };
    let observer = Participant {
        position: Some(tail),
        losses: seconds,
        lost_bytes: seconds * 640,
        ..participant(Role::Observer, 0, "monitor")
    };
    let snapshot = Snapshot {
        head: 0,
        tail,
        messages: seconds * 1_000,
        abandoned: 0,
        came: 4,
        died: seconds / 10,
        publishers: vec![publisher],
        subscribers: vec![fast, slow],
        observers: vec![observer],
    };
    Seen { epoch: 1, capacity_bytes: 1 << 20, snapshot }
}

fn two_looks(first: Seen, second: Seen) -> TopicFigures {
    let start = Instant::now();
    let before = Look::made_up(start, [("t", first)]);
    let now = Look::made_up(start + Duration::from_secs(2), [("t", second)]);
    now.figures(Some(&before), true).remove(0)
}

#[test]
fn rates_are_what_two_looks_differ_by_over_the_time_between_them() {
    let figures = two_looks(seen(10), seen(12));
    let rates = figures.rates.unwrap();
    assert_eq!((rates.seconds, rates.messages_per_s, rates.log_bytes_per_s), (2.0, 1_000.0, 64_000.0));
    assert_eq!((rates.full_per_s, rates.held_share, rates.lost_bytes_per_s), (10.0, 0.25, 640.0));
    assert_eq!((figures.lag_bytes, figures.messages, rates.died), (Some(384_000), 12_000, 0));
    let holder = figures.held_by.unwrap();
    assert_eq!((holder.name.as_str(), holder.slot), ("slow", 1));
    let publisher = figures.participants[0].rates.unwrap();
    assert_eq!((publisher.messages_per_s, publisher.log_bytes_per_s), (1_000.0, 64_000.0));
}

#[test]
fn a_first_look_has_totals_and_no_rates() {
    let figures = Look::made_up(Instant::now(), [("t", seen(10))]).figures(None, false).remove(0);
    assert!(figures.rates.is_none() && figures.participants.is_empty() && figures.held_by.is_none());
    assert_eq!((figures.messages, figures.full, figures.held_ns), (10_000, 100, 2_500_000_000));
    assert_eq!((figures.publishers, figures.subscribers, figures.observers), (1, 2, 1));
}

#[test]
fn a_topic_that_was_made_anew_has_no_rates_yet() {
    assert!(two_looks(seen(10), Seen { epoch: 2, ..seen(12) }).rates.is_none());
}

#[test]
fn counters_that_go_back_have_risen_by_nothing() {
    let rates = two_looks(seen(12), seen(10)).rates.unwrap();
    assert_eq!(
        (rates.messages_per_s, rates.full_per_s, rates.held_share, rates.lost_bytes_per_s),
        (0.0, 0.0, 0.0, 0.0)
    );
}

#[test]
fn another_holder_of_a_slot_is_not_taken_for_the_one_before() {
    let mut second = seen(12);
    second.snapshot.publishers[0] =
        Participant { messages: 500, since_unix_ns: 9, ..participant(Role::Publisher, 0, "new") };
    let figures = two_looks(seen(10), second);
    assert_eq!(figures.participants[0].rates.unwrap().messages_per_s, 250.0);
}
