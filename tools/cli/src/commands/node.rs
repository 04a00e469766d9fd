//! `memlane node`: what a host runs beside its services, supervised, as a file says.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use memlane_node::config::{Config, ConfigError, Problem, Problems};
use memlane_node::{Ended, NodeError, Options};
use serde::Serialize;

use super::ending::{Ending, complain};
use super::output::print_json;
use super::place::Place;

const AFTER_HELP: &str = "\
A node runs modules, such as the recorders of [[journal]]. One that fails is begun again after a while, and the others go on. Where the \
configuration doesn't say which bus, --bus, --root and MEMLANE_ROOT do.

SIGHUP has it read the configuration again. It goes over to all of it, or, if something in it can't be, or can't be changed while it runs, \
to nothing, and says why. SIGTERM has it finish what it has begun, and end; 3 if the time for that was up. A second one ends it at once.

It logs to stderr, and tells systemd when it is ready (Type=notify), how it is, and that it lives (WatchdogSec).

Examples:
  memlane config init memlane.toml             one to begin with, each key with a word on it
  memlane node --config memlane.toml --check   all that is wrong, with lines; 3 if something is
  memlane node --config memlane.toml
  systemctl reload memlane                     as SIGHUP";

/// Run what belongs to this host's bus: recorders, supervised, as a configuration says
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Node {
    /// The configuration: see `memlane config init`
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only say whether it could be run
    #[arg(long)]
    check: bool,
    /// Log as JSON, an object a line; with --check, say what is wrong as JSON
    #[arg(long)]
    json: bool,
}

/// What is wrong with a configuration.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    config: &'a Path,
    is_sound: bool,
    problems: &'a [Problem],
}

impl Node {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        if self.check {
            return self.check();
        }
        let usual = place.for_node();
        let options = Options { config: self.config.clone(), usual, is_json: self.json };
        match memlane_node::run(&options) {
            Ok(Ended::Drained) => Ok(Ending::Done),
            Ok(Ended::CutShort) => Ok(Ending::Unsound),
            Err(NodeError::Config(ConfigError::Unsound(unsound))) => {
                show(&unsound);
                anyhow::bail!("{}: nothing was begun", count(&unsound.problems))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn check(&self) -> anyhow::Result<Ending> {
        let problems = match Config::read(&self.config) {
            Ok(_) => Vec::new(),
            Err(ConfigError::Unsound(unsound)) => {
                if !self.json {
                    show(&unsound);
                }
                unsound.problems
            }
            Err(error) => return Err(error.into()),
        };
        let is_sound = problems.is_empty();
        if self.json {
            print_json(&Checked { config: &self.config, is_sound, problems: &problems })?;
        } else if is_sound {
            complain(&format!("{}: nothing is wrong", self.config.display()));
        } else {
            complain(&count(&problems));
        }
        Ok(if is_sound { Ending::Done } else { Ending::Unsound })
    }
}

/// Says what is wrong, each as compilers do, so that editors find the lines.
fn show(unsound: &Problems) {
    // Where stderr is closed, nobody is left to tell.
    let _ = writeln!(std::io::stderr().lock(), "{unsound}");
}

fn count(problems: &[Problem]) -> String {
    let of_them = if problems.len() == 1 { "problem" } else { "problems" };
    format!("{} {of_them} in the configuration", problems.len())
}
