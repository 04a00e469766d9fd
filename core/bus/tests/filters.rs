//! Subscribers with a filter: they get what matches, in order, whatever lies between, and hold nobody up for the rest.

#![forbid(unsafe_code)]

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane::{Bus, Filter, Kind, Message, PublishError, Publisher, ReceiveError, Start, Subscriber, Topic, Wait};
use memlane_ring::extension::Block;
use proptest::collection::vec;
use proptest::prelude::*;
use rkyv::{Archive, Serialize};
use scratch::{Scratch, scratch};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KINDS: [Kind; 3] = [Kind::Gated, Kind::Lossy, Kind::Latest];

fn topic(root: &Scratch, capacity_bytes: u64) -> Topic {
    let bus = Bus::builder("filters").root(root.path()).open().unwrap();
    bus.topic("t").unwrap().capacity_bytes(capacity_bytes).create().unwrap()
}

fn subscriber(topic: &Topic, kind: Kind, filter: Filter) -> Subscriber<[u8]> {
    topic.subscriber::<[u8]>().kind(kind).filter(filter).open().unwrap()
}

fn publish(publisher: &mut Publisher<[u8]>, key: &str, payload: &[u8]) -> Result<u64, PublishError> {
    publisher.message().key(key.as_bytes())?.publish(payload)
}

/// Everything that is there, as text.
fn drain(subscriber: &mut Subscriber<[u8]>) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(message) = subscriber.try_receive().unwrap() {
        texts.push(String::from_utf8(message.to_vec()).unwrap());
    }
    texts
}

/// Publishes a block as it is, which may be one that no `Publisher` makes.
fn publish_raw(topic: &Topic, block: &[u8], payload: &[u8]) {
    let log = memlane_ring::Topic::open(topic.directory()).unwrap();
    let map = memlane_shm::MapOptions::default();
    log.publisher(&map, Duration::ZERO).unwrap().publish(block, payload).unwrap();
}

#[test]
fn each_kind_of_subscriber_gets_what_matches_and_the_latest_only_the_newest_of_it() {
    let root = scratch();
    let topic = topic(&root, 1 << 16);
    let mut subscribers = KINDS.map(|kind| subscriber(&topic, kind, Filter::key("a")));
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    for subscriber in &mut subscribers {
        assert!(subscriber.try_receive().unwrap().is_none());
    }
    publisher.publish(b"no extensions").unwrap();
    publisher.message().header("key", b"a").unwrap().publish(b"no key").unwrap();
    for (key, text) in [("a", "1"), ("b", "2"), ("a", "3"), ("", "4"), ("ab", "5")] {
        publish(&mut publisher, key, text.as_bytes()).unwrap();
    }
    for (subscriber, kind) in subscribers.iter_mut().zip(KINDS) {
        let expected: &[&str] = if kind == Kind::Latest { &["3"] } else { &["1", "3"] };
        assert_eq!(drain(subscriber), expected, "{kind:?}");
        assert!(subscriber.receive_within(Duration::ZERO).unwrap().is_none());
    }
    publish(&mut publisher, "b", b"6").unwrap();
    publish(&mut publisher, "a", b"7").unwrap();
    publish(&mut publisher, "b", b"8").unwrap();
    for subscriber in &mut subscribers {
        let message = subscriber.receive().unwrap();
        assert_eq!((&*message, message.key()), (&b"7"[..], Ok(Some(&b"a"[..]))));
    }
}

#[test]
fn conditions_are_combined() {
    let root = scratch();
    let topic = topic(&root, 1 << 16);
    let none: [&str; 0] = [];
    let cases: [(Filter, &[&str]); 8] = [
        (Filter::keys(["a", "c"]), &["a1", "a2", "c1"]),
        (Filter::keys(none), &[]),
        (Filter::header("venue", "1"), &["a1", "b1", "c1", "x1"]),
        (Filter::header("venue", ""), &[]),
        (Filter::header("other", "1"), &["b2"]),
        (Filter::key("a").and(Filter::header("venue", "1")), &["a1"]),
        (
            Filter::key("a").or(Filter::header("venue", "1")).or(Filter::header("other", "1")),
            &["a1", "a2", "b1", "b2", "c1", "x1"],
        ),
        (Filter::key("a").or(Filter::key("b")).and(Filter::header("venue", "2")), &["a2", "b2"]),
    ];
    let mut subscribers = cases.clone().map(|(filter, _)| subscriber(&topic, Kind::Gated, filter));
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    for text in ["a1", "a2", "b1", "b2", "c1", "x1"] {
        let mut message = publisher.message();
        if text == "b2" {
            message = message.header("venue", b"3").unwrap().header("other", b"1").unwrap();
        }
        message = message.header("venue", &text.as_bytes()[1..]).unwrap();
        if !text.starts_with('x') {
            message = message.key(&text.as_bytes()[..1]).unwrap();
        }
        message.publish(text.as_bytes()).unwrap();
    }
    for (subscriber, (filter, expected)) in subscribers.iter_mut().zip(cases) {
        assert_eq!(drain(subscriber), expected, "{filter:?}");
    }
}

#[test]
fn batches_count_only_what_matches() {
    let root = scratch();
    let topic = topic(&root, 1 << 16);
    let mut subscribers = [Kind::Gated, Kind::Lossy].map(|kind| subscriber(&topic, kind, Filter::key("a")));
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    for number in 0..100_u8 {
        publish(&mut publisher, if number % 10 == 0 { "a" } else { "b" }, &[number]).unwrap();
    }
    for subscriber in &mut subscribers {
        let mut batch = |messages_max| {
            let mut numbers = Vec::new();
            let count =
                subscriber.receive_batch(messages_max, |message| numbers.push(message.unwrap().view[0])).unwrap();
            assert_eq!(count, numbers.len());
            numbers
        };
        assert_eq!(batch(0), []);
        assert_eq!(batch(4), [0, 10, 20, 30]);
        assert_eq!(batch(100), [40, 50, 60, 70, 80, 90]);
        assert_eq!(batch(100), []);
    }
}

#[derive(Archive, Serialize, Message)]
struct Flag {
    is_set: bool,
}

#[test]
fn the_payload_of_a_message_that_does_not_match_is_not_looked_at() {
    let root = scratch();
    let bus = Bus::builder("filters").root(root.path()).open().unwrap();
    let topic = bus.topic("t").unwrap().message::<Flag>().create().unwrap();
    for kind in KINDS {
        let mut subscriber = topic.subscriber::<Flag>().kind(kind).filter(Filter::key("a")).open().unwrap();
        let mut raw = topic.publisher::<[u8]>().open().unwrap();
        publish(&mut raw, "b", b"no flag").unwrap();
        raw.publish(b"no flag").unwrap();
        publish(&mut raw, "a", &[1]).unwrap();
        publish(&mut raw, "b", b"no flag").unwrap();
        assert!(subscriber.receive().unwrap().is_set, "{kind:?}");
        assert!(subscriber.try_receive().unwrap().is_none(), "{kind:?}");
        publish(&mut raw, "a", b"no flag").unwrap();
        assert!(matches!(subscriber.receive(), Err(ReceiveError::Invalid { .. })), "{kind:?}");
    }
}

#[test]
fn a_gated_subscriber_lets_go_of_what_it_passes_over() {
    let root = scratch();
    let topic = topic(&root, 4096);
    let mut subscriber = subscriber(&topic, Kind::Gated, Filter::key("a"));
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let mut fill = || {
        let mut count = 0;
        while publish(&mut publisher, "b", b"x").is_ok() {
            count += 1;
        }
        count
    };
    let full = fill();
    assert!(full > 30, "{full} messages in 4 KiB");
    assert!(subscriber.try_receive().unwrap().is_none());
    assert!(fill() > 30);
    assert!(subscriber.receive_within(Duration::from_millis(1)).unwrap().is_none());
    assert!(fill() > 30);
    assert_eq!(subscriber.receive_batch(10, |_| panic!("nothing matches")).unwrap(), 0);
    assert!(fill() > 30);
}

#[test]
fn what_a_lossy_subscriber_passed_over_is_not_lost_and_what_was_overwritten_is() {
    let root = scratch();
    let topic = topic(&root, 4096);
    let mut lossy = subscriber(&topic, Kind::Lossy, Filter::key("a"));
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    for _ in 0..10 {
        // Less than a ring at a time: passed over.
        for _ in 0..20 {
            publish(&mut publisher, "b", b"x").unwrap();
        }
        assert!(lossy.try_receive().unwrap().is_none());
    }
    let from = lossy.position();
    let positions: Vec<u64> = (0..200).map(|_| publish(&mut publisher, "b", b"x").unwrap()).collect();
    publish(&mut publisher, "a", b"y").unwrap();
    let Err(ReceiveError::Lost { from: lost_from, to }) = lossy.try_receive() else { panic!("a loss is told") };
    assert_eq!(lost_from, from);
    assert!(positions.contains(&to));
    assert_eq!(&*lossy.receive().unwrap(), b"y");
    // Whoever takes the latest leaves out on purpose.
    let mut latest = subscriber(&topic, Kind::Latest, Filter::key("a"));
    publish(&mut publisher, "a", b"overwritten").unwrap();
    for _ in 0..200 {
        publish(&mut publisher, "b", b"x").unwrap();
    }
    assert!(latest.try_receive().unwrap().is_none());
    publish(&mut publisher, "a", b"z").unwrap();
    assert_eq!(&*latest.receive().unwrap(), b"z");
}

#[test]
fn extensions_that_cannot_be_read_are_told_and_the_next_match_comes() {
    let root = scratch();
    let topic = topic(&root, 1 << 16);
    let mut subscribers = KINDS.map(|kind| subscriber(&topic, kind, Filter::key("a")));
    let too_long = u32::MAX.to_le_bytes();
    // The first field ends behind the block.
    let lying = [16, 0, 0, 0, 99, 0, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for block in [&[0; 8][..], &lying, &[9, 0, 0, 0, 0, 0, 0, 0], &[too_long, too_long].concat()] {
        publish_raw(&topic, block, b"");
        for subscriber in &mut subscribers {
            let error = subscriber.receive().unwrap_err();
            assert!(matches!(error, ReceiveError::Malformed { .. }), "{error:?}");
            assert!(subscriber.try_receive().unwrap().is_none());
        }
        publish_raw(&topic, block, b"");
        let mut good = Block::default();
        good.field(999, &[b"unknown"]).unwrap();
        good.key(b"a").unwrap();
        publish_raw(&topic, good.finish(8), b"good");
        for (subscriber, kind) in subscribers.iter_mut().zip(KINDS) {
            let mut outcomes = Vec::new();
            let count =
                subscriber.receive_batch(10, |message| outcomes.push(message.map(|message| message.view.to_vec())));
            assert_eq!(count.unwrap(), outcomes.len());
            assert_eq!(outcomes.pop().unwrap().unwrap(), b"good");
            assert_eq!(outcomes.len(), usize::from(kind != Kind::Latest), "{outcomes:?}");
        }
    }
}

#[test]
fn a_wait_keeps_its_deadline_though_there_always_is_something_new() {
    let root = scratch();
    let topic = topic(&root, 1 << 16);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = topic.publisher::<[u8]>().open().unwrap();
            // Ends by itself too, in case that the other side fails.
            let start = Instant::now();
            while !is_over.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(60) {
                let _ = publish(&mut publisher, "b", b"x");
            }
        });
        for kind in KINDS {
            for wait in [Wait::default(), Wait::BusySpin, Wait::SpinThenYield { spins: 10 }] {
                let builder = topic.subscriber::<[u8]>().kind(kind).wait(wait).filter(Filter::key("a"));
                let mut subscriber = builder.open().unwrap();
                let start = Instant::now();
                let deadline = start + Duration::from_millis(20);
                while Instant::now() < deadline {
                    let left = deadline.saturating_duration_since(Instant::now());
                    match subscriber.receive_within(left) {
                        Ok(None) | Err(ReceiveError::Lost { .. }) => {}
                        other => panic!("{other:?}"),
                    }
                }
                assert!(start.elapsed() < Duration::from_secs(5), "{kind:?}, {wait:?}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_waiting_subscriber_is_woken_by_what_matches_and_told_of_the_end() {
    let root = scratch();
    let bus = Bus::builder("filters").root(root.path()).open().unwrap();
    for kind in KINDS {
        let topic = bus.topic("t").unwrap().create().unwrap();
        std::thread::scope(|scope| {
            let mut subscriber = subscriber(&topic, kind, Filter::key("a"));
            let mut publisher = topic.publisher::<[u8]>().open().unwrap();
            scope.spawn(move || {
                for key in ["b", "b", "a"] {
                    std::thread::sleep(Duration::from_millis(5));
                    publish(&mut publisher, key, key.as_bytes()).unwrap();
                }
            });
            assert_eq!(&*subscriber.receive().unwrap(), b"a");
            bus.remove("t").unwrap();
            assert!(matches!(subscriber.receive(), Err(ReceiveError::Removed)), "{kind:?}");
        });
    }
}

#[test]
fn a_lossy_subscriber_believes_nothing_that_is_overwritten_while_it_looks() {
    let root = scratch();
    let topic = topic(&root, 4096);
    let mut subscribers = [Kind::Lossy, Kind::Latest].map(|kind| subscriber(&topic, kind, Filter::keys(["1", "22"])));
    const COUNT: u64 = 200_000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = topic.publisher::<[u8]>().open().unwrap();
            for number in 0..COUNT {
                let key = ["1", "22", "333", "4444"][number as usize % 4];
                publish(&mut publisher, key, &number.to_le_bytes().repeat(1 + number as usize % 7)).unwrap();
            }
            publish(&mut publisher, "1", &[]).unwrap();
        });
        for subscriber in &mut subscribers {
            let mut next = 0;
            loop {
                let message = match subscriber.receive() {
                    Ok(message) => message,
                    Err(ReceiveError::Lost { .. }) => continue,
                    Err(other) => panic!("{other:?}"),
                };
                let Some(number) = message.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else { break };
                assert!(number >= next && number % 4 < 2, "message {number} after {next}");
                assert_eq!(*message, number.to_le_bytes().repeat(1 + number as usize % 7));
                let key = if number % 4 == 0 { &b"1"[..] } else { b"22" };
                assert_eq!(message.key(), Ok(Some(key)));
                next = number + 1;
            }
        }
    });
}

/// A message of the model: its key and its header, if it has one.
type Told = (Option<u8>, Option<u8>, usize);
/// What a filter should say of it.
type Wants = fn(&Told) -> bool;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_gives_what_a_filtered_list_gives(
        messages in vec((prop::option::of(0..3_u8), prop::option::of(0..3_u8), 0..300_usize), 0..150),
        stamps in any::<bool>(),
        batch in 1..20_usize,
    ) {
        let root = scratch();
        let bus = Bus::builder("model").root(root.path()).open().unwrap();
        let topic = bus.topic("t").unwrap().capacity_bytes(1 << 17).stamps(stamps).create().unwrap();
        let cases: [(Filter, Wants); 4] = [
            (Filter::key([1]), |told| told.0 == Some(1)),
            (Filter::keys([[0], [2]]), |told| matches!(told.0, Some(0 | 2))),
            (Filter::header("h", [1]).and(Filter::key([1])), |told| told.0 == Some(1) && told.1 == Some(1)),
            (Filter::header("h", [1]).or(Filter::key([2])), |told| told.0 == Some(2) || told.1 == Some(1)),
        ];
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let mut readers = Vec::new();
        for (filter, wants) in cases {
            for kind in [Kind::Gated, Kind::Lossy] {
                let open = || topic.subscriber::<[u8]>().kind(kind).filter(filter.clone()).start(Start::Live).open().unwrap();
                readers.push((open(), open(), wants));
            }
        }
        for (number, (key, header, bytes)) in messages.iter().enumerate() {
            let mut message = publisher.message();
            if let Some(header) = header {
                message = message.header("h", &[*header]).unwrap();
            }
            if let Some(key) = key {
                message = message.key(&[*key]).unwrap();
            }
            message.publish(&vec![number as u8; 1 + bytes]).unwrap();
        }
        for (mut one_by_one, mut in_batches, wants) in readers {
            let told = messages.iter().enumerate().filter(|(_, told)| wants(told));
            let expected: Vec<(u8, usize)> = told.map(|(number, told)| (number as u8, 1 + told.2)).collect();
            let mut got = Vec::new();
            while let Some(message) = one_by_one.try_receive().unwrap() {
                got.push((message[0], message.len()));
            }
            prop_assert_eq!(&got, &expected);
            got.clear();
            let mut each = |message: Result<&memlane::Received<'_, [u8]>, ReceiveError>| {
                let view = message.unwrap().view;
                got.push((view[0], view.len()));
            };
            while in_batches.receive_batch(batch, &mut each).unwrap() > 0 {}
            prop_assert_eq!(&got, &expected);
            prop_assert_eq!(one_by_one.position(), in_batches.position());
        }
    }
}
