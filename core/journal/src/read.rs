//! Reads a journal, from any position, instant or count on, while its writer goes on or long after.
//!
//! No lock is needed: a record counts as soon as it is whole, its data were there before it, and neither ever changes. What is handed out has
//! been checked against its sum and the frames' own headers.

use crate::error::JournalError;
use crate::layout::{segment_begin, segment_name};
use crate::manifest::Manifest;
use crate::record::{Batch, Gap, Record, Session};
use crate::recover::{broken_chain, check_data};
use crate::seek::{self, Target};
use crate::segment::Segment;
use crate::storage::{FileAccess, Storage};
use crate::subject::{Found, FrameShape, Subject};
use memlane_ring::extension::{Field, Parts};
use memlane_ring::layout::{FRAME_HEADER_BYTES, Geometry, StateWord};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A journal that is read.
#[derive(Clone, Debug)]
pub struct Journal {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    manifest: Manifest,
    geometry: Geometry,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the oldest message that the journal has.
    Earliest,
    /// With the message at this position, or, if none begins there, with the one after it.
    Position(u64),
    /// With the first message that was published at this instant, in nanoseconds since 1970, or after it.
    Instant(u64),
    /// With the last so many messages.
    Last(u64),
}

/// What a journal has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The oldest position.
    pub begin: u64,
    /// Where it ends.
    pub end: u64,
    /// How many messages it was ever given.
    pub messages_ever: u64,
    /// How many of them it has.
    pub messages: u64,
    /// When the newest message was published, in nanoseconds since 1970; zero if there is none.
    pub highest_unix_ns: u64,
    /// Up to where its records say that everything survives a loss of power.
    pub synced: u64,
    /// Where its segments begin.
    pub segments: Vec<u64>,
}

/// What comes next in a journal.
#[derive(Debug)]
pub enum Entry<'a> {
    /// A message.
    Message(Message<'a>),
    /// Positions that the journal doesn't have.
    Gap(Gap),
}

/// A message of a journal.
#[derive(Debug)]
pub struct Message<'a> {
    /// Its position: its identity for ever.
    pub position: u64,
    /// When it was published, in nanoseconds since 1970; where the topic has no stamps, when its batch was read.
    pub unix_ns: u64,
    /// Its state word.
    pub word: StateWord,
    /// Everything after its header: stamp, extensions, payload.
    pub body: &'a [u8],
    /// What lies in it.
    pub parts: Parts<'a>,
}

impl<'a> Message<'a> {
    /// What was published.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.parts.payload
    }

    /// The number of the publisher that published it.
    #[must_use]
    pub fn publisher(&self) -> u32 {
        self.word.publisher()
    }

    /// What it is about; `None` if it doesn't say, or if that can't be read.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.parts.fields.key().ok().flatten()
    }

    /// Its headers: keys and values. Unknown and malformed extensions are left out.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.parts.fields.clone().map_while(Result::ok).filter_map(Field::user_header)
    }
}

impl Journal {
    /// Opens the journal in `directory`.
    ///
    /// Cost: five system calls. Errors: [`JournalError`].
    pub fn open(storage: Arc<dyn Storage>, directory: &Path) -> Result<Self, JournalError> {
        let manifest = Manifest::read(&*storage, directory)?;
        let manifest = manifest.ok_or(JournalError::NotFound { path: directory.to_path_buf() })?;
        let geometry = manifest.subject.options.geometry().expect("a manifest's options are checked when it is read");
        Ok(Self { storage, directory: directory.to_path_buf(), manifest, geometry })
    }

    /// The topic.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.manifest.subject
    }

    /// What its manifest said when it was opened.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Where it lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where its segments begin, in order.
    ///
    /// Cost: lists the directory. Errors: the system's; [`JournalError::Missing`] if there is none.
    pub fn segments(&self) -> Result<Vec<u64>, JournalError> {
        let names = self.storage.list(&self.directory).map_err(JournalError::of(&self.directory, "list it"))?;
        let begins = names.iter().filter_map(|name| segment_begin(name));
        let mut begins: Vec<u64> = begins.filter(|begin| *begin >= self.manifest.first).collect();
        begins.sort_unstable();
        if begins.is_empty() {
            let from = self.manifest.first;
            return Err(JournalError::Missing { path: self.directory.join(segment_name(from)), from });
        }
        Ok(begins)
    }

    /// Opens the segment that begins at `begin`.
    ///
    /// Cost: two system calls. Errors: [`JournalError`].
    pub fn segment(&self, begin: u64) -> Result<Segment, JournalError> {
        let segment = Segment::open(&*self.storage, &self.directory, begin, FileAccess::Read)?;
        let (mine, found) = (&self.manifest.subject.epoch, &segment.head.epoch);
        if mine != found {
            let what = format!("number {found:016x}, not {mine:016x}");
            return Err(JournalError::OtherTopic { path: segment.path, what });
        }
        if segment.head.frames != FrameShape::of_geometry(&self.geometry) {
            let what = "its ring is of another size or layout".to_owned();
            return Err(JournalError::OtherTopic { path: segment.path, what });
        }
        Ok(segment)
    }

    /// What it has, as of now.
    ///
    /// Cost: some thirty system calls. Errors: [`JournalError`].
    pub fn summary(&self) -> Result<Summary, JournalError> {
        let segments = self.segments()?;
        let before = seek::begin_mark(&self.segment(segments[0])?)?.messages;
        let newest = self.segment(segments[segments.len() - 1])?;
        let last = seek::last_mark(&newest)?;
        Ok(Summary {
            begin: segments[0],
            end: last.end,
            messages_ever: last.messages,
            messages: last.messages.saturating_sub(before),
            highest_unix_ns: last.highest_unix_ns,
            synced: last.synced,
            segments,
        })
    }

    /// Reads from `from` on.
    ///
    /// Cost: some twenty system calls for each of two searches. Errors: [`JournalError`]; [`JournalError::NotRetained`] for a position before the
    /// oldest.
    pub fn read(&self, from: From) -> Result<Reader, JournalError> {
        let segments = self.segments()?;
        let target = match from {
            From::Earliest => Target::Position(segments[0]),
            From::Position(position) if position < segments[0] => {
                let (path, oldest) = (self.directory.clone(), segments[0]);
                return Err(JournalError::NotRetained { path, position, oldest });
            }
            From::Position(position) => Target::Position(position),
            From::Instant(unix_ns) => Target::Instant(unix_ns),
            From::Last(count) => Target::Messages(self.summary()?.messages_ever.saturating_sub(count)),
        };
        // It lies in the last segment that begins before it.
        let index = seek::partition(segments.len() as u64, |index| {
            let mark = seek::begin_mark(&self.segment(segments[index as usize])?)?;
            Ok(target.is_behind(&mark))
        })?;
        let segment = self.segment(segments[index.saturating_sub(1) as usize])?;
        let number = seek::first_not_before(&segment, target)?;
        let session = seek::session(&segment)?;
        Ok(Reader {
            journal: self.clone(),
            end: segment.head.begin,
            segment,
            session,
            number,
            target: Some(target),
            data: Vec::new(),
            batch: None,
            before: None,
            has_begun: false,
        })
    }
}

/// Reads a journal in its order.
#[derive(Debug)]
pub struct Reader {
    journal: Journal,
    segment: Segment,
    session: Session,
    /// Of the next record.
    number: u64,
    /// Where to begin, until that is found.
    target: Option<Target>,
    /// The frames of `batch`.
    data: Vec<u8>,
    batch: Option<Place>,
    /// Before the message that was read last.
    before: Option<Place>,
    /// Where the records that were read end.
    end: u64,
    /// Whether any was.
    has_begun: bool,
}

/// Where a reader is in a batch.
#[derive(Clone, Copy, Debug)]
struct Place {
    batch: Batch,
    /// Bytes of it that were read.
    at: u64,
    /// Messages of it that were read.
    messages: u64,
}

impl Reader {
    /// What comes next; `None` at the end of what is recorded, so far.
    ///
    /// Cost: two system calls for each batch, and the sum of its bytes. Errors: [`JournalError`]; the reader stays where it is.
    #[expect(clippy::should_implement_trait, reason = "what it gives is borrowed")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, JournalError> {
        loop {
            let Some(place) = self.batch else {
                match self.next_record()? {
                    None => return Ok(None),
                    Some(Record::Batch(batch)) => self.enter(batch)?,
                    Some(Record::Gap(gap)) => return Ok(Some(Entry::Gap(gap))),
                    Some(_) => {}
                }
                continue;
            };
            let Some(found) = self.step(place)? else {
                self.batch = None;
                continue;
            };
            // Made out of plain numbers, for a borrow that is returned can't be taken back in a loop.
            let message = self.message(place, found)?;
            let before = self.target.is_some_and(|target| target.is_behind_message(&message, place));
            if !before {
                self.target = None;
                return self.message(place, found).map(|message| Some(Entry::Message(message)));
            }
        }
    }

    /// When what comes next was published, or its gap noticed, in nanoseconds since 1970; `None` at the end. The next call of [`Reader::next`] gives it: for who reads
    /// several journals in the order of their times.
    ///
    /// Cost and errors: as for [`Reader::next`].
    pub fn next_unix_ns(&mut self) -> Result<Option<u64>, JournalError> {
        match self.next()? {
            None => Ok(None),
            Some(Entry::Message(Message { unix_ns, .. })) => {
                self.batch = self.before;
                Ok(Some(unix_ns))
            }
            Some(Entry::Gap(gap)) => {
                self.number -= 1;
                self.end = gap.position;
                Ok(Some(gap.unix_ns))
            }
        }
    }

    /// Where it reads next, at the latest.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.batch.map_or(self.end, |place| place.batch.position + place.at)
    }

    /// The next record of this segment, or of the one that follows.
    fn next_record(&mut self) -> Result<Option<Record>, JournalError> {
        if let Some(record) = self.segment.record(self.number)? {
            return self.take_record(record).map(Some);
        }
        let next = self.end;
        if next == self.segment.head.begin {
            // Nothing is in it yet, so a writer that came since has made another one in its place.
            self.segment = self.journal.segment(next)?;
            self.session = seek::session(&self.segment)?;
            let record = self.segment.record(self.number)?;
            return record.map(|record| self.take_record(record)).transpose();
        }
        match self.journal.segment(next) {
            Err(JournalError::Storage { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                self.check_is_newest().map(|()| None)
            }
            Err(error) => Err(error),
            Ok(segment) => {
                // What was recorded here between the two looks.
                if self.segment.record(self.number)?.is_some() {
                    return self.next_record();
                }
                self.session = seek::session(&segment)?;
                (self.segment, self.number) = (segment, 0);
                self.next_record()
            }
        }
    }

    /// Goes past a record, which begins where the one before it ended, and ends there or behind.
    fn take_record(&mut self, record: Record) -> Result<Record, JournalError> {
        let follows = !self.has_begun || record.position() == self.end;
        if !follows || record.end() < record.position() {
            let offset = self.segment.head.record_at(self.number);
            return Err(self.segment.corrupt(offset, self.end, "a record doesn't begin where the one before it ends"));
        }
        (self.number, self.end, self.has_begun) = (self.number + 1, record.end(), true);
        Ok(record)
    }

    /// Where no segment begins that would follow this one, none may lie behind it: it was pruned, or is missing.
    fn check_is_newest(&self) -> Result<(), JournalError> {
        let has_room = self.segment.length()? >= self.segment.head.record_at(self.number + 1);
        if has_room {
            return Ok(());
        }
        let segments = self.journal.segments()?;
        if segments[0] > self.end {
            let (path, position, oldest) = (self.journal.directory.clone(), self.end, segments[0]);
            return Err(JournalError::NotRetained { path, position, oldest });
        }
        let is_broken = segments.last().is_some_and(|newest| *newest > self.end) && !segments.contains(&self.end);
        if is_broken { Err(broken_chain(&self.segment, self.end)?) } else { Ok(()) }
    }

    fn enter(&mut self, batch: Batch) -> Result<(), JournalError> {
        if let Some(what) = check_data(&self.segment, &batch, &mut self.data)? {
            self.number -= 1;
            self.end = batch.position;
            return Err(self.segment.corrupt(self.segment.head.offset(batch.position), batch.position, what));
        }
        self.batch = Some(Place { batch, at: 0, messages: 0 });
        Ok(())
    }

    /// Goes past the next message of the batch, and gives where its frame begins in `data`, and its state word; `None` at its end.
    fn step(&mut self, place: Place) -> Result<Option<(u64, StateWord)>, JournalError> {
        let Place { batch, mut at, messages } = place;
        while at < self.data.len() as u64 {
            let position = batch.position + at;
            match self.segment.head.frames.look(position, &self.data[at as usize..]) {
                Some(Found::Padding(bytes)) => at += bytes,
                Some(Found::Message(word, bytes)) => {
                    self.before = Some(Place { batch, at, messages });
                    self.batch = Some(Place { batch, at: at + bytes, messages: messages + 1 });
                    return Ok(Some((at, word)));
                }
                None => {
                    let offset = self.segment.head.offset(position);
                    return Err(self.segment.corrupt(offset, position, "there is no frame where one should be"));
                }
            }
        }
        Ok(None)
    }

    fn message(&self, place: Place, (at, word): (u64, StateWord)) -> Result<Message<'_>, JournalError> {
        let position = place.batch.position + at;
        let from = (at + FRAME_HEADER_BYTES) as usize;
        let body = &self.data[from..from + word.length() as usize];
        let parts = Parts::of(&self.journal.geometry, word, body).map_err(|_| {
            let offset = self.segment.head.offset(position);
            self.segment.corrupt(offset, position, "its extensions can't be read")
        })?;
        let stamp = parts.stamp.map(|ticks| self.session.calibration.unix_ns(ticks));
        Ok(Message { position, unix_ns: stamp.unwrap_or(place.batch.first_unix_ns), word, body, parts })
    }
}

impl Target {
    /// Whether `message`, before which `place` is, comes before it.
    fn is_behind_message(self, message: &Message<'_>, place: Place) -> bool {
        match self {
            Self::Position(position) => message.position < position,
            Self::Instant(unix_ns) => message.unix_ns < unix_ns,
            Self::Messages(count) => place.batch.messages_before.saturating_add(place.messages) < count,
        }
    }
}
