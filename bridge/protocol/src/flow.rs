//! What an end knows of a flow.

use crate::control::{Mode, Topic};
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
    /// Opened here, and not answered.
    Asked,
    /// Opened there, and not answered.
    Wanted,
    /// Granted.
    Running,
}

#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) role: Role,
    pub(crate) mode: Mode,
    pub(crate) phase: Phase,
    /// What the sender's frames look like, once a receiver has been told.
    pub(crate) shape: Option<FrameShape>,
    /// Bytes of packed frames that may be sent in all, and that were.
    pub(crate) credit: u64,
    pub(crate) used: u64,
    /// Where what was sent, or has come, ends; of a flow of the newest ones, where the last one began.
    pub(crate) position: Option<u64>,
    /// The transport's number of its stream, as far as a receiver has seen it.
    pub(crate) stream: Option<u64>,
    /// What the receiver has said: received, applied, durable.
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

    pub(crate) fn credit_left(&self) -> u64 {
        self.credit.saturating_sub(self.used)
    }
}
