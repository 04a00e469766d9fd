//! A server of a service: receives requests from all clients that are connected to it.

use super::answer::{Answer, Detached, Dropped, Request};
use super::connection::Connection;
use super::error::{Broken, ReplyError, ServerError, ServiceError};
use super::names::{self, Kind};
use super::presence;
use super::{LOOK_EVERY, POLLS_PER_ROUND};
use crate::bus::Bus;
use crate::error::OpenError;
use crate::payload::Payload;
use crate::raw::Trusted;
use core::marker::PhantomData;
use memlane_ring::{Awaited, BusBell, OnBell, Publisher, TopicError, Wait, sleep_for_any};
use memlane_shm::fork;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of the topic that says that a server is there, which carries a line of text.
const PRESENCE_CAPACITY_BYTES: u64 = 4096;

/// How to open a [`Server`].
#[derive(Clone, Debug)]
pub struct ServerBuilder<Q: ?Sized, R: ?Sized> {
    bus: Bus,
    service: String,
    wait: Wait,
    patience: Duration,
    payloads: PhantomData<fn(&R) -> Q>,
}

impl<Q: ?Sized + Trusted, R: ?Sized + Payload> ServerBuilder<Q, R> {
    pub(crate) fn new(bus: Bus, service: &str) -> Self {
        let patience = Duration::from_millis(100);
        Self { bus, service: service.to_owned(), wait: Wait::default(), patience, payloads: PhantomData }
    }

    /// How to wait, for requests and for room. Default [`Wait::default`].
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// How long a reply waits for room, if the client doesn't read its replies; all other clients wait so long too. After a wait in
    /// vain, the next replies to that client don't wait, until it reads again. Default 100 ms; zero never waits.
    #[must_use]
    pub fn patience(mut self, longest: Duration) -> Self {
        self.patience = longest;
        self
    }

    /// Opens the server. From here on clients find it. Clears away what dead clients and servers of the service left.
    ///
    /// Cost: some 50 system calls. Errors: [`ServiceError`]; nothing is left behind.
    pub fn open(self) -> Result<Server<Q, R>, ServiceError> {
        let Self { bus, service, wait, patience, .. } = self;
        bus.topic(&service)?;
        presence::sweep_service(&bus, &service);
        let (id, presence) = appear::<Q, R>(&bus, &service)?;
        Ok(Server {
            bell: BusBell::open_to_sleep(bus.directory()),
            bus,
            service,
            id,
            _presence: presence,
            wait,
            patience,
            connections: Vec::new(),
            next: 0,
            serials: 0,
            refused: BTreeSet::new(),
            changes: None,
            looked: Instant::now(),
            dropped: Arc::default(),
            generation: fork::generation(),
            payloads: PhantomData,
        })
    }
}

/// Makes a presence; gives the server's id, and the publisher whose lock says that it lives.
fn appear<Q: ?Sized + Payload, R: ?Sized + Payload>(
    bus: &Bus,
    service: &str,
) -> Result<(String, Publisher), ServiceError> {
    // Said once, so that what is made below can only fail for other reasons.
    bus.topic(&names::presence(service, &names::new_id()))?;
    let types = presence::types::<Q, R>();
    let made = presence::undisturbed(|| {
        let id = names::new_id();
        let making = names::making(service, &id);
        let builder = bus.topic(&making).map_err(presence::name_was_checked)?;
        let builder = builder.capacity_bytes(PRESENCE_CAPACITY_BYTES).subscribers_max(1).prefault(false);
        let (_, mut publisher) = presence::make_and_lock(&builder)?;
        let shown = types.as_bytes();
        let shown = &shown[..shown.len().min(publisher.geometry().payload_bytes_max() as usize)];
        let _ = publisher.publish(&[], shown);
        presence::reveal(bus, &making, &names::presence(service, &id)).inspect_err(|_| {
            let _ = bus.remove(&making);
        })?;
        Ok((id, publisher))
    })?;
    Ok(made)
}

/// Receives requests of type `Q` and answers with replies of type `R`: one of any number of servers of a service. Dropping it leaves the
/// service; clients that wait for an answer of it are told [`CallError::ServerDied`](crate::CallError::ServerDied).
///
/// Clients are served by turns. One that sends what makes no sense, or that died, loses its connection; the others go on.
pub struct Server<Q: ?Sized, R: ?Sized> {
    pub(super) bus: Bus,
    service: String,
    id: String,
    _presence: Publisher,
    wait: Wait,
    patience: Duration,
    pub(super) connections: Vec<Connection<Q, R>>,
    /// The connection that is looked at first.
    next: usize,
    serials: u64,
    /// Connections that were refused, or dropped and could not be removed.
    refused: BTreeSet<String>,
    bell: Option<BusBell>,
    /// What the bus's bell counted when it was looked through last.
    changes: Option<u64>,
    looked: Instant,
    dropped: Arc<Dropped>,
    generation: u64,
    payloads: PhantomData<fn(&R) -> Q>,
}

impl<Q: ?Sized + Trusted, R: ?Sized + Payload> Server<Q, R> {
    /// The next request; waits for it without end, as the server's [`Wait`] says.
    ///
    /// Cost: with one client that of [`Subscriber::receive`](crate::Subscriber::receive); with more a look at a cache line of each. A new client
    /// costs some 30 system calls once.
    /// Errors: [`ServerError`]; go on receiving after it.
    #[inline]
    pub fn receive(&mut self) -> Result<Request<'_, Q, R>, ServerError> {
        let mut misses = 0;
        let index = match self.find_usual(&mut misses, None) {
            true => 0,
            false => self.find(misses, None)?.expect("a wait without a deadline ends with a request"),
        };
        Ok(self.request(index))
    }

    /// The next request; waits for it up to `timeout`. `None` if the time was up.
    ///
    /// Errors: [`ServerError`]; go on receiving after it.
    #[inline]
    pub fn receive_within(&mut self, timeout: Duration) -> Result<Option<Request<'_, Q, R>>, ServerError> {
        let mut misses = 0;
        let is_usual = self.find_usual(&mut misses, Some(timeout));
        let found = if is_usual { Some(0) } else { self.find(misses, Some(timeout))? };
        Ok(found.map(|index| self.request(index)))
    }

    /// The straight way: one client, whose next message is nothing but a request.
    #[inline(always)]
    fn find_usual(&mut self, misses: &mut u32, timeout: Option<Duration>) -> bool {
        let polls = self.polls(0, timeout);
        if self.bus_has_changed() {
            return false;
        }
        let [connection] = &mut self.connections[..] else { return false };
        // What is wrong is found once more, and told, on the other way.
        connection.requests.gated().poll_for(misses, polls).unwrap_or(false) && connection.next_usual()
    }

    /// Polls until the next look at the clock.
    #[inline(always)]
    fn polls(&self, misses: u32, timeout: Option<Duration>) -> u32 {
        match (timeout, self.wait) {
            (Some(Duration::ZERO), _) => 1,
            (_, Wait::BusySpin) => POLLS_PER_ROUND,
            (_, Wait::SpinThenYield { spins } | Wait::Block { spins }) => {
                spins.saturating_sub(misses).clamp(1, POLLS_PER_ROUND)
            }
        }
    }

    /// The next request, if it is there. Never waits, but to take up new clients.
    ///
    /// Errors: [`ServerError`]; go on receiving after it.
    pub fn try_receive(&mut self) -> Result<Option<Request<'_, Q, R>>, ServerError> {
        self.receive_within(Duration::ZERO)
    }

    /// The way to answer a request that was detached. Errors: [`ReplyError::ClientGone`].
    pub fn answer(&mut self, detached: Detached) -> Result<Answer<'_, R>, ReplyError> {
        let (serial, id, deadline_unix_ns) = detached.take();
        let connection = self.connections.iter_mut().find(|connection| connection.line.serial == serial);
        let connection = connection.ok_or(ReplyError::ClientGone)?;
        Ok(Answer::new(&mut connection.line, id, deadline_unix_ns))
    }

    /// Whether the client of a request that was detached has cancelled it, as far as the server has received, or is gone.
    pub fn is_cancelled(&mut self, detached: &Detached) -> bool {
        let connection = self.connections.iter_mut().find(|connection| connection.line.serial == detached.serial);
        connection.is_none_or(|connection| connection.line.is_cancelled(detached.id, None))
    }

    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// What tells it from other servers of the service.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How many clients are connected.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.connections.len()
    }

    /// The request that a connection has in hand.
    #[inline(always)]
    pub(super) fn request(&mut self, index: usize) -> Request<'_, Q, R> {
        Request::new(&mut self.connections[index])
    }

    /// Waits for a request, after so many polls in vain; gives the index of the connection that has it in hand.
    #[inline(never)]
    pub(super) fn find(&mut self, mut misses: u32, timeout: Option<Duration>) -> Result<Option<usize>, ServerError> {
        if self.bus_has_changed() {
            self.look_through()?;
        }
        // Behind the quick look: reading the clock costs as much as a hop.
        let mut deadline = None;
        loop {
            if let Some(found) = self.poll(&mut misses, timeout)? {
                return Ok(Some(found));
            }
            self.tend()?;
            let now = Instant::now();
            let deadline = *deadline.get_or_insert_with(|| timeout.and_then(|timeout| now.checked_add(timeout)));
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
            if left.is_some_and(|left| left.is_zero()) {
                // What came between the last look and the clock, or before this call.
                return self.poll_each();
            }
            match self.wait {
                Wait::SpinThenYield { spins } if misses > spins => std::thread::yield_now(),
                Wait::Block { spins } if misses > spins => self.sleep(left),
                _ => {}
            }
        }
    }

    /// A round of polls.
    #[inline(always)]
    fn poll(&mut self, misses: &mut u32, timeout: Option<Duration>) -> Result<Option<usize>, ServerError> {
        let polls = self.polls(*misses, timeout);
        if let [connection] = &mut self.connections[..] {
            // Begins to look when a request usually comes, which saves a hop of the cache line.
            return match connection.requests.gated().poll_for(misses, polls) {
                Ok(false) => Ok(None),
                Ok(true) => match connection.next() {
                    Ok(is_there) => Ok(is_there.then_some(0)),
                    Err(broken) => self.drop_connection(0, broken).map(|()| None),
                },
                Err(error) => self.drop_connection(0, error.into()).map(|()| None),
            };
        }
        for _ in 0..polls.div_ceil(self.connections.len().max(1) as u32) {
            let found = self.poll_each()?;
            if found.is_some() {
                return Ok(found);
            }
            *misses = misses.saturating_add(1);
            core::hint::spin_loop();
        }
        Ok(None)
    }

    /// A look at each connection, from the one after the last that had something.
    #[inline]
    fn poll_each(&mut self) -> Result<Option<usize>, ServerError> {
        let count = self.connections.len();
        let start = if self.next < count { self.next } else { 0 };
        for index in (start..count).chain(0..start) {
            let Some(connection) = self.connections.get_mut(index) else { break };
            if !connection.requests.awaited().is_there() {
                continue;
            }
            match connection.next() {
                Ok(true) => {
                    self.next = index + 1;
                    return Ok(Some(index));
                }
                Ok(false) => {}
                // The others have changed places: the next round looks at all.
                Err(broken) => return self.drop_connection(index, broken).map(|()| None),
            }
        }
        Ok(None)
    }

    /// With time to spare: new clients, dead ones, answers that are owed.
    #[cold]
    fn tend(&mut self) -> Result<(), ServerError> {
        if self.generation != fork::generation() {
            return Err(ServerError::Forked);
        }
        for (serial, id) in self.dropped.take() {
            if let Some(connection) = self.connections.iter_mut().find(|connection| connection.line.serial == serial) {
                connection.line.is_done(id);
                connection.line.give_up(id);
            }
        }
        for index in (0..self.connections.len()).rev() {
            let connection = &mut self.connections[index];
            // A thorough look, whose errors the next one tells.
            connection.requests.gated().has_news();
            let broken = match connection.requests.gated().peek() {
                Err(error) => Some(error.into()),
                Ok(_) => (!connection.line.settle()).then_some(Broken::Nonsense),
            };
            if let Some(broken) = broken {
                self.drop_connection(index, broken)?;
            }
        }
        let is_due = self.looked.elapsed() >= LOOK_EVERY;
        if is_due {
            self.connections.iter_mut().for_each(|connection| connection.remove_if_dead(&self.bus));
            self.looked = Instant::now();
        }
        if self.bus_has_changed() || is_due && self.bell.is_none() {
            self.look_through()?;
        }
        Ok(())
    }

    #[inline(always)]
    fn bus_has_changed(&self) -> bool {
        self.changes != self.bell.as_ref().map(BusBell::changes)
    }

    /// Takes up connections that were made since the last look.
    #[cold]
    fn look_through(&mut self) -> Result<(), ServerError> {
        // Before the list: what changes meanwhile is looked for again.
        self.changes = self.bell.as_ref().map(BusBell::changes);
        let topics = self.bus.topics()?;
        let mut found = BTreeSet::new();
        for topic in &topics {
            let Some((service, Kind::Requests(server, name))) = names::parse(topic) else { continue };
            if service != self.service || server != self.id {
                continue;
            }
            found.insert(topic.clone());
            if self.refused.contains(topic) || self.connections.iter().any(|connection| connection.name == name) {
                continue;
            }
            self.serials += 1;
            let how = (self.wait, self.patience);
            let opened = Connection::open(&self.bus, name.clone(), self.serials, how, Arc::clone(&self.dropped));
            match opened {
                Ok(connection) => self.connections.push(connection),
                // It went again.
                Err(OpenError::Topic(TopicError::NotFound { .. })) => {}
                Err(_) => {
                    // Told, if the topics may be removed; else never looked at again.
                    presence::remove_connection(&self.bus, &name);
                    self.refused.insert(topic.clone());
                }
            }
        }
        self.refused.retain(|topic| found.contains(topic));
        self.connections.iter_mut().for_each(|connection| connection.remove_if_dead(&self.bus));
        Ok(())
    }

    /// Lets a client go that is gone, or that sent what makes no sense.
    #[cold]
    fn drop_connection(&mut self, index: usize, broken: Broken) -> Result<(), ServerError> {
        if broken == Broken::Forked || self.generation != fork::generation() {
            return Err(ServerError::Forked);
        }
        let connection = self.connections.swap_remove(index);
        self.refused.insert(connection.name.requests());
        presence::remove_connection(&self.bus, &connection.name);
        Ok(())
    }

    /// Sleeps until there may be a request, or a new client.
    #[cold]
    fn sleep(&mut self, left: Option<Duration>) {
        let left = left.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
        let awaited: Vec<Awaited<'_>> =
            self.connections.iter().map(|connection| connection.requests.awaited()).collect();
        let on_bell = self.bell.as_ref().map(|bell| OnBell { bell, changes: self.changes });
        sleep_for_any(&awaited, on_bell.as_slice(), None, Some(left));
    }
}

impl<Q: ?Sized, R: ?Sized> Drop for Server<Q, R> {
    fn drop(&mut self) {
        // What a forked parent left to its child is the parent's.
        if self.generation != fork::generation() {
            return;
        }
        let _ = self.bus.remove(&names::presence(&self.service, &self.id));
        for connection in &self.connections {
            presence::remove_connection(&self.bus, &connection.name);
        }
    }
}

impl<Q: ?Sized, R: ?Sized> fmt::Debug for Server<Q, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = self.connections.len();
        let mut debug = formatter.debug_struct("Server");
        debug.field("service", &self.service).field("id", &self.id).field("clients", &clients).finish_non_exhaustive()
    }
}
