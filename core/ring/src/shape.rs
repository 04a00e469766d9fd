//! What frames look like in a run of bytes of a log, wherever that lies: enough to walk over them.

use crate::header::TopicOptions;
use crate::layout::{FRAME_HEADER_BYTES, Geometry, Phase, StateWord};

/// What frames look like: enough to walk over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameShape {
    /// Bytes of the ring, a power of two: a frame's lap follows from its position.
    pub capacity: u64,
    /// What frames are padded to, in bytes: a power of two.
    pub cell: u64,
    /// Where the payload of a frame without extensions begins, in bytes.
    pub payload_at: u64,
    /// Most bytes after a frame's header.
    pub body_max: u64,
    /// Whether frames carry a stamp.
    pub stamps: bool,
}

/// What stands where a frame should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A message, and the bytes of its frame.
    Message(StateWord, u64),
    /// Padding, and its bytes.
    Padding(u64),
}

impl FrameShape {
    /// Of a topic with these options; `None` if there can't be one.
    #[must_use]
    pub fn of(options: &TopicOptions) -> Option<Self> {
        options.geometry().ok().map(|geometry| Self::of_geometry(&geometry))
    }

    /// Of a topic with these sizes.
    #[must_use]
    pub fn of_geometry(geometry: &Geometry) -> Self {
        let Geometry { capacity, cell, payload_at, body_max, stamps, .. } = *geometry;
        Self { capacity, cell, payload_at, body_max, stamps }
    }

    /// Whether such frames can be: what comes from elsewhere is asked for it first.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.capacity.is_power_of_two()
            && self.cell.is_power_of_two()
            && (FRAME_HEADER_BYTES..=self.capacity).contains(&self.cell)
            && (FRAME_HEADER_BYTES..=4096).contains(&self.payload_at)
            && self.body_max <= self.capacity
            && self.capacity <= 1 << 40
    }

    /// Bytes of a frame with so many behind its header: padded to whole cells.
    #[inline]
    #[must_use]
    pub fn frame_bytes(&self, body: u64) -> u64 {
        // Cells are powers of two, so nothing is divided.
        (body + FRAME_HEADER_BYTES + (self.cell - 1)) & !(self.cell - 1)
    }

    /// Where the lap ends that `position` lies in.
    #[inline]
    #[must_use]
    pub fn lap_end(&self, position: u64) -> u64 {
        (position | (self.capacity - 1)) + 1
    }

    /// What begins at the start of `bytes`, which lie at `position` in the log; `None` if it is nothing that a publisher writes, or leads
    /// out of `bytes`.
    #[inline]
    #[must_use]
    pub fn look(&self, position: u64, bytes: &[u8]) -> Option<Found> {
        let word = StateWord(u64::from_le_bytes(*bytes.first_chunk()?));
        let lap = position >> self.capacity.trailing_zeros();
        let frame = self.frame_bytes(word.length());
        if frame > bytes.len() as u64 || frame > self.lap_end(position) - position {
            return None;
        }
        if word.is(lap, Phase::Committed) {
            let fits = word.length() <= self.body_max && word.length() + FRAME_HEADER_BYTES >= self.payload_at;
            return fits.then_some(Found::Message(word, frame));
        }
        word.is(lap, Phase::Padding).then_some(Found::Padding(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: FrameShape = FrameShape { capacity: 4096, cell: 64, payload_at: 8, body_max: 1000, stamps: false };

    fn bytes(word: StateWord) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[..8].copy_from_slice(&word.0.to_le_bytes());
        bytes
    }

    #[test]
    fn a_frame_is_one_only_in_its_own_lap_and_within_the_bytes() {
        let word = StateWord::new(3, Phase::Committed, 0, 5, 100);
        let at = 3 * 4096 + 64;
        assert_eq!(SHAPE.look(at, &bytes(word)), Some(Found::Message(word, 128)));
        assert_eq!(SHAPE.look(at + 4096, &bytes(word)), None, "another lap");
        assert_eq!(SHAPE.look(at, &bytes(word)[..127]), None, "cut");
        assert_eq!(SHAPE.look(4 * 4096 - 64, &bytes(word)), None, "past its lap's end");
        assert_eq!(SHAPE.look(at, &bytes(StateWord::free(3))), None);
        assert_eq!(SHAPE.look(at, &[1, 2, 3]), None);
        let padding = StateWord::new(3, Phase::Padding, 0, 0, 56);
        assert_eq!(SHAPE.look(at, &bytes(padding)), Some(Found::Padding(64)));
        assert_eq!(SHAPE.look(at, &bytes(StateWord::new(3, Phase::Committed, 0, 0, 1001))), None, "too long");
    }
}
