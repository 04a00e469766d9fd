//! Topics on other hosts: what is followed is all of it, what is replicated comes once, from wherever and however often.

#![forbid(unsafe_code)]

use memlane::journal::{Disk, Journal, RecorderOptions};
use memlane::replication::{CarriedMessage, Followed, Follower, Outcome, Replica, Route};
use memlane::{Bus, Kind, OpenError, ReceiveError, Start, Topic, TopicError};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

/// A message that was followed: position, time, content, and whether it has extensions.
type Kept = (u64, u64, Vec<u8>, bool);

fn bus(name: &str) -> (tempfile::TempDir, Bus) {
    let root = tempfile::tempdir().unwrap();
    let bus = Bus::builder(name).root(root.path()).open().unwrap();
    (root, bus)
}

/// What there is to follow, and which positions that was, or what is lost.
fn turn(follower: &mut Follower, bytes_max: u64) -> (Followed, Vec<Kept>) {
    let mut kept = Vec::new();
    let followed = follower
        .turn(bytes_max, |message| {
            assert!(message.fields.is_ok());
            kept.push((message.position, message.unix_ns, message.content.to_vec(), message.has_extensions));
        })
        .unwrap();
    (followed, kept)
}

/// All that there is to follow, without a loss, in runs that follow each other.
fn follow_all(follower: &mut Follower, bytes_max: u64) -> Vec<Kept> {
    let (mut all, mut at) = (Vec::new(), None);
    loop {
        match turn(follower, bytes_max) {
            (Followed::Run(run), kept) => {
                assert!(at.is_none_or(|at| at == run.start) && run.start < run.end, "{run:?}");
                assert!(kept.iter().all(|message| run.contains(&message.0)));
                at = Some(run.end);
                all.extend(kept);
            }
            (Followed::Nothing, _) => return all,
            (Followed::Lost(lost), _) => panic!("{lost:?} is lost"),
        }
    }
}

/// The same together, where that can be; how many were published.
fn carry_together(kept: &[Kept], replica: &mut Replica, route: Route) -> usize {
    let mut messages = kept.iter().map(|(position, unix_ns, content, has_extensions)| {
        let (position, unix_ns, has_extensions) = (*position, *unix_ns, *has_extensions);
        CarriedMessage { position, unix_ns, has_extensions, content }
    });
    let (mut next, mut published) = (messages.next(), 0);
    while let Some(first) = next {
        match replica.publish_batch(route, &mut next, &mut messages).unwrap() {
            0 => {
                let outcome = replica.publish(route, &first).unwrap();
                published += usize::from(matches!(outcome, Outcome::Published(_)));
                next = messages.next();
            }
            count => {
                assert!(count <= 64);
                published += count;
            }
        }
    }
    published
}

/// Puts what was followed into a replica.
fn carry(kept: &[Kept], replica: &mut Replica, route: Route) -> Vec<Outcome> {
    let publish = |(position, unix_ns, content, has_extensions): &Kept| {
        let (position, unix_ns, has_extensions) = (*position, *unix_ns, *has_extensions);
        replica.publish(route, &CarriedMessage { position, unix_ns, has_extensions, content }).unwrap()
    };
    kept.iter().map(publish).collect()
}

fn payloads(topic: &Topic) -> Vec<Vec<u8>> {
    let mut subscriber = topic.subscriber::<[u8]>().start(Start::Earliest).open().unwrap();
    std::iter::from_fn(|| subscriber.try_receive().unwrap().map(|sample| sample.to_vec())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_is_followed_is_what_was_published(
        stamps: bool,
        bytes_max in 1..5_000_u64,
        messages in vec((vec(any::<u8>(), 0..500), any::<bool>()), 0..200),
    ) {
        let (_root, bus) = bus("follow");
        let topic = bus.topic("t").unwrap().capacity_bytes(1 << 17).stamps(stamps).open_or_create().unwrap();
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let mut follower = topic.follow(None, Start::Earliest).unwrap();
        let mut positions = Vec::new();
        for (payload, has_key) in &messages {
            let position = if *has_key {
                publisher.message().key(b"k").unwrap().publish(payload)
            } else {
                publisher.publish(payload)
            };
            positions.push(position.unwrap());
        }
        let followed = follow_all(&mut follower, bytes_max);
        prop_assert_eq!(followed.iter().map(|message| message.0).collect::<Vec<_>>(), positions);
        for ((_, unix_ns, content, has_extensions), (payload, has_key)) in followed.iter().zip(&messages) {
            prop_assert_eq!((has_extensions, content.ends_with(payload)), (has_key, true));
            prop_assert_eq!(*unix_ns > 1_600_000_000_000_000_000, stamps);
            prop_assert!(*has_key || content == payload);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_is_carried_together_is_what_was_published_and_duplicates_are_left_out(
        many: bool,
        messages in vec((vec(any::<u8>(), 0..300), 0..10_u8), 0..300),
        twice in 0..300_usize,
    ) {
        let (_root, bus) = bus("together");
        let from = bus.topic("t").unwrap().capacity_bytes(1 << 18).stamps(true).open_or_create().unwrap();
        let publishers = if many { memlane::Publishers::Many(3) } else { memlane::Publishers::One };
        let to = bus.topic("u").unwrap().capacity_bytes(1 << 12).publishers(publishers).open_or_create().unwrap();
        let mut publisher = from.publisher::<[u8]>().open().unwrap();
        for (payload, kind) in &messages {
            if *kind == 0 {
                publisher.message().key(b"k").unwrap().publish(payload).unwrap();
            } else {
                publisher.publish(payload).unwrap();
            }
        }
        let all = follow_all(&mut from.follow(None, Start::Earliest).unwrap(), 1_000);
        let twice = twice.min(all.len());
        {
            let mut replica = to.replicate("osaka").unwrap();
            let route = replica.route("tokyo", 7, None).unwrap();
            prop_assert_eq!(carry_together(&all[..twice], &mut replica, route), twice);
            prop_assert_eq!(carry_together(&all[..twice], &mut replica, route), 0);
        }
        // Whoever comes back has forgotten nothing, though the ring has.
        let mut replica = to.replicate("osaka").unwrap();
        let route = replica.route("tokyo", 7, None).unwrap();
        prop_assert_eq!(carry_together(&all, &mut replica, route), all.len() - twice);
        prop_assert_eq!(replica.marks().next().map(|mark| mark.1), Some(all.last().map_or(0, |message| message.0 + 1)));
        let newest = follow_all(&mut to.follow(None, Start::Earliest).unwrap(), 1_000);
        for (came, (payload, _)) in newest.iter().rev().zip(messages.iter().rev()) {
            prop_assert!(came.2.ends_with(payload));
        }
        prop_assert!(newest.len() >= 4.min(all.len()));
    }
}

#[test]
fn a_follower_that_is_overtaken_is_told_what_it_lost_and_holds_nobody_up() {
    let (_root, bus) = bus("lost");
    let topic = bus.topic("t").unwrap().capacity_bytes(4096).open_or_create().unwrap();
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let mut follower = topic.follow(None, Start::Earliest).unwrap();
    for number in 0..1_000_u32 {
        publisher.publish(&number.to_le_bytes()).unwrap();
    }
    let (Followed::Lost(lost), _) = turn(&mut follower, 100_000) else { panic!("it was overtaken") };
    let rest = follow_all(&mut follower, 100_000);
    assert_eq!((lost.start, lost.end), (0, rest[0].0));
    assert_eq!(rest.last().unwrap().2, 999_u32.to_le_bytes());
    assert!(rest.len() > 10);
    // Who comes back to what is gone is told the same, once.
    let mut late = topic.follow(None, Start::Position(64)).unwrap();
    assert!(late.has_news());
    assert_eq!(turn(&mut late, 100_000).0, Followed::Lost(64..lost.end));
    assert_eq!(follow_all(&mut late, 100_000), rest);
    let behind = topic.follow(None, Start::Position(1 << 30)).unwrap_err();
    assert!(matches!(behind, OpenError::Topic(TopicError::NoSuchPosition { .. })), "{behind}");
}

#[test]
fn a_follower_with_a_journal_gets_everything_from_wherever_it_begins() {
    let (root, bus) = bus("journal");
    let topic = bus.topic("t").unwrap().capacity_bytes(4096).journaled(true).open_or_create().unwrap();
    let directory = root.path().join("journal");
    let (mut recorder, _) = topic.record(&directory, RecorderOptions::default()).unwrap();
    let journal = Journal::open(Arc::new(Disk), &directory).unwrap();
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let mut follower = topic.follow(Some(&journal), Start::Earliest).unwrap();
    let mut positions = Vec::new();
    for number in 0..1_000_u32 {
        positions.push(publisher.publish(&number.to_le_bytes()).unwrap());
        recorder.turn().unwrap();
        if number == 500 {
            assert_eq!(follow_all(&mut follower, 1_000).len(), 501);
        }
    }
    let numbers = |followed: &[Kept]| -> Vec<u32> {
        followed.iter().map(|message| u32::from_le_bytes(message.2[..].try_into().unwrap())).collect()
    };
    assert_eq!(numbers(&follow_all(&mut follower, 1_000)), (501..1_000).collect::<Vec<_>>());
    // Back in the ring, which the journal hasn't yet.
    positions.push(publisher.publish(&1_000_u32.to_le_bytes()).unwrap());
    assert_eq!(numbers(&follow_all(&mut follower, 1_000)), [1_000]);
    for first in [0, 1, 333, 998, 999, 1_000] {
        let start = Start::Position(positions[first as usize]);
        let mut late = topic.follow(Some(&journal), start).unwrap();
        assert_eq!(numbers(&follow_all(&mut late, 1_000)), (first..=1_000).collect::<Vec<_>>());
    }
    let behind = topic.follow(Some(&journal), Start::Position(1 << 30)).unwrap_err();
    assert!(matches!(behind, OpenError::Topic(TopicError::NoSuchPosition { .. })), "{behind}");
}

#[test]
fn a_task_that_follows_is_woken_by_a_message() {
    let (_root, bus) = bus("woken");
    let topic = bus.topic("t").unwrap().open_or_create().unwrap();
    let mut follower = topic.follow(None, Start::Live).unwrap();
    let publisher = std::thread::spawn({
        let topic = topic.clone();
        move || {
            let mut publisher = topic.publisher::<[u8]>().open().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            publisher.publish(b"hello").unwrap();
        }
    });
    memlane::block_on(follower.news());
    assert_eq!(follow_all(&mut follower, 100).len(), 1);
    publisher.join().unwrap();
}

#[test]
fn each_message_comes_once_whoever_dies_and_however_often_it_is_sent() {
    let (_root, tokyo) = bus("tokyo");
    let (_other, osaka) = bus("osaka");
    let from = tokyo.topic("t").unwrap().open_or_create().unwrap();
    let to = osaka.topic("t").unwrap().capacity_bytes(4096).open_or_create().unwrap();
    let mut publisher = from.publisher::<[u8]>().open().unwrap();
    let epoch = from.info().epoch;
    let mut subscriber = to.subscriber::<[u8]>().open().unwrap();
    let mut received = Vec::new();
    let mut published = 0_u32;
    for life in 0..50 {
        for _ in 0..life % 7 {
            publisher.publish(&published.to_le_bytes()).unwrap();
            published += 1;
        }
        // From the start, each time: what is there is left out, though the ring has long forgotten it.
        let all = follow_all(&mut from.follow(None, Start::Earliest).unwrap(), 500);
        let mut replica = to.replicate("osaka").unwrap();
        let route = replica.route("tokyo", epoch, None).unwrap();
        let outcomes = carry(&all, &mut replica, route);
        let new = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Published(_))).count();
        assert_eq!(new, life % 7);
        assert!(carry(&all, &mut replica, route).iter().all(|outcome| *outcome == Outcome::Duplicate));
        assert_eq!(replica.marks().next().map(|mark| mark.1), all.last().map(|message| message.0 + 1).or(Some(0)));
        while let Some(sample) = subscriber.try_receive().unwrap() {
            let origin = sample.origin().unwrap().unwrap();
            let number = received.len();
            assert_eq!((origin.node, origin.epoch, origin.position), ("tokyo", epoch, all[number].0));
            assert_eq!((origin.topic, sample.source()), (None, Ok(None)));
            received.push(u32::from_le_bytes((*sample).try_into().unwrap()));
        }
    }
    assert_eq!(received, (0..published).collect::<Vec<_>>());
}

#[test]
fn a_message_keeps_its_fields_and_its_publishers_source() {
    let (_root, tokyo) = bus("fields");
    let from = tokyo.topic("t").unwrap().stamps(true).open_or_create().unwrap();
    let to = tokyo.topic("u").unwrap().open_or_create().unwrap();
    let mut publisher = from.publisher::<[u8]>().open_source("venue.a").unwrap();
    publisher.publish_with(|message| message.key(b"ZIEXT")?.header("venue", b"xnas"), b"hello", None).unwrap();
    publisher.publish(b"again").unwrap();
    let mut replica = to.replicate("osaka").unwrap();
    let route = replica.route("tokyo", 7, Some("t")).unwrap();
    carry(&follow_all(&mut from.follow(None, Start::Earliest).unwrap(), 500), &mut replica, route);
    let mut subscriber = to.subscriber::<[u8]>().start(Start::Earliest).open().unwrap();
    {
        let sample = subscriber.receive().unwrap();
        assert_eq!(
            (&*sample, sample.key(), sample.header("venue")),
            (&b"hello"[..], Ok(Some(&b"ZIEXT"[..])), Some(&b"xnas"[..]))
        );
        let (source, origin) = (sample.source().unwrap().unwrap(), sample.origin().unwrap().unwrap());
        assert_eq!((source.name, source.sequence), ("venue.a", 1));
        assert_eq!((origin.node, origin.epoch, origin.position, origin.topic), ("tokyo", 7, 0, Some("t")));
        assert!(origin.unix_ns > 1_600_000_000_000_000_000);
    }
    let sample = subscriber.receive().unwrap();
    assert_eq!((&*sample, sample.source().unwrap().map(|source| source.sequence)), (&b"again"[..], Some(2)));
}

#[test]
fn in_a_ring_of_hosts_each_gets_each_message_once_and_its_own_none() {
    let names = ["tokyo", "osaka", "kyoto"];
    let hosts: Vec<_> = names.iter().map(|name| bus(name)).collect();
    let topics: Vec<Topic> = hosts
        .iter()
        .map(|(_, bus)| bus.topic("t").unwrap().publishers(memlane::Publishers::Many(4)).open_or_create().unwrap())
        .collect();
    let mut replicas: Vec<_> = topics.iter().zip(names).map(|(topic, name)| topic.replicate(name).unwrap()).collect();
    let mut followers: Vec<_> = topics.iter().map(|topic| topic.follow(None, Start::Earliest).unwrap()).collect();
    let mut publishers: Vec<_> = topics.iter().map(|topic| topic.publisher::<[u8]>().open().unwrap()).collect();
    for round in 0..20_u8 {
        for (host, publisher) in publishers.iter_mut().enumerate() {
            publisher.publish(&[host as u8, round]).unwrap();
        }
        // Everybody sends everything to both others, and goes on until nothing is new.
        loop {
            let mut new = 0;
            for host in 0..3 {
                let all = follow_all(&mut followers[host], 500);
                for other in [(host + 1) % 3, (host + 2) % 3] {
                    let route = replicas[other].route(names[host], topics[host].info().epoch, None).unwrap();
                    let outcomes = carry(&all, &mut replicas[other], route);
                    new += outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Published(_))).count();
                }
            }
            if new == 0 {
                break;
            }
        }
    }
    for topic in &topics {
        let mut found = payloads(topic);
        assert_eq!(found.len(), 60);
        for host in 0..3 {
            let its: Vec<u8> = found.iter().filter(|payload| payload[0] == host).map(|payload| payload[1]).collect();
            assert_eq!(its, (0..20).collect::<Vec<_>>(), "in order");
        }
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 60);
    }
}

#[test]
fn what_comes_where_there_is_no_room_is_not_counted_as_come() {
    let (_root, bus) = bus("full");
    let topic = bus.topic("t").unwrap().capacity_bytes(4096).open_or_create().unwrap();
    let mut slow = topic.subscriber::<[u8]>().open().unwrap();
    let mut replica = topic.replicate("osaka").unwrap();
    let route = replica.route("tokyo", 7, None).unwrap();
    let message =
        |number: u64| CarriedMessage { position: number * 64, unix_ns: 0, has_extensions: false, content: b"x" };
    let refused = (0..).find_map(|number| replica.publish(route, &message(number)).err().map(|error| (number, error)));
    let (number, error) = refused.unwrap();
    assert!(matches!(&error, memlane::replication::ReplicaError::Publish(error) if error.is_full()), "{error}");
    while slow.try_receive().unwrap().is_some() {}
    assert!(matches!(replica.publish(route, &message(number)), Ok(Outcome::Published(_))));
}

#[test]
fn an_origin_is_carried_over_by_one_alone_and_a_topic_for_one_has_one() {
    let (_root, bus) = bus("alone");
    let many = bus.topic("many").unwrap().publishers(memlane::Publishers::Many(3)).open_or_create().unwrap();
    let mut one = many.replicate("osaka").unwrap();
    one.route("tokyo", 7, None).unwrap();
    let error = many.replicate("osaka").unwrap_err();
    assert!(matches!(error, OpenError::Topic(TopicError::SourceTaken { .. })), "{error}");
    let single = bus.topic("single").unwrap().open_or_create().unwrap();
    let _publisher = single.publisher::<[u8]>().open().unwrap();
    assert!(single.replicate("osaka").is_err());
}

#[test]
fn extensions_that_cannot_be_read_are_told_and_the_next_message_comes() {
    let (_root, bus) = bus("malformed");
    let topic = bus.topic("t").unwrap().open_or_create().unwrap();
    let mut replica = topic.replicate("osaka").unwrap();
    let route = replica.route("tokyo", 7, None).unwrap();
    for (position, content) in
        [(0, &[0xff; 16][..]), (64, &[]), (128, &[8, 0, 0, 0, 9, 0, 9, 9]), (192, &[12, 0, 0, 0])]
    {
        let message = CarriedMessage { position, unix_ns: 0, has_extensions: true, content };
        let error = replica.publish(route, &message).unwrap_err();
        assert!(matches!(error, memlane::replication::ReplicaError::Malformed { position: at } if at == position));
    }
    let message = CarriedMessage { position: 256, unix_ns: 0, has_extensions: false, content: b"fine" };
    assert!(matches!(replica.publish(route, &message), Ok(Outcome::Published(0))));
    let mut lossy = topic.subscriber::<[u8]>().kind(Kind::Lossy).start(Start::Earliest).open().unwrap();
    assert!(matches!(lossy.try_receive(), Ok::<_, ReceiveError>(Some(_))));
}

#[test]
fn what_is_given_up_as_soon_as_it_is_published_counts_too() {
    let (_root, bus) = bus("given_up");
    for length in [20, 129, 275, 800] {
        let topic = bus.topic(&format!("t{length}")).unwrap().capacity_bytes(4096).open_or_create().unwrap();
        let frame = (8 + length as u64).next_multiple_of(64);
        let all: Vec<Kept> = (0..200).map(|number| (number * frame, 0, vec![7; length], false)).collect();
        for come in 1..all.len() {
            // A batch may take most of the ring, and make room for the next by giving itself up.
            let mut replica = topic.replicate("osaka").unwrap();
            let route = replica.route("tokyo", 7, None).unwrap();
            let before = come * (come - 1) / 2;
            let to_be_sent = &all[..(before + come).min(all.len())];
            let new = to_be_sent.len().saturating_sub(before);
            assert_eq!(carry_together(to_be_sent, &mut replica, route), new, "{length} {come}");
            if new < come {
                break;
            }
        }
    }
}
