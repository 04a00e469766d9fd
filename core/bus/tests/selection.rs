//! Waiting on many topics: selectors and pattern subscribers, asleep and awake.

#![forbid(unsafe_code)]

mod place;

use memlane::{Bus, Kind, PatternError, Publisher, Selectable, Selector, Start, Subscriber, Topic, Wait};
use place::Place;
use place::scratch::scratch;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// Longer than anything here takes; who is woken too late fails by it.
const PATIENCE: Duration = Duration::from_secs(20);
const ASLEEP_AT_ONCE: Wait = Wait::Block { spins: 0 };

impl Place {
    fn topics(&self, count: usize) -> Vec<Topic> {
        (0..count).map(|index| self.topic(&format!("t.{index}"))).collect()
    }
}

fn publisher(topic: &Topic) -> Publisher<[u8]> {
    topic.publisher().open().unwrap()
}

fn subscriber(topic: &Topic) -> Subscriber<[u8]> {
    topic.subscriber().open().unwrap()
}

fn selectable<P: ?Sized + memlane::Trusted>(subscribers: &mut [Subscriber<P>]) -> Vec<&mut dyn Selectable> {
    subscribers.iter_mut().map(|subscriber| subscriber as &mut dyn Selectable).collect()
}

#[test]
fn whoever_was_served_is_looked_at_last() {
    let place = Place::new();
    let topics = place.topics(3);
    let mut publishers: Vec<_> = topics.iter().map(publisher).collect();
    let mut subscribers: Vec<_> = topics.iter().map(subscriber).collect();
    for publisher in &mut publishers {
        for _ in 0..10 {
            publisher.publish(b"x").unwrap();
        }
    }
    let mut selector = Selector::new(&place.bus);
    let mut served = Vec::new();
    while let Some(found) = selector.try_select(&mut selectable(&mut subscribers)) {
        assert!(subscribers[found].try_receive().unwrap().is_some());
        served.push(found);
    }
    assert_eq!(served, [0, 1, 2].repeat(10));
    assert_eq!(selector.select(&mut selectable(&mut subscribers), Some(Duration::from_millis(1))), None);
}

#[test]
fn a_selector_without_subscribers_waits_for_its_time() {
    let place = Place::new();
    for wait in [ASLEEP_AT_ONCE, Wait::BusySpin, Wait::SpinThenYield { spins: 0 }] {
        assert_eq!(Selector::new(&place.bus).wait(wait).select(&mut [], Some(Duration::from_millis(2))), None);
    }
}

/// A publisher publishes on one topic after the other as soon as the last message was received by a selector that sleeps at once.
fn sleep_against_publish(topics_count: usize, rounds: u64, open: impl Fn(&Topic) -> Subscriber<[u8]>) {
    let place = Place::new();
    let topics = place.topics(topics_count);
    let mut subscribers: Vec<_> = topics.iter().map(open).collect();
    let (received, next) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publishers: Vec<_> = topics.iter().map(publisher).collect();
            for round in next {
                let index = (round * 7919 % topics_count as u64) as usize;
                publishers[index].publish(&u64::to_le_bytes(round)).unwrap();
            }
        });
        let mut selector = Selector::new(&place.bus).wait(ASLEEP_AT_ONCE);
        for round in 0..rounds {
            received.send(round).unwrap();
            let sample = loop {
                let found = selector.select(&mut selectable(&mut subscribers), Some(PATIENCE));
                let found = found.expect("a wake-up was lost");
                if let Some(sample) = subscribers[found].try_receive().unwrap() {
                    break sample.to_vec();
                }
            };
            assert_eq!(sample, u64::to_le_bytes(round));
        }
        drop(received);
    });
}

#[test]
fn a_sleeper_on_one_topic_or_a_few_is_woken_each_time() {
    sleep_against_publish(1, 500, subscriber);
    sleep_against_publish(5, 1_000, subscriber);
}

#[test]
fn a_sleeper_on_a_few_topics_of_which_it_is_an_observer_is_woken_each_time() {
    sleep_against_publish(5, 1_000, |topic| topic.subscriber().lossy().open().unwrap());
    sleep_against_publish(5, 1_000, |topic| topic.subscriber().latest().open().unwrap());
}

#[test]
fn a_sleeper_on_more_topics_than_one_call_can_name_is_woken_each_time() {
    sleep_against_publish(300, 1_000, subscriber);
}

#[test]
fn a_bus_whose_bell_is_gone_costs_naps_and_no_messages() {
    let place = Place::new();
    memlane_shm::named::remove_file(&place.bus.directory().join(".bell")).unwrap();
    let topics = place.topics(200);
    let mut subscribers: Vec<_> = topics.iter().map(subscriber).collect();
    let mut publisher = publisher(&topics[77]);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut selector = Selector::new(&place.bus).wait(ASLEEP_AT_ONCE);
            selector.select(&mut selectable(&mut subscribers), Some(PATIENCE))
        });
        std::thread::sleep(Duration::from_millis(5));
        publisher.publish(b"x").unwrap();
        assert_eq!(waiter.join().unwrap(), Some(77));
    });
}

#[test]
fn a_bell_that_not_all_may_ring_is_not_relied_on() {
    let root = scratch();
    let bell_mode = |bus: &Bus| bus.directory().join(".bell").metadata().unwrap().mode() & 0o777;
    let open = |name: &str, mode| Bus::builder(name).root(root.path()).mode(mode).open().unwrap();
    assert_eq!(bell_mode(&open("own", 0o700)), 0o600);
    assert_eq!(bell_mode(&open("shared", 0o1777)), 0o666);
    let entered = open("entered", 0o711);
    assert_eq!(bell_mode(&entered), 0o600, "who may only look must not be able to cut it");
    let subscriber = |index| {
        let topic = entered.topic(&format!("t.{index}")).unwrap().capacity_bytes(4096).create().unwrap();
        (topic.clone(), topic.subscriber::<[u8]>().open().unwrap())
    };
    let (topics, mut subscribers): (Vec<_>, Vec<_>) = (0..150).map(subscriber).unzip();
    // As one would that may not ring.
    memlane_shm::named::remove_file(&entered.directory().join(".bell")).unwrap();
    let mut publisher = publisher(&topics[99]);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut selector = Selector::new(&entered).wait(ASLEEP_AT_ONCE);
            selector.select(&mut selectable(&mut subscribers), Some(PATIENCE))
        });
        std::thread::sleep(Duration::from_millis(5));
        publisher.publish(b"x").unwrap();
        assert_eq!(waiter.join().unwrap(), Some(99));
    });
}

#[test]
fn the_removal_of_a_topic_wakes_whoever_waits_for_it_among_others() {
    let place = Place::new();
    let topics = place.topics(3);
    for kind in [Kind::Gated, Kind::Lossy, Kind::Latest] {
        place.topic("removed");
        let mut subscribers: Vec<_> = topics.iter().map(subscriber).collect();
        subscribers.push(place.topic("removed").subscriber().kind(kind).open().unwrap());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let mut selector = Selector::new(&place.bus).wait(ASLEEP_AT_ONCE);
                selector.select(&mut selectable(&mut subscribers), Some(PATIENCE))
            });
            std::thread::sleep(Duration::from_millis(5));
            place.bus.remove("removed").unwrap();
            assert_eq!(waiter.join().unwrap(), Some(3));
        });
        assert!(subscribers[3].try_receive().unwrap_err().to_string().contains("removed"));
    }
}

#[test]
fn a_pattern_takes_in_topics_that_are_made_later_from_their_first_message_on() {
    let place = Place::new();
    publisher(&place.topic("md.a")).publish(b"before").unwrap();
    let mut subscriber = place.bus.subscribe::<[u8]>("md.*".parse().unwrap()).wait(ASLEEP_AT_ONCE).open().unwrap();
    assert!(subscriber.try_receive().unwrap().is_none(), "it begins live");
    const MESSAGES: u32 = 20;
    let names = ["md.a", "md.b", "md.c", "other.d", "md.e.f"];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for name in names {
                let mut publisher = publisher(&place.topic(name));
                for number in 0..MESSAGES {
                    publisher.publish(&number.to_le_bytes()).unwrap();
                }
            }
        });
        let mut next: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..3 * MESSAGES {
            let (topic, sample) = subscriber.receive_within(PATIENCE).unwrap().expect("a message was lost");
            let expected = next.entry(topic.to_owned()).or_default();
            assert_eq!(*sample, expected.to_le_bytes());
            *expected += 1;
        }
        assert_eq!(next.keys().collect::<Vec<_>>(), ["md.a", "md.b", "md.c"]);
    });
    assert!(subscriber.receive_within(Duration::from_millis(1)).unwrap().is_none());
    assert_eq!(subscriber.topics().count(), 3);
}

#[test]
fn a_topic_that_is_removed_is_read_to_its_end_and_its_successor_from_its_beginning() {
    let place = Place::new();
    for kind in [Kind::Gated, Kind::Lossy] {
        let all = place.bus.subscribe::<[u8]>(">".parse().unwrap()).kind(kind).start(Start::Earliest);
        let mut subscriber = all.wait(ASLEEP_AT_ONCE).open().unwrap();
        for round in 0..20_u32 {
            publisher(&place.topic("again")).publish(&round.to_le_bytes()).unwrap();
            let (topic, sample) = subscriber.receive_within(PATIENCE).unwrap().expect("a message was lost");
            assert_eq!((topic, &*sample), ("again", &round.to_le_bytes()[..]));
            place.bus.remove("again").unwrap();
        }
        assert!(subscriber.receive_within(Duration::from_millis(5)).unwrap().is_none());
        assert_eq!(subscriber.topics().count(), 0);
    }
}

#[test]
fn a_topic_that_cannot_be_joined_is_told_once_and_the_others_go_on() {
    let place = Place::new();
    let full = place.bus.topic("full").unwrap().capacity_bytes(4096).subscribers_max(1).create().unwrap();
    let _only = subscriber(&full);
    let mut all = place.bus.subscribe::<[u8]>(">".parse().unwrap()).open().unwrap();
    publisher(&place.topic("good")).publish(b"x").unwrap();
    let error = all.receive().unwrap_err();
    assert!(matches!(&error, PatternError::Open { topic, .. } if topic == "full"), "{error}");
    assert_eq!(all.receive().unwrap().0, "good");
    assert!(all.try_receive().unwrap().is_none());
}

#[test]
fn topics_are_found_by_pattern() {
    let place = Place::new();
    for name in ["md.a.trades", "md.b.trades", "md.b.quotes", "orders"] {
        place.topic(name);
    }
    let found = |pattern: &str| place.bus.topics_matching(&pattern.parse().unwrap()).unwrap();
    assert_eq!(found("md.*.trades"), ["md.a.trades", "md.b.trades"]);
    assert_eq!(found("md.>").len(), 3);
    assert_eq!(found(">").len(), 4);
    assert_eq!(found("nothing"), [""; 0]);
}

#[test]
fn a_bus_is_removed_with_its_bell_once_it_has_no_topic() {
    let place = Place::new();
    place.topic("t");
    assert!(!place.bus.remove_if_empty().unwrap());
    assert!(place.bus.directory().join(".bell").exists());
    place.bus.remove("t").unwrap();
    assert!(place.bus.remove_if_empty().unwrap());
    assert!(!place.bus.directory().exists());
}
