//! Layer 4 of memlane: what two bridges say to each other, without sockets, clocks and threads. Bytes go in and come out; whoever drives it has the rest.
//!
//! Read in this order:
//!
//! 1. `layout.rs`: every number on the wire, in prose in `docs/bridge-protocol.md`
//! 2. `codec.rs`: fields of fixed width, one behind the other, read with distrust
//! 3. `control.rs`: the messages that open, steer and end flows
//! 4. `batch.rs`: runs of frames, without their padding

#![forbid(unsafe_code)]

pub mod batch;
pub mod codec;
pub mod control;
pub mod layout;

pub use batch::{Batch, BatchHead, Packer, Unpacked};
pub use codec::Malformed;
pub use control::{Control, Direction, EndCode, Features, Hello, Mark, Mode, Open, Topic, Welcome, common_version};
pub use memlane_ring::FrameShape;
