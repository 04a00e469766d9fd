//! Gaps and restarts in the sequences of channels and sessions.

use super::super::ProblemKind::{BadPacket, SequenceGap, SequenceRestart};
use super::pcap_writer::{PcapWriter, SegmentWriter};
use super::{messages, open_bytes, problems};

/// Reads these segments; gives gaps, restarts among them, messages missed, and the problems.
fn read(segments: &[SegmentWriter]) -> (u64, u64, u64, Vec<(super::ProblemKind, u64)>) {
    let mut writer = PcapWriter::common();
    for segment in segments {
        writer.segment(1_000, segment);
    }
    let mut capture = open_bytes(&writer.bytes).unwrap();
    messages(&mut capture);
    let summary = *capture.summary();
    (summary.sequence_gaps, summary.sequence_restarts, summary.messages_missed, problems(&capture))
}

fn two_messages(first_sequence: i64) -> SegmentWriter {
    SegmentWriter::new(first_sequence, &[b"one", b"two"])
}

fn heartbeat(next_sequence: i64) -> SegmentWriter {
    SegmentWriter::new(next_sequence, &[])
}

#[test]
fn unbroken_sequence_has_no_gap_wherever_it_begins() {
    assert_eq!(read(&[two_messages(500), heartbeat(502), two_messages(502), heartbeat(504)]), (0, 0, 0, vec![]));
}

#[test]
fn gap_counts_the_messages_that_are_missing() {
    let expected = (1, 0, 7, vec![(SequenceGap, 2)]);
    assert_eq!(read(&[two_messages(1), two_messages(10), two_messages(12)]), expected);
}

#[test]
fn heartbeat_tells_of_a_gap_before_the_next_message_does() {
    let expected = (1, 0, 7, vec![(SequenceGap, 2)]);
    assert_eq!(read(&[two_messages(1), heartbeat(10), two_messages(10)]), expected);
}

#[test]
fn sequence_that_goes_back_is_a_gap_of_which_no_size_is_known() {
    let expected = (1, 1, 0, vec![(SequenceRestart, 2)]);
    assert_eq!(read(&[two_messages(28_139), heartbeat(1), two_messages(1), two_messages(3)]), expected);
}

#[test]
fn packet_that_comes_twice_is_reported_as_going_back() {
    let expected = (1, 1, 0, vec![(SequenceRestart, 2)]);
    assert_eq!(read(&[two_messages(1), two_messages(1), two_messages(3)]), expected);
}

#[test]
fn what_a_bad_packet_held_shows_as_a_gap_at_the_next_good_one() {
    let mut bad = two_messages(3);
    bad.message_count = 3;
    let expected = (1, 0, 2, vec![(BadPacket, 2), (SequenceGap, 3)]);
    assert_eq!(read(&[two_messages(1), bad, two_messages(5)]), expected);
}

#[test]
fn channels_and_sessions_have_sequences_of_their_own() {
    let on = |channel, session, first_sequence| SegmentWriter { channel, session, ..two_messages(first_sequence) };
    let segments = [on(1, 1, 1), on(2, 1, 100), on(1, 2, 7), on(1, 1, 3), on(2, 1, 102), on(1, 2, 10)];
    assert_eq!(read(&segments), (1, 0, 1, vec![(SequenceGap, 6)]));
}

#[test]
fn file_with_very_many_sessions_follows_the_first_and_the_newest_of_them() {
    let on = |session, first_sequence| SegmentWriter { session, ..two_messages(first_sequence) };
    let mut segments: Vec<_> = (1..=3_000).map(|session| on(session, 1)).collect();
    segments.extend([on(5, 4), on(3_000, 4)]);
    assert_eq!(read(&segments), (2, 0, 2, vec![(SequenceGap, 3_001), (SequenceGap, 3_002)]));
    segments.push(on(2_000, 4));
    assert_eq!(read(&segments).0, 2, "a session given up begins anew");
}

#[test]
fn greatest_sequence_numbers_do_not_overflow() {
    let (gaps, restarts, missed, _) =
        read(&[two_messages(0), two_messages(i64::MAX), two_messages(0), two_messages(i64::MAX)]);
    assert_eq!((gaps, restarts), (3, 1));
    assert_eq!(missed, 2 * (i64::MAX as u64 - 2));
}

#[test]
fn problem_says_which_messages_are_missing() {
    let mut writer = PcapWriter::common();
    writer.segment(1_000, &two_messages(1));
    writer.segment(2_000, &two_messages(10));
    let mut capture = open_bytes(&writer.bytes).unwrap();
    messages(&mut capture);
    let text = capture.problems()[0].to_string();
    assert!(text.contains("channel 1, session 7: 7 messages are missing, 3 to 9"), "{text}");
}
