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
//! Each key has two versions. A fold to T' writes, of each key, only the one that is not valid as of T (the newest before T), however
//! often the key comes, and then stores T'. So the state as of T is whole at every moment, also if the folder dies; its successor folds
//! again, from T, the same frames. T' is stored before the head: `head <= FOLDED`, so they still are there.
//!
//! Orderings: FOLDED (release store of the position; acquire load by readers and by the next folder): who sees the position sees what
//! was folded up to it. FOLD OVER (release fence before a fold's first store) pairs with an acquire fence between a reader's copy and
//! its second look at FOLDED: who copied bytes of a fold that began at T' sees that FOLDED is no longer T. KEYED (release store of an
//! index word; acquire load): who finds an entry sees its key.
//!
//! - `layout.rs`: every byte of the file
//! - `keys.rs`: keys are registered before their messages are published, so that there is a place for whatever is in the log
//! - `fold.rs`: bringing the table forward
//! - `read.rs`: joining with the state at a position

pub mod layout;

#[cfg(not(loom))]
mod fold;
#[cfg(not(loom))]
mod keys;
#[cfg(not(loom))]
mod read;
#[cfg(not(loom))]
pub use read::{Kept, LastValues};
#[cfg(not(loom))]
pub(crate) use table::Table;

/// The file with the last values.
pub const LAST_FILE: &str = "last";

#[cfg(not(loom))]
mod table {
    use super::LAST_FILE;
    use super::layout::{FOLDED, KEYS, Places, entry, version};
    use crate::error::TopicError;
    use crate::header::{HeaderError, copy_page};
    use crate::topic::Topic;
    use memlane_shm::sync::{AtomicU64, Ordering};
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

        pub(super) fn position(&self, number: u32, version: usize) -> &AtomicU64 {
            self.region.word(self.places.version_at(number, version) + version::POSITION)
        }

        pub(super) fn state(&self, number: u32, version: usize) -> &AtomicU64 {
            self.region.word(self.places.version_at(number, version) + version::STATE)
        }

        /// The version of entry `number` that is valid as of `folded`, and its position: the newest before it.
        pub(super) fn valid(&self, number: u32, folded: u64) -> Option<(usize, u64)> {
            let position = |version| self.position(number, version).load(Ordering::Relaxed).checked_sub(1);
            (0..2)
                .filter_map(|version| position(version).map(|position| (version, position)))
                .filter(|(_, position)| *position < folded)
                .max_by_key(|(_, position)| *position)
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
