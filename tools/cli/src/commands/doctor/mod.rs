//! `memlane doctor`: whether this host is set up well for memlane, and how to mend what isn't.
//!
//! | module | what it has |
//! |---|---|
//! | `check` | what a check says: verdict, finding, reason, ways to mend |
//! | `host` | what checks look at: `/proc`, `/sys` and system calls, or what a test makes up |
//! | `memory`, `processors`, `kernel`, `cgroup` | the checks, by group |
//! | `text` | how they are printed |
//!
//! It only looks: nothing on the host is changed, and no bus is made.

mod cgroup;
mod check;
mod host;
mod kernel;
#[cfg(test)]
mod made_up;
mod memory;
mod processors;
mod text;

use std::path::PathBuf;

use clap::Args;
use console::Term;
use serde::Serialize;

use super::ending::Ending;
use super::output::{Output, print_json};
use super::place::Place;
use check::{Check, Verdict};
use host::{Host, Root};

/// How wide the text is that goes to no terminal.
const COLUMNS_DEFAULT: usize = 80;

const AFTER_HELP: &str = "\
Verdicts:
  ok       nothing to do
  unknown  it can't be seen from here, or isn't there
  warn     memlane works, but slower or less evenly than it could
  bad      memlane does not work here, or will soon fail

It only looks, and changes nothing. A line after → is what to do about the finding above it, most often as root. The exit \
code is 3 if something is bad, else 0.

The object that --json prints has `verdict` (the worst one), `ok`, `unknown`, `warn` and `bad` (how many of each), `root` \
(the directory with the buses) and `checks`: each with `name`, `group`, `verdict`, `found`, `why` and `mend`, a list that \
is empty if there is nothing to mend.

Examples:
  memlane doctor                     this host, and the usual directory of buses
  memlane doctor --root /mnt/shared  another directory
  memlane doctor --json | jq -r '.checks[] | select(.verdict == \"bad\") | .name'";

/// Look whether this host suits memlane, and how to mend what doesn't
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the doctor says.
#[derive(Debug, Serialize)]
struct Report {
    /// The worst of all.
    verdict: Verdict,
    ok: usize,
    unknown: usize,
    warn: usize,
    bad: usize,
    root: PathBuf,
    checks: Vec<Check>,
}

impl Doctor {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        let report = Report::of(&Host::this(Root::new(place.root.as_deref())));
        if self.json {
            print_json(&report)?;
        } else {
            let columns = Term::stdout().size_checked().map_or(COLUMNS_DEFAULT, |(_, columns)| columns.into());
            let mut output = Output::stdout()?;
            text::lines(&report, columns).iter().try_for_each(|line| output.line(line))?;
            output.flush()?;
        }
        Ok(if report.bad > 0 { Ending::Unsound } else { Ending::Done })
    }
}

impl Report {
    /// Examines a host. Groups stay together.
    fn of(host: &Host) -> Self {
        let checks = vec![
            memory::room(host),
            memory::directory(host),
            memory::backing(host),
            memory::huge_pages(host),
            memory::memlock(host),
            memory::swap(host),
            processors::cpus(host),
            processors::governor(host),
            processors::isolated(host),
            kernel::version(host),
            kernel::clock(host),
            kernel::membarrier(host),
            kernel::futex_waitv(host),
            cgroup::cpu(host),
            cgroup::memory(host),
        ];
        let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
        Self {
            verdict: checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok),
            ok: count(Verdict::Ok),
            unknown: count(Verdict::Unknown),
            warn: count(Verdict::Warn),
            bad: count(Verdict::Bad),
            root: host.root.path.clone(),
            checks,
        }
    }
}
