//! What a bridge takes, beside bare quinn with the same settings and certificates:
//! `cargo run --release -p memlane-benches --bin bridge -- [PART]`.
//!
//! | part | here | beside it |
//! |---|---|---|
//! | bulk-64, bulk-1024 | a topic of messages of so many bytes that one node has, until another one has it | as many bytes out of memory on one stream, in chunks of 64 KiB, read and dropped |
//! | parking, polling | a message of 64 bytes from a topic over the bridge to a topic, and back, by tasks on the nodes' own threads | 64 bytes on a stream, and back |
//!
//! Each node is a process with one thread for its bridge: the sender's on core 0, the receiver's on core 1. The two sides take turns; medians, and of the ratios within a round
//! also the lowest and the highest.

#![forbid(unsafe_code)]

mod bare;
mod node;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 9;
/// Bytes of messages in a round of bulk.
const BULK_BYTES: u64 = 512 << 20;
/// Round trips in a round.
const TRIPS: usize = 5_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, rest @ ..] = &arguments[..]
        && let Some(role) = role.strip_prefix("child-")
    {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        // For profilers.
        nix::sys::prctl::set_name(&std::ffi::CString::new(role)?)?;
        return child(role, rest);
    }
    let place = tempfile::tempdir_in("/dev/shm")?;
    node::make_certificates(place.path())?;
    let wants = |part: &str| arguments.first().is_none_or(|wanted| wanted == part);
    for bytes in [64, 1024] {
        if wants(&format!("bulk-{bytes}")) {
            bulk(place.path(), bytes)?;
        }
    }
    for mode in ["parking", "polling"] {
        if wants(mode) {
            trips(place.path(), mode)?;
        }
    }
    Ok(())
}

fn child(role: &str, rest: &[String]) -> Result<()> {
    let [place, core, mode, rest @ ..] = rest else { return Err("a child has a place, a core and a mode".into()) };
    pin(core.parse()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let place = Path::new(place);
    let is_polling = mode == "polling";
    runtime.block_on(async {
        if is_polling {
            tokio::spawn(async {
                loop {
                    tokio::task::yield_now().await;
                }
            });
        }
        match role {
            "serve" => bare::serve(place).await,
            "send" => bare::send(place, &rest[0], rest[1].parse()?).await,
            "ping" => bare::ping(place, &rest[0], rest[1].parse()?).await,
            "has" => node::has(place, rest[0].parse()?, rest[1].parse()?).await,
            "gets" => node::gets(place, &rest[0], rest[1].parse()?).await,
            "echoes" => node::echoes(place, is_polling).await,
            "pings" => node::pings(place, is_polling, &rest[0], rest[1].parse()?).await,
            other => Err(format!("there is no role {other}").into()),
        }
    })
}

fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// A process of this program, and what it says, line by line.
struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Process {
    fn begin(place: &Path, role: &str, core: usize, mode: &str, rest: &[String]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(format!("child-{role}")).arg(place).arg(core.to_string()).arg(mode).args(rest);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().ok_or("its output is piped")?;
        Ok(Self { child, lines: BufReader::new(out).lines() })
    }

    fn line(&mut self) -> Result<String> {
        Ok(self.lines.next().ok_or("a child has ended early")??)
    }

    fn numbers(&mut self) -> Result<Vec<f64>> {
        Ok(self.line()?.split(' ').map(str::parse).collect::<std::result::Result<_, _>>()?)
    }
}

impl Process {
    /// What it has used of processors so far, in nanoseconds.
    fn used_ns(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // Behind the name, which may have blanks: state is the first, user and system time the 12th and 13th.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(ticks * 1e7)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bulk(place: &Path, bytes: u64) -> Result<()> {
    println!("bulk, messages of {bytes} bytes, {} MiB a round", BULK_BYTES >> 20);
    let count = BULK_BYTES / bytes;
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    // What sender and receiver used of their processors, for each message.
    let mut used: [(Vec<f64>, Vec<f64>); 2] = Default::default();
    for _ in 0..ROUNDS {
        let mut serving = Process::begin(place, "serve", 1, "parking", &[])?;
        let address = serving.line()?;
        let mut sending = Process::begin(place, "send", 0, "parking", &[address, BULK_BYTES.to_string()])?;
        sending.line()?;
        let before = sending.used_ns()?;
        bare.push(BULK_BYTES as f64 / serving.numbers()?[0]);
        sending.line()?;
        used[0].1.push((sending.used_ns()? - before) / count as f64);
        used[1].1.push(serving.used_ns()? / count as f64);
        drop((serving, sending));
        let has = [bytes.to_string(), count.to_string()];
        let mut sending = Process::begin(place, "has", 0, "parking", &has)?;
        let address = sending.line()?;
        let mut getting = Process::begin(place, "gets", 1, "parking", &[address, count.to_string()])?;
        getting.line()?;
        let before = (sending.used_ns()?, getting.used_ns()?);
        ours.push(BULK_BYTES as f64 / getting.numbers()?[0]);
        used[0].0.push((sending.used_ns()? - before.0) / count as f64);
        used[1].0.push((getting.used_ns()? - before.1) / count as f64);
    }
    report("MB/s", 1e3, &ours, &bare);
    for (name, (ours, bare)) in ["sender", "receiver"].iter().zip(&used) {
        print!("processor time of the {name}, for each message:");
        report("ns", 1.0, ours, bare);
    }
    Ok(())
}

fn trips(place: &Path, mode: &str) -> Result<()> {
    println!("one way of 64 bytes by round trips, {mode}");
    let mut rounds: [(Vec<f64>, Vec<f64>); 2] = Default::default();
    for _ in 0..ROUNDS {
        let mut serving = Process::begin(place, "serve", 1, mode, &[])?;
        let address = serving.line()?;
        let bare = Process::begin(place, "ping", 0, mode, &[address, TRIPS.to_string()])?.numbers()?;
        drop(serving);
        let mut echoing = Process::begin(place, "echoes", 1, mode, &[])?;
        let address = echoing.line()?;
        let ours = Process::begin(place, "pings", 0, mode, &[address, TRIPS.to_string()])?.numbers()?;
        for (number, (its, beside)) in rounds.iter_mut().enumerate() {
            its.push(ours[number]);
            beside.push(bare[number]);
        }
    }
    for (name, (ours, bare)) in ["p50", "p99"].iter().zip(&rounds) {
        print!("{name}  ");
        report("µs", 1e-3, ours, bare);
    }
    Ok(())
}

fn report(unit: &str, scale: f64, ours: &[f64], bare: &[f64]) {
    let ratios: Vec<f64> = ours.iter().zip(bare).map(|(ours, bare)| ours / bare).collect();
    let (low, high) = ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), ratio| (low.min(*ratio), high.max(*ratio)));
    println!(
        "  bridge {:.1} {unit}, bare quinn {:.1} {unit}: ratio {:.2} ({low:.2} to {high:.2})",
        median(ours) * scale,
        median(bare) * scale,
        median(&ratios)
    );
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Prints a line, at once.
fn say(line: &str) {
    use std::io::Write;
    println!("{line}");
    let _ = std::io::stdout().flush();
}

/// The median and the 99th of a hundred of what trips took, halved, in nanoseconds.
fn say_trips(mut nanoseconds: Vec<f64>) {
    nanoseconds.sort_by(f64::total_cmp);
    let at = |hundredth: usize| nanoseconds[nanoseconds.len() * hundredth / 100] / 2.0;
    say(&format!("{} {}", at(50), at(99)));
}
