//! Captures cut at every byte and with bits turned over: never a panic, never a loop.

use super::pcap_writer::{PcapWriter, SegmentWriter};
use super::{drain, gzip, open_bytes};
use crate::feed::{Feed, SplitMix64};

/// A pcap file of some packets of a feed.
fn pcap(is_big_endian: bool, packets: usize) -> Vec<u8> {
    let mut feed = Feed::new(11);
    let mut writer = PcapWriter::new(is_big_endian, true);
    let mut sequence = 1;
    for index in 0..packets {
        let count = index % 4;
        let mut messages = Vec::new();
        let mut received_ns = 0;
        for _ in 0..count {
            let (stamp, bytes) = feed.next_message();
            received_ns = stamp;
            messages.push(bytes.to_vec());
        }
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        writer.segment(received_ns, &SegmentWriter::new(sequence, &messages));
        sequence += count as i64;
    }
    writer.bytes
}

fn lines() -> Vec<u8> {
    b"1723161255030314667 {\"a\":[1,{\"b\":\"c\\u00e4\"}]}\n1723161255030314668 [true,null,-1.5e3]\n".repeat(8)
}

/// Whatever they say, the bytes are read to an end. Gives the messages.
fn read_anything(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    match open_bytes(bytes) {
        Ok(mut capture) => drain(&mut capture).0,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            Vec::new()
        }
    }
}

#[test]
fn capture_cut_at_any_byte_gives_the_messages_before_the_cut() {
    for bytes in [pcap(false, 9), pcap(true, 9), gzip(&pcap(false, 9)), lines(), gzip(&lines())] {
        let whole = read_anything(&bytes);
        assert!(whole.len() >= 12);
        for length in 0..bytes.len() {
            let cut = read_anything(&bytes[..length]);
            assert!(whole.starts_with(&cut), "cut after {length} bytes");
        }
    }
}

#[test]
fn pcap_cut_at_any_byte_is_an_error_or_a_bad_packet_or_ends_between_two_packets() {
    let bytes = pcap(false, 9);
    let mut clean_ends = 0;
    for length in 0..=bytes.len() {
        if let Ok(mut capture) = open_bytes(&bytes[..length]) {
            let (_, failure) = drain(&mut capture);
            assert!(failure.is_none());
            let problems = capture.problems();
            match problems {
                [] => clean_ends += 1,
                [problem] => assert!(problem.detail.contains("the file ends"), "{problem}"),
                _ => panic!("cut after {length} bytes: {problems:?}"),
            }
        } else {
            assert!(length < 24);
        }
    }
    assert_eq!(clean_ends, 9 + 1);
}

#[test]
fn gzip_cut_at_any_byte_is_an_error() {
    let bytes = gzip(&lines());
    for length in 0..bytes.len() {
        let failure = match open_bytes(&bytes[..length]) {
            Ok(mut capture) => drain(&mut capture).1,
            Err(error) => Some(error),
        };
        assert!(failure.is_some(), "cut after {length} bytes");
    }
}

#[test]
fn random_damage_never_panics_and_never_loops() {
    let mut random = SplitMix64::new(12);
    for bytes in [pcap(false, 40), pcap(true, 40), gzip(&pcap(false, 40)), lines(), gzip(&lines())] {
        for _ in 0..2_000 {
            let mut damaged = bytes.clone();
            for _ in 0..=random.below(8) {
                let index = random.below(damaged.len() as u64) as usize;
                match random.below(3) {
                    0 => damaged[index] ^= 1 << random.below(8),
                    1 => damaged[index] = random.next() as u8,
                    _ => damaged[index] = [0x00, 0xff, 0x7f, 0x80][random.below(4) as usize],
                }
            }
            // A message takes at least two bytes of a file that is not packed, so this also bounds the loop.
            let messages = read_anything(&damaged);
            assert!(messages.len() <= 64 * bytes.len());
        }
    }
}

#[test]
fn one_damaged_packet_costs_no_other_packet() {
    let bytes = pcap(false, 40);
    let whole = read_anything(&bytes);
    let mut random = SplitMix64::new(13);
    let frame_start = 24 + 16;
    let frame_bytes = SegmentWriter::new(1, &[]).to_frame().len();
    for _ in 0..2_000 {
        let mut damaged = bytes.clone();
        damaged[frame_start + random.below(frame_bytes as u64) as usize] ^= 1 << random.below(8);
        // The first packet is a heartbeat, so nothing is missing.
        assert_eq!(read_anything(&damaged), whole);
    }
}

#[test]
fn random_bytes_behind_a_pcap_header_never_panic() {
    let mut random = SplitMix64::new(14);
    for _ in 0..2_000 {
        let mut bytes = PcapWriter::common().bytes;
        let length = random.below(400);
        bytes.extend((0..length).map(|_| random.next() as u8));
        read_anything(&bytes);
    }
}
