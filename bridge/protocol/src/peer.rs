//! What a peer sends: believed only where it may come, and else an end with a reason.

use crate::batch::BatchHead;
use crate::codec::Malformed;
use crate::connection::{Connection, NODE_NAME_BYTES_MAX, Side, State};
use crate::control::{Control, EndCode, Features, Mode, Open, Want, Welcome, common_version};
use crate::event::Event;
use crate::flow::{Flow, Phase, Role};
use crate::incoming::{Incoming, Stage};
use crate::layout::{CONTROL_BYTES_MAX, CONTROL_HEAD_BYTES, VERSION_MAX, VERSION_MIN};

/// Why a peer's bytes end the connection.
pub(crate) struct Fault(pub(crate) EndCode, pub(crate) String);

impl From<Malformed> for Fault {
    fn from(error: Malformed) -> Self {
        Self(EndCode::Malformed, error.to_string())
    }
}

fn out_of_turn<T>(what: &str) -> Result<T, Fault> {
    Err(Fault(EndCode::OutOfTurn, what.to_owned()))
}

impl Connection {
    /// Takes in what has come on the control stream.
    pub fn receive_control(&mut self, bytes: &[u8], now_unix_ns: u64) {
        if self.state == State::Closed {
            return;
        }
        self.heard_ns = now_unix_ns;
        self.control.extend_from_slice(bytes);
        let mut at = 0;
        while self.state != State::Closed {
            let handled = match Control::decode(&self.control[at..]) {
                Ok(None) => break,
                Ok(Some((message, length))) => {
                    at += length;
                    message.map_or(Ok(()), |message| self.handle(message, now_unix_ns))
                }
                Err(error) => Err(error.into()),
            };
            if let Err(fault) = handled {
                self.fail(fault);
            }
        }
        self.control.drain(..at);
        debug_assert!(self.control.len() <= CONTROL_BYTES_MAX + CONTROL_HEAD_BYTES || self.is_closed());
    }

    /// Takes in what has come on a stream of a flow, whichever that is: streams are told apart by numbers of the transport's, which bounds how many there are at a time.
    pub fn receive_flow(&mut self, stream: u64, bytes: &[u8], now_unix_ns: u64) {
        if self.state == State::Closed {
            return;
        }
        self.heard_ns = now_unix_ns;
        let mut incoming = self.incoming.remove(&stream).unwrap_or_default();
        if let Err(fault) = self.read_stream(stream, &mut incoming, bytes) {
            self.fail(fault);
            return;
        }
        self.incoming.insert(stream, incoming);
    }

    /// A stream of a flow has ended, or, if it isn't whole, was cut off.
    pub fn end_stream(&mut self, stream: u64, is_whole: bool) {
        let message = self.incoming.remove(&stream).filter(|_| is_whole).and_then(Incoming::message);
        if let Some(message) = message {
            self.take_latest(&message);
        }
    }

    fn read_stream(&mut self, stream: u64, incoming: &mut Incoming, mut input: &[u8]) -> Result<(), Fault> {
        loop {
            let is_there = match incoming.stage {
                Stage::Head => incoming.begin(&mut input)?,
                Stage::Flow(flow) => self.read_head(stream, flow, incoming, &mut input)?,
                Stage::Batch(flow, batch) => match incoming.batch(&mut input, flow, batch) {
                    Some(bytes) => {
                        // It may have ended meanwhile.
                        if self.flows.contains_key(&flow) {
                            self.tell(Event::Batch { flow, batch, bytes });
                        }
                        true
                    }
                    None => false,
                },
                Stage::Latest => {
                    incoming.more(&mut input)?;
                    false
                }
                Stage::Nothing => false,
            };
            if !is_there {
                return Ok(());
            }
        }
    }

    /// Reads the head of a batch or a gap; whether it has come.
    fn read_head(&mut self, stream: u64, number: u32, from: &mut Incoming, input: &mut &[u8]) -> Result<bool, Fault> {
        let Some(flow) = self.flows.get_mut(&number) else {
            if !self.was_opened(number) {
                return out_of_turn("a stream of a flow that was never opened");
            }
            // It has ended here, and its sender hasn't heard of it yet.
            from.forget();
            return Ok(false);
        };
        let is_running = flow.phase == Phase::Running && flow.mode != Mode::Latest;
        let is_its_own = is_running && *flow.stream.get_or_insert(stream) == stream;
        // Only a receiver is told what the frames look like.
        let Some(shape) = flow.shape.filter(|_| is_its_own) else {
            return out_of_turn("a stream of a flow that isn't its sender's, or a second one");
        };
        let Some(head) = from.head(input, &shape)? else { return Ok(false) };
        let (position, end) = match head {
            BatchHead::Batch(batch) => (batch.position, batch.end),
            BatchHead::Gap { position, end } => (position, end),
        };
        if flow.position.is_some_and(|end| end != position) {
            return out_of_turn("a batch doesn't begin where the one before it ended");
        }
        flow.position = Some(end);
        let BatchHead::Batch(batch) = head else {
            self.tell(Event::Gap { flow: number, position, end });
            return Ok(true);
        };
        let feature = Features(batch.compression.into());
        if batch.compression != 0 && (!self.features.has(feature) || !batch.compression.is_power_of_two()) {
            return out_of_turn("a compression that wasn't agreed on");
        }
        flow.used += u64::from(batch.raw_bytes);
        if flow.used > flow.credit {
            let text = "more came than there was credit for";
            self.end_flow(number, EndCode::NoCredit, text);
            self.tell(Event::Ended { flow: number, code: EndCode::NoCredit, text: text.to_owned() });
            from.forget();
            return Ok(false);
        }
        from.expect(number, batch);
        Ok(true)
    }

    fn handle(&mut self, message: Control, now_unix_ns: u64) -> Result<(), Fault> {
        match (message, self.state, self.side) {
            (Control::Goodbye { code, text }, ..) => {
                self.is_over();
                self.tell(Event::Closed { code, text });
                Ok(())
            }
            (Control::Hello(hello), State::Greeting, Side::Listener) => {
                let Some(version) = common_version(&hello) else {
                    let (oldest, newest) = hello.versions;
                    let text =
                        format!("versions {oldest} to {newest} are spoken there, {VERSION_MIN} to {VERSION_MAX} here");
                    return Err(Fault(EndCode::Version, text));
                };
                let features = self.settings.features.and(hello.features);
                self.greeted(hello.name, features)?;
                let name = self.settings.name.clone();
                self.say(&Control::Welcome(Welcome { version, features, name }));
                Ok(())
            }
            (Control::Welcome(welcome), State::Greeting, Side::Connector) => {
                if !(VERSION_MIN..=VERSION_MAX).contains(&welcome.version) {
                    let text = format!("version {} was not offered", welcome.version);
                    return Err(Fault(EndCode::Version, text));
                }
                self.greeted(welcome.name, self.settings.features.and(welcome.features))
            }
            (_, State::Greeting, _) => out_of_turn("the first message is no greeting"),
            (Control::Hello(_) | Control::Welcome(_), ..) => out_of_turn("a greeting comes once, from who connects"),
            (message, ..) => self.handle_ready(message, now_unix_ns),
        }
    }

    fn greeted(&mut self, name: String, features: Features) -> Result<(), Fault> {
        let may_be = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_' || letter == b'-';
        if !(1..=NODE_NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(may_be) {
            return Err(Fault(EndCode::Malformed, format!("{name:?} can't be a node's name")));
        }
        if name == self.settings.name {
            return Err(Fault(EndCode::NotAllowed, "it has the name of this very node".to_owned()));
        }
        (self.state, self.features) = (State::Ready, features);
        self.tell(Event::Ready { name, features });
        Ok(())
    }

    fn handle_ready(&mut self, message: Control, now_unix_ns: u64) -> Result<(), Fault> {
        match message {
            Control::Want(want) => self.wanted(want),
            Control::EndWant { want, code, text } => {
                self.tell(Event::WantEnded { want, code, text });
                Ok(())
            }
            Control::Open(open) => self.offered(open),
            Control::Accept { flow, start, marks } => {
                let Some(asked) = self.known(flow)? else { return Ok(()) };
                if asked.phase != Phase::Asked {
                    return out_of_turn("a flow is taken that wasn't offered");
                }
                asked.phase = Phase::Running;
                self.tell(Event::Accepted { flow, start, marks });
                Ok(())
            }
            Control::Credit { flow, bytes } => {
                let Some(sending) = self.known(flow)? else { return Ok(()) };
                if sending.role != Role::Sender || bytes < sending.credit {
                    return out_of_turn("credit that falls, or of who sends");
                }
                sending.credit = bytes;
                let bytes = sending.credit_left();
                self.tell(Event::Credit { flow, bytes });
                Ok(())
            }
            Control::Progress { flow, received, applied, durable } => {
                let Some(sending) = self.known(flow)? else { return Ok(()) };
                let sent = sending.position.unwrap_or(0);
                let (before_received, before_applied, before_durable) = sending.progress;
                let is_order = durable <= applied && applied <= received && received <= sent;
                let is_forward = received >= before_received && applied >= before_applied && durable >= before_durable;
                if sending.role != Role::Sender || !is_order || !is_forward {
                    return out_of_turn("progress that falls, or that nothing was sent for");
                }
                sending.progress = (received, applied, durable);
                self.tell(Event::Progress { flow, received, applied, durable });
                Ok(())
            }
            Control::EndFlow { flow, code, text } => {
                if self.known(flow)?.is_some() {
                    self.flows.remove(&flow);
                    self.tell(Event::Ended { flow, code, text });
                }
                Ok(())
            }
            Control::Ping { number, sent_unix_ns } => {
                let (received_unix_ns, answered_unix_ns) = (now_unix_ns, now_unix_ns);
                self.say(&Control::Pong { number, sent_unix_ns, received_unix_ns, answered_unix_ns });
                Ok(())
            }
            Control::Pong { sent_unix_ns, received_unix_ns, answered_unix_ns, .. } => {
                self.clock.take([sent_unix_ns, received_unix_ns, answered_unix_ns, now_unix_ns]);
                Ok(())
            }
            Control::Hello(_) | Control::Welcome(_) | Control::Goodbye { .. } => Ok(()),
        }
    }

    fn wanted(&mut self, want: Want) -> Result<(), Fault> {
        let (last, count) = self.peer_wants;
        // Zero stands for what nobody asked for.
        if want.want <= last {
            return out_of_turn("a want's number that is taken, or zero");
        }
        self.peer_wants = (want.want, count + 1);
        if count >= self.settings.wants_max {
            let (code, text) = (EndCode::TooMany, format!("{count} times something was wanted"));
            self.end_want(want.want, code, &text);
            self.tell(Event::Declined { topic: want.pattern, is_offer: false, code, text });
        } else {
            self.tell(Event::Wanted(want));
        }
        Ok(())
    }

    fn offered(&mut self, open: Open) -> Result<(), Fault> {
        let number = open.flow;
        if number < self.next_peer_flow || !(number - self.next_peer_flow).is_multiple_of(2) || number > u32::MAX - 2 {
            return out_of_turn("a flow's number that is taken, or not its opener's");
        }
        self.next_peer_flow = number + 2;
        if open.want > self.wants {
            return out_of_turn("a flow that was wanted by a number that nothing was wanted by");
        }
        let mut flow = Flow::new(Role::Receiver, open.mode, Phase::Offered);
        let theirs = self.flows.keys().filter(|other| *other % 2 == number % 2).count();
        let refusal = if theirs >= self.settings.flows_max {
            Some((EndCode::TooMany, format!("{theirs} flows are open")))
        } else if !flow.learn_shape(&open.topic) {
            Some((EndCode::Malformed, "its frames can't be".to_owned()))
        } else {
            None
        };
        if let Some((code, text)) = refusal {
            self.say(&Control::EndFlow { flow: number, code, text: text.clone() });
            self.tell(Event::Declined { topic: open.topic.name, is_offer: true, code, text });
            return Ok(());
        }
        self.flows.insert(number, flow);
        self.tell(Event::Offered(open));
        Ok(())
    }

    /// The flow with this number; `None` if it has ended, of which the peer may not have heard yet.
    fn known(&mut self, number: u32) -> Result<Option<&mut Flow>, Fault> {
        if !self.was_opened(number) {
            return out_of_turn("a flow that was never opened");
        }
        Ok(self.flows.get_mut(&number))
    }

    fn was_opened(&self, number: u32) -> bool {
        let is_ours = number % 2 == self.next_flow % 2;
        number > 0 && number < if is_ours { self.next_flow } else { self.next_peer_flow }
    }
}
