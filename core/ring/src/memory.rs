//! A topic's memory as its participants use it: mapped regions and the geometry that they were checked against.

use crate::layout::{Geometry, LINE_BYTES, SLOT_BYTES, control, slot, status, subs};
use memlane_shm::sync::{AtomicU64, Ordering, WORD_BYTES};
use memlane_shm::{Region, fork};

/// The file `log` of a topic, mapped. Its geometry was checked against the mapping when it was made, so an offset that
/// `geometry` gives for a position is inside.
#[derive(Clone, Debug)]
pub struct Log {
    pub(crate) region: Region,
    pub(crate) ring: Region,
    pub(crate) geometry: Geometry,
    /// Where the claims table begins in `region`.
    claims_at: usize,
    generation: u64,
    /// The bus's bell, for who may ring it, and the topic's epoch.
    pub(crate) bell: Option<(crate::bell::BusBell, u64)>,
    /// The table of last values, for publishers of a topic that has one.
    #[cfg(not(loom))]
    pub(crate) last: Option<crate::last_values::Table>,
}

impl Log {
    /// Takes over a mapping.
    ///
    /// # Panics
    /// If it isn't as long as the geometry says.
    #[must_use]
    pub fn new(region: Region, geometry: Geometry) -> Self {
        let ring = region.part(geometry.ring_at(), geometry.capacity as usize);
        Self {
            region,
            ring,
            geometry,
            claims_at: geometry.claims_at(),
            generation: fork::generation(),
            bell: None,
            #[cfg(not(loom))]
            last: None,
        }
    }

    /// The state word of a frame that begins at `position`.
    #[inline(always)]
    pub(crate) fn header(&self, position: u64) -> &AtomicU64 {
        self.header_at(self.geometry.offset(position))
    }

    /// The state word of a frame that begins at `offset` in the ring.
    #[inline(always)]
    pub(crate) fn header_at(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(self.geometry.is_cell(offset as u64));
        // SAFETY:
        // - In bounds: an offset is a position masked by the capacity, which `new` found to be the ring's length, or one
        //   that a publisher compared with its bound, which is less.
        // - Aligned: positions are multiples of the cell. A publisher's own are by construction, a subscriber's because it
        //   moves on by whole frames from a position that `join` or the cell mask rounded.
        unsafe { self.ring.word_unchecked(offset) }
    }

    /// Takes the line at `offset` in the ring away from whoever read it a lap ago, by a store: the core gets it while there is
    /// time. (A prefetch for writing is not enough: where the core still shares the line, it is dropped.)
    ///
    /// The publisher may write there; what it holds until a frame is committed over it is read by nobody.
    #[inline(always)]
    pub(crate) fn take_line(&self, offset: u64) {
        let line = (offset & !(LINE_BYTES - 1)) as usize;
        debug_assert!(line < self.ring.len());
        // SAFETY:
        // - In bounds: the caller compared `offset` with its bound, which is less than the capacity.
        // - Aligned: a line is.
        unsafe { self.ring.word_unchecked(line) }.store(0, Ordering::Relaxed);
    }

    /// The claims word of the cell at `position`. Only topics with many publishers have them.
    #[inline(always)]
    pub(crate) fn claim(&self, position: u64) -> &AtomicU64 {
        self.claim_at(self.geometry.offset(position))
    }

    /// The claims word of the cell at `offset` in the ring.
    #[inline(always)]
    pub(crate) fn claim_at(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(self.geometry.many && offset < self.ring.len());
        // SAFETY:
        // - In bounds: the table has a word for each cell of the ring, and lies before it in the mapping.
        // - Aligned: the table starts on a line, and words are 8 bytes.
        unsafe { self.region.word_unchecked(self.claims_at + (offset >> self.geometry.cell_shift) * WORD_BYTES) }
    }

    /// A control word.
    #[inline(always)]
    pub(crate) fn control(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset < control::PUBLISHERS);
        // SAFETY: control words lie before the ring in every mapping that `new` accepted.
        unsafe { self.region.word_unchecked(offset) }
    }

    /// A word of a publisher's slot, `offset` bytes from the start of the file.
    #[inline(always)]
    pub(crate) fn slot_word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!((control::PUBLISHERS..self.geometry.claims_at()).contains(&offset));
        // SAFETY: the slots lie before the ring in every mapping that `new` accepted; who took one checked its number.
        unsafe { self.region.word_unchecked(offset) }
    }

    /// Everything below is, or may at any moment be, overwritten.
    #[inline(always)]
    pub(crate) fn head(&self) -> u64 {
        self.geometry.cell_of(self.control(control::HEAD).load(Ordering::Acquire))
    }

    /// Brings the table of last values forward, if there is one, before the head moves to `head`.
    #[inline]
    pub(crate) fn fold(&self, head: u64) {
        #[cfg(not(loom))]
        if let Some(table) = &self.last {
            table.fold(self, head);
        }
        #[cfg(loom)]
        let _ = head;
    }

    /// Whether this is a forked child, which lost the mapping, or the topic was removed.
    pub(crate) fn state(&self) -> State {
        if self.generation != fork::generation() {
            State::Forked
        } else if self.control(status::REMOVED).load(Ordering::Relaxed) != 0 {
            State::Removed
        } else {
            State::Live
        }
    }
}

/// What a participant finds when it has time to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Live,
    Forked,
    Removed,
}

/// The file `subs` of a topic, mapped for writing.
#[derive(Clone, Debug)]
pub struct Subs {
    pub(crate) region: Region,
    slots_max: u32,
}

impl Subs {
    /// Takes over a mapping.
    ///
    /// # Panics
    /// If it isn't as long as the geometry says.
    #[must_use]
    pub fn new(region: Region, geometry: &Geometry) -> Self {
        assert!(geometry.subs_bytes() <= region.len(), "`open` checked the file's size");
        Self { region, slots_max: geometry.subscribers_max }
    }

    /// A control word.
    #[inline(always)]
    pub(crate) fn control(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset < subs::SLOTS);
        // SAFETY: control words lie before the slots in every mapping that `new` accepted.
        unsafe { self.region.word_unchecked(offset) }
    }

    /// The cursor word of a slot.
    #[inline(always)]
    pub(crate) fn cursor(&self, slot: u32) -> &AtomicU64 {
        assert!(slot < self.slots_max, "a subscriber's number was checked where it came from");
        let offset = subs::SLOTS + slot as usize * SLOT_BYTES + slot::CURSOR;
        // SAFETY: the mapping that `new` accepted has so many slots.
        unsafe { self.region.word_unchecked(offset) }
    }

    /// How many messages the holders of a slot have read.
    #[inline(always)]
    pub(crate) fn messages(&self, slot: u32) -> &AtomicU64 {
        debug_assert!(slot < 2 * self.slots_max);
        let offset = subs::SLOTS + slot as usize * SLOT_BYTES + slot::MESSAGES;
        // SAFETY: as above; a slot's number was checked when it was taken.
        unsafe { self.region.word_unchecked(offset) }
    }

    /// The cursor word of an observer's slot, which that observer took.
    #[inline(always)]
    pub(crate) fn observer_cursor(&self, slot: u32) -> &AtomicU64 {
        debug_assert!(slot < 2 * self.slots_max);
        let offset = subs::SLOTS + slot as usize * SLOT_BYTES + slot::CURSOR;
        // SAFETY: as above.
        unsafe { self.region.word_unchecked(offset) }
    }

    /// How many slots must be looked at. The word is written by subscribers, so it is not believed past the table's end.
    #[inline(always)]
    pub(crate) fn slots_used(&self) -> u32 {
        self.control(subs::SLOTS_USED).load(Ordering::Acquire).min(u64::from(self.slots_max)) as u32
    }

    /// The same of observers' slots, which come after the others.
    pub(crate) fn observers_used(&self) -> u32 {
        self.control(subs::OBSERVERS_USED).load(Ordering::Acquire).min(u64::from(self.slots_max)) as u32
    }

    /// How many slots there are.
    pub(crate) fn slots_max(&self) -> u32 {
        self.slots_max
    }

    /// The lowest position that a gated subscriber still needs; `u64::MAX` if there is none, zero while one joins.
    ///
    /// Cost: a line of each subscriber's; the loads don't wait for one another.
    #[inline]
    pub(crate) fn gate(&self) -> u64 {
        (0..self.slots_used())
            .map(|slot| self.cursor(slot).load(Ordering::Acquire).wrapping_sub(1))
            .min()
            // Who is joining holds position zero.
            .map_or(u64::MAX, |gate| if gate == slot::JOINING - 1 { 0 } else { gate })
    }
}
