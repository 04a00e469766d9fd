//! The log under measurement, as lanes: what stands beside the limits of [`super::reference`].
//!
//! | module | lanes |
//! |---|---|
//! | [`round_trip`] | there and back over two topics: latency |
//! | [`stream`] | one way, nothing lost: throughput |
//!
//! Both processes open the same bus, in the directory of the measurement; the conductor, who comes first, makes the topics.

pub mod round_trip;
pub mod stream;

use memlane::{Bus, Kind, Publisher, Publishers, Subscriber, Topic, Wait};
use std::path::Path;

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

    /// What distinguishes it, for names.
    #[must_use]
    pub fn title(&self) -> String {
        let publishers = if self.publishers == Publishers::One { "one publisher" } else { "many publishers" };
        format!("{publishers}, cells of {} B in {} MiB", self.cell_bytes, self.capacity_bytes >> 20)
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
            return Ok(End::Send(topic.publisher().wait(Wait::BusySpin).open()?));
        }
        Ok(End::Receive(topic.subscriber().kind(Kind::Gated).wait(Wait::BusySpin).open()?))
    }
}

/// One side of a one-way topic.
#[derive(Debug)]
pub enum End {
    /// Sends.
    Send(Publisher<[u8]>),
    /// Receives.
    Receive(Subscriber<[u8]>),
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
