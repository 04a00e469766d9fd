//! The chores that run one cargo command with the right environment.

use std::env;
use std::process::Command;

use anyhow::Context;

use crate::workspace::Workspace;

/// How many preemptions loom explores unless LOOM_MAX_PREEMPTIONS says otherwise.
const LOOM_PREEMPTIONS_MAX: &str = "3";

/// Runs the loom models; whether they passed. `arguments` go to the test program.
pub(crate) fn loom(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<bool> {
    let preemptions_max = env::var("LOOM_MAX_PREEMPTIONS").unwrap_or_else(|_| LOOM_PREEMPTIONS_MAX.to_owned());
    run(workspace
        .cargo()
        .args(["test", "--package", "memlane-ring", "--release", "--test", "loom", "--"])
        .args(arguments)
        .env("RUSTFLAGS", with_flags("RUSTFLAGS", "--cfg loom"))
        .env("LOOM_MAX_PREEMPTIONS", preemptions_max)
        .env("CARGO_TARGET_DIR", workspace.metadata.target_directory.join("loom")))
}

/// Builds the documentation; whether it went without a warning.
pub(crate) fn docs(workspace: &Workspace) -> anyhow::Result<bool> {
    run(workspace
        .cargo()
        .args(["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", with_flags("RUSTDOCFLAGS", "-D warnings")))
}

/// The flags in the environment variable `variable`, with `flags` behind them.
fn with_flags(variable: &str, flags: &str) -> String {
    join_flags(env::var(variable).ok().as_deref(), flags)
}

/// `flags` behind those that are `set` already.
fn join_flags(set: Option<&str>, flags: &str) -> String {
    match set {
        Some(set) if !set.trim().is_empty() => format!("{set} {flags}"),
        _ => flags.to_owned(),
    }
}

/// Runs `command` on this terminal; whether it succeeded.
fn run(command: &mut Command) -> anyhow::Result<bool> {
    let status = command.status().context("cargo can't be run")?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_the_caller_are_kept() {
        assert_eq!(join_flags(Some("-C target-cpu=native"), "--cfg loom"), "-C target-cpu=native --cfg loom");
        assert_eq!(join_flags(Some(" "), "--cfg loom"), "--cfg loom");
        assert_eq!(join_flags(None, "--cfg loom"), "--cfg loom");
    }
}
