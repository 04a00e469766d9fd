//! Reads all of a journal and says everything that is wrong with it, each with its file, its place and its position.

use crate::error::JournalError;
use crate::layout::{RECORD_BYTES, segment_name};
use crate::look::{self, Look};
use crate::manifest::Manifest;
use crate::read::Journal;
use crate::record::{Batch, Record};
use crate::recover::{Behind, broken_chain};
use crate::segment::{Form, Segment};
use crate::standing::Standing;
use memlane_ring::Found;
use std::path::PathBuf;

/// What a whole journal was found to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many segments were read.
    pub segments: u64,
    /// How many batches of frames.
    pub batches: u64,
    /// How many messages in them.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How many gaps are recorded.
    pub gaps: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether all that the journal ever took in is there, but for what its gaps say.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|finding| finding.kind == FindingKind::Unfinished)
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub kind: FindingKind,
    /// The file.
    pub path: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// The log's position there.
    pub position: u64,
    /// What it is.
    pub what: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// Something that counted is not what was written, or not there.
    Damaged,
    /// Something lies behind the last batch that never counted: a writer is at work, or died. The next one cuts it off.
    Unfinished,
}

impl Journal {
    /// Reads all of it.
    ///
    /// Cost: the time to read every byte. Errors: the system's; whatever is wrong with the journal is in the report.
    pub fn verify(&self) -> Result<Report, JournalError> {
        let mut report = Report::default();
        let segments = self.segments()?;
        let Manifest { first, newest, .. } = *self.manifest();
        for known in [first, newest] {
            if !segments.contains(&known) {
                report.add(JournalError::Missing { path: self.directory().join(segment_name(known)), from: known })?;
            }
        }
        for (index, begin) in segments.iter().enumerate() {
            report.segments += 1;
            let next = segments.get(index + 1).copied();
            let segment = match self.segment(*begin) {
                Ok(segment) => segment,
                Err(error) => {
                    report.add(error)?;
                    continue;
                }
            };
            let end = report.verify_segment(&segment, next.is_none())?;
            if let Some(end) = end.filter(|end| next.is_some_and(|next| next != *end)) {
                report.add(broken_chain(&segment, end)?)?;
            }
        }
        Ok(report)
    }
}

impl Report {
    /// Takes in what is wrong with the journal; gives back what is wrong with the system.
    fn add(&mut self, error: JournalError) -> Result<(), JournalError> {
        let what = error.to_string();
        let (path, offset, position) = match error {
            JournalError::Corrupt { path, offset, position, what } => {
                self.damaged(path, offset, position, what.to_owned());
                return Ok(());
            }
            JournalError::Missing { path, from } => (path, 0, from),
            JournalError::OtherTopic { path, .. } | JournalError::OtherVersion { path, .. } => {
                let begin = path.file_name().and_then(|name| crate::layout::segment_begin(&name.to_string_lossy()));
                (path, 0, begin.unwrap_or(0))
            }
            other => return Err(other),
        };
        self.damaged(path, offset, position, what);
        Ok(())
    }

    fn damaged(&mut self, path: PathBuf, offset: u64, position: u64, what: String) {
        self.findings.push(Finding { kind: FindingKind::Damaged, path, offset, position, what });
    }

    /// Reads a segment; returns where it ends, if that can be told.
    fn verify_segment(&mut self, segment: &Segment, is_newest: bool) -> Result<Option<u64>, JournalError> {
        let (head, path) = (&segment.head, &segment.path);
        let (mut standing, mut look, mut is_whole) = (Standing::before(head.begin), segment.look_at_copies(), true);
        let mut records = segment.records(0);
        let mut used = last_used(segment)?;
        // Nobody was writing it when it got its name.
        let mut is_newest = is_newest;
        if let Form::Compressed { records, .. } = head.form {
            (used, is_newest) = (used.max(records), false);
        }
        while records.number() < used {
            let offset = head.record_at(records.number());
            let Some(record) = records.peek()? else {
                if is_newest && !has_whole_record(segment, records.number(), used)? {
                    break;
                }
                is_whole = false;
                self.damaged(path.clone(), offset, standing.end, "a record isn't whole".to_owned());
                if records.bytes()?.is_none() {
                    break;
                }
                records.skip();
                continue;
            };
            records.skip();
            // Behind a record that is missing, the others fit none.
            if is_whole && let Err(what) = standing.take(&record) {
                is_whole = false;
                self.damaged(path.clone(), offset, record.position(), what.to_owned());
            }
            match record {
                Record::Batch(batch) => self.verify_batch(segment, records.number() - 1, &batch, &mut look)?,
                Record::Gap(_) => self.gaps += 1,
                _ => {}
            }
        }
        let dangling = (!standing.is_settled()).then_some("records without their batch");
        let behind = || Ok(Behind::of(segment, records.number(), standing.end)?.what);
        if is_newest
            && is_whole
            && let Some(what) = dangling.map_or_else(behind, |what| Ok(Some(what)))?
        {
            self.findings.push(Finding {
                kind: FindingKind::Unfinished,
                path: path.clone(),
                offset: head.record_at(records.number()),
                position: standing.end,
                what: what.to_owned(),
            });
        }
        Ok(is_whole.then_some(standing.end))
    }

    fn verify_batch(
        &mut self,
        segment: &Segment,
        number: u64,
        batch: &Batch,
        look: &mut Look,
    ) -> Result<(), JournalError> {
        let head = &segment.head;
        let place = || look::place(segment, number, batch);
        self.batches += 1;
        if let Some(what) = look.move_to(segment, number, batch)? {
            self.damaged(segment.path.clone(), place(), batch.position, what.to_owned());
            return Ok(());
        }
        let data = look.bytes();
        self.bytes += data.len() as u64;
        let (mut at, mut messages) = (0, 0);
        while at < data.len() {
            let position = batch.position + at as u64;
            match head.frames.look(position, &data[at..]) {
                Some(Found::Message(_, bytes)) => (at, messages) = (at + bytes as usize, messages + 1),
                Some(Found::Padding(bytes)) => at += bytes as usize,
                None => {
                    let what = "there is no frame where one should be".to_owned();
                    let offset = if head.form == Form::Plain { head.offset(position) } else { place() };
                    self.damaged(segment.path.clone(), offset, position, what);
                    return Ok(());
                }
            }
        }
        self.messages += messages;
        let is_compacted = matches!(head.form, Form::Compressed { is_compacted: true, .. });
        let recorded = u64::from(batch.messages);
        if messages > recorded || (messages < recorded && !is_compacted) {
            let what = format!("{messages} messages, where the record says {}", batch.messages);
            self.damaged(segment.path.clone(), place(), batch.position, what);
        }
        Ok(())
    }
}

/// How many records lie before the last one that isn't zeros, with it.
fn last_used(segment: &Segment) -> Result<u64, JournalError> {
    let (mut records, mut used) = (segment.records(0), 0);
    while let Some(bytes) = records.bytes()? {
        records.skip();
        if bytes != [0; RECORD_BYTES] {
            used = records.number();
        }
    }
    Ok(used)
}

/// Whether any record from number `from` to `to` is whole.
fn has_whole_record(segment: &Segment, from: u64, to: u64) -> Result<bool, JournalError> {
    let mut records = segment.records(from);
    while records.number() < to {
        if records.peek()?.is_some() {
            return Ok(true);
        }
        if records.bytes()?.is_none() {
            break;
        }
        records.skip();
    }
    Ok(false)
}
