//! The immutable page at the start of a topic's files: what the topic is, written once before anybody else can see it.

use crate::error::TopicError;
use crate::last_values::layout::{LAST_MAGIC, LastValuesOptions, Places};
use crate::layout::{
    ABI, CAPACITY_BYTES, CELL_BYTES, FRAME_HEADER_BYTES, FRAMES_IN_RING_MIN, Geometry, HEADER_BYTES, LOG_MAGIC, MARKS,
    PAYLOAD_ALIGN_MAX, PUBLISHERS_MAX, SUBS_MAGIC, SUBSCRIBERS_MAX,
};
use crate::rate::{Rate, RateLimit};
use memlane_shm::Region;
use memlane_shm::clock::{Calibration, TickSource};

/// Default size of a ring, in bytes; see `docs/decisions/0003-default-sizes.md`.
pub const CAPACITY_BYTES_DEFAULT: u64 = 4 << 20;
/// Default size of a cell, in bytes; see the same record.
pub const CELL_BYTES_DEFAULT: u64 = 64;
/// Default number of subscriber slots.
pub const SUBSCRIBERS_DEFAULT: u32 = 256;
/// Most bytes of a topic's and of a type's name.
pub const NAME_BYTES_MAX: usize = 128;

/// How many publishers a topic has at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Publishers {
    /// One: publishing takes plain stores only. Others are refused, or stand by.
    #[default]
    One,
    /// Up to so many (at most 1,024): a claim takes two locked instructions.
    Many(u32),
}

/// The type of a topic's messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeTag {
    /// Its name; empty for raw bytes.
    pub name: String,
    /// Its version, given by its author.
    pub version: u32,
    /// Hash of its archived layout.
    pub fingerprint: u64,
}

/// Everything that is chosen when a topic is made. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOptions {
    /// Size of the ring: a power of two, 4 KiB to 64 GiB. Default 4 MiB.
    pub capacity: u64,
    /// What frames are padded to: a power of two, 32 to 4,096. Default 64.
    pub cell: u64,
    /// Longest payload with its extensions; `None` for the longest that a quarter of the ring holds.
    pub payload_max: Option<u64>,
    /// Alignment of payloads: a power of two, 8 to 64. Default 8.
    pub payload_align: u64,
    /// One publisher (the default) or many.
    pub publishers: Publishers,
    /// Slots for gated subscribers: 1 to 65,536. Default 256.
    pub subscribers_max: u32,
    /// Whether each frame carries the time of its publishing. Costs 8 bytes and a read of the counter for each frame.
    pub stamps: bool,
    /// Whether, and for how much, the last message of each key is kept. Default: not.
    pub last_values: Option<LastValuesOptions>,
    /// How much all publishers together may publish. Default no limit.
    pub rate_limit: RateLimit,
    /// Whether gated subscribers are refused, so that publishers are never held up by any. Default no.
    pub lossy_only: bool,
    /// Whether who records the whole bus is to record it. Default no.
    pub journaled: bool,
    /// The type of its messages.
    pub message_type: TypeTag,
}

impl Default for TopicOptions {
    fn default() -> Self {
        Self {
            capacity: CAPACITY_BYTES_DEFAULT,
            cell: CELL_BYTES_DEFAULT,
            payload_max: None,
            payload_align: 8,
            publishers: Publishers::One,
            subscribers_max: SUBSCRIBERS_DEFAULT,
            stamps: false,
            last_values: None,
            rate_limit: RateLimit::default(),
            lossy_only: false,
            journaled: false,
            message_type: TypeTag::default(),
        }
    }
}

impl TopicOptions {
    /// The sizes and places that follow from the options.
    ///
    /// Errors: [`TopicError::BadOption`], for the first option that can't be.
    pub fn geometry(&self) -> Result<Geometry, TopicError> {
        let bad = |option, value, reason| Err(TopicError::BadOption { option, value, reason });
        if !self.capacity.is_power_of_two() || !CAPACITY_BYTES.contains(&self.capacity) {
            return bad("capacity", self.capacity, "a ring is a power of two, from 4 KiB to 64 GiB");
        }
        if !self.cell.is_power_of_two() || !CELL_BYTES.contains(&self.cell) {
            return bad("cell", self.cell, "a cell is a power of two, from 32 to 4096 bytes");
        }
        if self.cell * MARKS > self.capacity {
            return bad("cell", self.cell, "a ring holds at least 64 cells");
        }
        if !self.payload_align.is_power_of_two() || !(8..=PAYLOAD_ALIGN_MAX).contains(&self.payload_align) {
            return bad("payload_align", self.payload_align, "a power of two, from 8 to 64");
        }
        if self.payload_align > self.cell {
            return bad("payload_align", self.payload_align, "at most the size of a cell");
        }
        let (many, publishers_max) = match self.publishers {
            Publishers::One => (false, 1),
            Publishers::Many(count) => (true, count),
        };
        if !(1..=PUBLISHERS_MAX).contains(&publishers_max) {
            return bad("publishers_max", publishers_max.into(), "a topic has 1 to 1024 publishers");
        }
        if !(1..=SUBSCRIBERS_MAX).contains(&self.subscribers_max) {
            return bad("subscribers_max", self.subscribers_max.into(), "a topic has 1 to 65536 subscriber slots");
        }
        let stamp_bytes = if self.stamps { 8 } else { 0 };
        let payload_at = (FRAME_HEADER_BYTES + stamp_bytes).next_multiple_of(self.payload_align);
        // 32 bits hold a length; a frame takes at most a quarter of the ring.
        let frame_max = (self.capacity / FRAMES_IN_RING_MIN).min(1 << 31);
        let fits = frame_max.saturating_sub(payload_at);
        let payload_max = self.payload_max.unwrap_or(fits);
        if payload_max == 0 || payload_max > fits {
            return bad(
                "payload_bytes_max",
                payload_max,
                "a payload with its header takes at most a quarter of the ring",
            );
        }
        let geometry = Geometry {
            capacity: self.capacity,
            capacity_shift: self.capacity.trailing_zeros(),
            cell: self.cell,
            cell_shift: self.cell.trailing_zeros(),
            payload_at,
            body_max: payload_at - FRAME_HEADER_BYTES + payload_max,
            stamps: self.stamps,
            payload_align: self.payload_align,
            publishers_max,
            many,
            subscribers_max: self.subscribers_max,
        };
        self.last_places(&geometry)?;
        Ok(geometry)
    }
}

impl TopicOptions {
    /// The places of the table of last values, if there is one, in a topic with this geometry.
    ///
    /// Errors: [`TopicError::BadOption`].
    pub fn last_places(&self, geometry: &Geometry) -> Result<Option<Places>, TopicError> {
        self.last_values.as_ref().map(|options| Places::of(options, geometry)).transpose()
    }
}

/// What the immutable page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What was chosen.
    pub options: TopicOptions,
    /// A random number of this topic: another of the same name has another. One that goes on where it was before has the same.
    pub epoch: u64,
    /// When it was made, in nanoseconds since 1970.
    pub created_unix_ns: u64,
    /// How the stamps of its frames relate to time.
    pub calibration: Calibration,
}

/// Why the start of a file is not what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It doesn't begin like a file of memlane.
    #[error("not a memlane file")]
    NotMemlane,
    /// It was made by another version of memlane.
    #[error(
        "made with layout version {found}, this is {ABI}: use the same memlane, or remove the topic and make it anew"
    )]
    OtherAbi {
        /// The file's layout version.
        found: u64,
    },
    /// Its checksum doesn't match: it was damaged.
    #[error("the header is damaged (its checksum is wrong): remove the topic and make it anew")]
    Damaged,
    /// It is shorter or longer than its header says.
    #[error(
        "{found} bytes long, its header says {expected}: it was cut or replaced; remove the topic and make it anew"
    )]
    WrongSize {
        /// The file's length, in bytes.
        found: u64,
        /// What the header says.
        expected: u64,
    },
    /// It isn't there, though its topic's directory is: somebody removed a part of the topic.
    #[error("missing, though its topic is there: remove the topic and make it anew")]
    Missing,
    /// Its files belong to different topics.
    #[error("its files are of different topics: remove it and make it anew")]
    Mixed,
}

// Offsets of the words of the page; names follow as length and bytes.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const ABI: usize = 8;
    pub(super) const EPOCH: usize = 16;
    pub(super) const CREATED: usize = 24;
    pub(super) const CAPACITY: usize = 32;
    pub(super) const CELL: usize = 40;
    pub(super) const PAYLOAD_MAX: usize = 48;
    pub(super) const PAYLOAD_ALIGN: usize = 56;
    pub(super) const PUBLISHERS_MAX: usize = 64;
    pub(super) const MANY: usize = 72;
    pub(super) const SUBSCRIBERS_MAX: usize = 80;
    pub(super) const STAMPS: usize = 88;
    pub(super) const TICK_SOURCE: usize = 96;
    pub(super) const BASE_TICKS: usize = 104;
    pub(super) const BASE_UNIX_NS: usize = 112;
    pub(super) const NS_PER_TICK: usize = 120;
    pub(super) const TYPE_VERSION: usize = 128;
    pub(super) const TYPE_FINGERPRINT: usize = 136;
    pub(super) const TYPE_NAME_BYTES: usize = 144;
    pub(super) const TYPE_NAME: usize = 152;
    // Zeros without last values.
    pub(super) const LAST_KEYS_MAX: usize = 512;
    pub(super) const LAST_MESSAGE_BYTES_MAX: usize = 520;
    // Messages per second and their burst, bytes per second and their burst. Zeros: no limit.
    pub(super) const RATE_LIMIT: usize = 528;
    pub(super) const LOSSY_ONLY: usize = RATE_LIMIT + 32;
    pub(super) const JOURNALED: usize = LOSSY_ONLY + 8;
    pub(super) const CHECKSUM: usize = super::HEADER_BYTES - 8;
}

const _: () = assert!(at::TYPE_NAME + NAME_BYTES_MAX <= at::LAST_KEYS_MAX && at::JOURNALED + 8 <= at::CHECKSUM);

/// Where a topic's identity lies, in each of its files: the random number, and when it was made.
pub(crate) const IDENTITY_AT: u64 = at::EPOCH as u64;
const _: () = assert!(at::CREATED == at::EPOCH + 8);

impl Header {
    /// What tells this very topic from every other: also from the one that went on as it, with its epoch, after it was removed.
    #[must_use]
    pub fn identity(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[8..].copy_from_slice(&self.created_unix_ns.to_le_bytes());
        bytes
    }

    /// The page for the file `log`.
    #[must_use]
    pub fn to_page(&self) -> Vec<u8> {
        let mut page = self.start_of_page(LOG_MAGIC);
        let mut put = |at: usize, value: u64| page[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let options = &self.options;
        let (many, publishers_max) = match options.publishers {
            Publishers::One => (0, 1),
            Publishers::Many(count) => (1, u64::from(count)),
        };
        put(at::CAPACITY, options.capacity);
        put(at::CELL, options.cell);
        put(at::PAYLOAD_MAX, options.payload_max.unwrap_or(0));
        put(at::PAYLOAD_ALIGN, options.payload_align);
        put(at::PUBLISHERS_MAX, publishers_max);
        put(at::MANY, many);
        put(at::SUBSCRIBERS_MAX, options.subscribers_max.into());
        put(at::STAMPS, options.stamps.into());
        put(at::TICK_SOURCE, self.calibration.source as u64);
        put(at::BASE_TICKS, self.calibration.base_ticks);
        put(at::BASE_UNIX_NS, self.calibration.base_unix_ns);
        put(at::NS_PER_TICK, self.calibration.ns_per_tick);
        put(at::TYPE_VERSION, options.message_type.version.into());
        put(at::TYPE_FINGERPRINT, options.message_type.fingerprint);
        for (at, rate) in [(0, options.rate_limit.messages), (16, options.rate_limit.bytes)] {
            if let Some(Rate { per_second, burst }) = rate {
                put(at::RATE_LIMIT + at, per_second);
                put(at::RATE_LIMIT + at + 8, burst);
            }
        }
        put(at::LOSSY_ONLY, options.lossy_only.into());
        put(at::JOURNALED, options.journaled.into());
        put(at::TYPE_NAME_BYTES, options.message_type.name.len() as u64);
        if let Some(last) = options.last_values {
            put(at::LAST_KEYS_MAX, last.keys_max.into());
            put(at::LAST_MESSAGE_BYTES_MAX, last.message_bytes_max);
        }
        let name = options.message_type.name.as_bytes();
        page[at::TYPE_NAME..at::TYPE_NAME + name.len()].copy_from_slice(name);
        seal(page)
    }

    /// The page for the file `subs` of the same topic.
    #[must_use]
    pub fn to_subs_page(&self) -> Vec<u8> {
        seal(self.start_of_page(SUBS_MAGIC))
    }

    /// The page for the file `last` of the same topic.
    #[must_use]
    pub fn to_last_page(&self) -> Vec<u8> {
        seal(self.start_of_page(LAST_MAGIC))
    }

    /// Reads the page at the start of `log`.
    ///
    /// Errors: [`HeaderError`]; options that can't be count as damage.
    pub fn from_page(page: &[u8]) -> Result<Self, HeaderError> {
        check_start(page, LOG_MAGIC)?;
        let get = |at: usize| word(page, at);
        let small = |at: usize| u32::try_from(get(at)).map_err(|_| HeaderError::Damaged);
        let name_bytes = get(at::TYPE_NAME_BYTES) as usize;
        let name = page.get(at::TYPE_NAME..).and_then(|rest| rest.get(..name_bytes.min(NAME_BYTES_MAX)));
        let name = name.and_then(|bytes| core::str::from_utf8(bytes).ok()).ok_or(HeaderError::Damaged)?;
        let publishers_max = small(at::PUBLISHERS_MAX)?;
        let rate = |at| {
            let rate = Rate { per_second: get(at::RATE_LIMIT + at), burst: get(at::RATE_LIMIT + at + 8) };
            (rate != Rate { per_second: 0, burst: 0 }).then_some(rate)
        };
        let options = TopicOptions {
            capacity: get(at::CAPACITY),
            cell: get(at::CELL),
            payload_max: Some(get(at::PAYLOAD_MAX)).filter(|max| *max != 0),
            payload_align: get(at::PAYLOAD_ALIGN),
            publishers: if get(at::MANY) == 0 { Publishers::One } else { Publishers::Many(publishers_max) },
            subscribers_max: small(at::SUBSCRIBERS_MAX)?,
            stamps: get(at::STAMPS) != 0,
            last_values: Some(small(at::LAST_KEYS_MAX)?)
                .filter(|keys_max| *keys_max != 0)
                .map(|keys_max| LastValuesOptions { keys_max, message_bytes_max: get(at::LAST_MESSAGE_BYTES_MAX) }),
            rate_limit: RateLimit { messages: rate(0), bytes: rate(16) },
            lossy_only: get(at::LOSSY_ONLY) != 0,
            journaled: get(at::JOURNALED) != 0,
            message_type: TypeTag {
                name: name.to_owned(),
                version: small(at::TYPE_VERSION)?,
                fingerprint: get(at::TYPE_FINGERPRINT),
            },
        };
        options.geometry().map_err(|_| HeaderError::Damaged)?;
        options.rate_limit.check().map_err(|_| HeaderError::Damaged)?;
        let calibration = Calibration {
            source: TickSource::from_bits(get(at::TICK_SOURCE)).ok_or(HeaderError::Damaged)?,
            base_ticks: get(at::BASE_TICKS),
            base_unix_ns: get(at::BASE_UNIX_NS),
            ns_per_tick: get(at::NS_PER_TICK),
        };
        Ok(Self { options, epoch: get(at::EPOCH), created_unix_ns: get(at::CREATED), calibration })
    }

    /// Checks that the page at the start of `subs` belongs to this topic.
    ///
    /// Errors: [`HeaderError`].
    pub fn check_subs_page(&self, page: &[u8]) -> Result<(), HeaderError> {
        self.check_page(page, SUBS_MAGIC)
    }

    /// Checks that the page at the start of `last` belongs to this topic.
    ///
    /// Errors: [`HeaderError`].
    pub fn check_last_page(&self, page: &[u8]) -> Result<(), HeaderError> {
        self.check_page(page, LAST_MAGIC)
    }

    fn check_page(&self, page: &[u8], magic: u64) -> Result<(), HeaderError> {
        check_start(page, magic)?;
        let is_ours = page[at::EPOCH..at::EPOCH + 16] == self.identity();
        if is_ours { Ok(()) } else { Err(HeaderError::Mixed) }
    }

    fn start_of_page(&self, magic: u64) -> Vec<u8> {
        let mut page = vec![0; HEADER_BYTES];
        page[at::MAGIC..at::MAGIC + 8].copy_from_slice(&magic.to_le_bytes());
        page[at::ABI..at::ABI + 8].copy_from_slice(&u64::from(ABI).to_le_bytes());
        page[at::EPOCH..at::EPOCH + 16].copy_from_slice(&self.identity());
        page
    }
}

/// Copies the page out of a mapping of a file that others may write.
#[must_use]
pub fn copy_page(region: &Region) -> Vec<u8> {
    let mut page = vec![0; HEADER_BYTES.min(region.len() / 8 * 8)];
    region.copy_out(0, &mut page);
    page
}

fn seal(mut page: Vec<u8>) -> Vec<u8> {
    let checksum = checksum(&page);
    page[at::CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    page
}

fn check_start(page: &[u8], magic: u64) -> Result<(), HeaderError> {
    if page.len() < HEADER_BYTES || word(page, at::MAGIC) != magic {
        return Err(HeaderError::NotMemlane);
    }
    let abi = word(page, at::ABI);
    if abi != u64::from(ABI) {
        return Err(HeaderError::OtherAbi { found: abi });
    }
    if word(page, at::CHECKSUM) == checksum(page) { Ok(()) } else { Err(HeaderError::Damaged) }
}

fn word(page: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&page[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo; draft-eastlake-fnv), over everything before the checksum's own place.
fn checksum(page: &[u8]) -> u64 {
    page[..at::CHECKSUM]
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
