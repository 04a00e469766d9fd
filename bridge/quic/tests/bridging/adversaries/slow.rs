//! Those who don't take what they asked for: only their flow stalls.

use crate::liar::{Liar, want};
use crate::scene::Scene;
use crate::world::{Arrivals, publish};
use memlane_bridge_protocol::{Control, Mode, StartAt};
use memlane_bridge_quic::Transport;
use quinn::VarInt;
use std::sync::Arc;

/// Wants a topic, takes the flow, and gives so much credit for it.
async fn pull(liar: &mut Liar, topic: &str, mode: Mode, credit: Option<u64>) -> u32 {
    liar.say(&want(1, mode, topic)).await;
    let flow = liar.hear_out(|message| match message {
        Control::Open(open) => Some(open.flow),
        _ => None,
    });
    let flow = flow.await;
    liar.say(&Control::Accept { flow, start: StartAt::Earliest, marks: Vec::new() }).await;
    if let Some(bytes) = credit {
        liar.say(&Control::Credit { flow, bytes }).await;
    }
    flow
}

/// A topic that an adversary pulls and doesn't take goes on for its publishers and for others.
async fn stalls_alone(credit: Option<u64>) {
    let mut scene = Scene::new().await;
    let topic = scene.tokyo.bus.topic("shared.big").unwrap().capacity_bytes(1 << 20).open_or_create().unwrap();
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let node = scene.world.node("mallory");
    let mask = scene.mask_of(&node.identity, Transport { window_bytes: 16 << 10, ..Transport::default() });
    let mut liar = mask.greet().await;
    pull(&mut liar, "shared.big", Mode::Reliable, credit).await;
    let mut elsewhere = Arrivals::of(&scene.osaka, "shared.big").await;
    // Many times what the ring has.
    for round in 0..100 {
        publish(&mut publisher, round * 1_000..(round + 1) * 1_000);
        elsewhere.wait_for((round as usize + 1) * 1_000).await;
        scene.goes_on().await;
    }
    assert!(elsewhere.numbers.iter().copied().eq(0..100_000), "each once and in order");
    let status = scene.bridge.status();
    let link = status.peer("mallory").unwrap().link.as_ref().unwrap();
    let flow = link.flows.iter().find(|flow| flow.topic == "shared.big").unwrap();
    assert!(flow.position.unwrap_or(0) < topic.snapshot().unwrap().tail / 2, "it lags: {flow:?}");
    assert_eq!(flow.applied, 0);
    assert!(credit.is_some() || (flow.credit_left_bytes == 0 && flow.position.is_none()), "{flow:?}");
    scene.end().await;
}

#[tokio::test]
async fn one_that_never_reads_its_stream_stalls_alone() {
    stalls_alone(Some(u64::MAX)).await;
}

#[tokio::test]
async fn one_that_never_gives_credit_stalls_alone() {
    stalls_alone(None).await;
}

#[tokio::test]
async fn the_newest_messages_for_one_that_lets_no_stream_come_are_not_heaped_up() {
    let mut scene = Scene::new().await;
    let topic = scene.tokyo.bus.topic("open.big").unwrap().capacity_bytes(16 << 20).open_or_create().unwrap();
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let mut mask = scene.mask("mallory");
    let mut transport = quinn::TransportConfig::default();
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    mask.client.transport_config(Arc::new(transport));
    let mut liar = mask.greet().await;
    pull(&mut liar, "open.big", Mode::Latest, None).await;
    scene
        .until("its flow", |status| {
            let flows = status.peer("mallory").and_then(|peer| peer.link.as_ref()).map_or(&[][..], |link| &link.flows);
            flows.iter().any(|flow| flow.is_running)
        })
        .await;
    // Much more than what the process may grow by, in messages that are too long for datagrams.
    for number in 0..1_000_u64 {
        let mut payload = vec![0; 1 << 20];
        payload[..8].copy_from_slice(&number.to_le_bytes());
        publisher.publish(&payload).unwrap();
        tokio::task::yield_now().await;
        if number % 50 == 0 {
            scene.goes_on().await;
        }
    }
    let status = scene.bridge.status();
    assert!(status.peer("mallory").unwrap().messages_sent <= 2, "the next waits until there is room for the first");
    scene.end().await;
}
