//! What comes out of an end of a connection.

use crate::batch::Batch;
use crate::control::{EndCode, Features, Mark, Open, Topic};

/// What comes out of an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Bytes for the control stream.
    Control(Vec<u8>),
    /// Bytes for the stream of a flow, which is made for its first: `head`, then `bytes`.
    Flow {
        /// Which.
        flow: u32,
        /// What comes first.
        head: Vec<u8>,
        /// The batch behind it; empty of a gap.
        bytes: Vec<u8>,
    },
    /// A datagram. If it is too long for one: a stream of its own, [`Connection::latest_stream_head`](crate::Connection::latest_stream_head) and these bytes on it.
    Latest(Vec<u8>),
    /// Something happened.
    Event(Event),
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Both ends have greeted: flows may be opened.
    Ready {
        /// The peer's number.
        node: u128,
        /// The peer's name.
        name: String,
        /// What both can do.
        features: Features,
    },
    /// The peer wants a flow: it is to be accepted or ended.
    Wanted(Open),
    /// A flow that was opened here is granted.
    Granted {
        /// Which.
        flow: u32,
        /// The topic, as its sender has it.
        topic: Topic,
        /// How far the receiver has got; of a pull, what was given.
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
