//! What participants count, how they are called, and how a watcher tells what comes and goes.

#![forbid(unsafe_code)]

mod place;

use memlane::{Bus, Event, Filter, Label, LabelError, Publishers, ReceiveError, Role, Snapshot, Start, Topic};
use place::Place;
use std::time::Duration;

fn now(topic: &Topic) -> Snapshot {
    topic.snapshot().unwrap()
}

/// One that can be published to by `publishers`.
fn topic_for(place: &Place, publishers: Publishers) -> Topic {
    place.bus.topic("t").unwrap().capacity_bytes(16384).publishers(publishers).prefault(false).create().unwrap()
}

#[test]
fn every_way_of_publishing_and_of_receiving_is_counted() {
    for publishers in [Publishers::One, Publishers::Many(4)] {
        let place = Place::new();
        let topic = topic_for(&place, publishers);
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let mut gated = topic.subscriber::<[u8]>().open().unwrap();
        let mut lossy = topic.subscriber::<[u8]>().lossy().open().unwrap();
        let mut filtered = topic.subscriber::<[u8]>().filter(Filter::key(b"k")).open().unwrap();
        publisher.publish(b"one").unwrap();
        assert_eq!(publisher.publish_batch(&[b"two", b"three", b"four"]).unwrap(), 3);
        let loan = publisher.loan(2000).unwrap();
        loan.publish(5).unwrap();
        drop(publisher.loan(10).unwrap());
        publisher.message().key(b"k").unwrap().publish(b"six").unwrap();
        assert!(publisher.publish(&[0; 9000]).is_err(), "it is longer than a quarter of the ring");

        assert_eq!(&*gated.receive().unwrap(), b"one");
        assert_eq!(gated.receive_batch(100, |message| assert!(message.is_ok())).unwrap(), 5);
        while lossy.try_receive().unwrap().is_some() {}
        assert_eq!(&*filtered.receive().unwrap(), b"six");

        let now = now(&topic);
        assert_eq!((now.messages, now.publishers[0].messages), (6, 6), "{publishers:?}");
        let bytes = now.publishers[0].log_bytes;
        // Padding that gave a claim back is nobody's message.
        assert!(bytes <= now.tail && now.tail - bytes <= 2048, "{bytes} of {}", now.tail);
        let read: Vec<_> = now.subscribers.iter().map(|one| (one.role, one.messages, one.position)).collect();
        let whole = (Role::Subscriber, 6, Some(now.tail));
        assert_eq!(read, [whole, (Role::Subscriber, 1, Some(now.tail))]);
        assert_eq!((now.observers[0].messages, now.observers[0].position), (6, Some(now.tail)));
        assert_eq!(now.slowest().unwrap().slot, 0);
    }
}

#[test]
fn a_successor_counts_its_own_messages_and_the_topic_those_of_all() {
    for publishers in [Publishers::One, Publishers::Many(1)] {
        let place = Place::new();
        let topic = topic_for(&place, publishers);
        for turn in 1..=3 {
            let mut publisher = topic.publisher::<[u8]>().open().unwrap();
            // Several laps, so that every way of going on is gone.
            for _ in 0..1000 {
                publisher.publish(&[7; 100]).unwrap();
            }
            let now = now(&topic);
            assert_eq!((now.messages, now.publishers[0].messages), (turn * 1000, 1000));
            assert_eq!(now.publishers[0].log_bytes / 1000, 128, "{publishers:?}");
            assert_eq!(now.publishers[0].comings.came, turn);
        }
    }
}

#[test]
fn a_full_ring_is_counted_and_so_is_the_time_that_it_holds_a_publisher_up() {
    for publishers in [Publishers::One, Publishers::Many(4)] {
        let place = Place::new();
        let topic = topic_for(&place, publishers);
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let mut slow = topic.subscriber::<[u8]>().open().unwrap();
        while publisher.publish(&[1; 1000]).is_ok() {}
        assert!(publisher.publish(&[1; 1000]).unwrap_err().is_full());
        let one = now(&topic).publishers[0].clone();
        assert_eq!((one.full, one.held_ns, one.is_held), (2, 0, false), "{publishers:?}");

        assert!(publisher.publish_within(&[1; 1000], Duration::from_millis(20)).unwrap_err().is_full());
        let one = now(&topic).publishers[0].clone();
        // It tried once more before it waited; the tries of the wait are one with that.
        assert!((3..=4).contains(&one.full) && !one.is_held, "{one:?}");
        assert!((15_000_000..10_000_000_000).contains(&one.held_ns), "{one:?}");

        let seen = std::thread::scope(|scope| {
            scope.spawn(|| publisher.publish_within(&[1; 1000], Duration::from_secs(60)).unwrap());
            let held = std::iter::repeat_with(|| now(&topic)).find(|now| now.publishers[0].is_held).unwrap();
            slow.receive_batch(100, |_| ()).unwrap();
            held
        });
        assert_eq!(seen.slowest().unwrap().position, Some(0), "the one who holds it up is shown");
        assert!(!now(&topic).publishers[0].is_held);
    }
}

#[test]
fn what_an_observer_lost_is_counted_and_what_it_left_out_is_not() {
    let place = Place::new();
    let topic = place.topic("t");
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let mut lossy = topic.subscriber::<[u8]>().lossy().open().unwrap();
    let mut latest = topic.subscriber::<[u8]>().latest().open().unwrap();
    for _ in 0..100 {
        publisher.publish(&[1; 100]).unwrap();
    }
    let Err(ReceiveError::Lost { from, to }) = lossy.try_receive() else { panic!("it was overtaken") };
    while lossy.try_receive().unwrap().is_some() {}
    while latest.try_receive().unwrap().is_some() {}
    let now = now(&topic);
    let told: Vec<_> = now.observers.iter().map(|one| (one.losses, one.lost_bytes, one.messages)).collect();
    assert_eq!(told, [(1, to - from, 100 - (to - from) / 128), (0, 0, 1)]);
    assert!(now.subscribers.is_empty() && now.slowest().is_none(), "nobody is held up by them");
}

#[test]
fn an_observer_without_a_place_to_be_seen_observes_all_the_same() {
    let place = Place::new();
    let topic = place.bus.topic("t").unwrap().capacity_bytes(4096).subscribers_max(1).create().unwrap();
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let mut observers: Vec<_> = (0..3).map(|_| topic.subscriber::<[u8]>().lossy().open().unwrap()).collect();
    let mut gated = topic.subscriber::<[u8]>().open().expect("observers take no place from gated ones");
    publisher.publish(b"x").unwrap();
    assert!(observers.iter_mut().all(|one| &*one.receive().unwrap() == b"x") && &*gated.receive().unwrap() == b"x");
    assert_eq!((now(&topic).observers.len(), now(&topic).subscribers.len()), (1, 1));
}

#[test]
fn participants_are_called_as_the_bus_or_each_of_them_says() {
    let root = tempfile::tempdir().unwrap();
    let label = Label::new("feed").unwrap().tag("venue", "xnas").unwrap();
    let bus = Bus::builder("b").root(root.path()).label(label.clone()).open().unwrap();
    let topic = bus.topic("t").unwrap().capacity_bytes(4096).create().unwrap();
    let _publisher = topic.publisher::<[u8]>().open().unwrap();
    let other = Label::new("risk").unwrap();
    let mut observer = topic.subscriber::<[u8]>().lossy().label(other.clone()).open().unwrap();
    observer.skip_to_live().unwrap();
    let _pattern = bus.subscribe::<[u8]>(">".parse().unwrap()).start(Start::Earliest).open().unwrap();
    let snapshot = now(&topic);
    let labels: Vec<_> = snapshot.participants().map(|one| &one.label).collect();
    assert_eq!(labels, [&label, &label, &other]);
    assert!(snapshot.participants().all(|one| one.pid == u64::from(std::process::id())));

    // Without a name of its own it is called as its program.
    let plain = Bus::builder("b").root(root.path()).open().unwrap();
    let _other = plain.topic("t").unwrap().open().unwrap().subscriber::<[u8]>().open().unwrap();
    assert!(now(&topic).subscribers[1].label.name().starts_with("participants"));
    assert!(matches!(Label::new(&"x".repeat(200)), Err(LabelError::TooLong { bytes: 200 })));
}

#[test]
fn a_watcher_tells_what_is_there_and_then_what_changes() {
    let place = Place::new();
    let mut events = place.bus.watch("md.>".parse().unwrap());
    let mut next = || events.try_next().unwrap();
    assert_eq!(next(), None);
    let topic = place.topic("md.a");
    place.topic("other");
    let publisher = topic.publisher::<[u8]>().open().unwrap();
    assert!(matches!(next(), Some(Event::TopicMade { topic }) if topic == "md.a"));
    assert!(matches!(next(), Some(Event::Joined { participant, .. }) if participant.role == Role::Publisher));
    assert_eq!(next(), None);

    drop(publisher);
    let observer = topic.subscriber::<[u8]>().lossy().open().unwrap();
    assert!(matches!(next(), Some(Event::Left { participant, .. }) if participant.role == Role::Publisher));
    assert!(matches!(next(), Some(Event::Joined { participant, .. }) if participant.role == Role::Observer));
    assert_eq!(next(), None);

    // Too fast to be seen one by one.
    for _ in 0..3 {
        topic.publisher::<[u8]>().open().unwrap();
    }
    let passed = Event::Passed { topic: "md.a".into(), role: Role::Publisher, slot: 0, count: 3, died: 0 };
    assert_eq!((next(), next()), (Some(passed), None));

    let mut late = place.bus.watch(">".parse().unwrap());
    let told: Vec<_> = std::iter::from_fn(|| late.try_next().unwrap()).collect();
    assert!(matches!(&told[..], [Event::TopicMade { .. }, Event::Joined { .. }, Event::TopicMade { .. }]), "{told:?}");

    drop(observer);
    place.bus.remove("md.a").unwrap();
    place.topic("md.a");
    assert!(matches!((next(), next()), (Some(Event::TopicRemoved { .. }), Some(Event::TopicMade { .. }))));
    assert_eq!(events.next_within(Duration::from_millis(5)).unwrap(), None);
}

#[test]
fn a_snapshot_of_a_bus_has_every_topic_and_names_what_cant_be_looked_at() {
    let place = Place::new();
    place.topic("a");
    place.topic("b");
    std::fs::write(place.bus.directory().join("b").join("log"), b"rubbish").unwrap();
    let all = place.bus.snapshot(&">".parse().unwrap()).unwrap();
    assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!(all["a"].is_ok() && all["b"].as_ref().unwrap_err().to_string().contains("not a memlane file"));
}

#[test]
fn hostile_counters_are_shown_and_break_nothing() {
    use std::os::unix::fs::FileExt;
    let place = Place::new();
    let topic = place.topic("t");
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let mut gated = topic.subscriber::<[u8]>().open().unwrap();
    let mut observer = topic.subscriber::<[u8]>().lossy().open().unwrap();
    let mut events = place.bus.watch(">".parse().unwrap());
    while events.try_next().unwrap().is_some() {}
    let file = |name| {
        let memory = memlane_shm::named::memory_path(&topic.directory().join(name)).unwrap();
        std::fs::OpenOptions::new().write(true).open(memory).unwrap()
    };
    let (subs, log) = (file("subs"), file("log"));
    let slots = memlane_ring::layout::subs::SLOTS;
    let gated_max = topic.info().options.subscribers_max as usize;
    // The slots of both kinds, and their labels.
    for word in 0..gated_max * 2 * 2 * 128 / 8 {
        // A gated one's cursor is left: what a hostile one does is tested elsewhere.
        if word % 16 != 0 || word >= gated_max * 16 {
            subs.write_all_at(&u64::MAX.to_le_bytes(), (slots + word * 8) as u64).unwrap();
        }
    }
    for word in 1..32 {
        let at = memlane_ring::layout::control::PUBLISHERS + word * 8;
        log.write_all_at(&u64::MAX.to_le_bytes(), at as u64).unwrap();
    }
    let before = now(&topic);
    assert_eq!(before.subscribers[0].label, Label::default());
    while events.try_next().unwrap().is_some() {}
    publisher.publish(b"x").unwrap();
    assert!(&*gated.receive().unwrap() == b"x" && &*observer.receive().unwrap() == b"x");
    drop((publisher, gated, observer));
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let mut gated = topic.subscriber::<[u8]>().open().unwrap();
    publisher.publish(b"y").unwrap();
    assert_eq!(&*gated.receive().unwrap(), b"y");
    assert_eq!(now(&topic).publishers[0].messages, 1, "a new holder counts from where it came");
    while events.try_next().unwrap().is_some() {}
}
