//! The manifest: what the topic is, and between which segments the journal lies. Replaced whole, by rename.
//!
//! It is written when the journal is made, after each new segment and before segments are pruned. So it never names a first segment that
//! was pruned, and what is there after the newest one that it names is newer than it.

use crate::error::JournalError;
use crate::layout::{
    DESCRIPTION_BYTES_MAX, MANIFEST_FILE, MANIFEST_MAGIC, PAGE_BYTES, PAGE_CRC_AT, VERSION, crc, half, manifest as at,
    put, put_half, word,
};
use crate::storage::{FileAccess, Storage, replace_file};
use crate::subject::Subject;
use memlane_ring::header::NAME_BYTES_MAX;
use memlane_ring::{LastValuesOptions, Publishers, Rate, RateLimit, TopicOptions, TypeTag};
use std::io;
use std::path::Path;

/// What the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The topic.
    pub subject: Subject,
    /// How often it was written.
    pub generation: u64,
    /// Where the oldest segment begins that has not been pruned.
    pub first: u64,
    /// Where the newest segment begins, or one of the newest.
    pub newest: u64,
    /// When the journal was made, in nanoseconds since 1970.
    pub created_unix_ns: u64,
    /// Bytes of data of new segments.
    pub segment_bytes: u64,
}

impl Manifest {
    /// Reads the one in `directory`; `None` if there is none.
    ///
    /// Cost: four system calls. Errors: [`JournalError::Manifest`] if it is damaged, and what the system says.
    pub fn read(storage: &dyn Storage, directory: &Path) -> Result<Option<Self>, JournalError> {
        let path = directory.join(MANIFEST_FILE);
        let file = match storage.open(&path, FileAccess::Read) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            other => other.map_err(JournalError::of(&path, "open it"))?,
        };
        let length = file.length().map_err(JournalError::of(&path, "ask for its length"))?;
        let mut bytes = vec![0; length.min(PAGE_BYTES as u64 + DESCRIPTION_BYTES_MAX) as usize];
        let read = file.read_at(&mut bytes, 0).map_err(JournalError::of(&path, "read it"))?;
        Self::decode(&bytes[..read], &path).map(Some)
    }

    /// Puts it in the place of the one in `directory`, with the next generation.
    ///
    /// Cost: ten system calls, two syncs among them. Errors: the system's; then the old one is there.
    pub fn replace(&mut self, storage: &dyn Storage, directory: &Path) -> Result<(), JournalError> {
        let next = Self { generation: self.generation + 1, ..self.clone() };
        replace_file(storage, &directory.join(MANIFEST_FILE), &next.encode(), || {
            memlane_shm::crash_point!("journal.manifest_written");
        })?;
        *self = next;
        Ok(())
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut page = page_of(&self.subject);
        let Subject { epoch, description, .. } = &self.subject;
        put(&mut page, 0, MANIFEST_MAGIC);
        put_half(&mut page, at::VERSION, VERSION);
        for (at, value) in [
            (at::EPOCH, *epoch),
            (at::GENERATION, self.generation),
            (at::FIRST, self.first),
            (at::NEWEST, self.newest),
            (at::CREATED, self.created_unix_ns),
            (at::SEGMENT_BYTES, self.segment_bytes),
            (at::DESCRIPTION_BYTES, description.len() as u64),
            (at::DESCRIPTION_CRC, crc(description.as_bytes()).into()),
        ] {
            put(&mut page, at, value);
        }
        let sum = crc(&page[..PAGE_CRC_AT]);
        put_half(&mut page, PAGE_CRC_AT, sum);
        page.extend_from_slice(description.as_bytes());
        page
    }
    /// What `bytes`, read from `path`, say.
    ///
    /// Errors: [`JournalError::Manifest`], [`JournalError::OtherVersion`].
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self, JournalError> {
        let damaged = |what| JournalError::Manifest { path: path.to_path_buf(), what };
        let Some((page, description)) = bytes.split_at_checked(PAGE_BYTES) else {
            return Err(damaged("it is cut short"));
        };
        if word(page, 0) != MANIFEST_MAGIC {
            return Err(damaged("it is no manifest of a journal"));
        }
        let found = half(page, at::VERSION);
        if found != VERSION {
            return Err(JournalError::OtherVersion { path: path.to_path_buf(), found });
        }
        let get = |at| word(page, at);
        let described = description.len() as u64 == get(at::DESCRIPTION_BYTES)
            && u64::from(crc(description)) == get(at::DESCRIPTION_CRC);
        if crc(&page[..PAGE_CRC_AT]) != half(page, PAGE_CRC_AT) || !described {
            return Err(damaged("it is damaged (its checksum is wrong)"));
        }
        let subject = subject(page, description).ok_or(damaged("it describes no topic"))?;
        Ok(Self {
            subject,
            generation: get(at::GENERATION),
            first: get(at::FIRST),
            newest: get(at::NEWEST),
            created_unix_ns: get(at::CREATED),
            segment_bytes: get(at::SEGMENT_BYTES),
        })
    }
}

/// A manifest's page that says what the topic is, and nothing else.
pub(crate) fn page_of(subject: &Subject) -> Vec<u8> {
    let mut page = vec![0; PAGE_BYTES];
    let options = &subject.options;
    let many = match options.publishers {
        Publishers::One => 0,
        Publishers::Many(count) => count,
    };
    let last = options.last_values.unwrap_or(LastValuesOptions { keys_max: 0, message_bytes_max: 0 });
    let name = options.message_type.name.as_bytes();
    for (at, value) in [
        (at::CAPACITY, options.capacity),
        (at::CELL, options.cell),
        (at::PAYLOAD_MAX, options.payload_max.unwrap_or(0)),
        (at::PAYLOAD_ALIGN, options.payload_align),
        (at::PUBLISHERS_MANY, many.into()),
        (at::SUBSCRIBERS_MAX, options.subscribers_max.into()),
        (at::STAMPS, options.stamps.into()),
        (at::LOSSY_ONLY, options.lossy_only.into()),
        (at::JOURNALED, options.journaled.into()),
        (at::LAST_KEYS_MAX, last.keys_max.into()),
        (at::LAST_MESSAGE_BYTES_MAX, last.message_bytes_max),
        (at::TYPE_VERSION, options.message_type.version.into()),
        (at::TYPE_FINGERPRINT, options.message_type.fingerprint),
        (at::TYPE_NAME_BYTES, name.len() as u64),
    ] {
        put(&mut page, at, value);
    }
    for (at, rate) in [(0, options.rate_limit.messages), (16, options.rate_limit.bytes)] {
        let rate = rate.unwrap_or(Rate { per_second: 0, burst: 0 });
        put(&mut page, at::RATE_LIMIT + at, rate.per_second);
        put(&mut page, at::RATE_LIMIT + at + 8, rate.burst);
    }
    page[at::TYPE_NAME..at::TYPE_NAME + name.len()].copy_from_slice(name);
    page
}

/// The topic that the page describes, if it can be.
pub(crate) fn subject(page: &[u8], description: &[u8]) -> Option<Subject> {
    let get = |at| word(page, at);
    let small = |at| u32::try_from(get(at)).ok();
    let name_bytes = usize::try_from(get(at::TYPE_NAME_BYTES)).ok().filter(|bytes| *bytes <= NAME_BYTES_MAX)?;
    let name = core::str::from_utf8(&page[at::TYPE_NAME..at::TYPE_NAME + name_bytes]).ok()?;
    let rate = |at| {
        let rate = Rate { per_second: get(at::RATE_LIMIT + at), burst: get(at::RATE_LIMIT + at + 8) };
        (rate != Rate { per_second: 0, burst: 0 }).then_some(rate)
    };
    let keys_max = small(at::LAST_KEYS_MAX)?;
    let last = LastValuesOptions { keys_max, message_bytes_max: get(at::LAST_MESSAGE_BYTES_MAX) };
    let options = TopicOptions {
        capacity: get(at::CAPACITY),
        cell: get(at::CELL),
        payload_max: Some(get(at::PAYLOAD_MAX)).filter(|max| *max != 0),
        payload_align: get(at::PAYLOAD_ALIGN),
        publishers: match small(at::PUBLISHERS_MANY)? {
            0 => Publishers::One,
            many => Publishers::Many(many),
        },
        subscribers_max: small(at::SUBSCRIBERS_MAX)?,
        stamps: get(at::STAMPS) != 0,
        last_values: (keys_max != 0).then_some(last),
        rate_limit: RateLimit { messages: rate(0), bytes: rate(16) },
        lossy_only: get(at::LOSSY_ONLY) != 0,
        journaled: get(at::JOURNALED) != 0,
        message_type: TypeTag {
            name: name.to_owned(),
            version: small(at::TYPE_VERSION)?,
            fingerprint: get(at::TYPE_FINGERPRINT),
        },
    };
    options.geometry().ok()?;
    let description = core::str::from_utf8(description).ok()?.to_owned();
    Some(Subject { epoch: get(at::EPOCH), options, description })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            subject: Subject {
                epoch: 42,
                options: TopicOptions {
                    publishers: Publishers::Many(7),
                    payload_max: Some(1000),
                    rate_limit: RateLimit::default().messages(1000, 10).bytes(1 << 20, 1 << 16),
                    lossy_only: true,
                    journaled: true,
                    stamps: true,
                    last_values: Some(LastValuesOptions { keys_max: 9, message_bytes_max: 500 }),
                    message_type: TypeTag { name: "md.trade".into(), version: 3, fingerprint: 99 },
                    ..TopicOptions::default()
                },
                description: "Trade { price: u64 }".to_owned(),
            },
            generation: 3,
            first: 4096,
            newest: 1 << 40,
            created_unix_ns: 5,
            segment_bytes: 1 << 27,
        }
    }

    #[test]
    fn a_manifest_gives_back_what_it_was_made_of() {
        let path = Path::new("manifest");
        assert_eq!(Manifest::decode(&manifest().encode(), path).unwrap(), manifest());
        let mut plain = manifest();
        plain.subject.options = TopicOptions::default();
        plain.subject.description = String::new();
        assert_eq!(Manifest::decode(&plain.encode(), path).unwrap(), plain);
    }

    #[test]
    fn a_flipped_bit_anywhere_and_every_cut_are_found() {
        let bytes = manifest().encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&flipped, Path::new("manifest")).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..length], Path::new("manifest")).is_err(), "cut at {length}");
        }
    }
}
