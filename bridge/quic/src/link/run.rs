//! A link's life: its tasks, from the greeting to the end.

use super::{Link, now_unix_ns};
use crate::allow::Direction;
use crate::context::Context;
use crate::link::{incoming, offer};
use crate::options::FlowOptions;
use crate::peer::Peer;
use crate::refusal::RefusedBy;
use crate::refused::Refusal;
use crate::status::FlowDirection;
use memlane::Pattern;
use memlane_bridge_protocol::layout::{
    CONTROL_HEAD_BYTES, FLOW_HEAD_BYTES, FLOW_MAGIC, LATEST_BYTES_MAX, LATEST_MAGIC,
};
use memlane_bridge_protocol::{Connection, EndCode, Event, Features, Settings, Side, Want};
use quinn::{ConnectionError, RecvStream, SendStream, VarInt};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// Why a connection is closed, as numbers for the peer's QUIC.
const DONE: VarInt = VarInt::from_u32(0);
pub(super) const TOO_MUCH: VarInt = VarInt::from_u32(1);
pub(crate) const REPLACED: VarInt = VarInt::from_u32(2);
pub(crate) const RENEWED: VarInt = VarInt::from_u32(3);

/// How long a peer has to close a connection after a goodbye.
const GOODBYE_MAX: Duration = Duration::from_millis(300);
/// Bytes of the control stream that are read at once: what comes of them finds a place among the events.
const CONTROL_READ_BYTES_MAX: usize = 4 << 10;
/// So many events may come of these, and of a message that they complete.
const CONTROL_EVENTS_MAX: usize = CONTROL_READ_BYTES_MAX / CONTROL_HEAD_BYTES + 1;
/// Nothing more is read of the control stream while more bytes than these wait to be sent on it.
const CONTROL_WAITING_MAX: usize = 4 << 20;
/// No topics are offered while more bytes than these wait.
pub(super) const OFFERS_WAITING_MAX: usize = 1 << 20;
/// How often a peer may offer or want something in a second, once it has done so as often as it may have flows.
const ASKED_PER_SECOND: f64 = 200.0;

/// Bytes that are read from a stream at once.
pub(super) const READ_BYTES_MAX: usize = 256 << 10;
/// How often the core looks after the peer's silence, and asks for its time.
const TICK: Duration = Duration::from_secs(1);

/// Why a link has ended.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// One of the two said so.
    #[error("{text}")]
    Closed {
        /// Why.
        code: EndCode,
        /// The same in words.
        text: String,
    },
    /// The connection is lost, or was closed below.
    #[error("{0}")]
    Lost(#[from] ConnectionError),
    /// Its control stream has ended.
    #[error("its control stream has ended")]
    Control,
    /// It has not greeted in time.
    #[error("it has not greeted within {0:?}")]
    Silent(Duration),
    /// It doesn't read what it is told.
    #[error("it asks, and doesn't read the answers: {0} bytes wait for it")]
    NotReading(usize),
}

impl Ended {
    /// Whether the peer is to blame, and for what.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Closed { code, .. } => Refusal::of_end(*code),
            Self::Silent(_) => Some(Refusal::Silent),
            Self::NotReading(_) => Some(Refusal::NotReading),
            Self::Lost(
                ConnectionError::LocallyClosed | ConnectionError::ApplicationClosed(_) | ConnectionError::TimedOut,
            )
            | Self::Control => None,
            // Somebody broke the rules of QUIC.
            Self::Lost(ConnectionError::TransportError(_)) => Some(Refusal::OutOfTurn),
            Self::Lost(_) => None,
        }
    }
}

/// How a link has ended.
#[derive(Debug)]
pub(crate) struct Over {
    pub(crate) why: Ended,
    /// Whether both ends had greeted.
    pub(crate) was_ready: bool,
}

/// Runs a link over `quic` until it ends.
pub(crate) async fn run(context: &Arc<Context>, peer: &Arc<Peer>, quic: &quinn::Connection, side: Side) -> Over {
    let over = match start(context, peer, quic, side).await {
        Ok(over) => over,
        Err(why) => Over { why, was_ready: false },
    };
    let text: String = over.why.to_string().chars().take(200).collect();
    quic.close(DONE, text.as_bytes());
    over
}

async fn start(context: &Arc<Context>, peer: &Arc<Peer>, quic: &quinn::Connection, side: Side) -> Result<Over, Ended> {
    let options = context.options();
    let settings = Settings {
        name: context.node.clone(),
        features: Features(Features::ZSTD.0 | Features::LZ4.0),
        flows_max: options.transport.flows_max as usize,
        wants_max: options.transport.wants_max as usize,
        // QUIC sees to that the peer lives; pings keep the clocks' offset up to date.
        ping_after_ns: 10 * TICK.as_nanos() as u64,
        silence_max_ns: u64::MAX,
    };
    let patience = options.transport.greeting_max;
    let greeting_by = Instant::now() + patience;
    let control = async {
        match side {
            Side::Connector => quic.open_bi().await,
            Side::Listener => quic.accept_bi().await,
        }
    };
    let (send, receive) = timeout_at(greeting_by, control).await.map_err(|_| Ended::Silent(patience))??;
    let core = Connection::new(settings, side, now_unix_ns());
    let (link, events) = Link::new(Arc::clone(context), Arc::clone(peer), quic.clone(), core);
    peer.has_link(&link);
    let mut tasks: JoinSet<Ended> = JoinSet::new();
    tasks.spawn(write_control(Arc::clone(&link), send));
    tasks.spawn(read_control(Arc::clone(&link), receive));
    tasks.spawn(accept_streams(Arc::clone(&link)));
    tasks.spawn(read_datagrams(Arc::clone(&link)));
    tasks.spawn(tick(Arc::clone(&link)));
    tasks.spawn(serve(Arc::clone(&link), events, greeting_by));
    // A greeting is there at once, of who connects.
    link.with(|_, _| ());
    let ended = tasks.join_next().await;
    // What the peer is to be told, which a close would overtake, has a moment to get there: it closes then.
    if matches!(ended, Some(Ok(Ended::Closed { .. }))) {
        let _ = timeout(GOODBYE_MAX, link.quic.closed()).await;
    }
    let why = match ended {
        Some(Ok(ended)) => ended,
        _ => Ended::Closed { code: EndCode::Failed, text: "a task of the link failed".to_owned() },
    };
    Ok(Over { why, was_ready: link.is_ready.load(Ordering::Relaxed) })
}

async fn write_control(link: Arc<Link>, mut stream: SendStream) -> Ended {
    // Before all data: what it says steers them.
    let _ = stream.set_priority(1);
    loop {
        let bytes = link.take_control();
        if bytes.is_empty() {
            link.control_ready.notified().await;
        } else if stream.write_chunk(bytes).await.is_err() {
            return link.quic.close_reason().map_or(Ended::Control, Ended::Lost);
        }
    }
}

async fn read_control(link: Arc<Link>, mut stream: RecvStream) -> Ended {
    loop {
        if let Err(ended) = room(&link).await {
            return ended;
        }
        match stream.read_chunk(CONTROL_READ_BYTES_MAX, true).await {
            Ok(Some(chunk)) => link.with(|core, now| core.receive_control(&chunk.bytes, now)),
            Ok(None) => return Ended::Control,
            Err(_) => return link.quic.close_reason().map_or(Ended::Control, Ended::Lost),
        }
    }
}

/// Waits until what the peer has said before is dealt with, and what it is told goes out: so what is held for one that asks and asks is bounded.
async fn room(link: &Link) -> Result<(), Ended> {
    while link.events.capacity() < CONTROL_EVENTS_MAX {
        link.event_taken.notified().await;
    }
    let patience = link.context.options().transport.silence_max;
    loop {
        let waiting = link.control_bytes();
        if waiting <= CONTROL_WAITING_MAX {
            return Ok(());
        }
        let told = timeout(patience, link.until_told(waiting.saturating_sub(1))).await;
        told.map_err(|_| Ended::NotReading(waiting))?;
    }
}

async fn accept_streams(link: Arc<Link>) -> Ended {
    let mut readers = JoinSet::new();
    loop {
        match link.quic.accept_uni().await {
            Ok(stream) => {
                readers.spawn(read_stream(Arc::clone(&link), stream));
                while readers.try_join_next().is_some() {}
            }
            Err(error) => return error.into(),
        }
    }
}

/// Reads what a stream begins with, and hands it over to the flow's task; or a message of the newest ones, whole.
async fn read_stream(link: Arc<Link>, mut stream: RecvStream) {
    let mut head = [0; FLOW_HEAD_BYTES];
    if stream.read_exact(&mut head).await.is_err() {
        return;
    }
    let (magic, flow) = head.split_at(4);
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).unwrap_or_default();
    let id = stream.id().into();
    match number(magic) {
        FLOW_MAGIC => {
            if link.hand_over(number(flow), stream, head.to_vec()).is_none() {
                // The core says whether that may be: of a flow that has ended it may.
                link.with(|core, now| {
                    core.receive_flow(id, &head, now);
                    core.end_stream(id, false);
                });
            }
        }
        // One of a flow that has ended, or hasn't begun, isn't read.
        LATEST_MAGIC if !link.takes_latest(number(flow)) => {}
        LATEST_MAGIC => {
            let Ok(_place) = link.latest_streams.acquire().await else { return };
            if let Ok(rest) = stream.read_to_end(LATEST_BYTES_MAX).await {
                link.with(|core, now| {
                    core.receive_flow(id, &head, now);
                    core.receive_flow(id, &rest, now);
                    core.end_stream(id, true);
                });
            }
        }
        _ => link.with(|core, now| core.receive_flow(id, &head, now)),
    }
}

async fn read_datagrams(link: Arc<Link>) -> Ended {
    loop {
        match link.quic.read_datagram().await {
            Ok(bytes) => link.with(|core, now| core.receive_datagram(&bytes, now)),
            Err(error) => return error.into(),
        }
    }
}

async fn tick(link: Arc<Link>) -> Ended {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        link.with(|core, now| core.tick(now));
    }
}

/// What the link itself is told.
async fn serve(link: Arc<Link>, mut events: mpsc::Receiver<Event>, greeting_by: Instant) -> Ended {
    let (mut tasks, mut pace) = (JoinSet::new(), Pace::new(&link));
    let mut wants: HashMap<u32, FlowOptions> = HashMap::new();
    let Ok(mut next) = timeout_at(greeting_by, events.recv()).await else {
        return Ended::Silent(link.context.options().transport.greeting_max);
    };
    while let Some(event) = next.take() {
        match event {
            Event::Ready { name, .. } if name != link.peer.name => {
                let text = format!("it says that it is {name:?}, its certificate says {:?}", link.peer.name);
                link.with(|core, _| core.close(EndCode::NotAllowed, &text));
                return Ended::Closed { code: EndCode::NotAllowed, text };
            }
            Event::Ready { .. } => ready(&link, &mut wants, &mut tasks),
            Event::Wanted(want) => wanted(&link, want, &mut tasks),
            Event::WantEnded { want, text, .. } => {
                if let Some(options) = wants.get(&want) {
                    let topics = options.topics.to_string();
                    link.peer.refuse_flow(&topics, FlowDirection::FromPeer, RefusedBy::Peer, &text);
                }
            }
            Event::Offered(open) => incoming::offered(&link, open, &wants, &mut tasks),
            Event::Declined { topic, is_offer, text, .. } => {
                let direction = if is_offer { FlowDirection::FromPeer } else { FlowDirection::ToPeer };
                link.peer.refuse_flow(&topic, direction, RefusedBy::Us, &text);
            }
            Event::Closed { code, text } => return Ended::Closed { code, text },
            _ => {}
        }
        while tasks.try_join_next().is_some() {}
        pace.keep().await;
        next = events.recv().await;
        link.event_taken.notify_one();
    }
    Ended::Control
}

/// How fast what a peer asks for is dealt with: topics are opened and made for it, which takes a thread some time.
struct Pace {
    left: f64,
    most: f64,
    at: Instant,
}

impl Pace {
    fn new(link: &Link) -> Self {
        let most = f64::from(link.context.options().transport.flows_max);
        Self { left: most, most, at: Instant::now() }
    }

    /// Lets others go on, and waits if it was too fast.
    async fn keep(&mut self) {
        let now = Instant::now();
        let gained = (now - self.at).as_secs_f64() * ASKED_PER_SECOND;
        (self.left, self.at) = ((self.left + gained).min(self.most) - 1.0, now);
        if self.left < 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(-self.left / ASKED_PER_SECOND)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// Both have greeted: asks for what is wanted, offers what is to be given.
fn ready(link: &Arc<Link>, wants: &mut HashMap<u32, FlowOptions>, tasks: &mut JoinSet<()>) {
    link.is_ready.store(true, Ordering::Relaxed);
    link.with(|core, now| core.ping(now));
    let options = link.context.options();
    let Some(peer) = options.peers.iter().find(|peer| peer.name == link.peer.name) else { return };
    for pull in &peer.pulls {
        let pattern = pull.topics.to_string();
        let want = link.with(|core, _| core.want(pull.mode, pull.compression.feature(), &pattern));
        wants.extend(want.map(|want| (want, pull.clone())));
    }
    for push in &peer.pushes {
        tasks.spawn(offer::all(Arc::clone(link), 0, push.clone()));
    }
}

/// The peer wants topics.
fn wanted(link: &Arc<Link>, want: Want, tasks: &mut JoinSet<()>) {
    let refuse = |code, text: &str| {
        link.peer.refuse_flow(&want.pattern, FlowDirection::ToPeer, RefusedBy::Us, text);
        link.with(|core, _| core.end_want(want.want, code, text));
    };
    let topics: Pattern = match want.pattern.parse() {
        Ok(pattern) => pattern,
        Err(error) => return refuse(EndCode::Malformed, &error.to_string()),
    };
    let options = link.context.options();
    // Of a pattern what is allowed is offered, also of what comes later.
    let is_name = !want.pattern.contains(['*', '>']);
    if is_name && let Err(refusal) = options.allow.check(&link.peer.name, Direction::Pull, &want.pattern) {
        return refuse(EndCode::NotAllowed, &refusal.to_string());
    }
    let compression = crate::options::Compression::of(want.compression);
    let options = FlowOptions { mode: want.mode, compression, ..FlowOptions::reliable(topics) };
    tasks.spawn(offer::all(Arc::clone(link), want.want, options));
}
