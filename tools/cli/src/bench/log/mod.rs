//! The log under measurement, as lanes: what stands beside the limits of [`super::reference`].
//!
//! | module | lanes |
//! |---|---|
//! | [`round_trip`] | there and back over two topics: latency |
//! | [`stream`] | one way, nothing lost: throughput |
//! | [`one_way`] | one way at a fixed rate: latency from when each message was due |
//! | [`fanout`] | what a publish costs while many subscribers keep up |
//! | [`sleepers`] | what it costs while many subscribers sleep |
//! | [`rivals`] | two publishers at once |
//! | [`wake`] | how long a sleeping subscriber takes to wake, and what it costs while it sleeps |
//!
//! Both processes open the same bus, in the directory of the measurement; the conductor, who comes first, makes the topics.

pub mod fanout;
pub mod one_way;
pub mod request;
pub mod rivals;
pub mod round_trip;
pub mod sleepers;
pub mod stream;
pub mod wake;

use memlane::{Bus, Kind, Publisher, Publishers, Subscriber, Topic, Wait};
use std::path::Path;

/// Bytes of a topic's ring unless something else is asked for.
pub const CAPACITY_BYTES: u64 = 4 << 20;

/// Which side of the lanes a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first core's: makes the topics.
    Initiator,
    /// The second core's.
    Responder,
}

/// How a lane's topic is made.
#[derive(Clone, Copy, Debug)]
pub struct TopicShape {
    /// One publisher or many.
    pub publishers: Publishers,
    /// Bytes of the ring.
    pub capacity_bytes: u64,
    /// Bytes of a cell.
    pub cell_bytes: u64,
}

impl TopicShape {
    /// For one publisher.
    #[must_use]
    pub const fn one(capacity_bytes: u64, cell_bytes: u64) -> Self {
        Self { publishers: Publishers::One, capacity_bytes, cell_bytes }
    }

    /// The same for up to sixteen publishers.
    #[must_use]
    pub const fn many(self) -> Self {
        Self { publishers: Publishers::Many(16), ..self }
    }

    /// With a ring in which eight payloads of `payload` bytes have room, if this one is too small for that.
    #[must_use]
    pub fn with_room_for(self, payload: usize) -> Self {
        const PAYLOADS_MIN: u64 = 64;
        let capacity_bytes = self.capacity_bytes.max((payload as u64 * PAYLOADS_MIN).next_power_of_two());
        Self { capacity_bytes, ..self }
    }

    /// How names of its lanes begin. The ring's size is left to the notes of a report, since names must be short.
    #[must_use]
    pub fn title(&self) -> &'static str {
        if self.publishers == Publishers::One { "memlane" } else { "memlane many" }
    }
}

/// The bus of a measurement, and whose side this is. Topics are numbered in the order in which they are asked for, which
/// is the same on both sides.
#[derive(Debug)]
pub struct Stage {
    bus: Bus,
    side: Side,
    topics: usize,
}

impl Stage {
    /// Opens the bus in `directory`.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn open(directory: &Path, side: Side) -> anyhow::Result<Self> {
        Ok(Self { bus: Bus::builder("bench").root(directory).open()?, side, topics: 0 })
    }

    /// Its bus.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Whose side this is.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// The next topic.
    ///
    /// # Errors
    /// If it can't be made or opened.
    pub fn topic(&mut self, shape: &TopicShape) -> anyhow::Result<Topic> {
        let builder = self
            .bus
            .topic(&format!("lane.{}", self.topics))?
            .publishers(shape.publishers)
            .capacity_bytes(shape.capacity_bytes)
            .cell_bytes(shape.cell_bytes);
        self.topics += 1;
        Ok(builder.open_or_create()?)
    }

    /// The end of a one-way topic that `sender` sends to: a publisher there, a gated busy-spinning subscriber here.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn end(&mut self, shape: &TopicShape, sender: Side) -> anyhow::Result<End> {
        let topic = self.topic(shape)?;
        if self.side == sender {
            return Ok(End::Send(Box::new(topic.publisher().wait(Wait::BusySpin).open()?)));
        }
        Ok(End::Receive(Box::new(topic.subscriber().kind(Kind::Gated).wait(Wait::BusySpin).open()?)))
    }
}

/// A size for names: `64 B`, `1 KiB`, `1 MiB`.
#[must_use]
pub fn size_text(bytes: usize) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    }
}

/// One side of a one-way topic.
#[derive(Debug)]
pub enum End {
    /// Sends.
    Send(Box<Publisher<[u8]>>),
    /// Receives.
    Receive(Box<Subscriber<[u8]>>),
}

impl End {
    /// # Panics
    /// On the receiving side: a broken invariant of the lane.
    pub fn publisher(&mut self) -> &mut Publisher<[u8]> {
        match self {
            Self::Send(publisher) => publisher,
            Self::Receive(_) => panic!("the other side of this lane sends"),
        }
    }

    /// # Panics
    /// On the sending side: a broken invariant of the lane.
    pub fn subscriber(&mut self) -> &mut Subscriber<[u8]> {
        match self {
            Self::Receive(subscriber) => subscriber,
            Self::Send(_) => panic!("the other side of this lane receives"),
        }
    }
}
