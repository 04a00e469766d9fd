//! Lines of `<receive time, ns> <raw JSON>`: what is a message, what is a bad line, what is an error.

use std::io::Read;

use super::super::{CaptureError, LINE_BYTES_MAX, ProblemKind, from_reader};
use super::{drain, messages, open_bytes, problems};

/// The one line between two good ones is a message, unchanged.
fn assert_good(line: &[u8], received_ns: u64, json: &[u8]) {
    let (messages, failure) = drain(&mut open_bytes(&sandwich(line)).unwrap());
    assert!(failure.is_none());
    assert_eq!(messages, [(1, b"1".to_vec()), (received_ns, json.to_vec()), (3, b"3".to_vec())]);
}

/// The one line between two good ones is refused for this reason.
fn assert_bad(line: &[u8], reason: &str) {
    let mut capture = open_bytes(&sandwich(line)).unwrap();
    assert_eq!(messages(&mut capture), [b"1", b"3"]);
    assert_eq!((capture.summary().packets, capture.summary().bad_packets), (2, 1));
    assert_eq!(problems(&capture), [(ProblemKind::BadLine, 2)]);
    let problem = capture.problems()[0].to_string();
    assert!(problem.contains(reason), "{problem}");
    assert!(problem.starts_with("bad line 2 at byte 4: "), "{problem}");
}

fn sandwich(line: &[u8]) -> Vec<u8> {
    [b"1 1\n", line, b"\n3 3\n"].concat()
}

#[test]
fn payload_is_the_rest_of_the_line_unchanged() {
    assert_good(b"1723161255030314667 {\"a\":[1,2.50,-0e3]}", 1_723_161_255_030_314_667, b"{\"a\":[1,2.50,-0e3]}");
    assert_good(b"2  { \"a\" : null }\t ", 2, b" { \"a\" : null }\t ");
    assert_good(b"2 true\r", 2, b"true\r");
    assert_good("2 \"grüße \\u20ac\"".as_bytes(), 2, "\"grüße \\u20ac\"".as_bytes());
    assert_good(b"2 123456789012345678901234567890", 2, b"123456789012345678901234567890");
    assert_good(b"0 {}", 0, b"{}");
    assert_good(b"00018446744073709551615 []", u64::MAX, b"[]");
}

#[test]
fn lines_without_a_valid_time_are_bad() {
    for line in [&b""[..], b" ", b"{}", b"12", b"12{}", b"12\t{}", b"-1 {}", b"+1 {}", b"1.5 {}", b" 1 {}", b"x {}"] {
        assert_bad(line, "does not begin with a receive time");
    }
    assert_bad(b"18446744073709551616 {}", "does not fit 64 bits");
}

#[test]
fn lines_with_invalid_json_are_bad() {
    for line in [
        &b"2 "[..],
        b"2 {",
        b"2 }",
        b"2 {}}",
        b"2 {} {}",
        b"2 {\"a\"}",
        b"2 {a:1}",
        b"2 [1,]",
        b"2 01",
        b"2 nul",
        b"2 \"open",
        b"2 \"\t\"",
        b"2 \"\\x\"",
        b"2 'a'",
        b"2 NaN",
    ] {
        assert_bad(line, "its JSON is invalid");
    }
    assert_bad(b"2 \"\xff\"", "its JSON is not UTF-8");
}

#[test]
fn deep_nesting_is_read_without_a_stack_of_its_depth() {
    let depth = 1_000_000;
    let json = ["[".repeat(depth), "]".repeat(depth)].concat();
    assert_good(format!("2 {json}").as_bytes(), 2, json.as_bytes());
}

#[test]
fn last_line_needs_no_newline() {
    assert_eq!(messages(&mut open_bytes(b"1 {}\n2 []").unwrap()), [b"{}", b"[]"]);
}

#[test]
fn line_cut_at_the_end_of_the_file_is_bad() {
    let mut capture = open_bytes(b"1 {}\n2 {\"a\":").unwrap();
    assert_eq!(messages(&mut capture), [b"{}"]);
    assert_eq!(problems(&capture), [(ProblemKind::BadLine, 2)]);
}

/// A line of a JSON string, of so many bytes without the newline, between two others.
fn line_of(length: usize) -> impl Read + Send + 'static {
    let filler = std::io::repeat(b'x').take(length as u64 - 4);
    (&b"1 1\n2 \""[..]).chain(filler).chain(&b"\"\n3 3\n"[..])
}

#[test]
fn longest_line_is_read() {
    let mut capture = from_reader(line_of(LINE_BYTES_MAX)).unwrap();
    assert_eq!(messages(&mut capture).len(), 3);
}

#[test]
fn longest_line_is_read_at_the_end_of_the_file_too() {
    let without_newline = line_of(LINE_BYTES_MAX).take(4 + LINE_BYTES_MAX as u64);
    assert_eq!(messages(&mut from_reader(without_newline).unwrap()).len(), 2);
}

#[test]
fn longer_line_is_an_error() {
    let mut capture = from_reader(line_of(LINE_BYTES_MAX + 1)).unwrap();
    let (messages, failure) = drain(&mut capture);
    assert_eq!(messages.len(), 1);
    let failure = failure.unwrap();
    assert!(matches!(failure, CaptureError::LineTooLong { line: 2, offset_bytes: 4 }), "{failure}");
}

#[test]
fn endless_line_is_an_error_and_not_endless_memory() {
    let endless = (&b"1 1\n2 \""[..]).chain(std::io::repeat(b'x'));
    let (messages, failure) = drain(&mut from_reader(endless).unwrap());
    assert_eq!(messages.len(), 1);
    assert!(matches!(failure, Some(CaptureError::LineTooLong { .. })));
}

#[test]
fn summary_tells_of_bytes_and_times() {
    let mut capture = open_bytes(b"5 {}\nbad\n9 [1]\n").unwrap();
    messages(&mut capture);
    let summary = capture.summary();
    assert_eq!((summary.messages, summary.bytes, summary.packets), (2, 5, 2));
    assert_eq!((summary.first_received_ns, summary.last_received_ns), (Some(5), Some(9)));
    assert_eq!((summary.sequence_gaps, summary.messages_missed), (0, 0));
}
