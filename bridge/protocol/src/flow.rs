//! What an end knows of a flow.

use crate::batch::BatchHead;
use crate::control::{Mode, Topic};
use crate::layout::{BATCH_HEAD_BYTES, FLOW_HEAD_BYTES, FLOW_MAGIC};
use memlane_ring::FrameShape;

/// What this end is to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Sender,
    Receiver,
}

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Offered here, and not answered.
    Asked,
    /// Offered there, and not answered.
    Offered,
    /// Taken.
    Running,
}

/// How a flow stands, as this end knows it. Positions are the sender's log's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowState {
    /// Whether its receiver has taken it.
    pub is_running: bool,
    /// Where what was sent, or has come, ends; of a flow of the newest ones, where the last one began. `None` before the first.
    pub position: Option<u64>,
    /// Everything before it is in the receiver's log, as far as the receiver has said so.
    pub applied: u64,
    /// Everything before it survives a loss of power there; zero if nobody sees to that.
    pub durable: u64,
    /// How many bytes of packed frames may be sent before the receiver gives more credit.
    pub credit_left: u64,
}

#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) role: Role,
    pub(crate) mode: Mode,
    pub(crate) phase: Phase,
    /// What the sender's frames look like, of a receiver.
    pub(crate) shape: Option<FrameShape>,
    /// Bytes of packed frames that may be sent in all, and that were.
    pub(crate) credit: u64,
    pub(crate) used: u64,
    /// Where what was sent, or has come, ends; of a flow of the newest ones, where the last one began.
    pub(crate) position: Option<u64>,
    /// The transport's number of its stream, as far as a receiver has seen it.
    pub(crate) stream: Option<u64>,
    /// What the receiver has said, or this end has as one: received, applied, durable.
    pub(crate) progress: (u64, u64, u64),
}

impl Flow {
    pub(crate) fn new(role: Role, mode: Mode, phase: Phase) -> Self {
        Self { role, mode, phase, shape: None, credit: 0, used: 0, position: None, stream: None, progress: (0, 0, 0) }
    }

    /// Takes in what its sender says of the topic's frames; `false` if that can't be.
    pub(crate) fn learn_shape(&mut self, topic: &Topic) -> bool {
        let shape = FrameShape {
            capacity: topic.capacity,
            cell: topic.cell.into(),
            payload_at: topic.payload_at.into(),
            body_max: topic.body_max,
            stamps: topic.stamps,
        };
        // A stamp lies between the state word and the payload.
        let can_be = shape.is_sound() && (!topic.stamps || topic.payload_at >= 16);
        self.shape = can_be.then_some(shape);
        can_be
    }

    /// What is to be written before a batch, or as a gap, that ends at `end`: at first with what the stream begins with.
    pub(crate) fn head(&mut self, flow: u32, head: BatchHead, end: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FLOW_HEAD_BYTES + BATCH_HEAD_BYTES);
        if self.position.replace(end).is_none() {
            bytes.extend_from_slice(&FLOW_MAGIC.to_le_bytes());
            bytes.extend_from_slice(&flow.to_le_bytes());
        }
        bytes.extend_from_slice(&head.encode());
        bytes
    }

    pub(crate) fn state(&self) -> FlowState {
        let (_, applied, durable) = self.progress;
        let (is_running, position) = (self.phase == Phase::Running, self.position);
        FlowState { is_running, position, applied, durable, credit_left: self.credit_left() }
    }

    pub(crate) fn credit_left(&self) -> u64 {
        self.credit.saturating_sub(self.used)
    }
}
