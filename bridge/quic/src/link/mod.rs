//! One connection to a peer: the protocol's core, and the tasks that carry its bytes.
//!
//! ```text
//!   control stream ──> receive_control ─┐              ┌─> control stream
//!   streams of flows ──> incoming task ─┼─> core ──────┼─> events: of flows to their tasks, others to the link's own
//!   datagrams ──> receive_datagram ─────┘   (a lock)   │
//!   topics ──> outgoing task ──── send ────────────────┴─> streams of flows
//! ```
//!
//! The core is locked for as long as a call of it takes, and never while anything is awaited. All tasks of a link end with it.

mod incoming;
mod offer;
mod outgoing;
mod run;

pub(crate) use run::{RENEWED, REPLACED, run};

use crate::context::Context;
use crate::peer::{Peer, count};
use crate::status::{FlowDirection, FlowStatus};
use bytes::{Bytes, BytesMut};
use memlane_bridge_protocol::{Connection, Event, Mode, Output};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, Semaphore, mpsc};

/// Events that wait for a flow's task, and for the link's: what comes beside that is state that the core keeps, or ends the link.
const EVENTS_MAX: usize = 1024;
/// Bytes that are handed to the control stream at once.
const CONTROL_PIECE_BYTES: usize = 64 << 10;
/// Messages of the newest ones that are read from streams at once: each takes up to 4 MiB.
const LATEST_STREAMS_MAX: usize = 16;

/// What a flow's task is told.
#[derive(Debug)]
pub(crate) enum FlowEvent {
    /// Something happened.
    Event(Event),
    /// Its stream has come, with what was read of it.
    Stream(quinn::RecvStream, Vec<u8>),
    /// There is a message in the place for the newest one.
    Newest(Newest),
}

/// The place for the newest message of a flow: what it is put over was overtaken.
pub(crate) type Newest = Arc<Mutex<Option<Event>>>;

/// What a flow's task carries.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// The topic's name here.
    pub(crate) topic: String,
    pub(crate) direction: FlowDirection,
    pub(crate) mode: Mode,
}

/// How a flow's task is told what happens.
#[derive(Debug)]
struct Routed {
    about: About,
    events: mpsc::Sender<FlowEvent>,
    newest: Newest,
}

/// What a link's core says of itself.
#[derive(Debug, Default)]
pub(crate) struct CoreStatus {
    pub(crate) clock: Option<(i64, u64)>,
    pub(crate) streams: usize,
    pub(crate) flows: Vec<FlowStatus>,
}

/// One connection to a peer.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) context: Arc<Context>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) quic: quinn::Connection,
    core: Mutex<Core>,
    /// There are bytes for the control stream; some of them were taken.
    control_ready: Notify,
    control_taken: Notify,
    latest_streams: Semaphore,
    events: mpsc::Sender<Event>,
    event_taken: Notify,
    /// Topics that are offered, or were refused.
    offered: Mutex<HashSet<String>>,
    /// Both ends have greeted.
    is_ready: AtomicBool,
}

#[derive(Debug)]
struct Core {
    connection: Connection,
    control: BytesMut,
    flows: HashMap<u32, Routed>,
    events: mpsc::Sender<Event>,
}

/// Nanoseconds since 1970.
pub(crate) fn now_unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// A panic while it was held left nothing half-done that the next call wouldn't find.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    fn new(
        context: Arc<Context>,
        peer: Arc<Peer>,
        quic: quinn::Connection,
        connection: Connection,
    ) -> (Arc<Self>, mpsc::Receiver<Event>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let core = Core { connection, control: BytesMut::new(), flows: HashMap::new(), events: events.clone() };
        let link = Self {
            context,
            peer,
            quic,
            core: Mutex::new(core),
            control_ready: Notify::new(),
            control_taken: Notify::new(),
            latest_streams: Semaphore::new(LATEST_STREAMS_MAX),
            events,
            event_taken: Notify::new(),
            offered: Mutex::default(),
            is_ready: AtomicBool::new(false),
        };
        (Arc::new(link), receiver)
    }

    /// Calls the core, with the time, and passes on what comes of it.
    pub(crate) fn with<R>(&self, call: impl FnOnce(&mut Connection, u64) -> R) -> R {
        self.with_flow(0, call).0
    }

    /// The same for a flow's task, which gets the events of its flow itself.
    pub(crate) fn with_flow<R>(&self, flow: u32, call: impl FnOnce(&mut Connection, u64) -> R) -> (R, Vec<Event>) {
        let (mut own, now) = (Vec::new(), now_unix_ns());
        let mut core = lock(&self.core);
        let result = call(&mut core.connection, now);
        while let Some(output) = core.connection.poll() {
            match output {
                Output::Control(bytes) => core.control.extend_from_slice(&bytes),
                Output::Event(event) if flow != 0 && event.flow() == Some(flow) => own.push(event),
                Output::Event(event) => core.pass_on(event, self),
            }
        }
        let has_control = !core.control.is_empty();
        drop(core);
        if has_control {
            self.control_ready.notify_one();
        }
        (result, own)
    }

    /// From here on events of a flow come to who has the other end.
    pub(crate) fn route(&self, flow: u32, about: About) -> mpsc::Receiver<FlowEvent> {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        lock(&self.core).flows.insert(flow, Routed { about, events, newest: Newest::default() });
        receiver
    }

    /// The flow's task has ended.
    pub(crate) fn forget(&self, flow: u32) {
        lock(&self.core).flows.remove(&flow);
    }

    /// Hands a stream over to the flow's task; `None` if there is none, or it has had one.
    fn hand_over(&self, flow: u32, stream: quinn::RecvStream, bytes: Vec<u8>) -> Option<()> {
        lock(&self.core).flows.get(&flow)?.events.try_send(FlowEvent::Stream(stream, bytes)).ok()
    }

    /// Whether messages of the newest ones come on this flow.
    fn takes_latest(&self, flow: u32) -> bool {
        let core = lock(&self.core);
        let about = core.flows.get(&flow).map(|routed| &routed.about);
        about.is_some_and(|about| about.mode == Mode::Latest && about.direction == FlowDirection::FromPeer)
    }

    /// Bytes for the control stream, some at a time.
    fn take_control(&self) -> Bytes {
        let control = &mut lock(&self.core).control;
        let length = control.len().min(CONTROL_PIECE_BYTES);
        let taken = control.split_to(length).freeze();
        self.control_taken.notify_waiters();
        taken
    }

    fn control_bytes(&self) -> usize {
        lock(&self.core).control.len()
    }

    /// Waits until no more than so many bytes wait for the control stream.
    async fn until_told(&self, bytes_max: usize) {
        loop {
            let taken = self.control_taken.notified();
            tokio::pin!(taken);
            taken.as_mut().enable();
            if self.control_bytes() <= bytes_max {
                return;
            }
            taken.await;
        }
    }

    /// How it stands.
    pub(crate) fn status(&self) -> CoreStatus {
        let core = lock(&self.core);
        let flow = |(flow, routed): (&u32, &Routed)| {
            let (About { topic, direction, mode }, state) = (routed.about.clone(), core.connection.flow(*flow)?);
            let (is_running, position) = (state.is_running, state.position);
            let (applied, durable, credit_left_bytes) = (state.applied, state.durable, state.credit_left);
            Some(FlowStatus { topic, direction, mode, is_running, position, applied, durable, credit_left_bytes })
        };
        let mut flows: Vec<FlowStatus> = core.flows.iter().filter_map(flow).collect();
        let (clock, streams) = (core.connection.clock_offset(), core.connection.streams());
        drop(core);
        flows.sort_by(|one, other| one.topic.cmp(&other.topic));
        CoreStatus { clock, streams, flows }
    }
}

impl Core {
    fn pass_on(&mut self, event: Event, link: &Link) {
        let Some(flow) = event.flow() else {
            if self.events.try_send(event).is_err() {
                // Nothing more is read before there is a place: it can't be.
                link.quic.close(run::TOO_MUCH, b"too many messages wait to be answered");
            }
            return;
        };
        let is_end = matches!(event, Event::Ended { .. });
        if let Some(routed) = self.flows.get(&flow) {
            if matches!(event, Event::Latest { .. }) {
                routed.put_newest(event, link);
            } else {
                // What finds no place is credit and progress, which the core has.
                let _ = routed.events.try_send(FlowEvent::Event(event));
            }
        }
        if is_end {
            self.flows.remove(&flow);
        }
    }
}

impl Routed {
    fn put_newest(&self, event: Event, link: &Link) {
        let mut newest = lock(&self.newest);
        if newest.replace(event).is_some() {
            count(&link.peer.counters.overtaken, 1);
        } else if self.events.try_send(FlowEvent::Newest(Arc::clone(&self.newest))).is_err() {
            *newest = None;
        }
    }
}
