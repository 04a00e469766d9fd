//! A connection, as its client has it.

use super::error::{Broken, CallError, ServiceError};
use super::names::{self, ConnectionName};
use super::presence::{self, name_was_checked};
use super::sender::Sender;
use crate::bus::Bus;
use crate::error::{OpenError, PublishError};
use crate::payload::Payload;
use crate::raw::{Hand, Stored, Trusted};
use memlane_ring::extension::{Block, CallFields, CallStatus, IdBlock, Parts};
use memlane_ring::layout::Geometry;
use memlane_ring::{Gated, Publisher, Start, TopicError, Wait};
use memlane_shm::{Access, LockFile, fork};
use std::fmt;
use std::time::Duration;

/// A server that a client is connected to. Dropping it removes the connection.
pub(super) struct Link<Q: ?Sized, R: ?Sized> {
    bus: Bus,
    name: ConnectionName,
    pub(super) server: String,
    /// A number that no other link of this client has.
    pub(super) serial: u64,
    pub(super) requests: Sender<Q>,
    /// Keeps the first requests from being written over as long as the server hasn't taken up the connection.
    holder: Option<Gated>,
    pub(super) replies: Hand<R>,
    /// What most replies look like.
    usual: IdBlock,
    /// Of the server's presence, held by it as long as it lives.
    presence: LockFile,
    /// Requests that have no final reply yet.
    pub(super) outstanding: usize,
    generation: u64,
}

/// What a message from the server is to its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A reply, or a part of one.
    Reply {
        is_more: bool,
        /// Where its payload begins, in the frame's body.
        payload_at: usize,
    },
    /// The end of a reply of many parts.
    End,
    /// An error.
    Failed(Failure),
}

/// Why a request has no reply, as far as its server knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Refused { code: u32, text: String },
    Unanswered,
    Invalid(crate::payload::InvalidPayload),
    ServerDied,
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused { code, text } => Self::Refused { code, text },
            Failure::Unanswered => Self::Unanswered,
            Failure::Invalid(reason) => Self::Invalid(reason),
            Failure::ServerDied => Self::ServerDied,
        }
    }
}

impl Arrival {
    /// Whether nothing comes after it.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Self::Reply { is_more: true, .. })
    }
}

impl<Q: ?Sized + Trusted, R: ?Sized + Trusted> Link<Q, R> {
    /// Connects to a server; `None` if it is gone.
    pub(super) fn open(
        bus: &Bus,
        (service, server): (&str, &str),
        serial: u64,
        capacity_bytes: u64,
    ) -> Result<Option<Self>, ServiceError> {
        let found = names::presence(service, server);
        let Some(presence) = presence::locks(bus, &found, Access::ReadOnly).map_err(OpenError::from)? else {
            return Ok(None);
        };
        if !presence.is_held_by_another(0).unwrap_or(true) {
            presence::remove_if_dead(bus, &found, None);
            return Ok(None);
        }
        let expected = presence::types::<Q, R>();
        match said(bus, &found) {
            Err(OpenError::Topic(TopicError::NotFound { .. })) => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(found) if !is_said(&found, &expected) => {
                return Err(ServiceError::TypeMismatch { service: service.to_owned(), found, expected });
            }
            Ok(_) => {}
        }
        let (name, made) = presence::undisturbed(|| {
            let name = ConnectionName::new(service, server, &names::new_id());
            let made = make::<Q, R>(bus, &name, capacity_bytes);
            let made = made.inspect_err(|_| {
                for name in [name.replies(), name.opening()] {
                    let _ = bus.remove(&name);
                }
            })?;
            Ok((name, made))
        })?;
        Ok(Some(Self {
            bus: bus.clone(),
            name,
            server: server.to_owned(),
            serial,
            requests: Sender::new(made.requests),
            holder: Some(made.holder),
            replies: Hand::new(made.replies, made.geometry),
            usual: IdBlock::new(&made.geometry),
            presence,
            outstanding: 0,
            generation: fork::generation(),
        }))
    }

    /// Takes the next message in hand, if it is there, and nothing but a valid final reply to this request.
    #[inline(always)]
    pub(super) fn hold_usual(&mut self, id: u128) -> bool {
        let Self { usual, replies, .. } = self;
        replies.hold_if(|word, body| {
            let (found, payload_at) = usual.split(word, body)?;
            (found == id).then_some(payload_at)
        })
    }

    /// The next message for a request, if there is one: which request, and what the message is. It stays where it is.
    ///
    /// Errors: [`Broken`]; then the connection is of no use any more.
    pub(super) fn peek(&mut self) -> Result<Option<(u128, Arrival)>, Broken> {
        let geometry = *self.replies.geometry();
        let Some((word, body)) = self.replies.gated().peek()? else { return Ok(None) };
        let parts = Parts::of(&geometry, word, body)?;
        let CallFields { correlation_id, status, .. } = CallFields::of(parts.fields)?;
        let id = correlation_id.ok_or(Broken::Nonsense)?;
        let is_more = match status {
            None => false,
            Some(CallStatus::More) => true,
            Some(CallStatus::End) => return Ok(Some((id, Arrival::End))),
            Some(CallStatus::Unanswered) => return Ok(Some((id, Arrival::Failed(Failure::Unanswered)))),
            Some(CallStatus::Refused { code, text }) => {
                return Ok(Some((id, Arrival::Failed(Failure::Refused { code, text: text.to_owned() }))));
            }
            Some(CallStatus::Cancel) => return Err(Broken::Nonsense),
        };
        Ok(Some(match R::view(parts.payload) {
            Ok(_) => (id, Arrival::Reply { is_more, payload_at: body.len() - parts.payload.len() }),
            Err(reason) => (id, Arrival::Failed(Failure::Invalid(reason))),
        }))
    }

    /// Copies out the message that `peek` found, and passes over it.
    pub(super) fn store(&mut self, payload_at: usize) -> Option<Stored> {
        let (geometry, position) = (*self.replies.geometry(), self.replies.position());
        let (word, body) = self.replies.gated().peek().ok()??;
        let stored = Stored::new(&geometry, (position, word), body, payload_at);
        self.replies.gated().skip().ok()?;
        Some(stored)
    }

    /// Sends a request; waits for room for `timeout` at most, and no longer than the server lives.
    pub(super) fn send_patiently(
        &mut self,
        id: u128,
        request: &Q,
        how: (Wait, Duration),
        extend: impl FnOnce(&mut Block) -> Result<(), PublishError>,
    ) -> Result<(), PublishError> {
        let Self { requests, holder, replies, presence, .. } = self;
        requests.send_patiently(id, request, how, extend, || {
            let_go(holder, replies);
            presence.is_held_by_another(0).unwrap_or(true)
        })
    }

    /// Where there is no room: whether that was for want of a look whether the server reads by now.
    #[cold]
    pub(super) fn makes_room(&mut self) -> bool {
        let_go(&mut self.holder, &self.replies)
    }

    /// Whether the server lives.
    ///
    /// Cost: a system call.
    pub(super) fn server_lives(&self) -> bool {
        self.presence.is_held_by_another(0).unwrap_or(true)
    }

    /// Whether the connection is there, as far as was told. Cost: a load or two.
    #[inline(always)]
    pub(super) fn is_live(&self) -> bool {
        self.replies.awaited().is_live()
    }
}

/// Lets go of the requests if the server holds them by now; whether they were held.
fn let_go(holder: &mut Option<Gated>, replies: &Gated) -> bool {
    // A server becomes the publisher of replies once it holds the requests.
    holder.is_some() && replies.has_publisher_come(0) && holder.take().is_some()
}

/// What a presence says about the types.
fn said(bus: &Bus, presence: &str) -> Result<String, OpenError> {
    let topic = bus.topic(presence).map_err(name_was_checked)?.prefault(false).open()?;
    let mut reader = topic.subscriber::<[u8]>().lossy().start(Start::Earliest).open()?;
    let text = reader.try_receive().ok().flatten().map(|text| String::from_utf8_lossy(&text).into_owned());
    Ok(text.unwrap_or_default())
}

/// Whether a presence's text, which is cut if it is very long, says `expected`.
fn is_said(found: &str, expected: &str) -> bool {
    found == expected || found.len() > 500 && expected.starts_with(found)
}

/// The client's ends of a connection.
struct Made {
    requests: Publisher,
    holder: Gated,
    replies: Gated,
    geometry: Geometry,
}

/// Makes the topics of a connection, which appears whole.
fn make<Q: ?Sized + Payload, R: ?Sized + Payload>(
    bus: &Bus,
    name: &ConnectionName,
    capacity_bytes: u64,
) -> Result<Made, OpenError> {
    let builder = |name: &str| {
        let builder = bus.topic(name).map_err(name_was_checked)?;
        // The two sides subscribe, and nobody else: he could hold the connection up.
        Ok::<_, OpenError>(builder.capacity_bytes(capacity_bytes).subscribers_max(2))
    };
    let (opening, requests) = presence::make_and_lock(&presence::typed::<Q>(builder(&name.opening())?))?;
    let holder = opening.log().gated(opening.map(), Start::Earliest)?;
    let replies = presence::typed::<R>(builder(&name.replies())?).create()?;
    let gated = replies.log().gated(replies.map(), Start::Earliest)?;
    presence::reveal(bus, &name.opening(), &name.requests())?;
    Ok(Made { requests, holder, replies: gated, geometry: *replies.log().geometry() })
}

impl<Q: ?Sized, R: ?Sized> Drop for Link<Q, R> {
    fn drop(&mut self) {
        // What a forked parent left to its child is the parent's.
        if self.generation == fork::generation() {
            presence::remove_connection(&self.bus, &self.name);
        }
    }
}

impl<Q: ?Sized, R: ?Sized> fmt::Debug for Link<Q, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").field("server", &self.server).finish_non_exhaustive()
    }
}
