//! Segments at their two ends: made aside, with what their readers must know of earlier ones, and renamed; closed to what they hold.

use crate::error::JournalError;
use crate::layout::{RECORD_BYTES, SEGMENT_BYTES_MIN, segment_name};
use crate::manifest::page_of;
use crate::record::{Begin, Record, Session, SourceText};
use crate::segment::{Form, Segment, SegmentHead};
use crate::standing::Standing;
use crate::storage::{Storage, make_aside};
use crate::subject::Subject;
use crate::writer::WriterOptions;
use memlane_ring::FrameShape;
use memlane_shm::clock;
use memlane_shm::crash_point;
use std::path::Path;

/// A segment that was begun.
pub(crate) struct Made {
    pub(crate) segment: Segment,
    /// How many records it has.
    pub(crate) records: u64,
    /// What they say.
    pub(crate) standing: Standing,
}

/// Makes the segment that begins where `standing` ends, with room for at least `bytes` bytes.
pub(crate) fn make_segment(
    storage: &dyn Storage,
    directory: &Path,
    subject: &Subject,
    standing: &Standing,
    session: Session,
    options: &WriterOptions,
    bytes: u64,
) -> Result<Made, JournalError> {
    let begin = standing.end;
    let path = directory.join(segment_name(begin));
    let frames = FrameShape::of(&subject.options).expect("a topic's options were checked when it was made");
    let data_bytes = options.segment_bytes.max(bytes.next_multiple_of(SEGMENT_BYTES_MIN));
    let head = SegmentHead {
        epoch: subject.epoch,
        begin,
        data_bytes,
        created_unix_ns: clock::unix_ns(),
        frames,
        form: Form::Plain,
    };
    let manifest_page = page_of(subject);
    let records = first_records(standing, session);
    let encoded: Vec<u8> =
        (0..).zip(&records).flat_map(|(number, record)| record.encode(subject.epoch, number)).collect();
    let failed = |action| JournalError::of(&path, action);
    let (unfinished, file) = make_aside(storage, &path)?;
    let filled = || {
        file.reserve(reserved_bytes(&head), options.room).map_err(failed("reserve its room"))?;
        file.write_at(&head.encode_with(&manifest_page), 0).map_err(failed("write to it"))?;
        file.write_at(&encoded, head.records_at()).map_err(failed("write to it"))?;
        if options.syncs {
            file.sync().map_err(failed("sync it"))?;
        }
        crash_point!("journal.segment_made");
        storage.rename(&unfinished, &path).map_err(failed("give it its name"))
    };
    if let Err(error) = filled() {
        // Best effort: what is left is removed before the next try.
        let _ = storage.remove(&unfinished);
        return Err(error);
    }
    if options.syncs {
        storage.sync_directory(directory).map_err(JournalError::of(directory, "sync it"))?;
    }
    let mut standing = Standing::before(begin);
    for record in &records {
        standing.take(record).expect("what a segment begins with follows from each other");
    }
    Ok(Made { segment: Segment { path, head, file: file.into() }, records: records.len() as u64, standing })
}

/// Cuts `segment` to its records, `number` of them, and what lies behind `end` in its data to zeros.
pub(crate) fn close(segment: &Segment, number: u64, end: u64) -> Result<(), JournalError> {
    let failed = |action| JournalError::of(&segment.path, action);
    segment.file.truncate(segment.head.record_at(number)).map_err(failed("cut it to its length"))?;
    let unused = segment.head.data_end().saturating_sub(end);
    if unused > 0 {
        let offset = segment.head.offset(end);
        segment.file.give_back(offset, unused).map_err(failed("give back what it doesn't need"))?;
        // Where a file system can't: that no frame is there is what tells a whole segment from one that was cut short.
        segment.file.write_at(&[0; 8], offset).map_err(failed("give back what it doesn't need"))?;
    }
    Ok(())
}

/// What is reserved for a segment at first; with small batches it grows.
pub(crate) fn reserved_bytes(head: &SegmentHead) -> u64 {
    head.records_at() + first_records_bytes(head)
}

/// For how many bytes of records room is reserved at a time: one for each 4 KiB of data.
pub(crate) fn first_records_bytes(head: &SegmentHead) -> u64 {
    (head.data_bytes / 4096 * RECORD_BYTES as u64).next_multiple_of(4096)
}

/// What a segment begins with.
fn first_records(standing: &Standing, session: Session) -> Vec<Record> {
    let position = standing.end;
    let mut records = vec![Record::Session(session)];
    for (place, source) in standing.sources.iter().enumerate() {
        put_name(place as u32, &source.name, position, |record| records.push(record.clone()));
        records.push(Record::SourceMoved { place: place as u32, position, sequence: source.sequence });
    }
    records.push(Record::Begin(Begin {
        position,
        messages_before: standing.messages,
        highest_unix_ns: standing.highest_unix_ns,
        synced: session.synced,
    }));
    records
}

/// Hands the records to `put` that name the source at `place`.
pub(crate) fn put_name(place: u32, name: &str, position: u64, mut put: impl FnMut(&Record)) {
    for (part, text) in SourceText::parts(name).enumerate() {
        put(&Record::SourceName { place, position, part: part as u8, text });
    }
}
