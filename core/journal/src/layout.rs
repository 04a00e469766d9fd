//! Every byte that a journal has on disk. Version: [`VERSION`]. In prose, for who writes another program: `docs/journal-format.md`.
//!
//! ```text
//!  <journal>/<topic>/
//!    manifest                      what the topic is, which segments there are; replaced whole
//!    00000000000000000000.segment  the log from that position on
//!    00000000000134217728.segment
//!    lock                          held by the one writer for as long as it lives
//!
//!  manifest                        segment
//!  0     page, checksum at its end 0                  page, checksum at its end
//!  4096  description of the type   4096               the ring's own bytes: offset = 4096 + position − begin
//!                                  4096 + data_bytes  records of 64 bytes, one after the other, each with a checksum
//!
//!  record
//!  0       1       2       4         8           16     24        32   40   48   56        60
//!  +-------+-------+-------+---------+-----------+------+---------+----+----+----+---------+----------+
//!  | kind  | detail| bytes | count   | position  | end  | highest | a  | b  | c  | data's  | record's |
//!  | u8    | u8    | u16   | u32     | u64       | u64  | u64     |    |    |    | CRC u32 | CRC u32  |
//!  +-------+-------+-------+---------+-----------+------+---------+----+----+----+---------+----------+
//! ```
//!
//! In a compressed segment blocks lie where the data are, as many bytes as its page says, and the records behind them.
//!
//! All numbers are little-endian. A batch of frames counts once its record is there and right: the records are what commits, and those after
//! the first that isn't right mean nothing. The record's CRC covers its first 60 bytes, then the epoch, then the record's number in its
//! segment, so that neither a stale record nor one of another journal is taken for one of here. CRCs are CRC-32C (Castagnoli).

/// The format's version: other ones are refused.
pub const VERSION: u32 = 1;

/// First bytes of a manifest.
pub const MANIFEST_MAGIC: u64 = u64::from_le_bytes(*b"MEMLJRNL");
/// First bytes of a segment.
pub const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"MEMLSEGM");

/// Bytes of the page that each file begins with.
pub const PAGE_BYTES: usize = 4096;
/// Where a page's checksum lies.
pub const PAGE_CRC_AT: usize = PAGE_BYTES - 4;
/// Where the data of a segment begins.
pub const DATA_AT: u64 = PAGE_BYTES as u64;
/// Bytes of a record.
pub const RECORD_BYTES: usize = 64;

/// The file that says what the topic is.
pub const MANIFEST_FILE: &str = "manifest";
/// The file whose lock the writer holds.
pub const LOCK_FILE: &str = "lock";
/// What a file is called before it has its name.
pub const UNFINISHED_SUFFIX: &str = ".new";
/// What a segment is called after recovery has set it aside.
pub const CUT_SUFFIX: &str = ".cut";
const SEGMENT_SUFFIX: &str = ".segment";

/// Least bytes of data of a segment.
pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Most bytes of data of a segment.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 40;
/// Most bytes of a batch: a frame's own length has 31 bits.
pub const BATCH_BYTES_LIMIT: u64 = (1 << 31) + (1 << 20);
/// Most bytes of a type's description.
pub const DESCRIPTION_BYTES_MAX: u64 = 1 << 20;

/// Words of the manifest's page: offsets in bytes.
pub(crate) mod manifest {
    pub(crate) const VERSION: usize = 8;
    pub(crate) const EPOCH: usize = 16;
    pub(crate) const GENERATION: usize = 24;
    pub(crate) const FIRST: usize = 32;
    pub(crate) const NEWEST: usize = 40;
    pub(crate) const CREATED: usize = 48;
    pub(crate) const SEGMENT_BYTES: usize = 56;
    pub(crate) const CAPACITY: usize = 64;
    pub(crate) const CELL: usize = 72;
    pub(crate) const PAYLOAD_MAX: usize = 80;
    pub(crate) const PAYLOAD_ALIGN: usize = 88;
    // Zero: one publisher.
    pub(crate) const PUBLISHERS_MANY: usize = 96;
    pub(crate) const SUBSCRIBERS_MAX: usize = 104;
    pub(crate) const STAMPS: usize = 112;
    pub(crate) const LOSSY_ONLY: usize = 120;
    // Zeros: none.
    pub(crate) const LAST_KEYS_MAX: usize = 128;
    pub(crate) const LAST_MESSAGE_BYTES_MAX: usize = 136;
    // Messages per second and their burst, bytes per second and their burst. Zeros: no limit.
    pub(crate) const RATE_LIMIT: usize = 144;
    pub(crate) const TYPE_VERSION: usize = 176;
    pub(crate) const TYPE_FINGERPRINT: usize = 184;
    pub(crate) const TYPE_NAME_BYTES: usize = 192;
    pub(crate) const DESCRIPTION_BYTES: usize = 200;
    pub(crate) const DESCRIPTION_CRC: usize = 208;
    pub(crate) const TYPE_NAME: usize = 216;
    pub(crate) const JOURNALED: usize = TYPE_NAME + memlane_ring::header::NAME_BYTES_MAX;
}

/// Words of a segment's page: offsets in bytes.
pub(crate) mod segment {
    pub(crate) const VERSION: usize = 8;
    pub(crate) const EPOCH: usize = 16;
    pub(crate) const BEGIN: usize = 24;
    pub(crate) const DATA_BYTES: usize = 32;
    pub(crate) const CREATED: usize = 40;
    pub(crate) const CAPACITY: usize = 48;
    pub(crate) const CELL: usize = 56;
    pub(crate) const PAYLOAD_AT: usize = 64;
    pub(crate) const BODY_MAX: usize = 72;
    pub(crate) const STAMPS: usize = 80;
    /// 0: the data lie there as they were in the ring. 1: blocks of zstd.
    pub(crate) const FORM: usize = 88;
    /// Bytes of the blocks, and what pads them to whole records.
    pub(crate) const STORED_BYTES: usize = 96;
    /// 1: messages that later ones of their key took the place of are padding.
    pub(crate) const COMPACTED: usize = 104;
    /// How many records there are, of one that is compressed: all of them were there before it got its name.
    pub(crate) const RECORDS: usize = 112;
    /// What the manifest says of the topic: its words from the capacity to the mark.
    pub(crate) const TOPIC: usize = 1024;
}

/// Where the manifest's page says what the topic is, but for its epoch and the description of the type.
pub(crate) const TOPIC_WORDS: core::ops::Range<usize> = manifest::CAPACITY..manifest::JOURNALED + 8;

/// Fields of a record: offsets in bytes.
pub(crate) mod record {
    pub(crate) const KIND: usize = 0;
    pub(crate) const DETAIL: usize = 1;
    /// Of a part of a name (8 bits).
    pub(crate) const BYTES: usize = 2;
    /// How many records before it that of its block lies; 0: its data lie there as they are (16 bits).
    pub(crate) const BLOCK_BACK: usize = 2;
    pub(crate) const COUNT: usize = 4;
    pub(crate) const POSITION: usize = 8;
    pub(crate) const END: usize = 16;
    pub(crate) const HIGHEST: usize = 24;
    pub(crate) const A: usize = 32;
    pub(crate) const B: usize = 40;
    pub(crate) const C: usize = 48;
    pub(crate) const DATA_CRC: usize = 56;
    pub(crate) const CRC: usize = 60;
    /// A part of a source's name lies where END to C are.
    pub(crate) const NAME: usize = END;
    pub(crate) const NAME_BYTES: usize = DATA_CRC - NAME;
}

const _: () = {
    assert!(record::CRC + 4 == RECORD_BYTES && record::NAME_BYTES == 40);
    assert!(manifest::JOURNALED + 8 <= PAGE_CRC_AT);
    assert!(SEGMENT_BYTES_MIN.is_multiple_of(PAGE_BYTES as u64));
};

/// CRC-32C of `bytes`.
#[must_use]
pub fn crc(bytes: &[u8]) -> u32 {
    // 32 bits of the 64 that hold sums of any width.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// The name of the segment that begins at `position`.
#[must_use]
pub fn segment_name(position: u64) -> String {
    format!("{position:020}{SEGMENT_SUFFIX}")
}

/// Where the segment of this name begins; `None` if it is no segment's name.
#[must_use]
pub fn segment_begin(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    let position = digits.parse().ok()?;
    (segment_name(position) == name).then_some(position)
}

/// The word at `at`. Pages have room for all that layouts name.
pub(crate) fn word(page: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&page[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// The half word at `at`.
pub(crate) fn half(page: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&page[at..at + 4]);
    u32::from_le_bytes(bytes)
}

pub(crate) fn put(page: &mut [u8], at: usize, value: u64) {
    page[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_half(page: &mut [u8], at: usize, value: u32) {
    page[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_castagnolis() {
        // The check value that the catalogue of CRCs gives, and RFC 3720's sum of 32 zeros.
        assert_eq!(crc(b"123456789"), 0xe306_9283);
        assert_eq!(crc(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_segments_name_gives_back_where_it_begins_and_others_give_nothing() {
        for position in [0, 1, 134_217_728, u64::MAX] {
            assert_eq!(segment_begin(&segment_name(position)), Some(position));
        }
        for name in ["0.segment", "00000000000000000000.segment.new", "+0000000000000000001.segment", "manifest"] {
            assert_eq!(segment_begin(name), None, "{name}");
        }
    }
}
