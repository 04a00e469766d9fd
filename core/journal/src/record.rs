//! The records of a segment: which batches there are, and what else a reader must know. See `layout.rs` for the bytes.

use crate::layout::{RECORD_BYTES, crc, half, put, put_half, record as at, word};
use memlane_shm::clock::{Calibration, TickSource};

/// Bytes of the longest name of a source.
pub const SOURCE_NAME_BYTES_MAX: usize = memlane_ring::LABEL_TEXT_BYTES_MAX;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The first of each segment: how the stamps in it relate to time.
    Session(Session),
    /// A segment begins: the records before it, which say what its reader must know of earlier ones, count from here on.
    Begin(Begin),
    /// A part of the name of the source that has the place `place`.
    SourceName {
        /// Which source.
        place: u32,
        /// Where the log stood.
        position: u64,
        /// Which part, counted from zero; each but the last has 40 bytes.
        part: u8,
        /// The part.
        text: SourceText,
    },
    /// How far a source got with the batch that follows, or before the segment that begins. It counts if that one does.
    SourceMoved {
        /// Which source.
        place: u32,
        /// Where the log stood.
        position: u64,
        /// The highest sequence that it has in the log up to the end of that batch.
        sequence: u64,
    },
    /// Where the data of the batches behind it lie, compressed.
    Block(Block),
    /// Frames that lie in the segment.
    Batch(Batch),
    /// Positions that the log passed and the journal doesn't have.
    Gap(Gap),
}

/// Where a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Where.
    pub position: u64,
    /// How many messages the journal was given before it.
    pub messages_before: u64,
    /// As for a batch.
    pub highest_unix_ns: u64,
    /// As for a batch.
    pub synced: u64,
}

/// Bytes of a compressed segment that hold the data of some batches, which follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where the first batch begins.
    pub position: u64,
    /// Where the last one ends.
    pub end: u64,
    /// Where it lies in the file.
    pub offset: u64,
    /// How many bytes it has there: a frame of zstd (RFC 8878) that says how many they become.
    pub bytes: u64,
    /// CRC-32C of these.
    pub crc: u32,
}

/// Frames that lie in the segment, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Where the first begins.
    pub position: u64,
    /// Where the last ends.
    pub end: u64,
    /// How many messages are among them; the rest is padding.
    pub messages: u32,
    /// How many messages the journal was given before them.
    pub messages_before: u64,
    /// When the first of them was published, in nanoseconds since 1970; where the topic has no stamps, when the batch was read.
    pub first_unix_ns: u64,
    /// The highest such time up to the end of this batch: it never falls, whatever the clock did.
    pub highest_unix_ns: u64,
    /// Everything before this position was known to survive a loss of power when the record was written.
    pub synced: u64,
    /// CRC-32C of the bytes.
    pub data_crc: u32,
    /// How many records before this one that of the block lies which has the bytes; 0 if they lie in the segment as they are.
    pub block_back: u16,
}

/// Positions that the log passed and the journal doesn't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where it begins.
    pub position: u64,
    /// Where the log goes on.
    pub end: u64,
    /// Why.
    pub reason: GapReason,
    /// When it was noticed, in nanoseconds since 1970.
    pub unix_ns: u64,
    /// As for a batch.
    pub highest_unix_ns: u64,
    /// How many messages the journal was given before it.
    pub messages_before: u64,
    /// As for a batch.
    pub synced: u64,
}

/// Why positions are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GapReason {
    /// A publisher died before it finished its frame. There was no message.
    Abandoned = 1,
    /// Nobody recorded, and the ring let go of it.
    NotRecorded = 2,
    /// The journal could not be written, and publishers were not to wait for it.
    Failed = 3,
    /// It was recorded, and damaged later: a repair left it out.
    Damaged = 4,
}

impl GapReason {
    fn from_bits(bits: u8) -> Option<Self> {
        [Self::Abandoned, Self::NotRecorded, Self::Failed, Self::Damaged]
            .into_iter()
            .find(|reason| *reason as u8 == bits)
    }
}

/// How the stamps of a segment relate to time, and on which run of which host it was written: a segment has one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Where the segment begins.
    pub position: u64,
    /// The stamps' calibration.
    pub calibration: Calibration,
    /// A number of the host's run since it was started: what was written in the same run needs no loss of power to be thought of.
    pub boot: u64,
    /// Everything before this position was known to survive a loss of power when the record was written.
    pub synced: u64,
}

/// Up to 40 bytes of a source's name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SourceText {
    bytes: [u8; at::NAME_BYTES],
    length: u8,
}

impl SourceText {
    /// The parts of `name`.
    pub(crate) fn parts(name: &str) -> impl Iterator<Item = Self> + '_ {
        name.as_bytes().chunks(at::NAME_BYTES).map(|part| {
            let mut bytes = [0; at::NAME_BYTES];
            bytes[..part.len()].copy_from_slice(part);
            Self { bytes, length: part.len() as u8 }
        })
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length.into()]
    }
}

impl core::fmt::Debug for SourceText {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

const SESSION: u8 = 1;
const SOURCE_NAME: u8 = 2;
const SOURCE_MOVED: u8 = 3;
const BATCH: u8 = 4;
const GAP: u8 = 5;
const BEGIN: u8 = 6;
const BLOCK: u8 = 7;

impl Record {
    /// Its bytes as record number `number` of a segment of the topic `epoch`.
    #[must_use]
    pub fn encode(&self, epoch: u64, number: u64) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let page = &mut bytes[..];
        match self {
            Self::Session(session) => {
                page[at::KIND] = SESSION;
                page[at::DETAIL] = session.calibration.source as u8;
                put(page, at::POSITION, session.position);
                put(page, at::END, session.calibration.base_ticks);
                put(page, at::HIGHEST, session.calibration.base_unix_ns);
                put(page, at::A, session.calibration.ns_per_tick);
                put(page, at::B, session.boot);
                put(page, at::C, session.synced);
            }
            Self::Begin(begin) => {
                page[at::KIND] = BEGIN;
                put(page, at::POSITION, begin.position);
                put(page, at::HIGHEST, begin.highest_unix_ns);
                put(page, at::B, begin.messages_before);
                put(page, at::C, begin.synced);
            }
            Self::SourceName { place, position, part, text } => {
                page[at::KIND] = SOURCE_NAME;
                page[at::DETAIL] = *part;
                page[at::BYTES] = text.length;
                put_half(page, at::COUNT, *place);
                put(page, at::POSITION, *position);
                page[at::NAME..at::NAME + at::NAME_BYTES].copy_from_slice(&text.bytes);
            }
            Self::SourceMoved { place, position, sequence } => {
                page[at::KIND] = SOURCE_MOVED;
                put_half(page, at::COUNT, *place);
                put(page, at::POSITION, *position);
                put(page, at::A, *sequence);
            }
            Self::Batch(batch) => batch.put(page),
            Self::Block(block) => {
                page[at::KIND] = BLOCK;
                put(page, at::POSITION, block.position);
                put(page, at::END, block.end);
                put(page, at::A, block.offset);
                put(page, at::B, block.bytes);
                put_half(page, at::DATA_CRC, block.crc);
            }
            Self::Gap(gap) => {
                page[at::KIND] = GAP;
                page[at::DETAIL] = gap.reason as u8;
                put(page, at::POSITION, gap.position);
                put(page, at::END, gap.end);
                put(page, at::HIGHEST, gap.highest_unix_ns);
                put(page, at::A, gap.unix_ns);
                put(page, at::B, gap.messages_before);
                put(page, at::C, gap.synced);
            }
        }
        let crc = record_crc(&bytes, epoch, number);
        put_half(&mut bytes, at::CRC, crc);
        bytes
    }

    /// What `bytes` say as record number `number` of a segment of the topic `epoch`; `None` if they are no such record.
    #[must_use]
    pub fn decode(bytes: &[u8; RECORD_BYTES], epoch: u64, number: u64) -> Option<Self> {
        // A look at the kind tells what was never written, which is most often what isn't right.
        if bytes[at::KIND] == 0 || half(bytes, at::CRC) != record_crc(bytes, epoch, number) {
            return None;
        }
        let get = |at| word(bytes, at);
        let position = get(at::POSITION);
        let place = half(bytes, at::COUNT);
        Some(match bytes[at::KIND] {
            SESSION => Self::Session(Session {
                position,
                calibration: Calibration {
                    source: TickSource::from_bits(bytes[at::DETAIL].into())?,
                    base_ticks: get(at::END),
                    base_unix_ns: get(at::HIGHEST),
                    ns_per_tick: get(at::A),
                },
                boot: get(at::B),
                synced: get(at::C),
            }),
            BEGIN => Self::Begin(Begin {
                position,
                messages_before: get(at::B),
                highest_unix_ns: get(at::HIGHEST),
                synced: get(at::C),
            }),
            SOURCE_NAME => {
                let mut text = SourceText { bytes: [0; at::NAME_BYTES], length: bytes[at::BYTES] };
                text.bytes.copy_from_slice(&bytes[at::NAME..at::NAME + at::NAME_BYTES]);
                (usize::from(text.length) <= at::NAME_BYTES).then_some(())?;
                Self::SourceName { place, position, part: bytes[at::DETAIL], text }
            }
            SOURCE_MOVED => Self::SourceMoved { place, position, sequence: get(at::A) },
            BATCH => Self::Batch(Batch {
                position,
                end: get(at::END),
                messages: place,
                messages_before: get(at::B),
                first_unix_ns: get(at::A),
                highest_unix_ns: get(at::HIGHEST),
                synced: get(at::C),
                data_crc: half(bytes, at::DATA_CRC),
                block_back: u16::from_le_bytes([bytes[at::BLOCK_BACK], bytes[at::BLOCK_BACK + 1]]),
            }),
            BLOCK => Self::Block(Block {
                position,
                end: get(at::END),
                offset: get(at::A),
                bytes: get(at::B),
                crc: half(bytes, at::DATA_CRC),
            }),
            GAP => Self::Gap(Gap {
                position,
                end: get(at::END),
                reason: GapReason::from_bits(bytes[at::DETAIL])?,
                unix_ns: get(at::A),
                highest_unix_ns: get(at::HIGHEST),
                messages_before: get(at::B),
                synced: get(at::C),
            }),
            _ => return None,
        })
    }

    /// Where the log stood before it.
    #[must_use]
    pub fn position(&self) -> u64 {
        match self {
            Self::Session(Session { position, .. })
            | Self::Begin(Begin { position, .. })
            | Self::SourceName { position, .. }
            | Self::SourceMoved { position, .. }
            | Self::Block(Block { position, .. })
            | Self::Batch(Batch { position, .. })
            | Self::Gap(Gap { position, .. }) => *position,
        }
    }

    /// Where the log stands after it.
    #[must_use]
    pub fn end(&self) -> u64 {
        match self {
            Self::Batch(Batch { end, .. }) | Self::Gap(Gap { end, .. }) => *end,
            other => other.position(),
        }
    }

    /// Up to where everything was known to survive a loss of power, if it says so.
    #[must_use]
    pub fn synced(&self) -> u64 {
        match self {
            Self::Session(Session { synced, .. })
            | Self::Begin(Begin { synced, .. })
            | Self::Batch(Batch { synced, .. })
            | Self::Gap(Gap { synced, .. }) => *synced,
            Self::SourceName { .. } | Self::SourceMoved { .. } | Self::Block(_) => 0,
        }
    }
}

impl Batch {
    fn put(&self, page: &mut [u8]) {
        page[at::KIND] = BATCH;
        page[at::BLOCK_BACK..at::BLOCK_BACK + 2].copy_from_slice(&self.block_back.to_le_bytes());
        put_half(page, at::COUNT, self.messages);
        put(page, at::POSITION, self.position);
        put(page, at::END, self.end);
        put(page, at::HIGHEST, self.highest_unix_ns);
        put(page, at::A, self.first_unix_ns);
        put(page, at::B, self.messages_before);
        put(page, at::C, self.synced);
        put_half(page, at::DATA_CRC, self.data_crc);
    }
}

fn record_crc(bytes: &[u8; RECORD_BYTES], epoch: u64, number: u64) -> u32 {
    let mut covered = [0; at::CRC + 16];
    covered[..at::CRC].copy_from_slice(&bytes[..at::CRC]);
    put(&mut covered, at::CRC, epoch);
    put(&mut covered, at::CRC + 8, number);
    crc(&covered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn calibration() -> Calibration {
        Calibration { source: TickSource::Counter, base_ticks: 1, base_unix_ns: 2, ns_per_tick: 3 }
    }

    fn one_of_each() -> Vec<Record> {
        let text = SourceText::parts("md.feed").next().unwrap();
        vec![
            Record::Session(Session { position: 9, calibration: calibration(), boot: 4, synced: 5 }),
            Record::Begin(Begin { position: 64, messages_before: 1, highest_unix_ns: 13, synced: 64 }),
            Record::SourceName { place: 3, position: 64, part: 0, text },
            Record::SourceMoved { place: 3, position: 64, sequence: 77 },
            Record::Batch(Batch {
                position: 64,
                end: 640,
                messages: 9,
                messages_before: 1,
                first_unix_ns: 12,
                highest_unix_ns: 13,
                synced: 64,
                data_crc: 0xffff_fff0,
                block_back: 700,
            }),
            Record::Block(Block { position: 64, end: 640, offset: 4096, bytes: 99, crc: 17 }),
            Record::Gap(Gap {
                position: 640,
                end: 1280,
                reason: GapReason::Failed,
                unix_ns: 1,
                highest_unix_ns: 13,
                messages_before: 10,
                synced: 640,
            }),
        ]
    }

    #[test]
    fn a_record_gives_back_what_it_was_made_of() {
        for record in one_of_each() {
            assert_eq!(Record::decode(&record.encode(42, 7), 42, 7), Some(record));
        }
    }

    #[test]
    fn a_record_of_another_place_or_topic_is_none() {
        for record in one_of_each() {
            let bytes = record.encode(42, 7);
            assert_eq!(Record::decode(&bytes, 42, 8), None);
            assert_eq!(Record::decode(&bytes, 43, 7), None);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_makes_it_none() {
        for record in one_of_each() {
            for bit in 0..RECORD_BYTES * 8 {
                let mut bytes = record.encode(42, 7);
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Record::decode(&bytes, 42, 7), None, "bit {bit} of {record:?}");
            }
        }
    }

    #[test]
    fn a_long_name_comes_back_from_its_parts() {
        let name = "x".repeat(39) + &"y".repeat(81);
        let parts: Vec<SourceText> = SourceText::parts(&name).collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts.iter().flat_map(SourceText::as_bytes).copied().collect::<Vec<u8>>(), name.as_bytes());
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: [u8; 32], rest: [u8; 32], epoch: u64, number: u64) {
            let mut record = [0; RECORD_BYTES];
            record[..32].copy_from_slice(&bytes);
            record[32..].copy_from_slice(&rest);
            record[at::KIND] %= 8;
            let crc = record_crc(&record, epoch, number);
            put_half(&mut record, at::CRC, crc);
            if let Some(found) = Record::decode(&record, epoch, number) {
                // What isn't named in the layout may be anything, so only what is comes back.
                prop_assert_eq!(Record::decode(&found.encode(epoch, number), epoch, number), Some(found));
            }
        }
    }
}
