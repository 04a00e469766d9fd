//! A flow from a peer: takes what comes, publishes it, and grants credit for as much.

use super::run::READ_BYTES_MAX;
use super::{About, FlowEvent, Link, lock as lock_newest};
use crate::allow::Direction;
use crate::options::FlowOptions;
use crate::peer::count;
use crate::quiet::shown;
use crate::refusal::RefusedBy;
use crate::replicas::{Budget, Shared, lock};
use crate::status::FlowDirection;
use memlane::replication::{CarriedMessage, Outcome, ReplicaError, Route};
use memlane_bridge_protocol::{Batch, EndCode, Event, FrameShape, Mark, Message, Mode, Open, StartAt};
use quinn::RecvStream;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long progress may wait to be told.
const TELL_AFTER: Duration = Duration::from_millis(20);
/// Pauses between two tries where there is no room: as short as a subscriber may need, as long as costs nothing.
const PAUSES: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(5)];

/// A flow is offered: takes it, or says why not.
pub(super) fn offered(link: &Arc<Link>, open: Open, wants: &HashMap<u32, FlowOptions>, tasks: &mut JoinSet<()>) {
    let flow = open.flow;
    let refuse = |code, text: &str| {
        link.peer.refuse_flow(&open.topic.name, FlowDirection::FromPeer, RefusedBy::Us, text);
        link.with(|core, _| core.end_flow(flow, code, text));
    };
    let wanted = wants.get(&open.want);
    let (start, prefix) = wanted.map_or((StartAt::Earliest, ""), |wanted| (wanted.start, &*wanted.prefix));
    let is_wanted = wanted.is_some_and(|wanted| wanted.topics.matches(&open.topic.name));
    if !is_wanted
        && let Err(refusal) = link.context.options().allow.check(&link.peer.name, Direction::Push, &open.topic.name)
    {
        return refuse(EndCode::NotAllowed, &refusal.to_string());
    }
    let name = format!("{prefix}{}", open.topic.name);
    let context = &link.context;
    let options = context.options();
    let budget = Budget { topics: options.topics_made_max, bytes: options.topics_made_bytes_max };
    let peer = (&*link.peer, budget);
    let (replica, route) = match context.replicas.take(&context.bus, &context.node, peer, &name, &open.topic) {
        Ok(taken) => taken,
        Err(error) => return refuse(error.code(), &error.to_string()),
    };
    let marks = lock(&replica).marks().map(|(source, sequence)| Mark { source: source.to_owned(), sequence }).collect();
    // Enough for the longest message that can be published here, whatever the peer says.
    let body_max = open.topic.body_max.min(lock(&replica).topic().frame_shape().body_max);
    let window = options.transport.window_bytes.max(body_max.saturating_add(256));
    let about = About { topic: name.clone(), direction: FlowDirection::FromPeer, mode: open.mode };
    let events = link.route(flow, about);
    link.with(|core, _| {
        core.accept(flow, start, marks);
        if open.mode != Mode::Latest {
            core.give_credit(flow, window);
        }
    });
    let shape = FrameShape {
        capacity: open.topic.capacity,
        cell: open.topic.cell.into(),
        payload_at: open.topic.payload_at.into(),
        body_max: open.topic.body_max,
        stamps: open.topic.stamps,
    };
    let incoming = Incoming {
        link: Arc::clone(link),
        flow,
        topic: name,
        shape,
        replica,
        route,
        window,
        ungranted: 0,
        applied: VecDeque::new(),
        stream: None,
        end: 0,
        durable: 0,
        tell_at: None,
    };
    tasks.spawn(incoming.run(events));
}

/// A flow from a peer.
struct Incoming {
    link: Arc<Link>,
    flow: u32,
    topic: String,
    shape: FrameShape,
    replica: Shared,
    route: Route,
    window: u64,
    /// Bytes that were published, for which no new credit was given.
    ungranted: u64,
    /// Where batches end that aren't known to be durable: here, and in the sender's log.
    applied: VecDeque<(u64, u64)>,
    /// The number of its stream.
    stream: Option<u64>,
    /// In the sender's log: up to where it is here, and survives a loss of power here.
    end: u64,
    durable: u64,
    tell_at: Option<Instant>,
}

/// Why a flow can't go on.
struct Failure(EndCode, String);

impl Incoming {
    async fn run(mut self, mut events: Receiver<FlowEvent>) {
        let failure = self.carry(&mut events).await;
        if let Err(Failure(code, text)) = failure {
            if code == EndCode::Malformed {
                count(&self.link.peer.counters.malformed, 1);
            }
            self.link.peer.refuse_flow(&self.topic, FlowDirection::FromPeer, RefusedBy::Us, &text);
            self.link.with(|core, _| core.end_flow(self.flow, code, &text));
        }
        self.link.forget(self.flow);
        if let Some(stream) = self.stream {
            self.link.with(|core, _| core.end_stream(stream, false));
        }
    }

    async fn carry(&mut self, events: &mut Receiver<FlowEvent>) -> Result<(), Failure> {
        let mut stream: Option<RecvStream> = None;
        loop {
            let event = tokio::select! {
                biased;
                read = read(&mut stream) => match read {
                    Some(bytes) => {
                        let id = stream.as_ref().map_or(0, |stream| stream.id().into());
                        if !self.receive(id, &bytes).await? {
                            return Ok(());
                        }
                        continue;
                    }
                    None => return Ok(()),
                },
                event = events.recv() => event,
                () = tokio::time::sleep_until(self.tell_at.unwrap_or_else(Instant::now)), if self.tell_at.is_some() => {
                    self.tell();
                    continue;
                }
            };
            match event {
                Some(FlowEvent::Stream(its, head)) => {
                    let id = its.id().into();
                    (stream, self.stream) = (Some(its), Some(id));
                    if !self.receive(id, &head).await? {
                        return Ok(());
                    }
                }
                Some(FlowEvent::Newest(newest)) => {
                    let event = lock_newest(&newest).take();
                    if let Some(event) = event {
                        self.take(event).await?;
                    }
                }
                Some(FlowEvent::Event(event)) => {
                    if !self.take(event).await? {
                        return Ok(());
                    }
                }
                None => return Ok(()),
            }
        }
    }

    /// Whether the flow goes on.
    async fn receive(&mut self, stream: u64, bytes: &[u8]) -> Result<bool, Failure> {
        let ((), events) = self.link.with_flow(self.flow, |core, now| core.receive_flow(stream, bytes, now));
        for event in events {
            if !self.take(event).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the flow goes on.
    async fn take(&mut self, event: Event) -> Result<bool, Failure> {
        match event {
            Event::Batch { batch, bytes, .. } => self.publish(batch, &bytes).await?,
            Event::Latest { position, unix_ns, has_extensions, content, .. } => {
                // What there is no room for is followed by a newer one.
                let message = CarriedMessage { position, unix_ns, has_extensions, content: &content };
                self.publish_some(&mut Some(message), &mut std::iter::empty())?;
                self.link.context.is_active();
            }
            Event::Gap { position, end, .. } => {
                let peer = &self.link.peer;
                if let Some(left_out) = peer.quiet.lost.may() {
                    tracing::warn!(
                        peer = peer.name,
                        topic = self.topic,
                        left_out = left_out.0,
                        "positions {position} to {end} are lost: the sender doesn't have them any more"
                    );
                }
                count(&peer.counters.lost_received_bytes, end - position);
                self.come_to(end);
            }
            Event::Ended { code, text, .. } => {
                if code == EndCode::NoCredit {
                    self.link.peer.refuse_flow(&self.topic, FlowDirection::FromPeer, RefusedBy::Us, &text);
                }
                tracing::info!(peer = self.link.peer.name, topic = self.topic, "ended: {}", shown(&text));
                return Ok(false);
            }
            _ => {}
        }
        Ok(true)
    }

    async fn publish(&mut self, batch: Batch, stored: &[u8]) -> Result<(), Failure> {
        let malformed = |error: memlane_bridge_protocol::Malformed| Failure(EndCode::Malformed, error.to_string());
        let packed = batch.decompress(stored).map_err(malformed)?;
        let mut messages = batch.messages(&self.shape, &packed).map_err(malformed)?.map(carried);
        let (mut next, mut pause) = (messages.next(), PAUSES[0]);
        loop {
            let before = next;
            self.publish_some(&mut next, &mut messages)?;
            if next.is_none() {
                break;
            }
            // Subscribers here are slower: the flow waits for them, and no other.
            let has_come_on = before.map(|message| message.position) != next.map(|message| message.position);
            pause = if has_come_on { PAUSES[0] } else { (pause * 2).min(PAUSES[1]) };
            tokio::time::sleep(pause).await;
        }
        self.link.context.is_active();
        let counters = &self.link.peer.counters;
        count(&counters.received_raw_bytes, batch.raw_bytes.into());
        count(&counters.received_stored_bytes, batch.stored_bytes.into());
        self.come_to(batch.end);
        self.ungranted += u64::from(batch.raw_bytes);
        if self.ungranted >= self.window / 4 {
            self.tell();
        }
        Ok(())
    }

    /// Publishes `next` and those after it, as far as there is room; then `next` is the one that there was none for.
    fn publish_some<'a>(
        &mut self,
        next: &mut Option<CarriedMessage<'a>>,
        rest: &mut impl Iterator<Item = CarriedMessage<'a>>,
    ) -> Result<(), Failure> {
        let Self { link, topic, replica, route, .. } = self;
        let (mut published, mut duplicates) = (0, 0);
        let mut replica = lock(replica);
        loop {
            // Most messages have no extensions, and cross together.
            match replica.publish_batch(*route, next, rest) {
                Ok(0) => {}
                Ok(count) => {
                    published += count as u64;
                    continue;
                }
                Err(ReplicaError::Publish(error)) if error.is_full() || error.is_rate_limited() => break,
                // It is told below.
                Err(_) => {}
            }
            let Some(message) = *next else { break };
            match replica.publish(*route, &message) {
                Ok(Outcome::Published(_)) => published += 1,
                Ok(Outcome::Duplicate | Outcome::Returned) => duplicates += 1,
                Err(ReplicaError::Publish(error)) if error.is_full() || error.is_rate_limited() => break,
                Err(error @ ReplicaError::Malformed { .. }) => {
                    if let Some(left_out) = link.peer.quiet.left_out.may() {
                        tracing::warn!(peer = link.peer.name, topic, left_out = left_out.0, "left out: {error}");
                    }
                    count(&link.peer.counters.malformed, 1);
                }
                Err(error) => {
                    let code = if replica.is_gone() { EndCode::Removed } else { EndCode::Failed };
                    return Err(Failure(code, error.to_string()));
                }
            }
            *next = rest.next();
        }
        count(&link.peer.counters.messages_received, published);
        count(&link.peer.counters.duplicates, duplicates);
        Ok(())
    }

    /// Everything before `end` of the sender's log is here.
    fn come_to(&mut self, end: u64) {
        let here = lock(&self.replica).end();
        self.applied.push_back((here, end));
        self.end = end;
        self.tell_at.get_or_insert_with(|| Instant::now() + TELL_AFTER);
    }

    /// Grants credit for what was published, and says how far that is.
    fn tell(&mut self) {
        let durable_here = lock(&self.replica).durable_position();
        let mut durable = self.durable;
        while let Some((here, end)) = self.applied.front().copied() {
            if here > durable_here {
                break;
            }
            durable = end;
            self.applied.pop_front();
        }
        // Whoever has nothing recorded keeps no list of what isn't.
        let is_recorded = durable_here > 0;
        if !is_recorded {
            self.applied.clear();
        }
        self.durable = durable;
        let granted = std::mem::take(&mut self.ungranted);
        self.link.with(|core, _| {
            if granted > 0 {
                core.give_credit(self.flow, granted);
            }
            core.tell_progress(self.flow, self.end, durable);
        });
        self.tell_at = (!self.applied.is_empty()).then(|| Instant::now() + TELL_AFTER);
    }
}

#[inline]
fn carried(message: Message<'_>) -> CarriedMessage<'_> {
    let Message { position, unix_ns, has_extensions, content } = message;
    CarriedMessage { position, unix_ns, has_extensions, content }
}

/// What comes next on the stream, once there is one; `None` if it has ended.
async fn read(stream: &mut Option<RecvStream>) -> Option<bytes::Bytes> {
    match stream {
        Some(stream) => stream.read_chunk(READ_BYTES_MAX, true).await.ok().flatten().map(|chunk| chunk.bytes),
        None => std::future::pending().await,
    }
}
