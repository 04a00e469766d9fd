//! The bell of a bus: sleepers on more topics than one system call can name sleep on this one word; and a count of the topics that
//! came and went, for those who wait for new ones.
//!
//! It is the second half of a topic's doorbell (wake.rs), by the same protocol: whoever finds sleepers on a topic looks here too.
//!
//! ```text
//!   file `.bell` in the directory of the bus: a line pair each
//!   0  MAGIC    128  QUIET    256  BELL, LAST    384  CHANGES
//! ```
//!
//! It also says what the bus's topics lie in, by what itself does: a file, or a named segment.
//!
//! Nothing else depends on it: where it is missing or may not be written, sleepers nap; a publisher that found none when it attached wakes nobody
//! here, so a sleep takes a quarter of a second at most, as everywhere.

use memlane_shm::sync::{AtomicU64, LINE_PAIR_BYTES, Ordering};
use memlane_shm::{Region, futex};

pub(crate) const FILE_BYTES: usize = 4 * LINE_PAIR_BYTES;
/// Even if somebody may be asleep, as [`crate::layout::subs::QUIET`].
const QUIET: usize = LINE_PAIR_BYTES;
/// Futex word; counts rings.
const BELL: usize = 2 * LINE_PAIR_BYTES;
/// The epoch of the topic for which it rang last: a hint, where a sleeper may look first.
const LAST: usize = BELL + 8;
/// How many topics came or went.
const CHANGES: usize = 3 * LINE_PAIR_BYTES;

/// The bell of a bus.
#[derive(Clone, Debug)]
pub struct BusBell {
    region: Region,
}

impl BusBell {
    /// A bell in `region`, which is a file's, or a model's.
    pub(crate) fn in_region(region: Region) -> Self {
        Self { region }
    }

    /// Makes all its words, in a model.
    #[cfg(loom)]
    pub(crate) fn touch(&self) {
        for word in [QUIET, BELL, LAST, CHANGES] {
            self.region.word(word).load(Ordering::Relaxed);
        }
    }

    /// How many topics came or went so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.region.word(CHANGES).load(Ordering::Acquire)
    }

    /// A topic came or went: wakes those who sleep here.
    pub fn note_change(&self) {
        self.region.word(CHANGES).fetch_add(1, Ordering::AcqRel);
        self.ring_if_awaited(0);
    }

    /// The epoch of the topic for which it rang last; zero if it was for none. A hint.
    #[must_use]
    pub fn last_rung(&self) -> u64 {
        self.region.word(LAST).load(Ordering::Relaxed)
    }

    /// Sleeps until it rings, at most for `longest`; not at all if it counts other changes than `changes`. It rings for messages too, and each ring is paid for by a
    /// publisher: whoever waits for changes alone shouldn't sleep here again right after one. Where somebody dies before he rings, it is slept on.
    ///
    /// Cost: two system calls.
    #[cfg(not(loom))]
    pub fn sleep(&self, changes: u64, longest: core::time::Duration) {
        let bell = self.announce();
        // WAKE: say so, then look; pairs with the locked count in `note_change`.
        memlane_shm::barrier::heavy();
        if self.changes() == changes {
            futex::wait(&self.region, BELL, bell, Some(longest));
        }
    }

    /// Says that somebody is about to sleep; gives the value of the bell to sleep on.
    pub(crate) fn announce(&self) -> u32 {
        let bell = self.region.word(BELL).load(Ordering::Acquire);
        crate::wake::say_asleep_in(self.quiet());
        bell as u32
    }

    /// The word to sleep on as long as it doesn't ring, from when [`BusBell::announce`] gave `bell`.
    pub(crate) fn futex_word(&self, bell: u32) -> (&Region, usize, u32) {
        (&self.region, BELL, bell)
    }

    /// Wakes those who sleep here, for news of the topic with this epoch.
    pub(crate) fn ring_if_awaited(&self, epoch: u64) {
        let asleep = self.quiet().load(Ordering::SeqCst);
        if asleep.is_multiple_of(2) {
            self.region.word(LAST).store(epoch, Ordering::Relaxed);
            self.region.word(BELL).fetch_add(1, Ordering::AcqRel);
            futex::wake(&self.region, BELL, u32::MAX);
            crate::wake::clear_asleep_in(self.quiet(), asleep);
        }
    }

    fn quiet(&self) -> &AtomicU64 {
        self.region.word(QUIET)
    }
}

/// The file that it is.
#[cfg(not(loom))]
mod file {
    use super::{BusBell, FILE_BYTES};
    use crate::error::TopicError;
    use memlane_shm::sync::Ordering;
    use memlane_shm::{Access, Backing, MapOptions, Owner, Segment, SegmentError, SegmentOptions, directory, named};
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    const FILE: &str = ".bell";
    const MAGIC: u64 = u64::from_le_bytes(*b"MEMLBEL1");

    impl BusBell {
        /// Makes the bell of the bus in `directory`, unless it has one. `mode` are its permission bits: whoever may write it is woken by it and
        /// wakes others. Its `backing` is that of every topic that is made there from now on.
        ///
        /// Cost: a look or two if it is there. Errors: [`TopicError::Segment`].
        pub fn make(directory: &Path, mode: u32, owner: Owner, backing: Backing) -> Result<(), TopicError> {
            let path = directory.join(FILE);
            let (mut mode, mut backing) = (mode, backing);
            if let Some(found) = Backing::of(&path) {
                let is_lost = |file: File| matches!(named::check_memory(&path, &file), Err(SegmentError::Lost { .. }));
                if found == Backing::File || !File::open(&path).is_ok_and(is_lost) {
                    return Ok(());
                }
                // Its memory went with a restart of the host. Of two who notice at once one may take the other's new one away: who has that naps.
                (mode, backing) = (path.metadata().map_or(mode, |link| link.mode() & 0o777), found);
                let _ = std::fs::remove_file(&path);
            }
            let options = SegmentOptions { mode, owner, map: MapOptions::default(), backing };
            directory::place_file(&path, FILE_BYTES as u64, &options, |segment| {
                segment.region().word(0).store(MAGIC, Ordering::Relaxed);
            })?;
            Ok(())
        }

        /// Takes the bell of the bus in `directory` away, if it has one; a sleeper there naps from now on.
        ///
        /// Errors: those of the file system.
        pub fn remove(directory: &Path) -> std::io::Result<()> {
            match named::remove_file(&directory.join(FILE)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        }

        /// What topics of the bus in `directory` lie in: what its bell does, or, where it has none, what the environment says.
        ///
        /// Cost: one system call. Errors: [`TopicError::Segment`] for an environment that says what can't be.
        pub fn backing(directory: &Path) -> Result<Backing, TopicError> {
            match Backing::of(&directory.join(FILE)) {
                Some(backing) => Ok(backing),
                None => Ok(Backing::of_environment()?),
            }
        }

        /// The bell of the bus in `directory`, if there is one that this process may ring.
        ///
        /// Cost: four system calls.
        #[must_use]
        pub fn open(directory: &Path) -> Option<Self> {
            let segment = Segment::open(&directory.join(FILE), Access::ReadWrite, &MapOptions::default()).ok()?;
            let region = segment.region().clone();
            let is_bell = region.len() >= FILE_BYTES && region.word(0).load(Ordering::Relaxed) == MAGIC;
            is_bell.then(|| Self::in_region(region))
        }

        /// The same, for a sleeper: only if everybody who may enter the bus may ring it, for else somebody might publish and not ring.
        ///
        /// Cost: six system calls.
        #[must_use]
        pub fn open_to_sleep(directory: &Path) -> Option<Self> {
            let mode = |path: &Path| Some(path.metadata().ok()?.mode());
            let (may_enter, may_ring) = (mode(directory)? & 0o011, mode(&directory.join(FILE))? >> 1 & 0o011);
            (may_enter & !may_ring == 0).then(|| Self::open(directory)).flatten()
        }
    }
}
