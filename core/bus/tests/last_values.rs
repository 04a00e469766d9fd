//! The last message of each key, against a list: whatever was published and however often the ring went around, a joiner gets the
//! state at its position, and then the log from there.

#![forbid(unsafe_code)]

mod place;

use memlane::{
    Bus, ClaimError, Kind, LastValues, OpenError, PublishError, Publisher, Publishers, Subscriber, Topic, TopicError,
};
use place::Place;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// A message as it was published: its position, its key and its payload.
type Published = (u64, Option<Vec<u8>>, Vec<u8>);

fn topic(bus: &Bus, publishers: Publishers, keys_max: u32) -> Topic {
    let topic = bus.topic("t").unwrap().capacity_bytes(4096).prefault(false).publishers(publishers);
    topic.last_values(keys_max, 200).create().unwrap()
}

fn publish(publisher: &mut Publisher<[u8]>, key: &[u8], payload: &[u8]) -> u64 {
    publisher.message().key(key).unwrap().publish_within(payload, Duration::from_secs(10)).unwrap()
}

/// The last of each key before `position`, but for those that were taken out.
fn expected(log: &[Published], position: u64) -> BTreeMap<Vec<u8>, (u64, Vec<u8>)> {
    let mut state = BTreeMap::new();
    for (at, key, payload) in log.iter().filter(|published| published.0 < position) {
        let Some(key) = key else { continue };
        if payload.is_empty() {
            state.remove(key);
        } else {
            state.insert(key.clone(), (*at, payload.clone()));
        }
    }
    state
}

fn found(values: &LastValues<[u8]>) -> BTreeMap<Vec<u8>, (u64, Vec<u8>)> {
    let all = values.iter().map(|message| {
        let message = message.unwrap();
        (message.key().unwrap().unwrap().to_vec(), (message.position, message.view.to_vec()))
    });
    let found: BTreeMap<_, _> = all.collect();
    assert_eq!(found.len(), values.len());
    for (key, (position, payload)) in &found {
        let message = values.get(key).unwrap().unwrap();
        assert_eq!((message.position, message.view), (*position, &payload[..]));
    }
    found
}

#[derive(Clone, Debug)]
enum Step {
    Publish { publisher: usize, key: Option<u8>, bytes: usize },
    Batch { publisher: usize },
    Join { kind: Kind },
    Reopen { publisher: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (0..2_usize, 0..12_u8, 0..150_usize).prop_map(|(publisher, key, bytes)| Step::Publish {
            publisher,
            key: Some(key).filter(|key| *key < 10),
            bytes: if bytes < 8 { 0 } else { bytes },
        }),
        1 => (0..2_usize).prop_map(|publisher| Step::Batch { publisher }),
        3 => prop_oneof![Just(Kind::Gated), Just(Kind::Lossy), Just(Kind::Latest)].prop_map(|kind| Step::Join { kind }),
        1 => (0..2_usize).prop_map(|publisher| Step::Reopen { publisher }),
    ]
}

/// A key for each number, of lengths around those of words.
fn key_of(number: u8) -> Vec<u8> {
    vec![number; usize::from(number) * 3]
}

fn run(many: bool, steps: &[Step]) {
    let place = Place::new();
    let publishers = if many { Publishers::Many(2) } else { Publishers::One };
    let topic = topic(&place.bus, publishers, 10);
    let open = || topic.publisher::<[u8]>().open().unwrap();
    let mut open_publishers: Vec<_> = (0..if many { 2 } else { 1 }).map(|_| Some(open())).collect();
    let which = |publisher: usize| if many { publisher } else { 0 };
    let mut log: Vec<Published> = Vec::new();
    let mut joined: Option<(Subscriber<[u8]>, usize)> = None;
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Publish { publisher, key, bytes } => {
                let publisher = open_publishers[which(*publisher)].as_mut().unwrap();
                let payload = vec![number as u8; *bytes];
                let key = key.map(key_of);
                let position = match &key {
                    Some(key) => publish(publisher, key, &payload),
                    None => publisher.publish(&payload).unwrap(),
                };
                log.push((position, key, payload));
            }
            Step::Batch { publisher } => {
                let publisher = open_publishers[which(*publisher)].as_mut().unwrap();
                let mut loan = publisher.loan(100).unwrap();
                loan.payload().fill(1);
                drop(loan);
                // Without keys, and so of no account.
                assert_eq!(publisher.publish_batch(&[b"a", b"b"]).unwrap(), 2);
            }
            Step::Join { kind } => {
                let joiner = topic.subscriber::<[u8]>().kind(*kind).open_with_last_values();
                let (values, subscriber) = joiner.unwrap();
                assert_eq!(subscriber.position(), values.position());
                assert_eq!(found(&values), expected(&log, values.position()), "step {number}");
                assert!(log.iter().all(|published| published.0 < values.position()), "up to the end");
                joined = (*kind != Kind::Latest).then_some((subscriber, log.len()));
            }
            Step::Reopen { publisher } => {
                let publisher = &mut open_publishers[which(*publisher)];
                drop(publisher.take());
                *publisher = Some(open());
            }
        }
        // What is published after a join comes next, first of all, and at once, so that it never holds up the test.
        if let Some((subscriber, seen)) = &mut joined {
            while let Some(sample) = subscriber.try_receive().unwrap() {
                if let Some((position, _, payload)) = log.get(*seen).filter(|next| next.0 == sample.position()) {
                    assert_eq!((sample.position(), &*sample), (*position, &payload[..]));
                    *seen += 1;
                }
            }
            assert_eq!(*seen, log.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_joiner_of_one_publishers_topic_gets_the_state_at_its_position(steps in vec(step(), 1..400)) {
        run(false, &steps);
    }

    #[test]
    fn a_joiner_of_many_publishers_topic_gets_the_state_at_its_position(steps in vec(step(), 1..400)) {
        run(true, &steps);
    }
}

#[test]
fn a_key_too_many_is_refused_before_it_is_published_and_harms_nobody() {
    for publishers in [Publishers::One, Publishers::Many(3)] {
        let place = Place::new();
        let topic = topic(&place.bus, publishers, 3);
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        for round in 0..200_u8 {
            for key in [b"a", b"b", b"c"] {
                publish(&mut publisher, key, &[round; 50]);
            }
            let error = publisher.message().key(b"d").unwrap().publish(b"one too many").unwrap_err();
            assert_eq!(error, PublishError::Claim(ClaimError::KeysFull));
            assert!(error.to_string().contains("last_values"), "{error}");
            publisher.publish(b"without a key").unwrap();
        }
        let (values, _) = topic.subscriber::<[u8]>().open_with_last_values().unwrap();
        assert_eq!(values.len(), 3);
        assert!(values.iter().all(|message| message.unwrap().view == [199; 50]));
    }
}

#[test]
fn a_key_or_a_message_that_is_too_long_to_be_kept_is_refused_and_one_without_a_key_is_not() {
    let place = Place::new();
    let topic = topic(&place.bus, Publishers::One, 3);
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let refused = |message: Result<u64, PublishError>| match message.unwrap_err() {
        PublishError::Claim(error) => error,
        other => panic!("{other}"),
    };
    assert_eq!(refused(publisher.message().key(b"a").unwrap().publish(&[0; 190])), ClaimError::KeyedTooLong);
    assert_eq!(refused(publisher.message().key(&[7; 201]).unwrap().publish(b"")), ClaimError::KeyedTooLong);
    let long_keys = place.bus.topic("long").unwrap().capacity_bytes(8192).last_values(3, 1000).create().unwrap();
    let mut long_keys = long_keys.publisher::<[u8]>().open().unwrap();
    assert_eq!(refused(long_keys.message().key(&[7; 256]).unwrap().publish(b"")), ClaimError::KeyTooLong);
    long_keys.message().key(&[7; 255]).unwrap().publish(b"").unwrap();
    publisher.publish(&[0; 900]).unwrap();
    publisher.message().header("h", &[0; 500]).unwrap().publish(b"").unwrap();
    let (values, _) = topic.subscriber::<[u8]>().open_with_last_values().unwrap();
    assert!(values.is_empty());
}

#[test]
fn a_topic_without_last_values_says_so_and_has_no_table() {
    let place = Place::new();
    let topic = place.topic("plain");
    let error = topic.subscriber::<[u8]>().open_with_last_values().unwrap_err();
    assert!(matches!(error, OpenError::Topic(TopicError::NoLastValues { .. })), "{error}");
    assert!(!topic.directory().join("last").exists());
    topic.publisher::<[u8]>().open().unwrap().message().key(b"a").unwrap().publish(&[0; 900]).unwrap();
}

#[test]
fn a_table_that_is_gone_or_another_topics_is_told_by_name() {
    let place = Place::new();
    let (first, second) = (topic(&place.bus, Publishers::One, 3), place.bus.topic("u").unwrap());
    let second = second.capacity_bytes(4096).last_values(3, 200).create().unwrap();
    let table = first.directory().join("last");
    std::fs::remove_file(&table).unwrap();
    let error = first.publisher::<[u8]>().open().unwrap_err().to_string();
    assert!(error.contains("last") && error.contains("missing"), "{error}");
    std::fs::copy(second.directory().join("last"), &table).unwrap();
    let error = first.subscriber::<[u8]>().open_with_last_values().unwrap_err().to_string();
    assert!(error.contains("different topics"), "{error}");
    let cut = std::fs::File::options().write(true).open(second.directory().join("last")).unwrap();
    cut.set_len(4096).unwrap();
    let error = second.publisher::<[u8]>().open().unwrap_err().to_string();
    assert!(error.contains("4096 bytes long"), "{error}");
    // Who wants no last values is not kept out.
    second.subscriber::<[u8]>().open().unwrap();
    place.bus.remove("t").unwrap();
    place.bus.remove("u").unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Words of chance anywhere behind the header of the table: errors, or other values, but the log goes on.
    #[test]
    fn a_table_of_foreign_bytes_harms_no_publisher_and_no_joiner(
        words in vec((4096..8192_u64, prop_oneof![any::<u64>(), 0..5000_u64, Just(u64::MAX)]), 1..40),
        many: bool,
    ) {
        let place = Place::new();
        let publishers = if many { Publishers::Many(2) } else { Publishers::One };
        let topic = topic(&place.bus, publishers, 5);
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let mut reader = topic.subscriber::<[u8]>().open().unwrap();
        let memory = memlane_shm::named::memory_path(&topic.directory().join("last")).unwrap();
        let file = std::fs::File::options().write(true).open(memory).unwrap();
        for round in 0..200_u64 {
            let key = [b'a' + (round % 5) as u8];
            match publisher.message().key(&key).unwrap().publish(&round.to_le_bytes()) {
                Ok(_) => assert_eq!(&*reader.try_receive().unwrap().unwrap(), &round.to_le_bytes()),
                Err(PublishError::Claim(ClaimError::Corrupt | ClaimError::KeysFull)) => {}
                Err(other) => panic!("{other}"),
            }
            publisher.publish(b"goes on").unwrap();
            assert_eq!(&*reader.try_receive().unwrap().unwrap(), b"goes on");
            if let Some((at, word)) = words.get(round as usize / 4).filter(|_| round % 4 == 3) {
                file.write_all_at(&word.to_le_bytes(), at / 8 * 8).unwrap();
            }
            for kind in [Kind::Gated, Kind::Lossy] {
                match topic.subscriber::<[u8]>().kind(kind).open_with_last_values() {
                    Ok((values, _)) => values.iter().for_each(drop),
                    Err(OpenError::Topic(TopicError::LastValuesCorrupt { .. } | TopicError::Overtaken { .. })) => {}
                    Err(OpenError::Topic(TopicError::Corrupt { .. })) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}
