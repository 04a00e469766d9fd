//! What is the same for every frame of a lap, so that a publish neither divides nor masks.

use crate::layout::{FRAME_HEADER_BYTES, Phase, StateWord};
use crate::memory::Log;

/// The lap that is being written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lap {
    /// Position of its first byte.
    pub(crate) begin: u64,
    /// FREE in this lap.
    pub(crate) free: u64,
    /// COMMITTED in this lap by this publisher, with length and flags zero.
    pub(crate) committed: u64,
    /// The same, with the length of a frame without payload.
    pub(crate) committed_empty: u64,
    /// Bytes of a frame: (bytes of extensions and payload + round) & mask.
    frame_round: u64,
    frame_mask: u64,
}

impl Lap {
    /// The lap that `position` is in, for `publisher`.
    pub(crate) fn of(log: &Log, position: u64, publisher: u32) -> Self {
        let lap = log.geometry.lap(position);
        let committed = StateWord::new(lap, Phase::Committed, 0, u64::from(publisher), 0).0;
        Self {
            begin: position - log.geometry.offset(position) as u64,
            free: StateWord::free(lap).0,
            committed,
            committed_empty: committed + log.geometry.payload_at - FRAME_HEADER_BYTES,
            frame_round: log.geometry.payload_at + log.geometry.cell - 1,
            frame_mask: !(log.geometry.cell - 1),
        }
    }

    /// Bytes of a frame with so many of extensions and payload.
    #[inline(always)]
    pub(crate) fn frame_bytes(&self, bytes: u64) -> u64 {
        (bytes + self.frame_round) & self.frame_mask
    }
}
