//! Request–reply through the public interface, within one process.

#![forbid(unsafe_code)]

mod place;

use memlane::{Bus, CallError, Message, ReplyError, Server, ServiceError, TraceContext, Wait};
use place::Place;
use rkyv::{Archive, Serialize};
use std::collections::BTreeSet;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(30);

#[derive(Archive, Serialize, Message)]
#[message(name = "tests.question", version = 1)]
struct Question {
    number: u64,
    text: String,
}

#[derive(Archive, Serialize, Message)]
#[message(name = "tests.answer", version = 1)]
struct Answer {
    number: u64,
    words: Vec<String>,
}

/// Names that a bus has besides its bell.
fn left(bus: &Bus) -> Vec<String> {
    let entries = std::fs::read_dir(bus.directory()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != ".bell").collect()
}

/// A server that echoes until somebody says "end".
fn echo(bus: &Bus, prefix: &'static str) -> JoinHandle<u32> {
    let mut server = bus.server::<[u8], [u8]>("echo").open().unwrap();
    std::thread::spawn(move || {
        let mut served = 0;
        loop {
            let request = server.receive().unwrap();
            served += 1;
            let reply = [prefix.as_bytes(), &request].concat();
            let is_end = &*request == b"end";
            request.reply(&reply).unwrap();
            if is_end {
                return served;
            }
        }
    })
}

fn receive<'a>(server: &'a mut Server<[u8], [u8]>) -> memlane::Request<'a, [u8], [u8]> {
    server.receive_within(PATIENCE).unwrap().expect("a request")
}

#[test]
fn typed_requests_are_answered_with_typed_replies_and_nothing_is_left_behind() {
    let place = Place::new();
    let bus = place.bus.clone();
    let mut server = bus.server::<Question, Answer>("a.service").open().unwrap();
    let serving = std::thread::spawn(move || {
        for _ in 0..200 {
            let question = server.receive().unwrap();
            let words = question.text.as_str().split(' ').map(str::to_owned).collect();
            let answer = Answer { number: question.number.to_native() + 1, words };
            question.reply(&answer).unwrap();
        }
    });
    let mut client = bus.client::<Question, Answer>("a.service").open().unwrap();
    assert_eq!(client.servers(), 1);
    for number in 0..200 {
        let answer = client.call(&Question { number, text: "how are you".to_owned() }, PATIENCE).unwrap();
        assert_eq!(answer.number, number + 1);
        assert_eq!(answer.words.iter().map(|word| word.as_str()).collect::<Vec<_>>(), ["how", "are", "you"]);
    }
    serving.join().unwrap();
    drop(client);
    assert_eq!(left(&bus), Vec::<String>::new());
}

#[test]
fn other_types_on_the_other_side_are_an_error_that_shows_both() {
    let place = Place::new();
    let bus = place.bus.clone();
    let _server = bus.server::<Question, Answer>("typed").open().unwrap();
    let mut client = bus.client::<Question, [u8]>("typed").open().unwrap();
    let question = Question { number: 1, text: String::new() };
    let error = client.call(&question, PATIENCE).unwrap_err();
    assert!(matches!(&error, CallError::Connect(error) if matches!(**error, ServiceError::TypeMismatch { .. })));
    let text = error.to_string();
    assert!(text.contains("gives tests.answer v1") && text.contains("gives raw bytes"), "{text}");
    assert!(matches!(client.call(&question, PATIENCE), Err(CallError::NoServer)), "told once");
}

#[test]
fn without_a_server_a_call_fails_at_once_and_a_server_that_comes_is_found() {
    let place = Place::new();
    let bus = place.bus.clone();
    let mut client = bus.client::<[u8], [u8]>("echo").open().unwrap();
    assert!(matches!(client.call(b"x", PATIENCE), Err(CallError::NoServer)));
    assert!(!client.wait_for_server(Duration::from_millis(10)).unwrap());
    let server = echo(&bus, "1:");
    assert!(client.wait_for_server(PATIENCE).unwrap());
    assert_eq!(&*client.call(b"x", PATIENCE).unwrap(), b"1:x");
    assert_eq!(&*client.call(b"end", PATIENCE).unwrap(), b"1:end");
    assert_eq!(server.join().unwrap(), 2);
    assert!(matches!(client.call(b"x", PATIENCE), Err(CallError::NoServer)), "it has left");
}

#[test]
fn requests_are_spread_over_servers_also_those_that_come_later() {
    let place = Place::new();
    let bus = place.bus.clone();
    let mut client = bus.client::<[u8], [u8]>("echo").open().unwrap();
    let servers = [echo(&bus, "a:"), echo(&bus, "b:"), echo(&bus, "c:")];
    let start = Instant::now();
    while client.servers() < 3 {
        assert!(start.elapsed() < PATIENCE);
        client.wait_for_server(PATIENCE).unwrap();
        client.call(b"x", PATIENCE).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut by: std::collections::BTreeMap<u8, u32> = std::collections::BTreeMap::new();
    for _ in 0..300 {
        let reply = client.call(b"x", PATIENCE).unwrap();
        *by.entry(reply[0]).or_default() += 1;
    }
    assert_eq!(by.into_iter().collect::<Vec<_>>(), [(b'a', 100), (b'b', 100), (b'c', 100)]);
    for _ in 0..3 {
        client.call(b"end", PATIENCE).unwrap();
    }
    for server in servers {
        server.join().unwrap();
    }
}

#[test]
fn many_requests_on_their_way_are_answered_in_any_order() {
    let place = Place::new();
    let bus = place.bus.clone();
    let mut server = bus.server::<[u8], [u8]>("s").open().unwrap();
    let mut client = bus.client::<[u8], [u8]>("s").open().unwrap();
    let sent: Vec<_> = (0..20_u8).map(|number| client.send(&[number]).unwrap()).collect();
    assert_eq!(client.outstanding(), 20);
    // The server answers the last first, by tokens.
    let mut later = Vec::new();
    for number in 0..20_u8 {
        let request = receive(&mut server);
        assert_eq!(&*request, &[number]);
        later.push((number, request.detach()));
    }
    for (number, detached) in later.into_iter().rev() {
        server.answer(detached).unwrap().reply(&[number, number]).unwrap();
    }
    // The client takes the first first, which comes last.
    for (number, pending) in sent[..10].iter().enumerate() {
        assert_eq!(&*client.wait(*pending, PATIENCE).unwrap(), &[number as u8; 2]);
        assert!(matches!(client.wait(*pending, PATIENCE), Err(CallError::Cancelled)), "it was taken");
    }
    let mut others = BTreeSet::new();
    while let Some((pending, reply)) = client.receive(PATIENCE).unwrap() {
        let reply = reply.unwrap().unwrap();
        assert_eq!(sent[reply[0] as usize], pending);
        others.insert(reply[0]);
    }
    assert_eq!(others, (10..20).collect());
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn a_request_that_is_dropped_refused_or_ended_without_a_value_is_an_error_and_not_silence() {
    let place = Place::new();
    let bus = place.bus.clone();
    let mut server = bus.server::<[u8], [u8]>("s").open().unwrap();
    let mut client = bus.client::<[u8], [u8]>("s").open().unwrap();
    let pending: Vec<_> = (0..5_u8).map(|number| client.send(&[number]).unwrap()).collect();
    drop(receive(&mut server));
    receive(&mut server).reply_error(404, "no such order").unwrap();
    receive(&mut server).finish().unwrap();
    drop(receive(&mut server).detach());
    // The one that was dropped is told when the server receives next.
    assert_eq!(&*receive(&mut server), &[4]);
    assert!(matches!(client.wait(pending[0], PATIENCE), Err(CallError::Unanswered)));
    match client.wait(pending[1], PATIENCE) {
        Err(CallError::Refused { code: 404, text }) => assert_eq!(text, "no such order"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(client.wait(pending[2], PATIENCE), Err(CallError::Empty)));
    assert!(server.try_receive().unwrap().is_none());
    assert!(matches!(client.wait(pending[3], PATIENCE), Err(CallError::Unanswered)));
    assert!(matches!(client.wait(pending[4], PATIENCE), Err(CallError::Unanswered)));
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn a_reply_of_many_parts_comes_part_by_part_and_ends() {
    let place = Place::new();
    let bus = place.bus.clone();
    let mut server = bus.server::<[u8], [u8]>("s").open().unwrap();
    let serving = std::thread::spawn(move || {
        for _ in 0..2 {
            let mut request = server.receive().unwrap();
            // More than the ring holds: the client reads meanwhile.
            for part in 0..3000_u32 {
                request.send(&part.to_le_bytes()).unwrap();
            }
            request.finish().unwrap();
        }
        let mut request = server.receive().unwrap();
        request.send(b"first").unwrap();
        request.reply(b"last").unwrap();
        server
    });
    let mut client = bus.client::<[u8], [u8]>("s").open().unwrap();
    let (first, second) = (client.send(b"1").unwrap(), client.send(b"2").unwrap());
    // The second's parts come while the first's are still being read, or the other way round.
    let mut parts = 0_u32;
    while let Some(part) = client.next(second, PATIENCE).unwrap() {
        assert_eq!(*part, parts.to_le_bytes());
        assert!(part.is_part());
        parts += 1;
    }
    assert_eq!(parts, 3000);
    let mut parts = 0_u32;
    while let Some(part) = client.next(first, PATIENCE).unwrap() {
        assert_eq!(*part, parts.to_le_bytes());
        parts += 1;
    }
    assert_eq!(parts, 3000);
    let third = client.send(b"3").unwrap();
    assert_eq!(client.next(third, PATIENCE).unwrap().as_deref(), Some(&b"first"[..]));
    let last = client.next(third, PATIENCE).unwrap().unwrap();
    assert!(&*last == b"last" && !last.is_part());
    drop(last);
    assert!(matches!(client.next(third, PATIENCE), Err(CallError::Cancelled)));
    serving.join().unwrap();
}

#[test]
fn a_call_whose_time_is_up_is_told_and_its_late_reply_is_dropped() {
    let place = Place::new();
    let bus = place.bus.clone();
    let mut server = bus.server::<[u8], [u8]>("s").open().unwrap();
    for wait in [Wait::BusySpin, Wait::SpinThenYield { spins: 10 }, Wait::default()] {
        let mut client = bus.client::<[u8], [u8]>("s").wait(wait).open().unwrap();
        let start = Instant::now();
        assert!(matches!(client.call(b"late", SHORT), Err(CallError::TimedOut)));
        assert!(start.elapsed() >= SHORT);
        let pending = client.send(b"next").unwrap();
        // The first was cancelled; but had it been answered, its reply would not be the next one's.
        let request = receive(&mut server);
        assert_eq!(&*request, b"late");
        request.reply(b"too late").unwrap();
        receive(&mut server).reply(b"in time").unwrap();
        assert_eq!(&*client.wait(pending, PATIENCE).unwrap(), b"in time");
        assert!(matches!(client.wait(pending, SHORT), Err(CallError::Cancelled)));
    }
}

#[test]
fn a_cancellation_reaches_the_server_in_hand_queued_and_detached() {
    let place = Place::new();
    let bus = place.bus.clone();
    let mut server = bus.server::<[u8], [u8]>("s").open().unwrap();
    let mut client = bus.client::<[u8], [u8]>("s").open().unwrap();
    let pending: Vec<_> = (0..4_u8).map(|number| client.send(&[number]).unwrap()).collect();
    let detached = receive(&mut server).detach();
    assert!(!server.is_cancelled(&detached));
    let mut in_hand = receive(&mut server);
    assert!(!in_hand.is_cancelled());
    for pending in &pending[..3] {
        client.cancel(*pending);
    }
    assert!(in_hand.is_cancelled());
    in_hand.reply(b"for nobody").unwrap();
    // The third was cancelled before it was taken.
    let last = receive(&mut server);
    assert_eq!(&*last, &[3]);
    last.reply(b"last").unwrap();
    assert!(server.try_receive().unwrap().is_none());
    assert!(server.is_cancelled(&detached));
    server.answer(detached).unwrap().reply(b"for nobody").unwrap();
    assert_eq!(&*client.wait(pending[3], PATIENCE).unwrap(), b"last");
    assert!(matches!(client.wait(pending[0], PATIENCE), Err(CallError::Cancelled)));
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn fields_of_a_request_reach_the_server_and_deadlines_too() {
    let place = Place::new();
    let bus = place.bus.clone();
    let mut server = bus.server::<[u8], [u8]>("s").open().unwrap();
    let mut client = bus.client::<[u8], [u8]>("s").tell_deadlines(true).open().unwrap();
    let trace: TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
    let serving = std::thread::spawn(move || {
        let request = server.receive().unwrap();
        let message = request.message();
        assert_eq!(message.headers().collect::<Vec<_>>(), [("venue", &b"xnas"[..])]);
        assert_eq!(message.key().unwrap(), Some(&b"order 17"[..]));
        assert_eq!(message.trace_context().unwrap(), Some(trace));
        assert_eq!(message.correlation_id().unwrap(), Some(request.correlation_id()));
        assert!(request.time_left().is_some_and(|left| left > PATIENCE / 2 && left <= PATIENCE));
        request.reply(b"ok").unwrap();
        server
    });
    let request = client.request().header("venue", b"xnas").unwrap().key(b"order 17").unwrap();
    let reply = request.trace_context(trace).unwrap().call(b"buy", PATIENCE).unwrap();
    assert_eq!(&*reply, b"ok");
    drop(reply);
    let mut server = serving.join().unwrap();
    // Nobody waits for it any more when the server comes to it.
    assert!(matches!(client.call(b"late", Duration::from_millis(1)), Err(CallError::TimedOut)));
    std::thread::sleep(Duration::from_millis(5));
    assert!(server.try_receive().unwrap().is_none());
}

#[test]
fn a_client_that_does_not_read_its_replies_stalls_nobody_for_long_and_is_told_when_it_reads() {
    let place = Place::new();
    let bus = place.bus.clone();
    let mut server = bus.server::<[u8], [u8]>("s").patience(SHORT).open().unwrap();
    let mut idle = bus.client::<[u8], [u8]>("s").capacity_bytes(4096).open().unwrap();
    let mut busy = bus.client::<[u8], [u8]>("s").open().unwrap();
    let mut pending = Vec::new();
    let serving = std::thread::spawn(move || {
        let (mut sent, mut full) = (0, 0);
        loop {
            let request = server.receive().unwrap();
            if &*request == b"end" {
                request.reply(b"end").unwrap();
                return (sent, full, server);
            }
            match request.reply(&[7; 500]) {
                Ok(()) => sent += 1,
                Err(ReplyError::Full) => full += 1,
                Err(error) => panic!("{error}"),
            }
        }
    });
    for _ in 0..30 {
        pending.push(idle.send_within(b"x", PATIENCE).unwrap());
        assert_eq!(busy.call(b"y", PATIENCE).unwrap().len(), 500);
    }
    busy.call(b"end", PATIENCE).unwrap();
    let (sent, full, mut server) = serving.join().unwrap();
    assert!(full > 0 && sent + full == 60, "{sent} {full}");
    // Whoever reads at last gets what there was room for, and is told of the rest.
    let telling = std::thread::spawn(move || {
        while server.receive_within(Duration::from_millis(200)).unwrap().is_some() {}
        server
    });
    let (mut replies, mut unanswered) = (0, 0);
    for pending in pending {
        match idle.wait(pending, PATIENCE) {
            Ok(reply) => replies += i32::from(reply.len() == 500),
            Err(CallError::Unanswered) => unanswered += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((replies + 30, unanswered), (sent, full));
    telling.join().unwrap();
}

#[test]
fn a_full_connection_is_an_error_or_a_wait() {
    let place = Place::new();
    let bus = place.bus.clone();
    let mut server = bus.server::<[u8], [u8]>("s").open().unwrap();
    let mut client = bus.client::<[u8], [u8]>("s").capacity_bytes(4096).open().unwrap();
    let mut sent = 0;
    let error = loop {
        match client.send(&[1; 100]) {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 100);
    };
    assert!(matches!(error, CallError::Full), "{error}");
    let start = Instant::now();
    assert!(matches!(client.send_within(&[1; 100], SHORT), Err(CallError::Full)));
    assert!(start.elapsed() >= SHORT);
    assert!(matches!(client.send(&[1; 5000]), Err(CallError::Publish(_))), "it can't ever fit");
    for _ in 0..sent {
        receive(&mut server).reply(b"ok").unwrap();
    }
    client.send(&[1; 100]).unwrap();
    let mut replies = 0;
    while client.outstanding() > 1 {
        let (_, reply) = client.receive(PATIENCE).unwrap().unwrap();
        reply.unwrap();
        replies += 1;
    }
    assert_eq!(replies, sent);
}

#[test]
fn a_client_that_writes_nonsense_loses_its_connection_and_the_others_go_on() {
    let place = Place::new();
    let bus = place.bus.clone();
    let mut server = bus.server::<Question, [u8]>("s").open().unwrap();
    let mut good = bus.client::<Question, [u8]>("s").open().unwrap();
    let id = server.id().to_owned();
    let question = Question { number: 1, text: "a question".to_owned() };
    // A connection made by hand, without types, and with them: whoever makes it can write whatever he likes.
    for (round, typed) in [false, true, true].into_iter().enumerate() {
        let stem = format!("s.{id}.1-{round:016x}");
        let topic = |name: &str| {
            let builder = bus.topic(&format!("{stem}.{name}")).unwrap().capacity_bytes(4096);
            let builder = if typed && name == "opening" { builder.message::<Question>() } else { builder };
            builder.create().unwrap()
        };
        let mut writer = topic("opening").publisher::<[u8]>().open().unwrap();
        let _reader = topic("replies").subscriber::<[u8]>().open().unwrap();
        match round {
            0 => {}
            1 => drop(writer.publish(b"no id").unwrap()),
            _ => drop(writer.message().correlation_id(5).unwrap().publish(b"no question").unwrap()),
        }
        let path = |name: &str| bus.directory().join(format!("{stem}.{name}"));
        std::fs::rename(path("opening"), path("requests")).unwrap();
        let pending = good.send(&question).unwrap();
        let start = Instant::now();
        while path("requests").exists() || path("replies").exists() || round > 0 && server.clients() > 1 {
            assert!(start.elapsed() < PATIENCE);
            if let Some(request) = server.receive_within(Duration::from_millis(1)).unwrap() {
                assert_eq!(request.number, 1);
                request.reply(b"ok").unwrap();
            }
            // The bell was not rung for what was renamed by hand: something else changes.
            place.topic("other");
            bus.remove("other").unwrap();
        }
        assert_eq!(&*good.wait(pending, PATIENCE).unwrap(), b"ok");
        assert_eq!(server.clients(), 1);
    }
}

#[test]
fn a_server_that_leaves_fails_what_is_on_its_way() {
    let place = Place::new();
    let bus = place.bus.clone();
    let server = bus.server::<[u8], [u8]>("s").open().unwrap();
    let mut client = bus.client::<[u8], [u8]>("s").open().unwrap();
    let pending = client.send(b"x").unwrap();
    drop(server);
    assert!(matches!(client.wait(pending, PATIENCE), Err(CallError::ServerDied)));
    assert!(matches!(client.call(b"x", PATIENCE), Err(CallError::NoServer)));
    assert_eq!(client.outstanding(), 0);
    assert_eq!(left(&bus), Vec::<String>::new());
}

#[test]
fn tasks_call_and_serve_on_one_thread() {
    let place = Place::new();
    let bus = place.bus.clone();
    let mut server = bus.server::<[u8], [u8]>("s").open().unwrap();
    let mut client = bus.client::<[u8], [u8]>("s").open().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(tokio::task::LocalSet::new().run_until(async move {
        let serving = tokio::task::spawn_local(async move {
            for _ in 0..100 {
                let request = server.receive_async().await.unwrap();
                let reply = request.to_ascii_uppercase();
                request.reply(&reply).unwrap();
            }
            let never = server.receive_async().await.unwrap().detach();
            tokio::time::sleep(SHORT * 2).await;
            drop((never, server));
        });
        for _ in 0..100 {
            assert_eq!(&*client.call_async(b"abc", PATIENCE).await.unwrap(), b"ABC");
        }
        assert!(matches!(client.call_async(b"abc", SHORT).await, Err(CallError::TimedOut)));
        assert!(matches!(client.call_async(b"abc", PATIENCE).await, Err(CallError::ServerDied)));
        assert!(matches!(client.call_async(b"abc", PATIENCE).await, Err(CallError::NoServer)));
        serving.await.unwrap();
    }));
}
