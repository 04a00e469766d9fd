//! One end of a connection: greeted, then flows are opened, granted, fed and ended. Bytes and times are handed in, outputs are taken out; nothing waits.
//!
//! ```text
//!             hello ─▶               want ─▶           accept, credit, progress ─▶
//!  connector           listener     receiver                                         sender
//!             ◀─ welcome             ◀─ open           ◀─ batches, gaps (the flow's stream)
//! ```
//!
//! Whatever a peer sends that may not come there ends the flow, or the connection, with a reason; nothing of it is believed. What this end holds for a peer is bounded by the
//! credit that it gave, the flows that it allows, and a message's length.

use crate::batch::{Batch, BatchHead};
use crate::clock::ClockOffset;
use crate::control::{Control, EndCode, Features, Hello, Mark, Mode, Open, StartAt, Topic, Want};
use crate::event::{Event, Output, SendError};
use crate::flow::{Flow, FlowState, Phase, Role};
use crate::incoming::Incoming;
use crate::layout::{VERSION_MAX, VERSION_MIN};
use crate::peer::Fault;
use std::collections::{BTreeMap, VecDeque};

/// Longest name of a node, in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 40;

/// What an end is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name of its node, which no other one has: 1 to 40 of `A-Z a-z 0-9 _ -`, since origins are named after it.
    pub name: String,
    /// What it can do.
    pub features: Features,
    /// How many flows a peer may have open at a time.
    pub flows_max: usize,
    /// How often a peer may want something, as long as the connection lasts.
    pub wants_max: usize,
    /// A peer that is silent for so long is asked for a sign of life, in nanoseconds.
    pub ping_after_ns: u64,
    /// One that is silent for so long is given up.
    pub silence_max_ns: u64,
}

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that connects.
    Connector,
    /// The one that was connected to.
    Listener,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Greeting,
    Ready,
    Closed,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection {
    pub(crate) settings: Settings,
    pub(crate) side: Side,
    pub(crate) state: State,
    pub(crate) features: Features,
    /// What has come of the control stream and is no whole message yet.
    pub(crate) control: Vec<u8>,
    pub(crate) incoming: BTreeMap<u64, Incoming>,
    pub(crate) flows: BTreeMap<u32, Flow>,
    /// The next flow that is opened here, and the least that the peer may open next.
    pub(crate) next_flow: u32,
    pub(crate) next_peer_flow: u32,
    /// How often something was wanted here.
    pub(crate) wants: u32,
    /// The number of the peer's last want, and how many it had.
    pub(crate) peer_wants: (u32, usize),
    outputs: VecDeque<Output>,
    pub(crate) heard_ns: u64,
    pinged_ns: u64,
    pings: u64,
    pub(crate) clock: ClockOffset,
}

impl Connection {
    /// An end that begins now, in nanoseconds since 1970: one that connects greets at once.
    #[must_use]
    pub fn new(settings: Settings, side: Side, now_unix_ns: u64) -> Self {
        // Who connects has odd numbers.
        let (next_flow, next_peer_flow) = if side == Side::Connector { (1, 2) } else { (2, 1) };
        let mut connection = Self {
            features: settings.features,
            settings,
            side,
            state: State::Greeting,
            control: Vec::new(),
            incoming: BTreeMap::new(),
            flows: BTreeMap::new(),
            next_flow,
            next_peer_flow,
            wants: 0,
            peer_wants: (0, 0),
            outputs: VecDeque::new(),
            heard_ns: now_unix_ns,
            pinged_ns: now_unix_ns,
            pings: 0,
            clock: ClockOffset::default(),
        };
        if side == Side::Connector {
            let Settings { ref name, features, .. } = connection.settings;
            let versions = (VERSION_MIN, VERSION_MAX);
            let hello = Hello { versions, features, name: name.clone(), sent_unix_ns: now_unix_ns };
            connection.say(&Control::Hello(hello));
        }
        connection
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// By how much the peer's clock is ahead of this one, in nanoseconds, and how wrong that may be; `None` before a ping has come back.
    #[must_use]
    pub fn clock_offset(&self) -> Option<(i64, u64)> {
        self.clock.best()
    }

    /// Asks for topics; returns the number of that. Flows of them then come as [`Event::Offered`].
    ///
    /// Before the peer has greeted, and after the end, nothing can be asked for: `None`.
    pub fn want(&mut self, mode: Mode, compression: Features, pattern: &str) -> Option<u32> {
        (self.state == State::Ready).then_some(())?;
        self.wants += 1;
        let want = self.wants;
        self.say(&Control::Want(Want { want, mode, compression, pattern: pattern.to_owned() }));
        Some(want)
    }

    /// Says that what was wanted here isn't any more, or what the peer wants can't be had.
    pub fn end_want(&mut self, want: u32, code: EndCode, text: &str) {
        if self.state == State::Ready {
            self.say(&Control::EndWant { want, code, text: text.to_owned() });
        }
    }

    /// Offers a flow of a topic that is here; returns its number. `want` is what it was wanted by, or zero.
    ///
    /// Before the peer has greeted, and after the end, none can be offered: `None`.
    pub fn open(&mut self, mode: Mode, want: u32, topic: Topic) -> Option<u32> {
        (self.state == State::Ready).then_some(())?;
        let flow = self.next_flow;
        self.next_flow += 2;
        self.flows.insert(flow, Flow::new(Role::Sender, mode, Phase::Asked));
        self.say(&Control::Open(Open { flow, mode, want, topic }));
        Some(flow)
    }

    /// Takes a flow that the peer offers. `marks` say how far this end has got with each origin. Nothing happens if it isn't offered any more.
    pub fn accept(&mut self, flow: u32, start: StartAt, marks: Vec<Mark>) {
        let Some(offered) = self.flows.get_mut(&flow).filter(|offered| offered.phase == Phase::Offered) else { return };
        offered.phase = Phase::Running;
        self.say(&Control::Accept { flow, start, marks });
    }

    /// Ends a flow, or refuses it. Nothing happens if it has ended. What is under way on its stream may be passed over: a sender that is done waits until its receiver has it.
    pub fn end_flow(&mut self, flow: u32, code: EndCode, text: &str) {
        if self.flows.remove(&flow).is_some() {
            self.say(&Control::EndFlow { flow, code, text: text.to_owned() });
        }
    }

    /// How a flow stands; `None` if it has ended, or never was.
    #[must_use]
    pub fn flow(&self, flow: u32) -> Option<FlowState> {
        self.flows.get(&flow).map(Flow::state)
    }

    /// How many streams of the peer's something is held for.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.incoming.len()
    }

    /// How many bytes of packed frames may be sent on a flow now.
    #[must_use]
    pub fn credit(&self, flow: u32) -> u64 {
        self.flows.get(&flow).map_or(0, Flow::credit_left)
    }

    /// What is to be written on a flow's stream before the bytes of this batch, which counts as sent. The stream is made for its first.
    ///
    /// Errors: [`SendError`]; nothing is to be written.
    pub fn send(&mut self, flow: u32, batch: &Batch) -> Result<Vec<u8>, SendError> {
        let sending = self.sending(flow, batch.position)?;
        assert!(batch.stored_bytes <= batch.raw_bytes, "compressed bytes that are more are sent as they were");
        if u64::from(batch.raw_bytes) > sending.credit_left() {
            return Err(SendError::NoCredit);
        }
        sending.used += u64::from(batch.raw_bytes);
        Ok(sending.head(flow, BatchHead::Batch(*batch), batch.end))
    }

    /// What is to be written on a flow's stream to tell that positions are lost to the receiver. As for a batch there must have been credit: only then does the receiver know of the flow, since streams
    /// overtake each other.
    ///
    /// Errors: [`SendError`]; nothing is to be written.
    pub fn send_gap(&mut self, flow: u32, position: u64, end: u64) -> Result<Vec<u8>, SendError> {
        let sending = self.sending(flow, position)?;
        if sending.credit == 0 {
            return Err(SendError::NoCredit);
        }
        Ok(sending.head(flow, BatchHead::Gap { position, end }, end))
    }

    fn sending(&mut self, flow: u32, position: u64) -> Result<&mut Flow, SendError> {
        let sending =
            self.flows.get_mut(&flow).filter(|flow| flow.phase == Phase::Running && flow.role == Role::Sender);
        let sending = sending.filter(|flow| flow.mode != Mode::Latest).ok_or(SendError::NotSending)?;
        if sending.position.is_some_and(|end| end != position) { Err(SendError::OutOfOrder) } else { Ok(sending) }
    }

    /// Gives the sender of a flow credit for so many bytes of packed frames more; enough for the longest frame, or it never comes. Nothing happens unless the flow runs and this end is its receiver.
    pub fn give_credit(&mut self, flow: u32, bytes: u64) {
        let Some(receiving) = self.receiving(flow) else { return };
        receiving.credit = receiving.credit.saturating_add(bytes);
        let bytes = receiving.credit;
        self.say(&Control::Credit { flow, bytes });
    }

    /// Tells the sender of a flow how far this end is, in positions of the sender's log: what is in its own log, and what survives a loss of power there. Neither may fall. Nothing happens unless the flow
    /// runs and this end is its receiver.
    pub fn tell_progress(&mut self, flow: u32, applied: u64, durable: u64) {
        let Some(receiving) = self.receiving(flow) else { return };
        let received = receiving.position.unwrap_or(0).max(applied);
        receiving.progress = (received, applied, durable);
        self.say(&Control::Progress { flow, received, applied, durable });
    }

    fn receiving(&mut self, flow: u32) -> Option<&mut Flow> {
        self.flows.get_mut(&flow).filter(|flow| flow.phase == Phase::Running && flow.role == Role::Receiver)
    }

    /// Ends the connection, with a word to the peer.
    pub fn close(&mut self, code: EndCode, text: &str) {
        if self.state != State::Closed {
            self.say(&Control::Goodbye { code, text: text.to_owned() });
            self.is_over();
        }
    }

    /// Looks after the peer's silence: to be called now and then, with the time, in nanoseconds since 1970.
    pub fn tick(&mut self, now_unix_ns: u64) {
        if self.state == State::Closed {
            return;
        }
        let silent_ns = now_unix_ns.saturating_sub(self.heard_ns);
        if silent_ns >= self.settings.silence_max_ns {
            let text = format!("nothing came for {} ms", silent_ns / 1_000_000);
            self.fail(Fault(EndCode::Failed, text));
        } else if self.state == State::Ready
            && silent_ns.min(now_unix_ns.saturating_sub(self.pinged_ns)) >= self.settings.ping_after_ns
        {
            self.ping(now_unix_ns);
        }
    }

    /// Asks the peer for a sign of life, and its time.
    pub fn ping(&mut self, now_unix_ns: u64) {
        if self.state == State::Ready {
            (self.pings, self.pinged_ns) = (self.pings + 1, now_unix_ns);
            self.say(&Control::Ping { number: self.pings, sent_unix_ns: now_unix_ns });
        }
    }

    pub(crate) fn fail(&mut self, Fault(code, text): Fault) {
        self.close(code, &text);
        self.tell(Event::Closed { code, text });
    }

    pub(crate) fn is_over(&mut self) {
        self.state = State::Closed;
        self.flows.clear();
        self.incoming.clear();
    }

    pub(crate) fn say(&mut self, message: &Control) {
        self.outputs.push_back(Output::Control(message.encode()));
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
