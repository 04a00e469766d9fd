//! One segment: a page, the ring's bytes, and the records that say which of them count.

use crate::error::JournalError;
use crate::layout::{
    DATA_AT, PAGE_BYTES, PAGE_CRC_AT, RECORD_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENT_MAGIC, TOPIC_WORDS,
    VERSION, crc, half, manifest, put, put_half, segment as at, segment_name, word,
};
use crate::look::Look;
use crate::record::Record;
use crate::storage::{FileAccess, Storage, StoredFile};
use crate::subject::Subject;
use crate::window::Copying;
use memlane_ring::FrameShape;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How the data of a segment lie in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As they were in the ring, each position at its offset.
    #[default]
    Plain,
    /// In blocks, each compressed for itself.
    Compressed {
        /// Bytes of the blocks, and what pads them to whole records.
        stored_bytes: u64,
        /// How many records it has.
        records: u64,
        /// Whether messages that later ones of their key took the place of are padding.
        is_compacted: bool,
    },
}

/// What the page of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// The topic's number.
    pub epoch: u64,
    /// The position of its first byte of data.
    pub begin: u64,
    /// How many bytes of the log it has room for.
    pub data_bytes: u64,
    /// When it was begun, in nanoseconds since 1970.
    pub created_unix_ns: u64,
    /// What its frames look like.
    pub frames: FrameShape,
    /// How its data lie in it.
    pub form: Form,
}

impl SegmentHead {
    /// Its page.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE_BYTES];
        put(&mut page, 0, SEGMENT_MAGIC);
        put_half(&mut page, at::VERSION, VERSION);
        put_form(&mut page, self.form);
        for (at, value) in [
            (at::EPOCH, self.epoch),
            (at::BEGIN, self.begin),
            (at::DATA_BYTES, self.data_bytes),
            (at::CREATED, self.created_unix_ns),
            (at::CAPACITY, self.frames.capacity),
            (at::CELL, self.frames.cell),
            (at::PAYLOAD_AT, self.frames.payload_at),
            (at::BODY_MAX, self.frames.body_max),
            (at::STAMPS, self.frames.stamps.into()),
        ] {
            put(&mut page, at, value);
        }
        let sum = crc(&page[..PAGE_CRC_AT]);
        put_half(&mut page, PAGE_CRC_AT, sum);
        page
    }

    /// The same, with what the topic is, so that the manifest can be made anew.
    pub(crate) fn encode_with(&self, manifest_page: &[u8]) -> Vec<u8> {
        let mut page = self.encode();
        page[at::TOPIC..at::TOPIC + TOPIC_WORDS.len()].copy_from_slice(&manifest_page[TOPIC_WORDS]);
        let sum = crc(&page[..PAGE_CRC_AT]);
        put_half(&mut page, PAGE_CRC_AT, sum);
        page
    }

    /// What the page of the segment at `path`, which begins at `begin`, says.
    ///
    /// Errors: [`JournalError::Corrupt`], [`JournalError::OtherVersion`], and [`JournalError::OtherTopic`] if it is another segment's.
    pub fn decode(page: &[u8], path: &Path, begin: u64) -> Result<Self, JournalError> {
        let corrupt = |offset: usize, what| {
            let path = path.to_path_buf();
            Err(JournalError::Corrupt { path, offset: offset as u64, position: begin, what })
        };
        if page.len() < PAGE_BYTES {
            return corrupt(page.len(), "it is cut within its first page");
        }
        if word(page, 0) != SEGMENT_MAGIC {
            return corrupt(0, "it is no segment of a journal");
        }
        let found = half(page, at::VERSION);
        if found != VERSION {
            return Err(JournalError::OtherVersion { path: path.to_path_buf(), found });
        }
        if crc(&page[..PAGE_CRC_AT]) != half(page, PAGE_CRC_AT) {
            return corrupt(PAGE_CRC_AT, "its first page is damaged (its checksum is wrong)");
        }
        let get = |at| word(page, at);
        let head = Self {
            epoch: get(at::EPOCH),
            begin: get(at::BEGIN),
            data_bytes: get(at::DATA_BYTES),
            created_unix_ns: get(at::CREATED),
            frames: FrameShape {
                capacity: get(at::CAPACITY),
                cell: get(at::CELL),
                payload_at: get(at::PAYLOAD_AT),
                body_max: get(at::BODY_MAX),
                stamps: get(at::STAMPS) != 0,
            },
            form: match get(at::FORM) {
                0 => Form::Plain,
                1 => Form::Compressed {
                    stored_bytes: get(at::STORED_BYTES),
                    records: get(at::RECORDS),
                    is_compacted: get(at::COMPACTED) != 0,
                },
                _ => return corrupt(at::FORM, "its data lie in it in a way that isn't known here"),
            },
        };
        if head.begin != begin {
            let what = format!("its first page says that it begins at {}", head.begin);
            return Err(JournalError::OtherTopic { path: path.to_path_buf(), what });
        }
        let sizes = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        let can_be = match head.form {
            Form::Plain => true,
            Form::Compressed { stored_bytes, records, .. } => {
                stored_bytes <= SEGMENT_BYTES_MAX && records <= SEGMENT_BYTES_MAX / RECORD_BYTES as u64
            }
        };
        if !can_be
            || !head.frames.is_sound()
            || !sizes.contains(&head.data_bytes)
            || begin > memlane_ring::layout::POSITION_END
        {
            return corrupt(at::DATA_BYTES, "its sizes can't be");
        }
        Ok(head)
    }

    /// Where record number `number` lies in the file.
    #[must_use]
    pub fn record_at(&self, number: u64) -> u64 {
        self.records_at() + number * RECORD_BYTES as u64
    }

    /// Where the records begin in the file.
    #[must_use]
    pub fn records_at(&self) -> u64 {
        DATA_AT + self.stored_bytes()
    }

    /// How many bytes of the file are for data.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        match self.form {
            Form::Plain => self.data_bytes,
            Form::Compressed { stored_bytes, .. } => stored_bytes,
        }
    }

    /// Behind which position nothing of the log can be in it.
    #[must_use]
    pub fn data_end(&self) -> u64 {
        self.begin + self.data_bytes
    }

    /// Where `position`, which lies in it, is in the file, if it is a plain one. Of one that doesn't, some offset.
    #[must_use]
    pub fn offset(&self, position: u64) -> u64 {
        DATA_AT.wrapping_add(position.wrapping_sub(self.begin))
    }
}

/// Says in a segment's page how the data lie in it.
pub(crate) fn put_form(page: &mut [u8], form: Form) {
    let Form::Compressed { stored_bytes, records, is_compacted } = form else { return };
    put(page, at::FORM, 1);
    put(page, at::STORED_BYTES, stored_bytes);
    put(page, at::RECORDS, records);
    put(page, at::COMPACTED, is_compacted.into());
}

/// An open segment.
#[derive(Debug)]
pub struct Segment {
    /// Where it lies.
    pub path: PathBuf,
    /// What its page says.
    pub head: SegmentHead,
    pub(crate) file: Arc<dyn StoredFile>,
}

impl Segment {
    /// Opens the segment that begins at `begin` in `directory`.
    ///
    /// Cost: two system calls. Errors: [`JournalError`].
    pub fn open(storage: &dyn Storage, directory: &Path, begin: u64, access: FileAccess) -> Result<Self, JournalError> {
        let path = directory.join(segment_name(begin));
        let file = storage.open(&path, access).map_err(JournalError::of(&path, "open it"))?;
        let mut page = vec![0; PAGE_BYTES];
        let read = file.read_at(&mut page, 0).map_err(JournalError::of(&path, "read it"))?;
        let head = SegmentHead::decode(&page[..read], &path, begin)?;
        Ok(Self { path, head, file: file.into() })
    }

    /// The topic, without the description of its messages' type; `None` if the page doesn't say.
    ///
    /// Cost: a system call. Errors: the system's.
    pub fn subject(&self) -> Result<Option<Subject>, JournalError> {
        let mut page = vec![0; PAGE_BYTES];
        self.read(&mut page, 0)?;
        let mut manifest_page = vec![0; PAGE_BYTES];
        manifest_page[TOPIC_WORDS].copy_from_slice(&page[at::TOPIC..at::TOPIC + TOPIC_WORDS.len()]);
        put(&mut manifest_page, manifest::EPOCH, self.head.epoch);
        Ok(crate::manifest::subject(&manifest_page, b""))
    }

    /// Its length, in bytes.
    ///
    /// Errors: the system's.
    pub fn length(&self) -> Result<u64, JournalError> {
        self.file.length().map_err(JournalError::of(&self.path, "ask for its length"))
    }

    /// Reads its records from number `number` on, one after the other.
    #[must_use]
    pub fn records(&self, number: u64) -> Records<'_> {
        Records { segment: self, number, chunk: Vec::new(), at: 0, is_last: false }
    }

    /// The record with the number `number`, if it is there and right.
    ///
    /// Cost: a system call. Errors: the system's.
    pub fn record(&self, number: u64) -> Result<Option<Record>, JournalError> {
        let mut bytes = [0; RECORD_BYTES];
        let read = self.read(&mut bytes, self.head.record_at(number))?;
        Ok((read == RECORD_BYTES).then(|| Record::decode(&bytes, self.head.epoch, number)).flatten())
    }

    /// Fills `bytes` with the data from `position` on, of a plain one.
    ///
    /// Errors: the system's; [`JournalError::Corrupt`] if the file ends before.
    pub fn read_data(&self, position: u64, bytes: &mut [u8]) -> Result<(), JournalError> {
        let offset = self.head.offset(position);
        let read = self.read(bytes, offset)?;
        if read == bytes.len() {
            return Ok(());
        }
        Err(self.corrupt(offset + read as u64, position + read as u64, "the file is cut"))
    }

    /// A look at its data, in place where that can be. A disk that fails meanwhile may end the process.
    pub(crate) fn look(&self) -> Result<Look, JournalError> {
        self.file.window().map(Look::new).map_err(JournalError::of(&self.path, "look at it"))
    }

    /// A look at copies of its data, for which a disk that fails is an error in any case.
    pub(crate) fn look_at_copies(&self) -> Look {
        Look::new(Box::new(Copying::new(self.file.clone())))
    }

    pub(crate) fn corrupt(&self, offset: u64, position: u64, what: &'static str) -> JournalError {
        JournalError::Corrupt { path: self.path.clone(), offset, position, what }
    }

    pub(crate) fn read(&self, bytes: &mut [u8], offset: u64) -> Result<usize, JournalError> {
        self.file.read_at(bytes, offset).map_err(JournalError::of(&self.path, "read it"))
    }
}

/// Reads records, up to the first that isn't right.
#[derive(Debug)]
pub struct Records<'a> {
    segment: &'a Segment,
    /// Of the next record.
    number: u64,
    chunk: Vec<u8>,
    at: usize,
    is_last: bool,
}

impl Records<'_> {
    const CHUNK_BYTES: usize = 1024 * RECORD_BYTES;

    /// The next record; `None` where there is none, or none that is right.
    ///
    /// Cost: a system call for each 1,024 records. Errors: the system's.
    #[expect(clippy::should_implement_trait, reason = "an error ends nothing: the next call tries again")]
    pub fn next(&mut self) -> Result<Option<Record>, JournalError> {
        let record = self.peek()?;
        if record.is_some() {
            self.skip();
        }
        Ok(record)
    }

    /// The next record, which stays the next.
    pub(crate) fn peek(&mut self) -> Result<Option<Record>, JournalError> {
        let Some(bytes) = self.bytes()? else { return Ok(None) };
        Ok(Record::decode(&bytes, self.segment.head.epoch, self.number))
    }

    /// The bytes of the next record; `None` if the file ends before it does.
    pub(crate) fn bytes(&mut self) -> Result<Option<[u8; RECORD_BYTES]>, JournalError> {
        if self.at == self.chunk.len() {
            if self.is_last {
                return Ok(None);
            }
            self.chunk = vec![0; Self::CHUNK_BYTES];
            let read = self.segment.read(&mut self.chunk, self.segment.head.record_at(self.number))?;
            self.is_last = read < self.chunk.len();
            self.chunk.truncate(read / RECORD_BYTES * RECORD_BYTES);
            self.at = 0;
        }
        Ok(self.chunk[self.at..].first_chunk().copied())
    }

    /// Goes past the next record.
    pub(crate) fn skip(&mut self) {
        self.at += RECORD_BYTES;
        self.number += 1;
    }

    /// The number of the next record.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}
