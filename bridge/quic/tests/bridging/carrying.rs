//! What is carried, and how.

use crate::world::{Arrivals, Node, World, connects_to, open_to_all, publish, until};
use memlane::{Publisher, Publishers};
use memlane_bridge_quic::{BridgeOptions, Compression, Mode, StartAt};

fn publisher(node: &Node, topic: &str) -> Publisher<[u8]> {
    node.topic(topic).publisher::<[u8]>().open().unwrap()
}

#[tokio::test]
async fn a_topic_that_is_pulled_comes_whole_and_in_order() {
    let world = World::new();
    let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
    let mut publisher = tokyo.topic("md.trades").publisher::<[u8]>().open().unwrap();
    publish(&mut publisher, 0..1_000);
    let (_listening, address) = tokyo.listen(open_to_all()).await;
    let _connecting = osaka.start(connects_to("tokyo", address, &["md.>"], &[])).await;
    let mut arrivals = Arrivals::of(&osaka, "md.trades").await;
    arrivals.wait_for(1_000).await;
    publish(&mut publisher, 1_000..3_000);
    arrivals.wait_for(3_000).await;
    assert_eq!(arrivals.numbers, (0..3_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_topic_that_is_pushed_comes_too_also_one_that_is_made_later() {
    let world = World::new();
    let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
    let (_listening, address) = tokyo.listen(open_to_all()).await;
    let _connecting = osaka.start(connects_to("tokyo", address, &[], &["orders.*"])).await;
    for topic in ["orders.a", "orders.b"] {
        publish(&mut osaka.topic(topic).publisher::<[u8]>().open().unwrap(), 0..10);
        let mut arrivals = Arrivals::of(&tokyo, topic).await;
        arrivals.wait_for(10).await;
        assert_eq!(arrivals.numbers, (0..10).collect::<Vec<_>>());
    }
    osaka.topic("other");
    until("the end of a look", || osaka.bus.topics().unwrap().len() == 3).await;
    assert_eq!(tokyo.bus.topics().unwrap().len(), 2);
}

#[tokio::test]
async fn a_message_says_where_it_comes_from_and_a_prefix_keeps_topics_apart() {
    let world = World::new();
    let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
    let topic = tokyo.bus.topic("t").unwrap().stamps(true).open_or_create().unwrap();
    let (_listening, address) = tokyo.listen(open_to_all()).await;
    let mut options = connects_to("tokyo", address, &["t"], &[]);
    options.peers[0].pulls[0].prefix = "tokyo.".to_owned();
    let _connecting = osaka.start(options).await;
    let position = topic.publisher::<[u8]>().open().unwrap().publish(b"12345678").unwrap();
    let mut arrivals = Arrivals::of(&osaka, "tokyo.t").await;
    arrivals.wait_for(1).await;
    let mut subscriber = arrivals.topic().subscriber::<[u8]>().start(memlane::Start::Earliest).open().unwrap();
    let sample = subscriber.receive().unwrap();
    let origin = sample.origin().unwrap().unwrap();
    assert_eq!((origin.node, origin.epoch, origin.position), ("tokyo", topic.info().epoch, position));
    assert_eq!(origin.topic, Some("t"));
    let here = arrivals.topic().stamp_unix_ns(sample.stamp().unwrap());
    assert!(origin.unix_ns > 0 && origin.unix_ns < here + 1_000_000, "{} {here}", origin.unix_ns);
}

#[tokio::test]
async fn compressed_batches_come_out_as_they_went_in() {
    let world = World::new();
    let tokyo = world.node("tokyo");
    let (_listening, address) = tokyo.listen(open_to_all()).await;
    publish(&mut tokyo.topic("t").publisher::<[u8]>().open().unwrap(), 0..20_000);
    for (name, compression) in [("osaka", Compression::Lz4), ("kyoto", Compression::Zstd)] {
        let node = world.node(name);
        let mut options = connects_to("tokyo", address, &["t"], &[]);
        options.peers[0].pulls[0].compression = compression;
        let _connecting = node.start(options).await;
        let mut arrivals = Arrivals::of(&node, "t").await;
        arrivals.wait_for(20_000).await;
        assert_eq!(arrivals.numbers, (0..20_000).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn the_newest_messages_come_alone_also_those_that_are_too_long_for_a_datagram() {
    let world = World::new();
    let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
    let (listening, address) = tokyo.listen(open_to_all()).await;
    let mut options = connects_to("tokyo", address, &["quotes"], &[]);
    options.peers[0].pulls[0].mode = Mode::Latest;
    let _connecting = osaka.start(options).await;
    let mut publisher = tokyo.topic("quotes").publisher::<[u8]>().open().unwrap();
    until("a link", || listening.is_connected("osaka")).await;
    let mut arrivals = Arrivals::of(&osaka, "quotes").await;
    let mut subscriber = arrivals.topic().subscriber::<[u8]>().latest().open().unwrap();
    let mut number = 0_u64;
    for length in [8, 100_000] {
        let mut newest = 0;
        until("a newer one", || {
            number += 1;
            let mut payload = vec![7; length];
            payload[..8].copy_from_slice(&number.to_le_bytes());
            publisher.publish(&payload).unwrap();
            while let Some(sample) = subscriber.try_receive().unwrap() {
                let came = u64::from_le_bytes(*sample.first_chunk().unwrap());
                assert!(came > newest, "only newer ones");
                newest = if sample.len() == length { came } else { 0 };
            }
            newest > 0
        })
        .await;
    }
    arrivals.numbers.clear();
}

#[tokio::test]
async fn what_is_published_while_nobody_is_there_is_lost_at_most_once_and_sent_once_otherwise() {
    let world = World::new();
    let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
    let (_listening, address) = tokyo.listen(open_to_all()).await;
    let mut publisher = tokyo.topic("t").publisher::<[u8]>().open().unwrap();
    let mut once = connects_to("tokyo", address, &["t"], &[]);
    once.peers[0].pulls[0].mode = Mode::AtMostOnce;
    once.peers[0].pulls[0].prefix = "once.".to_owned();
    let mut live = connects_to("tokyo", address, &["t"], &[]);
    live.peers[0].pulls[0].start = StartAt::Live;
    publish(&mut publisher, 0..10);
    let mut next = 10;
    for (options, topic, lost) in [(once, "once.t", 10), (live, "t", 0)] {
        let before = next;
        let connecting = osaka.start(options.clone()).await;
        let arrivals = Arrivals::of(&osaka, topic).await;
        // Until the flow is there nothing is sent of it.
        let mut subscriber = arrivals.topic().subscriber::<[u8]>().open().unwrap();
        until("the first", || {
            publish(&mut publisher, next..next + 1);
            next += 1;
            subscriber.try_receive().unwrap().is_some()
        })
        .await;
        connecting.close().await;
        publish(&mut publisher, next..next + 10);
        next += 10;
        let (_connecting, back) = (osaka.start(options).await, next);
        until("one after that", || {
            publish(&mut publisher, next..next + 1);
            next += 1;
            let came = std::iter::from_fn(|| {
                subscriber.try_receive().unwrap().map(|sample| u64::from_le_bytes((*sample).try_into().unwrap()))
            });
            came.last().is_some_and(|last| last >= back)
        })
        .await;
        let mut all = Arrivals::of(&osaka, topic).await;
        all.wait_for(2).await;
        assert!(all.numbers[0] >= before, "what was there before is not sent");
        assert!(all.numbers.is_sorted_by(|one, next| one < next));
        let missing = all.numbers.last().unwrap() + 1 - all.numbers[0] - all.numbers.len() as u64;
        assert!(if lost == 0 { missing == 0 } else { missing >= lost }, "{missing} are missing");
    }
}

#[tokio::test]
async fn in_a_mesh_everybody_gets_everything_once() {
    let world = World::new();
    let nodes = [world.node("tokyo"), world.node("osaka"), world.node("kyoto")];
    let topics: Vec<_> = nodes
        .iter()
        .map(|node| node.bus.topic("t").unwrap().publishers(Publishers::Many(4)).open_or_create().unwrap())
        .collect();
    let (first, at_tokyo) = nodes[0].listen(open_to_all()).await;
    let (second, at_osaka) = {
        let options = connects_to("tokyo", at_tokyo, &["t"], &["t"]);
        nodes[1].listen(options).await
    };
    let mut options = connects_to("tokyo", at_tokyo, &["t"], &["t"]);
    options.peers.extend(connects_to("osaka", at_osaka, &["t"], &["t"]).peers);
    let third = nodes[2].start(options).await;
    let mut publishers: Vec<_> = topics.iter().map(|topic| topic.publisher::<[u8]>().open().unwrap()).collect();
    for (number, publisher) in publishers.iter_mut().enumerate() {
        publish(publisher, number as u64 * 1_000..number as u64 * 1_000 + 500);
    }
    for node in &nodes {
        let mut arrivals = Arrivals::of(node, "t").await;
        arrivals.wait_for(1_500).await;
        for number in 0..3 {
            let its: Vec<u64> = arrivals.numbers.iter().copied().filter(|came| came / 1_000 == number).collect();
            assert_eq!(its, (number * 1_000..number * 1_000 + 500).collect::<Vec<_>>(), "in order, at {}", node.name);
        }
        arrivals.wait_for(1_500).await;
        assert_eq!(arrivals.numbers.len(), 1_500);
    }
    for bridge in [first, second, third] {
        bridge.close().await;
    }
}

#[tokio::test]
async fn options_that_change_count_at_once_and_nothing_is_lost_or_repeated_by_it() {
    let world = World::new();
    let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
    let (listening, address) = tokyo.listen(open_to_all()).await;
    let (mut first, mut second) = (publisher(&tokyo, "a"), publisher(&tokyo, "b"));
    let connecting = osaka.start(connects_to("tokyo", address, &["a"], &[])).await;
    publish(&mut first, 0..500);
    publish(&mut second, 0..500);
    let mut arrivals = Arrivals::of(&osaka, "a").await;
    arrivals.wait_for(100).await;
    connecting.update(connects_to("tokyo", address, &["a", "b"], &[])).unwrap();
    publish(&mut first, 500..1_000);
    arrivals.wait_for(1_000).await;
    assert_eq!(arrivals.numbers, (0..1_000).collect::<Vec<_>>());
    Arrivals::of(&osaka, "b").await.wait_for(500).await;
    // Whoever isn't known any more is left.
    connecting.update(BridgeOptions::default()).unwrap();
    until("the end of the link", || !listening.is_connected("osaka")).await;
    let listen = Some(address);
    let error = connecting.update(BridgeOptions { listen, ..BridgeOptions::default() }).unwrap_err();
    assert!(error.to_string().contains("can't listen elsewhere"), "{error}");
}
