//! Topics on disk: recorded from the ring as they lie there, and read back from any position, instant or count on.
//!
//! ```
//! use memlane::journal::{Disk, Entry, From, Journal, RecorderOptions};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let root = memlane::doc_root();
//! # let directory = root.join("journal/md.trades");
//! # let bus = memlane::Bus::builder("journal").root(&root).open()?;
//! let topic = bus.topic("md.trades")?.stamps(true).open_or_create()?;
//! let (mut recorder, _) = topic.record(&directory, RecorderOptions::default())?;
//! topic.publisher::<[u8]>().open()?.publish(b"hello")?;
//! // A service calls `run` on a thread of its own; a turn records what is there.
//! recorder.turn()?;
//!
//! let mut reader = Journal::open(Arc::new(Disk), &directory)?.read(From::Earliest)?;
//! let Some(Entry::Message(message)) = reader.next()? else { panic!("it was recorded") };
//! assert_eq!(message.payload(), b"hello");
//! # Ok(())
//! # }
//! ```

use crate::topic::Topic;
use std::path::Path;
use std::sync::Arc;

pub use memlane_journal::disk::Disk;
pub use memlane_journal::record::{Gap, GapReason};
pub use memlane_journal::storage::{FileAccess, Room, Storage, StoredFile};
pub use memlane_journal::{
    Cut, Entry, Finding, FindingKind, From, Journal, JournalError, Message, OnFailure, Reader, RecordError, Recorder,
    RecorderOptions, Recovery, Report, SourceStanding, Subject, Summary, SyncPolicy, Turn,
};

impl Topic {
    /// Begins, or goes on, to record it in `directory`, which is this topic's own: from the oldest message that the ring still has, or where
    /// the journal in `directory` ends. What the ring let go of in between is recorded as a gap.
    ///
    /// One recorder records a topic into a journal at a time. It holds publishers back as a gated subscriber does. Cost: as of joining a topic, and of
    /// reading the newest segment's records. Errors: [`RecordError`].
    pub fn record(&self, directory: &Path, options: RecorderOptions) -> Result<(Recorder, Recovery), RecordError> {
        // One that can't be believed isn't handed on.
        let description = self.description().ok().flatten().unwrap_or_default();
        Recorder::open(self.log(), &description, Arc::new(Disk), directory, options)
    }
}
