//! Publishers with names: how far they got, across restarts and laps, and one of each at a time.

#![forbid(unsafe_code)]

mod place;

use memlane::{Message, OpenError, Publishers, SourcePublisher, Start, Topic, TopicError};
use place::Place;
use rkyv::{Archive, Serialize};
use std::time::Duration;

fn topic(place: &Place, publishers: Publishers) -> Topic {
    place.bus.topic("t").unwrap().capacity_bytes(8192).publishers(publishers).prefault(false).create().unwrap()
}

fn open(topic: &Topic, name: &str) -> SourcePublisher<[u8]> {
    topic.publisher::<[u8]>().open_source(name).unwrap()
}

const KINDS: [Publishers; 2] = [Publishers::One, Publishers::Many(4)];

#[test]
fn who_comes_back_goes_on_with_the_next_number_however_many_laps_have_passed() {
    for publishers in KINDS {
        let place = Place::new();
        let topic = topic(&place, publishers);
        assert_eq!(open(&topic, "a").last_sequence(), 0);
        let mut expected = 0;
        for round in 0..40_u64 {
            let mut source = open(&topic, "a");
            assert_eq!(source.last_sequence(), expected, "{publishers:?}");
            for _ in 0..round {
                source.publish(&[1; 50]).unwrap();
            }
            expected += round;
            drop(source);
            // Others write over all of it, with names and without.
            let others = (round * 7) % 300;
            if round % 3 == 0 {
                let mut other = open(&topic, "b.other");
                (0..others).for_each(|_| {
                    other.publish(&[2; 50]).unwrap();
                });
            } else {
                let mut other = topic.publisher::<[u8]>().open().unwrap();
                (0..others).for_each(|_| {
                    other.publish(&[2; 50]).unwrap();
                });
            }
        }
    }
}

#[test]
fn every_message_says_its_source_and_number_and_may_say_more() {
    let place = Place::new();
    let topic = topic(&place, Publishers::One);
    let mut subscriber = topic.subscriber::<[u8]>().start(Start::Earliest).open().unwrap();
    let mut source = open(&topic, "venue.a");
    source.publish(b"one").unwrap();
    source.publish_with(|message| message.key(b"k"), b"two", None).unwrap();
    source.skip_to(9);
    source.publish_within(b"ten", Duration::from_secs(1)).unwrap();
    let mut told = Vec::new();
    while let Some(message) = subscriber.try_receive().unwrap() {
        let source = message.source().unwrap().unwrap();
        told.push((source.name.to_owned(), source.sequence, message.key().unwrap().map(<[u8]>::to_vec)));
    }
    let name = || "venue.a".to_owned();
    assert_eq!(told, [(name(), 1, None), (name(), 2, Some(b"k".to_vec())), (name(), 10, None)]);
    assert_eq!(source.last_sequence(), 10);
}

#[test]
fn a_number_that_was_not_published_is_not_used_up() {
    let place = Place::new();
    let topic = place.topic("t");
    let _gate = topic.subscriber::<[u8]>().open().unwrap();
    let mut source = open(&topic, "a");
    while source.publish(&[0; 500]).is_ok() {}
    let last = source.last_sequence();
    assert!(source.publish(&[0; 500]).unwrap_err().is_full() && source.publish(&[0; 5000]).is_err());
    assert_eq!(source.last_sequence(), last);
    drop(source);
    assert_eq!(open(&topic, "a").last_sequence(), last);
}

#[test]
fn a_second_one_of_a_name_is_fenced_out_until_the_first_has_left() {
    let place = Place::new();
    let topic = topic(&place, Publishers::Many(4));
    let first = open(&topic, "a");
    let refused = topic.publisher::<[u8]>().open_source("a").unwrap_err();
    assert!(refused.to_string().contains("somebody publishes here as the source a already"), "{refused}");
    let _other = open(&topic, "b");
    drop(first);
    open(&topic, "a");
}

#[test]
fn names_that_are_too_many_or_cant_be_are_refused() {
    let place = Place::new();
    let topic = topic(&place, Publishers::One);
    for name in ["", "a b", "a..b", &"x".repeat(121), &"x".repeat(10_000)] {
        let error = topic.publisher::<[u8]>().open_source(name).unwrap_err().to_string();
        assert!(error.contains("source") && error.len() < 400, "{error}");
    }
    for index in 0..12 {
        open(&topic, &format!("s.{index}")).publish(b"x").unwrap();
    }
    let full = topic.publisher::<[u8]>().open_source("one-more").unwrap_err();
    assert!(matches!(full, OpenError::Topic(TopicError::SourcesFull { sources: 12, .. })), "{full}");
    assert_eq!(open(&topic, "s.11").last_sequence(), 1);
    topic.publisher::<[u8]>().open().unwrap().publish(b"others publish on").unwrap();
}

#[derive(Archive, Serialize, Message)]
struct Fill {
    price: i64,
}

#[test]
fn typed_messages_have_sources_too() {
    let place = Place::new();
    let topic = place.bus.topic("fills").unwrap().capacity_bytes(4096).message::<Fill>().create().unwrap();
    let mut subscriber = topic.subscriber::<Fill>().open().unwrap();
    topic.publisher::<Fill>().open_source("a").unwrap().publish(&Fill { price: 7 }).unwrap();
    let fill = subscriber.receive().unwrap();
    assert_eq!((fill.price.to_native(), fill.source().unwrap().unwrap().sequence), (7, 1));
}

#[test]
fn hostile_names_and_sequences_make_no_panic() {
    use std::os::unix::fs::FileExt;
    let place = Place::new();
    let topic = topic(&place, Publishers::Many(4));
    open(&topic, "a").publish(b"x").unwrap();
    let memory = memlane_shm::named::memory_path(&topic.directory().join("log")).unwrap();
    let log = std::fs::OpenOptions::new().write(true).open(memory).unwrap();
    let geometry = topic.info().options.geometry().unwrap();
    log.write_all_at(&u64::MAX.to_le_bytes(), memlane_ring::layout::status::SOURCES_USED as u64).unwrap();
    log.write_all_at(&[0xff; 1000], geometry.source_name_at(0) as u64).unwrap();
    let error = topic.publisher::<[u8]>().open_source("a").unwrap_err();
    assert!(matches!(error, OpenError::Topic(TopicError::SourcesFull { .. })), "{error}");
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    (0..1000).for_each(|_| {
        publisher.publish(&[3; 100]).unwrap();
    });
}
