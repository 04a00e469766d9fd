//! Looking after topics: `ls`, `info`, `rm`, `gc`.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::sandbox::Sandbox;

#[test]
fn a_bus_that_was_never_used_is_empty_and_is_not_made_by_looking() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.json(["ls", "--json", "--bus", "nobody"])["topics"], json!([]));
    let ended = sandbox.run(["ls", "--bus", "nobody"]);
    assert!(ended.code == 0 && ended.stdout.is_empty() && ended.stderr.contains("has no topics"));
    assert_eq!(sandbox.run(["gc", "--bus", "nobody"]).code, 0);
    assert_eq!(sandbox.run(["info", "t", "--bus", "nobody"]).code, 1);
    assert_eq!(sandbox.run(["sub", "t", "--bus", "nobody"]).code, 1);
    assert_eq!(std::fs::read_dir(sandbox.path()).unwrap().count(), 0);
}

#[test]
fn buses_are_apart() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "x", "--bus", "one"]);
    let ended = sandbox.command(["ls", "--json"]).env("MEMLANE_BUS", "two").output().unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&ended.stdout).unwrap()["topics"], json!([]));
    let ended = sandbox.command(["ls"]).env("MEMLANE_BUS", "one").output().unwrap();
    assert!(String::from_utf8(ended.stdout).unwrap().lines().nth(1).unwrap().starts_with("t "));
}

#[test]
fn ls_tells_size_and_extent_of_each_topic() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "b", "1", "2", "--capacity", "64KiB"]);
    sandbox.run(["pub", "a", "--size", "1", "--count", "0"]);
    let topics = sandbox.json(["ls", "--json"])["topics"].clone();
    assert_eq!((&topics[0]["topic"], &topics[1]["topic"]), (&json!("a"), &json!("b")));
    assert_eq!(
        (&topics[1]["capacity_bytes"], &topics[1]["head"], &topics[1]["tail"]),
        (&json!(65_536), &json!(0), &json!(128))
    );
    assert_eq!((&topics[0]["tail"], &topics[0]["type"]), (&json!(0), &json!("raw bytes")));
    let text = String::from_utf8(sandbox.output(["ls"])).unwrap();
    assert_eq!(
        text.lines().map(|line| line.split_whitespace().next().unwrap()).collect::<Vec<_>>(),
        ["TOPIC", "a", "b"]
    );
}

#[test]
fn info_tells_options_participants_and_how_far_they_are() {
    let sandbox = Sandbox::new();
    let options = ["--capacity", "64KiB", "--cell", "128", "--publishers", "3", "--subscribers-max", "5", "--stamps"];
    sandbox.run([&["pub", "t", "x"][..], &options].concat());
    let mut subscriber = sandbox.start(["sub", "t", "--from", "earliest"]);
    sandbox.wait_for("t", 1, 0);
    let mut publisher = sandbox.start(["pub", "t", "--size", "1", "--rate", "0.001"]);
    sandbox.wait_for("t", 1, 1);
    let info = sandbox.json(["info", "t", "--json"]);
    let found = &info["options"];
    assert_eq!(
        (
            &found["capacity_bytes"],
            &found["cell_bytes"],
            &found["publishers_max"],
            &found["subscribers_max"],
            &found["stamps"]
        ),
        (&json!(65_536), &json!(128), &json!(3), &json!(5), &json!(true))
    );
    let member = &info["subscribers"][0];
    assert_eq!((&member["pid"], &member["program"]), (&json!(subscriber.id()), &json!("memlane")));
    assert_eq!(info["publishers"][0]["pid"], publisher.id());
    let text = String::from_utf8(sandbox.output(["info", "t"])).unwrap();
    for part in ["raw bytes", "64 KiB in cells of 128 B", "1 there, room for 3", "SUBSCRIBER", "PUBLISHER", "LAG"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_reader_that_stands_still_is_seen_to_lag_and_holds_publishers_back() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "x", "--capacity", "4KiB", "--cell", "64"]);
    let mut subscriber = sandbox.start(["sub", "t"]);
    sandbox.wait_for("t", 1, 0);
    subscriber.signal(Signal::SIGSTOP);
    let ended = sandbox.run(["pub", "t", "--size", "8", "--count", "1000", "--timeout", "0.1", "--json"]);
    assert_eq!(ended.code, 124);
    assert!(ended.stderr.contains("no room in time"), "{}", ended.stderr);
    let published = ended.json_lines()[0]["messages"].as_u64().unwrap();
    assert!((1..1000).contains(&published), "{published}");
    let lag = sandbox.json(["info", "t", "--json"])["subscribers"][0]["lag_bytes"].as_u64().unwrap();
    assert!(lag >= published * 64 - 64, "{lag} for {published}");
    subscriber.signal(Signal::SIGCONT);
    // Once it reads, there is room again.
    assert_eq!(sandbox.run(["pub", "t", "--size", "8", "--count", "1000"]).code, 0);
    subscriber.signal(Signal::SIGINT);
    assert_eq!(subscriber.end().text().lines().count() as u64, published + 1000);
}

#[test]
fn rm_refuses_a_topic_that_someone_is_attached_to_unless_forced() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "x"]);
    sandbox.run(["pub", "free", "x"]);
    let subscriber = sandbox.start(["sub", "t"]);
    sandbox.wait_for("t", 1, 0);
    let ended = sandbox.run(["rm", "t", "free"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stderr.contains("1 gated subscribers attached") && ended.stderr.contains("--force"),
        "{}",
        ended.stderr
    );
    assert_eq!(sandbox.json(["ls", "--json"])["topics"][0]["topic"], "t", "the other one went");
    sandbox.output(["rm", "--force", "t"]);
    assert_eq!(sandbox.json(["ls", "--json"])["topics"], json!([]));
    let ended = subscriber.end();
    assert_eq!(ended.code, 0, "without a count, the end of the topic is an end");
    assert!(ended.stderr.contains("the topic was removed"), "{}", ended.stderr);
}

#[test]
fn a_subscriber_that_wanted_more_fails_when_its_topic_goes() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "x"]);
    let subscriber = sandbox.start(["sub", "t", "--from", "earliest", "--count", "2"]);
    sandbox.wait_for("t", 1, 0);
    sandbox.output(["rm", "--force", "t"]);
    let ended = subscriber.end();
    assert_eq!((ended.code, ended.text()), (1, "x\n"), "{}", ended.stderr);
}

#[test]
fn gc_clears_away_what_killed_processes_left() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "x", "--publishers", "many"]);
    let mut subscriber = sandbox.start(["sub", "t"]);
    let mut publisher = sandbox.start(["pub", "t", "--size", "1", "--rate", "0.001"]);
    sandbox.wait_for("t", 1, 1);
    for process in [&mut subscriber, &mut publisher] {
        process.signal(Signal::SIGKILL);
        process.process().wait().unwrap();
    }
    let garbage = sandbox.json(["gc", "--json"]);
    // The publisher's slot is the first free one, so `gc` itself may have taken it over, and tidied it, before it counted.
    assert_eq!((&garbage["subscribers"], &garbage["skipped_topics"]), (&json!(1), &json!(0)));
    let garbage = sandbox.json(["gc", "--json"]);
    assert_eq!((&garbage["subscribers"], &garbage["publishers"]), (&json!(0), &json!(0)));
    assert!(String::from_utf8(sandbox.output(["gc"])).unwrap().starts_with("cleared away: "));
}

#[test]
fn a_topic_is_removed_though_its_files_make_no_sense() {
    let sandbox = Sandbox::new();
    sandbox.run(["pub", "t", "x"]);
    std::fs::write(sandbox.path().join("default/t/log"), b"not a log").unwrap();
    let ended = sandbox.run(["ls"]);
    assert!(ended.code == 1 && ended.stderr.contains("default/t/log"), "{}", ended.stderr);
    let ended = sandbox.run(["rm", "t"]);
    assert!(ended.code == 1 && ended.stderr.contains("--force"), "{}", ended.stderr);
    sandbox.output(["rm", "t", "-f"]);
    assert_eq!(sandbox.json(["ls", "--json"])["topics"], json!([]));
}

#[test]
fn a_pattern_lists_and_prints_the_topics_that_match_also_later_ones() {
    let sandbox = Sandbox::new();
    for topic in ["md.a.trades", "md.b.quotes", "orders"] {
        sandbox.run(["pub", topic, "hello"]);
    }
    let listed = sandbox.json(["ls", "md.*.trades", "--json"]);
    assert_eq!(listed["topics"].as_array().unwrap().len(), 1);
    assert_eq!(listed["topics"][0]["topic"], "md.a.trades");
    let history = sandbox.output(["sub", "--pattern", "md.>", "--from", "earliest", "--drain"]);
    let mut lines: Vec<_> = std::str::from_utf8(&history).unwrap().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["md.a.trades\thello", "md.b.quotes\thello"]);
    let subscriber = sandbox.start(["sub", "--pattern", "md.>", "--count", "2", "--json"]);
    sandbox.wait_for("md.a.trades", 1, 0);
    sandbox.run(["pub", "md.c.later", "one", "two"]);
    let lines = subscriber.end().json_lines();
    assert_eq!((&lines[0]["topic"], &lines[0]["text"]), (&"md.c.later".into(), &"one".into()));
    assert_eq!(lines[1]["text"], "two");
    let refused = sandbox.run(["sub", "--pattern", "md.>.x"]);
    assert!(refused.code != 0 && refused.stderr.contains("`>` stands only at the end"), "{}", refused.stderr);
}

#[test]
fn a_bus_of_named_segments_needs_no_tmpfs_and_is_used_without_being_told() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run(["pub", "t", "x", "--backing", "named"]).code, 0);
    let log = sandbox.path().join("default/t/log");
    let memory = memlane_shm::named::memory_path(&log).unwrap();
    assert!(memory != log && memory.starts_with("/dev/shm"), "{memory:?}");
    assert_eq!(sandbox.run(["pub", "t", "y"]).code, 0);
    assert_eq!(sandbox.output(["sub", "t", "--from", "earliest", "--count", "2"]), b"x\ny\n");
    assert_eq!(sandbox.run(["pub", "other", "x", "--backing", "file"]).code, 0);
    let other = sandbox.path().join("default/other/log");
    assert_ne!(memlane_shm::named::memory_path(&other).unwrap(), other, "the bus is there already");
    assert_eq!(sandbox.run(["rm", "t"]).code, 0);
    assert!(!memory.exists());
    let refused = sandbox.run(["ls", "--backing", "paper"]);
    assert!(refused.code == 2 && refused.stderr.contains("give `file` or `named`"), "{}", refused.stderr);
    memlane_shm::named::remove_directory(sandbox.path()).unwrap();
}
