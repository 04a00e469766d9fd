//! Every byte of a topic that another process sees. Version: [`ABI`].
//!
//! ```text
//!  file `log`                                                       file `subs`
//!  0        header, immutable, with a checksum at its end           0     header
//!  4096     control: a line pair (128 bytes) each for               4096  control: QUIET, ROOM_WANTED, ROOM_BELL, SLOTS_USED, DURABLE, …
//!           HEAD LAST TAIL LIMIT LEASE DOORBELL STATUS RATE, MARKS   5120  slots of gated subscribers, a line pair each
//!  6144     publisher slots, a line pair each                               slots of observers, as many
//!           their labels, a line pair each                                  labels of both, a line pair each
//!           sources: a name (as a label) each, then a sequence each
//!  claims   one word per cell (only with many publishers)
//!  ring     `capacity` bytes, starting on a page
//!
//!  frame, on a cell boundary, padded to whole cells, never wrapping
//!  0            8           payload_at                       8 + length
//!  +------------+-----------+--------------+-----------------+ - - - - +
//!  | state word | stamp     | extensions   | payload         | padding |
//!  +------------+-----------+--------------+-----------------+ - - - - +
//!               if the topic  if the frame
//!               has stamps    has the flag
//!
//!  state word   63      48 47   46 45   42 41       32 31            0
//!               +---------+-------+-------+-----------+---------------+
//!               | lap     | phase | flags | publisher | length        |
//!               +---------+-------+-------+-----------+---------------+
//! ```
//!
//! A topic with last values has a third file: `last_values/layout.rs`.
//!
//! Lap and phase stand together at the top, so that a subscriber decides with one comparison whether the frame is there.
//! Words of zeros mean "nothing": FREE and UNCLAIMED of lap 0, a slot that nobody has, a doorbell that must be
//! rung; so a new file needs no initialization beyond its header, and neither does what a forked child is given instead.
//! Positions in slots are stored plus one for that reason.

use memlane_shm::sync::{LINE_PAIR_BYTES, WORD_BYTES};

/// The layout's version: files of another one are refused.
pub const ABI: u32 = 4;

/// First bytes of a `log` file.
pub const LOG_MAGIC: u64 = u64::from_le_bytes(*b"MEMLANE\0");
/// First bytes of a `subs` file.
pub const SUBS_MAGIC: u64 = u64::from_le_bytes(*b"MEMLSUBS");

/// Bytes of the immutable header at the start of each file.
pub const HEADER_BYTES: usize = 4096;
/// Bytes of a state word, which every frame begins with.
pub const FRAME_HEADER_BYTES: u64 = 8;
/// Bytes of a cache line: what two cores hand over at once.
pub const LINE_BYTES: u64 = 64;
/// No position comes so far, in centuries: more is foreign bytes. What is computed from a smaller one doesn't overflow.
pub const POSITION_END: u64 = 1 << 62;
/// Most publishers that a topic can have: the state word has ten bits for them.
pub const PUBLISHERS_MAX: u32 = 1 << 10;
/// Most subscribers with a slot that a topic can have.
pub const SUBSCRIBERS_MAX: u32 = 1 << 16;
/// Smallest and largest cell, in bytes.
pub const CELL_BYTES: core::ops::RangeInclusive<u64> = 32..=4096;
/// Smallest and largest ring, in bytes.
pub const CAPACITY_BYTES: core::ops::RangeInclusive<u64> = 4096..=1 << 36;
/// Largest alignment of a payload, in bytes.
pub const PAYLOAD_ALIGN_MAX: u64 = 64;
/// A frame takes at most this part of the ring.
pub const FRAMES_IN_RING_MIN: u64 = 4;
/// How many named sources a topic knows at most, beside one for each of many publishers.
pub const SOURCES_MAX: u32 = 12;
/// Into how many stretches the ring is divided, each with a mark at its first frame (one publisher).
pub const MARKS: u64 = if cfg!(loom) { 4 } else { 64 };

/// Control words of `log`: offsets in bytes from the start of the file, each alone on its line pair.
pub mod control {
    use super::{HEADER_BYTES, LINE_PAIR_BYTES};
    /// Everything below this position may be overwritten at any moment. Written by whoever reclaims.
    pub const HEAD: usize = HEADER_BYTES;
    /// Where a recent committed frame begins: a hint from which the newest is a few steps away.
    pub const LAST: usize = HEAD + LINE_PAIR_BYTES;
    /// One publisher: messages so far, on the line that it writes with each of them.
    pub const MESSAGES: usize = LAST + super::WORD_BYTES;
    /// Many publishers: a claim boundary near the first unclaimed cell, a hint.
    pub const TAIL: usize = LAST + LINE_PAIR_BYTES;
    /// Many publishers: cells below this position are stamped FREE for their lap and may be claimed; stored less the capacity,
    /// so that zero is right for a new file.
    pub const LIMIT: usize = TAIL + LINE_PAIR_BYTES;
    /// Many publishers: who reclaims, as publisher plus one; zero if nobody.
    pub const LEASE: usize = LIMIT + LINE_PAIR_BYTES;
    /// Futex word that subscribers sleep on; counts rings.
    pub const DOORBELL: usize = LEASE + LINE_PAIR_BYTES;
    /// Topic-wide state: see [`super::status`].
    pub const STATUS: usize = DOORBELL + LINE_PAIR_BYTES;
    /// What all publishers together were let through, if the topic's rate is limited: see [`super::rate`].
    pub const RATE: usize = STATUS + LINE_PAIR_BYTES;
    /// One publisher: position of the first frame at or past each stretch of the ring.
    pub const MARKS: usize = HEADER_BYTES + 1024;
    /// The publisher slots.
    pub const PUBLISHERS: usize = HEADER_BYTES + 2048;
}

/// Words on the line pair [`control::STATUS`].
pub mod status {
    use super::control::STATUS;
    /// Not zero once the topic was removed: those who still have it mapped should leave.
    pub const REMOVED: usize = STATUS;
    /// Claims of dead publishers that were turned into padding.
    pub const ABANDONED: usize = STATUS + 8;
    /// How many named sources the topic knows.
    pub const SOURCES_USED: usize = STATUS + 16;
}

/// Words on the line pair [`control::RATE`]: when what was let through would have passed at the even rate, as rate.rs counts time.
pub mod rate {
    use super::control::RATE;
    /// For the limit of messages.
    pub const MESSAGES: usize = RATE;
    /// For the limit of bytes.
    pub const BYTES: usize = RATE + 8;
}

/// Words of a slot, a publisher's or a subscriber's: offsets in bytes from its start. All but the first two are for people to read.
pub mod slot {
    /// A gated subscriber: position plus one below which it has read everything; zero if the slot is free; [`JOINING`]. An
    /// observer: position plus one that it reads next. Publishers have none.
    pub const CURSOR: usize = 0;
    /// The cursor of one that looks for the place where it begins: no frame begins at position one. It holds everything.
    pub const JOINING: u64 = 2;
    /// How many holders came and went; odd from one's coming until it leaves or somebody finds it dead.
    pub const INCARNATION: usize = 8;
    /// How many of the holders died.
    pub const DEATHS: usize = 16;
    /// Process id of the holder in its own namespace.
    pub const PID: usize = 24;
    /// When the holder came, in nanoseconds since 1970.
    pub const SINCE: usize = 32;
    /// When the holder last looked at the clock because it did something, in nanoseconds since 1970.
    pub const ACTIVE: usize = 40;
    /// Messages published, or read, by all holders so far; of one publisher in [`super::control::MESSAGES`].
    pub const MESSAGES: usize = 48;
    /// The same when the holder came.
    pub const MESSAGES_BEFORE: usize = 56;
    /// Bytes of the log published by all holders so far, of many publishers; of one its position says it. An observer: bytes lost.
    pub const BYTES: usize = 64;
    /// The same when the holder came.
    pub const BYTES_BEFORE: usize = 72;
    /// Publishes of this holder that found no room; losses of this observer.
    pub const FULL: usize = 80;
    /// How long this holder was held up by want of room, in nanoseconds.
    pub const HELD_NS: usize = 88;
    /// Since when it is held up, in nanoseconds since 1970; zero if it isn't.
    pub const HELD_SINCE: usize = 96;
}

/// Bytes of a label, the name and the tags of a participant: a word with lengths and checksum, then text.
pub const LABEL_BYTES: usize = LINE_PAIR_BYTES;

/// Control words of `subs`: offsets in bytes from the start of the file.
pub mod subs {
    use super::{HEADER_BYTES, LINE_PAIR_BYTES};
    /// Even if a subscriber may be asleep, so that whoever publishes next rings [`super::control::DOORBELL`] and then makes it odd;
    /// whoever goes to sleep makes it the next even number.
    pub const QUIET: usize = HEADER_BYTES;
    /// Position plus one that a sleeping publisher waits for the slowest subscriber to reach; zero if none sleeps.
    pub const ROOM_WANTED: usize = QUIET + LINE_PAIR_BYTES;
    /// Futex word that publishers sleep on when the log is full; counts rings.
    pub const ROOM_BELL: usize = ROOM_WANTED + LINE_PAIR_BYTES;
    /// How many slots, from the first, were ever taken.
    pub const SLOTS_USED: usize = ROOM_BELL + LINE_PAIR_BYTES;
    /// The same of observers' slots.
    pub const OBSERVERS_USED: usize = SLOTS_USED + super::WORD_BYTES;
    /// Everything before this position survives a loss of power.
    pub const DURABLE: usize = SLOTS_USED + LINE_PAIR_BYTES;
    /// The slot, plus one, of the subscriber that records the topic and says so; zero if there is none.
    pub const RECORDER: usize = DURABLE + super::WORD_BYTES;
    /// Position plus one that a sleeping publisher waits to be durable, the lowest of them; zero if none sleeps.
    pub const DURABLE_WANTED: usize = DURABLE + LINE_PAIR_BYTES;
    /// Futex word that such publishers sleep on; counts rings.
    pub const DURABLE_BELL: usize = DURABLE_WANTED + LINE_PAIR_BYTES;
    /// The slots of gated subscribers, and after them those of observers.
    pub const SLOTS: usize = HEADER_BYTES + 1024;
}

/// Bytes of a publisher's or a subscriber's slot.
pub const SLOT_BYTES: usize = LINE_PAIR_BYTES;

const _: () = {
    assert!(control::RATE + LINE_PAIR_BYTES <= control::MARKS);
    assert!(control::MARKS + MARKS as usize * WORD_BYTES <= control::PUBLISHERS);
    assert!(subs::DURABLE_BELL + LINE_PAIR_BYTES <= subs::SLOTS);
    assert!(status::ABANDONED < STATUS_END && slot::HELD_SINCE < SLOT_BYTES);
};
const STATUS_END: usize = control::STATUS + LINE_PAIR_BYTES;

/// What a frame is, or what a cell of the claims table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Phase {
    /// Nothing yet.
    Free = 0,
    /// A message.
    Committed = 1,
    /// To be skipped: the end of a lap, an aborted claim, a dead publisher's claim.
    Padding = 2,
    /// Only in the claims table: taken by a publisher.
    Claimed = 3,
}

/// The frame has extensions before its payload.
pub const FLAG_EXTENSIONS: u64 = 1;

const LAP_SHIFT: u32 = 48;
const PHASE_SHIFT: u32 = 46;
const FLAGS_SHIFT: u32 = 42;
const PUBLISHER_SHIFT: u32 = 32;

/// The first word of a frame, or a word of the claims table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateWord(pub u64);

impl StateWord {
    /// A word for a frame in lap `lap` (its low 16 bits count) whose body, or claim, has `length` bytes after the header.
    #[inline(always)]
    #[must_use]
    pub const fn new(lap: u64, phase: Phase, flags: u64, publisher: u64, length: u64) -> Self {
        Self(
            lap << LAP_SHIFT
                | (phase as u64) << PHASE_SHIFT
                | flags << FLAGS_SHIFT
                | publisher << PUBLISHER_SHIFT
                | length,
        )
    }

    /// Nothing yet, in lap `lap`.
    #[inline(always)]
    #[must_use]
    pub const fn free(lap: u64) -> Self {
        Self(lap << LAP_SHIFT)
    }

    /// The word of a cell in the claims table that begins no claim in lap `lap`, of which it has every bit: the low 16 where the others
    /// have them, the rest where those of a claim have its owner and length.
    #[inline(always)]
    #[must_use]
    pub const fn unclaimed(lap: u64) -> Self {
        Self(lap << LAP_SHIFT | (lap >> 16) & ((1 << PHASE_SHIFT) - 1))
    }

    /// Whether it says `phase` in lap `lap`.
    #[inline(always)]
    #[must_use]
    pub const fn is(self, lap: u64, phase: Phase) -> bool {
        self.lap_and_phase() == Self::new(lap, phase, 0, 0, 0).lap_and_phase()
    }

    /// What tells words of one lap and phase from all others.
    #[inline(always)]
    #[must_use]
    pub const fn lap_and_phase(self) -> u64 {
        self.0 >> PHASE_SHIFT
    }

    /// What kind it is.
    #[must_use]
    pub const fn phase(self) -> Phase {
        match self.0 >> PHASE_SHIFT & 3 {
            0 => Phase::Free,
            1 => Phase::Committed,
            2 => Phase::Padding,
            _ => Phase::Claimed,
        }
    }

    /// Its flags, four bits.
    #[inline(always)]
    #[must_use]
    pub const fn flags(self) -> u64 {
        self.0 >> FLAGS_SHIFT & 0xf
    }

    /// Who published it.
    #[inline(always)]
    #[must_use]
    pub const fn publisher(self) -> u32 {
        (self.0 >> PUBLISHER_SHIFT) as u32 & (PUBLISHERS_MAX - 1)
    }

    /// Bytes after the header.
    #[inline(always)]
    #[must_use]
    pub const fn length(self) -> u64 {
        self.0 & 0xffff_ffff
    }
}

/// Sizes and places of one topic, checked once when it is made or opened; everything later relies on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of the ring: a power of two.
    pub capacity: u64,
    /// Power of two of the capacity.
    pub capacity_shift: u32,
    /// Bytes of a cell: a power of two.
    pub cell: u64,
    /// Power of two of the cell.
    pub cell_shift: u32,
    /// Where the payload of a frame without extensions begins, in bytes from the frame's start.
    pub payload_at: u64,
    /// Most bytes after a frame's header.
    pub body_max: u64,
    /// Whether frames carry a stamp.
    pub stamps: bool,
    /// Alignment of payloads.
    pub payload_align: u64,
    /// How many publishers there can be.
    pub publishers_max: u32,
    /// Whether claims go through the table.
    pub many: bool,
    /// How many subscriber slots there are.
    pub subscribers_max: u32,
}

impl Geometry {
    /// Which lap of the ring `position` is in.
    #[inline(always)]
    #[must_use]
    pub const fn lap(&self, position: u64) -> u64 {
        position >> self.capacity_shift
    }

    /// Where `position` lies in the ring, in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn offset(&self, position: u64) -> usize {
        (position & (self.capacity - 1)) as usize
    }

    /// Whether `position` is where a cell begins, and below [`POSITION_END`].
    #[inline(always)]
    #[must_use]
    pub const fn is_cell(&self, position: u64) -> bool {
        position == self.cell_of(position)
    }

    /// `position`, or where its cell begins; of foreign bytes, some position. All that is read from shared memory comes by here
    /// or by `is_cell` before it is used as one.
    #[inline(always)]
    #[must_use]
    pub const fn cell_of(&self, position: u64) -> u64 {
        position & (POSITION_END - self.cell)
    }

    /// Bytes of a frame with `body` bytes after its header.
    #[inline(always)]
    #[must_use]
    pub const fn frame_bytes(&self, body: u64) -> u64 {
        (body + FRAME_HEADER_BYTES + self.cell - 1) & !(self.cell - 1)
    }

    /// The first position of the next lap.
    #[inline(always)]
    #[must_use]
    pub const fn lap_end(&self, position: u64) -> u64 {
        (position | (self.capacity - 1)) + 1
    }

    /// Longest payload, with its extensions, in bytes.
    #[must_use]
    pub const fn payload_bytes_max(&self) -> u64 {
        self.body_max + FRAME_HEADER_BYTES - self.payload_at
    }

    /// Distance of two marks, in bytes.
    #[must_use]
    pub const fn stretch(&self) -> u64 {
        self.capacity / MARKS
    }

    /// Where the claims table begins in `log`.
    #[must_use]
    pub const fn claims_at(&self) -> usize {
        self.source_sequence_at(self.sources_max())
    }

    /// How many named sources it knows at most.
    #[must_use]
    pub const fn sources_max(&self) -> u32 {
        SOURCES_MAX + if self.many { self.publishers_max } else { 0 }
    }

    /// Offset in `log` of the name of source `source`.
    #[must_use]
    pub const fn source_name_at(&self, source: u32) -> usize {
        self.publisher_label_at(self.publishers_max) + source as usize * LABEL_BYTES
    }

    /// Offset in `log` of the last sequence of source `source` that the log has let go.
    #[must_use]
    pub const fn source_sequence_at(&self, source: u32) -> usize {
        self.source_name_at(self.sources_max()) + source as usize * WORD_BYTES
    }

    /// Offset in `log` of the claims word of the cell at `position`.
    #[inline(always)]
    #[must_use]
    pub const fn claim_at(&self, position: u64) -> usize {
        self.claims_at() + (self.offset(position) >> self.cell_shift) * WORD_BYTES
    }

    /// Where the ring begins in `log`: on a page.
    #[must_use]
    pub const fn ring_at(&self) -> usize {
        let cells = if self.many { (self.capacity / self.cell) as usize } else { 0 };
        (self.claims_at() + cells * WORD_BYTES).next_multiple_of(4096)
    }

    /// Offset in `log` of publisher `publisher`'s slot.
    #[inline(always)]
    #[must_use]
    pub const fn publisher_at(&self, publisher: u32) -> usize {
        control::PUBLISHERS + publisher as usize * SLOT_BYTES
    }

    /// Offset in `log` of publisher `publisher`'s label.
    #[must_use]
    pub const fn publisher_label_at(&self, publisher: u32) -> usize {
        control::PUBLISHERS + self.publishers_max as usize * SLOT_BYTES + publisher as usize * LABEL_BYTES
    }

    /// Offset in `subs` of subscriber `slot`'s slot; observers come after `subscribers_max` gated ones.
    #[inline(always)]
    #[must_use]
    pub const fn subscriber_at(&self, slot: u32) -> usize {
        subs::SLOTS + slot as usize * SLOT_BYTES
    }

    /// Offset in `subs` of the label of the same.
    #[must_use]
    pub const fn subscriber_label_at(&self, slot: u32) -> usize {
        self.subscriber_at(2 * self.subscribers_max) + slot as usize * LABEL_BYTES
    }

    /// Bytes of the file `log`.
    #[must_use]
    pub const fn log_bytes(&self) -> usize {
        self.ring_at() + self.capacity as usize
    }

    /// Bytes of the file `subs`.
    #[must_use]
    pub const fn subs_bytes(&self) -> usize {
        self.subscriber_label_at(2 * self.subscribers_max).next_multiple_of(4096)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_word_gives_back_what_it_was_made_of() {
        let word = StateWord::new(0x1_2345, Phase::Committed, FLAG_EXTENSIONS, 1023, 0xffff_fffe);
        assert!(word.is(0x2345, Phase::Committed) && word.is(0x9_2345, Phase::Committed));
        assert!(!word.is(0x2344, Phase::Committed) && !word.is(0x2345, Phase::Padding));
        assert_eq!((word.phase(), word.flags()), (Phase::Committed, FLAG_EXTENSIONS));
        assert_eq!((word.publisher(), word.length()), (1023, 0xffff_fffe));
        assert!(StateWord(0).is(0, Phase::Free));
        assert_eq!(StateWord::free(7), StateWord::new(7, Phase::Free, 0, 0, 0));
        assert_eq!(StateWord::unclaimed(0), StateWord(0));
        assert_ne!(StateWord::unclaimed(7), StateWord::unclaimed(0x1_0007), "the same in the low bits");
        assert_eq!(StateWord::unclaimed(0x3fff_ffff_ffff_0007).phase(), Phase::Free);
    }
}
