//! A request in a server's hands, and the ways to answer it.

use super::connection::{Connection, Line, unix_ns};
use super::error::ReplyError;
use crate::payload::Payload;
use crate::raw::Trusted;
use crate::received::Received;
use core::num::NonZeroU64;
use core::ops::Deref;
use memlane_ring::extension::CallStatus;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A request, read in place, to be answered. Dropped without an answer, it tells the client so
/// ([`CallError::Unanswered`](crate::CallError::Unanswered)).
///
/// It derefs to the message. As long as it lives, its server receives nothing: [`Request::detach`] is for answers that take time.
pub struct Request<'a, Q: ?Sized + Trusted, R: ?Sized + Payload> {
    connection: &'a mut Connection<Q, R>,
}

impl<'a, Q: ?Sized + Trusted, R: ?Sized + Payload> Request<'a, Q, R> {
    /// The one that `connection` has in hand.
    #[inline(always)]
    pub(super) fn new(connection: &'a mut Connection<Q, R>) -> Self {
        Self { connection }
    }

    /// Answers it.
    ///
    /// Cost: that of a publish. If the client doesn't read its replies, waits up to the server's patience for room, once.
    /// Errors: [`ReplyError`]; then the client is told that there is no answer.
    #[inline(always)]
    pub fn reply(self, reply: &R) -> Result<(), ReplyError> {
        let Connection { asked, line, .. } = &mut *self.connection;
        line.reply(asked.id, reply)?;
        self.connection.settle();
        Ok(())
    }

    /// Refuses it, with the application's number for the reason and the reason in words.
    ///
    /// Errors: [`ReplyError`]; then the client is told that there is no answer.
    pub fn reply_error(self, code: u32, text: &str) -> Result<(), ReplyError> {
        self.end(CallStatus::Refused { code, text })
    }

    /// Sends a part of the reply; [`Request::finish`] or [`Request::reply`] ends it.
    ///
    /// Cost: as for [`Request::reply`]. Errors: [`ReplyError`]; after `Full` it may be tried again.
    pub fn send(&mut self, part: &R) -> Result<(), ReplyError> {
        let Connection { asked, line, .. } = &mut *self.connection;
        line.reply_patiently(asked.id, part, Some(CallStatus::More))
    }

    /// Ends a reply of which all parts were sent.
    ///
    /// Errors: [`ReplyError`]; then the client is told that there is no answer.
    pub fn finish(self) -> Result<(), ReplyError> {
        self.end(CallStatus::End)
    }

    fn end(self, status: CallStatus<'_>) -> Result<(), ReplyError> {
        let Connection { asked, line, .. } = &mut *self.connection;
        line.end(asked.id, status)?;
        self.connection.settle();
        Ok(())
    }

    /// Whether the client has cancelled it, or died.
    ///
    /// Cost: a look at what the client has sent since; a system call every millisecond at most. The first call for a client takes some six.
    pub fn is_cancelled(&mut self) -> bool {
        let Connection { requests, asked, line, .. } = &mut *self.connection;
        line.is_cancelled(asked.id, Some(requests.position()))
    }

    /// Until when the client waits, in nanoseconds since 1970, if it says so
    /// ([`ClientBuilder::tell_deadlines`](crate::ClientBuilder::tell_deadlines)). One whose deadline has passed is not received at all.
    #[must_use]
    pub fn deadline_unix_ns(&self) -> Option<u64> {
        self.connection.asked.deadline_unix_ns.map(NonZeroU64::get)
    }

    /// How long the client still waits, if it says so; zero if it doesn't any more.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        time_left(self.deadline_unix_ns())
    }

    /// Its number: one for each request of a client.
    #[must_use]
    pub fn correlation_id(&self) -> u128 {
        self.connection.asked.id
    }

    /// The message, with its headers, key, trace context and so on.
    #[must_use]
    pub fn message(&self) -> Received<'_, Q> {
        self.connection.requests.received()
    }

    /// Lets the message go and keeps what is needed to answer later, by [`Server::answer`](crate::Server::answer): take out of the
    /// message what is needed for that before.
    #[must_use]
    pub fn detach(self) -> Detached {
        // For now.
        self.connection.asked.is_settled = true;
        let Connection { asked, line, .. } = &mut *self.connection;
        line.detached(asked.id, asked.deadline_unix_ns)
    }
}

impl<Q: ?Sized + Trusted, R: ?Sized + Payload> Deref for Request<'_, Q, R> {
    type Target = Q::View;

    #[inline(always)]
    fn deref(&self) -> &Q::View {
        self.connection.requests.view()
    }
}

impl<Q: ?Sized + Trusted, R: ?Sized + Payload> Drop for Request<'_, Q, R> {
    #[inline(always)]
    fn drop(&mut self) {
        let Connection { requests, asked, line, .. } = &mut *self.connection;
        // In this order: the answer is on its way before the request's space is released.
        if !asked.is_settled {
            line.is_dropped(asked.id);
        }
        requests.let_go();
    }
}

impl<Q: ?Sized + Trusted, R: ?Sized + Payload> fmt::Debug for Request<'_, Q, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Request").field("correlation_id", &self.correlation_id()).finish_non_exhaustive()
    }
}

/// The way to answer a request. Dropped without an answer, it tells the client so.
pub struct Answer<'a, R: ?Sized + Payload> {
    line: &'a mut Line<R>,
    id: u128,
    deadline_unix_ns: Option<NonZeroU64>,
    is_settled: bool,
}

impl<'a, R: ?Sized + Payload> Answer<'a, R> {
    #[inline(always)]
    pub(super) fn new(line: &'a mut Line<R>, id: u128, deadline_unix_ns: Option<NonZeroU64>) -> Self {
        Self { line, id, deadline_unix_ns, is_settled: false }
    }

    /// As [`Request::reply`].
    #[inline(always)]
    pub fn reply(mut self, reply: &R) -> Result<(), ReplyError> {
        self.line.reply(self.id, reply)?;
        self.settle();
        Ok(())
    }

    /// As [`Request::reply_error`].
    pub fn reply_error(mut self, code: u32, text: &str) -> Result<(), ReplyError> {
        let id = self.id;
        self.line.end(id, CallStatus::Refused { code, text })?;
        self.settle();
        Ok(())
    }

    /// As [`Request::send`].
    pub fn send(&mut self, part: &R) -> Result<(), ReplyError> {
        self.line.reply_patiently(self.id, part, Some(CallStatus::More))
    }

    /// As [`Request::finish`].
    pub fn finish(mut self) -> Result<(), ReplyError> {
        let id = self.id;
        self.line.end(id, CallStatus::End)?;
        self.settle();
        Ok(())
    }

    /// Whether the client has cancelled the request, or died, as far as the server has received.
    pub fn is_cancelled(&mut self) -> bool {
        self.line.is_cancelled(self.id, None)
    }

    /// As [`Request::deadline_unix_ns`].
    #[must_use]
    pub fn deadline_unix_ns(&self) -> Option<u64> {
        self.deadline_unix_ns.map(NonZeroU64::get)
    }

    /// As [`Request::time_left`].
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        time_left(self.deadline_unix_ns())
    }

    /// To be answered later.
    #[must_use]
    pub fn detach(mut self) -> Detached {
        // For now.
        self.is_settled = true;
        self.line.detached(self.id, self.deadline_unix_ns)
    }

    /// The request was answered.
    #[inline(always)]
    fn settle(&mut self) {
        self.is_settled = true;
        self.line.is_done(self.id);
    }
}

impl<R: ?Sized + Payload> Drop for Answer<'_, R> {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.is_settled {
            self.line.is_dropped(self.id);
        }
    }
}

impl<R: ?Sized + Payload> fmt::Debug for Answer<'_, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Answer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A request that is to be answered later, by [`Server::answer`](crate::Server::answer). It may cross threads. Dropped, it has the
/// server tell the client that there is no answer, the next time that it receives.
#[derive(Debug)]
pub struct Detached {
    pub(super) serial: u64,
    pub(super) id: u128,
    deadline_unix_ns: Option<NonZeroU64>,
    dropped: Arc<Dropped>,
    is_open: bool,
}

/// How long it is until then; zero if it is past.
fn time_left(deadline_unix_ns: Option<u64>) -> Option<Duration> {
    deadline_unix_ns.map(|deadline| Duration::from_nanos(deadline.saturating_sub(unix_ns())))
}

impl<R: ?Sized> Line<R> {
    /// A request that will be answered later.
    fn detached(&mut self, id: u128, deadline_unix_ns: Option<NonZeroU64>) -> Detached {
        self.detach(id);
        Detached { serial: self.serial, id, deadline_unix_ns, dropped: Arc::clone(&self.dropped), is_open: true }
    }
}

impl Detached {
    /// Taken up again.
    pub(super) fn take(mut self) -> (u64, u128, Option<NonZeroU64>) {
        self.is_open = false;
        (self.serial, self.id, self.deadline_unix_ns)
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if self.is_open {
            self.dropped.lock().push((self.serial, self.id));
        }
    }
}

/// Detached requests that were dropped: connection and request.
#[derive(Debug, Default)]
pub(super) struct Dropped(Mutex<Vec<(u64, u128)>>);

impl Dropped {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, u128)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that were dropped since the last call.
    pub(super) fn take(&self) -> Vec<(u64, u128)> {
        std::mem::take(&mut *self.lock())
    }
}
