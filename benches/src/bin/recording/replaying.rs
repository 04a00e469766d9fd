//! What reading a journal takes as a subscriber, beside a plain walk over its mapped files: each frame by its header, every byte of its payload.

use crate::{Place, ROUNDS, Result, Rounds, publish};
use memlane::journal::{Disk, From, Journal, SyncPolicy};
use memlane::{Start, Subscriber, Topic};
use memlane_journal::FrameShape;
use memlane_journal::layout::{DATA_AT, segment_name};
use memlane_ring::layout::{Phase, StateWord};
use memlane_shm::file_map::FileMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes of the log that are read in a round.
const LOG_BYTES: u64 = 1 << 30;
const BATCH_MESSAGES: usize = 256;

pub(crate) fn measure(place: &Place<'_>) -> Result<()> {
    for bytes in [64, 1024] {
        let topic = place.topic(4 << 20)?;
        let messages = LOG_BYTES / (8 + bytes as u64).next_multiple_of(64) / 64 * 64;
        let directory = place.disk.join("replayed");
        place
            .recorded_in(&directory, &topic, SyncPolicy::None, |publisher| publish(publisher, bytes, messages, None))?;
        let journal = Journal::open(Arc::new(Disk), &directory)?;
        let (mut batches, mut ones) = (Rounds::default(), Rounds::default());
        for _ in 0..ROUNDS {
            let walked = walk(&journal, messages)?;
            batches.add(replay(&topic, &journal, messages, in_batches)?, walked);
            ones.add(replay(&topic, &journal, messages, one_by_one)?, walk(&journal, messages)?);
        }
        let show = |time: Duration| format!("{:.1} M/s", messages as f64 / time.as_secs_f64() / 1e6);
        batches.print(&format!("{bytes:>4} bytes, in batches "), show);
        ones.print(&format!("{bytes:>4} bytes, one by one "), show);
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(())
}

/// How many messages are published while a slow reader reads, and then all that it has missed.
const SLOW_MESSAGES: u64 = 10_000_000;
const SLOW_ROUNDS: usize = 9;
const SLICE: Duration = Duration::from_millis(1);

/// A publisher and its recorder, with and without a backfilled subscriber on the recorder's core that reads at a tenth of the publisher's rate.
pub(crate) fn beside_a_slow_reader(place: &Place<'_>) -> Result<()> {
    // Flat out the three of them share two cores, and what the reader takes the recorder lacks.
    for (name, every) in [("10 M/s", Some(Duration::from_nanos(6400))), ("flat out", None)] {
        let mut rounds = Rounds::default();
        for _ in 0..SLOW_ROUNDS {
            let alone = with_reader(place, None, every)?;
            let slice = SLOW_MESSAGES as f64 / 10.0 / alone.as_secs_f64() * SLICE.as_secs_f64();
            rounds.add(with_reader(place, Some(slice as u64), every)?, alone);
        }
        let show = |time: Duration| format!("{:.2} M/s", SLOW_MESSAGES as f64 / time.as_secs_f64() / 1e6);
        rounds.print(&format!("  64 bytes, {name}"), show);
    }
    Ok(())
}

fn with_reader(place: &Place<'_>, messages_a_slice: Option<u64>, every: Option<Duration>) -> Result<Duration> {
    let topic = place.topic(4 << 20)?;
    let directory = place.disk.join("slow");
    let is_over = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut reading = None;
        let taken = place.recorded_in(&directory, &topic, SyncPolicy::None, |publisher| {
            if let Some(count) = messages_a_slice {
                let journal = Journal::open(Arc::new(Disk), &directory)?;
                let subscriber = topic.subscriber::<[u8]>().start(Start::Earliest).backfilled(&journal).open()?;
                reading = Some(scope.spawn(move || read_slowly(subscriber, count, is_over)));
            }
            publish(publisher, 64, SLOW_MESSAGES, every)
        })?;
        is_over.store(true, Ordering::Relaxed);
        if let Some(reading) = reading {
            let (slow, all) = reading.join().map_err(|_| "the reader panicked")??;
            assert_eq!(all, SLOW_MESSAGES, "nothing is lost");
            assert!(slow < SLOW_MESSAGES / 2, "{slow} were read meanwhile: it was not slow");
        }
        std::fs::remove_dir_all(&directory)?;
        Ok(taken)
    })
}

/// Reads so many messages a millisecond until it is over, and then all that are there; says how many each.
fn read_slowly(mut subscriber: Subscriber<[u8]>, count: u64, is_over: &AtomicBool) -> Result<(u64, u64)> {
    crate::pin(1)?;
    let (mut read, mut slow) = (0, None);
    loop {
        let wanted = if slow.is_some() { u64::MAX } else { read + count };
        while read < wanted {
            let most = (wanted - read).min(BATCH_MESSAGES as u64) as usize;
            let mut failed = None;
            let found = subscriber.receive_batch(most, |message| failed = message.err().or(failed.take()))?;
            if let Some(error) = failed {
                return Err(error.into());
            }
            read += found as u64;
            if found == 0 {
                break;
            }
        }
        match slow {
            Some(slow) => return Ok((slow, read)),
            None if is_over.load(Ordering::Relaxed) => slow = Some(read),
            None => std::thread::sleep(SLICE),
        }
    }
}

/// Every byte, as words.
fn sum_of(payload: &[u8]) -> u64 {
    payload.as_chunks().0.iter().fold(0, |sum, word| sum ^ u64::from_le_bytes(*word))
}

pub(crate) fn replay(
    topic: &Topic,
    journal: &Journal,
    messages: u64,
    read: fn(&mut Subscriber<[u8]>, u64) -> Result<u64>,
) -> Result<Duration> {
    let start = Instant::now();
    let mut subscriber = topic.subscriber::<[u8]>().replay(journal, From::Earliest).open()?;
    let sum = read(&mut subscriber, messages)?;
    let taken = start.elapsed();
    std::hint::black_box(sum);
    Ok(taken)
}

pub(crate) fn in_batches(subscriber: &mut Subscriber<[u8]>, messages: u64) -> Result<u64> {
    let (mut read, mut sum) = (0, 0);
    while read < messages {
        let count = subscriber.receive_batch(BATCH_MESSAGES, |message| {
            sum ^= message.map_or(0, |message| sum_of(message.view));
        })?;
        read += count as u64;
    }
    Ok(sum)
}

fn one_by_one(subscriber: &mut Subscriber<[u8]>, messages: u64) -> Result<u64> {
    let mut sum = 0;
    for _ in 0..messages {
        sum ^= sum_of(&subscriber.try_receive()?.ok_or("a message is missing")?);
    }
    Ok(sum)
}

fn walk(journal: &Journal, messages: u64) -> Result<Duration> {
    let frames = FrameShape::of_geometry(journal.geometry());
    let start = Instant::now();
    let (mut sum, mut count) = (0, 0);
    for begin in journal.segments()? {
        count += walk_segment(&journal.directory().join(segment_name(begin)), &frames, &mut sum)?;
    }
    let taken = start.elapsed();
    assert_eq!(count, messages, "the walk comes by all of them");
    std::hint::black_box(sum);
    Ok(taken)
}

/// Goes from frame to frame, and looks at nothing of a header but its length and whether it is a message's.
fn walk_segment(path: &Path, frames: &FrameShape, sum: &mut u64) -> Result<u64> {
    let file = File::open(path)?;
    let map = FileMap::new(&file, file.metadata()?.len() as usize)?;
    let data = map.bytes(DATA_AT as usize..map.length());
    let (mut at, mut count) = (0, 0);
    while let Some(header) = data[at..].first_chunk() {
        let word = StateWord(u64::from_le_bytes(*header));
        let length = word.length() as usize;
        if word.0 == 0 {
            break;
        }
        if word.phase() == Phase::Committed {
            *sum ^= sum_of(&data[at + 8..at + 8 + length]);
            count += 1;
        }
        at += (8 + length).next_multiple_of(frames.cell as usize);
    }
    Ok(count)
}
