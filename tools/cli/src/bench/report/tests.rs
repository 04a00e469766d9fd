//! Reports of made-up rounds.

use std::time::Duration;

use super::*;
use crate::bench::lane::Kind;
use crate::bench::latencies::Recorded;
use crate::bench::statistics::{Batch, LaneInfo, Round};

const OWN: usize = 1;
const RING: usize = 2;

fn settings() -> Settings {
    Settings::lasting(Duration::from_secs(1))
}

fn batch(lane: usize, limit_ns: f64, ns_per_operation: f64) -> Batch {
    let operations = 1_000;
    let ticks = ns_per_operation as u64;
    Batch {
        lane,
        limit_before_ns: limit_ns,
        limit_after_ns: limit_ns,
        operations,
        ns_per_operation,
        elapsed_ns: ns_per_operation * operations as f64,
        recorded: (lane == OWN).then(|| Recorded::from_pairs(vec![(ticks, 990), (ticks * 10, 10)])),
    }
}

/// A sampled lane and a stream, near and far.
fn rounds() -> Rounds {
    let lane = |name: &str, kind| LaneInfo { name: name.to_owned(), kind };
    let round = |limit_ns| Round { batches: vec![batch(OWN, limit_ns, limit_ns * 2.0), batch(RING, limit_ns, 20.0)] };
    Rounds {
        lanes: vec![
            lane("limit", Kind::Handoff),
            lane("a wake with a name that is longer than its column", Kind::Sampled),
            lane("ring", Kind::Stream),
        ],
        rounds: vec![round(60.0), round(60.0), round(250.0), round(150.0)],
        ns_per_tick: 1.0,
        elapsed: Duration::from_secs(1),
        interruptions: Some(1_234),
    }
}

fn report(rounds: &Rounds) -> Report {
    let subjects = [
        Subject::new(&rounds.lanes[OWN].name, OWN).against(Beside::Limit).with_latencies(OWN, Some(OWN)),
        Subject::new(&rounds.lanes[RING].name, RING),
    ];
    let machine = Machine {
        processor: "A Processor".to_owned(),
        kernel: "Linux 6.18.44-a-long-release-name".to_owned(),
        cores: 2,
        is_virtual: true,
    };
    let cores = Cores { initiator: 0, responder: 1 };
    Report::new("wake", machine, cores, &settings(), rounds, &subjects)
}

#[test]
fn the_top_level_of_the_json_has_the_headline_and_no_number_of_another_measurement() {
    let mut report = report(&rounds());
    report.headline = Headline::of_latency(&report.rows[0]);
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(json["bench"], "wake");
    assert_eq!(json["ratio_p50"], 2.0);
    assert_eq!((&json["ratio_p99"], &json["ratio_p999"]), (&1.0.into(), &1.0.into()));
    assert!(json.get("messages_per_s_near").is_none());
    assert_eq!(json["batches"]["near"], 4);
    assert_eq!(json["rows"][0]["figures"]["near"]["latency"]["samples"], 2_000);
}

#[test]
fn the_headline_of_a_stream_is_its_rate_by_placement() {
    let report = report(&rounds());
    let headline = Headline::of_throughput(report.row("ring").unwrap());
    let rate = Some(50e6);
    let entries: Vec<_> = headline.entries().collect();
    assert_eq!(entries, [("messages_per_s_near", rate), ("messages_per_s_far", rate), ("ratio_to_limit", None)]);
}

#[test]
fn the_text_fits_eighty_columns_and_tells_both_placements() {
    let rounds = rounds();
    let mut report = report(&rounds).with_comparisons(&rounds, &[(RING, OWN), (OWN, RING)]);
    report.headline = Headline::of_latency(&report.rows[0]).with("ratio_64_to_1", None);
    report.notes.push("a word and another ".repeat(10));
    let text = report.to_string();
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for part in
        ["NEAR: 4 batches", "FAR: 2 batches", "2 dropped", "RATIOS OVER BOTH", "50.0 M/s", "ratio_p999", "SIDE BY SIDE"]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn a_report_without_a_batch_that_could_be_placed_says_so() {
    let mut rounds = rounds();
    rounds.rounds = vec![Round { batches: vec![batch(RING, 60.0, 20.0)] }];
    rounds.rounds[0].batches[0].limit_after_ns = 600.0;
    let text = report(&rounds).to_string();
    assert!(text.contains("no batch could be placed"), "{text}");
}

#[test]
fn a_report_draws_the_curves_that_it_has() {
    let plot = report(&rounds()).curves();
    let labels: Vec<&str> = plot.curves.iter().map(|curve| curve.label.as_str()).collect();
    let name = "a wake with a name that is longer than its column";
    assert_eq!(labels, [format!("{name} (near)"), format!("{name} (far)")]);
}

#[test]
fn streams_are_drawn_as_bars_of_their_rates() {
    let mut rounds = rounds();
    rounds.lanes[RING].name = "memlane ring".to_owned();
    let subjects = [Subject::new(&rounds.lanes[RING].name, RING)];
    let report = Report {
        rows: subjects.iter().map(|subject| row(&rounds, &rounds.thresholds(), subject)).collect(),
        ..report(&rounds)
    };
    let svg = report.svg();
    for part in ["memlane ring", "M/s", ">50.0<", ">near<", ">far<"] {
        assert!(svg.contains(part), "{part} in {svg}");
    }
}
