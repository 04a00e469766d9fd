//! The demo checks itself; here it is seen to, and to clean up.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// Whether nothing is left where buses live.
fn is_clean(sandbox: &Sandbox) -> bool {
    std::fs::read_dir(sandbox.path()).unwrap().next().is_none()
}

fn assert_is_sound(result: &Value) {
    assert_eq!((&result["check"], &result["problems"]), (&json!("ok"), &json!([])), "{result}");
    let published = result["published"]["messages"].as_u64().unwrap();
    let subscribers = result["subscribers"].as_array().unwrap();
    let gated: Vec<_> = subscribers.iter().filter(|subscriber| subscriber["kind"] == "gated").collect();
    assert_eq!(gated.len(), 3);
    for subscriber in gated {
        assert_eq!((&subscriber["messages"], &subscriber["missed"]), (&json!(published), &json!(0)), "{result}");
    }
    for kind in ["lossy", "latest"] {
        assert!(subscribers.iter().any(|subscriber| subscriber["kind"] == kind), "{kind}");
    }
}

#[test]
fn demo_finds_every_message_at_every_gated_subscriber() {
    let sandbox = Sandbox::new();
    let result = sandbox.json(["demo", "--seconds", "1", "--json"]);
    assert_is_sound(&result);
    assert!(result["flat_out_messages_per_s"].as_f64().unwrap() > 0.0);
    let latency = &result["subscribers"][0]["latency"];
    assert!(latency["count"].as_u64().unwrap() > 0 && latency["p50_ns"].as_u64() <= latency["max_ns"].as_u64());
    assert!(is_clean(&sandbox));
}

#[test]
fn demo_says_so_to_people_at_a_rate_of_their_choice() {
    let sandbox = Sandbox::new();
    let text = String::from_utf8(sandbox.output(["demo", "--seconds", "0.5", "--rate", "20k"])).unwrap();
    assert!(text.lines().last().unwrap().starts_with("check: ok: all 3 gated subscribers got all "), "{text}");
    for part in ["20.0 k/s first", "p99.9", "quoter, gated", "watch, lossy", "screen, latest", "flat out"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(is_clean(&sandbox));
}

#[test]
fn demo_plays_a_capture() {
    let sandbox = Sandbox::new();
    let lines: String = (0..300).map(|index| format!("{} {{\"n\":{index}}}\n", index * 1_000_000)).collect();
    let path = sandbox.file("a.jsonl", lines.as_bytes());
    let result = sandbox.json(["demo", "--seconds", "0.5", "--json", "--input", path.to_str().unwrap()]);
    assert_is_sound(&result);
}

#[test]
fn demo_that_is_interrupted_still_checks_and_cleans_up() {
    let sandbox = Sandbox::new();
    let mut demo = sandbox.start(["demo", "--seconds", "3600", "--json"]);
    wait_for_publisher(&sandbox);
    demo.signal(Signal::SIGINT);
    let ended = demo.end();
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    let result = &ended.json_lines()[0];
    assert_is_sound(result);
    assert_eq!(result["stopped"], true);
    assert!(is_clean(&sandbox));
}

#[test]
fn processes_of_a_demo_that_was_killed_die_with_it_and_the_next_demo_clears_its_bus_away() {
    let sandbox = Sandbox::new();
    let mut demo = sandbox.start(["demo", "--seconds", "3600", "--json"]);
    let children = wait_for_publisher(&sandbox);
    assert_eq!(children.len(), 4, "three gated subscribers and a publisher have a place");
    demo.signal(Signal::SIGKILL);
    demo.process().wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    for child in children {
        while kill(Pid::from_raw(child), None) != Err(Errno::ESRCH) && !is_zombie(child) {
            assert!(Instant::now() < deadline, "{child} outlives its demo");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    assert!(!is_clean(&sandbox), "the killed one could not");
    assert_is_sound(&sandbox.json(["demo", "--seconds", "0.5", "--json"]));
    assert!(is_clean(&sandbox));
}

/// Dead, and its new parent has not looked yet.
fn is_zombie(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Waits until the demo's publisher publishes; gives the ids of those who have a place in the topic.
fn wait_for_publisher(sandbox: &Sandbox) -> Vec<i32> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline, "the demo does not begin");
        std::thread::sleep(Duration::from_millis(10));
        let Some(bus) = std::fs::read_dir(sandbox.path()).unwrap().next() else { continue };
        let bus = bus.unwrap().file_name().into_string().unwrap();
        let ended = sandbox.run(["info", "md.feed", "--json", "--bus", &bus]);
        let Ok(info) = serde_json::from_slice::<Value>(&ended.stdout) else { continue };
        if info["log"]["tail"].as_u64().unwrap() > 0 {
            let members = ["publishers", "subscribers"].map(|key| info[key].as_array().unwrap().clone()).concat();
            return members.iter().map(|member| member["pid"].as_u64().unwrap() as i32).collect();
        }
    }
}
