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
/// say so, and there is no report.
fn check(arguments: &[&str], keys: &[&str]) -> Option<Value> {
    let output = bench(&[arguments, &["--seconds", "1", "--json"]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    if !has_two_cores() {
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr.contains("two cores are needed"), "{stderr}");
        return None;
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
    Some(report)
}

const RATIOS: [&str; 3] = ["ratio_p50", "ratio_p99", "ratio_p999"];
const RATES: [&str; 3] = ["messages_per_s_near", "messages_per_s_far", "ratio_to_limit"];

/// The rate over both placements of the row with this name, and its ratio.
fn rate_and_ratio(report: &Value, name: &str) -> (Value, Value) {
    let rows = report["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} is no row: {report}"));
    let figures = &row["figures"];
    (figures["near"]["operations_per_s"]["p50"].clone(), figures["all"]["ratio"]["p50"].clone())
}

/// The top level is of the row with this name, which stands beside a raw ring with the same payload.
fn assert_is_about(report: &Option<Value>, name: &str, ring: &str) {
    let Some(report) = report else { return };
    let (rate_near, ratio) = rate_and_ratio(report, name);
    assert_eq!((&report["messages_per_s_near"], &report["ratio_to_limit"]), (&rate_near, &ratio), "{name}: {report}");
    let row = report["rows"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(row["beside"], ring);
}

// One test, so that no two measurements run at a time.
#[test]
fn each_bench_prints_one_object_with_its_figures_at_the_top() {
    check(&["latency"], &[&RATIOS[..], &["ratio_many_publishers_to_one", "ratio_loan_to_64_bytes"]].concat());
    check(&["latency", "--payload", "1024", "--rate", "1e5"], &RATIOS);
    check(&["latency", "--payload", "1048576"], &[&RATIOS[..], &["ratio_loan_to_64_bytes"]].concat());
    check(&["latency", "--payload", "100", "--batch", "3"], &RATIOS);
    the_top_level_of_streams_is_of_the_batches_that_were_asked_for();
    check(&["fanout"], &["ratio_64_to_1", "ratio_64_asleep_to_1"]);
    check(&["fanout", "--batch", "16", "--payload", "32"], &["ratio_64_to_1"]);
    check(&["wake", "--payload", "65536", "--batch", "1"], &[&RATIOS[..], &["idle_cpu_percent"]].concat());
    check(&["request"], &RATIOS);
    text_fits_a_terminal_and_figures_are_drawn();
}

fn the_top_level_of_streams_is_of_the_batches_that_were_asked_for() {
    let raw = "raw 64 B ring, 1 MiB";
    let report = check(&["throughput", "--batch", "16"], &RATES);
    assert_is_about(&report, "memlane 64 B ×16, cell 32", raw);
    let report = check(&["throughput"], &RATES);
    assert_is_about(&report, "memlane 64 B, cell 32", raw);
    let report = check(&["throughput", "--batch", "1", "--payload", "4096"], &RATES);
    assert_is_about(&report, "memlane 4 KiB, cell 64", "raw 4 KiB ring, 1 MiB");
    let keys = [&RATES[..], &["ratio_two_publishers_to_one", "smaller_share_p50"]].concat();
    let report = check(&["publishers", "--batch", "64", "--payload", "64"], &keys);
    assert_is_about(&report, "memlane many 64 B ×64, cell 32", raw);
    let report = check(&["publishers", "--payload", "1MiB"], &keys);
    assert_is_about(&report, "memlane many 1 MiB, cell 64", "raw 1 MiB ring, 4 MiB");
}

fn text_fits_a_terminal_and_figures_are_drawn() {
    if !has_two_cores() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let plot = directory.path().join("plot.svg");
    for (which, part) in [("latency", "percentile"), ("throughput", "M/s")] {
        let output = bench(&[which, "--seconds", "1", "--plot", plot.to_str().unwrap()]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let svg = std::fs::read_to_string(&plot).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains(part), "{svg}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused_with_what_can() {
    let refused = |arguments: &[&str], part: &str| {
        let output = bench(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains(part), "{arguments:?}: {stderr}");
    };
    refused(&["throughput", "--payload", "7"], "from 8 to 1048576");
    refused(&["wake", "--payload", "2MiB"], "from 8 to 1048576");
    refused(&["wake", "--batch", "2"], "leave --batch out, or give 1");
    refused(&["request", "--payload", "100"], "16, 32, 48, 64");
    refused(&["latency", "--rate", "1e5", "--batch", "2"], "leave --batch out, or give 1");
    refused(&["throughput", "--payload", "1MiB", "--batch", "4096"], "64 MiB at most");
    refused(&["throughput", "--batch", "5000"], "1 to 4096");
}
