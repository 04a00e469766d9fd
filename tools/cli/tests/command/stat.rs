//! `memlane stat`, and what `info` and `ls` tell of participants.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

fn object(value: &Value, key: &str, wanted: &str) -> Value {
    let all = value.as_array().unwrap();
    all.iter().find(|one| one[key] == wanted).unwrap_or_else(|| panic!("no {wanted} in {value}")).clone()
}

#[test]
fn stat_tells_rates_who_is_there_and_who_holds_whom_up() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "x", "--capacity", "4KiB"]);
    let mut slow = sandbox.start(["sub", "t", "--name", "risk", "--tag", "desk=rates", "--tag", "host=a"]);
    sandbox.wait_for("t", 1, 0);
    slow.signal(Signal::SIGSTOP);
    let observer = sandbox.start(["sub", "t", "--lossy", "--quiet"]);
    let mut publisher = sandbox.start(["pub", "t", "--size", "8"]);
    sandbox.wait_for("t", 1, 1);
    let (slow_pid, publisher_pid) = (slow.id(), publisher.id());
    // Until the publisher waits for room.
    let held = |sandbox: &Sandbox| sandbox.json(["stat", "--json", "--count", "1"])["topics"][0]["waiting"] == 1;
    while !held(&sandbox) {}
    let ended = sandbox.run(["stat", "t", "--json", "--participants", "--interval", "100ms", "--count", "3"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let looks = ended.json_lines();
    assert_eq!(looks.len(), 3);
    assert_eq!(looks[0]["topics"][0]["rates"], Value::Null);
    let topic = &looks[2]["topics"][0];
    assert_eq!((&topic["topic"], &topic["waiting"], &topic["publishers"]), (&json!("t"), &json!(1), &json!(1)));
    // All of the time, but for the ends of the looks.
    assert!(topic["rates"]["held_share"].as_f64().unwrap() > 0.5, "{topic}");
    assert_eq!(topic["held_by"], json!({"slot": 0, "name": "risk", "pid": slow_pid}));
    assert!(topic["lag_bytes"].as_u64().unwrap() >= 3 << 10, "{topic}");
    let participants = &topic["participants"];
    let risk = object(participants, "role", "subscriber");
    assert_eq!((&risk["name"], &risk["tags"]), (&json!("risk"), &json!({"desk": "rates", "host": "a"})));
    let publisher_row = object(participants, "role", "publisher");
    assert_eq!((&publisher_row["pid"], &publisher_row["is_held"]), (&json!(publisher_pid), &json!(true)));
    assert_eq!((&publisher_row["name"], publisher_row["full"].as_u64() > Some(0)), (&json!("memlane pub"), true));

    let text = String::from_utf8(sandbox.output(["stat", "t", "-p", "--interval", "50ms", "--count", "2"])).unwrap();
    for part in ["MSG/S", "HELD BY", &format!("risk ({slow_pid})"), "desk=rates host=a", "memlane pub"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    slow.signal(Signal::SIGKILL);
    slow.process().wait().unwrap();
    while sandbox.json(["stat", "--json", "--count", "1"])["topics"][0]["died"] != 1 {}
    drop(observer);
}

#[test]
fn stat_goes_on_over_topics_that_come_and_go_and_ends_well_when_stopped() {
    let sandbox = Sandbox::new();
    let mut stat = sandbox.start(["stat", "md.>", "--json", "--interval", "20ms"]);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stat.process().stdout.take().unwrap()));
    let mut until = |found: &dyn Fn(&Value) -> bool| {
        loop {
            let look: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if found(&look["topics"]) {
                return;
            }
        }
    };
    until(&|topics| *topics == json!([]));
    sandbox.run(["pub", "md.a", "x"]);
    sandbox.run(["pub", "orders", "x"]);
    until(&|topics| topics[0]["topic"] == "md.a" && topics[0]["messages"] == 1 && topics[1].is_null());
    sandbox.run(["rm", "md.a"]);
    until(&|topics| *topics == json!([]));
    stat.signal(Signal::SIGTERM);
    assert_eq!(stat.end().code, 0);
    let ended = sandbox.run(["stat", "--interval", "0"]);
    assert!(ended.code == 2 && ended.stderr.contains("shorter than 10 ms"), "{}", ended.stderr);
}

#[test]
fn info_shows_names_tags_and_counts_also_of_observers() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "one", "two"]);
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let mut observer =
        sandbox.start(["sub", "t", "--lossy", "--from", "earliest", "--name", "monitor", "--tag", "a=b"]);
    let subscriber = sandbox.start(["sub", "t", "--from", "earliest"]);
    let found = loop {
        let info = sandbox.json(["info", "t", "--json"]);
        if info["observers"][0]["messages"] == 2 && info["subscribers"][0]["messages"] == 2 {
            break info;
        }
    };
    let monitor = &found["observers"][0];
    assert_eq!((&monitor["name"], &monitor["tags"]["a"]), (&json!("monitor"), &json!("b")));
    assert_eq!(
        (&monitor["lag_bytes"], &monitor["lost_bytes"], &monitor["pid"]),
        (&json!(0), &json!(0), &json!(observer.id()))
    );
    assert!(
        monitor["since_unix_ns"].as_u64().unwrap() >= start && monitor["active_unix_ns"].as_u64().unwrap() >= start
    );
    assert_eq!((&found["subscribers"][0]["name"], &found["log"]["messages"]), (&json!("memlane sub"), &json!(2)));
    let text = String::from_utf8(sandbox.output(["info", "t"])).unwrap();
    for part in ["OBSERVER", "monitor", "a=b", "memlane sub", "ACTIVE", "LOST"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(sandbox.json(["ls", "--json"])["topics"][0]["observers"], 1);
    drop(subscriber);
    // Nobody whom its end would harm.
    sandbox.output(["rm", "--force", "t"]);
    assert_eq!(observer.process().wait().unwrap().code(), Some(0));
}

#[test]
fn names_and_tags_that_cannot_be_are_refused() {
    let sandbox = Sandbox::new();
    for arguments in [&["--tag", "no-value"][..], &["--tag", "=x"], &["--name", ""], &["--name", "a\nb"]] {
        let ended = sandbox.run([&["pub", "t", "x"][..], arguments].concat());
        assert!(matches!(ended.code, 1 | 2) && !ended.stderr.is_empty(), "{arguments:?}: {}", ended.stderr);
    }
    let ended = sandbox.run(["pub", "t", "x", "--name", &"n".repeat(200)]);
    assert!(ended.code == 1 && ended.stderr.contains("shorten them"), "{}", ended.stderr);
}
