//! How long it takes until a process can publish and receive: opening a bus and a topic that are there, and both ends.
//!
//! Once in each of many processes, which is how it happens, and over and over within one, where the kernel has what it
//! needs at hand; with the whole ring touched when it is mapped, which is the default, and without. Prints the median of
//! each part; `cargo bench -p memlane-benches --bench opening` takes some seconds.

#![forbid(unsafe_code)]

use memlane::Bus;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const PARTS: [&str; 4] = ["open the bus", "open the topic", "attach a publisher", "attach a gated subscriber"];
/// Asks for one round; the bus's root follows, and whether to prefault.
const ONE_ROUND: &str = "--one-round-in";
const PROCESSES: usize = 200;
const ROUNDS: usize = 1_000;
const TOPICS: usize = 1_000;

/// Nanoseconds of each part.
type Round = [u64; PARTS.len()];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, root, prefault] = &arguments[..]
        && flag == ONE_ROUND
    {
        let times = round(Path::new(root), prefault.parse()?)?;
        println!("{}", times.map(|time| time.to_string()).join(" "));
        return Ok(());
    }
    // What `cargo bench -- --test` asks for: that it runs at all.
    let is_test = arguments.iter().any(|argument| argument == "--test");
    let (processes, rounds) = if is_test { (2, 2) } else { (PROCESSES, ROUNDS) };
    let root = tempfile::tempdir_in("/dev/shm")?;
    bus(root.path())?.topic("t")?.create()?;
    let mut columns = Vec::new();
    for prefault in [true, false] {
        columns.push((0..processes).map(|_| round_elsewhere(root.path(), prefault)).collect::<Result<Vec<_>, _>>()?);
        columns.push((0..rounds).map(|_| round(root.path(), prefault)).collect::<Result<Vec<_>, _>>()?);
    }
    print(&columns);
    list_many(root.path(), rounds)
}

/// How long it takes to open a bus with many topics and to list them, and to open each of them too.
fn list_many(root: &Path, rounds: usize) -> Result<(), Box<dyn Error>> {
    let bus = Bus::builder("many").root(root).open()?;
    for index in 0..TOPICS {
        bus.topic(&format!("t.{index}"))?.capacity_bytes(4096).subscribers_max(8).prefault(false).create()?;
    }
    let (mut listed, mut opened) = (Vec::new(), Vec::new());
    for _ in 0..rounds.min(100) {
        let start = Instant::now();
        let bus = Bus::builder("many").root(root).open()?;
        let names = bus.topics()?;
        listed.push(start.elapsed().as_nanos() as u64);
        assert_eq!(names.len(), TOPICS);
        for name in &names {
            bus.topic(name)?.open()?;
        }
        opened.push(start.elapsed().as_nanos() as u64);
    }
    let median = |times: &mut Vec<u64>| {
        times.sort_unstable();
        times[times.len() / 2] as f64 / 1e6
    };
    println!("\nA bus with {TOPICS} topics, opened and listed: {:.2} ms", median(&mut listed));
    println!("the same, and each topic opened: {:.2} ms", median(&mut opened));
    Ok(())
}

fn bus(root: &Path) -> Result<Bus, memlane::BusError> {
    Bus::builder("opening").root(root).open()
}

/// Opens everything once, and closes it.
fn round(root: &Path, prefault: bool) -> Result<Round, Box<dyn Error>> {
    let mut times = [0; PARTS.len()];
    let mut start = Instant::now();
    let mut lap = |part: usize| {
        let end = Instant::now();
        times[part] = (end - start).as_nanos() as u64;
        start = Instant::now();
    };
    let bus = bus(root)?;
    lap(0);
    let topic = bus.topic("t")?.prefault(prefault).open()?;
    lap(1);
    let mut publisher = topic.publisher::<[u8]>().open()?;
    lap(2);
    let mut subscriber = topic.subscriber::<[u8]>().open()?;
    lap(3);
    publisher.publish(b"x")?;
    assert_eq!(&*subscriber.try_receive()?.expect("it was just published"), b"x");
    Ok(times)
}

/// A round in a process of its own.
fn round_elsewhere(root: &Path, prefault: bool) -> Result<Round, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.arg(ONE_ROUND).arg(root).arg(prefault.to_string()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let times = text.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    times.try_into().map_err(|_| format!("a process failed: {}", String::from_utf8_lossy(&output.stderr)).into())
}

fn print(columns: &[Vec<Round>]) {
    println!("Medians in microseconds, first in a process and again within one, with prefault and without:\n");
    println!("| part | first | again | first, no prefault | again, no prefault |\n|---|---|---|---|---|");
    for (part, name) in PARTS.iter().enumerate() {
        print_row(name, columns, |round| round[part]);
    }
    print_row("all", columns, |round| round.iter().sum());
}

fn print_row(name: &str, columns: &[Vec<Round>], of: impl Fn(&Round) -> u64) {
    let medians: Vec<String> = columns.iter().map(|rounds| format!("{:.1}", median_us(rounds, &of))).collect();
    println!("| {name} | {} |", medians.join(" | "));
}

fn median_us(rounds: &[Round], of: impl Fn(&Round) -> u64) -> f64 {
    let mut times: Vec<u64> = rounds.iter().map(of).collect();
    times.sort_unstable();
    times[times.len() / 2] as f64 / 1e3
}
