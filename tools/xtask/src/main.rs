//! The repository's own chores: `cargo xtask check`, `cargo xtask loom`, `cargo xtask docs`, `cargo xtask
//! instructions`.
//!
//! `check` holds the house rules that no compiler knows: layers, sizes, where `unsafe` may stand. Each rule is one
//! small module under `checks/`; `checks.rs` lists them in the order in which they run.

#![forbid(unsafe_code)]

mod checks;
mod commands;
mod finding;
mod instructions;
mod metadata;
mod source;
mod tokens;
mod workspace;

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// The chores of the memlane repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    /// Which chore to do.
    #[command(subcommand)]
    chore: Chore,
}

/// One chore.
#[derive(Subcommand)]
enum Chore {
    /// Hold the repository against the house rules
    ///
    /// Runs every check in order and prints a line for each. Exits with 1 if any failed.
    Check {
        /// Run only this check; may be given more than once
        #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(checks::names()))]
        only: Vec<String>,
        /// List the checks and the rule that each one holds, and run none
        #[arg(long, conflicts_with = "only")]
        list: bool,
    },
    /// Run the loom models of the ring's algorithm
    ///
    /// Builds memlane-ring with `--cfg loom` in a target directory of its own. LOOM_MAX_PREEMPTIONS bounds how many
    /// preemptions each model explores (default 3).
    Loom {
        /// Handed to the test program: a part of a model's name, or its options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build the documentation of every crate, refusing warnings
    Docs,
    /// Count the instructions of publishing and receiving, with valgrind's callgrind
    ///
    /// Builds memlane-benches for release and prints a table of instructions per message, the loop around each call
    /// taken off. Takes about a minute.
    Instructions,
}

/// Does the chore that was asked for. Prints why it could not be done, if it couldn't.
fn main() -> ExitCode {
    match run(&Cli::parse().chore) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does `chore`; whether it went well.
fn run(chore: &Chore) -> anyhow::Result<bool> {
    match chore {
        Chore::Check { list: true, .. } => {
            checks::list();
            Ok(true)
        }
        Chore::Check { only, list: false } => Ok(checks::run(&Workspace::load()?, only)),
        Chore::Loom { arguments } => commands::loom(&Workspace::load()?, arguments),
        Chore::Docs => commands::docs(&Workspace::load()?),
        Chore::Instructions => instructions::run(&Workspace::load()?),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn unknown_check_is_refused_by_name() {
        let refusal = Cli::try_parse_from(["cargo xtask", "check", "--only", "nonsense"]).err();
        assert!(refusal.is_some_and(|error| error.to_string().contains("nonsense")));
    }
}
