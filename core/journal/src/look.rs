//! A look at the data of one batch after another: in place in a plain segment, decompressed block by block in a compressed one. What it shows was checked
//! against the batch's sum.

use crate::error::JournalError;
use crate::layout::{BATCH_BYTES_LIMIT, DATA_AT, crc};
use crate::record::{Batch, Block, Record};
use crate::segment::{Form, Segment};
use crate::standing::Misfit;
use crate::window::{Aligned, Window};
use std::fmt::{self, Debug};
use std::ops::Range;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::get_frame_content_size;

/// A look at the data of the batches of one segment.
pub(crate) struct Look {
    window: Box<dyn Window>,
    decoder: Option<Decompressor<'static>>,
    /// The block that is decompressed, and what it became.
    block: Option<Block>,
    data: Aligned,
    /// What of that is shown; `None`: the window shows the batch.
    shown: Option<Range<usize>>,
}

impl Debug for Look {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Look");
        debug
            .field("window", &self.window)
            .field("block", &self.block)
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

impl Look {
    /// Through `window`, at nothing yet.
    pub(crate) fn new(window: Box<dyn Window>) -> Self {
        Self { window, decoder: None, block: None, data: Aligned::default(), shown: None }
    }

    /// Looks at the data of `batch`, which is record number `number` of `segment`; says what is wrong with them, if anything is. Then it shows nothing of use.
    ///
    /// Cost: the sum of the bytes, and a system call or two; of a compressed segment that and the decompression once for each block. Errors: the system's.
    pub(crate) fn move_to(
        &mut self,
        segment: &Segment,
        number: u64,
        batch: &Batch,
    ) -> Result<Option<Misfit>, JournalError> {
        self.shown = None;
        if let Some(what) = misfit(segment, batch.position, batch.end) {
            return Ok(Some(what));
        }
        let what = match (segment.head.form, batch.block_back) {
            (Form::Plain, 0) => {
                let bytes = batch.end - batch.position;
                self.show_file(segment, segment.head.offset(batch.position), bytes)?
            }
            (Form::Compressed { .. }, back @ 1..) => {
                self.show_block(segment, number.checked_sub(back.into()), batch)?
            }
            _ => Some("a batch lies there in another way than its segment says"),
        };
        Ok(what.or_else(|| (crc(self.bytes()) != batch.data_crc).then_some("the data aren't what the record says")))
    }

    /// What it looks at. It begins as aligned as its position in the log, up to a page.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.shown {
            None => self.window.bytes(),
            Some(range) => &self.data.bytes()[range.clone()],
        }
    }

    fn show_file(&mut self, segment: &Segment, offset: u64, bytes: u64) -> Result<Option<Misfit>, JournalError> {
        if bytes > segment.length()?.saturating_sub(offset) {
            return Ok(Some("the file is cut"));
        }
        let shown = self.window.move_to(offset, bytes as usize);
        let shown = shown.map_err(JournalError::of(&segment.path, "read it"))?;
        Ok((shown < bytes as usize).then_some("the file is cut"))
    }

    fn show_block(
        &mut self,
        segment: &Segment,
        number: Option<u64>,
        batch: &Batch,
    ) -> Result<Option<Misfit>, JournalError> {
        let has = |block: &Block| block.position <= batch.position && batch.end <= block.end;
        if !self.block.as_ref().is_some_and(has) {
            self.block = None;
            let record = number.map_or(Ok(None), |number| segment.record(number))?;
            let Some(Record::Block(block)) =
                record.filter(|record| matches!(record, Record::Block(block) if has(block)))
            else {
                return Ok(Some("the record of its block isn't where it says"));
            };
            if let Some(what) = self.decompress(segment, &block)? {
                return Ok(Some(what));
            }
            self.block = Some(block);
        }
        let begin = self.block.map_or(0, |block| batch.position - block.position) as usize;
        self.shown = Some(begin..begin + (batch.end - batch.position) as usize);
        Ok(None)
    }

    fn decompress(&mut self, segment: &Segment, block: &Block) -> Result<Option<Misfit>, JournalError> {
        if let Some(what) = misfit(segment, block.position, block.end) {
            return Ok(Some(what));
        }
        let data_bytes = segment.head.records_at() - DATA_AT;
        let begin = block.offset.checked_sub(DATA_AT).filter(|begin| *begin <= data_bytes);
        if begin.is_none_or(|begin| block.bytes > data_bytes - begin || block.bytes > BATCH_BYTES_LIMIT) {
            return Ok(Some("a block leads out of its segment"));
        }
        if let Some(what) = self.show_file(segment, block.offset, block.bytes)? {
            return Ok(Some(what));
        }
        let (compressed, bytes) = (self.window.bytes(), block.end - block.position);
        if crc(compressed) != block.crc {
            return Ok(Some("the compressed bytes aren't what the record says"));
        }
        // Told before there is memory for it.
        let is_so_long = matches!(get_frame_content_size(compressed), Ok(Some(found)) if found == bytes);
        let room = if is_so_long { bytes as usize } else { 0 };
        let room = self.data.room(segment.head.offset(block.position), room);
        let decoder = self.decoder.get_or_insert_with(Decompressor::default);
        let is_whole = is_so_long
            && decoder.decompress_to_buffer(compressed, room).is_ok_and(|decompressed| decompressed as u64 == bytes);
        Ok((!is_whole).then_some("the compressed bytes don't give the data back"))
    }
}

/// What is wrong with data that are said to lie from one position to the other, if anything is.
fn misfit(segment: &Segment, position: u64, end: u64) -> Option<Misfit> {
    if position < segment.head.begin || end <= position || end > segment.head.data_end() {
        return Some("a batch leads out of its segment");
    }
    (end - position > BATCH_BYTES_LIMIT).then_some("a batch is longer than can be")
}

/// Where in the file the data lie of `batch`, which is record number `number` of `segment`: for who says that they are damaged.
pub(crate) fn place(segment: &Segment, number: u64, batch: &Batch) -> u64 {
    if segment.head.form == Form::Plain {
        return segment.head.offset(batch.position);
    }
    let block = number.checked_sub(batch.block_back.into()).map(|block| segment.record(block));
    match block {
        Some(Ok(Some(Record::Block(block)))) => block.offset,
        _ => segment.head.record_at(number),
    }
}
