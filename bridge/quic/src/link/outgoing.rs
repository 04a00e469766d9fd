//! A flow to a peer: follows its topic, packs what comes, and sends it as far as there is credit.

use super::{FlowEvent, Link};
use crate::options::FlowOptions;
use crate::peer::count;
use bytes::Bytes;
use memlane::replication::{Followed, FollowedMessage, Follower, MessageOrigin};
use memlane::{OpenError, ReceiveError, Start, Topic, TopicError};
use memlane_bridge_protocol::{
    Batch, Compressor, Connection, EndCode, Event, Features, Mark, Message, Mode, Packer, SendError, StartAt,
};
use quinn::SendStream;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc::Receiver;

/// About how many bytes of the log are looked at at once: they are read twice, the second time out of the first-level cache.
const RUN_BYTES: u64 = 16 << 10;
/// About how many bytes a batch has, if there is more.
const BATCH_BYTES: usize = 128 << 10;
/// Zstandard's level.
const LEVEL: i32 = 1;

/// Why a flow has ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The topic was removed.
    Removed,
    /// The receiver doesn't want it, or not any more.
    Refused(String),
    /// It can't be read, or not be sent.
    Failed(String),
    /// The link is going down.
    Link,
}

impl From<ReceiveError> for Ended {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Removed => Self::Removed,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Carries `topic` on the flow that was offered, until it ends; tells the peer if that was here.
pub(super) async fn carry(
    link: &Arc<Link>,
    flow: u32,
    topic: &Topic,
    options: &FlowOptions,
    events: Receiver<FlowEvent>,
) -> Ended {
    let ended = match Outgoing::begin(link, flow, topic, options, events).await {
        Ok(mut outgoing) => match outgoing.run().await {
            Ok(never) => match never {},
            Err(ended) => ended,
        },
        Err(ended) => ended,
    };
    match &ended {
        Ended::Removed => link.with(|core, _| core.end_flow(flow, EndCode::Removed, "the topic was removed")),
        Ended::Failed(text) => link.with(|core, _| core.end_flow(flow, EndCode::Failed, text)),
        Ended::Refused(_) | Ended::Link => {}
    }
    ended
}

/// A flow to a peer.
#[derive(Debug)]
struct Outgoing<'a> {
    link: &'a Link,
    flow: u32,
    mode: Mode,
    events: Receiver<FlowEvent>,
    follower: Follower,
    filter: Filter,
    packer: Packer,
    /// What frames are padded to.
    cell: u64,
    compressor: Option<Compressor>,
    /// Batches that a run was too long for.
    packed: Vec<(Batch, Vec<u8>)>,
    stream: Option<SendStream>,
    /// Where the next batch begins; `None` before the first.
    sent: Option<u64>,
    /// Up to where it has followed, if that isn't sent.
    unsent: Option<u64>,
}

/// Which messages the peer has already, or is where they come from.
#[derive(Debug)]
struct Filter {
    peer: String,
    /// What it has of this topic's own messages, as the number of the last.
    own: u64,
    others: HashMap<String, u64>,
    malformed: u64,
}

impl Filter {
    fn new(link: &Link, topic: &Topic, marks: Vec<Mark>) -> Self {
        let own_name = MessageOrigin::source_name(&link.context.node, topic.info().epoch);
        let mut others: HashMap<String, u64> =
            marks.into_iter().map(|Mark { source, sequence }| (source, sequence)).collect();
        let own = others.remove(&own_name).unwrap_or(0);
        Self { peer: link.peer.name.clone(), own, others, malformed: 0 }
    }

    /// Whether the message is to be sent.
    #[inline]
    fn wants(&mut self, message: &FollowedMessage<'_>) -> bool {
        if !message.has_extensions {
            return message.position >= self.own;
        }
        let origin = match message.fields.as_ref().map(|fields| fields.origin()) {
            Ok(Ok(None)) => return message.position >= self.own,
            Ok(Ok(Some(origin))) => origin,
            // Who published it wrote what can't be read; nobody could take it.
            Ok(Err(_)) | Err(_) => {
                self.malformed += 1;
                return false;
            }
        };
        let has = || self.others.get(&MessageOrigin::source_name(origin.node, origin.epoch)).copied();
        origin.node != self.peer && (self.others.is_empty() || has().is_none_or(|has| origin.position >= has))
    }
}

impl<'a> Outgoing<'a> {
    async fn begin(
        link: &'a Link,
        flow: u32,
        topic: &Topic,
        options: &FlowOptions,
        mut events: Receiver<FlowEvent>,
    ) -> Result<Self, Ended> {
        let (start, marks) = loop {
            match events.recv().await {
                Some(FlowEvent::Event(Event::Accepted { start, marks, .. })) => break (start, marks),
                Some(FlowEvent::Event(Event::Ended { text, .. })) => return Err(Ended::Refused(text)),
                Some(_) => {}
                None => return Err(Ended::Link),
            }
        };
        let filter = Filter::new(link, topic, marks);
        let journal = link.context.journal(topic.name());
        let start = start_at(topic, options.mode, start, &filter)?;
        let follower = topic.follow(journal.as_ref(), start).map_err(|error| explain(&error, topic, &filter))?;
        let feature = options.compression.feature();
        let compressor = (feature != Features(0)).then(|| Compressor::new(feature, LEVEL));
        let (packer, packed, cell) = (Packer::new(topic.frame_shape()), Vec::new(), topic.frame_shape().cell);
        let mode = options.mode;
        Ok(Self {
            link,
            flow,
            mode,
            events,
            follower,
            filter,
            packer,
            cell,
            compressor,
            packed,
            stream: None,
            sent: None,
            unsent: None,
        })
    }

    async fn run(&mut self) -> Result<std::convert::Infallible, Ended> {
        loop {
            self.take_events()?;
            let is_latest = self.mode == Mode::Latest;
            let followed = if is_latest { self.follow_latest().await? } else { self.follow()? };
            match followed {
                Followed::Nothing => match self.unsent {
                    Some(end) => self.send_packed(end).await?,
                    None => self.wait().await?,
                },
                Followed::Run(_) if is_latest => {}
                Followed::Run(run) if self.packer.bytes() >= BATCH_BYTES => self.send_packed(run.end).await?,
                Followed::Run(run) => self.unsent = Some(run.end),
                Followed::Lost(_) if is_latest => {}
                Followed::Lost(lost) => {
                    self.send_packed(lost.start).await?;
                    self.send_gap(lost.start, lost.end).await?;
                }
            }
        }
    }

    /// Packs what follows.
    fn follow(&mut self) -> Result<Followed, Ended> {
        let Self { follower, filter, packer, packed, sent, .. } = self;
        if packer.messages() == 0
            && let Some(sent) = sent
        {
            packer.begin(*sent);
        }
        let followed = follower.turn(RUN_BYTES, |message| {
            let FollowedMessage { position, unix_ns, has_extensions, content, .. } = message;
            if !filter.wants(&message) {
                return;
            }
            if sent.is_none() && packer.messages() == 0 {
                packer.begin(position);
                *sent = Some(position);
            }
            let message = Message { position, unix_ns, has_extensions, content };
            if !packer.push(&message) {
                packed.push(packer.finish(position));
                packer.push(&message);
            }
        })?;
        Ok(followed)
    }

    /// Sends what is packed, up to `end`.
    async fn send_packed(&mut self, end: u64) -> Result<(), Ended> {
        self.unsent = None;
        if self.packer.messages() > 0 {
            let last = self.packer.finish(end);
            self.packed.push(last);
        }
        for (batch, bytes) in std::mem::take(&mut self.packed) {
            self.send(batch, bytes).await?;
        }
        Ok(())
    }

    async fn send(&mut self, batch: Batch, bytes: Vec<u8>) -> Result<(), Ended> {
        let (batch, bytes) = match &mut self.compressor {
            Some(compressor) => compressor.compress(batch, bytes),
            None => (batch, bytes),
        };
        let head = self.when_there_is_credit(|core, flow| core.send(flow, &batch)).await?;
        let counters = &self.link.peer.counters;
        count(&counters.messages_sent, batch.messages.into());
        count(&counters.bytes_raw, batch.raw_bytes.into());
        count(&counters.bytes_stored, batch.stored_bytes.into());
        self.link.context.is_active();
        self.write([head.into(), bytes.into()]).await?;
        self.sent = Some(batch.end);
        Ok(())
    }

    async fn send_gap(&mut self, begin: u64, end: u64) -> Result<(), Ended> {
        // What the peer has last is not lost, though it is gone here.
        let has = self.filter.own.next_multiple_of(self.cell);
        let begin = self.sent.unwrap_or(begin.max(has)).min(end);
        if begin == end {
            return Ok(());
        }
        if let Some(left_out) = self.link.peer.quiet.lost.may() {
            let (peer, left_out) = (&self.link.peer.name, left_out.0);
            tracing::warn!(peer, left_out, "positions {begin} to {end} are gone before they were sent");
        }
        count(&self.link.peer.counters.lost_sent_bytes, end - begin);
        let head = self.when_there_is_credit(|core, flow| core.send_gap(flow, begin, end)).await?;
        self.write([head.into(), Bytes::new()]).await?;
        self.sent = Some(end);
        Ok(())
    }

    /// What `call` says, once it doesn't say that there is no credit.
    async fn when_there_is_credit(
        &mut self,
        call: impl Fn(&mut Connection, u32) -> Result<Vec<u8>, SendError>,
    ) -> Result<Vec<u8>, Ended> {
        loop {
            match self.link.with(|core, _| call(core, self.flow)) {
                Ok(head) => return Ok(head),
                Err(SendError::NoCredit) => match self.events.recv().await {
                    Some(event) => take(event)?,
                    None => return Err(Ended::Link),
                },
                Err(SendError::NotSending) => return Err(Ended::Link),
                Err(error) => return Err(Ended::Failed(error.to_string())),
            }
        }
    }

    async fn write(&mut self, mut parts: [Bytes; 2]) -> Result<(), Ended> {
        let lost = |_| Ended::Link;
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(self.link.quic.open_uni().await.map_err(|_| Ended::Link)?),
        };
        stream.write_all_chunks(&mut parts).await.map_err(lost)
    }

    /// Sends the newest message of what follows.
    async fn follow_latest(&mut self) -> Result<Followed, Ended> {
        let Self { follower, filter, link, flow, .. } = self;
        let mut newest: Option<(u64, u64, bool, Vec<u8>)> = None;
        let followed = follower.turn(RUN_BYTES, |message| {
            if filter.wants(&message) {
                let content = match newest.take() {
                    Some((.., mut content)) => {
                        content.clear();
                        content.extend_from_slice(message.content);
                        content
                    }
                    None => message.content.to_vec(),
                };
                newest = Some((message.position, message.unix_ns, message.has_extensions, content));
            }
        })?;
        let Some((position, unix_ns, has_extensions, content)) = newest else { return Ok(followed) };
        let message = Message { position, unix_ns, has_extensions, content: &content };
        let datagram = match link.with(|core, _| core.send_latest(*flow, &message)) {
            Ok(datagram) => Bytes::from(datagram),
            Err(SendError::NotSending) => return Err(Ended::Link),
            Err(error) => {
                tracing::warn!(peer = link.peer.name, position, "not sent: {error}");
                return Ok(followed);
            }
        };
        count(&link.peer.counters.messages_sent, 1);
        link.context.is_active();
        if link.quic.max_datagram_size().is_some_and(|max| datagram.len() <= max) {
            // A full buffer drops the oldest, which this one is newer than.
            let _ = link.quic.send_datagram(datagram);
        } else {
            // The next one waits until the peer has room for it, and is the newest then.
            send_alone(&link.quic, datagram).await;
        }
        Ok(followed)
    }

    /// Waits until there is more, or something happens.
    async fn wait(&mut self) -> Result<(), Ended> {
        let linger = self.link.context.options().linger;
        while self.link.context.lingers(linger) {
            tokio::task::yield_now().await;
            if self.follower.has_news() || !self.events.is_empty() {
                return Ok(());
            }
        }
        tokio::select! {
            biased;
            event = self.events.recv() => event.map_or(Err(Ended::Link), take),
            () = self.follower.news() => Ok(()),
        }
    }

    fn take_events(&mut self) -> Result<(), Ended> {
        while let Ok(event) = self.events.try_recv() {
            take(event)?;
        }
        if self.events.is_closed() { Err(Ended::Link) } else { Ok(()) }
    }
}

/// What the peer says meanwhile: the core keeps all but the end.
fn take(event: FlowEvent) -> Result<(), Ended> {
    match event {
        FlowEvent::Event(Event::Ended { text, .. }) => Err(Ended::Refused(text)),
        _ => Ok(()),
    }
}

/// Sends a message that is too long for a datagram on a stream of its own.
async fn send_alone(quic: &quinn::Connection, message: Bytes) {
    if let Ok(mut stream) = quic.open_uni().await {
        let head = Bytes::copy_from_slice(&Connection::latest_stream_head());
        // If it is lost, so is the message, which newer ones follow.
        let _ = stream.write_all_chunks(&mut [head, message]).await;
        let _ = stream.finish();
    }
}

/// Where to begin to read.
fn start_at(topic: &Topic, mode: Mode, start: StartAt, filter: &Filter) -> Result<Start, Ended> {
    if mode != Mode::Reliable {
        return Ok(Start::Live);
    }
    let names = topic.source_names().map_err(|error| Ended::Failed(error.to_string()))?;
    let has_others = names.iter().any(|name| MessageOrigin::parse_source(name).is_some());
    Ok(match filter.own.checked_sub(1) {
        // Messages from elsewhere may lie before it that the peer doesn't have.
        Some(last) if !has_others => Start::Position(last),
        None if filter.others.is_empty() && start == StartAt::Live => Start::Live,
        _ => Start::Earliest,
    })
}

fn explain(error: &OpenError, topic: &Topic, filter: &Filter) -> Ended {
    match error {
        OpenError::Topic(TopicError::NoSuchPosition { position, to, .. }) if position >= to => Ended::Failed(format!(
            "{} has messages of the topic {} up to position {position}, but here it ends at {to}: it was restored without its end, as after a loss of power; make it anew",
            filter.peer,
            topic.name()
        )),
        other => Ended::Failed(other.to_string()),
    }
}
