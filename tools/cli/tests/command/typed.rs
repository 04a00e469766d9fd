//! Messages with a type, printed by a command that doesn't have the type.

use memlane::{Bus, Message, Publisher};
use rkyv::{Archive, Serialize};
use serde_json::json;

use crate::sandbox::Sandbox;

#[derive(Archive, Serialize, memlane::Layout)]
enum Side {
    Buy,
    Sell,
}

#[derive(Archive, Serialize, Message)]
#[message(name = "md.trade", version = 3)]
struct Trade {
    price: i64,
    side: Side,
    symbol: [u8; 8],
    venue: String,
    fills: Vec<(u32, Option<u16>)>,
}

fn trade(price: i64) -> Trade {
    let venue = "a venue with a name that lies out of line".to_owned();
    let side = if price < 0 { Side::Sell } else { Side::Buy };
    Trade { price, side, symbol: *b"ZIEXT   ", venue, fills: vec![(1, None), (2, Some(3))] }
}

fn publisher(sandbox: &Sandbox, topic: &str) -> Publisher<Trade> {
    let bus = Bus::builder("default").root(sandbox.path()).open().unwrap();
    bus.topic(topic).unwrap().message::<Trade>().open_or_create().unwrap().publisher().open().unwrap()
}

const HISTORY: [&str; 4] = ["sub", "--from", "earliest", "--drain"];

#[test]
fn messages_of_a_topic_with_a_type_are_printed_by_the_names_of_their_fields() {
    let sandbox = Sandbox::new();
    publisher(&sandbox, "t").publish(&trade(-5)).unwrap();
    let lines = sandbox.run([&HISTORY[..], &["t", "--json"]].concat()).json_lines();
    let message = json!({
        "price": -5,
        "side": "Sell",
        "symbol": {"text": "ZIEXT   "},
        "venue": "a venue with a name that lies out of line",
        "fills": [[1, null], [2, 3]],
    });
    assert_eq!(lines[0]["message"], message);
    assert!(lines[0]["text"].is_null() && lines[0]["hex"].is_null());
    let text = sandbox.output([&HISTORY[..], &["t"]].concat());
    let line = "price=-5 side=\"Sell\" symbol={\"text\":\"ZIEXT   \"} venue=\"a venue with a name that lies out of line\" \
                fills=[[1,null],[2,3]]\n";
    assert_eq!(String::from_utf8(text).unwrap(), line);
    let lines = sandbox.run([&HISTORY[..], &["t", "--json", "--format", "hex"]].concat()).json_lines();
    assert!(lines[0]["message"].is_null() && lines[0]["hex"].as_str().unwrap().len() > 100);
}

#[test]
fn a_pattern_reads_each_topic_by_its_own_type() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "md.raw", "hello"]);
    publisher(&sandbox, "md.trades").publish(&trade(7)).unwrap();
    let lines = sandbox.run([&HISTORY[..], &["--pattern", "md.>", "--json"]].concat()).json_lines();
    let of = |topic: &str| lines.iter().find(|line| line["topic"] == topic).unwrap();
    assert_eq!((&of("md.raw")["text"], &of("md.trades")["message"]["price"]), (&json!("hello"), &json!(7)));
    assert!(of("md.raw")["message"].is_null());
}

#[test]
fn bytes_that_are_none_of_the_type_are_printed_as_they_are_with_the_reason() {
    let sandbox = Sandbox::new();
    drop(publisher(&sandbox, "t"));
    sandbox.output(["pub", "t", "short", "--untyped"]);
    let lines = sandbox.run([&HISTORY[..], &["t", "--json"]].concat()).json_lines();
    assert_eq!((&lines[0]["hex"], lines[0]["unreadable"].is_string()), (&json!("73686f7274"), true));
    let text = String::from_utf8(sandbox.output([&HISTORY[..], &["t"]].concat())).unwrap();
    assert!(text.starts_with("73686f7274 (the message ends before"), "{text}");

    // Without a description that can be believed, bytes are what is left.
    let file = sandbox.path().join("default/t/type");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "Trade{}0/1").unwrap();
    let ended = sandbox.run([&HISTORY[..], &["t"]].concat());
    assert_eq!((ended.code, ended.text()), (0, "short\n"));
    assert!(ended.stderr.contains("somebody has changed it"), "{}", ended.stderr);
}
