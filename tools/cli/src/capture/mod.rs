//! Reads recorded market data: one message at a time, in bounded memory, whatever the bytes are.
//!
//! ```text
//! file ─ gzip? ─┬─ pcap.rs ─ frame.rs ─ iex_tp.rs ─┬─ Message ─ deep.rs (for display)
//!  open.rs      └─ lines.rs ───────────────────────┘
//!                      └──── ledger.rs: Summary, Problem
//! ```
//!
//! Invariant: a packet or line is accepted whole or not at all, and whatever was not accepted is counted in
//! the [`Summary`] and listed as a [`Problem`]. Only what makes the rest of the file unreadable is an error.
//!
//! Memory: one packet (at most 256 KiB) or one line (at most 16 MiB), the buffers of the file and of gzip, the
//! first 100 problems and the sequences of 1,024 channels.

mod error;
mod frame;
mod iex_tp;
mod ledger;
mod lines;
mod open;
mod pcap;

pub mod deep;

#[cfg(test)]
mod tests;

pub use error::CaptureError;
pub use ledger::{PROBLEMS_LISTED_MAX, Problem, ProblemKind, Summary};
pub use lines::LINE_BYTES_MAX;
pub use open::{from_reader, open};

use ledger::Ledger;
use lines::LineReader;
use pcap::PcapReader;

/// One message of a capture, lent until the next is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// When the recorder received it: nanoseconds since the Unix epoch. Captures are usually, but not
    /// necessarily, in this order; all messages of one packet carry the packet's stamp.
    pub received_ns: u64,
    /// The message itself: a DEEP message without its length field, or a line's JSON, unchanged.
    pub bytes: &'a [u8],
}

/// What the messages of a capture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A pcap file of IEX DEEP packets; [`deep::DeepMessage`] reads the messages.
    IexDeepPcap,
    /// Lines of `<receive time, ns> <raw JSON>`; the messages are JSON texts.
    JsonLines,
}

/// A capture that is being read. Made by [`open`] or [`from_reader`].
pub struct Capture {
    source: Source,
    ledger: Ledger,
    has_ended: bool,
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Capture")
            .field("format", &self.format())
            .field("summary", self.summary())
            .finish_non_exhaustive()
    }
}

enum Source {
    Pcap(PcapReader),
    Lines(LineReader),
}

impl Capture {
    fn new(source: Source) -> Self {
        Self { source, ledger: Ledger::default(), has_ended: false }
    }

    /// Lends the next message, or `None` at the end.
    ///
    /// Bad packets and lines are passed over: see [`summary`](Self::summary) and
    /// [`problems`](Self::problems). After an error there is nothing more: `None`.
    ///
    /// Cost: no allocation per DEEP message; the file is read 128 KiB at a time. A JSON line that
    /// nests costs the few bytes on the heap that serde_json keeps its open brackets in.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] if the file can't be read on: an I/O error, damaged gzip data, a packet or a line
    /// that claims to be longer than any can be.
    pub fn next_message(&mut self) -> Option<Result<Message<'_>, CaptureError>> {
        if self.has_ended {
            return None;
        }
        let advanced = match &mut self.source {
            Source::Pcap(reader) => reader.advance(&mut self.ledger),
            Source::Lines(reader) => reader.advance(&mut self.ledger),
        };
        match advanced {
            Ok(true) => {
                let message = match &self.source {
                    Source::Pcap(reader) => reader.message(),
                    Source::Lines(reader) => reader.message(),
                };
                self.ledger.message(&message);
                Some(Ok(message))
            }
            Ok(false) => {
                self.has_ended = true;
                None
            }
            Err(error) => {
                self.has_ended = true;
                Some(Err(error))
            }
        }
    }

    /// What the messages are.
    #[must_use]
    pub fn format(&self) -> Format {
        match self.source {
            Source::Pcap(_) => Format::IexDeepPcap,
            Source::Lines(_) => Format::JsonLines,
        }
    }

    /// What was read so far: of the whole capture once [`next_message`](Self::next_message) gave `None`.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        self.ledger.summary()
    }

    /// The first [`PROBLEMS_LISTED_MAX`] problems found so far, in the order of the file. The summary counts
    /// all of them.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        self.ledger.problems()
    }
}
