//! A journal that is read, from any position, instant or count on, while its writer goes on or long after.
//!
//! No lock is needed: a record counts as soon as it is whole, its data were there before it, and neither ever changes.

use crate::error::JournalError;
use crate::layout::{segment_begin, segment_name};
use crate::manifest::Manifest;
use crate::reader::Reader;
use crate::seek::{self, Target};
use crate::segment::Segment;
use crate::storage::{FileAccess, Storage};
use crate::subject::Subject;
use memlane_ring::FrameShape;
use memlane_ring::layout::Geometry;
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

    /// The sizes of the topic's ring and frames.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
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

    /// Whether it is of the topic with this number and these sizes.
    ///
    /// Errors: [`JournalError::OtherTopic`] if not.
    pub fn check_is_of(&self, epoch: u64, geometry: &Geometry) -> Result<(), JournalError> {
        let differs = |what| Err(JournalError::OtherTopic { path: self.directory.clone(), what });
        if self.subject().epoch != epoch {
            return differs(format!("number {:016x}, not {epoch:016x}", self.subject().epoch));
        }
        if FrameShape::of_geometry(&self.geometry) != FrameShape::of_geometry(geometry) {
            return differs("its ring is of another size or layout".to_owned());
        }
        Ok(())
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

    /// Where it ends, as of now.
    ///
    /// Cost: some fifteen system calls. Errors: [`JournalError`].
    pub fn end(&self) -> Result<u64, JournalError> {
        let segments = self.segments()?;
        Ok(seek::last_mark(&self.segment(segments[segments.len() - 1])?)?.end)
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
        Reader::new(self, segments[index.saturating_sub(1) as usize], target)
    }
}
