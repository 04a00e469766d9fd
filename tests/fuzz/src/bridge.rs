//! What a bridge may be sent: control messages, batches and whole conversations of any bytes.

use memlane_bridge_protocol::layout::BATCH_HEAD_BYTES;
use memlane_bridge_protocol::{
    Batch, BatchHead, Connection, Control, EndCode, Event, Features, FrameShape, Mode, Output, Packer, Settings, Side,
    StartAt, Topic,
};
use memlane_ring::TopicOptions;

/// Takes `bytes` as a control stream.
///
/// # Panics
/// If what comes of it can't be: that is what is looked for, here as below.
pub(crate) fn control(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((message, length))) = Control::decode(rest) {
        if let Some(message) = message {
            let again = message.encode();
            assert_eq!(Control::decode(&again), Ok(Some((Some(message), again.len()))));
        }
        rest = &rest[length..];
    }
}

/// Takes `bytes` as how a topic's frames look, a byte, and as what comes on the stream of a flow of it.
pub(crate) fn batch(bytes: &[u8]) {
    let Some((look, mut rest)) = bytes.split_first() else { return };
    let cell = if look & 2 == 0 { 32 } else { 64 };
    let options = TopicOptions { capacity: 4096, cell, stamps: look & 1 != 0, ..TopicOptions::default() };
    let Some(shape) = FrameShape::of(&options) else { return };
    while let Some((head, behind)) = rest.split_first_chunk::<BATCH_HEAD_BYTES>() {
        let Ok(head) = BatchHead::decode(head, &shape) else { return };
        assert_eq!(BatchHead::decode(&head.encode(), &shape), Ok(head));
        let BatchHead::Batch(batch @ Batch { stored_bytes, .. }) = head else {
            rest = behind;
            continue;
        };
        let Some((stored, next)) = behind.split_at_checked(stored_bytes as usize) else { return };
        rest = next;
        let Ok(packed) = batch.decompress(stored) else { continue };
        let Ok(messages) = batch.messages(&shape, &packed) else { continue };
        let mut packer = Packer::new(shape);
        packer.begin(batch.position);
        let mut count = 0;
        for message in messages {
            assert!((batch.position..batch.end).contains(&message.position));
            assert!(packer.push(&message) || count > 0);
            count += 1;
        }
        assert_eq!(count, batch.messages);
    }
}

/// Takes `bytes` as what happens to one end that has been greeted: a byte that says what, and for what comes its length, a byte, and that much.
pub(crate) fn connection(bytes: &[u8]) {
    let settings = |name: &str| Settings {
        name: name.to_owned(),
        features: Features::ZSTD,
        flows_max: 4,
        wants_max: 4,
        ping_after_ns: 1_000,
        silence_max_ns: 1_000_000,
    };
    let mut end = Connection::new(settings("osaka"), Side::Listener, 0);
    let mut peer = Connection::new(settings("tokyo"), Side::Connector, 0);
    if let Some(Output::Control(hello)) = peer.poll() {
        end.receive_control(&hello, 0);
    }
    // And what is offered and wanted here, so that answers to that have a place.
    end.open(Mode::Reliable, 0, Topic { name: "t".to_owned(), ..Topic::default() });
    end.want(Mode::Latest, Features(0), "u.>");
    let (mut rest, mut now) = (bytes, 0);
    while let Some((what, behind)) = rest.split_first() {
        rest = behind;
        now += 10;
        match what % 6 {
            kind @ 0..3 => {
                let Some((length, behind)) = rest.split_first() else { break };
                let (chunk, behind) = behind.split_at((*length as usize).min(behind.len()));
                rest = behind;
                match kind {
                    0 => end.receive_control(chunk, now),
                    1 => end.receive_flow((what / 6).into(), chunk, now),
                    _ => end.receive_datagram(chunk, now),
                }
            }
            3 => end.end_stream((what / 6).into(), true),
            4 => end.tick(now),
            _ => answer(&mut end),
        }
    }
    answer(&mut end);
    end.close(EndCode::Done, "");
    while end.poll().is_some() {}
    assert!(end.is_closed() && end.poll().is_none());
}

/// Grants whatever is wanted, with some credit. What has come meanwhile is no more than there was.
fn answer(end: &mut Connection) {
    const CREDIT: u64 = 1_000;
    let mut held = std::collections::BTreeMap::new();
    while let Some(output) = end.poll() {
        match output {
            Output::Event(Event::Offered(open)) => {
                end.accept(open.flow, StartAt::Earliest, Vec::new());
                end.give_credit(open.flow, CREDIT);
            }
            Output::Event(Event::Batch { flow, batch, bytes }) => {
                let held = held.entry(flow).or_insert(0);
                *held += bytes.len() as u64;
                assert!(*held <= CREDIT, "{held} bytes");
                end.give_credit(flow, batch.raw_bytes.into());
                end.tell_progress(flow, batch.position, 0);
            }
            Output::Event(Event::Closed { .. }) => assert!(end.is_closed()),
            _ => {}
        }
    }
}
