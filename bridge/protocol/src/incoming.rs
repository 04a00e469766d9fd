//! What has come on a flow's stream: its head, then batches and gaps, in whatever pieces they come.

use crate::batch::{Batch, BatchHead};
use crate::codec::{Cursor, Malformed};
use crate::layout::{BATCH_HEAD_BYTES, FLOW_HEAD_BYTES, FLOW_MAGIC};
use memlane_ring::FrameShape;

/// A stream that is read. It holds a batch at most, which has its limit, and what came behind it at once.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    bytes: Vec<u8>,
    at: usize,
    flow: Option<u32>,
}

impl Incoming {
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// What has come means nothing any more.
    pub(crate) fn forget(&mut self) {
        (self.bytes, self.at) = (Vec::new(), 0);
    }

    /// Which flow's it is; `None` if that hasn't come yet.
    pub(crate) fn flow(&mut self) -> Result<Option<u32>, Malformed> {
        if self.flow.is_none() && self.bytes.len() >= FLOW_HEAD_BYTES {
            let mut from = Cursor::new(&self.bytes);
            if from.u32()? != FLOW_MAGIC {
                return Err(Malformed { at: 0, what: "it isn't a flow's stream" });
            }
            (self.flow, self.at) = (Some(from.u32()?), FLOW_HEAD_BYTES);
        }
        Ok(self.flow)
    }

    /// The next batch, with its bytes, or gap; `None` if it hasn't come whole.
    pub(crate) fn next(&mut self, shape: &FrameShape) -> Result<Option<(BatchHead, Vec<u8>)>, Malformed> {
        let rest = &self.bytes[self.at..];
        let Some((head, behind)) = rest.split_first_chunk::<BATCH_HEAD_BYTES>() else { return Ok(None) };
        let head = BatchHead::decode(head, shape)?;
        let length = match head {
            BatchHead::Batch(Batch { stored_bytes, .. }) => stored_bytes as usize,
            BatchHead::Gap { .. } => 0,
        };
        let Some(bytes) = behind.get(..length) else { return Ok(None) };
        let bytes = bytes.to_vec();
        self.at += BATCH_HEAD_BYTES + length;
        Ok(Some((head, bytes)))
    }
}
