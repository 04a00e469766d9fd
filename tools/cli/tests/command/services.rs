//! `req` and `serve`: requests, replies, and what becomes of either when the other ends.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::sandbox::Sandbox;

#[test]
fn an_echo_server_replies_with_what_it_was_sent_and_ends_after_its_count() {
    let sandbox = Sandbox::new();
    let server = sandbox.start(["serve", "echo", "--count", "3", "--json"]);
    assert_eq!(sandbox.output(["req", "echo", "hello"]), b"hello\n");
    let raw = sandbox.run_with(b"\x00\xff\n", ["req", "echo", "--format", "raw"]);
    assert_eq!((raw.code, &raw.stdout[..]), (0, &b"\x00\xff\n"[..]), "{}", raw.stderr);
    let lines = sandbox.run(["req", "echo", "x", "--json", "--header", "a=b"]).json_lines();
    assert_eq!(lines[0]["reply"], "x");
    assert_eq!((&lines[1]["ended"], &lines[1]["replies"]), (&Value::from("done"), &Value::from(1)));
    assert_eq!(lines[1]["latency"]["count"], 1);
    let ended = server.end();
    let summary: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((ended.code, &summary["requests"], &summary["refused"]), (0, &Value::from(3), &Value::from(0)));
    assert_eq!(sandbox.output(["ls"]).iter().filter(|byte| **byte == b'-').count(), 0, "nothing is left behind");
}

#[test]
fn a_command_replies_and_its_failure_is_a_refusal() {
    let sandbox = Sandbox::new();
    let mut upper = sandbox.start(["serve", "upper", "--command", "tr a-z A-Z"]);
    let calls = sandbox.run(["req", "upper", "hello", "--count", "2"]);
    assert_eq!((calls.code, calls.text()), (0, "HELLO\nHELLO\n"), "{}", calls.stderr);
    let mut failing = sandbox.start(["serve", "failing", "--command", "echo no such order >&2; exit 44"]);
    let refused = sandbox.run(["req", "failing", "x"]);
    assert_eq!(refused.code, 3);
    assert!(refused.stderr.contains("refused: no such order (code 44)"), "{}", refused.stderr);
    let mut slow = sandbox.start(["serve", "slow", "--command", "sleep 100 & sleep 100", "--timeout", "100ms"]);
    let refused = sandbox.run(["req", "slow", "x", "--timeout", "60"]);
    assert!(refused.code == 3 && refused.stderr.contains("took too long"), "{}", refused.stderr);
    for server in [&mut upper, &mut failing, &mut slow] {
        server.signal(Signal::SIGINT);
    }
    for (server, served) in [(upper, 2), (failing, 1), (slow, 1)] {
        let ended = server.end();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("served {served} requests")), "{}", ended.stderr);
    }
}

#[test]
fn without_a_server_or_a_reply_in_time_a_request_times_out() {
    let sandbox = Sandbox::new();
    let nobody = sandbox.run(["req", "nobody", "x", "--timeout", "50ms"]);
    assert_eq!(nobody.code, 124);
    assert!(nobody.stderr.contains("no server of nobody came in time"), "{}", nobody.stderr);
    let mut server = sandbox.start(["serve", "stopped"]);
    assert_eq!(sandbox.run(["req", "stopped", "x", "--quiet"]).code, 0);
    server.signal(Signal::SIGSTOP);
    let late = sandbox.run(["req", "stopped", "x", "--timeout", "100ms"]);
    assert_eq!(late.code, 124, "{}", late.stderr);
    server.signal(Signal::SIGCONT);
    assert_eq!(sandbox.output(["req", "stopped", "y"]), b"y\n");
    server.process().kill().unwrap();
    server.process().wait().unwrap();
    let mut again = sandbox.start(["serve", "stopped"]);
    assert_eq!(sandbox.output(["req", "stopped", "z", "--timeout", "60"]), b"z\n");
    again.signal(Signal::SIGTERM);
    assert_eq!(again.end().code, 0);
}
