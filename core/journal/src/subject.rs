//! What a journal is of: the topic as it was made, so that it can be made again.

use crate::error::JournalError;
use memlane_ring::{FrameShape, TopicOptions};
use std::path::Path;

/// The topic of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The number of this very topic.
    pub epoch: u64,
    /// What was chosen when it was made.
    pub options: TopicOptions,
    /// The description of its messages' type; empty if it has none.
    pub description: String,
}

impl Subject {
    /// Checks that the journal at `path`, which is of this one, can go on with `other`.
    ///
    /// Errors: [`JournalError::OtherTopic`], with the first thing that differs.
    pub(crate) fn check_same(&self, other: &Self, path: &Path) -> Result<(), JournalError> {
        let differs = |what: String| Err(JournalError::OtherTopic { path: path.to_path_buf(), what });
        if self.epoch != other.epoch {
            return differs(format!("number {:016x}, not {:016x}", self.epoch, other.epoch));
        }
        let (mine, others) = (&self.options, &other.options);
        if mine.message_type != others.message_type {
            return differs(format!("its type is {}, not {}", mine.message_type.name, others.message_type.name));
        }
        let mine = FrameShape::of(mine);
        if mine != FrameShape::of(others) {
            return differs("its ring is of another size or layout".to_owned());
        }
        Ok(())
    }
}
