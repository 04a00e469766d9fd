//! Those who put onto streams and into datagrams what doesn't belong there.

use crate::liar::{SHAPE, batch, flow_head, gap, packed, topic};
use crate::scene::{Scene, beside};
use crate::world::Arrivals;
use memlane_bridge_protocol::layout::LATEST_MAGIC;
use memlane_bridge_protocol::{Batch, BatchHead, Compressor, Control, EndCode, Features, Message, Mode, Packer};
use memlane_bridge_quic::{BridgeOptions, Refusal, Transport};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

#[tokio::test]
async fn ten_thousand_streams_without_a_head_are_as_many_as_may_be_and_hold_up_nobody() {
    let mut scene = Scene::new().await;
    let (mask, opened, stop) = (scene.mask("mallory"), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, is_over) = (Arc::clone(&opened), Arc::clone(&stop));
    let attack = beside(move || async move {
        let liar = mask.greet().await;
        let mut streams = Vec::new();
        for _ in 0..10_000 {
            let Ok(Ok(mut stream)) = tokio::time::timeout(Duration::from_millis(500), liar.quic.open_uni()).await
            else {
                break;
            };
            let _ = stream.write_all(b"ML").await;
            streams.push(stream);
            count.store(streams.len(), Ordering::Relaxed);
        }
        while !is_over.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        liar.quic.close_reason().is_none()
    });
    scene.until("4,112 streams", |_| opened.load(Ordering::Relaxed) == 4_096 + 16).await;
    for _ in 0..20 {
        scene.goes_on().await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(attack.join().unwrap(), "it isn't left, and has no more than it may have");
    assert_eq!(opened.load(Ordering::Relaxed), 4_096 + 16);
    scene.end().await;
}

#[tokio::test]
async fn ten_thousand_streams_of_a_flow_that_has_ended_leave_nothing_behind() {
    let mut scene = Scene::new().await;
    let mask = scene.mask("mallory");
    let attack = beside(move || async move {
        let mut liar = mask.greet().await;
        liar.offer(1, Mode::Reliable, topic("given.a")).await;
        liar.say(&Control::EndFlow { flow: 1, code: EndCode::Done, text: String::new() }).await;
        for _ in 0..10_000 {
            let Ok(mut stream) = liar.quic.open_uni().await else { break };
            let _ = stream.write_all(&[&flow_head(1)[..], &[7; 100]].concat()).await;
            let _ = stream.finish();
        }
        (liar.quic.close_reason().is_none(), liar)
    });
    while !attack.is_finished() {
        scene.goes_on().await;
    }
    let (is_open, _liar) = attack.join().unwrap();
    assert!(is_open, "of a flow that has ended that may be");
    let status = scene.bridge.status();
    let link = status.peer("mallory").unwrap().link.as_ref().unwrap();
    assert_eq!((link.streams, link.flows.len()), (0, 0));
    scene.end().await;
}

#[tokio::test]
async fn a_stream_that_is_no_flows_ends_the_connection() {
    let mut scene = Scene::new().await;
    let mask = scene.mask("mallory");
    let heads = [&b"GET / HT"[..], &flow_head(7), &flow_head(0), &flow_head(2), &[0; 8]];
    for head in heads {
        let before = scene.bridge.status();
        let liar = mask.greet().await;
        let mut stream = liar.quic.open_uni().await.unwrap();
        stream.write_all(head).await.unwrap();
        liar.is_left().await;
        scene
            .until("the refusal", |status| {
                let refused = |status: &memlane_bridge_quic::BridgeStatus| {
                    status.refused(Refusal::Malformed) + status.refused(Refusal::OutOfTurn)
                };
                refused(status) > refused(&before)
            })
            .await;
    }
    scene.assert_told("a stream of a flow that was never opened");
    scene.assert_told("it isn't a flow's stream");
    scene.end().await;
}

#[tokio::test]
async fn a_second_control_stream_cannot_be_opened() {
    let mut scene = Scene::new().await;
    let liar = scene.mask("mallory").greet().await;
    assert!(tokio::time::timeout(Duration::from_millis(300), liar.quic.open_bi()).await.is_err());
    assert!(scene.bridge.is_connected("mallory"));
    scene.goes_on().await;
    scene.end().await;
}

#[tokio::test]
async fn messages_of_the_newest_ones_without_end_are_read_some_at_a_time() {
    let mut scene = Scene::new().await;
    let mask = scene.mask("mallory");
    let stop = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&stop);
    let attack = beside(move || async move {
        let mut liar = mask.greet().await;
        liar.offer(1, Mode::Latest, topic("given.a")).await;
        let head = [LATEST_MAGIC.to_le_bytes(), 1_u32.to_le_bytes()].concat();
        let mut streams = Vec::new();
        // A message of the longest in each, but for its last byte: 4 GiB in all.
        for _ in 0..1_000 {
            let Ok(mut stream) = liar.quic.open_uni().await else { return };
            streams.push(tokio::spawn({
                let head = head.clone();
                async move {
                    let _ = stream.write_all(&head).await;
                    let _ = stream.write_all(&vec![7; (4 << 20) - 9]).await;
                    std::future::pending::<()>().await;
                }
            }));
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    for _ in 0..100 {
        scene.goes_on().await;
    }
    stop.store(true, Ordering::Relaxed);
    attack.join().unwrap();
    scene.end().await;
}

#[tokio::test]
async fn datagrams_of_garbage_end_the_connection_and_those_of_no_flow_are_passed_over() {
    let mut scene = Scene::new().await;
    let mask = scene.mask("mallory");
    let liar = mask.greet().await;
    for number in 0..1_000_u32 {
        let datagram = [&number.to_le_bytes()[..], &[0; 60]].concat();
        liar.quic.send_datagram(datagram.into()).unwrap();
    }
    scene.goes_on().await;
    assert!(scene.bridge.is_connected("mallory"));
    liar.quic.send_datagram((&b"garbage"[..]).into()).unwrap();
    liar.is_left().await;
    scene.until_refused(Refusal::Malformed, "it ends within a field").await;
    scene.end().await;
}

/// What is wrong with it, the bytes behind the stream's head, and what the flow's sender is told.
fn lies() -> Vec<(&'static str, Vec<u8>, EndCode)> {
    let good = || batch(0, 10);
    let changed = |change: &dyn Fn(&mut Batch, &mut Vec<u8>)| {
        let (mut batch, mut bytes) = good();
        change(&mut batch, &mut bytes);
        packed((batch, bytes))
    };
    let compressed = |feature: u8, raw_bytes: u32, stored: Vec<u8>| {
        let stored_bytes = stored.len() as u32;
        packed((Batch { compression: feature, raw_bytes, stored_bytes, ..good().0 }, stored))
    };
    let zeros = vec![0; 64 << 20];
    let zstd = zstd::bulk::compress(&zeros, 1).unwrap();
    let lz4 = lz4_flex::block::compress(&zeros[..4 << 20]);
    vec![
        ("one message more than it has", changed(&|batch, _| batch.messages += 1), EndCode::Malformed),
        ("no messages", changed(&|batch, _| batch.messages = 0), EndCode::Malformed),
        ("an end that isn't there", changed(&|batch, _| batch.end += 64), EndCode::Malformed),
        ("another begin", changed(&|batch, _| batch.position += 32), EndCode::Malformed),
        ("runs that are longer", changed(&|_, bytes| put(bytes, 8, 0xff)), EndCode::Malformed),
        ("stamps that aren't", changed(&|_, bytes| put(bytes, 4, 1)), EndCode::Malformed),
        ("a run of longer messages", changed(&|_, bytes| put(bytes, 9, 0x7f)), EndCode::Malformed),
        ("only zeros", changed(&|_, bytes| bytes.fill(0)), EndCode::Malformed),
        ("garbage that says zstd", compressed(1, 4096, vec![7; 100]), EndCode::Malformed),
        ("garbage that says lz4", compressed(2, 4096, vec![7; 100]), EndCode::Malformed),
        ("64 MiB in a few bytes", compressed(1, 4 << 20, zstd), EndCode::Malformed),
        ("4 MiB in a few bytes", compressed(2, 1 << 20, lz4), EndCode::Malformed),
    ]
}

/// Sets the byte that lies so many before the end.
fn put(bytes: &mut [u8], before_end: usize, value: u8) {
    let at = bytes.len() - before_end;
    bytes[at] = value;
}

/// A batch of 4 MB that takes a few bytes on the way, and where it ends.
fn heavy(from: u64) -> (Vec<u8>, u64) {
    let (frame, count) = (4096, 1000);
    let mut packer = Packer::new(SHAPE);
    packer.begin(from);
    for number in 0..count {
        let position = from + number * frame;
        let content = &[0; 4096 - 8];
        assert!(packer.push(&Message { position, unix_ns: 0, has_extensions: false, content }));
    }
    let end = from + count * frame;
    let (batch, bytes) = packer.finish(end);
    (packed(Compressor::new(Features::ZSTD, 1).compress(batch, bytes)), end)
}

#[tokio::test]
async fn a_batch_that_is_not_what_it_says_ends_its_flow_and_no_other() {
    let mut scene = Scene::new().await;
    let mut liar = scene.mask("mallory").greet().await;
    liar.offer(1, Mode::Reliable, topic("given.good")).await;
    let mut good = liar.stream(1).await;
    let mut arrivals = None;
    let lies = lies();
    let count = lies.len() as u64;
    for (index, (what, bytes, code)) in lies.into_iter().enumerate() {
        let flow = 2 * index as u32 + 3;
        liar.offer(flow, Mode::Reliable, topic(&format!("given.{index}"))).await;
        let mut stream = liar.stream(flow).await;
        let _ = stream.write_all(&bytes).await;
        let ended = liar.hear_out(|message| match message {
            Control::EndFlow { flow: its, code, .. } if *its == flow => Some(*code),
            Control::Goodbye { text, .. } => panic!("{what}: {text}"),
            _ => None,
        });
        let told = ended.await;
        assert_eq!(told, code, "{what}");
        // Its other flow goes on.
        good.write_all(&packed(batch(index as u64 * 640, 10))).await.unwrap();
        if arrivals.is_none() {
            arrivals = Some(Arrivals::of(&scene.tokyo, "given.good").await);
        }
        arrivals.as_mut().unwrap().wait_for(10 * (index + 1)).await;
        scene.goes_on().await;
    }
    scene
        .until("counters", |status| {
            status.peer("mallory").is_some_and(|peer| peer.malformed == count && peer.refused_flows == count)
        })
        .await;
    scene.assert_told("not taken: byte");
    assert_eq!(arrivals.unwrap().numbers.len(), 10 * count as usize);
    scene.end().await;
}

#[tokio::test]
async fn more_than_there_is_credit_for_ends_the_flow() {
    let transport = Transport { window_bytes: 4_200_000, ..Transport::default() };
    let mut scene = Scene::with(BridgeOptions { transport, ..BridgeOptions::default() }).await;
    let mut liar = scene.mask("mallory").greet().await;
    liar.offer(1, Mode::Reliable, topic("given.a")).await;
    let (first, end) = heavy(0);
    let bytes = [flow_head(1), first, heavy(end).0].concat();
    assert!(bytes.len() < 1_200, "they come at once");
    liar.quic.open_uni().await.unwrap().write_all(&bytes).await.unwrap();
    let ended = liar.hear_out(|message| match message {
        Control::EndFlow { flow: 1, code, .. } => Some(*code),
        _ => None,
    });
    assert_eq!(ended.await, EndCode::NoCredit);
    scene.until_flow_refused("more came than there was credit for").await;
    scene.assert_told("more came than there was credit for");
    let status = scene.bridge.status();
    assert_eq!(status.peer("mallory").unwrap().messages_received, 1_000, "what there was credit for is there");
    scene.end().await;
}

#[tokio::test]
async fn what_goes_backwards_or_cannot_be_there_ends_the_connection() {
    let mut scene = Scene::new().await;
    let mask = scene.mask("mallory");
    let head = |batch: Batch| BatchHead::Batch(batch).encode().to_vec();
    let good = batch(0, 10).0;
    let twice = [packed(batch(0, 10)), packed(batch(0, 10))].concat();
    let lies = [
        ("the same batch again", twice, "doesn't begin where the one before it ended"),
        ("a batch before it", [packed(batch(640, 10)), packed(batch(0, 10))].concat(), "doesn't begin where"),
        ("a gap that goes backwards", gap(640, 64), "it ends before it begins"),
        ("a gap to where no log is", gap(0, u64::MAX), "or where no log does"),
        ("more than a batch may have", head(Batch { raw_bytes: u32::MAX, stored_bytes: u32::MAX, ..good }), "too long"),
        ("more messages than it may have", head(Batch { messages: u32::MAX, ..good }), "too long"),
        ("more stored than raw", head(Batch { stored_bytes: good.raw_bytes + 1, ..good }), "more bytes than its"),
        ("two compressions", head(Batch { compression: 3, ..good }), "a compression that wasn't agreed on"),
        ("a compression that there isn't", head(Batch { compression: 64, ..good }), "wasn't agreed on"),
        ("neither a batch nor a gap", vec![9; 32], "ends before it begins"),
    ];
    for (what, bytes, words) in lies {
        let before = scene.bridge.status();
        let mut liar = mask.greet().await;
        liar.offer(1, Mode::Reliable, topic("given.a")).await;
        let mut stream = liar.stream(1).await;
        let _ = stream.write_all(&bytes).await;
        let goodbye = liar.hear_out(|message| match message {
            Control::Goodbye { text, .. } => Some(text.clone()),
            _ => None,
        });
        let text = goodbye.await;
        assert!(text.contains(words), "{what}: {text}");
        let refused = |status: &memlane_bridge_quic::BridgeStatus| {
            status.refused(Refusal::Malformed) + status.refused(Refusal::OutOfTurn)
        };
        scene.until(what, |status| refused(status) > refused(&before)).await;
    }
    scene.assert_told("doesn't begin where the one before it ended");
    scene.end().await;
}
