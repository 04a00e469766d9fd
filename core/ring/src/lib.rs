//! Layer 1 of memlane: the log, a ring buffer in shared memory that carries messages between processes.
//!
//! Read in this order; the second to the fourth are the hot path:
//!
//! 1. `layout.rs`: every byte that another process sees
//! 2. `one.rs`: one publisher, plain stores
//! 3. `many.rs`: many publishers, one compare-and-swap
//! 4. `read.rs`: gated subscribers
//! 5. `lap.rs`, `room.rs`, `reclaim.rs`: what a lap's frames have in common; room for the next; making it
//! 6. `look.rs`, `lossy.rs`, `wanted.rs`, `peek.rs`: what stands at a position; subscribers that hold nobody up; those who want some frames
//!    only, or look before they take
//! 7. `join.rs`, `attach.rs`: becoming a subscriber, a publisher
//! 8. `recover.rs`: after a death
//! 9. `wait.rs`, `sleep.rs`, `wake.rs`, `bell.rs`: waiting, sleeping and waking
//! 10. `publisher.rs`, `topic.rs`, `snapshot.rs`, `header.rs`, `extension.rs`, `memory.rs`, `error.rs`: the rest of the outside
//!
//! Orderings have names, given at both ends: COMMIT/OBSERVE, FREE AHEAD, NEWEST, CLAIM, STAMPED, JOIN,
//! OVERWRITE/OVERTAKEN, RELEASE, WAKE. What each pairs with stands in `docs/architecture.md`.

mod attach;
#[cfg(not(loom))]
mod bell;
pub mod error;
pub mod extension;
pub mod header;
mod join;
mod lap;
pub mod layout;
mod look;
mod lossy;
mod many;
mod memory;
#[cfg(loom)]
pub mod model;
mod one;
#[cfg(not(loom))]
mod peek;
#[cfg(not(loom))]
mod publisher;
mod read;
mod reclaim;
mod recover;
mod room;
mod sleep;
#[cfg(not(loom))]
pub mod snapshot;
#[cfg(not(loom))]
pub mod topic;
mod wait;
mod wake;
#[cfg(not(loom))]
mod wanted;

#[cfg(not(loom))]
pub use bell::BusBell;
pub use error::{ClaimError, ReadError, TopicError};
pub use header::{Publishers, TopicOptions, TypeTag};
pub use join::Start;
pub use lossy::{Copied, Lossy};
pub use many::ManyPublisher;
pub use memory::{Log, Subs};
pub use one::{OnePublisher, Payloads};
#[cfg(not(loom))]
pub use publisher::{Claim, Publisher, STAGED_BYTES_MAX};
pub use read::{Frame, Gated};
#[cfg(not(loom))]
pub use sleep::{Awaited, OnBell, OwnWord, Watch, sleep_for_any};
#[cfg(not(loom))]
pub use topic::{Permissions, Topic};
pub use wait::Wait;
#[cfg(not(loom))]
pub use wanted::Wanted;
