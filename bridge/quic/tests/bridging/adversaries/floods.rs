//! Those who say what may be said, without end.

use crate::liar::{Liar, open, topic, want};
use crate::scene::{Scene, beside};
use crate::world::{publish, until};
use memlane_bridge_protocol::{Control, EndCode, Mode, StartAt};
use memlane_bridge_quic::{BridgeOptions, BridgeStatus, Refusal, Transport};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Says it again and again, and reads nothing, until it is left or has said so many bytes; how many it has said.
async fn say_without_end(liar: &mut Liar, message: impl Fn(u32) -> Vec<u8>, bytes_max: usize) -> usize {
    let (mut said, mut number) = (0, 0);
    while said < bytes_max {
        let messages: Vec<u8> = (0..200).flat_map(|index| message(number + index)).collect();
        number += 200;
        if liar.send.write_all(&messages).await.is_err() {
            break;
        }
        said += messages.len();
    }
    said
}

fn refused_flows(status: &BridgeStatus) -> u64 {
    status.peer("mallory").map_or(0, |peer| peer.refused_flows)
}

#[tokio::test]
async fn one_that_asks_and_never_reads_the_answers_is_left() {
    let options = BridgeOptions {
        transport: Transport {
            window_bytes: 1 << 20,
            silence_max: std::time::Duration::from_secs(2),
            ..Transport::default()
        },
        ..BridgeOptions::default()
    };
    let mut scene = Scene::with(options).await;
    let node = scene.world.node("mallory");
    // It takes little in, so that what it is told waits at the sender's.
    let mask = scene.mask_of(&node.identity, Transport { window_bytes: 64 << 10, ..Transport::default() });
    let attack = beside(move || async move {
        let mut liar = mask.greet().await;
        let ping = |number: u32| Control::Ping { number: number.into(), sent_unix_ns: 1 }.encode();
        let said = say_without_end(&mut liar, ping, 512 << 20).await;
        (said, liar.is_left().await.to_string())
    });
    scene.until_refused(Refusal::NotReading, "doesn't read the answers").await;
    let (said, left) = attack.join().unwrap();
    assert!(said < 64 << 20, "{} MiB were taken from it", said >> 20);
    assert!(left.contains("doesn't read the answers"), "{left}");
    scene.end().await;
}

#[tokio::test]
async fn wants_and_offers_without_end_are_refused_and_hold_up_nobody_else() {
    let mut scene = Scene::new().await;
    let mask = scene.mask("mallory");
    let lines = scene.log_lines();
    let attack = beside(move || async move {
        let mut liar = mask.greet().await;
        let wants = |number: u32| want(number + 1, Mode::Reliable, ">").encode();
        say_without_end(&mut liar, wants, 70_000).await;
        let offers = |number: u32| open(2 * number + 1, Mode::Reliable, topic("secret.a")).encode();
        say_without_end(&mut liar, offers, 160_000).await;
        liar.hear_out(|message| match message {
            Control::EndFlow { code, .. } => Some(*code),
            _ => None,
        })
        .await
    });
    // Of some 3,000 wants 1,024 are looked at, and of some 1,500 offers none is taken.
    scene.until("refusals", |status| refused_flows(status) > 1_900 + 1_200).await;
    while !attack.is_finished() {
        scene.goes_on().await;
    }
    assert_eq!(attack.join().unwrap(), EndCode::NotAllowed);
    scene.assert_told("not taken");
    scene.assert_told("not given");
    assert!(scene.log_lines() - lines < 100, "not a line for each");
    let status = scene.bridge.status();
    assert_eq!(status.peer("mallory").unwrap().last_refused_flows.len(), 16);
    scene.end().await;
}

#[tokio::test]
async fn a_topic_that_is_offered_and_ended_again_and_again_is_opened_so_often_at_most() {
    let transport = Transport { flows_max: 50, ..Transport::default() };
    let mut scene = Scene::with(BridgeOptions { transport, ..BridgeOptions::default() }).await;
    publish(&mut scene.tokyo.topic("given.a").publisher::<[u8]>().open().unwrap(), 0..1_000);
    let (mask, accepted) = (scene.mask("mallory"), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&accepted);
    let begun = std::time::Instant::now();
    let attack = beside(move || async move {
        let mut liar = mask.greet().await;
        let messages = |number: u32| {
            let flow = 2 * number + 1;
            let end = Control::EndFlow { flow, code: EndCode::Done, text: String::new() };
            [open(flow, Mode::Reliable, topic("given.a")).encode(), end.encode()].concat()
        };
        let write: Vec<u8> = (0..1_000).flat_map(messages).collect();
        liar.write(&write).await;
        while liar.hear().await.is_some() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    scene.until("some of them", |status| status.peer("mallory").is_some_and(|peer| peer.link.is_some())).await;
    for _ in 0..50 {
        scene.goes_on().await;
    }
    // So many at once, then 200 a second: none of them holds up the pair for long.
    let looked_at = accepted.load(Ordering::Relaxed);
    assert!(looked_at as f64 <= 2.0 * (50.0 + 210.0 * begun.elapsed().as_secs_f64() + 50.0), "{looked_at}");
    drop(attack);
    scene.end().await;
}

#[tokio::test]
async fn credit_and_progress_without_end_change_nothing_and_what_falls_ends_it() {
    let mut scene = Scene::new().await;
    publish(&mut scene.tokyo.topic("open.a").publisher::<[u8]>().open().unwrap(), 0..10);
    let mask = scene.mask("mallory");
    let (was, progress) =
        (AtomicU64::new(0), |applied| Control::Progress { flow: 2, received: applied, applied, durable: 0 });
    let attack = beside(move || async move {
        let mut liar = mask.greet().await;
        liar.say(&want(1, Mode::Reliable, "open.a")).await;
        let flow = liar.hear_out(|message| match message {
            Control::Open(open) => Some(open.flow),
            _ => None,
        });
        let flow = flow.await;
        liar.say(&Control::Accept { flow, start: StartAt::Earliest, marks: Vec::new() }).await;
        let credit = |number: u32| Control::Credit { flow, bytes: number.into() }.encode();
        was.store(say_without_end(&mut liar, credit, 2 << 20).await as u64, Ordering::Relaxed);
        let same = |_| Control::Progress { flow, received: 0, applied: 0, durable: 0 }.encode();
        say_without_end(&mut liar, same, 2 << 20).await;
        let still = liar.quic.close_reason().is_none();
        liar.say(&progress(u64::MAX)).await;
        let code = liar.hear_out(|message| match message {
            Control::Goodbye { code, .. } => Some(*code),
            _ => None,
        });
        (still, code.await)
    });
    while !attack.is_finished() {
        scene.goes_on().await;
    }
    assert_eq!(attack.join().unwrap(), (true, EndCode::OutOfTurn));
    scene.until_refused(Refusal::OutOfTurn, "progress that falls, or that nothing was sent for").await;
    scene.end().await;
}

#[tokio::test]
async fn an_honest_peer_with_thousands_of_topics_is_not_taken_for_a_flood() {
    let scene = Scene::new().await;
    for number in 0..1_200 {
        let topic = scene.tokyo.bus.topic(&format!("shared.{number}")).unwrap().capacity_bytes(4096);
        topic.cell_bytes(32).open_or_create().unwrap();
    }
    let status = || scene.bridge.status().peer("osaka").unwrap().link.clone();
    until("1,201 flows", || {
        let flows = status().map_or(Vec::new(), |link| link.flows);
        flows.iter().filter(|flow| flow.is_running).count() == 1_201
    })
    .await;
    scene.end().await;
}
