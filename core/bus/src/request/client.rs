//! A client of a service: knows the servers that live, and spreads requests over them.

use super::LOOK_EVERY;
use super::error::{Broken, CallError, ServiceError};
use super::link::{Arrival, Failure, Link};
use super::names::{self, Kind};
use super::presence;
use crate::bus::Bus;
use crate::raw::{Stored, Trusted};
use core::marker::PhantomData;
use memlane_ring::extension::Block;
use memlane_ring::{BusBell, OnBell, Wait, sleep_for_any};
use memlane_shm::fork;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

/// How often a client that has a server looks through the bus at most, however often that changes.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How to open a [`Client`].
#[derive(Clone, Debug)]
pub struct ClientBuilder<Q: ?Sized, R: ?Sized> {
    bus: Bus,
    service: String,
    options: Options,
    payloads: PhantomData<fn(&Q) -> R>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) wait: Wait,
    pub(super) capacity_bytes: u64,
    pub(super) tells_deadlines: bool,
}

impl<Q: ?Sized + Trusted, R: ?Sized + Trusted> ClientBuilder<Q, R> {
    pub(crate) fn new(bus: Bus, service: &str) -> Self {
        let options = Options { wait: Wait::default(), capacity_bytes: 1 << 16, tells_deadlines: false };
        Self { bus, service: service.to_owned(), options, payloads: PhantomData }
    }

    /// How to wait, for replies and for room. Default [`Wait::default`].
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.options.wait = wait;
        self
    }

    /// Size of the two rings of each connection in bytes: a power of two. Default 64 KiB, for messages of up to a quarter of that.
    #[must_use]
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.options.capacity_bytes = bytes;
        self
    }

    /// Whether each call tells the server until when it waits, so that nobody begins what nobody waits for any more. Default no. Costs
    /// two looks at the clock and 16 bytes a call.
    #[must_use]
    pub fn tell_deadlines(mut self, tell: bool) -> Self {
        self.options.tells_deadlines = tell;
        self
    }

    /// Opens the client and connects it to the servers that are there, if any. Clears away what dead clients and servers of the
    /// service left.
    ///
    /// Cost: some 60 system calls for each server. Errors: [`ServiceError`]; a server that can't be connected to is told by the calls, if there is no
    /// other.
    pub fn open(self) -> Result<Client<Q, R>, ServiceError> {
        let Self { bus, service, options, .. } = self;
        let id = names::new_id();
        bus.topic(&names::ConnectionName::new(&service, &id, &id).requests())?;
        presence::sweep_service(&bus, &service);
        let mut client = Client {
            bell: BusBell::open_to_sleep(bus.directory()),
            bus,
            service,
            options,
            links: Vec::new(),
            next: 0,
            serials: 0,
            refused: BTreeSet::new(),
            failure: None,
            changes: None,
            looked: None,
            sent: TimeSpec::new(0, 0),
            is_due: false,
            last_id: u128::from(names::number_of(&id)) << 64,
            pending: BTreeMap::new(),
            ready: BTreeSet::new(),
            block: Block::default(),
            generation: fork::generation(),
        };
        client.look_through()?;
        Ok(client)
    }
}

/// Sends requests of type `Q` to whichever server of a service has the fewest of this client's, and receives replies of type `R`. Dropping it
/// removes its connections.
///
/// It learns of new servers when it calls next, and forgets those that died. While it waits for a reply it asks the kernel every
/// millisecond whether the server lives; one that is only stopped is waited for until the time is up.
pub struct Client<Q: ?Sized, R: ?Sized> {
    pub(super) bus: Bus,
    service: String,
    pub(super) options: Options,
    pub(super) links: Vec<Link<Q, R>>,
    /// The link that is looked at first.
    next: usize,
    serials: u64,
    /// Servers that it can't connect to.
    refused: BTreeSet<String>,
    /// Why not, for the last one.
    failure: Option<ServiceError>,
    bell: Option<BusBell>,
    /// What the bus's bell counted when it was looked through last.
    changes: Option<u64>,
    looked: Option<Instant>,
    /// When it sent a request last, by the coarse clock.
    sent: TimeSpec,
    /// Whether to ask which servers live before it sends one.
    pub(super) is_due: bool,
    pub(super) last_id: u128,
    /// Requests that were sent and not waited for yet.
    pub(super) pending: BTreeMap<u128, Call>,
    /// Those of them for which something was put by.
    pub(super) ready: BTreeSet<u128>,
    /// Fields of a request that is being put together.
    pub(super) block: Block,
    generation: u64,
}

/// Whose message is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// That of this request.
    One(u128),
    /// That of any that is on its way.
    AnyPending,
    /// Nobody's.
    Nothing,
}

/// A request on its way.
#[derive(Debug)]
pub(super) struct Call {
    /// Of the link that it went over.
    pub(super) serial: u64,
    /// What came for it while another was waited for.
    pub(super) arrived: VecDeque<(Arrival, Option<Stored>)>,
}

impl<Q: ?Sized + Trusted, R: ?Sized + Trusted> Client<Q, R> {
    /// Waits until a server is there, up to `timeout`; whether one is.
    ///
    /// Errors: [`CallError::Connect`], [`CallError::Bus`].
    pub fn wait_for_server(&mut self, timeout: Duration) -> Result<bool, CallError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            self.ask_servers();
            if self.links.is_empty() {
                self.look_through()?;
            }
            if !self.links.is_empty() {
                return Ok(true);
            }
            if let Some(failure) = self.failure.take() {
                return Err(CallError::Connect(failure.into()));
            }
            let left = deadline.map_or(LOOK_EVERY, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(false);
            }
            match &self.bell {
                Some(bell) => {
                    let on_bell = OnBell { bell, changes: self.changes };
                    sleep_for_any(&[], &[on_bell], None, Some(left.min(LOOK_EVERY)));
                }
                None => std::thread::sleep(left.min(Duration::from_millis(1))),
            }
        }
    }

    /// How many servers it is connected to, as far as it knows.
    #[must_use]
    pub fn servers(&self) -> usize {
        self.links.len()
    }

    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The link for the next request: of those with the fewest requests on their way, the one after the last.
    #[inline]
    pub(super) fn choose(&mut self) -> Result<usize, CallError> {
        if self.bus_has_changed() || self.links.is_empty() {
            self.look_if_due()?;
        }
        if self.is_due {
            self.is_due = false;
            self.ask_servers();
        }
        if let [link] = &self.links[..]
            && link.is_live()
        {
            return Ok(0);
        }
        self.choose_of_many()
    }

    #[inline(always)]
    pub(super) fn bus_has_changed(&self) -> bool {
        self.changes != self.bell.as_ref().map(BusBell::changes)
    }

    /// After a request was sent: whether to ask before the next one which servers live. That is so unless this one was sent within the
    /// same few milliseconds as the last that was noted. Calls whose reply is there at the first look follow one another so closely that they
    /// aren't noted: the clock costs an eighth of such a call.
    #[cold]
    pub(super) fn note_time(&mut self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).unwrap_or(TimeSpec::new(0, 0));
        self.is_due = now != self.sent;
        self.sent = now;
    }

    #[inline(never)]
    fn choose_of_many(&mut self) -> Result<usize, CallError> {
        loop {
            let count = self.links.len();
            let start = if self.next < count { self.next } else { 0 };
            let order = (start..count).chain(0..start);
            let Some(index) = order.min_by_key(|index| self.links[*index].outstanding) else {
                return Err(self.no_server());
            };
            if self.links[index].is_live() {
                self.next = index + 1;
                return Ok(index);
            }
            self.drop_link(index)?;
        }
    }

    #[cold]
    fn no_server(&mut self) -> CallError {
        if self.generation != fork::generation() {
            return CallError::Forked;
        }
        self.failure.take().map_or(CallError::NoServer, |failure| CallError::Connect(failure.into()))
    }

    /// Looks for servers, unless it has one and has looked a moment ago.
    #[cold]
    fn look_if_due(&mut self) -> Result<(), CallError> {
        let is_recent = self.looked.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN);
        if self.links.is_empty() || !is_recent { Ok(self.look_through()?) } else { Ok(()) }
    }

    /// Connects to servers that it doesn't know.
    #[cold]
    fn look_through(&mut self) -> Result<(), crate::error::BusError> {
        if self.generation != fork::generation() {
            return Ok(());
        }
        // Before the list: what changes meanwhile is looked for again.
        self.changes = self.bell.as_ref().map(BusBell::changes);
        self.looked = Some(Instant::now());
        let topics = self.bus.topics()?;
        let found: BTreeSet<&str> = topics
            .iter()
            .filter_map(|topic| match names::parse(topic) {
                Some((service, Kind::Presence(server))) if service == self.service => Some(server),
                _ => None,
            })
            .collect();
        self.refused.retain(|server| found.contains(&**server));
        for server in found {
            if self.refused.contains(server) || self.links.iter().any(|link| link.server == server) {
                continue;
            }
            self.serials += 1;
            match Link::open(&self.bus, (&self.service, server), self.serials, self.options.capacity_bytes) {
                Ok(Some(link)) => self.links.push(link),
                Ok(None) => {}
                Err(failure) => {
                    self.refused.insert(server.to_owned());
                    self.failure = Some(failure);
                }
            }
        }
        Ok(())
    }

    /// Forgets the servers that died since the last time; their requests fail.
    #[cold]
    fn ask_servers(&mut self) {
        for index in (0..self.links.len()).rev() {
            // What it answered before is taken in first.
            if !self.links[index].server_lives() && self.take_in(index, Wanted::Nothing).is_ok() {
                let _ = self.drop_link(index);
            }
        }
    }

    /// Forgets a server; its requests fail.
    ///
    /// Errors: [`CallError::Forked`]; then nothing has changed.
    #[cold]
    pub(super) fn drop_link(&mut self, index: usize) -> Result<(), CallError> {
        if self.generation != fork::generation() {
            return Err(CallError::Forked);
        }
        let link = self.links.swap_remove(index);
        for (id, call) in self.pending.iter_mut().filter(|(_, call)| call.serial == link.serial) {
            if call.arrived.back().is_none_or(|(arrival, _)| !arrival.is_final()) {
                call.arrived.push_back((Arrival::Failed(Failure::ServerDied), None));
                self.ready.insert(*id);
            }
        }
        if link.server_lives() {
            // It dropped the connection, for what this client sent or for its own reasons: another one may do better.
            self.changes = None;
        } else {
            presence::remove_if_dead(&self.bus, &names::presence(&self.service, &link.server), None);
        }
        Ok(())
    }

    /// Takes in what has come over a link, up to a message that is wanted, which stays where it is.
    ///
    /// Errors: [`CallError::ServerDied`] and [`CallError::Forked`]; then the link is gone.
    pub(super) fn take_in(&mut self, index: usize, wanted: Wanted) -> Result<Option<(u128, Arrival)>, CallError> {
        loop {
            match self.links[index].peek() {
                Ok(None) => return Ok(None),
                Ok(Some((id, arrival))) if self.wants(wanted, id) => return Ok(Some((id, arrival))),
                Ok(Some((id, arrival))) => self.put_by(index, id, arrival),
                Err(broken) => return Err(self.lose(index, broken)),
            }
        }
    }

    fn wants(&self, wanted: Wanted, id: u128) -> bool {
        match wanted {
            Wanted::One(one) => one == id,
            Wanted::AnyPending => self.pending.contains_key(&id),
            Wanted::Nothing => false,
        }
    }

    /// Keeps a message for whoever waits for it later; drops one that nobody waits for.
    #[cold]
    fn put_by(&mut self, index: usize, id: u128, arrival: Arrival) {
        let link = &mut self.links[index];
        let Some(call) = self.pending.get_mut(&id) else {
            // Too late, or cancelled. What can't be passed over is told by the next look.
            let _ = link.replies.gated().skip();
            return;
        };
        if arrival.is_final() {
            link.outstanding = link.outstanding.saturating_sub(1);
        }
        let stored = match arrival {
            Arrival::Reply { payload_at, .. } => link.store(payload_at),
            Arrival::End | Arrival::Failed(_) => {
                let _ = link.replies.gated().skip();
                None
            }
        };
        call.arrived.push_back((arrival, stored));
        self.ready.insert(id);
    }

    /// A link is of no use any more.
    #[cold]
    pub(super) fn lose(&mut self, index: usize, broken: Broken) -> CallError {
        if broken == Broken::Forked {
            return CallError::Forked;
        }
        self.drop_link(index).err().unwrap_or(CallError::ServerDied)
    }
}

impl<Q: ?Sized, R: ?Sized> fmt::Debug for Client<Q, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Client");
        debug.field("service", &self.service).field("servers", &self.links.len()).finish_non_exhaustive()
    }
}
