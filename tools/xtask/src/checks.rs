//! The checks, in the order in which they run, and the run itself.

mod format;
mod headers;
mod layers;
mod lints;
mod names;
mod sizes;
mod unsafe_code;

use std::io::{self, Write};
use std::time::Instant;

use crate::finding::Finding;
use crate::workspace::Workspace;

/// A rule of the house and the function that looks for breaches of it.
struct Check {
    /// What `--only` calls it.
    name: &'static str,
    /// The rule, in one line.
    rule: &'static str,
    /// Finds every breach. An error means that the check couldn't look.
    run: fn(&Workspace) -> anyhow::Result<Vec<Finding>>,
}

/// Every check, in order.
const CHECKS: [Check; 7] = [
    Check { name: "format", rule: "rustfmt has nothing to change", run: format::run },
    Check { name: "lints", rule: "clippy has nothing to say", run: lints::run },
    Check {
        name: "layers",
        rule: "a crate imports lower layers only; manifests inherit from the workspace",
        run: layers::run,
    },
    Check {
        name: "sizes",
        rule: "files, functions and the hot path stay short enough to be read in one go",
        run: sizes::run,
    },
    Check {
        name: "unsafe",
        rule: "`unsafe` stands where the design allows it and is forbidden elsewhere",
        run: unsafe_code::run,
    },
    Check {
        name: "headers",
        rule: "every module begins by saying what it does; the ring has one door to atomics",
        run: headers::run,
    },
    Check { name: "names", rule: "nothing is left for later", run: names::run },
];

/// The names of the checks, in order.
pub(crate) fn names() -> [&'static str; CHECKS.len()] {
    CHECKS.map(|check| check.name)
}

/// Prints the name and the rule of every check.
pub(crate) fn list() {
    for Check { name, rule, .. } in CHECKS {
        println!("{name:<8} {rule}");
    }
}

/// Runs the checks named in `only`, or all if it is empty; whether all of them passed.
pub(crate) fn run(workspace: &Workspace, only: &[String]) -> bool {
    let mut all_passed = true;
    for check in CHECKS {
        if only.is_empty() || only.iter().any(|name| name == check.name) {
            all_passed &= run_one(workspace, &check);
        }
    }
    all_passed
}

/// Runs `check` and prints its line, and a line for each finding below it; whether it passed.
fn run_one(workspace: &Workspace, check: &Check) -> bool {
    print!("{:<8} ", check.name);
    // The name is worth seeing while a slow check runs, not worth failing for.
    let _ = io::stdout().flush();
    let started = Instant::now();
    let outcome = (check.run)(workspace);
    let seconds = started.elapsed().as_secs_f64();
    match outcome {
        Ok(findings) if findings.is_empty() => {
            println!("ok ({seconds:.1} s)");
            true
        }
        Ok(findings) => {
            println!("FAILED: {} found ({seconds:.1} s)", findings.len());
            for finding in findings {
                println!("  {finding}");
            }
            false
        }
        Err(error) => {
            println!("FAILED: {error:#}");
            false
        }
    }
}
