//! What is wrong is said in a line, with what to do about it.

use memlane::{Bus, Message};
use rkyv::{Archive, Serialize};

use crate::sandbox::{Ended, Sandbox};

#[derive(Archive, Serialize, Message)]
#[message(name = "test.number", version = 3)]
struct Number {
    value: u64,
}

fn assert_says(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code, code, "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
    for part in parts {
        assert!(ended.stderr.contains(part), "{part:?} in {:?}", ended.stderr);
    }
    if code == 1 {
        assert_eq!(ended.stderr.lines().count(), 1, "{:?}", ended.stderr);
        assert!(ended.stderr.starts_with("memlane: "));
    }
}

#[test]
fn names_that_are_none_are_refused_with_the_rule() {
    let sandbox = Sandbox::new();
    for name in ["a/b", "..", "a b", ""] {
        assert_says(&sandbox.run(["pub", name, "x"]), 1, &["can't be a name", "md.trades.xnas"]);
    }
    assert_says(&sandbox.run(["pub", "t", "x", "--bus", "a/b"]), 1, &["can't be a name"]);
}

#[test]
fn sizes_that_are_none_or_can_not_be_are_refused_with_what_can_be() {
    let sandbox = Sandbox::new();
    assert_says(&sandbox.run(["pub", "t", "x", "--capacity", "5 quarks"]), 2, &["--capacity", "KiB"]);
    assert_says(&sandbox.run(["pub", "t", "x", "--capacity", "5000"]), 1, &["capacity", "power of two"]);
    assert_says(&sandbox.run(["pub", "t", "x", "--cell", "8192"]), 1, &["cell", "32 to 4096"]);
    assert_says(&sandbox.run(["pub", "t", "x", "--publishers", "9999"]), 1, &["1024"]);
    assert_says(&sandbox.run(["pub", "t", "x", "--publishers", "few"]), 2, &["`many`"]);
    assert_says(&sandbox.run(["pub", "t", "--size", "1", "--rate", "fast"]), 2, &["messages per second"]);
    assert_says(&sandbox.run(["sub", "t", "--timeout", "long"]), 2, &["span of time"]);
    assert_says(&sandbox.run(["sub", "t", "--from", "home"]), 2, &["earliest"]);
    assert_says(&sandbox.run(["pub", "t", "x", "--header", "nokey"]), 2, &["KEY=VALUE"]);
    assert_says(&sandbox.run(["ingest", "x", "--topic", "t", "--speed", "light"]), 2, &["recorded, max"]);
    assert!(!sandbox.path().join("default/t").exists());
}

#[test]
fn options_that_exclude_each_other_are_wrong_usage() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["pub", "t", "x", "--size", "1"][..],
        &["pub", "t", "x", "--raw"],
        &["pub", "t", "--count", "1"],
        &["sub", "t", "--lossy", "--latest"],
        &["sub"],
        &["nonsense"],
    ] {
        assert_eq!(sandbox.run(arguments).code, 2, "{arguments:?}");
    }
}

#[test]
fn a_topic_or_bus_that_is_not_there_is_named() {
    let sandbox = Sandbox::new();
    assert_says(&sandbox.run(["sub", "t"]), 1, &["default", "no such bus"]);
    sandbox.run(["pub", "other", "x"]);
    for arguments in [["sub", "t"], ["info", "t"], ["rm", "t"]] {
        assert_says(&sandbox.run(arguments), 1, &["default/t", "no such topic"]);
    }
    assert_says(&sandbox.run(["ls", "--root", "/nonexistent/root"]), 1, &["/nonexistent/root", "MEMLANE_ROOT"]);
}

#[test]
fn messages_that_do_not_fit_are_refused_with_what_fits() {
    let sandbox = Sandbox::new();
    let small = ["--capacity", "64KiB"];
    let file = sandbox.file("big", &[b'x'; 20_000]);
    let mut publish = sandbox.command(["pub", "t", "--file"]);
    let output = publish.arg(file).args(small).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.contains("--capacity") && stderr.contains("16"), "{stderr}");
    assert_says(&sandbox.run_with(&[b'x'; 20_000], ["pub", "t", "--raw"]), 1, &["--capacity"]);
    assert_says(&sandbox.run_with(&[b'x'; 20_000], ["pub", "t"]), 1, &["line of stdin", "--capacity"]);
    assert_says(&sandbox.run(["pub", "t", "--size", "20000", "--count", "1"]), 1, &["--capacity"]);
    assert_eq!(sandbox.json(["ls", "--json"])["topics"][0]["tail"], 0);
}

#[test]
fn raw_bytes_on_a_typed_topic_are_refused_unless_meant() {
    let sandbox = Sandbox::new();
    let bus = Bus::builder("default").root(sandbox.path()).open().unwrap();
    bus.topic("typed").unwrap().message::<Number>().create().unwrap();
    assert_says(&sandbox.run(["pub", "typed", "x"]), 1, &["carries test.number v3", "--untyped"]);
    let file = sandbox.file("number", &7_u64.to_le_bytes());
    let publish = sandbox.command(["pub", "typed", "--untyped", "--file"]).arg(file).output().unwrap();
    assert!(publish.status.success());
    assert_eq!(
        sandbox.output(["sub", "typed", "--from", "earliest", "--drain", "--format", "hex"]),
        b"0700000000000000\n"
    );
    let topic = bus.topic("typed").unwrap().open().unwrap();
    let mut subscriber = topic.subscriber::<Number>().start(memlane::Start::Earliest).open().unwrap();
    assert_eq!(subscriber.receive().unwrap().value, 7);
    let info = String::from_utf8(sandbox.output(["info", "typed"])).unwrap();
    assert!(info.contains("test.number v3, layout "), "{info}");
}

#[test]
fn options_that_a_topic_does_not_have_are_told_and_change_nothing() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "a"]);
    let ended = sandbox.run(["pub", "t", "b", "--capacity", "1MiB", "--stamps"]);
    assert_eq!(ended.code, 0);
    assert!(ended.stderr.contains("4 MiB: --capacity has no effect"), "{}", ended.stderr);
    assert!(ended.stderr.contains("no stamps: --stamps has no effect"), "{}", ended.stderr);
    let ended = sandbox.run(["sub", "t", "--stamps", "--drain"]);
    assert_says(&ended, 1, &["has no stamps"]);
}

#[test]
fn a_second_publisher_is_refused_or_stands_by() {
    let sandbox = Sandbox::new();
    let mut first = sandbox.start(["pub", "t", "--size", "1", "--rate", "0.001"]);
    sandbox.wait_for("t", 0, 1);
    let pid = first.id().to_string();
    assert_says(&sandbox.run(["pub", "t", "x"]), 1, &[&pid, "--stand-by", "--publishers many"]);
    let second = sandbox.start(["pub", "t", "x", "--stand-by", "10m"]);
    first.signal(nix::sys::signal::Signal::SIGKILL);
    assert_eq!(second.end().code, 0);
}

#[test]
fn positions_that_are_not_there_are_refused_with_what_is() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "a", "b"]);
    assert_says(&sandbox.run(["sub", "t", "--from", "7"]), 1, &["position 7", "0 to 128"]);
}

#[test]
fn a_file_that_is_no_capture_is_refused() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("x.txt", b"hello");
    let ended = sandbox.run(["ingest", file.to_str().unwrap(), "--topic", "t"]);
    assert_says(&ended, 1, &["x.txt", "not a capture", "pcap"]);
    assert_says(&sandbox.run(["ingest", "/nonexistent", "--topic", "t"]), 1, &["can't open /nonexistent"]);
    assert_says(&sandbox.run(["demo", "--input", "/nonexistent"]), 1, &["can't open /nonexistent"]);
    assert_eq!(std::fs::read_dir(sandbox.path()).unwrap().count(), 1, "nothing was made");
}
