//! Flow control through the public interface. Limits here refill so slowly that no test depends on how long it takes.

#![forbid(unsafe_code)]

mod place;

use memlane::{ClaimError, OnFull, OpenError, PublishError, Publishers, RateLimit, TopicError};
use place::Place;
use std::time::Duration;

const LIMITED: PublishError = PublishError::Claim(ClaimError::RateLimited);
/// Longer than any test.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Bytes at one a second: a message of 1000 bytes takes a quarter of an hour to come back.
fn three_thousand_bytes() -> RateLimit {
    RateLimit::default().bytes(1, 3000)
}

#[test]
fn a_publishers_burst_passes_and_the_rest_is_refused_with_the_time_to_wait() {
    let place = Place::new();
    for (name, publishers) in [("one", Publishers::One), ("many", Publishers::Many(2))] {
        let topic = place.bus.topic(name).unwrap().publishers(publishers).create().unwrap();
        let mut publisher = topic.publisher::<[u8]>().rate_limit(three_thousand_bytes()).open().unwrap();
        let message = [7; 1000];
        publisher.publish(&message).unwrap();
        let mut loan = publisher.loan(1000).unwrap();
        loan.payload().fill(7);
        loan.publish(1000).unwrap();
        assert_eq!(publisher.publish_batch(&[&message[..]; 4]).unwrap(), 1, "what is left of the burst");
        assert_eq!(publisher.publish(&message).unwrap_err(), LIMITED);
        let wait = publisher.rate_wait();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1000), "{wait:?}");
        assert_eq!(publisher.publish_batch(&[&message[..]; 4]).unwrap_err(), LIMITED);
        assert_eq!(publisher.loan(1000).map(drop).unwrap_err(), LIMITED);
        assert_eq!(publisher.message().publish(&message).unwrap_err(), LIMITED);
        // The wait is longer than the time: refused at once.
        assert_eq!(publisher.publish_within(&message, Duration::from_millis(1)).unwrap_err(), LIMITED);
        let longer = PublishError::Claim(ClaimError::LongerThanBurst);
        assert_eq!(publisher.publish_within(&[0; 3001], DAY).unwrap_err(), longer);
        if name == "many" {
            topic.publisher::<[u8]>().open().unwrap().publish(&message).unwrap();
        }
    }
}

#[test]
fn a_limited_publisher_that_waits_publishes_everything() {
    let place = Place::new();
    for (name, publishers) in [("one", Publishers::One), ("many", Publishers::Many(2))] {
        let topic = place.bus.topic(name).unwrap().capacity_bytes(4096).publishers(publishers).create().unwrap();
        let limit = RateLimit::default().messages(10_000, 1);
        let mut publisher = topic.publisher::<[u8]>().rate_limit(limit).open().unwrap();
        // Several laps of the ring.
        for _ in 0..300 {
            publisher.publish_within(b"x", DAY).unwrap();
        }
        assert_eq!(publisher.publish_batch_within(&[&b"x"[..]; 70], DAY).unwrap(), 70);
    }
}

#[test]
fn publishers_share_their_topics_limit() {
    let place = Place::new();
    let builder = place.bus.topic("shared").unwrap().publishers(Publishers::Many(2)).rate_limit(three_thousand_bytes());
    builder.create().unwrap();
    let topic = place.bus.topic("shared").unwrap().open().unwrap();
    assert_eq!(topic.info().options.rate_limit, three_thousand_bytes());
    let mut first = topic.publisher::<[u8]>().open().unwrap();
    let mut second = topic.publisher::<[u8]>().open().unwrap();
    first.publish(&[0; 1000]).unwrap();
    second.publish(&[0; 1000]).unwrap();
    first.publish(&[0; 1000]).unwrap();
    assert_eq!(second.publish(&[0; 1000]).unwrap_err(), LIMITED);
    drop((first, second));
    // Nor does a new publisher get more.
    assert_eq!(topic.publisher::<[u8]>().open().unwrap().publish(&[0; 1000]).unwrap_err(), LIMITED);
}

#[test]
fn a_message_that_finds_no_room_uses_up_nothing() {
    let place = Place::new();
    let topic = place.topic("full");
    let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
    let mut publisher = topic.publisher::<[u8]>().rate_limit(RateLimit::default().bytes(1, 8000)).open().unwrap();
    let mut published = 0;
    while publisher.publish(&[0; 500]).is_ok() {
        published += 500;
    }
    assert!(published < 4096);
    for _ in 0..100 {
        assert!(publisher.publish(&[0; 500]).unwrap_err().is_full());
    }
    while subscriber.try_receive().unwrap().is_some() {}
    publisher.publish(&[0; 500]).unwrap();
}

#[test]
fn where_only_lossy_subscribers_are_let_in_the_oldest_are_dropped() {
    let place = Place::new();
    let topic = place.bus.topic("lossy").unwrap().capacity_bytes(4096).lossy_only(true).create().unwrap();
    let refused = topic.subscriber::<[u8]>().open().unwrap_err();
    assert!(matches!(refused, OpenError::Topic(TopicError::LossyOnly { .. })), "{refused}");
    let mut publisher = topic.publisher::<[u8]>().on_full(OnFull::DropOldest).open().unwrap();
    for _ in 0..1000 {
        publisher.publish(b"x").unwrap();
    }
    let gated = place.bus.topic("gated").unwrap().create().unwrap();
    let refused = gated.publisher::<[u8]>().on_full(OnFull::DropOldest).open().unwrap_err();
    assert!(matches!(refused, OpenError::NotLossyOnly { .. }), "{refused}");
}

#[test]
fn a_publisher_that_chose_to_wait_waits_for_room() {
    let place = Place::new();
    let topic = place.topic("waits");
    let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
    let mut publisher = topic.publisher::<[u8]>().on_full(OnFull::Wait(DAY)).open().unwrap();
    let reader = std::thread::spawn(move || {
        for _ in 0..1000 {
            subscriber.receive().unwrap();
        }
    });
    for _ in 0..500 {
        publisher.publish(b"x").unwrap();
        publisher.message().key(b"k").unwrap().publish(b"x").unwrap();
    }
    reader.join().unwrap();
}
