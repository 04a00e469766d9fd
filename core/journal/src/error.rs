//! Why a journal could not be opened, written or read.

use crate::layout::VERSION;
use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be done with a journal. What was recorded before is there as before.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system is full: make room, prune the journal, or give it a larger one.
    #[error("{path}: no room to {action}: free some, prune the journal, or move it to a larger file system")]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
    },
    /// The system refused.
    #[error("{path}: can't {action}: {source}")]
    Storage {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// An earlier sync failed, so it isn't known what of the last batches survives a loss of power. Open the journal again: it then looks.
    #[error(
        "{path}: an earlier sync failed, and the kernel may have dropped what was written: open the journal again, which verifies it"
    )]
    SyncFailed {
        /// The segment.
        path: PathBuf,
    },
    /// The file was removed while it was written, and what was recorded in it is lost: find out by whom, and record to a directory that is there.
    #[error("{path}: removed while it was written, and with it what was recorded there: record to another directory")]
    Gone {
        /// The segment.
        path: PathBuf,
    },
    /// There is a journal in this directory already, where one is to be made.
    #[error("{path}: a journal is here already: name another directory")]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// There is no journal in this directory.
    #[error("{path}: no journal is here")]
    NotFound {
        /// The directory.
        path: PathBuf,
    },
    /// Another process, or another writer in this one, records this topic.
    #[error("{path}: another writer has this journal: one records a topic at a time")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The file was written by another version of memlane.
    #[error(
        "{path}: written in version {found} of the format, this is {VERSION}: read it with the memlane that wrote it"
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// The file's version.
        found: u32,
    },
    /// The journal is of another topic, or the topic was made anew since: record it to another directory, or move this one away.
    #[error("{path}: the journal of another topic ({what}): record to another directory, or move this one away")]
    OtherTopic {
        /// The file that belongs elsewhere.
        path: PathBuf,
        /// In what they differ.
        what: String,
    },
    /// Segments are there without a manifest, or with a damaged one: put back a copy, or repair the journal. The segments themselves are untouched.
    #[error(
        "{path}: {what}: put back a copy of it, make a new journal of the segments, which are untouched (memlane journal repair), or record to another directory"
    )]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A segment is gone that the journal had: put it back, repair the journal, or record to another directory. What is there can be read up to the gap, and from
    /// behind it.
    #[error(
        "{path}: missing, with all from position {from} to the next segment: put it back, carry the rest over (memlane journal repair), or record to another directory"
    )]
    Missing {
        /// What its file was called.
        path: PathBuf,
        /// The first position that is missing.
        from: u64,
    },
    /// The bytes are not what was written: the file was damaged. What lies before is whole.
    #[error("{path}: damaged at byte {offset}, position {position}: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// The log's position there.
        position: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// What was asked for has been pruned, or was never recorded.
    #[error("{path}: position {position} is not in the journal any more: its oldest is {oldest}")]
    NotRetained {
        /// The directory.
        path: PathBuf,
        /// What was asked for.
        position: u64,
        /// The oldest that it has.
        oldest: u64,
    },
    /// Somebody who lives has this offset: one at a time commits to it.
    #[error("{path}: somebody commits to this offset already: use another name, or end the other one")]
    OffsetTaken {
        /// The offset's file.
        path: PathBuf,
    },
    /// Somebody who lives has the snapshots of this name: one at a time saves them.
    #[error("{path}: somebody saves these snapshots already: use another name, or end the other one")]
    SnapshotsTaken {
        /// Their directory.
        path: PathBuf,
    },
    /// An offset, or snapshots, can't have this name.
    #[error(
        "{name:?} can't be an offset's name, nor that of snapshots: 1 to 120 of A-Z a-z 0-9 . _ -, and no . at the beginning"
    )]
    OffsetName {
        /// The name, cut if it is long.
        name: String,
    },
    /// An option can't be.
    #[error("{option} can't be {value}: {reason}")]
    BadOption {
        /// Which.
        option: &'static str,
        /// What was given.
        value: u64,
        /// What can be.
        reason: &'static str,
    },
}

impl JournalError {
    /// Sorts an error of the system by what one can do about it.
    pub(crate) fn of<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path: path.to_path_buf(), action }
            }
            _ => Self::Storage { path: path.to_path_buf(), action, source },
        }
    }

    /// Whether more room, or a mended disk, may let the same call succeed later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::Storage { .. })
    }
}
