//! `memlane bench` as its users meet it: the real program, for a second each. No figure is judged here, since tests run
//! beside other things.

#![forbid(unsafe_code)]

use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memlane")).arg("bench").args(arguments).output().unwrap()
}

fn has_two_cores() -> bool {
    std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)
}

/// Runs a bench for a second and looks at its top level: `keys` are numbers or null. Where there is one core only, it must
/// say so.
fn check(arguments: &[&str], keys: &[&str]) {
    let output = bench(&[arguments, &["--seconds", "1", "--json"]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    if !has_two_cores() {
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr.contains("two cores are needed"), "{stderr}");
        return;
    }
    assert!(output.status.success(), "{stderr}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["bench"], arguments[0]);
    for key in keys {
        let value = report.get(key).unwrap_or_else(|| panic!("{key} is not there: {report}"));
        // JSON has no numbers that aren't finite.
        assert!(value.is_null() || value.as_f64().is_some_and(|number| number >= 0.0), "{key}: {value}");
    }
    for row in report["rows"].as_array().unwrap() {
        assert!(row["operations_per_batch"].as_f64().unwrap() >= 1.0, "{row}");
    }
    for placement in ["near", "far", "all"] {
        assert!(report["rows"][0]["figures"].get(placement).is_some(), "{report}");
    }
}

const RATIOS: [&str; 3] = ["ratio_p50", "ratio_p99", "ratio_p999"];
const RATES: [&str; 3] = ["messages_per_s_near", "messages_per_s_far", "ratio_to_limit"];

// One test, so that no two measurements run at a time.
#[test]
fn each_bench_prints_one_object_with_its_figures_at_the_top() {
    check(&["latency"], &RATIOS);
    check(&["latency", "--payload", "1024", "--rate", "1e5"], &RATIOS);
    check(&["throughput", "--batch", "16"], &RATES);
    check(&["publishers"], &RATES);
    check(&["fanout"], &["ratio_64_to_1"]);
    check(&["wake"], &RATIOS);
    text_fits_a_terminal_and_curves_are_drawn();
}

fn text_fits_a_terminal_and_curves_are_drawn() {
    if !has_two_cores() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let plot = directory.path().join("plot.svg");
    let output = bench(&["latency", "--seconds", "1", "--plot", plot.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(std::fs::read_to_string(plot).unwrap().starts_with("<svg"));
}

#[test]
fn a_payload_that_cannot_be_measured_is_refused_with_those_that_can() {
    let output = bench(&["throughput", "--payload", "100"]);
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    if has_two_cores() {
        assert!(stderr.contains("choose one of [16, 48, 56, 64, 256, 1024]"), "{stderr}");
    }
}
