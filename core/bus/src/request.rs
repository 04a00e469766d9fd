//! Request–reply: clients ask, one of the servers of a service answers.
//!
//! Each pair of a client and a server has a *connection*: two small topics for one publisher each, so that a request and its reply cost two
//! plain hops. No participant takes another's place, so nothing is shared that a dead one could hold.
//!
//! ```text
//!   orders.server.<server>                  presence: its publisher's lock is held as long as the server lives
//!   orders.<server>.<client>.requests       client ──> server: requests, cancellations; the client holds its publisher's lock
//!   orders.<server>.<client>.replies        server ──> client: replies
//!   orders.making.<server>                  a presence that is being made, renamed when it is whole and locked
//!   orders.<server>.<client>.opening        requests that are being made, the same
//! ```
//!
//! Invariant: a presence and a `requests` appear with their lock held, so one whose lock is free belongs to the dead. Whoever removes
//! one takes its lock first (`presence.rs`); the `replies` go before the `requests`, so they are never left behind alone. Ids don't repeat.
//!
//! | who dies | noticed by | then |
//! |---|---|---|
//! | a server | its clients: they ask for its presence's lock every millisecond while they wait | [`CallError::ServerDied`]; they remove the connection and the presence |
//! | a client | its servers: they ask ten times a second, and when the bus changes | the requests that came are read, the connection is removed |
//! | both | whoever opens a client or a server of the service next, or `gc` | removed |
//!
//! What a message of a connection is, its extensions say: `core/ring/src/extension/call.rs`.

mod answer;
mod call;
mod client;
mod connection;
mod error;
mod link;
mod names;
mod outgoing;
mod presence;
mod reply;
mod sender;
mod server;
mod task;

pub use answer::{Answer, Detached, Request};
pub use client::{Client, ClientBuilder};
pub use error::{CallError, ReplyError, ServerError, ServiceError};
pub use outgoing::OutgoingRequest;
pub(crate) use presence::sweep_all;
pub use reply::{Pending, Reply};
pub use server::{Server, ServerBuilder};

use std::time::Duration;

/// How often whoever waits asks whether the other side lives.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// How often a server asks whether its clients live, and looks for new ones where the bus has no bell that tells.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Polls between two looks at the clock, and at deaths and removals.
const POLLS_PER_ROUND: u32 = 128;
