//! What recording takes, beside plain writes of the same bytes to the same file system:
//! `cargo run --release -p memlane-benches --bin recording -- [DIRECTORY [PART]]`.
//!
//! | part | here | beside it |
//! |---|---|---|
//! | flat out | a publisher on one core, its recorder on another, in batches | `pwrite` of as many bytes, 256 KiB at a time, to a new file; and a subscriber that reads, in place of the recorder: what comes from core to core |
//! | durable | a batch is published, recorded and synced, again and again | `pwrite` of a batch and `fdatasync`, to a file that grows |
//! | latency | a publish each 10 µs, with a recorder on the other core | the same without one |
//! | opening | a journal of 10 GiB: finding an instant, going on to write | |
//! | slow reader | publisher and recorder with a backfilled subscriber that reads a tenth meanwhile, and the rest afterwards | the same without it |
//! | compressed | quotes of a feed, compressed, replayed; a publish while the recorder compresses | the same not compressed; a recorder that doesn't |
//! | replay | a subscriber that reads a journal out of the page cache, every byte | a plain walk over the mapped files, every byte |
//!
//! The two sides take turns, in short rounds. Prints medians, and of the ratios within a round also the 10th and 90th of a hundred. DIRECTORY is where the
//! journals lie, by default the one for temporary files.

#![forbid(unsafe_code)]

mod compressing;
mod opening;
mod replaying;

use memlane::journal::{RecorderOptions, SyncPolicy, Turn};
use memlane::{Bus, Publisher, Topic, Wait};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 15;
/// Bytes of the log in a round flat out.
const ROUND_BYTES: u64 = 512 << 20;
const BATCH_BYTES: usize = 256 << 10;
const SYNCS: usize = 200;
const RATE_EVERY: Duration = Duration::from_micros(10);
const PUBLISHES: usize = 50_000;

fn main() -> Result<()> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let disk = tempfile::tempdir_in(parent)?;
    let root = tempfile::tempdir_in("/dev/shm")?;
    let bus = Bus::builder("recording").root(root.path()).open()?;
    let place = Place { bus: &bus, disk: disk.path() };
    pin(0)?;
    let wanted = std::env::args().nth(2);
    let wants = |part: &str| wanted.as_deref().is_none_or(|wanted| wanted == part);
    if wants("flat-out") {
        flat_out(&place)?;
    }
    if wants("durable") {
        durable(&place)?;
    }
    if wants("latency") {
        println!("latency of a publish of 64 bytes, 100,000 a second, recorder on core 1");
        place.latencies()?;
    }
    if wants("opening") {
        println!("a journal of 10 GiB in 1,048,576 batches");
        opening::measure(disk.path())?;
    }
    if wants("replay") {
        println!("replay out of the page cache, on core 0");
        replaying::measure(&place)?;
    }
    if wants("compressed") {
        println!("4 Mi quotes of 64 bytes, on core 0, out of the page cache");
        compressing::measure(&place)?;
    }
    if wants("slow-reader") {
        println!(
            "a publisher on core 0, its recorder on core 1, and there too a backfilled subscriber at a tenth of the publisher's rate"
        );
        replaying::beside_a_slow_reader(&place)?;
    }
    Ok(())
}

fn flat_out(place: &Place<'_>) -> Result<()> {
    println!("flat out, messages of 64 bytes and of 1 KiB in batches of 64; publisher on core 0, recorder on core 1");
    for (bytes, sync) in [(64, None), (64, Some(100)), (1024, None), (1024, Some(100))] {
        let policy = sync.map_or(SyncPolicy::None, |ms| SyncPolicy::Interval(Duration::from_millis(ms)));
        let (mut rounds, mut readings) = (Rounds::default(), Rounds::default());
        for _ in 0..ROUNDS {
            let recorded = place.flat_out(bytes, policy)?;
            rounds.add(recorded, place.plain_writes(ROUND_BYTES)?);
            readings.add(recorded, place.flat_out_read(bytes)?);
        }
        let name = sync.map_or("none".to_owned(), |ms| format!("every {ms} ms"));
        let show = |time: Duration| format!("{:.2} GB/s", ROUND_BYTES as f64 / time.as_secs_f64() / 1e9);
        rounds.print(&format!("{bytes:>4} bytes, sync {name:<12}"), show);
        readings.print("           beside a subscriber that reads", show);
    }
    Ok(())
}

fn durable(place: &Place<'_>) -> Result<()> {
    println!("durable, each batch synced, beside a file that grows, and one that is reserved and then written");
    for messages in [1, 32, 512] {
        for reserved in [false, true] {
            let mut rounds = Rounds::default();
            for _ in 0..ROUNDS {
                let (recorded, bytes) = place.durable(messages)?;
                rounds.add(recorded, place.plain_syncs(bytes, reserved)?);
            }
            let beside = if reserved { "reserved" } else { "growing" };
            rounds.print(&format!("{messages:>4} messages of 64 bytes, beside {beside:<8}"), |time| {
                format!("{:.0} µs", time.as_secs_f64() * 1e6 / SYNCS as f64)
            });
        }
    }
    Ok(())
}

struct Place<'a> {
    bus: &'a Bus,
    disk: &'a Path,
}

impl Place<'_> {
    fn topic(&self, capacity: u64) -> Result<Topic> {
        let _ = self.bus.remove("t");
        Ok(self.bus.topic("t")?.capacity_bytes(capacity).prefault(true).create()?)
    }

    /// Runs `publish` while a recorder is at work on core 1, and returns how long it took until all was recorded.
    fn recorded(
        &self,
        topic: &Topic,
        sync: SyncPolicy,
        publish: impl FnOnce(&mut Publisher<[u8]>) -> Result<()>,
    ) -> Result<Duration> {
        let directory = self.disk.join("journal");
        let taken = self.recorded_in(&directory, topic, sync, publish);
        std::fs::remove_dir_all(&directory)?;
        taken
    }

    fn recorded_in(
        &self,
        directory: &Path,
        topic: &Topic,
        sync: SyncPolicy,
        publish: impl FnOnce(&mut Publisher<[u8]>) -> Result<()>,
    ) -> Result<Duration> {
        let _ = std::fs::remove_dir_all(directory);
        let options = RecorderOptions { sync, segment_bytes: 2 << 30, ..RecorderOptions::default() };
        let (mut recorder, _) = topic.record(directory, options)?;
        let mut publisher = topic.publisher::<[u8]>().wait(Wait::BusySpin).open()?;
        let (stop, ready) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| -> Result<Duration> {
            let recording = scope.spawn(|| -> Result<Instant> {
                pin(1)?;
                ready.store(true, Ordering::Release);
                // What `run` does, but for the sync at its end.
                loop {
                    let stops = stop.load(Ordering::Acquire);
                    match recorder.turn()? {
                        Turn::Recorded => {}
                        Turn::Idle if stops => return Ok(Instant::now()),
                        Turn::Idle => std::thread::sleep(Duration::from_micros(50)),
                        other => return Err(format!("{other:?}").into()),
                    }
                }
            });
            while !ready.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            let start = Instant::now();
            publish(&mut publisher)?;
            stop.store(true, Ordering::Release);
            let end = recording.join().map_err(|_| "the recorder panicked")??;
            Ok(end - start)
        })
    }

    fn flat_out(&self, bytes: usize, sync: SyncPolicy) -> Result<Duration> {
        let topic = self.topic(4 << 20)?;
        let messages = ROUND_BYTES / (8 + bytes as u64).next_multiple_of(64);
        self.recorded(&topic, sync, |publisher| publish(publisher, bytes, messages, None))
    }

    /// The same with a subscriber on core 1 that reads every word, and does no more.
    fn flat_out_read(&self, bytes: usize) -> Result<Duration> {
        let topic = self.topic(4 << 20)?;
        let mut publisher = topic.publisher::<[u8]>().wait(Wait::BusySpin).open()?;
        let mut subscriber = topic.subscriber::<[u8]>().open()?;
        let messages = ROUND_BYTES / (8 + bytes as u64).next_multiple_of(64) / 64 * 64;
        let ready = AtomicBool::new(false);
        std::thread::scope(|scope| -> Result<Duration> {
            let reading = scope.spawn(|| -> Result<Instant> {
                pin(1)?;
                ready.store(true, Ordering::Release);
                let (mut read, mut sum) = (0, 0_u64);
                while read < messages {
                    let taken = subscriber.receive_batch(8192, |message| {
                        let Ok(message) = message else { return };
                        sum += message.view.iter().step_by(8).map(|byte| u64::from(*byte)).sum::<u64>();
                    })?;
                    read += taken as u64;
                    if taken == 0 {
                        std::thread::sleep(Duration::from_micros(50));
                    }
                }
                assert_eq!(sum, messages * bytes as u64 / 8 * 7);
                Ok(Instant::now())
            });
            while !ready.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            let start = Instant::now();
            publish(&mut publisher, bytes, messages, None)?;
            let end = reading.join().map_err(|_| "the subscriber panicked")??;
            Ok(end - start)
        })
    }

    fn plain_writes(&self, bytes: u64) -> Result<Duration> {
        let path = self.disk.join("plain");
        let file = File::create(&path)?;
        let buffer = vec![7; BATCH_BYTES];
        let start = Instant::now();
        for at in (0..bytes).step_by(BATCH_BYTES) {
            file.write_all_at(&buffer, at)?;
        }
        let taken = start.elapsed();
        std::fs::remove_file(path)?;
        Ok(taken)
    }

    /// How long it takes to publish, record and sync a batch of `messages`, again and again, on one core; and the bytes of a batch.
    fn durable(&self, messages: usize) -> Result<(Duration, usize)> {
        let topic = self.topic(4 << 20)?;
        let directory = self.disk.join("journal");
        let options =
            RecorderOptions { sync: SyncPolicy::Batch, segment_bytes: 64 << 20, ..RecorderOptions::default() };
        let (mut recorder, _) = topic.record(&directory, options)?;
        let mut publisher = topic.publisher::<[u8]>().open()?;
        let payload = [7_u8; 64];
        let payloads = vec![&payload[..]; messages];
        let start = Instant::now();
        for _ in 0..SYNCS {
            publisher.publish_batch(&payloads)?;
            recorder.turn()?;
        }
        let taken = start.elapsed();
        let bytes = recorder.synced() as usize / SYNCS;
        assert_eq!(recorder.messages(), (SYNCS * messages) as u64, "each batch was recorded");
        std::fs::remove_dir_all(&directory)?;
        Ok((taken, bytes))
    }

    fn plain_syncs(&self, bytes: usize, reserved: bool) -> Result<Duration> {
        let path = self.disk.join("plain");
        let file = File::create(&path)?;
        if reserved {
            nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, 64 << 20)?;
        }
        file.sync_all()?;
        let buffer = vec![7; bytes];
        let start = Instant::now();
        for index in 0..SYNCS {
            file.write_all_at(&buffer, (index * bytes) as u64)?;
            file.sync_data()?;
        }
        let taken = start.elapsed();
        std::fs::remove_file(path)?;
        Ok(taken)
    }

    fn latencies(&self) -> Result<()> {
        let topic = self.topic(16 << 20)?;
        let (mut p50, mut p99) = (Vec::new(), Vec::new());
        let (mut with_ns, mut without_ns) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut with = Vec::new();
            self.recorded(&topic, SyncPolicy::None, |publisher| {
                with = publishes(publisher)?;
                Ok(())
            })?;
            let without = publishes(&mut topic.publisher::<[u8]>().open()?)?;
            p50.push(at(&with, 50) / at(&without, 50));
            p99.push(at(&with, 99) / at(&without, 99));
            with_ns.push((at(&with, 50), at(&with, 99)));
            without_ns.push((at(&without, 50), at(&without, 99)));
        }
        let middle = |all: &mut Vec<(f64, f64)>, pick: fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = all.iter().map(pick).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        for (name, ratios, pick) in
            [("p50", &mut p50, (|pair| pair.0) as fn(&(f64, f64)) -> f64), ("p99", &mut p99, |pair| pair.1)]
        {
            ratios.sort_by(f64::total_cmp);
            println!(
                "  {name}: {:.0} ns with, {:.0} ns without; ratio {:.2} ({:.2} to {:.2})",
                middle(&mut with_ns, pick),
                middle(&mut without_ns, pick),
                ratios[ratios.len() / 2],
                ratios[ratios.len() / 10],
                ratios[ratios.len() * 9 / 10],
            );
        }
        Ok(())
    }
}

/// Publishes messages of `bytes` bytes, in batches of 64, flat out or one batch each so long.
fn publish(publisher: &mut Publisher<[u8]>, bytes: usize, messages: u64, every: Option<Duration>) -> Result<()> {
    let mut next = Instant::now();
    let payload = vec![7_u8; bytes];
    let payloads = vec![&payload[..]; 64];
    for _ in 0..messages / 64 {
        if let Some(every) = every {
            next += every;
            while Instant::now() < next {
                std::hint::spin_loop();
            }
        }
        let mut rest = &payloads[..];
        while !rest.is_empty() {
            match publisher.publish_batch(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.is_full() => std::hint::spin_loop(),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// How long each of some publishes took, in nanoseconds, sorted.
fn publishes(publisher: &mut Publisher<[u8]>) -> Result<Vec<f64>> {
    let mut taken = Vec::with_capacity(PUBLISHES);
    let mut next = Instant::now();
    for _ in 0..PUBLISHES {
        while Instant::now() < next {
            std::hint::spin_loop();
        }
        let start = Instant::now();
        publisher.publish(&[7; 64])?;
        taken.push(start.elapsed().as_nanos() as f64);
        next += RATE_EVERY;
    }
    taken.sort_by(f64::total_cmp);
    Ok(taken)
}

fn at(sorted: &[f64], percent: usize) -> f64 {
    sorted[sorted.len() * percent / 100]
}

/// Pairs of times, ours and the one beside it.
#[derive(Default)]
struct Rounds(Vec<(Duration, Duration)>);

impl Rounds {
    fn add(&mut self, ours: Duration, beside: Duration) {
        self.0.push((ours, beside));
    }

    /// Prints the ratio of rates, so that more is better.
    fn print(&self, name: &str, show: impl Fn(Duration) -> String) {
        let mut ratios: Vec<f64> =
            self.0.iter().map(|(ours, beside)| beside.as_secs_f64() / ours.as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        let median = |pick: fn(&(Duration, Duration)) -> Duration| {
            let mut times: Vec<Duration> = self.0.iter().map(pick).collect();
            times.sort_unstable();
            times[times.len() / 2]
        };
        println!(
            "  {name}: {} here, {} beside; ratio {:.2} ({:.2} to {:.2})",
            show(median(|pair| pair.0)),
            show(median(|pair| pair.1)),
            ratios[ratios.len() / 2],
            ratios[ratios.len() / 10],
            ratios[ratios.len() * 9 / 10],
        );
    }
}

fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}
