//! How long it takes to open a journal of 10 GiB in a million batches, to find an instant in it, and to go on writing it.
//!
//! The files are sparse: records are real, and so are the data of the batch that is read.

use crate::Result;
use memlane_journal::layout::{RECORD_BYTES, crc, segment_name};
use memlane_journal::manifest::Manifest;
use memlane_journal::record::{Batch, Begin, Record, Session};
use memlane_journal::segment::{Form, SegmentHead};
use memlane_journal::storage::Storage;
use memlane_journal::{Entry, FrameShape, From, Journal, Subject, Writer, WriterOptions, disk::Disk};
use memlane_ring::TopicOptions;
use memlane_ring::layout::{Phase, StateWord};
use memlane_shm::clock::{Calibration, TickSource};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const BATCH_BYTES: u64 = 10 << 10;
const BATCHES: u64 = 1 << 20;
const ROUNDS: usize = 21;
/// Nanoseconds from one batch to the next.
const EVERY_NS: u64 = 1000;

pub(crate) fn measure(disk: &Path) -> Result<()> {
    for segment_batches in [BATCHES / 80, BATCHES] {
        let directory = disk.join("large");
        let subject = make(&directory, segment_batches)?;
        let (mut seeks, mut opens) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS as u64 {
            let storage: Arc<dyn Storage> = Arc::new(Disk);
            let start = Instant::now();
            let mut reader = Journal::open(storage.clone(), &directory)?.read(From::Instant(WANTED * EVERY_NS))?;
            let Some(Entry::Message(message)) = reader.next()? else { return Err("it isn't found".into()) };
            assert_eq!(message.position, WANTED * BATCH_BYTES);
            seeks.push(start.elapsed());
            // A writer begins a segment, so each but the first finds a small one behind the large ones.
            let start = Instant::now();
            let options = WriterOptions { segment_bytes: 1 << 20, ..WriterOptions::default() };
            let (writer, _) = Writer::open(storage, &directory, &subject, calibration(), 0, options)?;
            opens.push(start.elapsed());
            assert_eq!((writer.end(), writer.messages()), (BATCHES * BATCH_BYTES, BATCHES), "round {round}");
        }
        let first = opens[0];
        let median = |times: &mut Vec<std::time::Duration>| {
            times.sort_unstable();
            times[times.len() / 2]
        };
        println!(
            "  {:>2} segments: an instant found and read {:.2} ms (median of {ROUNDS}); opened for writing {:.1} ms at first, then {:.1} ms",
            BATCHES.div_ceil(segment_batches),
            median(&mut seeks).as_secs_f64() * 1e3,
            first.as_secs_f64() * 1e3,
            median(&mut opens).as_secs_f64() * 1e3,
        );
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(())
}

const WANTED: u64 = BATCHES * 2 / 3;

fn calibration() -> Calibration {
    Calibration { source: TickSource::Monotonic, base_ticks: 0, base_unix_ns: 0, ns_per_tick: 1 << 32 }
}

/// Makes a journal of batches of one message each, in segments of so many.
fn make(directory: &Path, segment_batches: u64) -> Result<Subject> {
    let subject = Subject { epoch: 7, options: TopicOptions::default(), description: String::new() };
    let frames = FrameShape::of_geometry(&subject.options.geometry()?);
    let (mut newest, mut number) = (0, 0);
    Disk.create_directory(directory)?;
    while number < BATCHES {
        let count = segment_batches.min(BATCHES - number);
        let begin = number * BATCH_BYTES;
        let data_bytes = (count * BATCH_BYTES).next_multiple_of(64 << 10);
        let head = SegmentHead { epoch: 7, begin, data_bytes, created_unix_ns: 0, frames, form: Form::Plain };
        let file = File::create(directory.join(segment_name(begin)))?;
        file.set_len(head.record_at(0))?;
        file.write_all_at(&head.encode(), 0)?;
        let session = Session { position: begin, calibration: calibration(), boot: Disk.boot(), synced: begin };
        let mark =
            Begin { position: begin, messages_before: number, highest_unix_ns: number * EVERY_NS, synced: begin };
        let mut records = [Record::Session(session), Record::Begin(mark)].to_vec();
        for batch in number..number + count {
            let bytes = frame(batch);
            if batch == WANTED {
                file.write_all_at(&bytes, head.offset(batch * BATCH_BYTES))?;
            }
            records.push(Record::Batch(Batch {
                position: batch * BATCH_BYTES,
                end: (batch + 1) * BATCH_BYTES,
                messages: 1,
                messages_before: batch,
                first_unix_ns: batch * EVERY_NS,
                highest_unix_ns: batch * EVERY_NS,
                synced: batch * BATCH_BYTES,
                data_crc: if batch == WANTED { crc(&bytes) } else { 0 },
                block_back: 0,
            }));
        }
        let mut bytes = Vec::with_capacity(records.len() * RECORD_BYTES);
        (0..).zip(&records).for_each(|(number, record)| bytes.extend_from_slice(&record.encode(7, number)));
        file.write_all_at(&bytes, head.record_at(0))?;
        (newest, number) = (begin, number + count);
    }
    let (generation, first) = (0, 0);
    Manifest { subject: subject.clone(), generation, first, newest, created_unix_ns: 0, segment_bytes: 1 << 20 }
        .replace(&Disk, directory)?;
    Ok(subject)
}

/// The frame of message `number`.
fn frame(number: u64) -> Vec<u8> {
    let position = number * BATCH_BYTES;
    let lap = position / TopicOptions::default().capacity;
    let mut bytes = vec![7; BATCH_BYTES as usize];
    let word = StateWord::new(lap, Phase::Committed, 0, 0, BATCH_BYTES - 8);
    bytes[..8].copy_from_slice(&word.0.to_le_bytes());
    bytes
}
