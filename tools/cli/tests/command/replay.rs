//! Journals back into topics with `memlane replay`.

use std::path::PathBuf;
use std::time::Duration;

use memlane::{Bus, Topic};

use crate::sandbox::Sandbox;

struct Recorded {
    sandbox: Sandbox,
    journal: PathBuf,
}

impl Recorded {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let journal = sandbox.path().join("journal");
        Self { sandbox, journal }
    }

    fn topic(&self, name: &str) -> Topic {
        let bus = Bus::builder("default").root(self.sandbox.path()).open().unwrap();
        bus.topic(name).unwrap().stamps(true).open_or_create().unwrap()
    }

    fn record(&self, topics: &[&str]) {
        let to = self.journal.display().to_string();
        let options = ["--to", &to, "--drain", "--segment", "1MiB"];
        let ended = self.sandbox.run([&["record"], topics, &options].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }

    fn at(&self, topic: &str) -> String {
        self.journal.join(topic).display().to_string()
    }
}

#[test]
fn a_replayed_message_has_its_payload_its_key_and_its_headers() {
    let recorded = Recorded::new();
    let topic = recorded.topic("t");
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    publisher.publish(b"plain").unwrap();
    publisher.message().key(b"ZIEXT").unwrap().header("venue", b"iex").unwrap().publish(b"with more").unwrap();
    publisher.publish(&[0xff; 100]).unwrap();
    recorded.record(&["t"]);
    let sandbox = &recorded.sandbox;
    let summary = sandbox.json(["replay", &recorded.at("t"), "--to", "again", "--speed", "max", "--json"]);
    assert_eq!((summary["messages"].as_u64(), &summary["ended"]), (Some(3), &"done".into()));
    let all = |topic: &str| {
        let mut messages = sandbox.run(["sub", topic, "--from", "earliest", "--drain", "--json"]).json_lines();
        for message in &mut messages {
            let object = message.as_object_mut().unwrap();
            object.remove("stamp_unix_ns");
            object.remove("seconds");
            object.remove("messages_per_s");
            object.remove("topic");
        }
        messages
    };
    let (before, after) = (all("t"), all("again"));
    assert_eq!(before[..3], after[..3]);
    assert_eq!((&after[1]["key"], &after[1]["headers"]["venue"]), (&"ZIEXT".into(), &"iex".into()));
}

#[test]
fn several_journals_are_replayed_in_the_order_of_their_times() {
    let recorded = Recorded::new();
    let (a, b) = (recorded.topic("a"), recorded.topic("b"));
    let (mut to_a, mut to_b) = (a.publisher::<[u8]>().open().unwrap(), b.publisher::<[u8]>().open().unwrap());
    let mut order = Vec::new();
    for number in 0..60_u32 {
        // In an order that neither topic has by itself.
        let to = if number * number % 7 < 3 { &mut to_a } else { &mut to_b };
        to.publish(format!("{number}").as_bytes()).unwrap();
        order.push(number.to_string());
        // The times of two topics are comparable to about a microsecond.
        std::thread::sleep(Duration::from_micros(300));
    }
    recorded.record(&["a", "b"]);
    let (a, b) = (recorded.at("a"), recorded.at("b"));
    let ended = recorded.sandbox.run(["--bus", "test", "replay", &a, &b]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let mut stamped = Vec::new();
    for topic in ["a", "b"] {
        let ended = recorded.sandbox.run(["--bus", "test", "sub", topic, "--from", "earliest", "--drain", "--json"]);
        for message in ended.json_lines().iter().filter(|line| line["event"] == "message") {
            stamped.push((message["stamp_unix_ns"].as_u64().unwrap(), message["text"].as_str().unwrap().to_owned()));
        }
    }
    stamped.sort_unstable();
    assert_eq!(stamped.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), order);
}

#[test]
fn at_recorded_speed_it_takes_as_long_as_it_took_and_count_ends_it() {
    let recorded = Recorded::new();
    let mut publisher = recorded.topic("t").publisher::<[u8]>().open().unwrap();
    publisher.publish(b"1").unwrap();
    std::thread::sleep(Duration::from_millis(120));
    publisher.publish(b"2").unwrap();
    publisher.publish(b"3").unwrap();
    recorded.record(&["t"]);
    let summary = recorded.sandbox.json(["replay", &recorded.at("t"), "--to", "u", "--count", "2", "--json"]);
    assert_eq!(summary["messages"], 2);
    assert!(summary["seconds"].as_f64().unwrap() >= 0.12, "{summary}");
    let summary = recorded.sandbox.json(["replay", &recorded.at("t"), "--to", "u", "--last", "1", "--json"]);
    assert_eq!(summary["messages"], 1);
    assert_eq!(recorded.sandbox.output(["sub", "u", "--from", "earliest", "--drain"]), b"1\n2\n3\n");
}

#[test]
fn what_would_go_wrong_is_refused_with_a_reason() {
    let recorded = Recorded::new();
    recorded.topic("t").publisher::<[u8]>().open().unwrap().publish(b"1").unwrap();
    recorded.record(&["t"]);
    let at = recorded.at("t");
    for (arguments, words) in [
        (vec!["replay", &at], "topic t is the one that the journal is of"),
        (vec!["replay", &at, &at, "--to", "u"], "--to is one topic"),
        (vec!["replay", "/no/such/journal"], "no journal is here"),
        (vec!["replay", &at, "--to", "u", "--speed", "fast"], "give recorded, max, or a factor"),
    ] {
        let ended = recorded.sandbox.run(&arguments);
        assert!(ended.code == 1 || ended.code == 2, "{arguments:?}");
        assert!(ended.stderr.contains(words), "{arguments:?}: {}", ended.stderr);
    }
}
