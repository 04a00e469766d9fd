//! The last message of each key, in a file beside the log.
//!
//! The table is the state *as of* a position, FOLDED; the log from there on gives the state at every later one. So publishing costs the
//! table nothing: it is brought forward ("folded") by whoever reclaims, before the head moves past frames, and by nobody else.
//!
//! ```text
//!   positions    head        FOLDED                              end
//!                v           v                                   v
//!   log          [a1][b1][c1][a2][b2][  ][a3][b3]................
//!   table        a: a1  b: b1  c: c1                             a joiner copies the table, reads on from FOLDED to the end
//! ```
//!
//! A fold to T' writes over what was valid as of T, with frames of [T, T'), which the log has until the head is moved, and T' is stored
//! before that: `head <= FOLDED`. So whoever reads passes over an entry whose position is T or more, or changes meanwhile: the log has it.
//! That holds also if the folder dies, amid its bytes: its successor folds the same frames again, from T.
//!
//! Orderings: FOLDED (release store of the position, before the head's; acquire load by readers, after the head's, and by the next
//! folder): who sees the position sees what was folded up to it. REPLACED (an entry's position is stored, with release, before its bytes,
//! and a release fence stands between; a reader's acquire fence stands between its copy and its second look at the position): a copy that is
//! torn is never believed, and who sees a new position sees its frame in the log. KEYED (release store of an index word; acquire load):
//! who finds an entry sees its key.
//!
//! - `layout.rs`: every byte of the file
//! - `keys.rs`: keys are registered before their messages are published, so that there is a place for whatever is in the log
//! - `fold.rs`: bringing the table forward
//! - `restore.rs`: beginning with messages of before
//! - `read.rs`: joining with the state at a position

pub mod layout;

#[cfg(not(loom))]
mod fold;
#[cfg(not(loom))]
mod keys;
#[cfg(not(loom))]
mod read;
#[cfg(not(loom))]
mod restore;
#[cfg(not(loom))]
pub use read::{Kept, LastValues};
#[cfg(not(loom))]
pub(crate) use table::Table;

/// The file with the last values.
pub const LAST_FILE: &str = "last";

#[cfg(not(loom))]
mod table {
    use super::LAST_FILE;
    use super::layout::{FOLDED, KEYS, Places, entry};
    use crate::error::TopicError;
    use crate::header::{HeaderError, copy_page};
    use crate::topic::Topic;
    use memlane_shm::sync::AtomicU64;
    use memlane_shm::{Access, MapOptions, Region, Segment};

    /// The table holds what no publisher writes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Damaged;

    /// A topic's file `last`, mapped: for writing by publishers, else read-only. Its places were checked against the mapping.
    #[derive(Clone, Debug)]
    pub(crate) struct Table {
        pub(super) region: Region,
        pub(super) places: Places,
    }

    impl Table {
        pub(super) fn folded(&self) -> &AtomicU64 {
            self.region.word(FOLDED)
        }

        pub(super) fn keys(&self) -> &AtomicU64 {
            self.region.word(KEYS)
        }

        pub(super) fn index(&self, index: u64) -> &AtomicU64 {
            self.region.word(self.places.index_at(index))
        }

        pub(super) fn key_bytes(&self, number: u32) -> &AtomicU64 {
            self.region.word(self.places.entry_at(number) + entry::KEY_BYTES)
        }

        pub(super) fn key_word(&self, number: u32, word: usize) -> &AtomicU64 {
            self.region.word(self.places.entry_at(number) + entry::KEY + word * 8)
        }

        pub(super) fn position(&self, number: u32) -> &AtomicU64 {
            self.region.word(self.places.entry_at(number) + entry::POSITION)
        }

        pub(super) fn state(&self, number: u32) -> &AtomicU64 {
            self.region.word(self.places.entry_at(number) + entry::STATE)
        }
    }

    impl Topic {
        /// The table of last values, mapped; `None` if the topic has none.
        pub(crate) fn map_last(&self, access: Access, map: &MapOptions) -> Result<Option<Table>, TopicError> {
            let Some(options) = &self.header().options.last_values else { return Ok(None) };
            let places = Places::of(options, self.geometry())?;
            let path = self.path().join(LAST_FILE);
            let segment = Segment::open(&path, access, map).map_err(|error| self.explain_missing(&path, error))?;
            self.check_size(&path, segment.region().len(), places.file_bytes())?;
            let checked = self.header().check_last_page(&copy_page(segment.region()));
            checked.map_err(|source: HeaderError| self.unless_replaced(TopicError::Header { path, source }))?;
            Ok(Some(Table { region: segment.region().clone(), places }))
        }
    }
}
