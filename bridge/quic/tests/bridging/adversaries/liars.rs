//! Those who have a good certificate, and don't keep to the protocol.

use crate::liar::{hello, open, topic, want};
use crate::scene::Scene;
use crate::world::publish;
use memlane_bridge_protocol::{Control, EndCode, Mode, Topic};
use memlane_bridge_quic::{BridgeOptions, Refusal};

/// Of a goodbye, why.
fn goodbye(message: &Control) -> Option<EndCode> {
    match message {
        Control::Goodbye { code, .. } => Some(*code),
        _ => None,
    }
}

/// Of a flow's refusal, why.
fn refusal(message: &Control) -> Option<(u32, EndCode)> {
    match message {
        Control::EndFlow { flow, code, .. } => Some((*flow, *code)),
        _ => None,
    }
}

#[tokio::test]
async fn a_greeting_that_cannot_be_ends_the_connection_with_the_reason() {
    let mut scene = Scene::new().await;
    let mask = scene.mask("mallory");
    for (greeting, code, refusal, words) in [
        (
            hello((7, 9), "mallory").encode(),
            EndCode::Version,
            Refusal::OtherVersion,
            "versions 7 to 9 are spoken there",
        ),
        (hello((1, 1), "osaka").encode(), EndCode::NotAllowed, Refusal::OtherName, "it says that it is \"osaka\""),
        (hello((1, 1), "tokyo").encode(), EndCode::NotAllowed, Refusal::OtherName, "the name of this very node"),
        (hello((1, 1), "\u{1b}[2J").encode(), EndCode::Malformed, Refusal::Malformed, "can't be a node's name"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), EndCode::Malformed, Refusal::Malformed, "too long"),
        (want(1, Mode::Reliable, "open.a").encode(), EndCode::OutOfTurn, Refusal::OutOfTurn, "is no greeting"),
    ] {
        let mut liar = mask.come().await;
        let before = scene.bridge.status().refused(refusal);
        liar.write(&greeting).await;
        assert_eq!(liar.hear_out(goodbye).await, code, "{words}");
        liar.is_left().await;
        scene.until(words, |status| status.refused(refusal) > before).await;
    }
    for words in ["versions 7 to 9 are spoken there", "it says that it is", "can't be a node's name"] {
        scene.assert_told(words);
    }
    scene.end().await;
}

#[tokio::test]
async fn one_that_says_nothing_or_half_a_greeting_is_left_after_a_while() {
    let mut scene = Scene::new().await;
    let mask = scene.mask("mallory");
    let (_endpoint, silent) = mask.connect().await.unwrap();
    scene.until_refused(Refusal::Silent, "it has not greeted within 700ms").await;
    silent.closed().await;
    let mut half = mask.come().await;
    let greeting = hello((1, 1), "mallory").encode();
    half.write(&greeting[..greeting.len() / 2]).await;
    scene.until("that it is left", |status| status.refused(Refusal::Silent) == 2).await;
    half.is_left().await;
    scene.end().await;
}

#[tokio::test]
async fn one_that_stops_within_a_message_holds_up_itself_alone() {
    let mut scene = Scene::new().await;
    let mut liar = scene.mask("mallory").greet().await;
    let message = open(1, Mode::Reliable, Topic { description: "x".repeat(30_000), ..topic("given.a") }).encode();
    liar.write(&message[..20_000]).await;
    for _ in 0..20 {
        scene.goes_on().await;
    }
    assert!(scene.bridge.is_connected("mallory"), "it has done no wrong");
    liar.write(&message[20_000..]).await;
    liar.hear_out(|message| matches!(message, Control::Accept { flow: 1, .. }).then_some(())).await;
    scene.end().await;
}

#[tokio::test]
async fn what_may_not_be_had_is_not_given_whatever_it_is_asked_by() {
    let mut scene = Scene::new().await;
    publish(&mut scene.tokyo.topic("open.a").publisher::<[u8]>().open().unwrap(), 0..3);
    publish(&mut scene.tokyo.topic("secret.a").publisher::<[u8]>().open().unwrap(), 0..3);
    let mask = scene.mask("mallory");
    let mut liar = mask.greet().await;
    for (number, pattern) in ["good", "secret.a", "../open.a", "open.a\n", "a..b", ""].into_iter().enumerate() {
        liar.say(&want(number as u32 + 1, Mode::Reliable, pattern)).await;
        let ended = liar.hear_out(|message| match message {
            Control::EndWant { want, code, .. } => Some((*want, *code)),
            Control::Open(open) => panic!("{} is offered", open.topic.name),
            _ => None,
        });
        let (want, code) = ended.await;
        assert_eq!(want, number as u32 + 1);
        assert!(matches!(code, EndCode::NotAllowed | EndCode::Malformed), "{pattern:?}: {code:?}");
    }
    scene.until_flow_refused("may not pull the topic").await;
    scene.assert_told("not given");
    // Of patterns only what may be had is offered, and once though they overlap.
    for (number, pattern) in [">", "*.a", "*.*", "secret.*", "open.>", "*", "open.a"].into_iter().enumerate() {
        liar.say(&want(number as u32 + 10, Mode::Reliable, pattern)).await;
    }
    // Once a later topic is there, all wants were looked at.
    scene.tokyo.topic("secret.z");
    let mut offered = Vec::new();
    for (made, last) in [(None, "open.a"), (Some("open.z"), "open.z")] {
        made.map(|name| scene.tokyo.topic(name));
        liar.hear_out(|message| match message {
            Control::Open(open) => {
                offered.push(open.topic.name.clone());
                (open.topic.name == last).then_some(())
            }
            _ => None,
        })
        .await;
    }
    scene.goes_on().await;
    assert_eq!(offered, ["open.a", "open.z"]);
    // Nor by the number that what nobody asked for has.
    liar.say(&want(0, Mode::Reliable, ">")).await;
    let is_offer = |message: &Control| match message {
        Control::Open(open) => panic!("{} is offered", open.topic.name),
        message => goodbye(message),
    };
    assert_eq!(liar.hear_out(is_offer).await, EndCode::OutOfTurn);
    scene.until_refused(Refusal::OutOfTurn, "a want's number that is taken, or zero").await;
    scene.end().await;
}

#[tokio::test]
async fn a_topic_that_may_not_be_given_or_cannot_be_is_not_taken_and_not_made() {
    let mut scene = Scene::new().await;
    let there = scene.tokyo.topic("given.there");
    let mut liar = scene.mask("mallory").greet().await;
    let given = |name: &str, change: &dyn Fn(&mut Topic)| {
        let mut topic = topic(name);
        change(&mut topic);
        topic
    };
    let offers = [
        (topic("secret.a"), EndCode::NotAllowed),
        (topic("../x"), EndCode::NotAllowed),
        (topic("given.a/b"), EndCode::NotAllowed),
        (topic("given.*"), EndCode::NotAllowed),
        (topic(&"given.x".repeat(100)), EndCode::NotAllowed),
        (given("given.there", &|topic| topic.type_fingerprint = 7), EndCode::OtherType),
        (given("given.there", &|topic| topic.type_name = "Trade".to_owned()), EndCode::OtherType),
        (given("given.a", &|topic| topic.cell = 0), EndCode::Malformed),
        (given("given.a", &|topic| topic.cell = 96), EndCode::Malformed),
        (given("given.a", &|topic| topic.capacity = 1 << 63), EndCode::Malformed),
        (given("given.a", &|topic| topic.capacity = 0), EndCode::Malformed),
        (given("given.a", &|topic| topic.body_max = u64::MAX), EndCode::Malformed),
        (given("given.a", &|topic| topic.payload_at = 0), EndCode::Malformed),
        (given("given.a", &|topic| topic.payload_at = u32::MAX), EndCode::Malformed),
        (given("given.a", &|topic| topic.payload_align = 3), EndCode::Failed),
        (given("given.a", &|topic| topic.payload_align = u32::MAX), EndCode::Failed),
        (given("given.a", &|topic| topic.cell = 8), EndCode::Failed),
        (given("given.a", &|topic| (topic.capacity, topic.body_max) = (1 << 40, 1 << 39)), EndCode::TooMany),
    ];
    let count = offers.len();
    for (index, (topic, code)) in offers.into_iter().enumerate() {
        let (flow, shown) = (2 * index as u32 + 1, format!("{topic:?}"));
        liar.say(&open(flow, Mode::Reliable, topic)).await;
        assert_eq!(liar.hear_out(refusal).await, (flow, code), "{shown}");
    }
    scene.until_flow_refused("raise topics_made_max").await;
    scene.assert_told("may not push the topic");
    let status = scene.bridge.status();
    let peer = status.peer("mallory").unwrap();
    assert_eq!(peer.topics_made, 0);
    // Those that the protocol's core refuses are counted as well.
    assert_eq!(peer.refused_flows, count as u64);
    assert_eq!(there.name(), "given.there");
    let mut topics = scene.tokyo.bus.topics().unwrap();
    topics.sort();
    assert_eq!(topics, ["given.there", "good"]);
    // A description that is too long can't be read.
    let too_long = [&open(999, Mode::Reliable, topic("given.a")).encode()[..]].concat();
    liar.write(&with_description(too_long, 60 << 10)).await;
    assert_eq!(liar.hear_out(goodbye).await, EndCode::Malformed);
    scene.until_refused(Refusal::Malformed, "a text is too long").await;
    scene.end().await;
}

/// An offer whose description was empty, with one of so many bytes.
fn with_description(mut message: Vec<u8>, bytes: usize) -> Vec<u8> {
    let at = message.len() - 4;
    message.splice(at.., (bytes as u32).to_le_bytes());
    message.resize(message.len() + bytes, b'x');
    let length = (message.len() - 8) as u32;
    message.splice(..4, length.to_le_bytes());
    message
}

#[tokio::test]
async fn no_more_topics_are_made_for_a_peer_than_it_may_have() {
    let options = BridgeOptions { topics_made_max: 3, topics_made_bytes_max: 1 << 30, ..BridgeOptions::default() };
    let mut scene = Scene::with(options).await;
    let mut liar = scene.mask("mallory").greet().await;
    for number in 0..3 {
        liar.offer(2 * number + 1, Mode::Reliable, topic(&format!("given.{number}"))).await;
    }
    liar.say(&open(7, Mode::Reliable, topic("given.3"))).await;
    assert_eq!(liar.hear_out(refusal).await, (7, EndCode::TooMany));
    scene.until_flow_refused("3 topics with").await;
    let status = scene.bridge.status();
    assert_eq!(status.peer("mallory").unwrap().topics_made, 3);
    assert!(!scene.tokyo.bus.topics().unwrap().contains(&"given.3".to_owned()));
    scene.end().await;
}
