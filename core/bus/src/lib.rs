//! memlane: a message bus for services that share a host and count in nanoseconds.
//!
//! A [`Bus`] is a directory in shared memory; a [`Topic`] is a log in it that any process of the host can publish to
//! and read from. Every subscriber sees the same messages in the same order, each with a *position* that is its identity for ever.
//!
//! ```
//! use memlane::Bus;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let root = memlane::doc_root();
//! let bus = Bus::builder("quickstart").root(&root).open()?;
//! let topic = bus.topic("md.trades")?.open_or_create()?;
//! let mut subscriber = topic.subscriber::<[u8]>().open()?;
//! let mut publisher = topic.publisher::<[u8]>().open()?;
//!
//! publisher.publish(b"hello")?;
//! let message = subscriber.receive()?;
//! assert_eq!(&*message, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! Messages with a type derive [`Message`] and are read in place, validated: see [`Publisher::publish`]. A message may carry headers, a
//! key, a correlation id, a trace context and more beside its payload: see [`OutgoingMessage`]; a subscriber may ask for some of them
//! only: see [`Filter`]. Requests and replies: see [`Client::call`] and [`Server`].
//!
//! A topic keeps the description of its message type, by which who has no such type reads the messages: see [`Shape`].
//!
//! What is to outlive the ring, or the host, is recorded: see [`journal`].
//!
//! # What happens at a crash
//!
//! Whether a participant lives is asked of the kernel. What a dead publisher left unfinished is skipped, a dead subscriber's hold is
//! released, by whoever is held up, within milliseconds. A participant that is only stopped is waited for.

#![deny(unsafe_code)]

mod asynchronous;
mod backfill;
mod block_on;
mod bus;
mod bus_recorder;
mod description;
mod durable;
mod error;
mod filter;
pub mod journal;
mod last_values;
mod layout;
mod loan;
mod message;
mod name;
mod outgoing;
mod pattern;
mod pattern_subscriber;
mod payload;
mod permission;
mod publisher;
#[allow(unsafe_code, reason = "the one module that may: see its head")]
mod raw;
mod received;
pub mod replication;
mod request;
mod selector;
mod shape;
mod source;
mod subscriber;
mod topic;
mod transform;
mod waiter;
mod watch;

pub use asynchronous::{MessageStream, Notifier};
pub use block_on::block_on;
pub use bus::{Bus, BusBuilder, Garbage};
pub use description::DescriptionError;
pub use durable::DurableError;
pub use error::{BusError, OpenError, PublishError, ReceiveError, TypeName};
pub use filter::Filter;
pub use last_values::LastValues;
pub use layout::{Description, Layout, fingerprint};
pub use loan::{Loan, TypedLoan};
pub use memlane_derive::{Layout, Message};
pub use memlane_ring::extension::{ExtensionError, Field, InvalidTraceParent, Malformed, Source, TraceContext};
pub use memlane_ring::snapshot::{Comings, Participant, Role, Snapshot};
pub use memlane_ring::{
    ClaimError, Label, LabelError, LastValuesOptions, Publishers, Rate, RateLimit, Start, TopicError, TypeTag, Wait,
};
pub use memlane_shm::{Backing, SegmentError};
pub use message::{Message, TypeInfo};
pub use name::NameError;
pub use outgoing::OutgoingMessage;
pub use pattern::{Pattern, PatternTextError};
pub use pattern_subscriber::{PatternError, PatternSubscriber, PatternSubscriberBuilder};
pub use payload::{EncodeError, InvalidPayload, Payload, Scratch};
pub use permission::UserClass;
pub use publisher::{OnFull, Publisher, PublisherBuilder};
pub use raw::Trusted;
pub use received::{Received, Sample};
pub use request::{
    Answer, CallError, Client, ClientBuilder, Detached, OutgoingRequest, Pending, Reply, ReplyError, Request, Server,
    ServerBuilder, ServerError, ServiceError,
};
pub use selector::{Selectable, Selector};
pub use shape::{Shape, ShapeError, Value, ValueError};
pub use source::SourcePublisher;
pub use subscriber::{Kind, Subscriber, SubscriberBuilder};
pub use topic::{Topic, TopicBuilder, TopicInfo};
pub use transform::{OutputError, Outputs, Transform, TransformBuilder, TransformError};
pub use watch::{Event, Watcher};

#[doc(hidden)]
pub mod __private {
    pub use crate::layout::{ALIGN_MAX, Description, Field, Variant, align_max};
    pub use crate::payload::{Encode, Verify};
    pub use rkyv;
}

/// A fresh directory for the examples in these docs; the system clears it away.
#[doc(hidden)]
#[must_use]
pub fn doc_root() -> std::path::PathBuf {
    let root = std::env::temp_dir().join(format!("memlane-doc-{}", std::process::id()));
    // The example that needs it says what is wrong if it isn't there.
    let _ = std::fs::create_dir_all(&root);
    root
}
