//! Messages through a ring: batches, loans, and values of every shape in order over several laps.

#![forbid(unsafe_code)]

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane::{
    Bus, ClaimError, EncodeError, InvalidPayload, Message, OpenError, Payload, PublishError, Publishers, ReceiveError,
    Topic, TopicBuilder, TopicError, TypeTag,
};
use rkyv::{Archive, Serialize};
use scratch::{Scratch, scratch};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime};

struct Place {
    root: Scratch,
    bus: Bus,
}

fn place() -> Place {
    let root = scratch();
    let bus = Bus::builder("bus").root(root.path()).open().unwrap();
    Place { root, bus }
}

impl Place {
    /// A ring of 16 KiB, so that a few hundred messages are several laps.
    fn topic(&self, name: &str, choose: impl FnOnce(TopicBuilder) -> TopicBuilder) -> Topic {
        assert!(self.root.path().is_dir());
        choose(self.bus.topic(name).unwrap().capacity_bytes(16384)).create().unwrap()
    }
}

const BOTH: [Publishers; 2] = [Publishers::One, Publishers::Many(4)];

/// A message that can refuse to be encoded.
#[derive(Archive, Serialize, Message)]
struct Event {
    #[rkyv(with = rkyv::with::AsUnixTime)]
    at: SystemTime,
}

fn good(seconds: u64) -> Event {
    Event { at: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) }
}

fn bad() -> Event {
    Event { at: SystemTime::UNIX_EPOCH - Duration::from_secs(1) }
}

/// Plain numbers, with padding at the end.
#[derive(Archive, Serialize, Message)]
struct Trade {
    price: i64,
    is_buy: bool,
}

// Batches

#[test]
fn what_comes_before_a_message_that_cannot_be_encoded_is_published() {
    let place = place();
    for (name, publishers) in ["one", "many"].into_iter().zip(BOTH) {
        let topic = place.topic(name, |topic| topic.publishers(publishers).message::<Event>());
        let mut subscriber = topic.subscriber::<Event>().open().unwrap();
        let mut publisher = topic.publisher::<Event>().open().unwrap();
        assert_eq!(publisher.publish_batch(&[&good(1), &good(2), &bad(), &good(3)]).unwrap(), 2);
        // Also past the first 64.
        let many: Vec<Event> = (3..103).map(|second| if second == 100 { bad() } else { good(second) }).collect();
        assert_eq!(publisher.publish_batch(&many.iter().collect::<Vec<_>>()).unwrap(), 97);
        let refused = publisher.publish_batch(&[&bad(), &good(4)]).unwrap_err();
        assert_eq!(refused, PublishError::Encode(EncodeError::Refused));
        for second in 1..100 {
            assert_eq!(subscriber.try_receive().unwrap().expect("it was published").at.as_secs(), second);
        }
        assert!(subscriber.try_receive().unwrap().is_none(), "nothing behind it was");
    }
}

#[test]
fn a_batch_is_published_whole_unless_the_log_is_full() {
    let place = place();
    for (name, publishers) in ["one", "many"].into_iter().zip(BOTH) {
        let topic = place.topic(name, |topic| topic.publishers(publishers));
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        // Nobody holds anything: over the ends of many laps there always is room.
        let messages: Vec<Vec<u8>> = (0..3000_usize).map(|number| vec![number as u8; number * 7 % 700]).collect();
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        assert_eq!(publisher.publish_batch(&messages).unwrap(), messages.len());
        // Somebody holds: what is published is what fits, and no message that fits is left out.
        let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
        let small = vec![&[1_u8; 40][..]; 1000];
        let count = publisher.publish_batch(&small).unwrap();
        assert!(count > 200 && count < 300, "{count} messages of 64 bytes in 16 KiB");
        assert_eq!(publisher.publish_batch(&small).unwrap_err(), PublishError::Claim(ClaimError::Full));
        assert_eq!(publisher.publish(small[0]).unwrap_err(), PublishError::Claim(ClaimError::Full));
        assert_eq!(subscriber.receive_batch(usize::MAX, |received| assert!(received.is_ok())).unwrap(), count);
    }
}

// Waiting for room

#[test]
fn calls_that_wait_for_room_end_at_their_deadline_and_change_nothing() {
    let place = place();
    for (name, publishers) in ["one", "many"].into_iter().zip(BOTH) {
        let topic = place.topic(name, |topic| topic.publishers(publishers).message::<Trade>());
        let mut subscriber = topic.subscriber::<Trade>().open().unwrap();
        let mut publisher = topic.publisher::<Trade>().open().unwrap();
        let mut raw = (publishers != Publishers::One).then(|| topic.publisher::<[u8]>().open().unwrap());
        let trade = Trade { price: 1, is_buy: true };
        let count = publisher.publish_batch(&vec![&trade; 1000]).unwrap();
        let (full, moment) = (Err(PublishError::Claim(ClaimError::Full)), Duration::from_millis(5));
        let start = Instant::now();
        assert_eq!(publisher.publish_batch_within(&[&trade; 3], moment), full);
        assert_eq!(publisher.loan_archived_within(moment).map(|_| 0), full);
        let mut waits = 2;
        if let Some(raw) = &mut raw {
            assert_eq!(raw.loan_within(8, moment).map(|_| 0), full);
            waits += 1;
        }
        assert!(start.elapsed() >= moment * waits);
        assert_eq!(subscriber.receive_batch(usize::MAX, |received| assert!(received.is_ok())).unwrap(), count);
        // With room again nobody waits.
        assert_eq!(publisher.publish_batch_within(&[&trade; 3], Duration::MAX).unwrap(), 3);
        publisher.loan_archived_within(Duration::MAX).map(drop).unwrap();
        assert_eq!(subscriber.receive_batch(usize::MAX, |_| ()).unwrap(), 3);
    }
}

#[test]
fn calls_that_wait_for_room_go_on_when_there_is_some() {
    const MESSAGES: u64 = 6000;
    const PATIENCE: Duration = Duration::from_secs(20);
    let place = place();
    for (name, publishers) in ["one", "many"].into_iter().zip(BOTH) {
        let topic = place.topic(name, |topic| topic.publishers(publishers));
        let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
        let reader = std::thread::spawn(move || {
            for number in 0..MESSAGES {
                let message = subscriber.receive_within(PATIENCE).unwrap().expect("it comes in time");
                assert_eq!(*message, number.to_le_bytes());
            }
        });
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let mut next = 0;
        while next < MESSAGES {
            let mut loan = publisher.loan_within(2000, PATIENCE).unwrap();
            loan.payload()[..8].copy_from_slice(&next.to_le_bytes());
            loan.publish(8).unwrap();
            let rest: Vec<_> = (next + 1..MESSAGES.min(next + 300)).map(u64::to_le_bytes).collect();
            let rest: Vec<&[u8]> = rest.iter().map(|bytes| &bytes[..]).collect();
            assert_eq!(publisher.publish_batch_within(&rest, PATIENCE).unwrap(), rest.len());
            next += 1 + rest.len() as u64;
        }
        reader.join().unwrap();
    }
}

#[test]
fn skipping_to_live_needs_no_second_slot_and_makes_room() {
    let place = place();
    for (name, publishers) in ["one", "many"].into_iter().zip(BOTH) {
        let topic = place.topic(name, |topic| topic.publishers(publishers).subscribers_max(1));
        let mut only = topic.subscriber::<[u8]>().open().unwrap();
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        assert!(topic.subscriber::<[u8]>().open().is_err(), "the table is full");
        for round in 0..20_u64 {
            while publisher.publish(&[7; 100]).is_ok() {}
            let from = only.position();
            let skipped = only.skip_to_live().unwrap();
            assert!(skipped.start == from && skipped.end - skipped.start > 8192, "{skipped:?}");
            assert!(only.try_receive().unwrap().is_none());
            assert!(only.skip_to_live().unwrap().is_empty());
            publisher.publish(&round.to_le_bytes()).unwrap();
            assert_eq!(*only.receive().unwrap(), round.to_le_bytes());
        }
    }
}

// Loans

/// Too long to be staged: written where it stays.
#[derive(Archive, Serialize, Message)]
struct Picture {
    number: u64,
    pixels: [u16; 1500],
    is_last: bool,
}

#[test]
fn a_typed_loan_arrives_whole_staged_or_in_place() {
    let place = place();
    for (name, publishers) in ["one", "many"].into_iter().zip(BOTH) {
        let topic = place.topic(name, |topic| topic.publishers(publishers).message::<Trade>());
        let pictures =
            place.topic(&format!("{name}-pictures"), |topic| topic.publishers(publishers).message::<Picture>());
        let mut subscriber = topic.subscriber::<Trade>().open().unwrap();
        let mut viewer = pictures.subscriber::<Picture>().open().unwrap();
        let mut publisher = topic.publisher::<Trade>().open().unwrap();
        let mut painter = pictures.publisher::<Picture>().open().unwrap();
        for number in 0..1000 {
            drop(publisher.loan_archived().unwrap());
            let loan = publisher.loan_archived().unwrap();
            let position =
                loan.publish(|place| place.write(ArchivedTrade { price: number.into(), is_buy: true })).unwrap();
            let trade = subscriber.receive().unwrap();
            assert_eq!((trade.position(), trade.price.to_native(), trade.is_buy), (position, number, true));

            let pixels = [(number as u16).into(); 1500];
            let picture = ArchivedPicture { number: (number as u64).into(), pixels, is_last: number == 999 };
            painter.loan_archived().unwrap().publish(|place| place.write(picture)).unwrap();
            let picture = viewer.receive().unwrap();
            assert_eq!((picture.number.to_native(), picture.is_last), (number as u64, number == 999));
            assert!(picture.pixels.iter().all(|pixel| *pixel == number as u16));
        }
    }
}

#[test]
fn a_typed_loan_whose_value_was_written_elsewhere_is_not_published() {
    let place = place();
    let topic = place.topic("t", |topic| topic.message::<Trade>());
    let mut subscriber = topic.subscriber::<Trade>().open().unwrap();
    let mut publisher = topic.publisher::<Trade>().open().unwrap();
    let loan = publisher.loan_archived().unwrap();
    let elsewhere = Box::leak(Box::new(ArchivedTrade { price: 1.into(), is_buy: false }));
    assert!(catch_unwind(AssertUnwindSafe(|| loan.publish(|_| elsewhere))).is_err());
    assert!(subscriber.try_receive().unwrap().is_none());
    publisher.publish(&Trade { price: 2, is_buy: true }).unwrap();
    assert_eq!(subscriber.receive().unwrap().price, 2);
}

#[test]
fn a_typed_loan_is_refused_where_the_type_does_not_fit() {
    let place = place();
    // A topic that was made for the type and yet for shorter payloads.
    let short = place.topic("short", |topic| topic.message::<Trade>().payload_bytes_max(8));
    let mut publisher = short.publisher::<Trade>().open().unwrap();
    assert_eq!(publisher.loan_archived().map(drop), Err(PublishError::Claim(ClaimError::TooLong)));
    // A type whose length isn't fixed.
    let topic = place.topic("notes", |topic| topic.message::<Note>());
    let mut publisher = topic.publisher::<Note>().open().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| publisher.loan_archived().map(drop))).is_err());
    // A raw loan of another length on a topic of trades.
    let topic = place.topic("trades", |topic| topic.message::<Trade>());
    let mut subscriber = topic.subscriber::<Trade>().open().unwrap();
    topic.publisher::<[u8]>().open().unwrap().loan(15).unwrap().publish(15).unwrap();
    let ReceiveError::Invalid { reason, .. } = subscriber.receive().unwrap_err() else { panic!("it is too short") };
    assert_eq!(reason, InvalidPayload::Length { found_bytes: 15, expected_bytes: 16 });
}

// Values of every shape

/// Strings, vectors, and numbers that are aligned to 16 bytes.
#[derive(Archive, Serialize, Message)]
struct Note {
    number: u64,
    text: String,
    parts: Vec<(u32, String)>,
    wide: Vec<u128>,
    total: u128,
}

fn note(number: u64) -> Note {
    let parts = (0..number % 5).map(|part| (part as u32, "part ".repeat(part as usize))).collect();
    let wide: Vec<u128> = (0..number % 7).map(|index| u128::from(number) << 64 | u128::from(index)).collect();
    let total = wide.iter().fold(u128::from(number), |total, value| total.wrapping_add(*value));
    Note { number, text: "a note ".repeat(number as usize % 40), parts, wide, total }
}

fn assert_is(archived: &ArchivedNote, number: u64) {
    let expected = note(number);
    assert_eq!((archived.number.to_native(), archived.text.as_str()), (number, expected.text.as_str()));
    let parts: Vec<_> = archived.parts.iter().map(|part| (part.0.to_native(), part.1.to_string())).collect();
    assert_eq!(parts, expected.parts);
    let wide: Vec<_> = archived.wide.iter().map(|value| value.to_native()).collect();
    assert_eq!((wide, archived.total.to_native()), (expected.wide, expected.total));
    assert!(core::ptr::from_ref(archived).addr().is_multiple_of(16), "it is read where it is aligned");
}

#[test]
fn strings_vectors_and_wide_numbers_cross_in_order_over_many_laps() {
    const MESSAGES: u64 = 1500;
    let place = place();
    assert_eq!(<Note as Payload>::ALIGN, 16);
    for (name, publishers) in ["one", "many"].into_iter().zip(BOTH) {
        for (stamps, cell_bytes) in [(false, 64), (true, 32)] {
            let topic = place.topic(&format!("{name}-{cell_bytes}"), |topic| {
                topic.publishers(publishers).stamps(stamps).cell_bytes(cell_bytes).message::<Note>()
            });
            let mut gated = topic.subscriber::<Note>().open().unwrap();
            let mut batched = topic.subscriber::<Note>().open().unwrap();
            let mut lossy = topic.subscriber::<Note>().lossy().open().unwrap();
            let mut publisher = topic.publisher::<Note>().open().unwrap();
            for first in (0..MESSAGES).step_by(3) {
                let notes = [note(first), note(first + 1), note(first + 2)];
                publisher.publish(&notes[0]).unwrap();
                publisher.message().header("kind", b"note").unwrap().publish(&notes[1]).unwrap();
                assert_eq!(publisher.publish_batch(&[&notes[2]]).unwrap(), 1);
                for number in first..first + 3 {
                    assert_is(&gated.receive().unwrap(), number);
                    assert_is(&lossy.receive().unwrap(), number);
                }
                let mut number = first;
                let each = |received: Result<&memlane::Received<'_, Note>, ReceiveError>| {
                    assert_is(received.unwrap().view, number);
                    number += 1;
                };
                assert_eq!(batched.receive_batch(64, each).unwrap(), 3);
            }
            assert!(gated.position() > 10 * 16384, "many laps");
        }
    }
}

// Bytes that are wrong

#[test]
fn messages_that_fail_their_check_are_errors_with_their_position_in_a_batch_too() {
    let place = place();
    let topic = place.topic("t", |topic| topic.message::<Trade>());
    let mut subscribers =
        [topic.subscriber::<Trade>().open().unwrap(), topic.subscriber::<Trade>().lossy().open().unwrap()];
    let mut raw = topic.publisher::<[u8]>().open().unwrap();
    let bytes = |is_buy: u8| {
        let mut bytes = [0; 16];
        bytes[8] = is_buy;
        bytes
    };
    let positions: Vec<u64> = [1, 7, 0, 2, 1].map(|is_buy| raw.publish(&bytes(is_buy)).unwrap()).into();
    for subscriber in &mut subscribers {
        let (mut good, mut wrong) = (Vec::new(), Vec::new());
        let each = |received: Result<&memlane::Received<'_, Trade>, ReceiveError>| match received {
            Ok(received) => good.push(received.position),
            Err(ReceiveError::Invalid { position, reason: InvalidPayload::Corrupt { reason }, .. }) => {
                assert!(!reason.is_empty());
                wrong.push(position);
            }
            Err(other) => panic!("{other}"),
        };
        assert_eq!(subscriber.receive_batch(16, each).unwrap(), 5);
        assert_eq!(good, [positions[0], positions[2], positions[4]]);
        assert_eq!(wrong, [positions[1], positions[3]]);
    }
}

#[test]
fn a_type_name_is_kept_up_to_its_longest_and_refused_beyond() {
    let place = place();
    let named = |bytes: usize| TypeTag { name: "n".repeat(bytes), version: 1, fingerprint: 2 };
    let topic = place.topic("longest", |topic| topic.message_type(named(128)));
    assert_eq!(topic.info().options.message_type, named(128));
    assert_eq!(place.bus.topic("longest").unwrap().open().unwrap().info().options.message_type, named(128));
    for bytes in [129, 5000] {
        let refused = place.bus.topic("longer").unwrap().message_type(named(bytes)).open_or_create().unwrap_err();
        assert!(matches!(refused, OpenError::Topic(TopicError::BadOption { .. })), "{refused}");
        let expected =
            format!("the length of message_type's name can't be {bytes}: a type's name has at most 128 bytes");
        assert_eq!(refused.to_string(), expected);
    }
    assert_eq!(place.bus.topics().unwrap(), ["longest"]);
}
