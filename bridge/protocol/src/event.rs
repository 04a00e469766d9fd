//! What comes out of an end of a connection.

use crate::batch::Batch;
use crate::control::{EndCode, Features, Mark, Open, StartAt, Want};

/// What comes out of an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes for the control stream.
    Control(Vec<u8>),
    /// Something happened.
    Event(Event),
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Both ends have greeted: flows may be opened.
    Ready {
        /// The peer's name.
        name: String,
        /// What both can do.
        features: Features,
    },
    /// The peer wants topics: those that it may have are to be offered, now and when more come.
    Wanted(Want),
    /// The peer doesn't want them any more, or can't have what was wanted here.
    WantEnded {
        /// Which.
        want: u32,
        /// Why.
        code: EndCode,
        /// The same in words.
        text: String,
    },
    /// The peer offers a flow: it is to be accepted or ended.
    Offered(Open),
    /// The peer has offered a flow, or wants topics, and was refused at once: there are too many, or its frames can't be.
    Declined {
        /// The topic, or the pattern.
        topic: String,
        /// Whether it was offered; else it was wanted.
        is_offer: bool,
        /// Why.
        code: EndCode,
        /// The same in words.
        text: String,
    },
    /// A flow that was offered here is taken.
    Accepted {
        /// Which.
        flow: u32,
        /// Where to begin with origins that there is no mark of.
        start: StartAt,
        /// How far the receiver has got with each origin.
        marks: Vec<Mark>,
    },
    /// Frames have come. Their bytes count against the credit until more is given.
    Batch {
        /// Which flow.
        flow: u32,
        /// What they are.
        batch: Batch,
        /// As they came: packed, and compressed if the batch says so.
        bytes: Vec<u8>,
    },
    /// A message of a flow of the newest ones.
    Latest {
        /// Which flow.
        flow: u32,
        /// Its position in the sender's log.
        position: u64,
        /// When it was published, nanoseconds since 1970; zero if the topic has no stamps.
        unix_ns: u64,
        /// Whether extensions come before its payload.
        has_extensions: bool,
        /// Extensions and payload.
        content: Vec<u8>,
    },
    /// Positions are lost to this receiver.
    Gap {
        /// Which flow.
        flow: u32,
        /// Where it begins.
        position: u64,
        /// Where it ends.
        end: u64,
    },
    /// A flow may be sent on.
    Credit {
        /// Which.
        flow: u32,
        /// How many bytes of packed frames may be sent now.
        bytes: u64,
    },
    /// The receiver has come further.
    Progress {
        /// Which flow.
        flow: u32,
        /// Everything before it has come, is in the receiver's log, and survives a loss of power there.
        received: u64,
        /// See above.
        applied: u64,
        /// See above.
        durable: u64,
    },
    /// A flow has ended, or was refused. Nothing more comes of it.
    Ended {
        /// Which.
        flow: u32,
        /// Why.
        code: EndCode,
        /// The same in words.
        text: String,
    },
    /// The connection has ended, and all its flows. Nothing more comes of it.
    Closed {
        /// Why.
        code: EndCode,
        /// The same in words.
        text: String,
    },
}

impl Event {
    /// The flow that it is about, if it is about one that was accepted, or is to be.
    #[must_use]
    pub fn flow(&self) -> Option<u32> {
        match *self {
            Self::Accepted { flow, .. }
            | Self::Batch { flow, .. }
            | Self::Latest { flow, .. }
            | Self::Gap { flow, .. }
            | Self::Credit { flow, .. }
            | Self::Progress { flow, .. }
            | Self::Ended { flow, .. } => Some(flow),
            Self::Ready { .. }
            | Self::Wanted(_)
            | Self::WantEnded { .. }
            | Self::Offered(_)
            | Self::Declined { .. }
            | Self::Closed { .. } => None,
        }
    }
}

/// Why something can't be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Not before the receiver has given more credit.
    #[error("the receiver has given no credit for it yet")]
    NoCredit,
    /// There is no such flow, it isn't granted, or this end is its receiver.
    #[error("the flow isn't open for sending")]
    NotSending,
    /// It doesn't go on where the one before it ended; of the newest messages, it isn't newer.
    #[error("it doesn't begin where the one before it ended")]
    OutOfOrder,
    /// A message is longer than flows of the newest ones carry, 4 MiB.
    #[error("the message is longer than a flow of the newest ones carries, 4 MiB")]
    TooLong,
}
