//! Two ends and a network between them that cuts, delays and drops: what one has, the other gets, once each and in order; what may not come ends it with a reason.

use super::*;
use crate::batch::{Message, Packer};
use crate::compress::Compressor;
use crate::control::Welcome;
use crate::layout::FLOW_MAGIC;
use memlane_ring::{FrameShape, TopicOptions};

const CELL: u64 = 64;
const CAPACITY: u64 = 4096;
const ORIGIN: &str = "osaka.t.9";

fn settings(name: &str) -> Settings {
    let (ping_after_ns, silence_max_ns) = (1_000_000_000, 5_000_000_000);
    Settings { name: name.to_owned(), features: BOTH, flows_max: 3, wants_max: 4, ping_after_ns, silence_max_ns }
}

fn shape() -> FrameShape {
    FrameShape::of(&TopicOptions { capacity: CAPACITY, cell: CELL, ..TopicOptions::default() }).unwrap()
}

fn topic() -> Topic {
    let (payload_at, body_max) = (shape().payload_at as u32, shape().body_max);
    Topic {
        name: "t".into(),
        epoch: 9,
        cell: CELL as u32,
        capacity: CAPACITY,
        payload_at,
        body_max,
        ..Topic::default()
    }
}

/// Message number `number` of the log lies at that many cells, and says so.
fn message(number: u64) -> Vec<u8> {
    [&number.to_le_bytes()[..], &[number as u8; 40][..(number % 41) as usize]].concat()
}

/// A batch of these messages, and its bytes.
fn batch(from: u64, to: u64) -> (Batch, Vec<u8>) {
    let mut packer = Packer::new(shape());
    packer.begin(from * CELL);
    for number in from..to {
        let (position, content) = (number * CELL, &message(number)[..]);
        assert!(packer.push(&Message { position, unix_ns: 0, has_extensions: false, content }));
    }
    packer.finish(to * CELL)
}

/// Xorshift64 (Marsaglia, 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What is under way from one end to the other: the control stream, and those of flows, each in its order.
#[derive(Default)]
struct Wire {
    control: VecDeque<u8>,
    flows: BTreeMap<u32, VecDeque<u8>>,
}

impl Wire {
    fn deliver(&mut self, to: &mut Connection, random: &mut Random, now: u64) {
        // Any stream may be the next, and comes in pieces.
        let pick = random.below(self.flows.len() as u64 + 1);
        if pick == 0 {
            let length = random.below(self.control.len() as u64 + 1) as usize;
            let bytes: Vec<u8> = self.control.drain(..length).collect();
            to.receive_control(&bytes, now);
        } else if let Some((flow, stream)) = self.flows.iter_mut().nth(pick as usize - 1) {
            let length = random.below(stream.len() as u64 + 1) as usize;
            let bytes: Vec<u8> = stream.drain(..length).collect();
            to.receive_flow((*flow).into(), &bytes, now);
        }
    }
}

/// One that has a topic, and one that wants it: the first was connected to.
struct World {
    random: Random,
    now: u64,
    ends: [Connection; 2],
    wires: [Wire; 2],
    /// How many messages there are to send, and the next that is sent.
    count: u64,
    next: Option<(u32, u64)>,
    received: u64,
    drops: u32,
    held_most: u64,
    confirmed: u64,
}

const SENDER: usize = 0;
const RECEIVER: usize = 1;
const CREDIT: u64 = 10_000;
/// The flow that is there once both have greeted.
const FLOW: u32 = 2;
const BOTH: Features = Features(Features::ZSTD.0 | Features::LZ4.0);

impl World {
    fn new(seed: u64, count: u64) -> Self {
        Self {
            random: Random(seed | 1),
            now: 1_000,
            ends: Self::ends(1_000),
            wires: Default::default(),
            count,
            next: None,
            received: 0,
            drops: 0,
            held_most: 0,
            confirmed: 0,
        }
    }

    fn ends(now: u64) -> [Connection; 2] {
        [
            Connection::new(settings("osaka"), Side::Listener, now),
            Connection::new(settings("tokyo"), Side::Connector, now),
        ]
    }

    fn step(&mut self) {
        self.now += self.random.below(1_000_000);
        for end in [SENDER, RECEIVER] {
            while let Some(output) = self.ends[end].poll() {
                match output {
                    Output::Control(bytes) => self.wires[end].control.extend(bytes),
                    Output::Event(event) => self.happened(end, event),
                }
            }
            self.ends[end].tick(self.now);
        }
        self.send();
        for end in [SENDER, RECEIVER] {
            self.wires[end].deliver(&mut self.ends[1 - end], &mut self.random, self.now);
        }
    }

    fn send(&mut self) {
        let Some((flow, next)) = self.next.filter(|(_, next)| *next < self.count) else { return };
        let to = (next + 1 + self.random.below(100)).min(self.count);
        let (batch, bytes) = batch(next, to);
        let feature = [Features(0), Features::ZSTD, Features::LZ4][self.random.below(3) as usize];
        let (batch, bytes) = Compressor::new(feature, 1).compress(batch, bytes);
        match self.ends[SENDER].send(flow, &batch) {
            Ok(head) => {
                self.wires[SENDER].flows.entry(flow).or_default().extend([head, bytes].concat());
                self.next = Some((flow, to));
            }
            Err(error) => assert_eq!(error, SendError::NoCredit),
        }
    }

    fn happened(&mut self, end: usize, event: Event) {
        match (end, event) {
            (RECEIVER, Event::Ready { name, .. }) => {
                assert_eq!(name, "osaka");
                assert_eq!(self.ends[end].want(Mode::Reliable, Features(0), "t"), Some(1));
            }
            (SENDER, Event::Wanted(want)) => {
                assert_eq!((want.want, &*want.pattern), (1, "t"));
                assert!(self.ends[end].open(want.mode, want.want, topic()).is_some());
            }
            (RECEIVER, Event::Offered(open)) => {
                assert_eq!((open.want, &open.topic), (1, &topic()));
                let marks = vec![Mark { source: ORIGIN.to_owned(), sequence: self.received }];
                self.ends[end].accept(open.flow, StartAt::Earliest, marks);
                if self.count > 0 {
                    self.ends[end].give_credit(open.flow, CREDIT);
                }
            }
            (SENDER, Event::Accepted { flow, start: StartAt::Earliest, marks }) => {
                assert_eq!(&*marks[0].source, ORIGIN);
                self.next = Some((flow, marks[0].sequence));
            }
            (RECEIVER, Event::Batch { flow, batch, bytes }) => {
                self.held_most = self.held_most.max(bytes.len() as u64);
                let packed = batch.decompress(&bytes).unwrap();
                for unpacked in batch.messages(&shape(), &packed).unwrap() {
                    assert_eq!(unpacked.position, self.received * CELL, "each once, in order");
                    assert_eq!(unpacked.content, message(self.received));
                    self.received += 1;
                }
                self.ends[end].give_credit(flow, batch.raw_bytes.into());
                self.ends[end].tell_progress(flow, batch.end, 0);
            }
            (SENDER, Event::Progress { applied, .. }) => {
                assert!(applied <= self.received * CELL && applied >= self.confirmed);
                self.confirmed = applied;
            }
            (SENDER, Event::Credit { bytes, .. }) => assert!(bytes <= CREDIT),
            (_, Event::Ready { .. }) => {}
            (end, other) => panic!("{other:?} at {end}"),
        }
    }

    /// Everything under way is lost, and the receiver connects again.
    fn drop_connection(&mut self) {
        self.ends = Self::ends(self.now);
        self.wires = Default::default();
        (self.next, self.drops) = (None, self.drops + 1);
        self.confirmed = 0;
    }
}

#[test]
fn each_message_comes_once_and_in_order_however_often_the_connection_drops() {
    for seed in 1..=4 {
        println!("seed {seed}");
        let mut world = World::new(seed, 250_000);
        while world.received < world.count {
            world.step();
            if world.random.below(200) == 0 {
                world.drop_connection();
            }
        }
        assert!(world.drops > 10, "{}", world.drops);
        assert!(world.held_most <= CREDIT);
    }
}

/// Two ends that have greeted, and a flow without credit.
fn greeted() -> World {
    let mut world = World::new(5, 0);
    while world.next.is_none() {
        world.step();
    }
    world
}

fn events(end: &mut Connection) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(output) = end.poll() {
        if let Output::Event(event) = output {
            events.push(event);
        }
    }
    events
}

fn ended_with(end: &mut Connection) -> Option<EndCode> {
    events(end).into_iter().find_map(|event| match event {
        Event::Closed { code, .. } => Some(code),
        _ => None,
    })
}

#[test]
fn what_may_not_come_ends_the_connection_with_a_reason() {
    let hello = |versions, name: &str| {
        let (features, name, sent_unix_ns) = (Features(0), name.to_owned(), 1);
        Control::Hello(Hello { versions, features, name, sent_unix_ns })
    };
    let listener = || Connection::new(settings("osaka"), Side::Listener, 0);
    for (first, code) in [
        (Control::Ping { number: 1, sent_unix_ns: 1 }, EndCode::OutOfTurn),
        (hello((7, 9), "tokyo"), EndCode::Version),
        (hello((1, 1), "to kyo"), EndCode::Malformed),
        (hello((1, 1), ""), EndCode::Malformed),
        (hello((1, 1), "osaka"), EndCode::NotAllowed),
        (Control::Goodbye { code: EndCode::Done, text: String::new() }, EndCode::Done),
    ] {
        let mut end = listener();
        end.receive_control(&first.encode(), 1);
        assert_eq!(ended_with(&mut end), Some(code), "{first:?}");
        assert!(end.is_closed());
        // And nothing more comes of it.
        end.receive_control(&hello((1, 1), "tokyo").encode(), 2);
        end.tick(u64::MAX);
        assert_eq!(end.poll(), None);
    }
    let mut end = listener();
    end.receive_control(b"GET / HTTP/1.1\r\n\r\n", 1);
    assert_eq!(ended_with(&mut end), Some(EndCode::Malformed));
}

#[test]
fn a_peer_that_keeps_to_no_rule_is_left() {
    let open = |flow, want| Control::Open(Open { flow, mode: Mode::Reliable, want, topic: topic() });
    let progress = |received, applied, durable| Control::Progress { flow: FLOW, received, applied, durable };
    for (what, code) in [
        (want(0), EndCode::OutOfTurn),
        (open(2, 0), EndCode::OutOfTurn),
        (open(u32::MAX, 0), EndCode::OutOfTurn),
        (open(1, 7), EndCode::OutOfTurn),
        (Control::Accept { flow: FLOW, start: StartAt::Live, marks: Vec::new() }, EndCode::OutOfTurn),
        (Control::Credit { flow: 8, bytes: 1 }, EndCode::OutOfTurn),
        (progress(64, 0, 0), EndCode::OutOfTurn),
        (progress(0, 64, 0), EndCode::OutOfTurn),
        (Control::EndFlow { flow: 77, code: EndCode::Done, text: String::new() }, EndCode::OutOfTurn),
        (Control::Welcome(Welcome { version: 1, features: Features(0), name: "x".into() }), EndCode::OutOfTurn),
    ] {
        let mut world = greeted();
        world.ends[SENDER].receive_control(&what.encode(), 9);
        assert_eq!(ended_with(&mut world.ends[SENDER]), Some(code), "{what:?}");
    }
}

fn want(want: u32) -> Control {
    Control::Want(Want { want, mode: Mode::Reliable, compression: Features(0), pattern: "*".into() })
}

#[test]
fn a_peer_that_wants_too_often_is_refused_the_rest() {
    let mut end = greeted().ends.into_iter().next().unwrap();
    let wants = [2, 3, 5, 7, 8, 9].map(|number| want(number).encode()).concat();
    end.receive_control(&wants, 9);
    let outputs: Vec<Output> = std::iter::from_fn(|| end.poll()).collect();
    let is_wanted = |output: &&Output| matches!(output, Output::Event(Event::Wanted(_)));
    let is_refusal = |output: &&Output| matches!(output, Output::Control(_));
    // It has wanted something before.
    assert_eq!(outputs.iter().filter(is_wanted).count(), 3);
    assert_eq!(outputs.iter().filter(is_refusal).count(), 3);
    end.receive_control(&want(9).encode(), 9);
    assert_eq!(ended_with(&mut end), Some(EndCode::OutOfTurn), "a number twice");
}

#[test]
fn a_peer_that_opens_too_much_is_refused_the_rest_and_keeps_what_it_has() {
    let mut world = greeted();
    for flow in [1, 3, 5, 7, 9] {
        let open = Control::Open(Open { flow, mode: Mode::Reliable, want: 0, topic: topic() });
        world.ends[SENDER].receive_control(&open.encode(), 9);
    }
    let outputs: Vec<Output> = std::iter::from_fn(|| world.ends[SENDER].poll()).collect();
    let wanted = outputs.iter().filter(|output| matches!(output, Output::Event(Event::Offered(_)))).count();
    assert_eq!(wanted, 3);
    let refusals: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Control(bytes) => Control::decode(bytes).unwrap().unwrap().0,
            _ => None,
        })
        .filter(|message| matches!(message, Control::EndFlow { code: EndCode::TooMany, .. }))
        .collect();
    assert_eq!(refusals.len(), 2);
    assert!(!world.ends[SENDER].is_closed());
}

/// A receiver with a flow that it took and gave so much credit, and its number.
fn receiving(credit: u64) -> (Connection, u32) {
    let [_, mut end] = greeted().ends;
    let flow = FLOW + 2;
    end.receive_control(&Control::Open(Open { flow, mode: Mode::Reliable, want: 0, topic: topic() }).encode(), 9);
    end.accept(flow, StartAt::Earliest, Vec::new());
    end.give_credit(flow, credit);
    events(&mut end);
    (end, flow)
}

/// The bytes of a flow's stream with these messages in a batch.
fn stream(from: u64, to: u64) -> Vec<u8> {
    let (batch, bytes) = batch(from, to);
    [&BatchHead::Batch(batch).encode()[..], &bytes].concat()
}

fn head(flow: u32) -> Vec<u8> {
    [FLOW_MAGIC.to_le_bytes(), flow.to_le_bytes()].concat()
}

#[test]
fn more_than_there_is_credit_for_ends_the_flow_and_no_other() {
    let (mut end, flow) = receiving(200);
    end.receive_flow(1, &[head(flow), stream(0, 1), stream(1, 50)].concat(), 9);
    let events = events(&mut end);
    assert!(matches!(events[0], Event::Batch { .. }), "what there was credit for has come");
    assert!(matches!(events[1], Event::Ended { code: EndCode::NoCredit, .. }), "{events:?}");
    // What is under way of it means nothing, and the connection goes on.
    end.receive_flow(1, &stream(50, 51), 10);
    assert!(end.poll().is_none() && !end.is_closed());
}

#[test]
fn streams_that_cannot_be_end_the_connection() {
    let compressed = |compression| {
        let batch = Batch { compression, messages: 1, position: 0, end: 64, raw_bytes: 8, stored_bytes: 8 };
        [head(FLOW + 2), BatchHead::Batch(batch).encode().to_vec(), vec![0; 8]].concat()
    };
    for (what, bytes, code) in [
        ("another magic", vec![7; 8], EndCode::Malformed),
        ("a flow that was never opened", head(98), EndCode::OutOfTurn),
        ("a gap between batches", [head(FLOW + 2), stream(0, 1), stream(2, 3)].concat(), EndCode::OutOfTurn),
        ("a head that can't be", [head(FLOW + 2), vec![9; 32]].concat(), EndCode::Malformed),
        ("a compression that wasn't agreed on", compressed(4), EndCode::OutOfTurn),
        ("two compressions at once", compressed(3), EndCode::OutOfTurn),
    ] {
        let (mut end, _) = receiving(1_000);
        end.receive_flow(1, &bytes, 9);
        assert_eq!(ended_with(&mut end), Some(code), "{what}");
    }
    let (mut end, flow) = receiving(1_000);
    end.receive_flow(1, &head(flow), 9);
    end.receive_flow(2, &head(flow), 9);
    assert_eq!(ended_with(&mut end), Some(EndCode::OutOfTurn), "a second stream of a flow");
}

#[test]
fn gaps_are_told_where_they_are() {
    let (mut end, flow) = receiving(1_000);
    let gap = BatchHead::Gap { position: 64, end: 640 }.encode();
    end.receive_flow(1, &[head(flow), stream(0, 1), gap.to_vec(), stream(10, 11)].concat(), 9);
    let events = events(&mut end);
    assert_eq!(events.len(), 3);
    assert_eq!(events[1], Event::Gap { flow, position: 64, end: 640 });
}

#[test]
fn nothing_is_sent_before_there_is_credit_nor_out_of_order() {
    let mut world = greeted();
    let end = &mut world.ends[SENDER];
    let batch = |position, end| Batch { compression: 0, messages: 1, position, end, raw_bytes: 16, stored_bytes: 16 };
    let send = |end: &mut Connection, flow, batch| end.send(flow, &batch).map(|_| ());
    let gap = |end: &mut Connection, position, to| end.send_gap(FLOW, position, to).map(|_| ());
    assert_eq!(send(end, FLOW, batch(0, 64)), Err(SendError::NoCredit));
    assert_eq!(gap(end, 0, 64), Err(SendError::NoCredit));
    end.receive_control(&Control::Credit { flow: FLOW, bytes: 20 }.encode(), 9);
    assert_eq!(end.credit(FLOW), 20);
    assert_eq!(send(end, FLOW, batch(0, 64)), Ok(()));
    assert_eq!(end.credit(FLOW), 4);
    assert_eq!(send(end, FLOW, batch(64, 128)), Err(SendError::NoCredit));
    assert_eq!(gap(end, 128, 192), Err(SendError::OutOfOrder));
    assert_eq!(gap(end, 64, 192), Ok(()));
    assert_eq!(send(end, 3, batch(0, 64)), Err(SendError::NotSending));
    end.end_flow(FLOW, EndCode::Removed, "gone");
    assert_eq!(send(end, FLOW, batch(192, 256)), Err(SendError::NotSending));
}

#[test]
fn a_silent_peer_is_asked_and_then_given_up() {
    let mut world = greeted();
    let end = &mut world.ends[SENDER];
    events(end);
    let begin = world.now;
    end.tick(begin + 900_000_000);
    assert_eq!(end.poll(), None);
    end.tick(begin + 1_100_000_000);
    let Some(Output::Control(bytes)) = end.poll() else { panic!("it asks") };
    assert!(matches!(Control::decode(&bytes), Ok(Some((Some(Control::Ping { .. }), _)))));
    end.tick(begin + 1_200_000_000);
    assert_eq!(end.poll(), None, "once");
    end.tick(begin + 5_000_000_000);
    assert_eq!(ended_with(end), Some(EndCode::Failed));
}

#[test]
fn the_clocks_offset_is_known_after_a_ping_within_its_bound() {
    let [mut listener, mut connector] = World::ends(0);
    let hand_over = |from: &mut Connection, to: &mut Connection, now| {
        while let Some(output) = from.poll() {
            if let Output::Control(bytes) = output {
                to.receive_control(&bytes, now);
            }
        }
    };
    let ahead = 77_000_000_000;
    hand_over(&mut connector, &mut listener, ahead);
    hand_over(&mut listener, &mut connector, 0);
    assert_eq!(connector.clock_offset(), None);
    connector.ping(1_000_000);
    hand_over(&mut connector, &mut listener, 1_300_000 + ahead);
    hand_over(&mut listener, &mut connector, 1_400_000);
    let (offset, error) = connector.clock_offset().unwrap();
    assert!(offset.abs_diff(ahead as i64) <= error && error == 200_000, "{offset} within {error}");
}

#[test]
fn flipped_bits_end_it_or_change_a_message_and_nothing_panics() {
    for seed in 1..=300 {
        let (mut end, flow) = receiving(1_000_000);
        let mut random = Random(seed);
        let mut bytes = [head(flow), stream(0, 20), stream(20, 90)].concat();
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        while !bytes.is_empty() && !end.is_closed() {
            let length = 1 + random.below(bytes.len() as u64) as usize;
            end.receive_flow(1, &bytes.drain(..length).collect::<Vec<_>>(), 9);
        }
        for event in events(&mut end) {
            if let Event::Batch { batch, bytes, .. } = event
                && let Ok(mut found) = batch.messages(&shape(), &bytes)
            {
                assert!(found.all(|message| message.position < batch.end));
            }
        }
    }
}
