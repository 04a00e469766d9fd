//! How commands end that are stopped, time out, or lose their reader.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::sandbox::Sandbox;

#[test]
fn a_subscriber_that_has_no_other_end_ends_well_at_a_signal_with_its_summary() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "a", "b"]);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut subscriber = sandbox.start(["sub", "t", "--from", "earliest"]);
        sandbox.wait_for("t", 1, 0);
        subscriber.signal(signal);
        let ended = subscriber.end();
        assert_eq!(ended.code, 0);
        assert!(ended.stderr.contains("received "), "{}", ended.stderr);
        sandbox.wait_for("t", 0, 0);
    }
}

#[test]
fn work_that_a_signal_cut_short_says_how_far_it_came() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "a"]);
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let mut subscriber = sandbox.start(["sub", "t", "--from", "earliest", "--count", "5"]);
        sandbox.wait_for("t", 1, 0);
        subscriber.signal(signal);
        let ended = subscriber.end();
        assert_eq!(ended.code, code);
        assert!(ended.stderr.contains("received "), "{}", ended.stderr);
        let mut publisher = sandbox.start(["pub", "t", "--size", "1", "--rate", "0.001", "--json"]);
        sandbox.wait_for("t", 0, 1);
        publisher.signal(signal);
        let ended = publisher.end();
        assert_eq!((ended.code, &ended.json_lines()[0]["ended"]), (code, &json!("stopped")));
    }
}

#[test]
fn a_publisher_that_waits_for_input_or_room_can_be_stopped() {
    let sandbox = Sandbox::new();
    // Its stdin stays open.
    let mut publisher =
        crate::sandbox::Running::from(sandbox.command(["pub", "t"]).stdin(Stdio::piped()).spawn().unwrap());
    sandbox.wait_for("t", 0, 1);
    let stdin = publisher.process().stdin.take();
    publisher.signal(Signal::SIGINT);
    assert_eq!(publisher.end().code, 130);
    drop(stdin);
    let mut subscriber = sandbox.start(["sub", "t"]);
    sandbox.wait_for("t", 1, 0);
    subscriber.signal(Signal::SIGSTOP);
    let mut publisher = sandbox.start(["pub", "t", "--size", "1KiB"]);
    sandbox.wait_for("t", 1, 1);
    publisher.signal(Signal::SIGTERM);
    assert_eq!(publisher.end().code, 143);
}

#[test]
fn waiting_has_an_end_if_one_is_given() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(["sub", "t", "--wait-for-topic", "--timeout", "50ms"]);
    assert_eq!(ended.code, 124);
    assert!(ended.stderr.contains("not made in time"), "{}", ended.stderr);
    sandbox.run(["pub", "t", "a"]);
    let ended = sandbox.run(["sub", "t", "--from", "earliest", "--count", "2", "--timeout", "50ms", "--json"]);
    assert_eq!(ended.code, 124);
    let lines = ended.json_lines();
    assert_eq!(
        (&lines[0]["text"], &lines[1]["ended"], &lines[1]["messages"]),
        (&json!("a"), &json!("timed_out"), &json!(1))
    );
    let ended = sandbox.run(["pub", "t", "x", "--wait-for-subscribers", "1", "--timeout", "50ms"]);
    assert_eq!(ended.code, 124);
    assert!(ended.stderr.contains("nothing was published"), "{}", ended.stderr);
}

#[test]
fn a_reader_that_goes_away_ends_the_command_without_a_word() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "--size", "100", "--count", "10000"]);
    let mut subscriber = sandbox.start(["sub", "t", "--from", "earliest"]);
    let mut line = String::new();
    BufReader::new(subscriber.process().stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.len(), 101);
    let ended = subscriber.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn a_reader_that_goes_away_is_noticed_though_no_message_comes() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "a"]);
    let mut subscriber = sandbox.start(["sub", "t", "--from", "earliest"]);
    let mut line = String::new();
    BufReader::new(subscriber.process().stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ended = subscriber.end();
    assert_eq!((ended.code, ended.stderr.as_str(), line.as_str()), (0, "", "a\n"));
}

#[test]
fn messages_are_out_before_the_next_comes() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "first"]);
    let mut subscriber = sandbox.start(["sub", "t", "--from", "earliest"]);
    let mut lines = BufReader::new(subscriber.process().stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "first");
    sandbox.run(["pub", "t", "second"]);
    assert_eq!(lines.next().unwrap().unwrap(), "second");
}
