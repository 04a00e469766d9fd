//! Pcap files made by hand: every variant, every encapsulation, every way in which a packet can be bad.

use super::super::{CaptureError, ProblemKind};
use super::pcap_writer::{PcapWriter, SegmentWriter, ethernet, ipv4, udp};
use super::{drain, messages, open_bytes, problems};

/// A file with one frame between two good packets of messages "before" (sequence 1) and "after" (sequence 2).
fn sandwich(frame: &[u8]) -> Vec<u8> {
    let mut writer = PcapWriter::common();
    writer.segment(1_000, &SegmentWriter::new(1, &[b"before"]));
    writer.frame(2_000, frame);
    writer.segment(3_000, &SegmentWriter::new(2, &[b"after"]));
    writer.bytes
}

/// The frame is refused for this reason, and its neighbours are read.
fn assert_bad(frame: &[u8], reason: &str) {
    let mut capture = open_bytes(&sandwich(frame)).unwrap();
    assert_eq!(messages(&mut capture), [&b"before"[..], b"after"]);
    let summary = capture.summary();
    assert_eq!((summary.packets, summary.bad_packets, summary.sequence_gaps), (2, 1, 0));
    assert_eq!(problems(&capture), [(ProblemKind::BadPacket, 2)]);
    let problem = capture.problems()[0].to_string();
    assert!(problem.contains(reason), "{problem}");
    assert!(problem.starts_with("bad packet 2 at byte "), "{problem}");
}

/// The frame is accepted, with one message: "between".
fn assert_good(frame: &[u8]) {
    let mut capture = open_bytes(&sandwich(frame)).unwrap();
    assert_eq!(messages(&mut capture), [&b"before"[..], b"between", b"after"], "{:?}", capture.problems());
}

fn segment() -> SegmentWriter {
    SegmentWriter { channel: 2, ..SegmentWriter::new(1, &[b"between"]) }
}

fn datagram() -> Vec<u8> {
    udp(&segment().to_bytes())
}

fn changed(change: impl FnOnce(&mut SegmentWriter)) -> Vec<u8> {
    let mut segment = segment();
    change(&mut segment);
    segment.to_frame()
}

#[test]
fn both_byte_orders_and_both_resolutions_give_the_same_messages() {
    let received_ns = 1_493_132_598_746_881_234;
    for is_big_endian in [false, true] {
        for is_nanosecond in [false, true] {
            let mut writer = PcapWriter::new(is_big_endian, is_nanosecond);
            writer.segment(received_ns, &SegmentWriter::new(1, &[b"one", b"two"]));
            let (messages, failure) = drain(&mut open_bytes(&writer.bytes).unwrap());
            let stamp = if is_nanosecond { received_ns } else { received_ns - 234 };
            assert_eq!(messages, [(stamp, b"one".to_vec()), (stamp, b"two".to_vec())]);
            assert!(failure.is_none());
        }
    }
}

#[test]
fn last_second_that_a_stamp_can_hold_is_read() {
    let received_ns = 4_294_967_295_999_999_999;
    let mut writer = PcapWriter::new(false, true);
    writer.segment(received_ns, &SegmentWriter::new(1, &[b"late"]));
    assert_eq!(drain(&mut open_bytes(&writer.bytes).unwrap()).0[0].0, received_ns);
}

#[test]
fn file_without_packets_has_no_messages() {
    let mut capture = open_bytes(&PcapWriter::common().bytes).unwrap();
    assert!(messages(&mut capture).is_empty());
    assert_eq!(*capture.summary(), super::super::Summary::default());
}

#[test]
fn vlan_tags_ip_options_and_ethernet_padding_are_stepped_over() {
    assert_good(&ethernet(&[], &ipv4(&[], &datagram())));
    assert_good(&ethernet(&[0x8100], &ipv4(&[], &datagram())));
    assert_good(&ethernet(&[0x88a8, 0x8100], &ipv4(&[], &datagram())));
    assert_good(&ethernet(&[0x9100], &ipv4(&[1; 40], &datagram())));
    let mut padded = ethernet(&[], &ipv4(&[], &datagram()));
    padded.extend([0; 22]);
    assert_good(&padded);
}

#[test]
fn frames_that_are_not_udp_over_ipv4_are_skipped_and_counted() {
    let mut address_resolution = ethernet(&[], &[0; 28]);
    address_resolution[13] = 0x06;
    let mut version_6 = ethernet(&[0x8100], &[0x60; 40]);
    version_6[16..18].copy_from_slice(&[0x86, 0xdd]);
    let mut tcp = segment().to_frame();
    tcp[14 + 9] = 6;
    for frame in [address_resolution, version_6, tcp] {
        let mut capture = open_bytes(&sandwich(&frame)).unwrap();
        assert_eq!(messages(&mut capture), [&b"before"[..], b"after"]);
        let summary = capture.summary();
        assert_eq!((summary.packets, summary.bad_packets, summary.skipped_frames), (2, 0, 1));
        assert_eq!(capture.problems(), []);
    }
}

#[test]
fn frames_cut_within_a_header_are_bad() {
    let frame = segment().to_frame();
    assert_bad(&[], "ends within its Ethernet header");
    assert_bad(&frame[..13], "ends within its Ethernet header");
    assert_bad(&ethernet(&[0x8100], &[])[..16], "ends within its Ethernet header");
    assert_bad(&frame[..33], "ends within its IPv4 header");
    assert_bad(&frame[..frame.len() - 1], "its IPv4 header claims");
}

#[test]
fn ipv4_headers_that_lie_are_bad() {
    let with_byte = |at: usize, value: u8| {
        let mut frame = segment().to_frame();
        frame[14 + at] = value;
        frame
    };
    assert_bad(&with_byte(0, 0x65), "IP version is 6");
    assert_bad(&with_byte(0, 0x44), "claims 16 bytes, but the least is 20");
    assert_bad(&with_byte(0, 0x4f), "UDP header claims");
    assert_bad(&with_byte(2, 0xff), "IPv4 header claims");
    assert_bad(&with_byte(3, 27), "IPv4 header claims 27 bytes");
    assert_bad(&with_byte(6, 0x20), "fragment");
    assert_bad(&with_byte(6, 0x10), "fragment");
    assert_bad(&with_byte(7, 0x01), "fragment");
}

#[test]
fn udp_lengths_that_lie_are_bad() {
    for lie in [0, 7, 8, 56, 58, 65_535_u16] {
        let mut datagram = datagram();
        assert_eq!(datagram.len(), 57);
        datagram[4..6].copy_from_slice(&lie.to_be_bytes());
        let reason = format!("UDP header claims {lie} bytes, but IPv4 carries 57");
        assert_bad(&ethernet(&[], &ipv4(&[], &datagram)), &reason);
    }
}

#[test]
fn segments_that_lie_are_bad() {
    assert_bad(&changed(|segment| segment.version = 2), "IEX-TP version is 2");
    assert_bad(&changed(|segment| segment.protocol = 0x8003), "IEX-TP protocol is 0x8003");
    assert_bad(&changed(|segment| segment.payload_bytes += 1), "claims 10 bytes of messages, but UDP carries 9");
    assert_bad(&changed(|segment| segment.payload_bytes -= 1), "claims 8 bytes of messages, but UDP carries 9");
    assert_bad(&changed(|segment| segment.message_count = 2), "message 2 of 2 goes beyond the end");
    assert_bad(&changed(|segment| segment.message_count = 0), "9 bytes follow its 0 messages");
    assert_bad(&changed(|segment| segment.messages[0] = 8), "message 1 of 1 goes beyond the end");
    assert_bad(&changed(|segment| segment.messages[0] = 6), "1 bytes follow its 1 messages");
    assert_bad(&changed(|segment| segment.first_sequence = -1), "first sequence number is -1");
    assert_bad(&ethernet(&[], &ipv4(&[], &udp(&[1; 39]))), "payload of 39 bytes has no room");
    assert_bad(&ethernet(&[], &ipv4(&[], &udp(&[]))), "payload of 0 bytes has no room");
}

#[test]
fn garbage_behind_the_messages_makes_the_whole_packet_bad() {
    let mut payload = segment().to_bytes();
    payload.extend([0; 3]);
    assert_bad(&ethernet(&[], &ipv4(&[], &udp(&payload))), "but UDP carries 12");
    let counted_in = changed(|segment| {
        segment.messages.extend([7; 3]);
        segment.payload_bytes += 3;
    });
    assert_bad(&counted_in, "3 bytes follow its 1 messages");
}

#[test]
fn empty_messages_make_the_whole_packet_bad() {
    let segment = SegmentWriter::new(1, &[b"one", b"", b"three"]);
    assert_bad(&segment.to_frame(), "message 2 of 3 is empty");
}

#[test]
fn no_message_of_a_bad_packet_is_delivered() {
    let mut segment = SegmentWriter::new(1, &[b"one", b"two", b"three"]);
    segment.messages.pop();
    segment.payload_bytes -= 1;
    assert_bad(&segment.to_frame(), "message 3 of 3 goes beyond the end");
}

#[test]
fn stamp_with_too_many_fractions_of_a_second_is_bad() {
    let mut bytes = sandwich(&segment().to_frame());
    let second_record = 24 + 16 + SegmentWriter::new(1, &[b"before"]).to_frame().len();
    bytes[second_record + 4..second_record + 8].copy_from_slice(&1_000_000_u32.to_le_bytes());
    let mut capture = open_bytes(&bytes).unwrap();
    assert_eq!(messages(&mut capture).len(), 2);
    assert!(capture.problems()[0].detail.contains("1000000 fractions"), "{:?}", capture.problems());
}

#[test]
fn problems_say_where_they_are() {
    let mut capture = open_bytes(&sandwich(&[])).unwrap();
    messages(&mut capture);
    let first_frame_bytes = SegmentWriter::new(1, &[b"before"]).to_frame().len();
    assert_eq!(capture.problems()[0].offset_bytes, (24 + 16 + first_frame_bytes) as u64);
}

#[test]
fn record_longer_than_any_packet_ends_the_reading_with_an_error() {
    let mut writer = PcapWriter::common();
    writer.segment(1_000, &SegmentWriter::new(1, &[b"before"]));
    let offset = writer.bytes.len() as u64;
    writer.record_header(2_000, 256 * 1024 + 1);
    writer.bytes.extend([0; 1000]);
    let mut capture = open_bytes(&writer.bytes).unwrap();
    let (messages, failure) = drain(&mut capture);
    assert_eq!(messages.len(), 1);
    match failure.unwrap() {
        CaptureError::PacketTooLong { packet, offset_bytes, length_bytes } => {
            assert_eq!((packet, offset_bytes, length_bytes), (2, offset, 256 * 1024 + 1));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn longest_packet_that_can_be_is_read() {
    let message = vec![b'x'; 65_535 - 20 - 8 - 40 - 2];
    let mut frame = SegmentWriter::new(1, &[&message]).to_frame();
    frame.resize(256 * 1024, 0);
    let mut writer = PcapWriter::common();
    writer.frame(1_000, &frame);
    assert_eq!(messages(&mut open_bytes(&writer.bytes).unwrap()), [message]);
}

#[test]
fn only_the_first_hundred_problems_are_listed_but_all_are_counted() {
    let mut writer = PcapWriter::common();
    for _ in 0..250 {
        writer.frame(1_000, &[0xee; 14 + 3]);
        writer.frame(1_000, &ethernet(&[], &[]));
    }
    let mut capture = open_bytes(&writer.bytes).unwrap();
    messages(&mut capture);
    assert_eq!((capture.summary().bad_packets, capture.summary().skipped_frames), (250, 250));
    assert_eq!(capture.problems().len(), 100);
    assert_eq!(problems(&capture)[99], (ProblemKind::BadPacket, 200));
}
