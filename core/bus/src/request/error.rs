//! What can go wrong with requests and replies, and what to do then.

use crate::error::{BusError, OpenError, PublishError};
use memlane_ring::ReadError;

/// Why a client or a server could not be opened, or a client could not connect to a server. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The bus, or the service's name, stands against it.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A topic of the connection stands against it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The server takes or gives other types than the client: use the same types and versions on both sides.
    #[error(
        "service {service} {found}, this client {expected}: use the same types and versions on both sides, or another service"
    )]
    TypeMismatch {
        /// The service's name.
        service: String,
        /// What the server takes and gives.
        found: String,
        /// What the client does.
        expected: String,
    },
}

/// Why a call has no reply.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No server of the service lives. Nothing was sent: wait for one with [`wait_for_server`](crate::Client::wait_for_server).
    #[error("no server of the service is there: start one, or wait for one")]
    NoServer,
    /// There are servers, but none to which this client can connect; this is what stood against the last one. Nothing was sent.
    #[error("can't connect to a server: {0}")]
    Connect(#[source] Box<ServiceError>),
    /// No reply came in time. The request may still be carried out; a reply that comes later is dropped.
    #[error("the time was up before a reply came")]
    TimedOut,
    /// The server died or left. The request may or may not have been carried out: repeat it only if that does no harm.
    #[error("the server died or left; the request may or may not have been carried out")]
    ServerDied,
    /// The server refused the request.
    #[error("refused: {text} (code {code})")]
    Refused {
        /// The application's number for the reason.
        code: u32,
        /// The reason in words.
        text: String,
    },
    /// The server took the request and dropped it without an answer, by intent or for an error of its own.
    #[error("the server took the request and dropped it without an answer")]
    Unanswered,
    /// The reply was ended without a value.
    #[error("the server ended its reply without a value")]
    Empty,
    /// This request was cancelled here, or its reply was taken before.
    #[error("the request was cancelled, or its reply was taken before")]
    Cancelled,
    /// The server has not read what it was sent: it is slower than its clients, or stopped. Nothing was sent: retry later.
    #[error("the server hasn't read what it was sent: wait, or retry later")]
    Full,
    /// The reply is no valid value of the client's type. It was dropped.
    #[error("the reply is not valid: {0}")]
    Invalid(#[source] crate::payload::InvalidPayload),
    /// The request could not be put together, or is too long. Nothing was sent.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The bus can't be looked through for servers.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// This process was forked after the client was opened.
    #[error("this client belongs to the parent of this forked process: open one in the child")]
    Forked,
}

/// Why a reply was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The client doesn't read its replies, and the server's patience was up. The client is told [`CallError::Unanswered`] once it reads.
    #[error("the client doesn't read its replies")]
    Full,
    /// The client died or left, or its connection was dropped: nobody waits for the reply.
    #[error("the client died or left")]
    ClientGone,
    /// The reply could not be put together, or is too long. Send another one.
    #[error(transparent)]
    Publish(PublishError),
}

impl From<PublishError> for ReplyError {
    fn from(error: PublishError) -> Self {
        use memlane_ring::ClaimError::{Corrupt, Forked, Full, Removed};
        match error {
            PublishError::Claim(Full) => Self::Full,
            PublishError::Claim(Removed | Forked | Corrupt) => Self::ClientGone,
            other => Self::Publish(other),
        }
    }
}

/// Why a server can't receive.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The bus can't be looked through for new clients. Those that are connected are served: go on receiving.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// This process was forked after the server was opened.
    #[error("this server belongs to the parent of this forked process: open one in the child")]
    Forked,
}

/// How reading from the other side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The other side has taken its leave.
    Gone,
    /// It sent what makes no sense.
    Nonsense,
    /// This process is another one by now.
    Forked,
}

impl From<ReadError> for Broken {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Removed => Self::Gone,
            ReadError::Forked => Self::Forked,
            ReadError::Lost { .. } | ReadError::Corrupt { .. } | ReadError::Malformed { .. } => Self::Nonsense,
        }
    }
}

impl From<memlane_ring::extension::Malformed> for Broken {
    fn from(_: memlane_ring::extension::Malformed) -> Self {
        Self::Nonsense
    }
}
