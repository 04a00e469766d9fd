//! Layer 1 of memlane: the log, a ring buffer in shared memory that carries messages between processes.
//!
//! Read in this order; the second to the fourth are the hot path:
//!
//! 1. `layout.rs`: every byte that another process sees
//! 2. `one.rs`: one publisher, plain stores
//! 3. `many.rs`: many publishers, one compare-and-swap
//! 4. `read.rs`: gated subscribers
//! 5. `frontier.rs`, `lap.rs`, `room.rs`, `reclaim.rs`: the next claim of many; what a lap's frames have in common; room for the next; making it
//! 6. `look.rs`, `lossy.rs`, `wanted.rs`, `peek.rs`, `run.rs`: what stands at a position; subscribers that hold nobody up; those who want
//!    some frames only, look before they take, or take the bytes as they are
//! 7. `join.rs`, `attach.rs`, `origin.rs`: becoming a subscriber, a publisher; a topic that goes on where it was before
//! 8. `recover.rs`, `slot.rs`: after a death; who came and went, and how much it did
//! 9. `source.rs`, `last_values.rs`: what is taken down of frames before they are given up: how far each source got, the last message of each key
//! 10. `wait.rs`, `sleep.rs`, `wake.rs`, `bell.rs`, `durable.rs`: waiting, sleeping and waking; until a message is durable
//! 11. `publisher.rs`, `topic.rs`, `create.rs`, `removal.rs`, `snapshot.rs`, `header.rs`, `extension.rs`, `shape.rs`, `memory.rs`, `error.rs`: the rest of the outside
//!
//! Orderings have names, given at both ends: COMMIT/OBSERVE, FREE AHEAD, NEWEST, CLAIM, STAMPED, JOIN,
//! OVERWRITE/OVERTAKEN, RELEASE, WAKE, DURABLE, FOLDED, REPLACED, KEYED. What each pairs with stands in `docs/architecture.md`.

mod attach;
mod bell;
#[cfg(not(loom))]
mod create;
#[cfg(not(loom))]
mod durable;
pub mod error;
pub mod extension;
mod frontier;
pub mod header;
mod join;
mod label;
mod lap;
pub mod last_values;
pub mod layout;
mod look;
mod lossy;
mod many;
mod memory;
mod metered;
#[cfg(loom)]
pub mod model;
mod observer;
mod one;
#[cfg(not(loom))]
mod origin;
#[cfg(not(loom))]
mod peek;
#[cfg(not(loom))]
mod permissions;
#[cfg(not(loom))]
mod publisher;
#[cfg_attr(loom, allow(dead_code, reason = "publishers of either kind, who use it, aren't modelled"))]
mod rate;
mod read;
mod reclaim;
mod recover;
#[cfg(not(loom))]
mod removal;
mod room;
#[cfg(not(loom))]
mod run;
mod shape;
mod sleep;
mod slot;
#[cfg(not(loom))]
pub mod snapshot;
#[cfg(not(loom))]
mod source;
#[cfg(not(loom))]
pub mod topic;
mod wait;
mod wake;
#[cfg(not(loom))]
mod wanted;

pub use bell::BusBell;
#[cfg(not(loom))]
pub use durable::DurableError;
pub use error::{ClaimError, ReadError, TopicError};
pub use header::{Publishers, TopicOptions, TypeTag};
pub use join::Start;
pub use label::{LABEL_TEXT_BYTES_MAX, Label, LabelError};
pub use last_values::layout::LastValuesOptions;
#[cfg(not(loom))]
pub use last_values::{Kept, LastValues};
pub use lossy::{Copied, Lossy};
pub use many::ManyPublisher;
pub use memory::{Log, Subs};
pub use one::{OnePublisher, Payloads};
#[cfg(not(loom))]
pub use origin::{LastMessage, Origin};
#[cfg(not(loom))]
pub use permissions::Permissions;
#[cfg(not(loom))]
pub use publisher::{Claim, Publisher, STAGED_BYTES_MAX};
pub use rate::{Rate, RateLimit};
pub use read::{Frame, Gated};
#[cfg(not(loom))]
pub use run::Run;
pub use shape::{Found, FrameShape};
pub use sleep::{Awaited, OnBell, OwnWord, Watch, sleep_for_any};
#[cfg(not(loom))]
pub use source::Seat;
#[cfg(not(loom))]
pub use topic::Topic;
pub use wait::{Held, Wait};
#[cfg(not(loom))]
pub use wanted::Wanted;
