//! The newest messages over a network that drops, doubles, turns round and spoils datagrams: what comes is newer each time, and as it was.

use super::*;
use crate::batch::Message;
use crate::connection::{Settings, Side};
use crate::control::{Control, EndCode, Features, StartAt, Topic};
use crate::event::Output;
use crate::layout::LATEST_HEAD_BYTES;

fn topic() -> Topic {
    Topic { name: "quotes".into(), capacity: 1 << 20, cell: 64, payload_at: 8, body_max: 1 << 18, ..Topic::default() }
}

fn end(node: u8, side: Side) -> Connection {
    let (name, features) = (format!("node{node}"), Features::default());
    let (flows_max, wants_max, ping_after_ns, silence_max_ns) = (9, 9, 1 << 40, 1 << 41);
    Connection::new(Settings { name, features, flows_max, wants_max, ping_after_ns, silence_max_ns }, side, 0)
}

/// A sender and a receiver of flow 1, of this mode.
fn ends(mode: Mode) -> (Connection, Connection) {
    let (mut sender, mut receiver) = (end(1, Side::Connector), end(2, Side::Listener));
    talk(&mut sender, &mut receiver);
    assert_eq!(sender.open(mode, 0, topic()), Some(1));
    talk(&mut sender, &mut receiver);
    receiver.accept(1, StartAt::Earliest, Vec::new());
    talk(&mut sender, &mut receiver);
    (sender, receiver)
}

/// Brings over what they say, until they say nothing; what happened is passed over.
fn talk(one: &mut Connection, other: &mut Connection) {
    loop {
        let said: Vec<_> = [one.poll(), other.poll()].into_iter().collect();
        if said.iter().all(Option::is_none) {
            return;
        }
        for (said, to) in said.into_iter().zip([&mut *other, &mut *one]) {
            if let Some(Output::Control(bytes)) = said {
                to.receive_control(&bytes, 0);
            }
        }
    }
}

fn content(position: u64) -> Vec<u8> {
    position.to_le_bytes().repeat(1 + (position / 64 % 9) as usize)
}

fn send(sender: &mut Connection, position: u64) -> Result<Vec<u8>, SendError> {
    let content = content(position);
    sender.send_latest(1, &Message { position, unix_ns: position * 3, has_extensions: false, content: &content })
}

fn received(receiver: &mut Connection) -> Vec<u64> {
    let mut positions = Vec::new();
    while let Some(output) = receiver.poll() {
        match output {
            Output::Event(Event::Latest { flow: 1, position, unix_ns, has_extensions: false, content: found }) => {
                assert_eq!((unix_ns, found), (position * 3, content(position)));
                positions.push(position);
            }
            other => panic!("{other:?}"),
        }
    }
    positions
}

/// Xorshift64 (Marsaglia, 2003).
fn random(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % below
}

#[test]
fn what_comes_is_newer_each_time_whatever_the_network_does() {
    for seed in 1..=20 {
        println!("seed {seed}");
        let (mut sender, mut receiver) = ends(Mode::Latest);
        let (mut state, mut under_way, mut last, mut count) = (seed, Vec::new(), None, 0);
        for number in 0..20_000 {
            let bytes = send(&mut sender, number * 64).unwrap();
            match random(&mut state, 10) {
                0 => {}
                1 => under_way.extend([bytes.clone(), bytes]),
                _ => under_way.push(bytes),
            }
            while under_way.len() > 5 {
                let next = random(&mut state, under_way.len() as u64) as usize;
                receiver.receive_datagram(&under_way.swap_remove(next), 1);
            }
            for position in received(&mut receiver) {
                assert!(last.is_none_or(|last| position > last));
                (last, count) = (Some(position), count + 1);
            }
        }
        assert!(count > 4_000, "{count} came");
    }
}

#[test]
fn a_spoiled_datagram_ends_the_connection_or_says_something_else_and_nothing_panics() {
    for seed in 1..=2_000_u64 {
        let (mut sender, mut receiver) = ends(Mode::Latest);
        let mut bytes = send(&mut sender, 64 * seed).unwrap();
        let mut state = seed;
        let at = random(&mut state, bytes.len() as u64) as usize;
        match random(&mut state, 3) {
            0 => bytes.truncate(at),
            _ => bytes[at] ^= 1 << random(&mut state, 8),
        }
        receiver.receive_datagram(&bytes, 1);
        let outputs: Vec<_> = std::iter::from_fn(|| receiver.poll()).collect();
        let is_cut = bytes.len() < LATEST_HEAD_BYTES;
        assert!(!is_cut || receiver.is_closed() && outputs.len() == 2, "a goodbye, and the end: {outputs:?}");
    }
}

#[test]
fn one_that_is_too_long_for_a_datagram_comes_on_a_stream_that_is_whole_or_not_at_all() {
    let (mut sender, mut receiver) = ends(Mode::Latest);
    for (number, is_whole) in [(1, true), (2, false), (3, true)] {
        let bytes = send(&mut sender, number * 64).unwrap();
        let stream = [&Connection::latest_stream_head()[..], &bytes].concat();
        for piece in stream.chunks(3) {
            receiver.receive_flow(number, piece, 1);
        }
        assert_eq!(received(&mut receiver), []);
        receiver.end_stream(number, is_whole);
        assert_eq!(received(&mut receiver), if is_whole { vec![number * 64] } else { vec![] });
    }
    let without_end = vec![0; LATEST_BYTES_MAX + 1];
    receiver.receive_flow(9, &[&Connection::latest_stream_head()[..], &[1, 0, 0, 0], &without_end].concat(), 1);
    assert!(receiver.is_closed(), "what is without end isn't kept");
}

#[test]
fn only_flows_of_the_newest_carry_single_messages_and_those_carry_no_batches() {
    let (mut sender, mut receiver) = ends(Mode::Reliable);
    assert_eq!(send(&mut sender, 64), Err(SendError::NotSending));
    let (mut latest, _) = ends(Mode::Latest);
    receiver.receive_datagram(&send(&mut latest, 64).unwrap(), 1);
    assert_eq!(receiver.poll(), None, "it is of a flow that has none");
    assert_eq!(latest.send_gap(1, 64, 128), Err(SendError::NotSending));
    assert_eq!(send(&mut latest, 64), Err(SendError::OutOfOrder));
    let content = vec![0; LATEST_BYTES_MAX];
    let long = Message { position: 640, unix_ns: 0, has_extensions: false, content: &content };
    assert_eq!(latest.send_latest(1, &long), Err(SendError::TooLong));
}

#[test]
fn datagrams_of_flows_that_are_not_known_or_have_ended_are_passed_over() {
    let (mut sender, mut receiver) = ends(Mode::Latest);
    let mut bytes = send(&mut sender, 64).unwrap();
    bytes[0] = 77;
    receiver.receive_datagram(&bytes, 1);
    let bytes = send(&mut sender, 128).unwrap();
    receiver.receive_control(&Control::EndFlow { flow: 1, code: EndCode::Done, text: String::new() }.encode(), 1);
    receiver.receive_datagram(&bytes, 1);
    assert!(matches!(receiver.poll(), Some(Output::Event(Event::Ended { .. }))));
    assert_eq!(receiver.poll(), None);
}
