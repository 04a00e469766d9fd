//! `memlane bench`: memlane beside the limits of this machine, measured in the same minute.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::ending::{Ending, complain};
use super::output::Output;
use super::progress;
use super::signals::Signals;
use super::units;
use crate::bench::machine::PeerCommand;
use crate::bench::suite::{self, Bench as Which, Task};

/// The hidden subcommand that the other process is started with.
pub(super) const PEER: &str = "bench-peer";

const AFTER_HELP: &str = "\
Two processes, each pinned to a core of its own, run memlane and the machine's limits in short alternating batches. A
raw handoff before and after each batch tells whether the two cores were near each other (sharing a cache) or far; what
is mixed or disturbed is dropped. Figures are medians over batches, ratios are to what ran beside them in the same round.
Close other programs first.

Examples:
  memlane bench latency                           48 and 64 bytes, beside a raw cache-line handoff
  memlane bench latency --rate 1e6 --plot a.svg   at a fixed rate, from when each message was due
  memlane bench throughput --payload 1024 --json
  memlane bench publishers --payload 64 --batch 64 --json
  memlane bench fanout --seconds 30";

/// What is said when they are in.
const CRASH_POINTS_NOTE: &str = "this build has the crash points of the tests in it, which slow every message down: \
    measure with `cargo run --release -- bench ...`, which builds the command alone";

/// Measure memlane beside the limits of this machine
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// One-way latency, beside a raw cache-line handoff
    Latency {
        #[command(flatten)]
        common: Common,
        /// Send so many messages a second, and count from when each was due
        #[arg(long, value_name = "N", value_parser = parse_rate)]
        rate: Option<f64>,
        /// Publish N messages together, answered together; a time is then that of all N [default: 1]
        #[arg(long, value_name = "N", value_parser = parse_batch)]
        batch: Option<u32>,
    },
    /// Messages one way, one by one and in batches, beside a raw ring
    Throughput {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        batches: Batches,
    },
    /// What a publish costs with 0, 1, 8 and 64 subscribers, and with 64 that sleep
    Fanout {
        #[command(flatten)]
        common: Common,
        /// Publish N messages together; the time is of one all the same [default: 1]
        #[arg(long, value_name = "N", value_parser = parse_batch)]
        batch: Option<u32>,
    },
    /// Topics for many publishers: with one active beside a raw ring, and with two at once
    Publishers {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        batches: Batches,
    },
    /// Waking up a blocked subscriber, beside a bare futex
    Wake {
        #[command(flatten)]
        common: Common,
        /// Only 1: it is one message that wakes
        #[arg(long, value_name = "N", value_parser = parse_batch)]
        batch: Option<u32>,
    },
    /// One busy topic among 1 to 1,000 idle ones, waited for together, beside one topic alone
    Topics {
        #[command(flatten)]
        common: Common,
    },
    /// A task that waits for a message, beside a blocked thread
    Async {
        #[command(flatten)]
        common: Common,
    },
    /// A call and its reply, beside a message there and one back
    Request {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// Bytes of a payload, 8 to 1 MiB [default: the usual ones of each measurement]
    #[arg(long, value_name = "BYTES", value_parser = units::parse_bytes)]
    payload: Option<u64>,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10", value_parser = units::parse_duration)]
    seconds: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Draw into this SVG file: percentile curves of latencies, or bars of rates and costs
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Batches {
    /// Messages in a batch, which the figures at the top are then of; 1 leaves batches out [default: one by one at the
    /// top, and batches of 64 beside]
    #[arg(long, value_name = "N", value_parser = parse_batch)]
    batch: Option<u32>,
}

fn parse_batch(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(batch) if (1..=4096).contains(&batch) => Ok(batch),
        _ => Err("a batch has 1 to 4096 messages".to_owned()),
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (1.0..=1e9).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number of messages a second, from 1 to 1e9".to_owned()),
    }
}

impl What {
    fn task(&self) -> (Task, &Common) {
        let (bench, common, batch, rate) = match self {
            Self::Latency { common, rate, batch } => (Which::Latency, common, *batch, *rate),
            Self::Throughput { common, batches } => (Which::Throughput, common, batches.batch, None),
            Self::Fanout { common, batch } => (Which::Fanout, common, *batch, None),
            Self::Publishers { common, batches } => (Which::Publishers, common, batches.batch, None),
            Self::Wake { common, batch } => (Which::Wake, common, *batch, None),
            Self::Topics { common } => (Which::Topics, common, None, None),
            Self::Async { common } => (Which::Async, common, None, None),
            Self::Request { common } => (Which::Request, common, None, None),
        };
        let payload = common.payload.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        (Task { bench, payload, batch: batch.map(|batch| batch as usize), rate }, common)
    }
}

impl Bench {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        let (task, common) = self.what.task();
        task.check()?;
        // A build turns a feature on for all who share a crate, so beside the tests of the workspace the command has it too.
        let is_armed = memlane_shm::crash::IS_COMPILED_IN;
        if is_armed {
            complain(CRASH_POINTS_NOTE);
        }
        let signals = Signals::watch()?;
        let bar = progress::bar(Some(u64::try_from(common.seconds.as_millis())?.max(1)));
        let mut on_round = |elapsed: Duration| {
            bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
            if signals.stop().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let peer = |directory: &Path| peer_command(&task, directory);
        let report = suite::measure(&task, common.seconds, peer, &mut on_round);
        bar.finish_and_clear();
        let mut report = report?;
        if is_armed {
            report.notes.push(CRASH_POINTS_NOTE.to_owned());
        }
        let mut output = Output::stdout()?;
        if common.json {
            output.line(&report.json()?)?;
        } else {
            output.bytes(report.to_string().as_bytes())?;
        }
        output.flush()?;
        if let Some(path) = &common.plot {
            std::fs::write(path, report.svg()).with_context(|| format!("can't write {}", path.display()))?;
        }
        Ok(signals.stop().map_or(Ending::Done, Ending::Stopped))
    }
}

fn peer_command(task: &Task, directory: &Path) -> anyhow::Result<PeerCommand> {
    let task = serde_json::to_string(task)?;
    Ok(PeerCommand { arguments: vec![PEER.into(), directory.into(), task.into()], environment: Vec::new() })
}

/// The other process of a measurement
#[derive(Debug, Args)]
pub(super) struct Peer {
    directory: PathBuf,
    task: String,
}

impl Peer {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        // ^C in a terminal goes to this process too; when to end says the one that measures.
        let _signals = Signals::watch_patiently()?;
        let task: Task = serde_json::from_str(&self.task).context("the task can't be read")?;
        suite::follow(&task, &self.directory)?;
        Ok(Ending::Done)
    }
}
