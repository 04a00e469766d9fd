//! What throughput lanes send, and how they show that they have read all of it.
//!
//! A writer takes its messages from sixteen prepared ones, as an application has them ready; a reader adds up the words of
//! every message. At the end of a batch the sum must be that of the messages sent: nothing lost, nothing left unread.

use memlane_shm::sync::WORD_BYTES;

/// How many different messages there are.
const MESSAGES: usize = 16;

/// Sixteen messages of `BYTES` bytes; `BYTES` is a multiple of 8.
#[derive(Clone, Debug)]
pub struct Payloads<const BYTES: usize> {
    messages: Box<[[u8; BYTES]; MESSAGES]>,
    sums: [u64; MESSAGES],
}

impl<const BYTES: usize> Default for Payloads<BYTES> {
    fn default() -> Self {
        const { assert!(BYTES.is_multiple_of(WORD_BYTES)) };
        let mut messages = Box::new([[0; BYTES]; MESSAGES]);
        for (index, byte) in messages.as_flattened_mut().iter_mut().enumerate() {
            // Any pattern does in which all messages and words differ.
            *byte = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[6];
        }
        let sums = messages.each_ref().map(|message| sum_of_words(message));
        Self { messages, sums }
    }
}

impl<const BYTES: usize> Payloads<BYTES> {
    /// The message with number `sequence`.
    #[inline(always)]
    #[must_use]
    pub fn message(&self, sequence: u64) -> &[u8; BYTES] {
        &self.messages[sequence as usize % MESSAGES]
    }

    /// The sum of the words of `count` messages from number `first` on.
    #[must_use]
    pub fn sum(&self, first: u64, count: u64) -> u64 {
        let laps = count / MESSAGES as u64;
        let lap = self.sums.iter().fold(0, |sum: u64, one| sum.wrapping_add(*one));
        (first..first + count % MESSAGES as u64)
            .map(|sequence| self.sums[sequence as usize % MESSAGES])
            .fold(lap.wrapping_mul(laps), u64::wrapping_add)
    }
}

/// The sum of the words of `bytes`, wrapping: reads every byte.
#[inline(always)]
#[must_use]
pub fn sum_of_words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<WORD_BYTES>();
    let mut last = [0; WORD_BYTES];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().map(|word| u64::from_le_bytes(*word)).fold(0, u64::wrapping_add).wrapping_add(u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_many_messages_is_that_of_each_of_them() {
        let payloads = Payloads::<64>::default();
        for (first, count) in [(0, 0), (3, 1), (15, 2), (7, 16), (9, 50)] {
            let one_by_one = (first..first + count)
                .map(|sequence| sum_of_words(payloads.message(sequence)))
                .fold(0, u64::wrapping_add);
            assert_eq!(payloads.sum(first, count), one_by_one, "{count} from {first} on");
        }
    }

    #[test]
    fn no_two_messages_have_the_same_sum() {
        let payloads = Payloads::<64>::default();
        let mut sums = payloads.sums;
        sums.sort_unstable();
        assert!(sums.windows(2).all(|two| two[0] != two[1]));
    }

    #[test]
    fn bytes_beyond_the_last_whole_word_count_too() {
        assert_eq!(sum_of_words(&[1, 0, 0, 0, 0, 0, 0, 0, 2]), 3);
    }
}
