//! A connection, as its server has it.

use super::ASK_EVERY;
use super::answer::Dropped;
use super::error::{Broken, ReplyError};
use super::names::ConnectionName;
use super::presence::{self, name_was_checked};
use super::sender::Sender;
use crate::bus::Bus;
use crate::error::{OpenError, PublishError};
use crate::payload::Payload;
use crate::raw::{Hand, Trusted};
use crate::topic::Topic;
use core::num::NonZeroU64;
use memlane_ring::extension::{Block, CallFields, CallStatus, IdBlock, Parts};
use memlane_ring::{Lossy, Start, Wait};
use memlane_shm::{Access, LockFile};
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How many answers may be owed to a client that doesn't read, before its connection is dropped.
const OWED_MAX: usize = 4096;

/// A client that is connected.
pub(super) struct Connection<Q: ?Sized, R: ?Sized> {
    pub(super) name: ConnectionName,
    /// What most requests look like.
    usual: IdBlock,
    pub(super) requests: Hand<Q>,
    /// About the request in hand.
    pub(super) asked: Asked,
    pub(super) line: Line<R>,
}

/// What a server keeps of a client beside the requests that it reads: the way back, and what it knows of requests.
pub(super) struct Line<R: ?Sized> {
    /// A number that no other connection of this server has.
    pub(super) serial: u64,
    pub(super) requests: Topic,
    /// Held by the client as long as it lives.
    client: LockFile,
    replies: Sender<R>,
    /// Reads ahead of the request in hand, for its cancellation.
    ahead: Option<Lossy>,
    /// Requests that were cancelled and aren't done with.
    cancelled: BTreeSet<u128>,
    /// Requests that were detached, to be answered later.
    detached: BTreeSet<u128>,
    /// Requests that nobody will answer, which the client could not be told for want of room.
    owed: VecDeque<u128>,
    /// Detached requests that were dropped, of all connections of the server.
    pub(super) dropped: Arc<Dropped>,
    /// Whether the last reply found no room in time; the next one doesn't wait.
    is_clogged: bool,
    asked: Option<(Instant, bool)>,
    wait: Wait,
    patience: Duration,
}

/// What is known of a request in hand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) id: u128,
    pub(super) deadline_unix_ns: Option<NonZeroU64>,
    /// Whether it was answered, or will be later.
    pub(super) is_settled: bool,
}

/// The time in nanoseconds since 1970.
pub(super) fn unix_ns() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

impl<Q: ?Sized + Trusted, R: ?Sized + Payload> Connection<Q, R> {
    /// Takes up a connection that a client has made.
    pub(super) fn open(
        bus: &Bus,
        name: ConnectionName,
        serial: u64,
        (wait, patience): (Wait, Duration),
        dropped: Arc<Dropped>,
    ) -> Result<Self, OpenError> {
        let topic = |name: &str| bus.topic(name).map_err(name_was_checked)?.open();
        let requests = topic(&name.requests())?;
        requests.check_type::<Q>()?;
        let replies = topic(&name.replies())?;
        replies.check_type::<R>()?;
        let gated = requests.log().gated(requests.map(), Start::Earliest)?;
        let client = requests.log().publisher_locks(Access::ReadOnly)?;
        let replies = Sender::new(replies.log().publisher(replies.map(), Duration::ZERO)?);
        let line = Line {
            serial,
            requests,
            client,
            replies,
            ahead: None,
            cancelled: BTreeSet::new(),
            detached: BTreeSet::new(),
            owed: VecDeque::new(),
            dropped,
            is_clogged: false,
            asked: None,
            wait,
            patience,
        };
        let geometry = *line.requests.log().geometry();
        let requests = Hand::new(gated, geometry);
        Ok(Self { name, usual: IdBlock::new(&geometry), requests, asked: Asked::default(), line })
    }

    /// Takes the next request in hand, if there is one. Deals with everything else that comes before it.
    ///
    /// Errors: [`Broken`]; then the connection is of no use any more.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<bool, Broken> {
        Ok(self.next_usual() || self.next_unusual()?)
    }

    /// Takes the next message in hand, if it is there, and nothing but a request.
    #[inline(always)]
    pub(super) fn next_usual(&mut self) -> bool {
        let Self { usual, requests, asked, line, .. } = self;
        let is_usual = line.cancelled.is_empty()
            && requests.hold_if(|word, body| {
                let (id, payload_at) = usual.split(word, body)?;
                (asked.id, asked.deadline_unix_ns, asked.is_settled) = (id, None, false);
                Some(payload_at)
            });
        if is_usual {
            line.replies.expect(asked.id);
        }
        is_usual
    }

    /// The same for requests of all shapes.
    #[inline(never)]
    fn next_unusual(&mut self) -> Result<bool, Broken> {
        loop {
            let geometry = *self.requests.geometry();
            let Some((word, body)) = self.requests.gated().peek()? else { return Ok(false) };
            let parts = Parts::of(&geometry, word, body)?;
            let CallFields { correlation_id, status, deadline_unix_ns } = CallFields::of(parts.fields)?;
            let id = correlation_id.ok_or(Broken::Nonsense)?;
            match status {
                None => {}
                Some(CallStatus::Cancel) => {
                    self.line.is_cancelled_by(id);
                    self.requests.gated().skip()?;
                    continue;
                }
                Some(_) => return Err(Broken::Nonsense),
            }
            let payload_at = body.len() - parts.payload.len();
            if !self.requests.hold_if(|_, _| Some(payload_at)) {
                return Err(Broken::Nonsense);
            }
            let is_late = deadline_unix_ns.is_some_and(|deadline| unix_ns() > deadline);
            if !is_late && (self.line.cancelled.is_empty() || !self.line.cancelled.contains(&id)) {
                let deadline_unix_ns = deadline_unix_ns.and_then(NonZeroU64::new);
                self.asked = Asked { id, deadline_unix_ns, is_settled: false };
                return Ok(true);
            }
            // Nobody waits for it any more.
            self.requests.gated().skip()?;
        }
    }

    /// The request in hand was answered, for good.
    #[inline(always)]
    pub(super) fn settle(&mut self) {
        self.asked.is_settled = true;
        self.line.is_done(self.asked.id);
    }
}

impl<Q: ?Sized, R: ?Sized> Connection<Q, R> {
    /// Removes its topics if the client died or left, so that its reader comes to an end.
    pub(super) fn remove_if_dead(&mut self, bus: &Bus) {
        if !self.line.client.is_held_by_another(0).unwrap_or(true) {
            presence::remove_connection_if_dead(bus, &self.name);
        }
    }
}

impl<R: ?Sized> Line<R> {
    /// The client has said that it doesn't want an answer to this request, which came before that.
    fn is_cancelled_by(&mut self, id: u128) {
        if self.detached.contains(&id) {
            self.cancelled.insert(id);
        } else {
            // Done with, or passed over.
            self.cancelled.remove(&id);
        }
    }

    /// Whether the client lives, asked at most every millisecond.
    pub(super) fn client_lives(&mut self) -> bool {
        let now = Instant::now();
        match self.asked {
            Some((at, lives)) if now - at < ASK_EVERY => lives,
            _ => {
                let lives = self.client.is_held_by_another(0).unwrap_or(true);
                self.asked = Some((now, lives));
                lives
            }
        }
    }

    /// Whether the client has cancelled the request at `position`, which the server holds, or, without a position, one that was detached.
    pub(super) fn is_cancelled(&mut self, id: u128, position: Option<u64>) -> bool {
        if let Some(position) = position {
            // What can't be read will end the connection when its turn comes.
            let _ = self.read_ahead(position);
        }
        self.cancelled.contains(&id) || !self.client_lives()
    }

    /// Looks for cancellations behind the request at `position`.
    fn read_ahead(&mut self, position: u64) -> Option<()> {
        let (log, map) = (self.requests.log(), self.requests.map());
        if self.ahead.is_none() {
            self.ahead = Some(log.lossy(map, Start::Position(position)).ok()?);
        }
        let ahead = self.ahead.as_mut()?;
        loop {
            let copied = match ahead.poll() {
                Ok(Some(copied)) => copied,
                // Everything from the request in hand on is there: this was done with.
                Err(memlane_ring::ReadError::Lost { .. }) => continue,
                Ok(None) | Err(_) => return Some(()),
            };
            if copied.position <= position {
                continue;
            }
            let parts = Parts::of(log.geometry(), copied.word, ahead.body(&copied)).ok()?;
            let fields = CallFields::of(parts.fields).ok()?;
            if fields.status == Some(CallStatus::Cancel) {
                self.cancelled.extend(fields.correlation_id);
            }
        }
    }

    /// The request will be answered later.
    pub(super) fn detach(&mut self, id: u128) {
        self.detached.insert(id);
    }

    /// The request was answered, for good.
    pub(super) fn is_done(&mut self, id: u128) {
        if !self.detached.is_empty() && self.detached.remove(&id) {
            self.cancelled.remove(&id);
        }
    }
}

impl<R: ?Sized + Payload> Line<R> {
    /// Sends a final reply.
    #[inline(always)]
    pub(super) fn reply(&mut self, id: u128, reply: &R) -> Result<(), ReplyError> {
        match self.replies.send(id, reply) {
            Ok(()) => {
                self.is_clogged = false;
                Ok(())
            }
            Err(error) if error.is_full() => self.reply_patiently(id, reply, None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a reply with a status; waits for room up to the server's patience, unless the last one did in vain.
    #[cold]
    pub(super) fn reply_patiently(
        &mut self,
        id: u128,
        reply: &R,
        status: Option<CallStatus<'_>>,
    ) -> Result<(), ReplyError> {
        let extend = |block: &mut Block| status.map_or(Ok(()), |status| block.call_status(status).map_err(Into::into));
        let timeout = if self.is_clogged { Duration::ZERO } else { self.patience };
        let client = &self.client;
        let is_awaited = || client.is_held_by_another(0).unwrap_or(true);
        let outcome = self.replies.send_patiently(id, reply, (self.wait, timeout), extend, is_awaited);
        self.is_clogged = outcome.is_err_and(|error| error.is_full());
        if self.is_clogged && !is_awaited() {
            return Err(ReplyError::ClientGone);
        }
        Ok(outcome?)
    }

    /// Says how the request ends; later, if there is no room now.
    pub(super) fn end(&mut self, id: u128, status: CallStatus<'_>) -> Result<(), ReplyError> {
        let deadline = Instant::now().checked_add(self.patience).filter(|_| !self.is_clogged);
        loop {
            let outcome = self.replies.say(id, status);
            let is_full = outcome.is_err_and(|error: PublishError| error.is_full());
            let is_over = deadline.is_none_or(|deadline| Instant::now() >= deadline);
            if !is_full || is_over {
                self.is_clogged = is_full;
                return Ok(outcome?);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// The request in hand was dropped without an answer.
    #[cold]
    pub(super) fn is_dropped(&mut self, id: u128) {
        self.is_done(id);
        self.give_up(id);
    }

    /// Says that nobody will answer the request; later, if there is no room now. Never waits.
    pub(super) fn give_up(&mut self, id: u128) {
        let outcome = self.replies.say(id, CallStatus::Unanswered);
        if outcome.is_err_and(|error| error.is_full()) {
            self.owed.push_back(id);
        }
    }

    /// Says what it could not say before; whether the client has come to owe so much that it is no client any more.
    pub(super) fn settle(&mut self) -> bool {
        while let Some(id) = self.owed.front() {
            if self.replies.say(*id, CallStatus::Unanswered).is_err_and(|error| error.is_full()) {
                break;
            }
            self.owed.pop_front();
        }
        self.owed.len() <= OWED_MAX
    }
}

impl<Q: ?Sized, R: ?Sized> fmt::Debug for Connection<Q, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connection").field("name", &self.name).finish_non_exhaustive()
    }
}
