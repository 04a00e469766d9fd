//! A checksum over messages in their order: equal only for the same messages at the same positions.

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// A running checksum. Not for secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest(u64);

impl Digest {
    /// Adds a message.
    #[inline]
    pub(super) fn add(&mut self, position: u64, bytes: &[u8]) {
        self.word(position);
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
    }

    #[inline]
    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(MULTIPLIER).rotate_left(29);
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(messages: &[(u64, &[u8])]) -> u64 {
        let mut digest = Digest::default();
        messages.iter().for_each(|(position, bytes)| digest.add(*position, bytes));
        digest.value()
    }

    #[test]
    fn whatever_differs_is_seen() {
        let right = digest(&[(0, b"one message"), (64, b"another")]);
        assert_eq!(right, digest(&[(0, b"one message"), (64, b"another")]));
        let wrong = [
            digest(&[(0, b"one message")]),
            digest(&[(0, b"another"), (64, b"one message")]),
            digest(&[(64, b"another"), (0, b"one message")]),
            digest(&[(0, b"one message"), (128, b"another")]),
            digest(&[(0, b"one message"), (64, b"another\0")]),
            digest(&[(0, b"one nessage"), (64, b"another")]),
            digest(&[(0, b"one message"), (64, b"another"), (64, b"another")]),
        ];
        assert!(wrong.iter().all(|wrong| *wrong != right));
    }
}
