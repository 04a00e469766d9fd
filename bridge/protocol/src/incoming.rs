//! What has come on a stream of a flow: its head, then batches and gaps, or one message of a flow of the newest ones, in whatever pieces they come.

use crate::batch::{Batch, BatchHead};
use crate::codec::{Cursor, Malformed};
use crate::layout::{BATCH_HEAD_BYTES, FLOW_HEAD_BYTES, FLOW_MAGIC, LATEST_BYTES_MAX, LATEST_MAGIC};
use memlane_ring::FrameShape;

/// Memory that is set aside for a batch when its head has come.
const RESERVED_BYTES_MAX: usize = 256 << 10;

/// A stream that is read. It holds a batch at most, for which there was credit, or a message of the newest ones, which have their limit.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    bytes: Vec<u8>,
    pub(crate) stage: Stage,
}

/// What the next bytes of a stream are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// What it begins with.
    #[default]
    Head,
    /// A head of a batch or a gap, of this flow.
    Flow(u32),
    /// A batch of this flow.
    Batch(u32, Batch),
    /// A message, which ends with the stream.
    Latest,
    /// Nothing that means anything any more.
    Nothing,
}

impl Incoming {
    /// Moves bytes from `input` until there are `count`; whether there are.
    fn fill(&mut self, input: &mut &[u8], count: usize) -> bool {
        let missing = count.saturating_sub(self.bytes.len()).min(input.len());
        let (taken, rest) = input.split_at(missing);
        self.bytes.extend_from_slice(taken);
        *input = rest;
        self.bytes.len() >= count
    }

    /// What has come means nothing any more, nor does what comes.
    pub(crate) fn forget(&mut self) {
        (self.bytes, self.stage) = (Vec::new(), Stage::Nothing);
    }

    /// Reads what the stream begins with; whether that has come.
    pub(crate) fn begin(&mut self, input: &mut &[u8]) -> Result<bool, Malformed> {
        if !self.fill(input, FLOW_HEAD_BYTES) {
            return Ok(false);
        }
        let mut from = Cursor::new(&self.bytes);
        self.stage = match (from.u32()?, from.u32()?) {
            (FLOW_MAGIC, flow) => {
                self.bytes.clear();
                Stage::Flow(flow)
            }
            (LATEST_MAGIC, _) => {
                self.bytes.drain(..size_of::<u32>());
                Stage::Latest
            }
            _ => return Err(Malformed { at: 0, what: "it isn't a flow's stream" }),
        };
        Ok(true)
    }

    /// The next head of a batch or a gap; `None` if it hasn't come whole.
    pub(crate) fn head(&mut self, input: &mut &[u8], shape: &FrameShape) -> Result<Option<BatchHead>, Malformed> {
        if !self.fill(input, BATCH_HEAD_BYTES) {
            return Ok(None);
        }
        let mut head = [0; BATCH_HEAD_BYTES];
        head.copy_from_slice(&self.bytes);
        self.bytes.clear();
        BatchHead::decode(&head, shape).map(Some)
    }

    /// Has the next bytes be those of `batch`, for which there was credit.
    pub(crate) fn expect(&mut self, flow: u32, batch: Batch) {
        self.stage = Stage::Batch(flow, batch);
        // More as it comes: what is only said takes no memory.
        self.bytes = Vec::with_capacity((batch.stored_bytes as usize).min(RESERVED_BYTES_MAX));
    }

    /// The bytes of the batch that is expected; `None` if they haven't come whole.
    pub(crate) fn batch(&mut self, input: &mut &[u8], flow: u32, batch: Batch) -> Option<Vec<u8>> {
        let is_whole = self.fill(input, batch.stored_bytes as usize);
        is_whole.then(|| {
            self.stage = Stage::Flow(flow);
            core::mem::take(&mut self.bytes)
        })
    }

    /// Takes what has come of a message.
    pub(crate) fn more(&mut self, input: &mut &[u8]) -> Result<(), Malformed> {
        if self.bytes.len() + input.len() > LATEST_BYTES_MAX {
            return Err(Malformed { at: 0, what: "a message of the newest ones is too long" });
        }
        self.bytes.extend_from_slice(core::mem::take(input));
        Ok(())
    }

    /// The message that the stream had; `None` if it had none.
    pub(crate) fn message(self) -> Option<Vec<u8>> {
        (self.stage == Stage::Latest).then_some(self.bytes)
    }
}
