//! What named segments cost against files: to make a topic, to open it with a publisher and a gated subscriber, and a round trip of 64 bytes
//! between two pinned threads. By turns; prints medians, and that of the ratios.
//!
//! `cargo run --release -p memlane-benches --bin backing`

#![forbid(unsafe_code)]

use memlane::{Backing, Bus, Publisher, Subscriber, Topic, Wait};
use memlane_shm::named;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::path::Path;
use std::time::{Duration, Instant};

/// Round trips of one batch.
const TRIPS: u32 = 500;
/// Batches of each backing. Each is on topics of its own, so that none depends on where its memory happens to lie.
const BATCHES: usize = 200;
const PATIENCE: Duration = Duration::from_secs(20);

fn pin(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

type Ends = (Publisher<[u8]>, Subscriber<[u8]>);

fn ends(says: &Topic, hears: &Topic) -> anyhow::Result<Ends> {
    Ok((says.publisher().open()?, hears.subscriber().wait(Wait::BusySpin).open()?))
}

fn hear(subscriber: &mut Subscriber<[u8]>) -> anyhow::Result<()> {
    let sample = subscriber.receive_within(PATIENCE)?;
    anyhow::ensure!(sample.is_some_and(|sample| sample.len() == 64), "the other thread doesn't answer");
    Ok(())
}

/// Microseconds to make a topic and to open it, nanoseconds of one way of a round trip.
fn batch(bus: &Bus) -> anyhow::Result<[f64; 3]> {
    let start = Instant::now();
    bus.topic("forth")?.create()?;
    let made = start.elapsed();
    bus.topic("back")?.create()?;
    let start = Instant::now();
    let topic = bus.topic("forth")?.open()?;
    drop(ends(&topic, &topic)?);
    let opened = start.elapsed();
    let (forth, back) = (bus.topic("forth")?.open()?, bus.topic("back")?.open()?);
    let (mut here, mut there) = (ends(&forth, &back)?, ends(&back, &forth)?);
    let answers = std::thread::spawn(move || -> anyhow::Result<()> {
        pin(1)?;
        for _ in 0..2 * TRIPS {
            hear(&mut there.1)?;
            there.0.publish(&[2; 64])?;
        }
        Ok(())
    });
    let mut one_way = 0.0;
    // The first half warms up.
    for _ in 0..2 {
        let start = Instant::now();
        for _ in 0..TRIPS {
            here.0.publish(&[1; 64])?;
            hear(&mut here.1)?;
        }
        one_way = start.elapsed().as_nanos() as f64 / f64::from(2 * TRIPS);
    }
    answers.join().map_err(|_| anyhow::anyhow!("the other thread panicked"))??;
    bus.remove("forth")?;
    bus.remove("back")?;
    Ok([made.as_nanos() as f64 / 1e3, opened.as_nanos() as f64 / 1e3, one_way])
}

fn measure(root: &Path) -> anyhow::Result<()> {
    let bus = |name, backing| Bus::builder(name).root(root).backing(backing).open();
    let buses = [bus("file", Backing::File)?, bus("named", Backing::Named)?];
    pin(0)?;
    let mut found = [const { Vec::new() }; 2];
    for _ in 0..BATCHES {
        for (bus, found) in buses.iter().zip(&mut found) {
            found.push(batch(bus)?);
        }
    }
    println!("| | files | named | named to files |\n|---|---|---|---|");
    for (at, what) in
        ["make a topic of 4 MiB, µs", "open and attach both, µs", "one way, 64 bytes, ns"].iter().enumerate()
    {
        let times = found.each_ref().map(|batches| batches.iter().map(|batch| batch[at]).collect::<Vec<_>>());
        let ratio = median(times[0].iter().zip(&times[1]).map(|(file, named)| named / file).collect());
        let [file, named] = times.map(median);
        println!("| {what} | {file:.0} | {named:.0} | {ratio:.2} |");
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let root = Path::new("/dev/shm").join(format!("memlane-backing-{}", std::process::id()));
    std::fs::create_dir(&root)?;
    let outcome = measure(&root);
    named::remove_directory(&root)?;
    outcome
}
