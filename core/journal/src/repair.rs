//! Repair: a new journal out of what is whole in a damaged one, which stays as it is. What is not whole becomes a gap.
//!
//! Each segment's page says what the topic is, so the manifest isn't needed; the description of the messages' type alone is in the manifest only.

use crate::error::JournalError;
use crate::layout::{DATA_AT, LOCK_FILE, MANIFEST_FILE, segment_begin, segment_name};
use crate::look::{self, Look};
use crate::manifest::Manifest;
use crate::record::{Batch, GapReason, Record};
use crate::segment::Segment;
use crate::storage::{FileAccess, Storage};
use crate::subject::Subject;
use crate::writer::{Frames, Writer, WriterOptions};
use memlane_ring::FrameShape;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What came of a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// How many messages were carried over.
    pub messages: u64,
    /// Where the new journal ends.
    pub end: u64,
    /// Which positions were lost, and are gaps now.
    pub lost: Vec<(u64, u64)>,
    /// What was found, in words: the file, the place, and what is wrong there.
    pub found: Vec<String>,
}

/// Carries all that is whole in the journal in `from` over to a new one in `to`. Nobody may record to it meanwhile.
///
/// Positions, times, sources and gaps stay as they were; the count of messages begins anew. Cost: a read and a write of all of it. Errors: [`JournalError`];
/// [`JournalError::Exists`] if there is a journal in `to`, [`JournalError::Manifest`] if neither the manifest nor any segment says what the topic is.
pub fn repair(storage: &Arc<dyn Storage>, from: &Path, to: &Path) -> Result<Repaired, JournalError> {
    let lock_path = from.join(LOCK_FILE);
    let lock = storage.lock(&lock_path).map_err(JournalError::of(&lock_path, "lock it"))?;
    let _lock = lock.ok_or_else(|| JournalError::Locked { path: from.to_path_buf() })?;
    if !matches!(Manifest::read(&**storage, to), Ok(None)) {
        return Err(JournalError::Exists { path: to.to_path_buf() });
    }
    let mut found = Vec::new();
    let manifest = match Manifest::read(&**storage, from) {
        Ok(manifest) => manifest,
        Err(error @ (JournalError::Manifest { .. } | JournalError::OtherVersion { .. })) => {
            found.push(error.to_string());
            None
        }
        Err(error) => return Err(error),
    };
    let first = manifest.as_ref().map_or(0, |manifest| manifest.first);
    let Found { begin, segments, lost_to } = segments(&**storage, from, first, &mut found)?;
    let subject = match manifest {
        Some(manifest) => manifest.subject,
        None => subject_of(&segments, from)?,
    };
    let mut salvage = Salvage {
        storage: storage.clone(),
        directory: to.to_path_buf(),
        subject,
        begin,
        writer: None,
        lost_to,
        repaired: Repaired { found, end: begin, ..Repaired::default() },
    };
    for segment in &segments {
        salvage.segment(segment)?;
    }
    salvage.finish()
}

/// What there is of a journal.
struct Found {
    /// Where it begins.
    begin: u64,
    /// The segments that can be opened, in order.
    segments: Vec<Segment>,
    /// Up to where at most there is something in one that can't.
    lost_to: u64,
}

/// What there is in `directory`, from position `first` on.
fn segments(
    storage: &dyn Storage,
    directory: &Path,
    first: u64,
    found: &mut Vec<String>,
) -> Result<Found, JournalError> {
    let names = storage.list(directory).map_err(JournalError::of(directory, "list it"))?;
    let mut begins: Vec<u64> = names.iter().filter_map(|name| segment_begin(name)).filter(|at| *at >= first).collect();
    begins.sort_unstable();
    let (mut segments, mut unopened) = (Vec::new(), None);
    for &begin in &begins {
        match Segment::open(storage, directory, begin, FileAccess::Read) {
            Ok(segment) => segments.push(segment),
            Err(error @ JournalError::Storage { .. }) => return Err(error),
            Err(error) => {
                found.push(error.to_string());
                let path = directory.join(segment_name(begin));
                let file = storage.open(&path, FileAccess::Read).map_err(JournalError::of(&path, "open it"))?;
                let length = file.length().map_err(JournalError::of(&path, "ask for its length"))?;
                unopened = Some((begin, length.saturating_sub(DATA_AT)));
            }
        }
    }
    // If it is compressed, it may have had as much as the others.
    let most = segments.iter().map(|segment: &Segment| segment.head.data_bytes).max().unwrap_or(0);
    let lost_to = unopened.map_or(0, |(begin, bytes): (u64, u64)| begin.saturating_add(bytes.max(most)));
    match begins.first() {
        Some(&begin) if !segments.is_empty() => Ok(Found { begin, segments, lost_to }),
        _ => Err(JournalError::NotFound { path: directory.to_path_buf() }),
    }
}

/// The topic, as a segment says.
fn subject_of(segments: &[Segment], directory: &Path) -> Result<Subject, JournalError> {
    for segment in segments {
        if let Some(subject) = segment.subject()? {
            return Ok(subject);
        }
    }
    let what = "it can't be read, and no segment says what the topic is";
    Err(JournalError::Manifest { path: directory.join(MANIFEST_FILE), what })
}

struct Salvage {
    storage: Arc<dyn Storage>,
    directory: PathBuf,
    subject: Subject,
    /// Where the new journal begins.
    begin: u64,
    /// Of the segment at hand: each has its own session.
    writer: Option<Writer>,
    /// Up to where something was that is lost.
    lost_to: u64,
    repaired: Repaired,
}

impl Salvage {
    fn segment(&mut self, segment: &Segment) -> Result<(), JournalError> {
        let head = &segment.head;
        if head.epoch != self.subject.epoch || Some(head.frames) != FrameShape::of(&self.subject.options) {
            self.repaired.found.push(format!("{}: a segment of another topic", segment.path.display()));
            return Ok(());
        }
        let (mut records, mut look, mut sources) = (segment.records(0), segment.look_at_copies(), Sources::default());
        let (mut is_open, data_end) = (false, head.data_end());
        while let Some(bytes) = records.bytes()? {
            let number = records.number();
            records.skip();
            let record = Record::decode(&bytes, head.epoch, number);
            match record {
                Some(Record::Session(session)) if !is_open => {
                    is_open = true;
                    self.writer = None;
                    let options = WriterOptions { segment_bytes: head.data_bytes, ..WriterOptions::default() };
                    let (storage, directory) = (self.storage.clone(), &self.directory);
                    let opened =
                        Writer::open(storage, directory, &self.subject, session.calibration, self.begin, options)?;
                    self.writer = Some(opened.0);
                }
                Some(record) if is_open => self.record(segment, number, record, &mut sources, &mut look)?,
                _ if bytes.iter().all(|byte| *byte == 0) => {}
                _ => {
                    let place = head.record_at(number);
                    let what = format!("{}: record {number}, at byte {place}, isn't whole", segment.path.display());
                    self.repaired.found.push(what);
                    self.lost_to = self.lost_to.max(data_end);
                }
            }
        }
        if !is_open {
            self.lost_to = self.lost_to.max(data_end);
            self.repaired.found.push(format!("{}: its first records are damaged", segment.path.display()));
        }
        Ok(())
    }

    fn record(
        &mut self,
        segment: &Segment,
        number: u64,
        record: Record,
        sources: &mut Sources,
        look: &mut Look,
    ) -> Result<(), JournalError> {
        match record {
            Record::SourceName { place, part, text, .. } => sources.name(place, part, text.as_bytes()),
            Record::SourceMoved { place, sequence, .. } => sources.moved.push((place, sequence)),
            Record::Session(_) | Record::Begin(_) | Record::Block(_) => {}
            Record::Gap(gap) if gap.end > self.end() => {
                self.lose_up_to(gap.position)?;
                self.write(|writer| writer.gap(gap.end, gap.reason))?;
            }
            Record::Gap(_) => {}
            Record::Batch(batch) if batch.position < self.end() => {
                let what =
                    format!("{}: a batch at position {} lies over another", segment.path.display(), batch.position);
                self.repaired.found.push(what);
            }
            Record::Batch(batch) => match look.move_to(segment, number, &batch)? {
                Some(what) => {
                    let place = (segment.path.display(), look::place(segment, number, &batch), batch.position);
                    let found = format!("{}: damaged at byte {}, position {}: {what}", place.0, place.1, place.2);
                    self.repaired.found.push(found);
                    self.lost_to = self.lost_to.max(batch.end.min(segment.head.data_end()));
                }
                None => self.batch(&batch, look.bytes(), &sources.take())?,
            },
        }
        Ok(())
    }

    fn batch(&mut self, batch: &Batch, bytes: &[u8], moved: &[(String, u64)]) -> Result<(), JournalError> {
        self.lose_up_to(batch.position)?;
        let Batch { position, messages, first_unix_ns, highest_unix_ns, .. } = *batch;
        let frames = Frames { position, bytes, messages, first_unix_ns, highest_unix_ns };
        let moved: Vec<(&str, u64)> = moved.iter().map(|(name, sequence)| (name.as_str(), *sequence)).collect();
        self.write(|writer| writer.append(&frames, &moved))?;
        self.repaired.messages += u64::from(messages);
        Ok(())
    }

    fn end(&self) -> u64 {
        self.writer.as_ref().map_or(self.begin, Writer::end)
    }

    /// What lies before `position` and isn't there is a gap.
    fn lose_up_to(&mut self, position: u64) -> Result<(), JournalError> {
        let end = self.end();
        if position > end {
            self.write(|writer| writer.gap(position, GapReason::Damaged))?;
            self.repaired.lost.push((end, position));
        }
        Ok(())
    }

    fn write(&mut self, write: impl FnOnce(&mut Writer) -> Result<(), JournalError>) -> Result<(), JournalError> {
        self.writer.as_mut().map_or(Ok(()), write)
    }

    fn finish(mut self) -> Result<Repaired, JournalError> {
        // Positions that messages had, or may have had, are not given to others.
        let cell = FrameShape::of(&self.subject.options).map_or(1, |frames| frames.cell);
        self.lose_up_to(self.lost_to.next_multiple_of(cell))?;
        self.write(Writer::sync)?;
        self.repaired.end = self.end();
        if self.writer.is_none() {
            return Err(JournalError::NotFound { path: self.directory });
        }
        Ok(self.repaired)
    }
}

/// The sources of a segment: names by place, and what has moved since the last batch.
#[derive(Default)]
struct Sources {
    names: Vec<(u32, Vec<u8>)>,
    moved: Vec<(u32, u64)>,
}

impl Sources {
    fn name(&mut self, place: u32, part: u8, text: &[u8]) {
        match self.names.iter_mut().find(|(named, _)| *named == place) {
            Some((_, name)) if part > 0 => name.extend_from_slice(text),
            Some((_, name)) => *name = text.to_vec(),
            None => self.names.push((place, text.to_vec())),
        }
    }

    /// Of those that have moved and have a name, how far.
    fn take(&mut self) -> Vec<(String, u64)> {
        let moved = std::mem::take(&mut self.moved);
        let name_of = |place: u32| {
            let (_, name) = self.names.iter().find(|(named, name)| *named == place && !name.is_empty())?;
            String::from_utf8(name.clone()).ok()
        };
        moved.into_iter().filter_map(|(place, sequence)| Some((name_of(place)?, sequence))).collect()
    }
}
