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

use crate::error::{BusError, OpenError, PublishError};
use crate::publisher::Publisher;
use crate::topic::{Topic, TopicBuilder};
use memlane_journal::Writer;
use memlane_ring::layout::StateWord;
use memlane_ring::{LastMessage, Origin, TopicError};
use memlane_shm::clock::Calibration;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use crate::bus_recorder::{BusRecorder, RecordedTopics, Recording};
pub use memlane_journal::disk::Disk;
pub use memlane_journal::layout::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
pub use memlane_journal::record::{Gap, GapReason};
pub use memlane_journal::storage::{FileAccess, Room, Storage, StoredFile};
pub use memlane_journal::{
    Committed, Compaction, Compressed, Compression, Cut, Entry, Finding, FindingKind, From, Journal, JournalError,
    Message, Offset, OnFailure, Pruned, Reader, RecordError, Recorder, RecorderControl, RecorderOptions, Recovery,
    Repaired, Report, Retention, Snapshot, Snapshots, SourceStanding, Subject, Summary, SyncPolicy, Turn, repair,
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

/// Why a topic could not be opened, or made again from its journal.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The topic stands against it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its journal does.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The bus can't be looked through.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// How often it is looked again whether whoever has the journal has made the topic, or goes: each time a millisecond.
const ROUNDS_MAX: u32 = 500;

impl Publisher<[u8]> {
    /// Publishes a message of a journal once more, with its key, its headers and all else that it carries but its stamp; returns its new position.
    /// Waits for room for at most `timeout`.
    ///
    /// Errors: [`PublishError`]; nothing was published.
    pub fn republish_within(&mut self, message: &Message<'_>, timeout: Duration) -> Result<u64, PublishError> {
        let Self { log, block, wait, .. } = self;
        block.clear();
        // Whoever made the message has found that its extensions can be taken apart so far.
        for field in message.parts.fields.clone().map_while(Result::ok) {
            block.field(field.tag, &[field.value])?;
        }
        let extensions = block.finish(log.geometry().payload_align);
        Ok(log.publish_waiting(extensions, message.payload(), *wait, Some(timeout))?)
    }
}

impl TopicBuilder {
    /// With the options and the type that the topic of a journal had, in place of those given so far: for a topic to replay it to.
    #[must_use]
    pub fn like(mut self, subject: &Subject) -> Self {
        self.options = subject.options.clone();
        self.description.clone_from(&subject.description);
        self
    }

    /// Opens the topic; if it isn't there, as after a restart of the host, makes it again to go on where its journal in `directory` ends; and makes it anew
    /// if there is no journal either. Of several processes that do so at once, one makes it and all get the same.
    ///
    /// A topic that goes on has the options that it had, its epoch, its positions, and its named sources with their numbers; of the builder's options only those of this
    /// process and the permissions count. What was published and not recorded is gone: the next messages get those positions. One with last values has those of the messages that its journal still has.
    ///
    /// Cost: as of opening a journal for writing; with last values, of reading all of it, which compaction keeps short, and memory for each key. Errors: [`RestoreError`].
    pub fn open_or_restore(&self, directory: &Path) -> Result<Topic, RestoreError> {
        let mut round = 1;
        loop {
            if let Some(topic) = self.find()? {
                return Ok(topic);
            }
            let made = match Writer::resume(Arc::new(Disk), directory, Calibration::monotonic()) {
                Ok(Some((writer, _))) => self.restore(&writer, directory),
                Ok(None) => self.create().map_err(RestoreError::from),
                // By somebody who restores it, or by a recorder that is about to find out that the topic is gone.
                Err(JournalError::Locked { .. }) if round < ROUNDS_MAX => {
                    std::thread::sleep(Duration::from_millis(1));
                    round += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match made {
                Err(RestoreError::Open(OpenError::Topic(TopicError::Exists { .. }))) if round < ROUNDS_MAX => {
                    round += 1
                }
                other => return other,
            }
        }
    }

    /// Makes the topic of the journal in `directory` that `writer` has, which nobody else writes meanwhile.
    fn restore(&self, writer: &Writer, directory: &Path) -> Result<Topic, RestoreError> {
        let subject = writer.subject();
        let last = match subject.options.last_values {
            Some(_) => last_messages(&Journal::open(Arc::new(Disk), directory)?)?,
            None => HashMap::new(),
        };
        let mut last: Vec<LastMessage<'_>> = last.values().map(Last::as_message).collect();
        last.sort_unstable_by_key(|message| message.position);
        let sources: Vec<_> = writer.sources().iter().map(|source| (source.name.as_str(), source.sequence)).collect();
        let (epoch, position, messages) = (subject.epoch, writer.end(), writer.messages());
        let origin = Origin { epoch, position, messages, sources: &sources, last: &last };
        Ok(self.create_at(&subject.options, &subject.description, &origin)?)
    }
}

/// The last message of a key, copied out of a journal.
struct Last {
    position: u64,
    unix_ns: u64,
    word: StateWord,
    body: Box<[u8]>,
}

impl Last {
    fn as_message(&self) -> LastMessage<'_> {
        let Self { position, unix_ns, word, ref body } = *self;
        LastMessage { position, unix_ns, word, body }
    }
}

/// The last message of each key that `journal` has, but for those without payload, which take their key out.
fn last_messages(journal: &Journal) -> Result<HashMap<Box<[u8]>, Last>, JournalError> {
    let (mut reader, mut last) = (journal.read(From::Earliest)?, HashMap::new());
    while let Some(entry) = reader.next()? {
        let Entry::Message(message) = entry else { continue };
        let Some(key) = message.key() else { continue };
        if message.payload().is_empty() {
            last.remove(key);
        } else {
            let Message { position, unix_ns, word, body, .. } = message;
            last.insert(Box::from(key), Last { position, unix_ns, word, body: body.into() });
        }
    }
    Ok(last)
}
