//! Calling: a request and its reply, one after the other or many at a time.

use super::client::{Call, Client, Wanted};
use super::error::CallError;
use super::link::{Arrival, Failure};
use super::outgoing::OutgoingRequest;
use super::reply::{Pending, Reply};
use super::{ASK_EVERY, POLLS_PER_ROUND};
use crate::error::PublishError;
use crate::raw::Trusted;
use core::ops::Range;
use memlane_ring::extension::{Block, CallStatus};
use memlane_ring::{Awaited, ClaimError, Wait, sleep_for_any};
use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

/// How a wait ended.
enum Outcome {
    /// This message came for this request, over this link; it stays where it is.
    Came(usize, u128, Arrival),
    /// The time was up.
    TimeIsUp,
    /// A link was lost; what came over it was put by.
    Lost,
}

/// How far a call came on the straight way.
enum Usual {
    /// The reply is in hand.
    Came,
    /// The request was sent, and so many looks found no reply; or one that isn't usual.
    Sent { misses: u32 },
    /// Nothing was done.
    NotSent,
}

impl<Q: ?Sized + Trusted, R: ?Sized + Trusted> Client<Q, R> {
    /// Sends a request and waits for the reply, up to `timeout` in all.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let root = memlane::doc_root();
    /// use std::time::Duration;
    ///
    /// let bus = memlane::Bus::builder("request").root(&root).open()?;
    /// let mut server = bus.server::<[u8], [u8]>("echo").open()?;
    /// let answering = std::thread::spawn(move || {
    ///     let request = server.receive().expect("a request");
    ///     let echo = request.to_ascii_uppercase();
    ///     request.reply(&echo).expect("the client is there");
    /// });
    /// let mut client = bus.client::<[u8], [u8]>("echo").open()?;
    /// assert_eq!(&*client.call(b"hello", Duration::from_secs(5))?, b"HELLO");
    /// # answering.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Of a reply of several parts it gives the first and cancels the rest: [`Client::next`] gives all. One whose time is up is cancelled too.
    /// Cost: a publish there and one back; no allocation, no system call as long as it spins. With a clock that is read every 128 polls.
    /// Errors: [`CallError`].
    #[inline]
    pub fn call(&mut self, request: &Q, timeout: Duration) -> Result<Reply<'_, R>, CallError> {
        match self.call_usual(request) {
            Usual::Came => Ok(Reply::in_place(&mut self.links[0].replies, false)),
            Usual::Sent { misses } => self.reply_to_slow_call(0, self.last_id, timeout, misses),
            Usual::NotSent => self.call_unusual(request, timeout),
        }
    }

    /// The straight way: one server, one reply, nothing else on the way.
    #[inline(always)]
    fn call_usual(&mut self, request: &Q) -> Usual {
        let polls = self.polls(0);
        let is_due = self.is_due || self.options.tells_deadlines || self.bus_has_changed();
        let [link] = &mut self.links[..] else { return Usual::NotSent };
        let id = self.last_id + 1;
        if is_due || !link.is_live() || link.requests.send(id, request).is_err() {
            return Usual::NotSent;
        }
        self.last_id = id;
        link.requests.expect(id + 1);
        let mut misses = 0;
        if let Ok(true) = link.replies.gated().poll_for(&mut misses, polls)
            && link.hold_usual(id)
        {
            if misses > 0 {
                self.note_time();
            }
            return Usual::Came;
        }
        self.note_time();
        Usual::Sent { misses }
    }

    #[inline(never)]
    fn call_unusual(&mut self, request: &Q, timeout: Duration) -> Result<Reply<'_, R>, CallError> {
        let start = self.start_if(self.options.tells_deadlines, timeout);
        let (index, id) = self.dispatch(request, timeout, start)?;
        self.reply_to_call(index, id, timeout)
    }

    /// A request with headers and other fields, to be put together and sent.
    #[must_use]
    pub fn request(&mut self) -> OutgoingRequest<'_, Q, R> {
        self.block.clear();
        OutgoingRequest::new(self)
    }

    /// Sends a request; its reply is taken later. Never waits: several may be on their way.
    ///
    /// Errors: [`CallError`]; nothing was sent, but after `ServerDied`.
    pub fn send(&mut self, request: &Q) -> Result<Pending, CallError> {
        self.send_within(request, Duration::ZERO)
    }

    /// As [`Client::send`], but waits up to `timeout` for room.
    ///
    /// Errors: [`CallError`]; `Full` if the time was up.
    pub fn send_within(&mut self, request: &Q, timeout: Duration) -> Result<Pending, CallError> {
        let (index, id) = self.dispatch(request, timeout, None)?;
        Ok(self.note_pending(index, id))
    }

    /// Waits up to `timeout` for the reply to `pending`, or for the next part of it. After the last one `pending` is done with; after
    /// `TimedOut` it isn't: wait again, or cancel it.
    ///
    /// Errors: [`CallError`]; `Empty` if the reply has ended.
    pub fn wait(&mut self, pending: Pending, timeout: Duration) -> Result<Reply<'_, R>, CallError> {
        self.next(pending, timeout)?.ok_or(CallError::Empty)
    }

    /// Waits up to `timeout` for the next part of the reply to `pending`; `None` after the last. A reply that isn't of several parts is the only
    /// one, and isn't followed by `None`: [`Reply::is_part`] says which it is.
    ///
    /// Cost: what came while another was waited for was copied once.
    /// Errors: [`CallError`]; after `TimedOut` wait again, or cancel it; after any other `pending` is done with.
    pub fn next(&mut self, pending: Pending, timeout: Duration) -> Result<Option<Reply<'_, R>>, CallError> {
        let id = pending.0;
        let call = self.pending.get(&id).ok_or(CallError::Cancelled)?;
        if call.arrived.is_empty() {
            let serial = call.serial;
            let link = self.links.iter().position(|link| link.serial == serial);
            let index = link.expect("a link that is dropped fails its requests");
            match self.await_any(index..index + 1, Wanted::One(id), timeout, 0)? {
                Outcome::Came(index, id, arrival) => return self.take_in_place(index, id, arrival),
                Outcome::TimeIsUp => return Err(CallError::TimedOut),
                Outcome::Lost => {}
            }
        }
        self.take_stored(id)
    }

    /// The next reply, or part of one, for whichever request, with which one that is; waits for it up to `timeout`. `None` if the time was up, or if
    /// none is on its way. `Ok(None)` inside is the end of a reply of several parts.
    ///
    /// Errors: [`CallError`] outside; inside, that of the request.
    #[allow(clippy::type_complexity, reason = "a name for it would say less")]
    pub fn receive(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<(Pending, Result<Option<Reply<'_, R>>, CallError>)>, CallError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(id) = self.ready.first().copied() {
                return Ok(Some((Pending(id), self.take_stored(id))));
            }
            if self.pending.is_empty() {
                return Ok(None);
            }
            let left = deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
            match self.await_any(0..self.links.len(), Wanted::AnyPending, left, 0)? {
                Outcome::Came(index, id, arrival) => {
                    return Ok(Some((Pending(id), self.take_in_place(index, id, arrival))));
                }
                Outcome::TimeIsUp => return Ok(None),
                Outcome::Lost => {}
            }
        }
    }

    /// How many requests are on their way, or have a reply that wasn't taken.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.pending.len()
    }

    /// Gives up a request: tells the server, and drops whatever comes for it. The server may have carried it out.
    pub fn cancel(&mut self, pending: Pending) {
        let Some(call) = self.pending.remove(&pending.0) else { return };
        self.ready.remove(&pending.0);
        let is_over = call.arrived.back().is_some_and(|(arrival, _)| arrival.is_final());
        if let Some(link) = self.links.iter_mut().find(|link| link.serial == call.serial && !is_over) {
            link.outstanding = link.outstanding.saturating_sub(1);
            // Best effort: a full ring or a dead server makes no difference to whoever gives up.
            let _ = link.requests.say(pending.0, CallStatus::Cancel);
        }
    }

    /// The reply to a request that isn't among the pending ones.
    #[inline(always)]
    pub(super) fn reply_to_call(
        &mut self,
        index: usize,
        id: u128,
        timeout: Duration,
    ) -> Result<Reply<'_, R>, CallError> {
        let (mut misses, polls) = (0, self.polls(0));
        let link = &mut self.links[index];
        if let Ok(true) = link.replies.gated().poll_for(&mut misses, polls)
            && link.hold_usual(id)
        {
            return Ok(Reply::in_place(&mut self.links[index].replies, false));
        }
        self.reply_to_slow_call(index, id, timeout, misses)
    }

    #[inline(never)]
    fn reply_to_slow_call(
        &mut self,
        index: usize,
        id: u128,
        timeout: Duration,
        misses: u32,
    ) -> Result<Reply<'_, R>, CallError> {
        match self.await_any(index..index + 1, Wanted::One(id), timeout, misses)? {
            Outcome::Came(index, _, Arrival::Reply { is_more, payload_at }) => {
                if is_more {
                    let _ = self.links[index].requests.say(id, CallStatus::Cancel);
                }
                Ok(self.in_place(index, is_more, payload_at))
            }
            Outcome::Came(index, _, other) => Err(self.failed(index, other)),
            Outcome::Lost => Err(CallError::ServerDied),
            Outcome::TimeIsUp => {
                let _ = self.links[index].requests.say(id, CallStatus::Cancel);
                Err(CallError::TimedOut)
            }
        }
    }

    /// When the clock starts for a request that tells its deadline, or that waits for room; the clock isn't read for others.
    #[inline(always)]
    pub(super) fn start_if(&self, is_told: bool, timeout: Duration) -> Option<u64> {
        let deadline = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + timeout;
        is_told.then(|| u64::try_from(deadline().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Sends a request, with its deadline if there is one; gives its link and its id. Waits up to `timeout` for room.
    #[inline(always)]
    pub(super) fn dispatch(
        &mut self,
        request: &Q,
        timeout: Duration,
        deadline_unix_ns: Option<u64>,
    ) -> Result<(usize, u128), CallError> {
        let index = self.choose()?;
        self.last_id += 1;
        let id = self.last_id;
        if deadline_unix_ns.is_none() {
            match self.links[index].requests.send(id, request) {
                Ok(()) => {
                    self.links[index].requests.expect(id + 1);
                    self.note_time();
                    return Ok((index, id));
                }
                Err(error) if error.is_full() => {}
                Err(error) => return Err(self.not_sent(index, error)),
            }
        }
        let extend = |block: &mut Block| deadline_unix_ns.map_or(Ok(()), |at| Ok(block.deadline(at)?));
        self.dispatch_patiently(index, id, request, timeout, extend)
    }

    /// As [`Client::dispatch`], with whatever `extend` adds.
    #[inline(never)]
    pub(super) fn dispatch_patiently(
        &mut self,
        index: usize,
        id: u128,
        request: &Q,
        timeout: Duration,
        extend: impl Fn(&mut Block) -> Result<(), PublishError>,
    ) -> Result<(usize, u128), CallError> {
        let how = |timeout| (self.options.wait, timeout);
        // Any server with room will do; else the one that was chosen is waited for.
        for index in (index..self.links.len()).chain(0..index) {
            let link = &mut self.links[index];
            let mut sent = link.requests.send_patiently(id, request, how(Duration::ZERO), &extend, || false);
            if sent.is_err_and(|error| error.is_full()) && link.makes_room() {
                sent = link.requests.send_patiently(id, request, how(Duration::ZERO), &extend, || false);
            }
            match sent {
                Ok(()) => return Ok((index, id)),
                Err(error) if error.is_full() => {}
                Err(error) => return Err(self.not_sent(index, error)),
            }
        }
        if timeout.is_zero() {
            return Err(CallError::Full);
        }
        match self.links[index].send_patiently(id, request, how(timeout), extend) {
            Ok(()) => Ok((index, id)),
            Err(error) if error.is_full() && self.links[index].server_lives() => Err(CallError::Full),
            Err(error) if error.is_full() => {
                self.drop_link(index)?;
                Err(CallError::ServerDied)
            }
            Err(error) => Err(self.not_sent(index, error)),
        }
    }

    #[cold]
    fn not_sent(&mut self, index: usize, error: PublishError) -> CallError {
        match error {
            PublishError::Claim(ClaimError::Forked) => CallError::Forked,
            PublishError::Claim(ClaimError::Removed | ClaimError::Corrupt) => {
                self.drop_link(index).err().unwrap_or(CallError::ServerDied)
            }
            other => other.into(),
        }
    }

    pub(super) fn note_pending(&mut self, index: usize, id: u128) -> Pending {
        let link = &mut self.links[index];
        link.outstanding += 1;
        self.pending.insert(id, Call { serial: link.serial, arrived: VecDeque::new() });
        Pending(id)
    }

    /// Waits for a message that is wanted, over any of these links, after so many polls in vain.
    fn await_any(
        &mut self,
        links: Range<usize>,
        wanted: Wanted,
        timeout: Duration,
        mut misses: u32,
    ) -> Result<Outcome, CallError> {
        // Reading the clock costs as much as a hop.
        let mut clock: Option<(Option<Instant>, Instant)> = None;
        loop {
            let polls = if timeout.is_zero() { 1 } else { self.polls(misses) };
            for index in links.clone() {
                let polls = polls.div_ceil(links.len() as u32);
                let polled = self.links[index].replies.gated().poll_for(&mut misses, polls);
                let found = match polled {
                    Ok(false) => continue,
                    Ok(true) => self.take_in(index, wanted),
                    Err(error) => Err(self.lose(index, error.into())),
                };
                match found {
                    Ok(Some((id, arrival))) => return Ok(Outcome::Came(index, id, arrival)),
                    Ok(None) => {}
                    Err(CallError::ServerDied) => return Ok(Outcome::Lost),
                    Err(error) => return Err(error),
                }
            }
            let now = Instant::now();
            let (deadline, asked) = clock.get_or_insert_with(|| (now.checked_add(timeout), now));
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
            if now - *asked >= ASK_EVERY {
                *asked = now;
                if let Some(outcome) = self.ask(links.clone(), wanted)? {
                    return Ok(outcome);
                }
            }
            if left.is_some_and(|left| left.is_zero()) {
                return self.last_look(links, wanted);
            }
            self.rest(links.clone(), misses, left);
        }
    }

    /// Asks whether the servers of these links live.
    #[cold]
    fn ask(&mut self, links: Range<usize>, wanted: Wanted) -> Result<Option<Outcome>, CallError> {
        for index in links {
            // Every so often a look that also finds removals, for those who poll seldom.
            self.links[index].replies.gated().has_news();
            if self.links[index].server_lives() {
                continue;
            }
            // It may have answered before.
            return match self.take_in(index, wanted) {
                Ok(Some((id, arrival))) => Ok(Some(Outcome::Came(index, id, arrival))),
                Ok(None) => self.drop_link(index).map(|()| Some(Outcome::Lost)),
                Err(CallError::ServerDied) => Ok(Some(Outcome::Lost)),
                Err(error) => Err(error),
            };
        }
        Ok(None)
    }

    /// What came between the last poll and the clock.
    #[cold]
    fn last_look(&mut self, links: Range<usize>, wanted: Wanted) -> Result<Outcome, CallError> {
        for index in links {
            match self.take_in(index, wanted) {
                Ok(Some((id, arrival))) => return Ok(Outcome::Came(index, id, arrival)),
                Ok(None) => {}
                Err(CallError::ServerDied) => return Ok(Outcome::Lost),
                Err(error) => return Err(error),
            }
        }
        Ok(Outcome::TimeIsUp)
    }

    /// Polls until the next look at the clock.
    #[inline(always)]
    fn polls(&self, misses: u32) -> u32 {
        match self.options.wait {
            Wait::BusySpin => POLLS_PER_ROUND,
            Wait::SpinThenYield { spins } | Wait::Block { spins } => {
                spins.saturating_sub(misses).clamp(1, POLLS_PER_ROUND)
            }
        }
    }

    /// Passes the time between two rounds of polls.
    #[cold]
    fn rest(&mut self, links: Range<usize>, misses: u32, left: Option<Duration>) {
        match self.options.wait {
            Wait::SpinThenYield { spins } if misses > spins => std::thread::yield_now(),
            Wait::Block { spins } if misses > spins => {
                let awaited: Vec<Awaited<'_>> = self.links[links].iter().map(|link| link.replies.awaited()).collect();
                sleep_for_any(&awaited, &[], None, Some(left.unwrap_or(ASK_EVERY).min(ASK_EVERY)));
            }
            _ => {}
        }
    }

    /// Takes the message that stands at a link's position, for a pending request.
    fn take_in_place(&mut self, index: usize, id: u128, arrival: Arrival) -> Result<Option<Reply<'_, R>>, CallError> {
        if arrival.is_final() {
            self.pending.remove(&id);
            let link = &mut self.links[index];
            link.outstanding = link.outstanding.saturating_sub(1);
        }
        match arrival {
            Arrival::Reply { is_more, payload_at } => Ok(Some(self.in_place(index, is_more, payload_at))),
            Arrival::End => {
                let _ = self.links[index].replies.gated().skip();
                Ok(None)
            }
            failed @ Arrival::Failed(_) => Err(self.failed(index, failed)),
        }
    }

    /// Takes what came for a pending request while another was waited for.
    fn take_stored(&mut self, id: u128) -> Result<Option<Reply<'_, R>>, CallError> {
        let call = self.pending.get_mut(&id).ok_or(CallError::Cancelled)?;
        let (arrival, stored) = call.arrived.pop_front().expect("something came for it");
        if call.arrived.is_empty() {
            self.ready.remove(&id);
        }
        if arrival.is_final() {
            self.pending.remove(&id);
        }
        match (arrival, stored) {
            (Arrival::Reply { is_more, .. }, Some(stored)) => match R::view(stored.payload()) {
                Ok(_) => Ok(Some(Reply::stored(stored, is_more))),
                Err(reason) => Err(CallError::Invalid(reason)),
            },
            (Arrival::End, _) => Ok(None),
            (Arrival::Failed(failure), _) => Err(failure.into()),
            (Arrival::Reply { .. }, None) => Err(Failure::ServerDied.into()),
        }
    }

    /// The reply that a look found at a link's position, with its payload here.
    pub(super) fn in_place(&mut self, index: usize, is_more: bool, payload_at: usize) -> Reply<'_, R> {
        let replies = &mut self.links[index].replies;
        let is_held = replies.hold_if(|_, _| Some(payload_at));
        assert!(is_held, "it was looked at, and what isn't released doesn't change");
        Reply::in_place(replies, is_more)
    }

    /// The error that stands at a link's position.
    #[cold]
    pub(super) fn failed(&mut self, index: usize, arrival: Arrival) -> CallError {
        let _ = self.links[index].replies.gated().skip();
        match arrival {
            Arrival::Failed(failure) => failure.into(),
            Arrival::Reply { .. } | Arrival::End => CallError::Empty,
        }
    }
}
