//! The demo's result: a table, histograms and the check, or JSON.

use console::style;
use serde_json::json;

use super::verdict::{Row, Verdict};
use super::wire::{Manner, Stretch, Waiting};
use crate::commands::latencies::Figures;
use crate::commands::output::{Output, print_json};
use crate::commands::table::{Lean, Table};
use crate::commands::units;

/// Where the bars of a histogram end, in nanoseconds: three a decade. What is longer counts as the last.
pub(super) const BOUNDS_NS: [u64; 18] = [
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    u64::MAX,
];
/// Others take a core so often on a machine that is quiet.
const PREEMPTIONS_PER_S_QUIET: f64 = 25.0;
/// Columns of the screen that each bar takes.
const BAR_COLUMNS: usize = 3;
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Prints the result for people.
pub(super) fn text(verdict: &Verdict) -> anyhow::Result<()> {
    let mut output = Output::stdout()?;
    if !verdict.rows.is_empty() {
        table(verdict).iter().try_for_each(|line| output.line(line))?;
        output.line("")?;
        histograms(verdict).iter().try_for_each(|line| output.line(line))?;
        output.line("")?;
    }
    remarks(verdict).iter().try_for_each(|line| output.line(line))?;
    output.flush()
}

fn table(verdict: &Verdict) -> Vec<String> {
    use Lean::{Left, Right};
    let mut table = Table::new(&[
        ("subscriber", Left),
        ("waits", Left),
        ("messages", Right),
        ("missed", Right),
        ("p50", Right),
        ("p99", Right),
        ("p99.9", Right),
        ("max", Right),
    ]);
    for Row { name, kind, waits, missed, received, .. } in &verdict.rows {
        let Figures { p50_ns, p99_ns, p999_ns, max_ns, .. } = received.latency;
        let mut row = vec![
            format!("{name}, {kind}"),
            (*waits).to_owned(),
            units::count(received.messages),
            units::short_count(*missed),
        ];
        row.extend([p50_ns, p99_ns, p999_ns, max_ns].map(units::nanoseconds));
        table.row(row);
    }
    let mut lines = table.lines();
    lines[0] = style(&lines[0]).bold().to_string();
    lines
}

/// A line for each subscriber: how often which latency, the height of a bar going with the root of the count.
fn histograms(verdict: &Verdict) -> Vec<String> {
    let name_columns = verdict.rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max("latency".len()) + 2;
    let mut scale = format!("{:name_columns$}", "latency");
    for (label, bound_ns) in
        [("100ns", 100), ("1µs", 1_000), ("10µs", 10_000), ("100µs", 100_000), ("1ms", 1_000_000), ("10ms", 10_000_000)]
    {
        let bar = BOUNDS_NS.iter().position(|bound| *bound == bound_ns).unwrap_or(0) + 1;
        let start = name_columns + bar * BAR_COLUMNS;
        let fill = start.saturating_sub(scale.chars().count());
        scale.push_str(&" ".repeat(fill));
        scale.push_str(label);
    }
    let bars = |row: &Row| {
        let counts = &row.received.histogram;
        let most = counts.iter().copied().max().unwrap_or(0) as f64;
        let bar = |count: &u64| {
            let share = if *count == 0 { 0.0 } else { (*count as f64 / most).sqrt() };
            BARS[(share * (BARS.len() - 1) as f64).ceil() as usize].to_string().repeat(BAR_COLUMNS)
        };
        let line = format!("{:name_columns$}{}", row.name, counts.iter().map(bar).collect::<String>());
        line.trim_end().to_owned()
    };
    let mut lines = vec![style(scale).bold().to_string()];
    lines.extend(verdict.rows.iter().map(bars));
    lines
}

fn remarks(verdict: &Verdict) -> Vec<String> {
    let mut lines = Vec::new();
    let Stretch { messages, seconds } = verdict.published.paced;
    if messages > 0 {
        let rate = units::rate(messages as f64 / seconds);
        lines.push(format!(
            "paced     {} messages in {seconds:.1} s ({rate}): the latencies are of these",
            units::count(messages)
        ));
    }
    let Stretch { messages, seconds } = verdict.published.flat_out;
    if messages > 0 {
        let rate = units::rate(messages as f64 / seconds);
        lines.push(format!(
            "flat out  {} messages in {seconds:.1} s ({rate}), gated ones holding it back",
            units::count(messages)
        ));
    }
    for Row { name, waits, received, .. } in &verdict.rows {
        let per_s = received.preemptions as f64 / verdict.published.paced.seconds;
        if *waits == Waiting::Busy.word() && per_s > PREEMPTIONS_PER_S_QUIET {
            lines.push(format!(
                "disturbed {name} lost its core to other programs {} times: latencies show it",
                units::count(received.preemptions)
            ));
        }
    }
    for Row { name, manner, missed, received, .. } in &verdict.rows {
        match manner {
            Manner::Lossy if *missed > 0 => lines.push(format!(
                "missed    {name} holds nobody up: overrun {} times, each time told what it missed",
                units::count(received.lost_ranges)
            )),
            Manner::Latest if *missed > 0 => {
                lines.push(format!("skipped   {name} looks 60 times a second, and takes the newest message only"));
            }
            _ => {}
        }
    }
    if verdict.is_ok() {
        lines.push(
            style(format!(
                "check: ok: all {} gated subscribers got all {} messages, in order",
                verdict.gated(),
                units::count(verdict.published.messages)
            ))
            .green()
            .bold()
            .to_string(),
        );
    } else {
        lines.extend(verdict.problems.iter().map(|problem| format!("problem   {problem}")));
        lines.push(style("check: FAILED".to_owned()).red().bold().to_string());
    }
    lines
}

/// Prints the result as one JSON object.
pub(super) fn json(verdict: &Verdict, was_stopped: bool) -> anyhow::Result<()> {
    let Stretch { messages, seconds } = verdict.published.flat_out;
    print_json(&json!({
        "check": if verdict.is_ok() { "ok" } else { "failed" },
        "problems": verdict.problems,
        "stopped": was_stopped,
        "cores": verdict.cores,
        "published": verdict.published,
        "flat_out_messages_per_s": if seconds > 0.0 { messages as f64 / seconds } else { 0.0 },
        "histogram_bounds_ns": BOUNDS_NS,
        "subscribers": verdict.rows,
    }))
}
