//! Marked payloads: each says who sent it and its number, and every byte of it follows from that, so that a torn, mixed or
//! moved message is told from a whole one.
//!
//! ```text
//!  0        4          8          16                          length
//!  +--------+----------+----------+------------------ - - ----+
//!  | sender | length   | number   | pattern of the three      |
//!  +--------+----------+----------+------------------ - - ----+
//! ```

use crate::random::mix;

/// Shortest marked payload, in bytes.
pub const BYTES_MIN: usize = 24;
/// The sender of a topic's last message.
pub const SENDER_OF_END: u32 = u32::MAX;

/// What a whole payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who sent it.
    pub sender: u32,
    /// The number of the message among those of its sender, from zero.
    pub number: u64,
}

impl Mark {
    /// A length for this message: most are short, some fill the largest frame. At least [`BYTES_MIN`].
    #[must_use]
    pub fn length(self, bytes_max: usize) -> usize {
        let chance = mix(self.number << 20 ^ u64::from(self.sender));
        let longest = match chance % 32 {
            0 => bytes_max,
            1..=5 => 1500,
            _ => 150,
        };
        let longest = longest.min(bytes_max).max(BYTES_MIN + 1);
        BYTES_MIN + (chance >> 8) as usize % (longest - BYTES_MIN)
    }

    /// Writes the whole of `target` (at least [`BYTES_MIN`] bytes).
    pub fn fill(self, target: &mut [u8]) {
        let length = target.len();
        target[..4].copy_from_slice(&self.sender.to_le_bytes());
        target[4..8].copy_from_slice(&(length as u32).to_le_bytes());
        target[8..16].copy_from_slice(&self.number.to_le_bytes());
        let seed = self.seed(length);
        for (index, chunk) in target[16..].chunks_mut(8).enumerate() {
            chunk.copy_from_slice(&mix(seed ^ index as u64).to_le_bytes()[..chunk.len()]);
        }
    }

    /// The mark of `bytes`, if they are whole; else what is wrong with them.
    ///
    /// # Errors
    /// A description, for people.
    pub fn check(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < BYTES_MIN {
            return Err(format!("{} bytes, too short", bytes.len()));
        }
        let (head, body) = bytes.split_at(16);
        let number_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let (first, number) = (number_at(0), number_at(8));
        let mark = Self { sender: first as u32, number };
        if (first >> 32) as usize != bytes.len() {
            return Err(format!("{mark:?}: {} bytes where {} were sent", bytes.len(), first >> 32));
        }
        let seed = mark.seed(bytes.len());
        for (index, chunk) in body.chunks(8).enumerate() {
            if chunk != &mix(seed ^ index as u64).to_le_bytes()[..chunk.len()] {
                return Err(format!("{mark:?}: torn at byte {} of {}", 16 + index * 8, bytes.len()));
            }
        }
        Ok(mark)
    }

    /// What the words after the head follow from.
    fn seed(self, length: usize) -> u64 {
        mix(self.number ^ mix(u64::from(self.sender) | (length as u64) << 32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_or_a_foreign_part_is_found() {
        let mark = Mark { sender: 7, number: 99 };
        let mut bytes = vec![0; 100];
        mark.fill(&mut bytes);
        assert_eq!(Mark::check(&bytes).unwrap(), mark);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Mark::check(&flipped).is_err(), "bit {bit}");
        }
        let mut other = vec![0; 100];
        Mark { sender: 7, number: 100 }.fill(&mut other);
        bytes[50..].copy_from_slice(&other[50..]);
        assert!(Mark::check(&bytes).is_err());
    }

    #[test]
    fn lengths_stay_in_their_bounds() {
        for number in 0..10_000 {
            let length = Mark { sender: 1, number }.length(4000);
            assert!((BYTES_MIN..=4000).contains(&length));
        }
    }
}
