//! The model: a list of messages, and where the next one must go. Its arithmetic is its own.

use memlane_ring::{Publishers, TopicOptions};
use std::sync::LazyLock;

/// Bytes that don't repeat: a payload's place in them tells it from others.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..1 << 18)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
});

/// The payload of message `number`.
pub(crate) fn payload(number: u64, bytes: u64) -> &'static [u8] {
    &NOISE[(number * 7919 % 65_521) as usize..][..bytes as usize]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Claimed, and neither committed nor given up.
    Open,
    Committed,
    Aborted,
}

/// What a publisher put into the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) position: u64,
    /// Where its frame ends.
    pub(crate) end: u64,
    /// Where what was claimed for it ends: there the next one begins.
    pub(crate) claim_end: u64,
    /// Where the first message begins that was published with it.
    pub(crate) batch: u64,
    pub(crate) state: State,
    pub(crate) writer: u32,
    pub(crate) number: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) extension_bytes: u64,
    /// Of the value of its header, if it has one.
    pub(crate) header_bytes: Option<usize>,
}

impl Entry {
    /// One of `writer` about which nothing else is known yet.
    pub(crate) fn of(writer: usize) -> Self {
        let (position, end, claim_end, batch, number, payload_bytes, extension_bytes) = (0, 0, 0, 0, 0, 0, 0);
        let (state, writer, header_bytes) = (State::Open, writer as u32, None);
        Self { position, end, claim_end, batch, state, writer, number, payload_bytes, extension_bytes, header_bytes }
    }
}

/// What a subscriber finds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    Message(Entry),
    /// Nothing yet: it waits at this position.
    Nothing(u64),
}

impl Next {
    /// The message, which was found at `position`.
    pub(crate) fn message(self, position: u64) -> Entry {
        match self {
            Self::Message(entry) if entry.position == position => entry,
            _ => panic!("found a message at {position}, expected {self:?}"),
        }
    }

    /// Where the subscriber waits that found nothing.
    pub(crate) fn nothing(self) -> u64 {
        let Self::Nothing(position) = self else { panic!("found nothing, expected {self:?}") };
        position
    }
}

/// The log.
pub(crate) struct Model {
    pub(crate) capacity: u64,
    pub(crate) cell: u64,
    pub(crate) payload_at: u64,
    /// With extensions.
    pub(crate) payload_bytes_max: u64,
    pub(crate) many: bool,
    /// Where the log begins.
    pub(crate) begin: u64,
    /// Where the next frame begins, if it fits before the end of its lap.
    pub(crate) tail: u64,
    pub(crate) entries: Vec<Entry>,
}

impl Model {
    pub(crate) fn new(options: &TopicOptions, begin: u64) -> Self {
        let payload_at = (8 + u64::from(options.stamps) * 8).next_multiple_of(options.payload_align);
        Self {
            capacity: options.capacity,
            cell: options.cell,
            payload_at,
            payload_bytes_max: options.capacity / 4 - payload_at,
            many: options.publishers != Publishers::One,
            begin,
            tail: begin,
            entries: Vec::new(),
        }
    }

    /// Bytes of a frame with such a payload, extensions included.
    pub(crate) fn frame_bytes(&self, payload_bytes: u64) -> u64 {
        (self.payload_at + payload_bytes).div_ceil(self.cell) * self.cell
    }

    /// Where so many bytes go that are not to be divided.
    pub(crate) fn place(&self, bytes: u64) -> u64 {
        let lap_end = (self.tail / self.capacity + 1) * self.capacity;
        if self.tail + bytes > lap_end { lap_end } else { self.tail }
    }

    /// One 64th of the ring: one publisher makes room in these.
    pub(crate) fn stretch(&self) -> u64 {
        self.capacity / 64
    }

    /// The first claim that is open, if one is.
    pub(crate) fn first_open(&self) -> Option<u64> {
        self.entries.iter().find(|entry| entry.state == State::Open).map(|entry| entry.position)
    }

    pub(crate) fn entry_at(&mut self, position: u64) -> &mut Entry {
        let index = self.index(position);
        let entry = &mut self.entries[index];
        assert_eq!(entry.position, position);
        entry
    }

    /// How many entries begin before `position`.
    pub(crate) fn index(&self, position: u64) -> usize {
        self.entries.partition_point(|entry| entry.position < position)
    }

    /// What a subscriber finds that has read everything before `cursor`.
    pub(crate) fn next(&self, cursor: u64) -> Next {
        let mut rest = self.entries[self.index(cursor)..].iter().skip_while(|entry| entry.state == State::Aborted);
        match rest.next() {
            Some(entry) if entry.state == State::Open => Next::Nothing(entry.position),
            Some(entry) => Next::Message(*entry),
            None => Next::Nothing(self.tail.max(cursor)),
        }
    }

    /// The newest message before the first open claim.
    pub(crate) fn newest(&self) -> Option<Entry> {
        let end = self.first_open().unwrap_or(u64::MAX);
        let before = self.entries[..self.index(end)].iter().rev();
        before.copied().find(|entry| entry.state == State::Committed)
    }

    /// Whether a frame, a claim or a lap begins or ends at `position`.
    pub(crate) fn is_boundary(&self, position: u64) -> bool {
        let index = self.index(position);
        let begins = self.entries.get(index).is_some_and(|entry| entry.position == position);
        let before = index.checked_sub(1).map(|index| self.entries[index]);
        let ends = before.is_some_and(|entry| entry.end == position || entry.claim_end == position);
        let begins_lap = position <= self.tail && position.is_multiple_of(self.capacity);
        begins || ends || begins_lap || position == self.tail || position == self.begin
    }

    /// Where that begins which was published together with what is at `position`.
    pub(crate) fn batch_of(&self, position: u64) -> u64 {
        match self.entries[..self.index(position + 1)].last() {
            _ if position.is_multiple_of(self.capacity) => position,
            Some(entry) if position < entry.claim_end => entry.batch,
            // The padding behind it.
            Some(entry) => entry.claim_end,
            None => self.begin,
        }
    }

    /// Whether what is at `position` may be gone. Publishers make room ahead, but never for more than half a ring: for two
    /// frames of a quarter, rounded up to a stretch and to what was published together.
    pub(crate) fn may_be_gone(&self, position: u64) -> bool {
        self.batch_of(position) + self.capacity / 2 < self.tail + self.cell + self.stretch()
    }

    /// Whether there is a message, or may be one, that begins in `[from, to)`.
    pub(crate) fn has_messages(&self, from: u64, to: u64) -> bool {
        self.entries[self.index(from)..self.index(to)].iter().any(|entry| entry.state != State::Aborted)
    }
}
