//! Fields beside the payload, over real topics: what a publisher gives is what a subscriber gets, and what nobody should
//! have written is an error in its place.

#![forbid(unsafe_code)]

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane::{
    Bus, ExtensionError, Malformed, Message, PublishError, Publishers, ReceiveError, Source, Topic, TraceContext,
};
use memlane_ring::extension::{self, Block};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rkyv::{Archive, Serialize};
use scratch::{Scratch, scratch};
use std::time::Duration;

#[derive(Archive, Serialize, Message)]
struct Order {
    number: u64,
    text: String,
}

fn bus(root: &Scratch) -> Bus {
    Bus::builder("extensions").root(root.path()).open().unwrap()
}

/// Publishes a block as it is, which may be one that no `Publisher` makes.
fn publish_raw(topic: &Topic, block: &[u8], payload: &[u8]) {
    let log = memlane_ring::Topic::open(topic.directory()).unwrap();
    let map = memlane_shm::MapOptions::default();
    log.publisher(&map, Duration::ZERO).unwrap().publish(block, payload).unwrap();
}

#[test]
fn every_field_crosses_with_a_typed_message_to_each_kind_of_subscriber() {
    let root = scratch();
    let bus = bus(&root);
    for (name, publishers) in [("one", Publishers::One), ("many", Publishers::Many(2))] {
        let topic = bus.topic(name).unwrap().publishers(publishers).stamps(true).message::<Order>().create().unwrap();
        let mut subscribers = [
            topic.subscriber::<Order>().open().unwrap(),
            topic.subscriber::<Order>().lossy().open().unwrap(),
            topic.subscriber::<Order>().latest().open().unwrap(),
        ];
        let trace = TraceContext { trace_id: [1; 16], parent_id: [2; 8], flags: 1 };
        let mut publisher = topic.publisher::<Order>().open().unwrap();
        let message = publisher.message().header("venue", b"xnas").unwrap().key(b"order 7").unwrap();
        let message = message.correlation_id(u128::MAX).unwrap().reply_to("orders.replies").unwrap();
        let message = message.trace_context(trace).unwrap().trace_state("a=1").unwrap();
        let message = message.content_type("application/json").unwrap().schema_id(3).unwrap();
        let message = message.source("desk.ny", 12).unwrap();
        message.publish(&Order { number: 7, text: "buy".into() }).unwrap();
        for subscriber in &mut subscribers {
            let order = subscriber.receive().unwrap();
            assert_eq!((order.number.to_native(), order.text.as_str()), (7, "buy"));
            assert_eq!(order.header("venue"), Some(&b"xnas"[..]));
            assert_eq!(order.key(), Ok(Some(&b"order 7"[..])));
            assert_eq!(order.correlation_id(), Ok(Some(u128::MAX)));
            assert_eq!(order.reply_to(), Ok(Some("orders.replies")));
            assert_eq!((order.trace_context(), order.trace_state()), (Ok(Some(trace)), Ok(Some("a=1"))));
            assert_eq!((order.content_type(), order.schema_id()), (Ok(Some("application/json")), Ok(Some(3))));
            assert_eq!(order.source(), Ok(Some(Source { name: "desk.ny", sequence: 12 })));
            assert!(order.stamp().is_some());
        }
    }
}

#[test]
fn the_fields_of_one_message_are_not_those_of_the_next() {
    let root = scratch();
    let topic = bus(&root).topic("t").unwrap().create().unwrap();
    let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    // Not published, so it leaves nothing.
    let _ = publisher.message().key(b"a").unwrap().schema_id(1).unwrap();
    publisher.message().key(b"b").unwrap().publish(b"1").unwrap();
    publisher.publish(b"2").unwrap();
    publisher.message().publish_within(b"3", Duration::ZERO).unwrap();
    let mut keys = Vec::new();
    subscriber
        .receive_batch(10, |received| {
            let received = received.unwrap();
            assert_eq!(received.schema_id(), Ok(None));
            keys.push(received.key().unwrap().map(<[u8]>::to_vec));
        })
        .unwrap();
    assert_eq!(keys, [Some(b"b".to_vec()), None, None]);
}

#[test]
fn what_no_reader_could_use_is_refused_and_nothing_is_published() {
    let root = scratch();
    let topic = bus(&root).topic("t").unwrap().create().unwrap();
    let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let refused = |error| Some(PublishError::Extension(error));
    for name in ["", "a/b", "a..b", "*", "a b", &"x".repeat(10_000)] {
        assert_eq!(publisher.message().reply_to(name).err(), refused(ExtensionError::Name), "{name:?}");
        assert_eq!(publisher.message().source(name, 1).err(), refused(ExtensionError::Name), "{name:?}");
    }
    let no_trace = TraceContext { trace_id: [0; 16], parent_id: [1; 8], flags: 0 };
    assert_eq!(publisher.message().trace_context(no_trace).err(), refused(ExtensionError::TraceContext));
    let twice = publisher.message().key(b"a").unwrap().key(b"b").err();
    assert_eq!(twice, refused(ExtensionError::Twice));
    assert_eq!(publisher.message().key(&[0; 1 << 16]).err(), refused(ExtensionError::TooLong));
    assert!(subscriber.try_receive().unwrap().is_none());
}

#[test]
fn a_key_of_nearly_64_kib_crosses() {
    let root = scratch();
    let topic = bus(&root).topic("t").unwrap().create().unwrap();
    let mut subscribers = [topic.subscriber::<[u8]>(), topic.subscriber::<[u8]>().lossy()].map(|to| to.open().unwrap());
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let key = vec![7; extension::BLOCK_BYTES_MAX - 72];
    publisher.message().key(&key).unwrap().publish(b"payload").unwrap();
    for subscriber in &mut subscribers {
        let message = subscriber.receive().unwrap();
        assert_eq!((message.key().unwrap(), &*message), (Some(&key[..]), &b"payload"[..]));
    }
}

#[test]
fn a_hostile_block_is_an_error_in_its_place_and_the_next_message_comes() {
    let root = scratch();
    let topic = bus(&root).topic("t").unwrap().create().unwrap();
    let mut subscribers = [topic.subscriber::<[u8]>(), topic.subscriber::<[u8]>().lossy()].map(|to| to.open().unwrap());
    let too_long = u32::MAX.to_le_bytes();
    for block in [&[0; 8][..], &[16, 0, 0, 0, 0, 0, 0, 0], &[9, 0, 0, 0, 0, 0, 0, 0], &[too_long, too_long].concat()] {
        publish_raw(&topic, block, b"");
        publish_raw(&topic, b"", b"good");
        for subscriber in &mut subscribers {
            let error = subscriber.receive().unwrap_err();
            assert!(matches!(error, ReceiveError::Malformed { .. }), "{error:?}");
            assert_eq!(&*subscriber.receive().unwrap(), b"good");
        }
    }
}

#[test]
fn a_request_in_hand_has_its_fields_also_when_its_client_writes_over_its_header() {
    use std::os::unix::fs::FileExt;
    const PATIENCE: Duration = Duration::from_secs(20);
    let root = scratch();
    let bus = bus(&root);
    let mut server = bus.server::<[u8], [u8]>("s").open().unwrap();
    let mut client = bus.client::<[u8], [u8]>("s").open().unwrap();
    let pending = client.request().key(b"key").unwrap().send_within(b"a payload", PATIENCE).unwrap();
    let in_hand = server.receive_within(PATIENCE).unwrap().expect("a request");
    let name = bus.topics().unwrap().into_iter().find(|name| name.ends_with(".requests")).unwrap();
    let topic = bus.topic(&name).unwrap().open().unwrap();
    let path = memlane_shm::named::memory_path(&topic.directory().join("log")).unwrap();
    let log = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let first_frame = log.metadata().unwrap().len() - topic.info().options.capacity;
    let mut header = [0; 8];
    log.read_exact_at(&mut header, first_frame).unwrap();
    assert_ne!(header, [0; 8]);
    log.write_all_at(&[0xff; 8], first_frame).unwrap();
    assert_eq!(in_hand.message().key().unwrap(), Some(&b"key"[..]));
    assert_eq!(&*in_hand, b"a payload");
    in_hand.reply(b"done").unwrap();
    assert_eq!(&*client.wait(pending, PATIENCE).unwrap(), b"done");
}

#[test]
fn a_field_with_a_value_of_another_kind_is_malformed_when_it_is_asked_for_and_the_rest_is_there() {
    let root = scratch();
    let topic = bus(&root).topic("t").unwrap().create().unwrap();
    let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
    let mut block = Block::default();
    block.field(7777, &[b"unknown"]).unwrap();
    block.field(extension::TAG_CORRELATION_ID, &[b"short"]).unwrap();
    block.field(extension::TAG_REPLY_TOPIC, &[b"../../etc/passwd"]).unwrap();
    block.field(extension::TAG_CONTENT_TYPE, &[b"\xff"]).unwrap();
    block.field(extension::TAG_TRACE_CONTEXT, &[&[0; 26]]).unwrap();
    block.source(Source { name: "a b", sequence: 1 }).unwrap();
    block.key(b"key").unwrap();
    publish_raw(&topic, block.finish(8), b"payload");
    let message = subscriber.receive().unwrap();
    assert_eq!((message.correlation_id(), message.reply_to()), (Err(Malformed), Err(Malformed)));
    assert_eq!((message.content_type(), message.trace_context()), (Err(Malformed), Err(Malformed)));
    assert_eq!((message.source(), message.schema_id()), (Err(Malformed), Ok(None)));
    assert_eq!((message.key(), &*message), (Ok(Some(&b"key"[..])), &b"payload"[..]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fields_are_given_come_back(
        key in option::of(vec(any::<u8>(), 0..300)),
        correlation_id in option::of(any::<u128>()),
        state in option::of(".{0,40}"),
        schema_id in option::of(any::<u64>()),
        source in option::of(("[a-z]{1,9}(\\.[a-z0-9_-]{1,9}){0,3}", any::<u64>())),
        payload_align in prop::sample::select(vec![8_u64, 16, 64]),
        payload in vec(any::<u8>(), 0..200),
    ) {
        let root = scratch();
        let topic = bus(&root).topic("t").unwrap().capacity_bytes(1 << 16).payload_align(payload_align).create().unwrap();
        let mut subscribers =
            [topic.subscriber::<[u8]>(), topic.subscriber::<[u8]>().lossy()].map(|to| to.open().unwrap());
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let mut message = publisher.message();
        if let Some(key) = &key {
            message = message.key(key).unwrap();
        }
        if let Some(id) = correlation_id {
            message = message.correlation_id(id).unwrap();
        }
        if let Some(state) = &state {
            message = message.trace_state(state).unwrap();
        }
        if let Some(id) = schema_id {
            message = message.schema_id(id).unwrap();
        }
        if let Some((name, sequence)) = &source {
            message = message.source(name, *sequence).unwrap();
        }
        message.publish(&payload).unwrap();
        for subscriber in &mut subscribers {
            let message = subscriber.receive().unwrap();
            prop_assert_eq!(&*message, &payload[..]);
            prop_assert!(message.as_ptr().addr().is_multiple_of(payload_align as usize));
            prop_assert_eq!(message.key().unwrap(), key.as_deref());
            prop_assert_eq!(message.correlation_id().unwrap(), correlation_id);
            prop_assert_eq!(message.trace_state().unwrap(), state.as_deref());
            prop_assert_eq!(message.schema_id().unwrap(), schema_id);
            let given = source.as_ref().map(|(name, sequence)| Source { name, sequence: *sequence });
            prop_assert_eq!(message.source().unwrap(), given);
        }
    }

    #[test]
    fn whatever_bytes_stand_where_extensions_should_nobody_panics(
        mut block in vec(any::<u8>(), 8..200),
        words in 0..24_u32,
        can_be in prop::bool::weighted(0.8),
    ) {
        let root = scratch();
        let topic = bus(&root).topic("t").unwrap().capacity_bytes(1 << 16).create().unwrap();
        let mut subscribers = [topic.subscriber::<[u8]>(), topic.subscriber::<[u8]>().lossy()].map(|to| to.open().unwrap());
        if can_be {
            block[..4].copy_from_slice(&(words * 8).to_le_bytes());
        }
        publish_raw(&topic, &block, b"");
        for subscriber in &mut subscribers {
            let Ok(message) = subscriber.receive() else { continue };
            let _ = (message.key(), message.correlation_id(), message.reply_to(), message.trace_context());
            let _ = (message.trace_state(), message.content_type(), message.schema_id(), message.source());
            let _ = message.headers().count();
        }
    }
}
