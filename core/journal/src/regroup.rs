//! The records of a segment, in groups of batches that are compressed together.

use crate::error::JournalError;
use crate::record::{Batch, Block, Record};
use crate::segment::{Records, Segment};

/// Bytes of a block, unless a frame is longer. With more hardly anything is saved, and a reader that looks for one message decompresses more, which doesn't stay as near.
pub(crate) const BLOCK_BYTES: u64 = 64 << 10;
/// Batches of a group, at most: they say in 16 bits how far back their block's record is.
const BATCHES_MAX: usize = 32_768;

/// Records that stay together.
#[derive(Debug)]
pub(crate) enum Group {
    /// Batches that follow each other, and their numbers, with what sources did before each of them.
    Batches { sources: Vec<Record>, batches: Vec<(u64, Batch)> },
    /// Anything else, with what sources did before it.
    Other { sources: Vec<Record>, record: Record },
}

/// Reads records in groups.
pub(crate) struct Groups<'a> {
    records: Records<'a>,
    /// How many there are.
    count: u64,
    /// What was read and belongs to the next group.
    ahead: Option<(u64, Record)>,
    /// What sources did since the last batch.
    sources: Vec<Record>,
}

impl<'a> Groups<'a> {
    /// The first `count` records of `segment`.
    pub(crate) fn new(segment: &'a Segment, count: u64) -> Self {
        Self { records: segment.records(0), count, ahead: None, sources: Vec::new() }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Group>, JournalError> {
        let (mut sources, mut batches): (Vec<Record>, Vec<(u64, Batch)>) = (Vec::new(), Vec::new());
        loop {
            match self.next_record()? {
                Some((_, record @ (Record::SourceName { .. } | Record::SourceMoved { .. }))) => {
                    self.sources.push(record)
                }
                // Of what was written anew before.
                Some((_, Record::Block(_))) => {}
                Some((number, Record::Batch(batch))) => {
                    let begin = batches.first().map_or(batch.position, |(_, first)| first.position);
                    let fits = batch.end - begin <= BLOCK_BYTES && batches.len() < BATCHES_MAX;
                    if !fits && !batches.is_empty() {
                        self.ahead = Some((number, Record::Batch(batch)));
                        return Ok(Some(Group::Batches { sources, batches }));
                    }
                    sources.append(&mut self.sources);
                    batches.push((number, batch));
                }
                other if !batches.is_empty() => {
                    self.ahead = other;
                    return Ok(Some(Group::Batches { sources, batches }));
                }
                Some((_, record)) => {
                    return Ok(Some(Group::Other { sources: std::mem::take(&mut self.sources), record }));
                }
                None => return Ok(None),
            }
        }
    }

    fn next_record(&mut self) -> Result<Option<(u64, Record)>, JournalError> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        let number = self.records.number();
        let record = if number < self.count { self.records.next()? } else { None };
        Ok(record.map(|record| (number, record)))
    }
}

/// What has become of a group's data, or of a part of them.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) block: Block,
    /// The batches in it.
    pub(crate) pieces: Vec<Piece>,
}

/// A batch in a block: one that was there before, several that became one, or a part of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) end: u64,
    pub(crate) messages: u32,
    pub(crate) sum: u32,
}

/// Puts the records behind `records` for batches whose data are `stored`, with all that sources did before the first of them.
pub(crate) fn put_batches(records: &mut Vec<Record>, sources: &[Record], batches: &[(u64, Batch)], stored: &[Stored]) {
    let (first, last) = (batches[0].1, batches[batches.len() - 1].1);
    put_sources(records, sources, first.position);
    // As many as before are what they were; others say of themselves what all of them together say.
    let are_as_before = stored.len() == 1 && stored[0].pieces.len() == batches.len();
    let one = Batch { highest_unix_ns: last.highest_unix_ns, synced: last.synced, ..first };
    let (mut position, mut messages_before) = (first.position, first.messages_before);
    for Stored { block, pieces } in stored {
        records.push(Record::Block(*block));
        for (index, piece) in pieces.iter().enumerate() {
            let like = if are_as_before { batches[index].1 } else { one };
            let Piece { end, messages, sum } = *piece;
            let block_back = index as u16 + 1;
            records.push(Record::Batch(Batch {
                position,
                end,
                messages,
                messages_before,
                data_crc: sum,
                block_back,
                ..like
            }));
            (position, messages_before) = (end, messages_before + u64::from(messages));
        }
    }
}

/// Of each source the last that it did, which says it for all before.
fn put_sources(records: &mut Vec<Record>, sources: &[Record], position: u64) {
    for (at, record) in sources.iter().enumerate() {
        match record {
            Record::SourceName { place, part, text, .. } => {
                records.push(Record::SourceName { place: *place, position, part: *part, text: *text });
            }
            Record::SourceMoved { place, sequence, .. } => {
                let moves =
                    |other: &Record| matches!(other, Record::SourceMoved { place: moved, .. } if moved == place);
                if !sources[at + 1..].iter().any(moves) {
                    records.push(Record::SourceMoved { place: *place, position, sequence: *sequence });
                }
            }
            _ => {}
        }
    }
}
