//! What throughput lanes send, and how they show that they have read all of it.
//!
//! A writer takes its messages from sixteen prepared ones, as an application has them ready; a reader adds up the words of
//! every message. At the end of a batch the sum must be that of the messages sent: nothing lost, nothing left unread.
//!
//! Messages up to 1 KiB of a usual size have code of their own ([`Payloads`]), as an application's types have; all others
//! share code that learns the size when it runs ([`AnyPayloads`]). Both are [`Messages`] to the lanes.

use memlane_shm::sync::WORD_BYTES;

/// How many different messages there are, unless they are large.
const MESSAGES: usize = 16;

/// Prepared messages, all of the same size.
pub trait Messages: Clone + std::fmt::Debug {
    /// Their size if it is known when the code is compiled.
    const FIXED_BYTES: Option<usize>;

    /// Their size.
    fn bytes(&self) -> usize;

    /// The message with number `sequence`, [`Messages::bytes`] long.
    fn message(&self, sequence: u64) -> &[u8];

    /// The sum of the words of `count` messages from number `first` on.
    fn sum(&self, first: u64, count: u64) -> u64;
}

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
            *byte = pattern(index);
        }
        let sums = messages.each_ref().map(|message| sum_of_words(message));
        Self { messages, sums }
    }
}

impl<const BYTES: usize> Messages for Payloads<BYTES> {
    const FIXED_BYTES: Option<usize> = Some(BYTES);

    #[inline(always)]
    fn bytes(&self) -> usize {
        BYTES
    }

    #[inline(always)]
    fn message(&self, sequence: u64) -> &[u8] {
        &self.messages[sequence as usize % MESSAGES]
    }

    fn sum(&self, first: u64, count: u64) -> u64 {
        sum_of_laps(&self.sums, first, count)
    }
}

/// Messages of any size: sixteen, or as many as a MiB holds, but two at least.
#[derive(Clone, Debug)]
pub struct AnyPayloads {
    bytes: usize,
    messages: Vec<u8>,
    sums: Vec<u64>,
}

impl AnyPayloads {
    /// Messages of `bytes` bytes, which is more than 0.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        /// All of them together are to stay in a cache, as those of a fixed size do.
        const ALL_BYTES_MAX: usize = 1 << 20;
        let count = (ALL_BYTES_MAX / bytes).clamp(2, MESSAGES);
        let messages: Vec<u8> = (0..bytes * count).map(pattern).collect();
        let sums = messages.chunks_exact(bytes).map(sum_of_words).collect();
        Self { bytes, messages, sums }
    }
}

impl Messages for AnyPayloads {
    const FIXED_BYTES: Option<usize> = None;

    #[inline(always)]
    fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline(always)]
    fn message(&self, sequence: u64) -> &[u8] {
        let index = (sequence % self.sums.len() as u64) as usize;
        &self.messages[index * self.bytes..][..self.bytes]
    }

    fn sum(&self, first: u64, count: u64) -> u64 {
        sum_of_laps(&self.sums, first, count)
    }
}

/// Byte `index` of the messages: any pattern does in which all messages and words differ.
fn pattern(index: usize) -> u8 {
    (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[6]
}

/// The sum of `count` messages from number `first` on, of which each has one of `sums`, over and over.
fn sum_of_laps(sums: &[u64], first: u64, count: u64) -> u64 {
    let messages = sums.len() as u64;
    let lap = sums.iter().fold(0, |sum: u64, one| sum.wrapping_add(*one));
    (first..first + count % messages)
        .map(|sequence| sums[(sequence % messages) as usize])
        .fold(lap.wrapping_mul(count / messages), u64::wrapping_add)
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
    fn messages_of_any_size_are_counted_as_those_of_a_fixed_one() {
        let (fixed, any) = (Payloads::<64>::default(), AnyPayloads::new(64));
        for sequence in [0, 5, 15, 16, 1_000] {
            assert_eq!(fixed.message(sequence), any.message(sequence));
        }
        assert_eq!(fixed.sum(7, 50), any.sum(7, 50));
        let large = AnyPayloads::new(1 << 20);
        assert_eq!((large.message(3).len(), large.message(1)), (1 << 20, large.message(3)));
        assert_ne!(large.message(0), large.message(1));
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
