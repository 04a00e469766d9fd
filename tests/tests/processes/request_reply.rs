//! Clients and servers as processes: what the death or the stop of one is to the other.

use crate::{print_time, stage};
use memlane::{CallError, Client};
use memlane_tests::role::{Ask, Place, Role, Serve};
use memlane_tests::roles::service::{manner, request, server_of};
use memlane_tests::stage::{Actor, PATIENCE, Stage, poll_until};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(50);

fn serve(stage: &Stage, place: &Place) -> Actor {
    let server = stage.start(&Role::Serve(Serve { place: place.clone(), work_us: 0, is_sleepy: false }));
    server.await_ready();
    server
}

fn ask(place: &Place, client: u64, calls: u64) -> Ask {
    Ask { place: place.clone(), client, calls, is_mixed: false, is_sleepy: false }
}

fn client(stage: &Stage, place: &Place) -> Client<[u8], [u8]> {
    stage.bus().client(&place.topic).open().unwrap()
}

/// Calls the server with number `number`; gives its process id.
fn call(client: &mut Client<[u8], [u8]>, number: u64) -> u64 {
    let reply = client.call(&request(0, number, manner::PLAIN), PATIENCE).unwrap();
    server_of(&reply, 0, number).unwrap()
}

#[test]
fn a_server_killed_while_it_holds_a_request_is_an_error_in_time_and_the_next_call_goes_to_another() {
    let stage = stage();
    let place = stage.place("service");
    let mut first = serve(&stage, &place);
    let mut client = client(&stage, &place);
    let pending = client.send(&request(0, 7, manner::HOLD)).unwrap();
    assert_eq!(first.answer(), Ok(7), "it holds the request");
    let second = serve(&stage, &place);
    first.kill();
    let killed = Instant::now();
    assert!(matches!(client.wait(pending, PATIENCE), Err(CallError::ServerDied)));
    print_time("a server's death, until its client's call fails", killed.elapsed());
    for number in 8..20 {
        assert_eq!(call(&mut client, number), u64::from(second.pid()));
    }
    let names = stage.bus().topics().unwrap();
    assert_eq!(names.len(), 3, "one presence, one connection: {names:?}");
}

#[test]
fn a_server_that_dies_before_it_takes_up_a_connection_is_an_error_and_not_silence() {
    let stage = stage();
    let place = stage.place("service");
    let mut server = serve(&stage, &place);
    server.signal(Signal::SIGSTOP);
    server.await_stopped();
    let mut client = client(&stage, &place);
    let pending = client.send(&request(0, 7, manner::PLAIN)).unwrap();
    assert!(matches!(client.wait(pending, SHORT), Err(CallError::TimedOut)), "it may go on");
    server.kill();
    assert!(matches!(client.wait(pending, PATIENCE), Err(CallError::ServerDied)));
    assert!(matches!(client.send(&request(0, 8, manner::PLAIN)), Err(CallError::NoServer)));
    assert!(stage.bus().topics().unwrap().is_empty());
}

#[test]
fn a_client_killed_amid_its_calls_leaves_nothing_behind_and_the_others_are_served_on() {
    let stage = stage();
    let place = stage.place("service");
    let server = serve(&stage, &place);
    let mut client = client(&stage, &place);
    let mut dying = stage.start(&Role::Ask(ask(&place, 1, 0)));
    dying.await_ready();
    call(&mut client, 1);
    dying.kill();
    let mut number = 1;
    let is_gone = poll_until(|| {
        number += 1;
        assert_eq!(call(&mut client, number), u64::from(server.pid()));
        (stage.bus().topics().unwrap().len() == 3).then_some(())
    });
    assert!(is_gone.is_some(), "{:?}", stage.bus().topics());
    // Whoever takes a topic away renames it first.
    let is_clean = poll_until(|| stage.leftovers().is_empty().then_some(()));
    assert!(is_clean.is_some(), "{:?}", stage.leftovers());
}

#[test]
fn what_clients_and_servers_that_are_all_dead_left_goes_with_gc_or_with_the_next_one() {
    let stage = stage();
    let place = stage.place("service");
    for by_gc in [true, false] {
        let mut server = serve(&stage, &place);
        let mut asking = stage.start(&Role::Ask(ask(&place, 1, 0)));
        asking.await_ready();
        // It would clear up after a server that dies.
        asking.signal(Signal::SIGSTOP);
        asking.await_stopped();
        server.kill();
        asking.kill();
        let left = stage.bus().topics().unwrap();
        assert!(!left.is_empty());
        if by_gc {
            assert!(stage.bus().collect_garbage().unwrap().connections > 0);
        } else {
            drop(client(&stage, &place));
        }
        assert_eq!(stage.bus().topics().unwrap(), [""; 0], "of {left:?}");
    }
}

#[test]
fn a_stopped_server_is_waited_for_until_the_time_is_up_and_its_late_reply_is_dropped() {
    let stage = stage();
    let place = stage.place("service");
    let server = serve(&stage, &place);
    let mut client = client(&stage, &place);
    call(&mut client, 1);
    server.signal(Signal::SIGSTOP);
    server.await_stopped();
    let pending = client.send(&request(0, 2, manner::PLAIN)).unwrap();
    assert!(matches!(client.wait(pending, SHORT), Err(CallError::TimedOut)));
    assert!(matches!(client.call(&request(0, 3, manner::PLAIN), SHORT), Err(CallError::TimedOut)));
    server.signal(Signal::SIGCONT);
    for number in 4..50 {
        call(&mut client, number);
    }
    // It wasn't given up.
    assert_eq!(server_of(&client.wait(pending, PATIENCE).unwrap(), 0, 2).unwrap(), u64::from(server.pid()));
}

#[test]
fn a_cancellation_reaches_a_server_that_works_on_the_request() {
    let stage = stage();
    let place = stage.place("service");
    let server = serve(&stage, &place);
    let mut client = client(&stage, &place);
    let pending = client.send(&request(0, 9, manner::UNTIL_CANCELLED)).unwrap();
    assert!(matches!(client.wait(pending, SHORT), Err(CallError::TimedOut)));
    client.cancel(pending);
    assert_eq!(server.answer(), Ok(9));
    call(&mut client, 10);
}

/// How often each line of 16 bytes is in a ledger.
pub(crate) fn lines(stage: &Stage, name: &str) -> BTreeMap<[u8; 16], u32> {
    let mut lines = BTreeMap::new();
    for line in std::fs::read(stage.root().join(name)).unwrap_or_default().as_chunks().0 {
        *lines.entry(*line).or_default() += 1;
    }
    lines
}

#[test]
fn many_clients_calls_to_several_servers_are_each_handled_exactly_once_and_the_load_is_spread() {
    const CLIENTS: u64 = 4;
    const CALLS: u64 = 400;
    let stage = stage();
    let place = stage.place("service");
    let mut servers: Vec<Actor> = (0..3).map(|_| serve(&stage, &place)).collect();
    let clients: Vec<Actor> = (0..CLIENTS)
        .map(|client| stage.start(&Role::Ask(Ask { is_mixed: true, ..ask(&place, client, CALLS) })))
        .collect();
    for client in &clients {
        assert_eq!(client.answer(), Ok(CALLS));
    }
    let mut handled_by = Vec::new();
    for server in &mut servers {
        server.ask_to_stop();
        handled_by.push(server.answer().unwrap());
    }
    assert_eq!(handled_by.iter().sum::<u64>(), CLIENTS * CALLS, "{handled_by:?}");
    // Each client takes them by turns.
    assert!(handled_by.iter().all(|count| *count >= CLIENTS * CALLS / 6), "{handled_by:?}");
    let (handled, answered) = (lines(&stage, "handled"), lines(&stage, "answered"));
    assert!(handled.values().all(|count| *count == 1));
    assert_eq!(handled.len() as u64, CLIENTS * CALLS);
    assert_eq!(handled, answered);
    clients.into_iter().for_each(|mut client| client.await_success());
    servers.into_iter().for_each(|mut server| server.await_success());
    assert_eq!(stage.bus().topics().unwrap(), [""; 0]);
}

#[test]
fn clients_and_servers_that_go_to_sleep_between_all_calls_go_on() {
    let stage = stage();
    let place = stage.place("service");
    let role = Role::Serve(Serve { place: place.clone(), work_us: 0, is_sleepy: true });
    let mut servers = [stage.start(&role), stage.start(&role)];
    for server in &servers {
        server.await_ready();
    }
    let start = Instant::now();
    let clients = [1, 2].map(|client| stage.start(&Role::Ask(Ask { is_sleepy: true, ..ask(&place, client, 3000) })));
    for client in &clients {
        assert_eq!(client.answer(), Ok(3000));
    }
    print_time("3,000 calls of two sleepy clients each, in all", start.elapsed());
    for server in &mut servers {
        server.ask_to_stop();
        server.answer().unwrap();
    }
}
