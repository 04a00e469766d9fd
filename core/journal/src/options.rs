//! How a topic is recorded.

use crate::keeper::Compaction;
use crate::retention::Retention;
use crate::rewrite::Compression;
use crate::writer::SEGMENT_BYTES_DEFAULT;
use std::time::Duration;

const SYNC_EVERY_DEFAULT: Duration = Duration::from_millis(100);

/// When what is recorded is made to survive a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Each batch before the next one is written, with all that was published meanwhile in the next.
    Batch,
    /// So often, on a thread beside.
    Interval(Duration),
    /// When the kernel likes.
    None,
}

/// What becomes of messages that the journal can't take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// They wait in the ring, and publishers for room in it, until the journal takes them.
    #[default]
    Hold,
    /// The topic goes on, and the journal has a gap, which it says as soon as it can.
    GoOn,
}

/// How a topic is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecorderOptions {
    /// When it is synced. Default: every 100 ms.
    pub sync: SyncPolicy,
    /// What becomes of messages that the journal can't take. Default: they wait.
    pub on_failure: OnFailure,
    /// Bytes of data of a segment: see [`WriterOptions`](crate::WriterOptions).
    pub segment_bytes: u64,
    /// How much is kept; looked after when it begins, with each new segment, and each minute. Default: everything.
    pub retention: Retention,
    /// Whether closed segments are compressed, on a thread beside that yields to all others. Default no.
    pub compression: Option<Compression>,
    /// Whether the last message of each key is to stay, and what it took the place of to go, as [`Journal::compact`](crate::Journal::compact) does: there also, as soon as half of
    /// what is closed isn't compacted yet. Default no.
    pub compaction: Option<Compaction>,
}

impl Default for RecorderOptions {
    fn default() -> Self {
        Self {
            sync: SyncPolicy::Interval(SYNC_EVERY_DEFAULT),
            on_failure: OnFailure::Hold,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            retention: Retention::default(),
            compression: None,
            compaction: None,
        }
    }
}
