//! `ingest` into one process, `sub` in another: every message, byte for byte, in order.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use memlane_cli::capture;
use memlane_cli::feed::Feed;
use serde_json::{Value, json};

use crate::pcap_writer::{PcapWriter, SegmentWriter};
use crate::sandbox::{Ended, Sandbox};

/// A capture of so many messages of the generated feed, a few to a packet, with a gap and a bad packet near its end.
pub(crate) fn pcap(messages: usize) -> Vec<u8> {
    let mut feed = Feed::new(7);
    let mut writer = PcapWriter::common();
    let mut sequence = 1;
    let mut left = messages;
    while left > 0 {
        let count = left.min(5);
        let mut packet = Vec::new();
        let mut received_ns = 0;
        for _ in 0..count {
            let (at_ns, bytes) = feed.next_message();
            received_ns = at_ns;
            packet.push(bytes.to_vec());
        }
        let slices: Vec<&[u8]> = packet.iter().map(Vec::as_slice).collect();
        writer.segment(received_ns, &SegmentWriter::new(sequence, &slices));
        sequence += count as i64;
        left -= count;
        if left == 10 {
            // Ten messages are missing here.
            sequence += 10;
        }
    }
    writer.segment(1_800_000_000_000_000_000, &SegmentWriter { version: 9, ..SegmentWriter::new(sequence, &[b"x"]) });
    writer.bytes
}

pub(crate) fn json_lines(messages: usize) -> Vec<u8> {
    let line =
        |index: usize| format!("{} {{\"n\":{index},\"s\":\"{}\"}}\n", 1_000 + index * 1_000, "x".repeat(index % 300));
    (0..messages).map(line).collect::<String>().into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The first messages of a capture, as the reader gives them.
pub(crate) fn expected(path: &Path, limit: usize) -> Vec<Vec<u8>> {
    let mut capture = capture::open(path).unwrap();
    let mut messages: Vec<Vec<u8>> = Vec::new();
    while messages.len() < limit
        && let Some(message) = capture.next_message()
    {
        messages.push(message.unwrap().bytes.to_vec());
    }
    messages
}

/// Sends a capture through a topic into a second process; checks what arrived, and gives the summary.
fn through_a_topic(path: &Path, messages: usize, options: &[&str]) -> Value {
    let sandbox = Sandbox::new();
    let count = messages.to_string();
    let subscriber = sandbox.start(["sub", "md", "--wait-for-topic", "--count", &count, "--format", "hex"]);
    let path_text = path.to_str().unwrap();
    let arguments =
        ["ingest", path_text, "--topic", "md", "--json", "--capacity", "1MiB", "--wait-for-subscribers", "1"];
    let ingest = sandbox.start([&arguments[..], options].concat());
    let received = subscriber.end();
    let ended = ingest.end();
    assert_eq!((received.code, ended.code), (0, 0), "{}{}", received.stderr, ended.stderr);
    let expected = expected(path, messages);
    assert_eq!(expected.len(), messages);
    let mut lines = received.text().lines();
    for (index, message) in expected.iter().enumerate() {
        let digits: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(lines.next(), Some(digits.as_str()), "message {index}");
    }
    assert!(lines.next().is_none());
    ended.json_lines().remove(0)
}

fn figures(summary: &Value) -> [u64; 3] {
    ["messages", "bad_packets", "sequence_gaps"].map(|key| summary[key].as_u64().unwrap())
}

#[test]
fn a_generated_pcap_arrives_whole_and_in_order_plain_and_packed() {
    let sandbox = Sandbox::new();
    let bytes = pcap(20_000);
    for (name, bytes) in [("a.pcap", bytes.clone()), ("a.pcap.gz", gzip(&bytes))] {
        let path = sandbox.file(name, &bytes);
        let summary = through_a_topic(&path, 20_000, &["--speed", "max"]);
        assert_eq!(figures(&summary), [20_000, 1, 1]);
        assert_eq!((&summary["messages_missed"], &summary["ended"]), (&json!(10), &json!("done")));
    }
}

#[test]
fn generated_json_lines_arrive_whole_and_in_order_plain_and_packed() {
    let sandbox = Sandbox::new();
    let bytes = [json_lines(3_000), b"not a line\n".to_vec()].concat();
    for (name, bytes) in [("a.jsonl", bytes.clone()), ("a.jsonl.gz", gzip(&bytes))] {
        let path = sandbox.file(name, &bytes);
        assert_eq!(figures(&through_a_topic(&path, 3_000, &["--speed", "max"])), [3_000, 1, 0]);
    }
}

#[test]
fn at_recorded_speed_no_message_comes_before_its_time() {
    let sandbox = Sandbox::new();
    let path = sandbox.file("a.jsonl", &json_lines(500));
    let summary = through_a_topic(&path, 500, &["--speed", "recorded"]);
    assert!(summary["seconds"].as_f64().unwrap() >= 499.0 * 1e-6, "{summary}");
    assert_eq!(summary["lateness"]["count"], 500);
    let summary = through_a_topic(&path, 500, &["--speed", "0.1"]);
    assert!(summary["seconds"].as_f64().unwrap() >= 499.0 * 1e-5, "{summary}");
}

#[test]
fn problems_of_the_capture_are_told_and_are_no_failure() {
    let sandbox = Sandbox::new();
    let path = sandbox.file("a.pcap", &pcap(100));
    let ended = sandbox.run(["ingest", path.to_str().unwrap(), "--topic", "t", "--speed", "max"]);
    assert_eq!(ended.code, 0);
    for part in ["bad packet 21", "10 messages are missing", "published 100 messages", "1 bad packets, 1 sequence gaps"]
    {
        assert!(ended.stderr.contains(part), "{part} in {}", ended.stderr);
    }
}

#[test]
fn a_limit_ends_it_and_a_loop_begins_again() {
    let sandbox = Sandbox::new();
    let path = sandbox.file("a.jsonl", &json_lines(100));
    let path = path.to_str().unwrap();
    let summary = sandbox.json(["ingest", path, "--topic", "t", "--speed", "max", "--json", "--limit", "30"]);
    assert_eq!((&summary["messages"], &summary["passes"]), (&json!(30), &json!(1)));
    let summary =
        sandbox.json(["ingest", path, "--topic", "t", "--speed", "1000", "--json", "--loop", "--limit", "250"]);
    assert_eq!((&summary["messages"], &summary["passes"]), (&json!(250), &json!(3)));
    let ended = sandbox.run_with(&json_lines(5), ["ingest", "-", "--topic", "t", "--loop"]);
    assert!(ended.code == 1 && ended.stderr.contains("--loop"), "{}", ended.stderr);
}

#[test]
fn a_capture_can_come_from_stdin() {
    let sandbox = Sandbox::new();
    let ended: Ended =
        sandbox.run_with(&gzip(&json_lines(50)), ["ingest", "-", "--topic", "t", "--speed", "max", "--json"]);
    assert_eq!((ended.code, &ended.json_lines()[0]["messages"]), (0, &json!(50)), "{}", ended.stderr);
}

#[test]
fn a_capture_that_is_damaged_fails_after_what_could_be_read() {
    let sandbox = Sandbox::new();
    let mut bytes = gzip(&json_lines(5_000));
    bytes.truncate(bytes.len() / 2);
    let path = sandbox.file("a.jsonl.gz", &bytes);
    let ended = sandbox.run(["ingest", path.to_str().unwrap(), "--topic", "t", "--speed", "max", "--json"]);
    assert_eq!((ended.code, &ended.json_lines()[0]["ended"]), (1, &json!("failed")), "{}", ended.stderr);
    assert!(ended.json_lines()[0]["messages"].as_u64().unwrap() > 0);
    assert!(ended.stderr.contains("cut or damaged"), "{}", ended.stderr);
}

/// A real capture, if it is there: in `$MEMLANE_DATA`, else in `../shared/data` beside the workspace.
pub(crate) fn real(name: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directory = std::env::var_os("MEMLANE_DATA").map_or_else(|| workspace.join("../shared/data"), PathBuf::from);
    let path = directory.join(name);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("{} is not here: not checked against it", path.display());
    None
}

/// The capture `name`, if it is there, else one that is made up: with how many messages it has, and by what to divide the
/// time that it took to be recorded so that it takes some ten seconds.
fn real_or_made_up(sandbox: &Sandbox, name: &str, messages: usize, made_up: &[u8]) -> (PathBuf, usize, String) {
    const SECONDS: f64 = 10.0;
    let (path, messages) = match real(name) {
        Some(path) => (path, messages),
        None => {
            let path = sandbox.file("made-up", made_up);
            let messages = expected(&path, usize::MAX).len();
            (path, messages)
        }
    };
    let times = times_ns(&path);
    let span_s = (times[times.len() - 1] - times[0]) as f64 / 1e9;
    (path, messages, (span_s / SECONDS).max(1.0).to_string())
}

/// When each message of a capture was received.
fn times_ns(path: &Path) -> Vec<u64> {
    let mut capture = capture::open(path).unwrap();
    std::iter::from_fn(|| capture.next_message().map(|message| message.unwrap().received_ns)).collect()
}

pub(crate) const IEX: (&str, usize) = ("iex-deep-2017-04-25.pcap.gz", 391_999);
pub(crate) const BINANCE: (&str, usize) = ("binance-usdm-btcusdt-2024-08-08.jsonl.gz", 93_954);

#[test]
fn real_pcap_arrives_whole_and_in_order_flat_out() {
    let Some(path) = real(IEX.0) else { return };
    let summary = through_a_topic(&path, IEX.1, &["--speed", "max"]);
    assert_eq!(figures(&summary), [391_999, 1, 11]);
}

#[test]
fn real_json_lines_arrive_whole_and_in_order_flat_out() {
    let Some(path) = real(BINANCE.0) else { return };
    let summary = through_a_topic(&path, BINANCE.1, &["--speed", "max"]);
    assert_eq!(figures(&summary), [93_954, 0, 0]);
}

#[test]
fn a_pcap_arrives_whole_and_in_order_at_a_multiple_of_its_speed() {
    let sandbox = Sandbox::new();
    let (path, messages, factor) = real_or_made_up(&sandbox, IEX.0, IEX.1, &pcap(20_000));
    let summary = through_a_topic(&path, messages, &["--speed", &factor]);
    assert_eq!((figures(&summary)[0], figures(&summary)[1]), (messages as u64, 1));
    assert_span_is_kept(&path, messages, factor.parse().unwrap(), &summary);
}

#[test]
fn json_lines_arrive_whole_and_in_order_at_a_multiple_of_their_speed() {
    let sandbox = Sandbox::new();
    let (path, messages, factor) = real_or_made_up(&sandbox, BINANCE.0, BINANCE.1, &json_lines(3_000));
    let summary = through_a_topic(&path, messages, &["--speed", &factor]);
    assert_eq!(figures(&summary), [messages as u64, 0, 0]);
    assert_span_is_kept(&path, messages, factor.parse().unwrap(), &summary);
}

#[test]
fn at_recorded_speed_a_capture_takes_as_long_as_it_took() {
    const NS: u64 = 2_000_000_000;
    let sandbox = Sandbox::new();
    for (capture, made_up) in [(IEX, pcap(20_000)), (BINANCE, json_lines(3_000))] {
        let (path, _, _) = real_or_made_up(&sandbox, capture.0, capture.1, &made_up);
        let times = times_ns(&path);
        let messages = times.iter().take_while(|time| **time <= times[0] + NS).count();
        let count = messages.to_string();
        let summary = through_a_topic(&path, messages, &["--speed", "recorded", "--limit", &count]);
        assert_eq!(figures(&summary)[0], messages as u64);
        assert_span_is_kept(&path, messages, 1.0, &summary);
    }
}

/// The first `messages` of a capture took no shorter than their recording at `factor` times its speed. How much longer
/// depends on what else the machine does.
fn assert_span_is_kept(path: &Path, messages: usize, factor: f64, summary: &Value) {
    let times = times_ns(path);
    let span_s = (times[..messages].iter().max().unwrap() - times[0]) as f64 / 1e9 / factor;
    assert!(summary["seconds"].as_f64().unwrap() >= span_s * 0.999, "{span_s} s: {summary}");
}
