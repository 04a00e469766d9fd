//! What reading a journal takes as a subscriber, beside a plain walk over its mapped files: each frame by its header, every byte of its payload.

use crate::{Place, ROUNDS, Result, Rounds, publish};
use memlane::journal::{Disk, From, Journal, SyncPolicy};
use memlane::{Subscriber, Topic};
use memlane_journal::FrameShape;
use memlane_journal::layout::{DATA_AT, segment_name};
use memlane_ring::layout::{Phase, StateWord};
use memlane_shm::file_map::FileMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of the log that are read in a round.
const LOG_BYTES: u64 = 1 << 30;
const BATCH_MESSAGES: usize = 256;

pub(crate) fn measure(place: &Place<'_>) -> Result<()> {
    for bytes in [64, 1024] {
        let topic = place.topic(4 << 20)?;
        let messages = LOG_BYTES / (8 + bytes as u64).next_multiple_of(64) / 64 * 64;
        let directory = place.disk.join("replayed");
        place.recorded_in(&directory, &topic, SyncPolicy::None, |publisher| publish(publisher, bytes, messages))?;
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

/// Every byte, as words.
fn sum_of(payload: &[u8]) -> u64 {
    payload.as_chunks().0.iter().fold(0, |sum, word| sum ^ u64::from_le_bytes(*word))
}

fn replay(
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

fn in_batches(subscriber: &mut Subscriber<[u8]>, messages: u64) -> Result<u64> {
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
