//! The records of a segment, in groups of batches that are compressed together.

use crate::error::JournalError;
use crate::record::{Batch, Block, Record};
use crate::segment::{Records, Segment};

/// Bytes of a block, unless a batch is longer: with more, a reader that looks for one message decompresses more; with fewer, less is saved.
const BLOCK_BYTES: u64 = 256 << 10;
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

/// Puts the records behind `records` for batches whose data lie in `block`: each as it was, or all as one, with the sums of their data from `sums`.
pub(crate) fn put_batches(
    records: &mut Vec<Record>,
    sources: &[Record],
    batches: &[(u64, Batch)],
    block: Block,
    as_one: bool,
    sums: &mut impl Iterator<Item = u32>,
) {
    let position = block.position;
    for record in sources {
        match record {
            Record::SourceName { place, part, text, .. } => {
                records.push(Record::SourceName { place: *place, position, part: *part, text: *text });
            }
            Record::SourceMoved { place, .. } => {
                let moves =
                    |other: &&Record| matches!(other, Record::SourceMoved { place: moved, .. } if moved == place);
                // The last one says it for all before.
                if let Some(Record::SourceMoved { sequence, .. }) = sources.iter().rfind(moves)
                    && sources.iter().find(moves).is_some_and(|first| std::ptr::eq(first, record))
                {
                    records.push(Record::SourceMoved { place: *place, position, sequence: *sequence });
                }
            }
            _ => {}
        }
    }
    records.push(Record::Block(block));
    let mut sum = || sums.next().expect("each batch was given a sum when its data were compressed");
    let each = batches.iter().map(|(_, batch)| *batch);
    if as_one {
        let one = each.reduce(|all, batch| Batch {
            end: batch.end,
            messages: all.messages + batch.messages,
            highest_unix_ns: batch.highest_unix_ns,
            synced: batch.synced,
            ..all
        });
        records.extend(one.map(|batch| Record::Batch(Batch { data_crc: sum(), block_back: 1, ..batch })));
    } else {
        let mut back = 0;
        records.extend(each.map(|batch| {
            back += 1;
            Record::Batch(Batch { data_crc: sum(), block_back: back, ..batch })
        }));
    }
}
