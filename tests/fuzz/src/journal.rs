//! A journal's files as foreign bytes may make them, with their sums put right, so that what they say is believed; read, verified, compressed, pruned, and gone on with.

use memlane_journal::layout::{
    DATA_AT, MANIFEST_FILE, MANIFEST_MAGIC, PAGE_BYTES, PAGE_CRC_AT, RECORD_BYTES, SEGMENT_BYTES_MIN, VERSION, crc,
    segment_name,
};
use memlane_journal::manifest::Manifest;
use memlane_journal::record::{Batch, Begin, Block, Record, Session};
use memlane_journal::segment::{Form, SegmentHead};
use memlane_journal::simulated::SimulatedDisk;
use memlane_journal::storage::Storage;
use memlane_journal::{Compaction, Compression, FrameShape, From, Journal, Retention, Subject, Writer, WriterOptions};
use memlane_ring::TopicOptions;
use memlane_ring::layout::{Phase, StateWord};
use memlane_shm::clock::{Calibration, TickSource};
use std::path::Path;
use std::sync::Arc;

const DIRECTORY: &str = "/journal";
const EPOCH: u64 = 7;
const CELL: usize = 64;
/// Bytes of a record before its sum.
const RECORD_FIELDS: usize = RECORD_BYTES - 4;
const BATCH: u8 = 4;
/// More entries than any journal here has.
const ENTRIES_MAX: u32 = 100_000;

fn options() -> TopicOptions {
    TopicOptions { capacity: SEGMENT_BYTES_MIN, cell: CELL as u64, ..TopicOptions::default() }
}

fn calibration() -> Calibration {
    Calibration { source: TickSource::Monotonic, base_ticks: 0, base_unix_ns: 0, ns_per_tick: 1 << 32 }
}

fn head() -> SegmentHead {
    let geometry = options().geometry().expect("these options can be");
    let frames = FrameShape::of_geometry(&geometry);
    SegmentHead { epoch: EPOCH, begin: 0, data_bytes: SEGMENT_BYTES_MIN, created_unix_ns: 1, frames, form: Form::Plain }
}

/// Takes `bytes` as the words of a manifest's page, from the first behind the version on, and, behind the page's end, a description.
///
/// # Panics
/// If what comes of it can't be: that is what is looked for, here as below.
pub(crate) fn manifest(bytes: &[u8]) {
    let mut file = vec![0; PAGE_BYTES];
    file[..8].copy_from_slice(&MANIFEST_MAGIC.to_le_bytes());
    file[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let (words, description) = bytes.split_at(bytes.len().min(PAGE_CRC_AT - 16));
    file[16..16 + words.len()].copy_from_slice(words);
    let sum = crc(&file[..PAGE_CRC_AT]);
    file[PAGE_CRC_AT..].copy_from_slice(&sum.to_le_bytes());
    file.extend_from_slice(description);
    if let Ok(manifest) = Manifest::decode(&file, Path::new(MANIFEST_FILE)) {
        assert!(manifest.subject.options.geometry().is_ok());
        let again = Manifest::decode(&manifest.encode(), Path::new(MANIFEST_FILE));
        assert_eq!(again.expect("it was just written"), manifest);
    }
}

/// Takes `bytes` as the records of a segment, without their sums, whose data are messages of a cell each.
pub(crate) fn index(bytes: &[u8]) {
    let data: Vec<u8> = (0..SEGMENT_BYTES_MIN as usize / CELL).flat_map(|_| frame()).collect();
    use_journal(&head().encode(), &data, &data, bytes.chunks(RECORD_FIELDS));
}

/// Takes `bytes` as how many cells a block becomes and how far back its batch says that it is, a half word each, and then as the block, in a segment that is compressed.
pub(crate) fn compressed(bytes: &[u8]) {
    let Some((numbers, stored)) = bytes.split_at_checked(4) else { return };
    let half = |at: usize| u16::from_le_bytes([numbers[at], numbers[at + 1]]);
    let end = u64::from(half(0)) * CELL as u64;
    let stored = &stored[..stored.len().min(SEGMENT_BYTES_MIN as usize)];
    let log = zstd::bulk::decompress(stored, SEGMENT_BYTES_MIN as usize).unwrap_or_default();
    let boot = SimulatedDisk::new().boot();
    let records = [
        Record::Session(Session { position: 0, calibration: calibration(), boot, synced: 0 }),
        Record::Begin(Begin { position: 0, messages_before: 0, highest_unix_ns: 0, synced: 0 }),
        Record::Block(Block { position: 0, end, offset: DATA_AT, bytes: stored.len() as u64, crc: crc(stored) }),
        Record::Batch(Batch {
            position: 0,
            end,
            messages: half(0).into(),
            messages_before: 0,
            first_unix_ns: 1,
            highest_unix_ns: 1,
            synced: 0,
            data_crc: 0,
            block_back: half(2),
        }),
    ];
    let form = Form::Compressed { stored_bytes: SEGMENT_BYTES_MIN, records: records.len() as u64, is_compacted: false };
    let records: Vec<_> = (0..).zip(&records).map(|(number, record)| record.encode(EPOCH, number)).collect();
    let records = records.iter().map(|record| &record[..RECORD_FIELDS]);
    use_journal(&SegmentHead { form, ..head() }.encode(), stored, &log, records);
}

/// A message that fills a cell.
fn frame() -> [u8; CELL] {
    let mut frame = [5; CELL];
    frame[..8].copy_from_slice(&StateWord::new(0, Phase::Committed, 0, 0, CELL as u64 - 8).0.to_le_bytes());
    frame
}

/// Takes `bytes` as the words of a segment's head, then as data, which one record commits.
pub(crate) fn segment(bytes: &[u8]) {
    let mut page = head().encode();
    let (words, data) = bytes.split_at(bytes.len().min(72));
    for (word, change) in page[16..].iter_mut().zip(words) {
        *word ^= change;
    }
    let sum = crc(&page[..PAGE_CRC_AT]);
    page[PAGE_CRC_AT..].copy_from_slice(&sum.to_le_bytes());
    let data = &data[..data.len().min(SEGMENT_BYTES_MIN as usize) / CELL * CELL];
    let boot = SimulatedDisk::new().boot();
    let records = [
        Record::Session(Session { position: 0, calibration: calibration(), boot, synced: 0 }),
        Record::Begin(Begin { position: 0, messages_before: 0, highest_unix_ns: 0, synced: 0 }),
        Record::Batch(Batch {
            position: 0,
            end: data.len() as u64,
            messages: (data.len() / CELL) as u32,
            messages_before: 0,
            first_unix_ns: 1,
            highest_unix_ns: 1,
            synced: 0,
            data_crc: 0,
            block_back: 0,
        }),
    ];
    let records: Vec<_> = (0..).zip(&records).map(|(number, record)| record.encode(EPOCH, number)).collect();
    use_journal(&page, data, data, records.iter().map(|record| &record[..RECORD_FIELDS]));
}

/// Does with a journal of such a segment, in which `data` lie and become `log`, what can be done with it.
fn use_journal<'a>(page: &[u8], data: &[u8], log: &[u8], records: impl Iterator<Item = &'a [u8]>) {
    let disk = SimulatedDisk::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let directory = Path::new(DIRECTORY);
    storage.create_directory(directory).expect("a disk in memory");
    let subject = Subject { epoch: EPOCH, options: options(), description: String::new() };
    let (segment_bytes, created_unix_ns) = (SEGMENT_BYTES_MIN, 1);
    let mut manifest =
        Manifest { subject: subject.clone(), generation: 0, first: 0, newest: 0, created_unix_ns, segment_bytes };
    manifest.replace(&*storage, directory).expect("a disk in memory");
    let mut file = page.to_vec();
    file.extend_from_slice(data);
    file.resize((DATA_AT + SEGMENT_BYTES_MIN) as usize, 0);
    for (number, record) in (0_u64..).zip(records) {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..record.len()].copy_from_slice(record);
        if bytes[0] == BATCH {
            let end = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default()) as usize;
            let range = end(8)..end(16);
            let sum = log.get(range).map_or(0, crc);
            bytes[56..60].copy_from_slice(&sum.to_le_bytes());
        }
        let covered = [&bytes[..RECORD_FIELDS], &EPOCH.to_le_bytes(), &number.to_le_bytes()].concat();
        bytes[RECORD_FIELDS..].copy_from_slice(&crc(&covered).to_le_bytes());
        file.extend_from_slice(&bytes);
    }
    let made = storage.create(&directory.join(segment_name(0))).expect("a disk in memory");
    made.write_at(&file, 0).expect("a disk in memory");
    read(&storage, directory);
    // As after a death, and after a loss of power.
    for disk in [disk.kill(), disk.lose_power(memlane_journal::simulated::Survives::All)] {
        let storage: Arc<dyn Storage> = Arc::new(disk);
        let options = WriterOptions { segment_bytes: SEGMENT_BYTES_MIN, ..WriterOptions::default() };
        if let Ok((mut writer, _)) = Writer::open(storage.clone(), directory, &subject, calibration(), 0, options) {
            let _ = writer.sync();
            drop(writer);
            read(&storage, directory);
        }
    }
}

fn read(storage: &Arc<dyn Storage>, directory: &Path) {
    let Ok(journal) = Journal::open(storage.clone(), directory) else { return };
    let _ = (journal.summary(), journal.verify(), journal.end());
    for from in [From::Earliest, From::Position(640), From::Instant(100), From::Last(3)] {
        let Ok(mut reader) = journal.read(from) else { continue };
        let mut entries = 0;
        while let Ok(Some(_)) = reader.next() {
            entries += 1 + reader.each_of_batch(5, |_, _, _| ()) as u32;
            assert!(entries < ENTRIES_MAX, "it comes to an end");
        }
    }
    let _ = journal.compress(Compression::default());
    let _ = journal.compact(Compaction::default(), Compression::default());
    let _ = journal.prune(&Retention { messages: Some(1), ..Retention::default() });
}
