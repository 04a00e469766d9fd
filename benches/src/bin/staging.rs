//! Where loans are better built in place than staged and copied: round trips of loans that are written and read whole, by turns
//! staged and in place, for each size. Two pinned threads; prints the median time of one way and the ratio of the two.
//!
//! `cargo run --release -p memlane-benches --bin staging`

#![forbid(unsafe_code)]

use memlane::{Bus, Publisher, Subscriber, Wait};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Bytes of the loans.
const SIZES: [usize; 10] = [48, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
/// Round trips of one batch.
const TRIPS: u32 = 500;
/// Batches of each way and size.
const BATCHES: usize = 120;
const PATIENCE: Duration = Duration::from_secs(20);

/// One end of a conversation: a publisher for each way, on a topic of its own, and the subscribers of what comes back.
struct End {
    publishers: [Publisher<[u8]>; 2],
    subscribers: [Subscriber<[u8]>; 2],
}

impl End {
    fn open(bus: &Bus, says: &str, hears: &str) -> anyhow::Result<Self> {
        let topic = |name: &str, way: usize| {
            let topic = bus.topic(&format!("{name}.{way}"))?;
            anyhow::Ok(topic.open_or_create()?)
        };
        let publisher = |way: usize| {
            let bytes_max = if way == 0 { SIZES[SIZES.len() - 1] } else { 0 };
            anyhow::Ok(topic(says, way)?.publisher().stage_up_to(bytes_max).open()?)
        };
        let subscriber = |way| anyhow::Ok(topic(hears, way)?.subscriber().wait(Wait::BusySpin).open()?);
        Ok(Self { publishers: [publisher(0)?, publisher(1)?], subscribers: [subscriber(0)?, subscriber(1)?] })
    }

    fn say(&mut self, way: usize, bytes: usize, word: u64) -> anyhow::Result<()> {
        let mut loan = self.publishers[way].loan(bytes)?;
        loan.payload().as_chunks_mut::<8>().0.fill(word.to_le_bytes());
        loan.publish(bytes)?;
        Ok(())
    }

    fn hear(&mut self, way: usize) -> anyhow::Result<u64> {
        let sample = self.subscribers[way].receive_within(PATIENCE)?;
        let sample = sample.ok_or_else(|| anyhow::anyhow!("the other thread doesn't answer"))?;
        Ok(sample.as_chunks::<8>().0.iter().fold(0, |sum, word| sum ^ u64::from_le_bytes(*word)))
    }
}

fn pin(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}

/// The batches, as both threads go through them.
fn batches() -> impl Iterator<Item = (usize, usize)> {
    (0..SIZES.len()).flat_map(|size| (0..2 * BATCHES).map(move |batch| (size, batch % 2)))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> anyhow::Result<()> {
    let root = std::path::Path::new("/dev/shm").join(format!("memlane-staging-{}", std::process::id()));
    std::fs::create_dir(&root)?;
    let outcome = measure(&root);
    std::fs::remove_dir_all(&root)?;
    outcome
}

fn measure(root: &std::path::Path) -> anyhow::Result<()> {
    let bus = Bus::builder("staging").root(root).open()?;
    let mut here = End::open(&bus, "forth", "back")?;
    let mut there = End::open(&bus, "back", "forth")?;
    let answers = std::thread::spawn(move || -> anyhow::Result<()> {
        pin(1)?;
        for (size, way) in batches() {
            for _ in 0..TRIPS {
                let word = there.hear(way)?;
                there.say(way, SIZES[size], word)?;
            }
        }
        Ok(())
    });
    pin(0)?;
    let mut times = vec![[const { Vec::new() }; 2]; SIZES.len()];
    for (size, way) in batches() {
        let start = Instant::now();
        for word in 0..TRIPS {
            here.say(way, SIZES[size], word.into())?;
            black_box(here.hear(way)?);
        }
        times[size][way].push(start.elapsed().as_nanos() as f64 / f64::from(2 * TRIPS));
    }
    answers.join().map_err(|_| anyhow::anyhow!("the other thread panicked"))??;
    println!("| bytes | staged, ns | in place, ns | staged to in place |\n|---|---|---|---|");
    for (bytes, [staged, in_place]) in SIZES.into_iter().zip(times) {
        let ratios = staged.iter().zip(&in_place).map(|(staged, in_place)| staged / in_place).collect();
        let ratio = median(ratios);
        println!("| {bytes} | {:.0} | {:.0} | {ratio:.2} |", median(staged), median(in_place));
    }
    Ok(())
}
