//! The chore that counts instructions: runs the program `instructions` of memlane-benches under callgrind, case by case.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::workspace::Workspace;

/// Something that is counted.
struct Case {
    /// What the table calls it.
    name: &'static str,
    /// The program's arguments: case, bytes of the payload, subscribers.
    arguments: [&'static str; 3],
    /// The function within which instructions count.
    function: &'static str,
    /// The loop around it, whose instructions are taken off.
    around: Option<Loop>,
}

/// A loop around calls of the library.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loop {
    Publish,
    PublishTyped,
    Receive,
}

impl Loop {
    const ALL: [Self; 3] = [Self::Publish, Self::PublishTyped, Self::Receive];

    /// The loop alone.
    fn case(self) -> Case {
        let (name, case, function) = match self {
            Self::Publish => ("the loop around each publish, taken off", "nothing", "publish_nothing"),
            Self::PublishTyped => ("the same, typed, taken off", "nothing-typed", "publish_nothing"),
            Self::Receive => ("the loop around each receive, taken off", "nothing", "receive_nothing"),
        };
        Case { name, arguments: [case, "48", "0"], function, around: None }
    }
}

/// The rows of the table.
const CASES: [Case; 12] = [
    publishing("publish, 48 bytes, one publisher", ["one", "48", "1"]),
    publishing("the same, 64 bytes", ["one", "64", "1"]),
    publishing("the same, 48 bytes, 64 gated subscribers that keep up", ["one", "48", "64"]),
    publishing("the same, 64 gated subscribers, all asleep", ["one-asleep", "48", "64"]),
    Case {
        name: "publish a typed message of 48 bytes",
        arguments: ["typed", "48", "1"],
        function: "publish_quotes",
        around: Some(Loop::PublishTyped),
    },
    batched("publish in batches of 64", ["one-batch", "48", "1"], "publish_batches"),
    batched("publish a loan of 2 KiB, of which 8 bytes are written", ["one-loan", "2048", "1"], "publish_loans"),
    publishing("publish, 48 bytes, many publishers", ["many", "48", "1"]),
    batched("the same in batches of 64", ["many-batch", "48", "1"], "publish_batches"),
    Case {
        name: "receive, 48 bytes",
        arguments: ["one", "48", "1"],
        function: "receive_burst",
        around: Some(Loop::Receive),
    },
    batched("receive in batches of 64", ["one-batch", "48", "1"], "receive_batches"),
    batched("the same from many publishers", ["many-batch", "48", "1"], "receive_batches"),
];

const fn publishing(name: &'static str, arguments: [&'static str; 3]) -> Case {
    Case { name, arguments, function: "publish_burst", around: Some(Loop::Publish) }
}

/// A case whose loop is within the library.
const fn batched(name: &'static str, arguments: [&'static str; 3], function: &'static str) -> Case {
    Case { name, arguments, function, around: None }
}

/// Builds the program, counts each case and prints a table of instructions per message; whether the build went well.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<bool> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        bail!("valgrind can't be run: install it (its package is called valgrind everywhere) and try again");
    }
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--package", "memlane-benches", "--bin", "instructions"]);
    if !build.status().context("cargo can't be run")?.success() {
        return Ok(false);
    }
    let program = workspace.metadata.target_directory.join("release/instructions");
    let mut loops = Vec::new();
    println!("| | instructions per message |\n|---|---|");
    for each in Loop::ALL {
        let case = each.case();
        let count = per_message(&program, &case)?;
        println!("| {} | {count:.1} |", case.name);
        loops.push((each, count));
    }
    for case in &CASES {
        let around = loops.iter().find(|(each, _)| Some(*each) == case.around).map_or(0.0, |(_, count)| *count);
        println!("| {} | {:.1} |", case.name, per_message(&program, case)? - around);
    }
    Ok(true)
}

/// Instructions per message of one case, its loop included.
fn per_message(program: &Path, case: &Case) -> anyhow::Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{}*", case.function))
        .arg(program)
        .args(case.arguments)
        .output()
        .context("valgrind can't be run")?;
    let report = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: valgrind failed:\n{report}", case.name);
    let messages: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("how many messages?")?;
    let collected = collected(&report).with_context(|| format!("{}: no count in:\n{report}", case.name))?;
    ensure!(collected > 0, "{}: there is no function {}", case.name, case.function);
    Ok(collected as f64 / messages)
}

/// The count in what callgrind says at its end: `==1== Collected : 123`.
fn collected(report: &str) -> Option<u64> {
    let line = report.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_what_callgrind_says() {
        let report = "==1== Events    : Ir\n==1== Collected : 12200000\n==1== \n==1== I   refs:      12,200,000\n";
        assert_eq!(collected(report), Some(12_200_000));
        assert_eq!(collected("==1== Events    : Ir\n"), None);
    }

    #[test]
    fn every_loop_that_is_taken_off_is_counted() {
        assert!(CASES.iter().filter_map(|case| case.around).all(|each| Loop::ALL.contains(&each)));
    }
}
