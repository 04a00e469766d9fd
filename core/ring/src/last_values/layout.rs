//! Every byte of the file `last`: the table of a topic's last message of each key.
//!
//! ```text
//!  0        header, immutable, with a checksum at its end: as that of `subs`
//!  4096     FOLDED: the position that the table is the state at; KEYS: how many keys are registered. A line pair each
//!  4352     index: words, twice as many as keys or more, a power of two
//!  entries  on a line each, in the order in which keys were registered
//!
//!  index word   63             32 31              0
//!               +----------------+----------------+
//!               | upper half of  | number of the  |      zero: no key
//!               | the key's hash | entry plus one |
//!               +----------------+----------------+
//!
//!  entry   0           8               16           24    body_at
//!          +-----------+---------------+------------+-----+----------------------------+
//!          | key bytes | position plus | state word | key | stamp, extensions,         |
//!          |           | one           |            |     | payload: as in the frame   |
//!          +-----------+---------------+------------+-----+----------------------------+
//! ```
//!
//! Words of zeros mean "nothing", so a new file needs only its header. A key is looked for from the place in the index that the low
//! bits of its [`hash`] name, and then in the places behind it, around the end.

use crate::error::TopicError;
use crate::layout::{FRAME_HEADER_BYTES, Geometry, HEADER_BYTES, LINE_BYTES};
use memlane_shm::sync::{LINE_PAIR_BYTES, WORD_BYTES};

/// First bytes of a `last` file.
pub const LAST_MAGIC: u64 = u64::from_le_bytes(*b"MEMLLAST");
/// Offset of the position that the table is the state at; [`DAMAGED`] if it can't be told.
pub const FOLDED: usize = HEADER_BYTES;
/// Offset of the number of registered keys.
pub const KEYS: usize = FOLDED + LINE_PAIR_BYTES;
/// Offset of the index.
pub const INDEX: usize = KEYS + LINE_PAIR_BYTES;
/// What FOLDED says once the table or the log held what no publisher writes.
pub const DAMAGED: u64 = u64::MAX;
/// Fewest and most keys of a table.
pub const KEYS_MAX: core::ops::RangeInclusive<u32> = 1..=1 << 20;
/// Longest key of a table, in bytes; one of short messages has shorter ones.
pub const KEY_BYTES_MAX: u64 = 255;
/// Fewest bytes of extensions and payload that a table can be made for: those of the shortest key.
pub const MESSAGE_BYTES_MIN: u64 = 16;

/// Words of an entry: offsets in bytes from its start.
pub mod entry {
    /// Bytes of the key.
    pub const KEY_BYTES: usize = 0;
    /// Position plus one of the frame that is kept; zero if there is none.
    pub const POSITION: usize = 8;
    /// Its state word.
    pub const STATE: usize = 16;
    /// The key, padded with zeros to whole words. The frame's body follows.
    pub const KEY: usize = 24;
}

const _: () = {
    assert!(INDEX == 4352 && INDEX.is_multiple_of(WORD_BYTES));
    assert!(entry::KEY_BYTES < entry::POSITION && entry::POSITION < entry::STATE);
    assert!(entry::KEY == entry::STATE + WORD_BYTES);
    assert!((*KEYS_MAX.end() as u64) < u32::MAX as u64);
};

/// What is chosen for a table of last values when its topic is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastValuesOptions {
    /// How many keys there can be: 1 to 1,048,576.
    pub keys_max: u32,
    /// Longest message with a key, extensions and payload, in bytes: 16 to what the topic allows.
    pub message_bytes_max: u64,
}

/// Sizes and places of a table, checked once when its topic is made or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// How many keys there can be.
    pub keys_max: u32,
    /// Longest message with a key, extensions and payload, in bytes.
    pub message_bytes_max: u64,
    /// Longest key, in bytes.
    pub key_bytes_max: u64,
    /// Most bytes of an entry's body.
    pub body_max: u64,
    /// Places of the index, less one.
    pub index_mask: u64,
}

impl Places {
    /// The places that follow from `options` in a topic with this geometry.
    ///
    /// Errors: [`TopicError::BadOption`].
    pub fn of(options: &LastValuesOptions, geometry: &Geometry) -> Result<Self, TopicError> {
        let LastValuesOptions { keys_max, message_bytes_max } = *options;
        if !KEYS_MAX.contains(&keys_max) {
            let (option, reason) = ("last_values' keys_max", "a table has 1 to 1048576 keys");
            return Err(TopicError::BadOption { option, value: keys_max.into(), reason });
        }
        if !(MESSAGE_BYTES_MIN..=geometry.payload_bytes_max()).contains(&message_bytes_max) {
            let reason = "from 16 bytes to the topic's payload_bytes_max, headers and key included";
            let option = "last_values' message_bytes_max";
            return Err(TopicError::BadOption { option, value: message_bytes_max, reason });
        }
        Ok(Self {
            keys_max,
            message_bytes_max,
            key_bytes_max: message_bytes_max.min(KEY_BYTES_MAX),
            body_max: geometry.payload_at - FRAME_HEADER_BYTES + message_bytes_max,
            index_mask: (2 * u64::from(keys_max)).next_power_of_two() - 1,
        })
    }

    /// Offset of place `index` of the index.
    #[must_use]
    pub const fn index_at(&self, index: u64) -> usize {
        INDEX + (index & self.index_mask) as usize * WORD_BYTES
    }

    /// Offset of entry `number`.
    #[must_use]
    pub const fn entry_at(&self, number: u32) -> usize {
        let entries_at = INDEX + (self.index_mask as usize + 1) * WORD_BYTES;
        entries_at.next_multiple_of(LINE_BYTES as usize) + number as usize * self.entry_bytes()
    }

    /// Offset of the body of entry `number`.
    #[must_use]
    pub const fn body_at(&self, number: u32) -> usize {
        self.entry_at(number) + self.body_in_entry()
    }

    const fn body_in_entry(&self) -> usize {
        entry::KEY + (self.key_bytes_max as usize).next_multiple_of(WORD_BYTES)
    }

    const fn entry_bytes(&self) -> usize {
        let body_bytes = (self.body_max as usize).next_multiple_of(WORD_BYTES);
        (self.body_in_entry() + body_bytes).next_multiple_of(LINE_BYTES as usize)
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn file_bytes(&self) -> usize {
        self.entry_at(self.keys_max).next_multiple_of(4096)
    }
}

/// Where the index has a key, and what it knows it by: every publisher must come to the same.
#[must_use]
pub fn hash(key: &[u8]) -> u64 {
    let mut hash = key.len() as u64;
    for chunk in key.chunks(WORD_BYTES) {
        hash = (hash ^ word_of(chunk)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 32;
    }
    hash
}

/// Up to eight bytes of a key as a word of its entry.
#[must_use]
pub fn word_of(chunk: &[u8]) -> u64 {
    let mut bytes = [0; WORD_BYTES];
    bytes[..chunk.len()].copy_from_slice(chunk);
    u64::from_le_bytes(bytes)
}
