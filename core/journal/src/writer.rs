//! Appends to a journal: bytes first, then the record that makes them count, then, as asked, a sync.
//!
//! ```text
//!   append   data → records          a death in between leaves data that no record names
//!   sync     both, in one call       everything before is durable
//!   roll     the old segment cut to its records → a new one, made aside, synced, renamed → the manifest
//! ```
//!
//! A call that fails for want of room or by the disk changes nothing that counts: the same call can be made again. After a sync that
//! failed nothing is believed any more until the journal is opened again.

use crate::begin::{close, first_records_bytes, make_segment, put_name, reserved_bytes};
use crate::error::JournalError;
use crate::layout::{LOCK_FILE, RECORD_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, crc};
use crate::manifest::Manifest;
use crate::read::Journal;
use crate::record::{Batch, Gap, GapReason, Record, Session};
use crate::recover::{self, Recovered, Recovery, Scan};
use crate::retention::{self, Pruned, Retention};
use crate::segment::Segment;
use crate::standing::{SourceStanding, Standing};
use crate::storage::{Room, Storage, StoredFile};
use crate::subject::Subject;
use memlane_shm::clock::{self, Calibration};
use memlane_shm::crash_point;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Default bytes of data of a segment.
pub const SEGMENT_BYTES_DEFAULT: u64 = 128 << 20;

/// How a journal is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterOptions {
    /// Bytes of data of a segment: 64 KiB to 1 TiB. Default 128 MiB. A frame that is longer gets a segment of its own.
    pub segment_bytes: u64,
    /// Whether syncs are to be quick: then segments are written with zeros first, so that a sync finds nothing new but bytes. Default no.
    pub room: Room,
    /// Whether anybody asks for syncs. If not, nothing is synced but what must be before it gets its name.
    pub syncs: bool,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES_DEFAULT, room: Room::Reserved, syncs: true }
    }
}

impl WriterOptions {
    fn check(&self) -> Result<(), JournalError> {
        if (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
            && self.segment_bytes.is_multiple_of(SEGMENT_BYTES_MIN)
        {
            return Ok(());
        }
        let (option, value) = ("segment_bytes", self.segment_bytes);
        Err(JournalError::BadOption { option, value, reason: "a multiple of 64 KiB, up to 1 TiB" })
    }
}

/// Whole frames to be appended.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a> {
    /// Where the first begins: where the journal ends.
    pub position: u64,
    /// Their bytes, as they lie in the ring.
    pub bytes: &'a [u8],
    /// How many messages are among them.
    pub messages: u32,
    /// When the first message was published, in nanoseconds since 1970.
    pub first_unix_ns: u64,
    /// The highest such time among them.
    pub highest_unix_ns: u64,
}

/// The one writer of a journal.
#[derive(Debug)]
pub struct Writer {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    /// Held for as long as this lives.
    _lock: Box<dyn Debug + Send + Sync>,
    options: WriterOptions,
    manifest: Manifest,
    segment: Segment,
    /// Of the next record.
    number: u64,
    /// The segment's length, or less: records up to there change nothing but bytes.
    reserved: u64,
    standing: Standing,
    session: Session,
    /// How many records of this segment were synced.
    synced_records: u64,
    /// Segments that were closed since the last sync.
    closed: Vec<Arc<dyn StoredFile>>,
    synced: u64,
    has_failed: bool,
    rolls: u64,
    /// Records that are being put together.
    records: Vec<u8>,
}

/// What a sync is to make durable. It may run on another thread while the writer goes on.
#[derive(Debug)]
pub struct PendingSync {
    files: Vec<Arc<dyn StoredFile>>,
    closed: usize,
    end: u64,
    records: u64,
}

impl PendingSync {
    /// Waits until all of it survives a loss of power.
    ///
    /// Cost: a system call, and the time of the disk. Errors: the system's, to be given to [`Writer::has_synced`] as they are.
    pub fn run(&self) -> io::Result<()> {
        self.files.iter().try_for_each(|file| file.sync())
    }

    /// Up to where.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }
}

impl Writer {
    /// Opens the journal in `directory` for the topic `subject`, or makes it, from position `begin` on. `calibration` is that of the topic's stamps.
    ///
    /// What a death left behind the last whole batch is cut off, and told. Cost: reads the newest segment's records; after a restart of the host also
    /// all data that wasn't known to be durable. Errors: [`JournalError`]; then nothing has changed.
    pub fn open(
        storage: Arc<dyn Storage>,
        directory: &Path,
        subject: &Subject,
        calibration: Calibration,
        begin: u64,
        options: WriterOptions,
    ) -> Result<(Self, Recovery), JournalError> {
        options.check()?;
        let failed = |action| JournalError::of(directory, action);
        storage.create_directory(directory).map_err(failed("make it"))?;
        let lock = storage.lock(&directory.join(LOCK_FILE)).map_err(failed("lock it"))?;
        let lock = lock.ok_or(JournalError::Locked { path: directory.to_path_buf() })?;
        let found = recover::recover(&*storage, directory, subject)?;
        let Recovered { mut manifest, standing, unsynced, recovery } =
            found.unwrap_or_else(|| Recovered::nothing(subject, begin));
        let synced = standing.synced;
        let session = Session { position: standing.end, calibration, boot: storage.boot(), synced };
        // A segment has one writer, so all in it is of one session. The manifest names this one, so it is durable before that is.
        let durably = WriterOptions { syncs: true, ..options };
        let made = make_segment(&*storage, directory, subject, &standing, session, &durably, 0)?;
        manifest.segment_bytes = options.segment_bytes;
        manifest.newest = standing.end;
        manifest.replace(&*storage, directory)?;
        let writer = Self {
            storage,
            directory: directory.to_path_buf(),
            _lock: lock,
            options,
            manifest,
            reserved: reserved_bytes(&made.segment.head),
            segment: made.segment,
            number: made.records,
            synced_records: made.records,
            standing: made.standing,
            session,
            closed: unsynced.into_iter().map(|segment| segment.file).collect(),
            synced,
            has_failed: false,
            rolls: 0,
            records: Vec::new(),
        };
        Ok((writer, recovery))
    }

    /// Opens the journal in `directory` as [`Writer::open`] does, for the topic that it is of; `None` if there is none.
    ///
    /// Cost and errors: as for [`Writer::open`].
    pub fn resume(
        storage: Arc<dyn Storage>,
        directory: &Path,
        calibration: Calibration,
    ) -> Result<Option<(Self, Recovery)>, JournalError> {
        let Some(manifest) = Manifest::read(&*storage, directory)? else { return Ok(None) };
        let options = WriterOptions { segment_bytes: manifest.segment_bytes, ..WriterOptions::default() };
        Self::open(storage, directory, &manifest.subject, calibration, manifest.first, options).map(Some)
    }

    /// The topic.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.manifest.subject
    }

    /// Where the journal ends: what is appended next begins there.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.standing.end
    }

    /// Everything before this position survives a loss of power.
    #[must_use]
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// How many messages it was ever given.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.standing.messages
    }

    /// How far each source got.
    #[must_use]
    pub fn sources(&self) -> &[SourceStanding] {
        &self.standing.sources
    }

    /// Appends `frames`, with which the sources in `moved` got as far as the sequence beside each name.
    ///
    /// Cost: two system calls, and the sum of the bytes; now and then a new segment. Errors: [`JournalError`]; then it can be called again.
    pub fn append(&mut self, frames: &Frames<'_>, moved: &[(&str, u64)]) -> Result<(), JournalError> {
        assert_eq!(frames.position, self.standing.end, "frames come where the journal ends, or after a gap");
        let end = frames.position + frames.bytes.len() as u64;
        if end > self.segment.head.data_end() {
            self.roll(frames.bytes.len() as u64)?;
        }
        self.check_has_not_failed()?;
        crash_point!("journal.before_write");
        self.write("write to it", frames.bytes, self.segment.head.offset(frames.position))?;
        crash_point!("journal.data_written");
        // The sum comes after the write, for which the kernel has brought the bytes near.
        let mut records = std::mem::take(&mut self.records);
        records.clear();
        let mut coming = Coming { writer: self, records: &mut records, sources: self.standing.sources.len() as u32 };
        for (name, sequence) in moved {
            coming.source_moved(name, *sequence);
        }
        coming.put(&Record::Batch(Batch {
            position: frames.position,
            end,
            messages: frames.messages,
            messages_before: self.standing.messages,
            first_unix_ns: frames.first_unix_ns,
            highest_unix_ns: frames.highest_unix_ns.max(self.standing.highest_unix_ns),
            synced: self.synced,
            data_crc: crc(frames.bytes),
            block_back: 0,
        }));
        let written = self.write_records(&records);
        self.records = records;
        written
    }

    /// Records that the log went on from `end`, and why what lies before is not in the journal.
    ///
    /// Cost: one system call. Errors: as for [`Writer::append`].
    pub fn gap(&mut self, end: u64, reason: GapReason) -> Result<(), JournalError> {
        assert!(end > self.standing.end, "a gap is one");
        self.check_has_not_failed()?;
        let record = Record::Gap(Gap {
            position: self.standing.end,
            end,
            reason,
            unix_ns: clock::unix_ns(),
            highest_unix_ns: self.standing.highest_unix_ns,
            messages_before: self.standing.messages,
            synced: self.synced,
        });
        self.write_record(&record)
    }

    /// Waits until all that was appended survives a loss of power.
    ///
    /// Cost: a system call, and the time of the disk. Errors: [`JournalError`]; then nothing more can be written.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.check_has_not_failed()?;
        if self.synced == self.standing.end {
            return Ok(());
        }
        let pending = self.begin_sync();
        let result = pending.run();
        self.has_synced(&pending, result)
    }

    /// Gives up the oldest segments, as far as `retention` lets them go.
    ///
    /// Cost: some ten system calls for each segment that goes. Errors: [`JournalError`]; what is recorded is there all the same.
    pub fn prune(&mut self, retention: &Retention) -> Result<Pruned, JournalError> {
        retention::prune(&self.journal()?, &mut self.manifest, retention)
    }

    /// Where it lies.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the oldest segment begins.
    pub(crate) fn begin(&self) -> u64 {
        self.manifest.first
    }

    /// The segments before this position are closed, and durable where anybody asks for syncs; `None`: not all that lie before the one that is written.
    pub(crate) fn closed_end(&self) -> Option<u64> {
        let begin = self.segment.head.begin;
        (!self.options.syncs || self.synced >= begin).then_some(begin)
    }

    /// The same, for reading.
    ///
    /// Cost: four system calls. Errors: [`JournalError`].
    pub(crate) fn journal(&self) -> Result<Journal, JournalError> {
        Journal::open(self.storage.clone(), &self.directory)
    }

    /// How often it has begun a new segment.
    #[must_use]
    pub fn rolls(&self) -> u64 {
        self.rolls
    }

    /// Gives back what the newest segment doesn't need, for a journal that isn't written on for now. It can be, all the same.
    ///
    /// Cost: a few system calls. Errors: the system's.
    pub fn close(&mut self) -> Result<(), JournalError> {
        close(&self.segment, self.number, self.standing.end)?;
        self.reserved = self.segment.head.record_at(self.number);
        Ok(())
    }

    /// What is to be synced now, for another thread.
    #[must_use]
    pub fn begin_sync(&self) -> PendingSync {
        let mut files = self.closed.clone();
        files.push(self.segment.file.clone());
        PendingSync { closed: self.closed.len(), files, end: self.standing.end, records: self.number }
    }

    /// Takes in how a sync ended.
    ///
    /// Errors: the sync's own; then nothing more can be written.
    pub fn has_synced(&mut self, pending: &PendingSync, result: io::Result<()>) -> Result<(), JournalError> {
        if let Err(error) = result {
            self.has_failed = true;
            return Err(JournalError::of(&self.segment.path, "sync it")(error));
        }
        // One that was begun before another one failed says nothing of what that one was for.
        self.check_has_not_failed()?;
        self.check_is_there()?;
        crash_point!("journal.synced");
        self.closed.drain(..pending.closed);
        self.synced = self.synced.max(pending.end);
        // It was of this segment, unless one was closed since.
        if self.closed.is_empty() {
            self.synced_records = pending.records;
        }
        Ok(())
    }

    /// Goes on after a sync that failed, in a new segment, from the end of what was known to be durable, which it returns: what was appended since is to be appended
    /// once more, or is a gap.
    ///
    /// Cost: as of a new segment. Errors: [`JournalError`]; [`JournalError::SyncFailed`] if segments were closed since the last good sync: only who opens the
    /// journal again can go on then.
    pub fn mend(&mut self) -> Result<u64, JournalError> {
        if !self.closed.is_empty() {
            return Err(JournalError::SyncFailed { path: self.segment.path.clone() });
        }
        let scan = Scan::of(&self.segment, None, self.synced_records)?;
        (self.number, self.standing) = (scan.number, scan.standing);
        // What is given up must not come back beside what takes its place.
        close(&self.segment, self.number, self.standing.end)?;
        self.segment.file.sync().map_err(JournalError::of(&self.segment.path, "sync it"))?;
        self.has_failed = false;
        let rolled = self.roll(0);
        self.has_failed = rolled.is_err();
        rolled.map(|()| self.standing.end)
    }

    /// Whether a sync failed, so that nothing can be written before it is mended.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Whether somebody has removed what is written: to a file without a name everything can be written, and nothing of it is ever found.
    ///
    /// Cost: a system call. Errors: [`JournalError::Gone`] if so.
    pub fn check_is_there(&self) -> Result<(), JournalError> {
        let path = &self.segment.path;
        let has_name = self.segment.file.has_name().map_err(JournalError::of(path, "ask for its names"))?;
        if has_name { Ok(()) } else { Err(JournalError::Gone { path: path.clone() }) }
    }

    fn check_has_not_failed(&self) -> Result<(), JournalError> {
        let failed = || JournalError::SyncFailed { path: self.segment.path.clone() };
        if self.has_failed { Err(failed()) } else { Ok(()) }
    }

    fn write_record(&mut self, record: &Record) -> Result<(), JournalError> {
        let bytes = record.encode(self.manifest.subject.epoch, self.number);
        self.write_records(&bytes)
    }

    /// Writes records, and takes them in.
    fn write_records(&mut self, records: &[u8]) -> Result<(), JournalError> {
        let end = self.segment.head.record_at(self.number) + records.len() as u64;
        if end > self.reserved {
            let more = end.next_multiple_of(first_records_bytes(&self.segment.head));
            let reserved = self.segment.file.reserve(more, self.options.room);
            reserved.map_err(JournalError::of(&self.segment.path, "reserve room for records"))?;
            self.reserved = more;
        }
        self.write("write its records", records, self.segment.head.record_at(self.number))?;
        for bytes in records.chunks_exact(RECORD_BYTES) {
            let record =
                bytes.first_chunk().and_then(|bytes| Record::decode(bytes, self.manifest.subject.epoch, self.number));
            let record = record.expect("it was encoded with this number a moment ago");
            self.standing.take(&record).expect("the writer's records follow from each other");
            self.number += 1;
        }
        crash_point!("journal.recorded");
        Ok(())
    }

    fn write(&self, action: &'static str, bytes: &[u8], offset: u64) -> Result<(), JournalError> {
        let failed = || JournalError::of(&self.segment.path, action);
        if !memlane_shm::crash::IS_COMPILED_IN {
            return self.segment.file.write_at(bytes, offset).map_err(failed());
        }
        let (half, rest) = bytes.split_at(bytes.len() / 2);
        self.segment.file.write_at(half, offset).map_err(failed())?;
        crash_point!("journal.half_written");
        self.segment.file.write_at(rest, offset + half.len() as u64).map_err(failed())
    }

    /// Goes on in a new segment with room for at least `bytes` bytes.
    #[cold]
    fn roll(&mut self, bytes: u64) -> Result<(), JournalError> {
        self.check_has_not_failed()?;
        close(&self.segment, self.number, self.standing.end)?;
        crash_point!("journal.closed");
        let session = Session { position: self.standing.end, synced: self.synced, ..self.session };
        let subject = &self.manifest.subject;
        let made =
            make_segment(&*self.storage, &self.directory, subject, &self.standing, session, &self.options, bytes)?;
        crash_point!("journal.rolled");
        let old = std::mem::replace(&mut self.segment, made.segment);
        (self.number, self.synced_records, self.standing) = (made.records, made.records, made.standing);
        self.reserved = reserved_bytes(&self.segment.head);
        self.rolls += 1;
        if self.options.syncs {
            // Where each batch is synced, it is durable already.
            if self.synced < self.standing.end {
                self.closed.push(old.file);
            }
            self.manifest.newest = self.segment.head.begin;
            self.manifest.segment_bytes = self.options.segment_bytes;
            self.manifest.replace(&*self.storage, &self.directory)?;
        }
        Ok(())
    }
}

/// Records that a batch needs, numbered from the writer's next on.
struct Coming<'a> {
    writer: &'a Writer,
    records: &'a mut Vec<u8>,
    /// How many sources have places.
    sources: u32,
}

impl Coming<'_> {
    fn put(&mut self, record: &Record) {
        let number = self.writer.number + (self.records.len() / RECORD_BYTES) as u64;
        self.records.extend_from_slice(&record.encode(self.writer.manifest.subject.epoch, number));
    }

    fn source_moved(&mut self, name: &str, sequence: u64) {
        let position = self.writer.standing.end;
        let known = self.writer.standing.sources.iter().position(|source| source.name == name);
        let place = known.map_or(self.sources, |place| place as u32);
        if known.is_none() {
            put_name(place, name, position, |record| self.put(record));
            self.sources += 1;
        }
        self.put(&Record::SourceMoved { place, position, sequence });
    }
}
