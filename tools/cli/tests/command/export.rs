//! Captures recorded, replayed and exported: byte for byte what they were. And what else an export says.

use std::fs::File;
use std::path::Path;

use memlane::{Bus, Message};
use nix::sys::signal::Signal;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Row, RowAccessor};
use rkyv::{Archive, Serialize};
use serde_json::Value;

use crate::ingest::{BINANCE, IEX, expected, json_lines, pcap, real};
use crate::sandbox::Sandbox;

fn rows(path: &Path) -> Vec<Row> {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    reader.get_row_iter(None).unwrap().map(Result::unwrap).collect()
}

/// The payload that a line of JSON shows.
fn payload(line: &Value) -> Vec<u8> {
    if let Some(text) = line["text"].as_str() {
        return text.as_bytes().to_vec();
    }
    let hex = line["hex"].as_str().unwrap().as_bytes();
    hex.chunks(2).map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 16).unwrap()).collect()
}

/// Ingests a capture, records it meanwhile, and compares what comes out of the journal in every way.
fn byte_for_byte(capture: &Path, messages: &[Vec<u8>]) {
    let sandbox = Sandbox::new();
    let journal = sandbox.path().join("journal");
    let (to, at) = (journal.display().to_string(), journal.join("md").display().to_string());
    let capture = capture.display().to_string();
    let ingest = sandbox.start(["ingest", &capture, "--topic", "md", "--speed", "max", "--wait-for-subscribers", "1"]);
    sandbox.wait_for("md", 0, 1);
    let mut record = sandbox.start(["record", "md", "--to", &to, "--sync", "none"]);
    let ended = ingest.end();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    record.signal(Signal::SIGINT);
    let ended = record.end();
    assert_eq!(ended.code, 0, "{}", ended.stderr);

    let is_same = |way: &str, found: &[Vec<u8>]| {
        let first = found.iter().zip(messages).position(|(found, message)| found != message);
        assert!(found.len() == messages.len() && first.is_none(), "{way}: {} messages, first {first:?}", found.len());
    };
    let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| payload(&serde_json::from_slice(line).unwrap())).collect()
    };
    let raw = sandbox.output(["journal", "dump", &at, "--format", "raw"]);
    assert!(raw == messages.concat(), "dumped as they are");
    for (name, format) in [("all.jsonl", None), ("all", Some("jsonl"))] {
        let file = sandbox.path().join(name).display().to_string();
        let format = format.map_or(vec![], |format| vec!["--format", format]);
        sandbox.output([&["journal", "export", &at, "--to", &file][..], &format].concat());
        is_same(name, &lines(&std::fs::read(file).unwrap()));
    }
    let table = sandbox.path().join("all.parquet");
    sandbox.output(["journal", "export", &at, "--to", &table.display().to_string()]);
    let rows = rows(&table);
    is_same("parquet", &rows.iter().map(|row| row.get_bytes(7).unwrap().data().to_vec()).collect::<Vec<_>>());
    assert!(rows.is_sorted_by_key(|row| row.get_long(0).unwrap()));

    // Also once it is compressed; and from there into another topic, and into another journal.
    assert_eq!(sandbox.run(["journal", "compress", &at]).code, 0);
    assert!(sandbox.output(["journal", "dump", &at, "--format", "raw"]) == messages.concat(), "compressed");
    let again = sandbox.path().join("again").display().to_string();
    let replay = sandbox.start(["replay", &at, "--to", "again", "--speed", "max", "--wait-for-subscribers", "1"]);
    sandbox.wait_for("again", 0, 1);
    let mut record = sandbox.start(["record", "again", "--to", &again, "--sync", "none"]);
    assert_eq!(replay.end().code, 0);
    record.signal(Signal::SIGINT);
    assert_eq!(record.end().code, 0);
    let raw = sandbox.output(["journal", "dump", &again, "--format", "raw"]);
    assert!(raw == messages.concat(), "replayed");
}

#[test]
fn real_captures_come_out_of_a_journal_as_they_were() {
    for (name, count) in [IEX, BINANCE] {
        let Some(capture) = real(name) else { continue };
        let messages = expected(&capture, usize::MAX);
        assert_eq!(messages.len(), count);
        byte_for_byte(&capture, &messages);
    }
}

#[test]
fn a_made_up_capture_comes_out_of_a_journal_as_it_was() {
    let sandbox = Sandbox::new();
    for (name, bytes) in [("a.jsonl", json_lines(3000)), ("a.pcap", pcap(20_000))] {
        let capture = sandbox.file(name, &bytes);
        byte_for_byte(&capture, &expected(&capture, usize::MAX));
    }
}

#[derive(Archive, Serialize, Message)]
struct Trade {
    price: u64,
    venue: String,
}

#[test]
fn a_table_has_what_belongs_to_a_message_and_its_fields_by_name() {
    let sandbox = Sandbox::new();
    let bus = Bus::builder("default").root(sandbox.path()).open().unwrap();
    let topic = bus.topic("t").unwrap().message::<Trade>().stamps(true).open_or_create().unwrap();
    let mut source = topic.publisher::<Trade>().open_source("venue.a").unwrap();
    let trade = |price| Trade { price, venue: "iex".to_owned() };
    source.publish(&trade(1)).unwrap();
    source.publish_with(|message| message.key(b"ZIEXT")?.header("desk", b"7"), &trade(2), None).unwrap();
    let to = sandbox.path().join("journal").display().to_string();
    sandbox.output(["record", "t", "--to", &to, "--drain"]);
    let table = sandbox.path().join("t.parquet");
    sandbox.output(["journal", "export", &to, "--to", &table.display().to_string()]);
    let rows = rows(&table);
    assert_eq!(rows.len(), 2);
    let text = |row: &Row, column| row.get_string(column).cloned().ok();
    assert_eq!((text(&rows[0], 4).as_deref(), rows[0].get_long(5).unwrap()), (Some("venue.a"), 1));
    assert_eq!((rows[0].get_bytes(3).ok(), text(&rows[0], 6)), (None, None));
    assert_eq!(rows[1].get_bytes(3).unwrap().data(), b"ZIEXT");
    assert!(format!("{}", rows[1]).contains("desk"), "{}", rows[1]);
    assert!(format!("{}", rows[1]).contains("iex"), "{}", rows[1]);

    let listed = std::fs::read_dir(sandbox.path()).unwrap().flatten();
    assert!(listed.into_iter().all(|entry| !entry.file_name().to_string_lossy().ends_with(".new")));
    let refused = sandbox.run(["journal", "export", &to, "--to", "table"]);
    assert!(refused.code != 0 && refused.stderr.contains("--format parquet or jsonl"), "{}", refused.stderr);
    let refused = sandbox.run(["journal", "export", &to, "--to", "/nowhere/t.parquet"]);
    assert!(refused.code != 0 && refused.stderr.contains("/nowhere/t.parquet.new"), "{}", refused.stderr);
}
