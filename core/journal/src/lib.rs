//! Layer 2 of memlane: the journal, which keeps topics on disk, byte for byte as they lie in the ring.
//!
//! Read in this order:
//!
//! 1. `layout.rs`: every byte on disk
//! 2. `storage.rs`, `disk.rs`, `simulated.rs`: what the journal asks of a file system, the one of the machine, and one for tests
//! 3. `record.rs`, `segment.rs`, `manifest.rs`, `subject.rs`: what the files say
//! 4. `standing.rs`, `begin.rs`, `writer.rs`, `recover.rs`: what records say together; a segment's ends; appending; going on after a
//!    death
//! 5. `read.rs`, `seek.rs`, `reader.rs`, `look.rs`, `window.rs`, `verify.rs`: finding where to begin, reading from there, in place, and all of it with distrust
//! 6. `offset.rs`, `snapshot.rs`, `retention.rs`: how far readers have come, and what they have made of it; giving up the oldest segments
//! 7. `regroup.rs`, `rewrite.rs`, `keeper.rs`: closed segments, compressed and compacted
//! 8. `repair.rs`: what is whole in a damaged journal, in a new one
//! 9. `options.rs`, `recorder.rs`, `control.rs`, `beside.rs`, `tally.rs`: from the ring into the journal, and what is done beside

#![forbid(unsafe_code)]

mod begin;
mod beside;
mod control;
pub mod disk;
pub mod error;
mod keeper;
pub mod layout;
mod look;
pub mod manifest;
mod offset;
mod options;
mod read;
mod reader;
pub mod record;
pub mod recorder;
mod recover;
mod regroup;
mod repair;
mod retention;
mod rewrite;
mod seek;
pub mod segment;
pub mod simulated;
mod snapshot;
mod standing;
pub mod storage;
mod subject;
mod tally;
mod verify;
pub mod window;
mod writer;

pub use control::RecorderControl;
pub use error::JournalError;
pub use keeper::{Compaction, Compressed};
pub use memlane_ring::{Found, FrameShape};
pub use offset::{Committed, OFFSET_NAME_BYTES_MAX, OFFSETS_DIRECTORY, Offset};
pub use options::{OnFailure, RecorderOptions, SyncPolicy};
pub use read::{From, Journal, Summary};
pub use reader::{Entry, Located, Message, Next, Reader};
pub use recorder::{RecordError, Recorder, Turn};
pub use recover::{Cut, Recovery};
pub use repair::{Repaired, repair};
pub use retention::{Pruned, Retention};
pub use rewrite::Compression;
pub use snapshot::{SNAPSHOTS_DIRECTORY, SNAPSHOTS_KEPT_DEFAULT, Snapshot, Snapshots};
pub use standing::{SourceStanding, Standing};
pub use subject::Subject;
pub use verify::{Finding, FindingKind, Report};
pub use writer::{Frames, PendingSync, SEGMENT_BYTES_DEFAULT, Writer, WriterOptions};
