//! Known facts: of the real captures where they are found, and of generated ones in any case.
//!
//! The real captures are looked for in the folder that the environment variable `MEMLANE_DATA` names, else in
//! `../shared/data` beside the workspace.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::super::deep::DeepMessage;
use super::super::{Capture, Format, ProblemKind, Summary, open};
use super::pcap_writer::{PcapWriter, SegmentWriter, ethernet};
use super::{gzip, open_bytes, problems};
use crate::feed::Feed;

/// A real capture, or `None` with a word about it.
fn real_capture(name: &str) -> Option<Capture> {
    let folder = std::env::var_os("MEMLANE_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(open(path).unwrap())
}

/// Reads a capture of DEEP messages to its end. Every message must be one that the decoder knows; gives how many
/// there are of each kind.
fn read_deep(capture: &mut Capture) -> BTreeMap<char, u64> {
    assert_eq!(capture.format(), Format::IexDeepPcap);
    let mut kinds = BTreeMap::new();
    while let Some(message) = capture.next_message() {
        let message = message.unwrap();
        assert!((10..=38).contains(&message.bytes.len()));
        let decoded = DeepMessage::parse(message.bytes).unwrap();
        assert_eq!(decoded.symbol.is_none(), decoded.kind == b'S', "{decoded}");
        assert_eq!(decoded.price.is_some(), b"58BT".contains(&decoded.kind), "{decoded}");
        *kinds.entry(char::from(decoded.kind)).or_default() += 1;
    }
    kinds
}

/// Makes a capture from a feed, with whatever can go wrong on the way, and keeps account of it.
struct FaultyRecorder {
    feed: Feed,
    writer: PcapWriter,
    sequence: i64,
    expected: Summary,
    problems: Vec<(ProblemKind, u64)>,
    frames: u64,
}

impl FaultyRecorder {
    fn new(seed: u64) -> Self {
        Self {
            feed: Feed::new(seed),
            writer: PcapWriter::new(false, true),
            sequence: 1,
            expected: Summary::default(),
            problems: Vec::new(),
            frames: 0,
        }
    }

    /// The next packet of the feed; its messages are counted if it is `recorded`.
    fn segment(&mut self, count: i64, recorded: bool) -> (u64, SegmentWriter) {
        let mut messages = Vec::new();
        let mut received_ns = 0;
        for _ in 0..count {
            let (stamp, bytes) = self.feed.next_message();
            received_ns = stamp;
            messages.push(bytes.to_vec());
        }
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let segment = SegmentWriter::new(self.sequence, &messages);
        self.sequence += count;
        if recorded {
            self.expected.packets += 1;
            self.expected.messages += count as u64;
            self.expected.bytes += messages.iter().map(|message| message.len() as u64).sum::<u64>();
            if count > 0 {
                self.expected.first_received_ns.get_or_insert(received_ns);
                self.expected.last_received_ns = Some(received_ns);
            }
        }
        (received_ns, segment)
    }

    fn write(&mut self, received_ns: u64, frame: &[u8]) {
        self.frames += 1;
        self.writer.frame(received_ns, frame);
    }

    fn packet(&mut self, count: i64) {
        let (received_ns, segment) = self.segment(count, true);
        self.write(received_ns, &segment.to_frame());
    }

    /// A packet that the network loses, and one after it that shows the gap.
    fn lost_packet(&mut self, count: i64) {
        self.segment(count, false);
        self.packet(3);
        self.gap(ProblemKind::SequenceGap, count as u64);
    }

    /// A packet that arrives damaged, and one after it that shows the gap.
    fn bad_packet(&mut self, count: i64) {
        let (received_ns, mut segment) = self.segment(count, false);
        segment.messages[0] ^= 0x40;
        self.write(received_ns, &segment.to_frame());
        self.expected.bad_packets += 1;
        self.problems.push((ProblemKind::BadPacket, self.frames));
        self.packet(3);
        self.gap(ProblemKind::SequenceGap, count as u64);
    }

    fn restart(&mut self) {
        self.sequence = 1;
        self.packet(0);
        self.expected.sequence_restarts += 1;
        self.gap(ProblemKind::SequenceRestart, 0);
    }

    fn gap(&mut self, kind: ProblemKind, missed: u64) {
        self.expected.sequence_gaps += 1;
        self.expected.messages_missed += missed;
        self.problems.push((kind, self.frames));
    }

    fn foreign_frame(&mut self) {
        let mut frame = ethernet(&[], &[0; 28]);
        frame[13] = 0x06;
        self.write(1, &frame);
        self.expected.skipped_frames += 1;
    }

    /// Stops before the last packet is written whole.
    fn cut(&mut self) {
        let (received_ns, segment) = self.segment(20, false);
        self.write(received_ns, &segment.to_frame());
        let length = self.writer.bytes.len();
        self.writer.bytes.truncate(length - 300);
        self.expected.bad_packets += 1;
        self.problems.push((ProblemKind::BadPacket, self.frames));
    }
}

#[test]
fn generated_capture_is_read_with_every_fault_found() {
    let mut recorder = FaultyRecorder::new(5);
    for round in 0..12 {
        for index in 0..500 {
            recorder.packet((round + index) % 9);
        }
        match round % 4 {
            0 => recorder.lost_packet(round + 1),
            1 => recorder.bad_packet(4),
            2 => recorder.restart(),
            _ => recorder.foreign_frame(),
        }
    }
    recorder.cut();
    for bytes in [gzip(&recorder.writer.bytes), recorder.writer.bytes.clone()] {
        let mut capture = open_bytes(&bytes).unwrap();
        let kinds = read_deep(&mut capture);
        assert_eq!(kinds.keys().collect::<String>(), "58T");
        assert_eq!(*capture.summary(), recorder.expected);
        assert_eq!(problems(&capture), recorder.problems);
    }
}

#[test]
fn generated_lines_are_read_with_every_fault_found() {
    let mut feed = Feed::new(6);
    let mut bytes = Vec::new();
    let mut expected = Summary::default();
    for index in 0..10_000 {
        let (received_ns, message) = feed.next_message();
        let shown = DeepMessage::parse(message).unwrap().to_string();
        let json = format!("{{\"index\":{index},\"data\":{{\"shown\":\"{shown}\"}}}}");
        if index % 1_000 == 500 {
            bytes.extend(format!("{received_ns} {}\n", &json[..json.len() - 1]).into_bytes());
            expected.bad_packets += 1;
        } else {
            bytes.extend(format!("{received_ns} {json}\n").into_bytes());
            expected.packets += 1;
            expected.messages += 1;
            expected.bytes += json.len() as u64;
            expected.first_received_ns.get_or_insert(received_ns);
            expected.last_received_ns = Some(received_ns);
        }
    }
    let mut capture = open_bytes(&gzip(&bytes)).unwrap();
    while let Some(message) = capture.next_message() {
        let json: serde_json::Value = serde_json::from_slice(message.unwrap().bytes).unwrap();
        assert!(json["data"]["shown"].is_string());
    }
    assert_eq!(*capture.summary(), expected);
    assert_eq!(capture.problems().len(), 10);
}

/// The 11 gaps of this capture all go back to sequence number 1: its sender was started 12 times, and no message
/// of it is missing. Its bad packet is the last: the file ends within it, 11 whole messages of 44 into it.
#[test]
fn real_deep_capture_gives_its_known_facts() {
    let Some(mut capture) = real_capture("iex-deep-2017-04-25.pcap.gz") else {
        return;
    };
    let kinds = read_deep(&mut capture);
    let expected_kinds = [
        ('5', 14_627),
        ('8', 12_941),
        ('B', 73),
        ('E', 59),
        ('H', 93_638),
        ('O', 93_638),
        ('P', 93_636),
        ('S', 44),
        ('T', 83_343),
    ];
    assert_eq!(kinds, BTreeMap::from(expected_kinds));
    let expected = Summary {
        messages: 391_999,
        bytes: 9_522_954,
        packets: 121_314,
        bad_packets: 1,
        skipped_frames: 0,
        sequence_gaps: 11,
        sequence_restarts: 11,
        messages_missed: 0,
        first_received_ns: Some(1_493_132_621_841_584_000),
        last_received_ns: Some(1_493_149_909_897_850_000),
    };
    assert_eq!(*capture.summary(), expected);

    let problems = capture.problems();
    assert_eq!(problems.len(), 12);
    let (bad, restarts) = problems.split_last().unwrap();
    for restart in restarts {
        assert_eq!(restart.kind, ProblemKind::SequenceRestart);
        assert!(restart.detail.ends_with(", 1 came"), "{restart}");
    }
    assert_eq!((bad.kind, bad.number), (ProblemKind::BadPacket, 121_315));
    assert_eq!(bad.detail, "the file ends 1030 bytes before the packet does");
}

#[test]
fn real_deep_capture_has_its_known_peaks() {
    let Some(mut capture) = real_capture("iex-deep-2017-04-25.pcap.gz") else {
        return;
    };
    let mut by_millisecond = HashMap::<i64, u64>::new();
    let mut by_second = HashMap::<i64, u64>::new();
    while let Some(message) = capture.next_message() {
        let time = DeepMessage::parse(message.unwrap().bytes).unwrap().time;
        *by_millisecond.entry(time.0 / 1_000_000).or_default() += 1;
        *by_second.entry(time.0 / 1_000_000_000).or_default() += 1;
    }
    assert_eq!(by_second.values().max(), Some(&11_007));
    assert_eq!(by_millisecond.values().max(), Some(&333));
}

#[test]
fn real_json_lines_give_their_known_facts() {
    let Some(mut capture) = real_capture("binance-usdm-btcusdt-2024-08-08.jsonl.gz") else {
        return;
    };
    let mut streams = BTreeMap::<String, u64>::new();
    let mut longest_bytes = 0;
    let mut last_ns = 0;
    while let Some(message) = capture.next_message() {
        let message = message.unwrap();
        assert!(message.received_ns >= last_ns);
        last_ns = message.received_ns;
        longest_bytes = longest_bytes.max(message.bytes.len());
        let text = std::str::from_utf8(message.bytes).unwrap();
        let stream = text.strip_prefix("{\"stream\":\"btcusdt@").and_then(|rest| rest.split(['"', '@']).next());
        *streams.entry(stream.unwrap_or("snapshot").to_owned()).or_default() += 1;
    }
    let expected = [("bookTicker", 66_089), ("depth", 6_551), ("snapshot", 1), ("trade", 21_313)];
    assert_eq!(streams, expected.map(|(name, count)| (name.to_owned(), count)).into());
    assert_eq!(longest_bytes, 42_092);
    assert_eq!(capture.problems(), []);
    let summary = capture.summary();
    assert_eq!((summary.messages, summary.packets, summary.bad_packets), (93_954, 93_954, 0));
    let span_ns = summary.last_received_ns.unwrap() - summary.first_received_ns.unwrap();
    assert_eq!((span_ns + 500_000_000) / 1_000_000_000, 345);
}
