//! What compression takes and gives: quotes as a feed has them, replayed out of a journal as it was recorded and out of a compressed one; and a publisher whose recorder
//! compresses meanwhile, beside one whose recorder doesn't.

use crate::replaying::{in_batches, replay};
use crate::{Place, ROUNDS, Result, Rounds, at, pin, publishes};
use memlane::journal::{Compressed, Compression, Disk, Journal, RecorderOptions, SyncPolicy};
use memlane::{Publisher, Topic};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const QUOTES: u64 = 4 << 20;
const SYMBOLS: u64 = 500;

pub(crate) fn measure(place: &Place<'_>) -> Result<()> {
    let topic = place.topic(4 << 20)?;
    let (plain, compressed) = (place.disk.join("plain"), place.disk.join("compressed"));
    let options = RecorderOptions { sync: SyncPolicy::None, segment_bytes: 64 << 20, ..RecorderOptions::default() };
    beside(&topic, &plain, options, quotes)?;
    for level in [1, 3, 9] {
        let _ = std::fs::remove_dir_all(&compressed);
        copy(&plain, &compressed)?;
        let journal = Journal::open(Arc::new(Disk), &compressed)?;
        let start = Instant::now();
        let Compressed { bytes_before, bytes_after, .. } = journal.compress(Compression { level })?;
        let mb_s = bytes_before as f64 / start.elapsed().as_secs_f64() / 1e6;
        println!("  level {level}: to {:.1} %, {mb_s:.0} MB/s", bytes_after as f64 / bytes_before as f64 * 100.0);
        let mut rounds = Rounds::default();
        for _ in 0..ROUNDS {
            let taken = |directory| replay(&topic, &Journal::open(Arc::new(Disk), directory)?, QUOTES, in_batches);
            rounds.add(taken(&compressed)?, taken(&plain)?);
        }
        rounds.print("    replayed, beside one as it was recorded", |time| {
            format!("{:.1} M/s", QUOTES as f64 / time.as_secs_f64() / 1e6)
        });
    }
    std::fs::remove_dir_all(&plain)?;
    std::fs::remove_dir_all(&compressed)?;
    println!(
        "  a publish of 64 bytes, 100,000 a second, with a recorder on core 1 that compresses there, beside one that doesn't"
    );
    latencies(place, options)
}

fn latencies(place: &Place<'_>, options: RecorderOptions) -> Result<()> {
    // So that some are closed in each round.
    let options = RecorderOptions { segment_bytes: 1 << 20, ..options };
    let compresses = RecorderOptions { compression: Some(Compression::default()), ..options };
    let topic = place.topic(16 << 20)?;
    let mut ratios = [50, 99].map(|percent| (percent, Vec::new()));
    for _ in 0..ROUNDS {
        let mut both = Vec::new();
        for options in [compresses, options] {
            let directory = place.disk.join("journal");
            let mut found = Vec::new();
            beside(&topic, &directory, options, |publisher| {
                found = publishes(publisher)?;
                Ok(())
            })?;
            std::fs::remove_dir_all(directory)?;
            both.push(found);
        }
        for (percent, ratios) in &mut ratios {
            ratios.push(at(&both[0], *percent) / at(&both[1], *percent));
        }
    }
    for (percent, ratios) in &mut ratios {
        ratios.sort_by(f64::total_cmp);
        let [low, middle, high] = [1, 5, 9].map(|tenth| ratios[ratios.len() * tenth / 10]);
        println!("    p{percent}: ratio {middle:.2} ({low:.2} to {high:.2})");
    }
    Ok(())
}

/// Runs `publish` while a recorder is at work on core 1, which ends when all is recorded.
fn beside(
    topic: &Topic,
    directory: &Path,
    options: RecorderOptions,
    publish: impl FnOnce(&mut Publisher<[u8]>) -> Result<()>,
) -> Result<()> {
    let (mut recorder, _) = topic.record(directory, options)?;
    let mut publisher = topic.publisher::<[u8]>().open()?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let recording = scope.spawn(|| {
            pin(1)?;
            recorder.run(&stop, |_, turn| println!("{turn:?}")).map_err(Into::into)
        });
        let published = publish(&mut publisher);
        stop.store(true, Ordering::Release);
        recording.join().map_err(|_| "the recorder panicked")?.and(published)
    })
}

/// Quotes of 64 bytes: number, time, symbol, bid and ask that walk, sizes of whole lots.
fn quotes(publisher: &mut Publisher<[u8]>) -> Result<()> {
    let mut random = 7_u64;
    let mut prices = vec![1_000_000_u64; SYMBOLS as usize];
    let mut unix_ns = 1_700_000_000_000_000_000_u64;
    for number in 0..QUOTES {
        // Xorshift64 (Marsaglia, 2003).
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let symbol = random % SYMBOLS;
        let price = &mut prices[symbol as usize];
        *price = price.saturating_add((random >> 20) % 5 * 100).saturating_sub(200);
        unix_ns += (random >> 30) % 20_000;
        let words = [
            number,
            unix_ns,
            symbol,
            *price,
            *price + 100 * (1 + (random >> 40) % 3),
            (random >> 45) % 10 * 100,
            (random >> 50) % 10 * 100,
            0,
        ];
        let mut payload = [0; 64];
        for (to, word) in payload.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        publisher.publish_within(&payload, Duration::from_secs(10))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
