//! What `pub` takes in, `sub` gives out.

use std::io::{BufRead, BufReader, Read};

use serde_json::json;

use crate::sandbox::Sandbox;

/// Every byte value, many times, and not as text would have them.
fn binary(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 256) as u8).collect()
}

const ALL: [&str; 4] = ["--from", "earliest", "--drain", "--format"];

fn all<'a>(topic: &'a str, format: &'a str) -> Vec<&'a str> {
    [&["sub", topic][..], &ALL, &[format]].concat()
}

#[test]
fn arguments_come_out_as_lines() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(["pub", "t", "hello", "", "two words", "µ\ttab"]);
    assert_eq!((ended.code, ended.stdout.len()), (0, 0));
    assert!(ended.stderr.contains("published 4 messages"), "{}", ended.stderr);
    assert_eq!(sandbox.output(all("t", "text")), "hello\n\ntwo words\nµ\ttab\n".as_bytes());
}

#[test]
fn lines_of_stdin_are_messages_with_or_without_a_last_newline() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run_with(b"one\n\nthree", ["pub", "t"]).code, 0);
    assert_eq!(sandbox.run_with(b"four\n", ["pub", "t"]).code, 0);
    assert_eq!(sandbox.output(all("t", "text")), b"one\n\nthree\nfour\n");
}

#[test]
fn binary_files_come_back_byte_for_byte() {
    let sandbox = Sandbox::new();
    let files = [binary(100_000), binary(0), binary(17)];
    let paths: Vec<_> =
        files.iter().enumerate().map(|(index, bytes)| sandbox.file(&format!("{index}.bin"), bytes)).collect();
    let mut publish = sandbox.command(["pub", "t", "--quiet"]);
    for path in &paths {
        publish.arg("--file").arg(path);
    }
    let output = publish.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    assert_eq!(sandbox.output(all("t", "raw")), files.concat());
    let lines = String::from_utf8(sandbox.output(all("t", "hex"))).unwrap();
    for (line, bytes) in lines.lines().zip(&files) {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(line, digits);
    }
    assert_eq!(lines.lines().count(), files.len());
}

#[test]
fn all_of_stdin_is_one_message_with_raw() {
    let sandbox = Sandbox::new();
    let bytes = binary(300_000);
    assert_eq!(sandbox.run_with(&bytes, ["pub", "t", "--raw"]).code, 0);
    assert_eq!(sandbox.output(all("t", "raw")), bytes);
    assert_eq!(sandbox.json(["ls", "--json"])["topics"][0]["topic"], "t");
}

#[test]
fn text_is_one_line_a_message_and_harmless_to_terminals() {
    let sandbox = Sandbox::new();
    sandbox.run_with(b"a\nb\x1b[2J\xff", ["pub", "t", "--raw"]);
    assert_eq!(sandbox.output(all("t", "text")), b"a\\nb\\u{1b}[2J\\xff\n");
}

#[test]
fn made_up_messages_have_size_and_count_asked_for() {
    let sandbox = Sandbox::new();
    let summary = sandbox.json(["pub", "t", "--size", "32", "--count", "1k", "--json"]);
    assert_eq!(
        (&summary["messages"], &summary["bytes"], &summary["ended"]),
        (&json!(1000), &json!(32_000), &json!("done"))
    );
    let text = String::from_utf8(sandbox.output(all("t", "text"))).unwrap();
    let numbers: Vec<u32> = text.lines().map(|line| line.split_once(' ').unwrap().0.parse().unwrap()).collect();
    assert!(numbers.into_iter().eq(0..1000) && text.lines().all(|line| line.len() == 32));
}

#[test]
fn a_rate_is_kept_and_lateness_told() {
    let sandbox = Sandbox::new();
    let summary = sandbox.json(["pub", "t", "--size", "8", "--count", "50", "--rate", "10k/s", "--json"]);
    assert_eq!(summary["lateness"]["count"], 50);
    assert!(summary["seconds"].as_f64().unwrap() >= 49.0 / 10_000.0, "no message comes before it is due");
}

#[test]
fn a_subscriber_begins_where_it_is_told() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "a", "b", "c"]);
    let lines = String::from_utf8(sandbox.output([all("t", "text"), vec!["--positions"]].concat())).unwrap();
    let second = lines.lines().nth(1).unwrap().split_once('\t').unwrap();
    assert_eq!(second.1, "b");
    let from = |start| String::from_utf8(sandbox.output(["sub", "t", "--drain", "--from", start])).unwrap();
    assert_eq!(from(second.0), "b\nc\n");
    assert_eq!(from("latest"), "c\n");
    assert_eq!(from("live"), "");
    assert_eq!(from("earliest"), "a\nb\nc\n");
}

#[test]
fn latest_leaves_out_what_came_in_between() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "a", "b", "c"]);
    assert_eq!(sandbox.output(["sub", "t", "--latest", "--from", "earliest", "--drain"]), b"c\n");
    assert_eq!(sandbox.output(["sub", "t", "--latest", "--from", "earliest", "--count", "1"]), b"c\n");
}

#[test]
fn a_count_is_not_exceeded() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "a", "b", "c"]);
    assert_eq!(sandbox.output(["sub", "t", "--from", "earliest", "--count", "2"]), b"a\nb\n");
    assert_eq!(sandbox.output(["sub", "t", "--from", "earliest", "--count", "0"]), b"");
}

#[test]
fn headers_and_stamps_are_shown_and_are_part_of_the_json() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "x", "--header", "venue=xnas", "--header", "note=a=b", "--stamps"]);
    sandbox.run_with(b"\xff\x00", ["pub", "t", "--raw"]);
    let shown = sandbox.run([all("t", "text"), vec!["--headers", "--stamps"]].concat());
    let first: Vec<_> = shown.text().lines().next().unwrap().split('\t').collect();
    assert!(first[0].starts_with("20") && first[0].ends_with('Z'), "{}", first[0]);
    assert_eq!(first[1..], ["venue=xnas note=a=b", "x"]);
    let lines = sandbox.run([all("t", "text"), vec!["--json"]].concat()).json_lines();
    assert_eq!(lines[0]["headers"], json!({"venue": "xnas", "note": "a=b"}));
    assert_eq!((&lines[0]["text"], &lines[0]["event"]), (&json!("x"), &json!("message")));
    assert!(lines[0]["stamp_unix_ns"].as_u64() < lines[1]["stamp_unix_ns"].as_u64());
    assert_eq!((&lines[1]["hex"], &lines[1]["text"]), (&json!("ff00"), &json!(null)));
    assert_eq!((&lines[2]["event"], &lines[2]["messages"]), (&json!("summary"), &json!(2)));
}

#[test]
fn every_kind_of_waiting_delivers_to_a_process_that_was_there_first() {
    let sandbox = Sandbox::new();
    sandbox.output(["pub", "t", "before"]);
    for spin in ["busy", "yield", "block"] {
        let subscriber = sandbox.start(["sub", "t", "--count", "2", "--spin", spin]);
        sandbox.wait_for("t", 1, 0);
        // One that failed would have the subscriber wait for ever.
        sandbox.output(["pub", "t", "one", "two"]);
        let ended = subscriber.end();
        assert_eq!((ended.code, ended.text()), (0, "one\ntwo\n"), "{spin}: {}", ended.stderr);
    }
}

#[test]
fn a_subscriber_waits_for_its_topic_to_be_made() {
    let sandbox = Sandbox::new();
    let subscriber = sandbox.start(["sub", "t", "--wait-for-topic", "--from", "earliest", "--count", "1"]);
    sandbox.run(["pub", "t", "hello"]);
    assert_eq!(subscriber.end().text(), "hello\n");
}

#[test]
fn a_publisher_waits_for_its_subscribers_and_none_misses_anything() {
    let sandbox = Sandbox::new();
    let arguments =
        ["pub", "t", "--size", "100", "--count", "20000", "--capacity", "64KiB", "--wait-for-subscribers", "2"];
    let publisher = sandbox.start(arguments);
    let subscribers =
        [(); 2].map(|()| sandbox.start(["sub", "t", "--wait-for-topic", "--count", "20000", "--format", "raw"]));
    // Both are read at once, as each holds the publisher back.
    let readers = subscribers.map(|subscriber| std::thread::spawn(|| subscriber.end()));
    assert_eq!(publisher.end().code, 0);
    for reader in readers {
        let ended = reader.join().unwrap();
        assert_eq!((ended.code, ended.stdout.len()), (0, 2_000_000));
        let numbers =
            ended.stdout.chunks(100).map(|message| String::from_utf8_lossy(&message[..10]).parse::<u32>().unwrap());
        assert!(numbers.eq(0..20_000));
    }
}

#[test]
fn many_publishers_share_a_topic_made_for_them() {
    let sandbox = Sandbox::new();
    let publish = ["pub", "t", "--publishers", "many", "--size", "16", "--count", "5000", "--capacity", "1MiB"];
    let subscriber = sandbox.start(["sub", "t", "--wait-for-topic", "--count", "15000", "--from", "earliest"]);
    let publishers = [(); 3].map(|()| sandbox.start(publish));
    publishers.into_iter().for_each(|publisher| assert_eq!(publisher.end().code, 0));
    let ended = subscriber.end();
    let mut numbers: Vec<u32> = ended.text().lines().map(|line| line[..10].parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq((0..5_000).flat_map(|number| [number; 3])));
}

#[test]
fn a_lossy_subscriber_that_was_overrun_says_what_it_missed() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "first", "--capacity", "64KiB"]);
    let mut subscriber = sandbox.start(["sub", "t", "--lossy", "--from", "earliest", "--json"]);
    let mut stdout = BufReader::new(subscriber.process().stdout.take().unwrap());
    let mut text = String::new();
    stdout.read_line(&mut text).unwrap();
    // It is there. 100,000 × 64 bytes through 64 KiB, while nobody reads its output: its pipe takes but a part.
    let summary = sandbox.json(["pub", "t", "--size", "40", "--count", "100000", "--json"]);
    let reader = std::thread::spawn(move || {
        stdout.read_to_string(&mut text).unwrap();
        text
    });
    sandbox.run(["rm", "t"]);
    let ended = subscriber.end();
    let text = reader.join().unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    assert!(ended.stderr.contains("were overwritten before they were read"), "{}", ended.stderr);
    let [received, ranges] = ["messages", "lost_ranges"].map(|key| last[key].as_u64().unwrap());
    assert!(received < summary["messages"].as_u64().unwrap() && ranges > 0, "{last}");
}

#[test]
fn quiet_prints_figures_only() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "a", "b"]);
    let lines = sandbox.run(["sub", "t", "--from", "earliest", "--drain", "--quiet", "--json"]).json_lines();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (&lines[0]["event"], &lines[0]["messages"], &lines[0]["bytes"]),
        (&json!("summary"), &json!(2), &json!(2))
    );
    let text = String::from_utf8(sandbox.output(["sub", "t", "--from", "earliest", "--drain", "--quiet"])).unwrap();
    assert!(text.starts_with("received 2 messages"), "{text}");
}
