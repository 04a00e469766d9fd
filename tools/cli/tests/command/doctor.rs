//! `memlane doctor`, on whatever host the tests run on.

use serde_json::Value;

use crate::sandbox::Sandbox;

const VERDICTS: [&str; 4] = ["ok", "unknown", "warn", "bad"];

const CHECKS: [&str; 15] = [
    "tmpfs_room",
    "bus_directory",
    "backing",
    "huge_pages",
    "memlock",
    "swap",
    "cpus",
    "governor",
    "isolated_cpus",
    "kernel_version",
    "clock_source",
    "membarrier",
    "futex_waitv",
    "cgroup_cpu",
    "cgroup_memory",
];

fn count(report: &Value, verdict: &str) -> usize {
    report["checks"].as_array().unwrap().iter().filter(|check| check["verdict"] == verdict).count()
}

#[test]
fn doctor_examines_this_host_and_its_json_has_the_documented_keys() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(["doctor", "--json"]);
    let report = &ended.json_lines()[0];
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(checks.iter().map(|check| check["name"].as_str().unwrap()).collect::<Vec<_>>(), CHECKS);
    for check in checks {
        assert!(VERDICTS.contains(&check["verdict"].as_str().unwrap()), "{check}");
        assert!(["memory", "processors", "kernel", "cgroup"].contains(&check["group"].as_str().unwrap()), "{check}");
        assert!(["found", "why"].iter().all(|key| !check[key].as_str().unwrap().is_empty()), "{check}");
        let needs_mending = check["verdict"] == "warn" || check["verdict"] == "bad";
        assert_eq!(!check["mend"].as_array().unwrap().is_empty(), needs_mending, "{check}");
    }
    for verdict in VERDICTS {
        assert_eq!(report[verdict], count(report, verdict), "{verdict}");
    }
    assert_eq!(report["root"], sandbox.path().to_str().unwrap());
    assert_eq!(ended.code, if count(report, "bad") > 0 { 3 } else { 0 }, "{report}");
    assert_eq!(std::fs::read_dir(sandbox.path()).unwrap().count(), 0, "it only looks");
}

#[test]
fn doctor_prints_a_line_or_more_for_each_check_within_80_columns() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(["doctor"]);
    for name in CHECKS {
        assert!(ended.text().lines().any(|line| line.split_whitespace().nth(1) == Some(name)), "{name}");
    }
    // A path is never broken.
    let root = sandbox.path().to_str().unwrap();
    let mut lines = ended.text().lines().filter(|line| !line.contains(root));
    assert!(lines.all(|line| line.chars().count() <= 80), "{}", ended.text());
}

#[test]
fn a_root_that_is_not_there_is_bad_and_told_by_the_exit_code() {
    let sandbox = Sandbox::new();
    let root = sandbox.path().join("nowhere");
    let ended = sandbox.run(["doctor", "--json", "--root", root.to_str().unwrap()]);
    let report = &ended.json_lines()[0];
    assert_eq!((ended.code, &report["verdict"]), (3, &Value::from("bad")));
    assert_eq!(report["checks"][1]["mend"][0], format!("mkdir -p {}", root.display()));
    assert!(!root.exists());
}
