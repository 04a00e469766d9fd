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
use crate::peer::Peer;
use memlane_bridge_protocol::{Connection, Event, Output};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc};

/// Events that wait for a flow's task, and for the link's: what comes beside that is state that the core keeps, or ends the link.
const EVENTS_MAX: usize = 1024;

/// What a flow's task is told.
#[derive(Debug)]
pub(crate) enum FlowEvent {
    /// Something happened.
    Event(Event),
    /// Its stream has come, with what was read of it.
    Stream(quinn::RecvStream, Vec<u8>),
}

/// One connection to a peer.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) context: Arc<Context>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) quic: quinn::Connection,
    core: Mutex<Core>,
    /// There are bytes for the control stream.
    control_ready: Notify,
    /// Topics that are offered, or were refused.
    offered: Mutex<HashSet<String>>,
    /// Both ends have greeted.
    is_ready: AtomicBool,
}

#[derive(Debug)]
struct Core {
    connection: Connection,
    control: Vec<u8>,
    flows: HashMap<u32, mpsc::Sender<FlowEvent>>,
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
        let core = Core { connection, control: Vec::new(), flows: HashMap::new(), events };
        let (control_ready, offered) = (Notify::new(), Mutex::default());
        let is_ready = AtomicBool::new(false);
        let link = Self { context, peer, quic, core: Mutex::new(core), control_ready, offered, is_ready };
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
                Output::Event(event) => core.pass_on(event, &self.quic),
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
    pub(crate) fn route(&self, flow: u32) -> mpsc::Receiver<FlowEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        lock(&self.core).flows.insert(flow, sender);
        receiver
    }

    /// The flow's task has ended.
    pub(crate) fn forget(&self, flow: u32) {
        lock(&self.core).flows.remove(&flow);
    }

    /// Hands a stream over to the flow's task; `None` if there is none, or it has had one.
    fn hand_over(&self, flow: u32, stream: quinn::RecvStream, bytes: Vec<u8>) -> Option<()> {
        lock(&self.core).flows.get(&flow)?.try_send(FlowEvent::Stream(stream, bytes)).ok()
    }

    fn take_control(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.core).control)
    }

    fn has_control(&self) -> bool {
        !lock(&self.core).control.is_empty()
    }
}

impl Core {
    fn pass_on(&mut self, event: Event, quic: &quinn::Connection) {
        let Some(flow) = event.flow() else {
            if self.events.try_send(event).is_err() {
                // It asks faster than anything can be answered.
                quic.close(run::TOO_MUCH, b"too many messages wait to be answered");
            }
            return;
        };
        let is_end = matches!(event, Event::Ended { .. });
        if let Some(task) = self.flows.get(&flow) {
            // What finds no place is credit and progress, which the core has, or a message that a newer one follows.
            let _ = task.try_send(FlowEvent::Event(event));
        }
        if is_end {
            self.flows.remove(&flow);
        }
    }
}
