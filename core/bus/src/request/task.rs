//! Calling and serving without blocking a thread.
//!
//! Whoever waits is woken by news of its topics, and every millisecond besides, to ask who lives and to look at the clock.

use super::answer::Request;
use super::client::{Client, Wanted};
use super::error::{CallError, ServerError};
use super::link::Arrival;
use super::reply::Reply;
use super::server::Server;
use crate::payload::Payload;
use crate::raw::Trusted;
use crate::waiter::Listener;
use core::task::Poll;
use memlane_ring::extension::CallStatus;
use std::future::poll_fn;
use std::time::{Duration, Instant};

/// Waits for whichever of these comes first: news at a position, or a millisecond.
async fn news_or_nap(listeners: &[(&Listener, u64)]) {
    let nap = Listener::for_nap();
    let mut is_over = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        nap.arm(0, context.waker());
        for (listener, position) in listeners {
            listener.arm(*position, context.waker());
        }
        Poll::Pending
    })
    .await;
}

impl<Q: ?Sized + Trusted, R: ?Sized + Trusted> Client<Q, R> {
    /// As [`Client::call`], but the task waits, the thread doesn't. Works in any executor.
    ///
    /// It may be dropped at any time: what comes for it later is dropped.
    /// Cost: where it has to wait, the process's one waiting thread wakes it by way of its waker. Errors: [`CallError`].
    pub async fn call_async(&mut self, request: &Q, timeout: Duration) -> Result<Reply<'_, R>, CallError> {
        let deadline = Instant::now().checked_add(timeout);
        let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let told = self.start_if(self.options.tells_deadlines, timeout);
        let (index, id) = loop {
            match self.dispatch(request, Duration::ZERO, told) {
                Err(CallError::Full) if !is_over() => news_or_nap(&[]).await,
                other => break other?,
            }
        };
        let serial = self.links[index].serial;
        loop {
            // Nothing but this call touches the links meanwhile, but it may lose some.
            let index = self.links.iter().position(|link| link.serial == serial).ok_or(CallError::ServerDied)?;
            self.links[index].replies.gated().has_news();
            let was_over = is_over();
            let lives = self.links[index].server_lives();
            match self.take_in(index, Wanted::One(id))? {
                Some((_, Arrival::Reply { is_more, payload_at })) => {
                    if is_more {
                        let _ = self.links[index].requests.say(id, CallStatus::Cancel);
                    }
                    return Ok(self.in_place(index, is_more, payload_at));
                }
                Some((_, other)) => return Err(self.failed(index, other)),
                None if !lives => {
                    self.drop_link(index)?;
                    return Err(CallError::ServerDied);
                }
                None if was_over => {
                    let _ = self.links[index].requests.say(id, CallStatus::Cancel);
                    return Err(CallError::TimedOut);
                }
                None => {}
            }
            let link = &self.links[index];
            let listener = Listener::for_news(link.replies.watch(), self.bus.directory());
            news_or_nap(&[(&listener, link.replies.position())]).await;
        }
    }
}

impl<Q: ?Sized + Trusted, R: ?Sized + Payload> Server<Q, R> {
    /// As [`Server::receive`], but the task waits, the thread doesn't. Works in any executor.
    ///
    /// It may be dropped at any time: no request is lost by that.
    /// Cost: where it has to wait, the process's one waiting thread wakes it for news, and every millisecond: an idle server takes about a percent of a
    /// core. Errors: [`ServerError`]; go on receiving after it.
    pub async fn receive_async(&mut self) -> Result<Request<'_, Q, R>, ServerError> {
        let found = loop {
            if let Some(found) = self.find(0, Some(Duration::ZERO))? {
                break found;
            }
            let watches: Vec<_> = self
                .connections
                .iter()
                .map(|connection| {
                    let listener = Listener::for_news(connection.requests.watch(), self.bus.directory());
                    (listener, connection.requests.position())
                })
                .collect();
            let listeners: Vec<_> = watches.iter().map(|(listener, position)| (listener, *position)).collect();
            news_or_nap(&listeners).await;
        };
        Ok(self.request(found))
    }
}
