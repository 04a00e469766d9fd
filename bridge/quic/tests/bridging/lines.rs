//! Over lines that lose, double, turn round and delay packets, that are cut, and on which addresses change: each message once, in order.

use crate::line::{Badness, Line};
use crate::world::{Arrivals, Node, World, connects_to, open_to_all, publish, until};
use memlane::Topic;
use memlane::journal::RecorderOptions;
use memlane_bridge_quic::{Bridge, BridgeOptions};
use std::time::Duration;

/// Options whose links notice soon that the other end is gone.
fn quick(mut options: BridgeOptions) -> BridgeOptions {
    options.transport.keep_alive = Duration::from_millis(100);
    options.transport.silence_max = Duration::from_millis(400);
    options
}

fn topic(node: &Node, capacity: u64) -> Topic {
    node.bus.topic("t").unwrap().capacity_bytes(capacity).open_or_create().unwrap()
}

#[tokio::test]
async fn over_a_line_that_loses_doubles_and_turns_round() {
    for seed in 1..=3 {
        let world = World::new();
        let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
        let mut publisher = topic(&tokyo, 8 << 20).publisher::<[u8]>().open().unwrap();
        let (_listening, address) = tokyo.listen(open_to_all()).await;
        let delay = Duration::from_millis(seed * 2 - 2);
        let badness = Badness { lost: 50, doubled: 50, late: 100, delay, is_cut: false };
        let line = Line::to(address, seed, badness).await;
        let _connecting = osaka.start(connects_to("tokyo", line.address(), &["t"], &[])).await;
        publish(&mut publisher, 0..30_000);
        let mut arrivals = Arrivals::of(&osaka, "t").await;
        arrivals.wait_for(30_000).await;
        assert_eq!(arrivals.numbers, (0..30_000).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn over_a_line_that_is_cut_for_longer_than_links_last() {
    let world = World::new();
    let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
    let mut publisher = topic(&tokyo, 8 << 20).publisher::<[u8]>().open().unwrap();
    let (listening, address) = tokyo.listen(quick(open_to_all())).await;
    let line = Line::to(address, 1, Badness::default()).await;
    let _connecting = osaka.start(quick(connects_to("tokyo", line.address(), &["t"], &[]))).await;
    let mut arrivals = Arrivals::of(&osaka, "t").await;
    for cut in 0..5 {
        publish(&mut publisher, cut * 2_000..cut * 2_000 + 1_000);
        arrivals.wait_for(cut as usize * 2_000 + 500).await;
        line.becomes(|badness| badness.is_cut = true);
        publish(&mut publisher, cut * 2_000 + 1_000..cut * 2_000 + 2_000);
        until("the link's end", || !listening.is_connected("osaka")).await;
        line.becomes(|badness| badness.is_cut = false);
    }
    arrivals.wait_for(10_000).await;
    assert_eq!(arrivals.numbers, (0..10_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_link_goes_on_when_the_address_of_whoever_connected_changes() {
    let world = World::new();
    let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
    let mut publisher = topic(&osaka, 8 << 20).publisher::<[u8]>().open().unwrap();
    let (listening, address) = tokyo.listen(open_to_all()).await;
    let line = Line::to(address, 1, Badness::default()).await;
    let _connecting = osaka.start(connects_to("tokyo", line.address(), &[], &["t"])).await;
    let mut arrivals = Arrivals::of(&tokyo, "t").await;
    for change in 0..10 {
        publish(&mut publisher, change * 100..change * 100 + 100);
        arrivals.wait_for(change as usize * 100 + 100).await;
        line.gives_new_addresses();
    }
    assert_eq!(arrivals.numbers, (0..1_000).collect::<Vec<_>>());
    assert_eq!(listening.status().peers[0].links, 1, "it was one link all the time");
}

/// Ends a node's bridge, in one way or another, and begins it anew where it was.
async fn restart(node: &Node, bridge: Bridge, options: &BridgeOptions, softly: bool) -> Bridge {
    if softly {
        bridge.close().await;
    } else {
        drop(bridge);
    }
    let mut begun = None;
    until("the socket", || {
        let attempt = futures_now(Bridge::start(&node.bus, node.identity.clone(), options.clone()));
        begun = attempt.and_then(Result::ok);
        begun.is_some()
    })
    .await;
    begun.unwrap()
}

/// What a future that needn't wait comes to.
fn futures_now<T>(future: impl Future<Output = T>) -> Option<T> {
    let waker = std::task::Waker::noop();
    match std::pin::pin!(future).poll(&mut std::task::Context::from_waker(waker)) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn however_often_either_end_begins_anew_each_message_comes_once() {
    let world = World::new();
    let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
    let mut publisher = topic(&tokyo, 8 << 20).publisher::<[u8]>().open().unwrap();
    let (mut listening, address) = tokyo.listen(quick(open_to_all())).await;
    let line = Line::to(address, 7, Badness { lost: 10, late: 20, ..Badness::default() }).await;
    let listens = BridgeOptions { listen: Some(address), ..quick(open_to_all()) };
    let connects = quick(connects_to("tokyo", line.address(), &["t"], &[]));
    let mut connecting = osaka.start(connects.clone()).await;
    let (mut arrivals, mut next) = (Arrivals::of(&osaka, "t").await, 0);
    for round in 0..24_u64 {
        publish(&mut publisher, next..next + 500);
        next += 500;
        // Somewhere in the middle of it.
        arrivals.wait_for((next - 500 + round * 10) as usize).await;
        if round % 3 == 0 {
            listening = restart(&tokyo, listening, &listens, round % 2 == 0).await;
        } else {
            connecting = restart(&osaka, connecting, &connects, round % 2 == 0).await;
        }
    }
    arrivals.wait_for(next as usize).await;
    assert_eq!(arrivals.numbers, (0..next).collect::<Vec<_>>());
    drop((listening, connecting));
}

#[tokio::test]
async fn what_the_ring_has_let_go_is_lost_as_a_range_and_the_rest_comes() {
    let world = World::new();
    let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
    let mut publisher = topic(&tokyo, 4096).publisher::<[u8]>().open().unwrap();
    let (listening, address) = tokyo.listen(open_to_all()).await;
    let connects = connects_to("tokyo", address, &["t"], &[]);
    let connecting = osaka.start(connects.clone()).await;
    publish(&mut publisher, 0..10);
    let mut arrivals = Arrivals::of(&osaka, "t").await;
    arrivals.wait_for(10).await;
    connecting.close().await;
    publish(&mut publisher, 10..1_000);
    let connecting = osaka.start(connects).await;
    arrivals.wait_for_number(999).await;
    let (before, after) = arrivals.numbers.split_at(10);
    assert_eq!(before, (0..10).collect::<Vec<_>>());
    assert!(after[0] > 900, "{after:?}");
    assert_eq!(after, (after[0]..1_000).collect::<Vec<_>>());
    let (sent, received) = (listening.status(), connecting.status());
    let lost = (after[0] - 10) * 64;
    assert_eq!(
        (sent.peers[0].lost_sent_bytes, received.peers[0].lost_received_bytes),
        (lost, lost),
        "a range, at both ends"
    );
}

#[tokio::test]
async fn what_the_ring_has_let_go_comes_from_the_journal() {
    let world = World::new();
    let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
    let there = tokyo.bus.topic("t").unwrap().capacity_bytes(4096).journaled(true).open_or_create().unwrap();
    let journals = world.path("journals");
    let (mut recorder, _) = there.record(&journals.join("t"), RecorderOptions::default()).unwrap();
    let mut publisher = there.publisher::<[u8]>().open().unwrap();
    let (_listening, address) = tokyo.listen(BridgeOptions { journals: vec![journals], ..open_to_all() }).await;
    let connects = connects_to("tokyo", address, &["t"], &[]);
    topic(&osaka, 1 << 20);
    for life in 0..5 {
        // Each life begins far behind, since nobody was there meanwhile.
        for number in life * 1_000..life * 1_000 + 1_000 {
            publish(&mut publisher, number..number + 1);
            recorder.turn().unwrap();
        }
        let connecting = osaka.start(connects.clone()).await;
        let mut arrivals = Arrivals::of(&osaka, "t").await;
        arrivals.wait_for_number(life * 1_000 + 999).await;
        assert_eq!(arrivals.numbers, (0..life * 1_000 + 1_000).collect::<Vec<_>>());
        connecting.close().await;
    }
}
