//! Publishes what was first published elsewhere, each message once.

use crate::error::{OpenError, PublishError};
use crate::topic::Topic;
use memlane_ring::extension::{Block, ExtensionError, Malformed, MessageOrigin, OriginBlock, Parts};
use memlane_ring::layout::{FLAG_EXTENSIONS, FRAME_HEADER_BYTES, Phase, StateWord};
use memlane_ring::{Payloads, Publisher as Log, Seat};
use std::time::Duration;

/// Publishes messages of other hosts' topics on this one, each once: what it has is left out, after whatever end of either host, and however often and on however many ways a
/// message comes.
///
/// ```
/// use memlane::replication::{CarriedMessage, Outcome};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let root = memlane::doc_root();
/// # let topic = memlane::Bus::builder("replica").root(&root).open()?.topic("t")?.open_or_create()?;
/// let mut replica = topic.replicate("osaka")?;
/// let tokyo = replica.route("tokyo", 0xc0ffee, None)?;
/// let message = CarriedMessage { position: 640, unix_ns: 0, has_extensions: false, content: b"hello" };
/// assert!(matches!(replica.publish(tokyo, &message)?, Outcome::Published(_)));
/// assert!(matches!(replica.publish(tokyo, &message)?, Outcome::Duplicate));
/// assert_eq!(replica.marks().collect::<Vec<_>>(), [("tokyo:0000000000c0ffee", 641)]);
/// # Ok(())
/// # }
/// ```
///
/// It takes a place of the topic's publishers, and for each origin a source: it is the only one that publishes what comes from there.
#[derive(Debug)]
pub struct Replica {
    topic: Topic,
    node: String,
    log: Log,
    origins: Vec<Origin>,
    block: Block,
    /// Behind the begin of all that was published here.
    end: u64,
}

/// A topic of another host, whose messages come here.
#[derive(Debug)]
struct Origin {
    /// The name of its source here.
    source: String,
    block: OriginBlock,
    /// The number of its last message that is here.
    last_sequence: u64,
    /// Given back after the publisher's place; `None` of this very topic, whose messages come back from others.
    seat: Option<Seat>,
}

impl Origin {
    /// Its messages are here up to this one.
    #[inline]
    fn has_come_to(&mut self, log: &mut Log, sequence: u64) {
        self.last_sequence = sequence;
        if let Some(seat) = &self.seat {
            log.note(seat, sequence);
        }
    }
}

/// Where messages come from that another host has published first: made by [`Replica::route`], for that replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route(usize);

/// A message as another host's log has it.
#[derive(Clone, Copy, Debug)]
pub struct CarriedMessage<'a> {
    /// Its position there.
    pub position: u64,
    /// When it was published there, in nanoseconds since 1970; zero if that isn't known.
    pub unix_ns: u64,
    /// Whether extensions come before its payload.
    pub has_extensions: bool,
    /// Extensions and payload, as they lie there.
    pub content: &'a [u8],
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was published, at this position.
    Published(u64),
    /// It is here already.
    Duplicate,
    /// It was first published here, and came back.
    Returned,
}

/// Why a message was not published. The topic is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// It isn't possible now, or not at all: see there.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Its extensions can't be read: whoever published it first wrote what can't be. Leave it out.
    #[error("the message at position {position} of its origin has extensions that can't be read")]
    Malformed {
        /// Its position there.
        position: u64,
    },
    /// It comes from somewhere that there is no place for, or whose place somebody else has.
    #[error(transparent)]
    Origin(#[from] OpenError),
}

impl Topic {
    /// Publishes on it what other hosts have published first. `node` is the name of this one.
    ///
    /// Cost: as of opening a publisher, and for each origin that it has a look at each frame that is in the log. Errors: [`OpenError`]; one of them if somebody
    /// publishes on a topic for one publisher, or carries over messages of one of its origins.
    pub fn replicate(&self, node: &str) -> Result<Replica, OpenError> {
        let mut log = self.log().publisher(self.map(), Duration::ZERO)?;
        log.set_label(self.label());
        log.note_sources();
        let (topic, node) = (self.clone(), node.to_owned());
        let mut replica = Replica { topic, node, log, origins: Vec::new(), block: Block::default(), end: 0 };
        for name in self.log().source_names()? {
            if let Some((node, epoch)) = MessageOrigin::parse_source(&name) {
                replica.route(node, epoch, None)?;
            }
        }
        Ok(replica)
    }
}

impl Replica {
    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Whether the topic was removed: nothing can be published on it any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.log.is_gone()
    }

    /// How far it has got with each origin: the name of its source, the number of its last message.
    pub fn marks(&self) -> impl Iterator<Item = (&str, u64)> {
        let others = self.origins.iter().filter(|origin| origin.seat.is_some());
        others.map(|origin| (&*origin.source, origin.last_sequence))
    }

    /// The route of messages of the topic with this epoch on `node`, which is called `topic` there, if that is another name.
    ///
    /// Cost: of the first time a look at each frame that is in the log. Errors: [`OpenError`]; [`TopicError::SourcesFull`](memlane_ring::TopicError::SourcesFull) if messages of too many
    /// origins came here.
    pub fn route(&mut self, node: &str, epoch: u64, topic: Option<&str>) -> Result<Route, OpenError> {
        let source = MessageOrigin::source_name(node, epoch);
        let payload_align = self.log.geometry().payload_align;
        let block = OriginBlock::new(node, epoch, topic, payload_align).map_err(|_| OpenError::SourceName {
            name: source.chars().take(100).collect(),
            reason: "it is too long for one",
        })?;
        if let Some(known) = self.origins.iter().position(|origin| origin.source == source) {
            self.origins[known].block = block;
            return Ok(Route(known));
        }
        let is_here = node == self.node && epoch == self.topic.log().header().epoch;
        let (seat, last_sequence) = if is_here {
            (None, 0)
        } else {
            let seat = self.topic.log().seat(&source)?;
            let last_sequence = self.log.last_sequence(&seat).map_err(OpenError::Log)?;
            (Some(seat), last_sequence)
        };
        self.origins.push(Origin { source, block, last_sequence, seat });
        Ok(Route(self.origins.len() - 1))
    }

    /// Publishes a message that has come on `route`, unless it is here already. Where it has an origin of its own, as one that came there over a bridge, it keeps that. Never waits.
    ///
    /// Messages of each origin come in their order, though some may be missing. Cost: as of a publish with three fields. Errors: [`ReplicaError`].
    #[inline]
    pub fn publish(&mut self, route: Route, message: &CarriedMessage<'_>) -> Result<Outcome, ReplicaError> {
        if message.has_extensions {
            return self.publish_with_fields(route, message);
        }
        let origin = &mut self.origins[route.0];
        let sequence = message.position + 1;
        if sequence <= origin.last_sequence {
            return Ok(Outcome::Duplicate);
        }
        if origin.seat.is_none() {
            return Ok(Outcome::Returned);
        }
        let block = origin.block.with(message.position, message.unix_ns);
        let position = self.log.publish(block, message.content).map_err(PublishError::from)?;
        origin.has_come_to(&mut self.log, sequence);
        self.end = position + 1;
        Ok(Outcome::Published(position))
    }

    /// Publishes `next` and those after it together, as many as there is room for: those that have no extensions and aren't here, up to 64. Takes them, and returns how many; `next` is then the first of the
    /// others, which are for [`Replica::publish`]. On a topic for many publishers that is none.
    ///
    /// Cost: as of a batch with three fields a message. Errors: [`ReplicaError`], if the first is such a message and can't be published.
    #[inline]
    pub fn publish_batch<'a>(
        &mut self,
        route: Route,
        next: &mut Option<CarriedMessage<'a>>,
        rest: &mut impl Iterator<Item = CarriedMessage<'a>>,
    ) -> Result<usize, ReplicaError> {
        let Self { origins, log, .. } = self;
        let origin = &mut origins[route.0];
        if origin.seat.is_none() {
            return Ok(0);
        }
        let sequence = origin.last_sequence;
        // More than a part of the ring at once would be given up before anybody could read it.
        let bytes_max = log.geometry().capacity / BATCH_PART;
        let mut batch =
            Batch { next, rest, block: &mut origin.block, sequence, asked: 0, taken: 0, bytes: 0, bytes_max };
        let published = log.publish_each(&mut batch).transpose().map_err(PublishError::from)?.unwrap_or(0);
        if published > 0 {
            let sequence = batch.take_up_to(published);
            origin.has_come_to(log, sequence);
            self.end = log.tail().unwrap_or(self.end);
        }
        Ok(published)
    }

    fn publish_with_fields(&mut self, route: Route, message: &CarriedMessage<'_>) -> Result<Outcome, ReplicaError> {
        let malformed = |_: Malformed| ReplicaError::Malformed { position: message.position };
        let parts = split(message.content).map_err(malformed)?;
        let came_from = parts.fields.origin().map_err(malformed)?;
        let (origin, position, unix_ns) = match &came_from {
            None => (route.0, message.position, message.unix_ns),
            Some(from) => (self.route(from.node, from.epoch, from.topic)?.0, from.position, from.unix_ns),
        };
        let origin = &mut self.origins[origin];
        if position < origin.last_sequence {
            return Ok(Outcome::Duplicate);
        }
        if origin.seat.is_none() {
            return Ok(Outcome::Returned);
        }
        // Sequence and time first: the fields are put behind them.
        origin.block.with(position, unix_ns);
        let put = origin.block.put_with(&mut self.block, parts.fields);
        put.map_err(|error| match error {
            ExtensionError::Malformed => ReplicaError::Malformed { position: message.position },
            other => ReplicaError::Publish(other.into()),
        })?;
        let block = self.block.finish(self.log.geometry().payload_align);
        let here = self.log.publish(block, parts.payload).map_err(PublishError::from)?;
        origin.has_come_to(&mut self.log, position + 1);
        self.end = here + 1;
        Ok(Outcome::Published(here))
    }

    /// A position of the topic, with all that was published here before it; zero if nothing was yet. It is durable with [`Replica::durable_position`].
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Everything before this position of the topic survives a loss of power, as whoever records it has it; zero if nobody does.
    #[must_use]
    pub fn durable_position(&self) -> u64 {
        self.log.durable_position()
    }
}

/// How many messages are committed together at most.
const BATCH_MAX: usize = 64;
/// Which part of the ring they take at most, about.
const BATCH_PART: u64 = 32;

/// Messages that are published together. One is taken when the next is asked for, since only then it is known that there was room for it.
struct Batch<'b, 'a, I> {
    next: &'b mut Option<CarriedMessage<'a>>,
    rest: &'b mut I,
    block: &'b mut OriginBlock,
    /// The number of the last that was taken, or was here.
    sequence: u64,
    asked: usize,
    taken: usize,
    /// Of contents that were asked for, and of those that may be.
    bytes: u64,
    bytes_max: u64,
}

impl<'a, I: Iterator<Item = CarriedMessage<'a>>> Batch<'_, 'a, I> {
    #[inline(always)]
    fn take(&mut self) {
        if let Some(taken) = core::mem::replace(self.next, self.rest.next()) {
            self.sequence = taken.position + 1;
        }
        self.taken += 1;
    }

    /// So many were published: the number of the last.
    fn take_up_to(&mut self, published: usize) -> u64 {
        if self.taken < published {
            self.take();
        }
        debug_assert_eq!(self.taken, published, "each but the last was taken when the next was asked for");
        self.sequence
    }
}

impl<'a, I: Iterator<Item = CarriedMessage<'a>>> Payloads for Batch<'_, 'a, I> {
    fn next(&mut self) -> Option<&[u8]> {
        self.next_with_extensions().map(|message| message.1)
    }

    #[inline(always)]
    fn next_with_extensions(&mut self) -> Option<(&[u8], &[u8])> {
        if self.asked > self.taken {
            self.take();
        }
        let message = self.next.filter(|message| !message.has_extensions && message.position >= self.sequence)?;
        self.bytes += message.content.len() as u64;
        if self.asked == BATCH_MAX || (self.asked > 0 && self.bytes > self.bytes_max) {
            return None;
        }
        self.asked += 1;
        Some((self.block.with(message.position, message.unix_ns), message.content))
    }
}

/// Extensions and payload, as they lie in a log whose alignment isn't known: blocks are aligned to 8 bytes at least.
fn split(content: &[u8]) -> Result<Parts<'_>, Malformed> {
    let geometry = memlane_ring::TopicOptions::default().geometry().map_err(|_| Malformed)?;
    let body_bytes = content.len() as u64 + geometry.payload_at - FRAME_HEADER_BYTES;
    Parts::of(&geometry, StateWord::new(0, Phase::Committed, FLAG_EXTENSIONS, 0, body_bytes), content)
}
