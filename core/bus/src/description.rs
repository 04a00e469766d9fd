//! The description of a topic's message type, in a file beside its log.
//!
//! The file is the text itself, as the grammar in the head of `layout.rs` has it, and nothing else; `cat` shows it. It is written when the topic is
//! made, and never again. Its checksum is the fingerprint of the type, which the topic's header has: what doesn't match is another type's, or
//! broken, and is not believed.

use crate::layout;
use memlane_ring::topic::TYPE_FILE;
use memlane_shm::segment::open_file;
use memlane_shm::{Access, SegmentError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The longest description that a topic keeps, in bytes.
pub(crate) const DESCRIPTION_BYTES_MAX: usize = 64 * 1024;

/// Why the description of a topic's message type can't be had. Its messages can be received all the same.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// The file can't be read: look at its permissions.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The file can't be read to its end.
    #[error("can't read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is too long, no text, or not that of the topic's type: somebody has changed it.
    #[error("{path} doesn't describe the type of the topic's messages: somebody has changed it")]
    NotOfThisType {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the one of the topic in `directory`, whose type has this fingerprint.
pub(crate) fn read(directory: &Path, fingerprint: u64) -> Result<Option<String>, DescriptionError> {
    let path = directory.join(TYPE_FILE);
    let file = match open_file(&path, Access::ReadOnly) {
        Err(SegmentError::NotFound { .. }) => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    let read = file.take(DESCRIPTION_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    if let Err(source) = read {
        return Err(DescriptionError::Read { path, source });
    }
    let text = Some(bytes).filter(|bytes| bytes.len() <= DESCRIPTION_BYTES_MAX);
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
    match text.filter(|text| layout::fingerprint(text) == fingerprint) {
        Some(text) => Ok(Some(text)),
        None => Err(DescriptionError::NotOfThisType { path }),
    }
}
