//! Layer 4 of memlane: what two bridges say to each other, without sockets, clocks and threads. Bytes go in and come out; whoever drives it has the rest.
//!
//! Read in this order:
//!
//! 1. `layout.rs`: every number on the wire, in prose in `docs/bridge-protocol.md`
//! 2. `codec.rs`: fields of fixed width, one behind the other, read with distrust
//! 3. `control.rs`: the messages that open, steer and end flows
//! 4. `batch.rs`, `compress.rs`: runs of messages, without what a log has around them
//! 5. `connection.rs`, `event.rs`, `peer.rs`, `flow.rs`, `incoming.rs`, `latest.rs`, `clock.rs`: one end of a connection; what a peer sends

#![forbid(unsafe_code)]

pub mod batch;
mod clock;
pub mod codec;
mod compress;
mod connection;
pub mod control;
mod event;
mod flow;
mod incoming;
mod latest;
pub mod layout;
mod peer;

pub use batch::{Batch, BatchHead, Message, Messages, Packer};
pub use codec::Malformed;
pub use compress::Compressor;
pub use connection::{Connection, NODE_NAME_BYTES_MAX, Settings, Side};
pub use control::{Control, EndCode, Features, Hello, Mark, Mode, Open, StartAt, Topic, Want, Welcome, common_version};
pub use event::{Event, Output, SendError};
pub use flow::FlowState;
pub use memlane_ring::FrameShape;
