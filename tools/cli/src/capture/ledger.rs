//! Counts what was read of a capture and keeps the first problems.

use std::fmt;

use super::Message;

/// How many problems a [`Capture`](super::Capture) lists; further ones are only counted.
pub const PROBLEMS_LISTED_MAX: usize = 100;

/// What was read of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Messages delivered.
    pub messages: u64,
    /// Bytes of the messages delivered.
    pub bytes: u64,
    /// UDP packets, or lines, that were accepted. Packets without a message (heartbeats) are among them.
    pub packets: u64,
    /// Packets, or lines, that were refused; none of their messages was delivered.
    pub bad_packets: u64,
    /// Frames of a pcap file that hold no UDP over IPv4.
    pub skipped_frames: u64,
    /// Packets whose first sequence number is not the one that was due on their channel and session.
    pub sequence_gaps: u64,
    /// Those of the [`sequence_gaps`](Self::sequence_gaps) that go back: the sender started again, or repeats.
    pub sequence_restarts: u64,
    /// Messages that are missing in the gaps that go forward. What is missing where a sequence starts again
    /// can't be known, nor what a bad packet at the end of a channel held.
    pub messages_missed: u64,
    /// Receive time of the first message delivered: nanoseconds since the Unix epoch.
    pub first_received_ns: Option<u64>,
    /// Receive time of the last message delivered: nanoseconds since the Unix epoch.
    pub last_received_ns: Option<u64>,
}

/// What kind of problem was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// A packet was refused.
    BadPacket,
    /// A line was refused.
    BadLine,
    /// Sequence numbers jump forward: messages are missing.
    SequenceGap,
    /// Sequence numbers jump back: the sender started again, or repeats.
    SequenceRestart,
}

/// One problem of a capture. `Display` gives a whole sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind it is.
    pub kind: ProblemKind,
    /// Number of the frame (as Wireshark counts) or line in the file, from 1.
    pub number: u64,
    /// Where the frame's pcap record, or the line, begins: bytes from the begin of the unpacked file.
    pub offset_bytes: u64,
    /// What is wrong with it.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ProblemKind::BadPacket => "bad packet",
            ProblemKind::BadLine => "bad line",
            ProblemKind::SequenceGap => "gap before packet",
            ProblemKind::SequenceRestart => "sequence restarts at packet",
        };
        write!(formatter, "{what} {} at byte {}: {}", self.number, self.offset_bytes, self.detail)
    }
}

/// Where in the file a problem is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) number: u64,
    pub(super) offset_bytes: u64,
}

/// How the first sequence number of a packet differs from the one that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Discontinuity {
    pub(super) channel: u32,
    pub(super) session: u32,
    pub(super) due: u64,
    pub(super) found: u64,
}

/// The counts and the list behind a capture.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    summary: Summary,
    problems: Vec<Problem>,
}

impl Ledger {
    pub(super) fn summary(&self) -> &Summary {
        &self.summary
    }

    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(super) fn message(&mut self, message: &Message<'_>) {
        self.summary.messages += 1;
        self.summary.bytes += message.bytes.len() as u64;
        self.summary.first_received_ns.get_or_insert(message.received_ns);
        self.summary.last_received_ns = Some(message.received_ns);
    }

    pub(super) fn packet(&mut self) {
        self.summary.packets += 1;
    }

    pub(super) fn skipped_frame(&mut self) {
        self.summary.skipped_frames += 1;
    }

    pub(super) fn bad(&mut self, kind: ProblemKind, place: Place, why: &dyn fmt::Display) {
        self.summary.bad_packets += 1;
        self.list(kind, place, why);
    }

    pub(super) fn discontinuity(&mut self, place: Place, jump: Discontinuity) {
        let Discontinuity { channel, session, due, found } = jump;
        self.summary.sequence_gaps += 1;
        if found > due {
            let missed = found - due;
            self.summary.messages_missed = self.summary.messages_missed.saturating_add(missed);
            self.list(
                ProblemKind::SequenceGap,
                place,
                &format_args!(
                    "channel {channel}, session {session}: {missed} messages are missing, {due} to {}",
                    found - 1
                ),
            );
        } else {
            self.summary.sequence_restarts += 1;
            self.list(
                ProblemKind::SequenceRestart,
                place,
                &format_args!("channel {channel}, session {session}: message {due} was due, {found} came"),
            );
        }
    }

    fn list(&mut self, kind: ProblemKind, place: Place, detail: &dyn fmt::Display) {
        if self.problems.len() < PROBLEMS_LISTED_MAX {
            let Place { number, offset_bytes } = place;
            self.problems.push(Problem { kind, number, offset_bytes, detail: detail.to_string() });
        }
    }
}
