//! What `open` makes of files: formats, packings, and everything else.

use std::io::{self, Read};

use super::super::{CaptureError, Format, from_reader, open};
use super::pcap_writer::{PcapWriter, SegmentWriter};
use super::{drain, gzip, messages, open_bytes};

const LINES: &[u8] = b"1000 {\"a\":1}\n2000 {\"b\":2}\n";

fn pcap() -> Vec<u8> {
    let mut writer = PcapWriter::common();
    writer.segment(1_000, &SegmentWriter::new(1, &[b"first", b"second"]));
    writer.segment(2_000, &SegmentWriter::new(3, &[b"third"]));
    writer.bytes
}

#[test]
fn formats_are_told_apart_packed_or_not() {
    for (bytes, format, count) in [(pcap(), Format::IexDeepPcap, 3), (LINES.to_vec(), Format::JsonLines, 2)] {
        for bytes in [gzip(&bytes), bytes] {
            let mut capture = open_bytes(&bytes).unwrap();
            assert_eq!(capture.format(), format);
            assert_eq!(messages(&mut capture).len(), count);
        }
    }
}

#[test]
fn gzip_file_of_several_members_is_read_to_its_end() {
    let bytes = [gzip(&LINES[..13]), gzip(&LINES[13..])].concat();
    assert_eq!(messages(&mut open_bytes(&bytes).unwrap()).len(), 2);
}

#[test]
fn reader_that_gives_one_byte_at_a_time_gives_the_same_messages() {
    struct Trickle(io::Cursor<Vec<u8>>, bool);
    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }
    for bytes in [pcap(), gzip(&pcap()), LINES.to_vec(), gzip(LINES)] {
        let expected = messages(&mut open_bytes(&bytes).unwrap());
        let mut capture = from_reader(Trickle(io::Cursor::new(bytes), false)).unwrap();
        assert_eq!(messages(&mut capture), expected);
    }
}

#[test]
fn missing_file_is_named() {
    let error = open("/nonexistent/capture.pcap").unwrap_err();
    assert!(error.to_string().contains("/nonexistent/capture.pcap"), "{error}");
}

#[test]
fn folder_is_an_error() {
    assert!(matches!(open("/"), Err(CaptureError::Open { .. } | CaptureError::Read { .. })));
}

#[test]
fn pcapng_is_refused_with_the_way_out() {
    let error = open_bytes(b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a").unwrap_err();
    assert!(error.to_string().contains("editcap"), "{error}");
}

#[test]
fn anything_else_is_refused_and_both_formats_are_named() {
    for bytes in [&b""[..], b"hello", b"{\"a\":1}\n", b" 12 {}\n", b"12\t{}\n", b"12", b"\x1f", &[0; 40]] {
        for bytes in [gzip(bytes), bytes.to_vec()] {
            let text = open_bytes(&bytes).unwrap_err().to_string();
            assert!(text.contains("pcap") && text.contains("<raw JSON>"), "{text}");
        }
    }
}

#[test]
fn other_link_types_are_refused() {
    let mut bytes = pcap();
    bytes[20] = 113;
    let error = open_bytes(&bytes).unwrap_err();
    assert!(matches!(error, CaptureError::LinkType { link_type: 113 }), "{error}");
}

#[test]
fn other_pcap_versions_are_refused() {
    let mut bytes = pcap();
    bytes[4] = 3;
    let error = open_bytes(&bytes).unwrap_err();
    assert!(matches!(error, CaptureError::PcapVersion { major: 3 }), "{error}");
}

#[test]
fn damaged_gzip_is_an_error_after_the_messages_before_it() {
    let mut lines = LINES.repeat(20_000);
    lines.extend(b"3000 {\"the\":\"end\"}\n");
    let mut bytes = gzip(&lines);
    let length = bytes.len();
    bytes[length - 6] ^= 1; // in the checksum
    let (messages, failure) = drain(&mut open_bytes(&bytes).unwrap());
    assert!(messages.len() > 30_000);
    let failure = failure.unwrap();
    assert!(matches!(failure, CaptureError::Read { .. }), "{failure}");
}
