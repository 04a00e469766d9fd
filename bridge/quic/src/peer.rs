//! A peer, whether it is connected or not: which link it has, how far it has got, what was counted.

use crate::link::{Link, lock, now_unix_ns};
use crate::quiet::{Quiet, shown};
use crate::refusal::RefusedBy;
use crate::status::{ClockStatus, FlowDirection, LinkStatus, PeerStatus, RefusedFlow};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::Notify;

/// Refused flows that are remembered.
const REFUSED_MAX: usize = 16;

/// A peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    link: Mutex<Option<Current>>,
    /// Its link has ended.
    pub(crate) is_free: Notify,
    pub(crate) counters: Counters,
    refused: Mutex<VecDeque<RefusedFlow>>,
    pub(crate) quiet: QuietLines,
}

#[derive(Debug)]
struct Current {
    quic: quinn::Connection,
    /// Whether it was this end that connected.
    is_ours: bool,
    since_unix_ns: u64,
    /// Once there is one.
    link: Weak<Link>,
}

/// Whether a connection was taken for a peer's.
#[derive(Debug)]
pub(crate) enum Taken {
    /// There is a better one.
    Not,
    /// It is the peer's now, and closed the one from there.
    For(Option<SocketAddr>),
}

/// What happened with a peer, ever.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) links: AtomicU64,
    pub(crate) messages_sent: AtomicU64,
    pub(crate) messages_received: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) overtaken: AtomicU64,
    pub(crate) bytes_raw: AtomicU64,
    pub(crate) bytes_stored: AtomicU64,
    pub(crate) received_raw_bytes: AtomicU64,
    pub(crate) received_stored_bytes: AtomicU64,
    pub(crate) lost_sent_bytes: AtomicU64,
    pub(crate) lost_received_bytes: AtomicU64,
    pub(crate) refused_flows: AtomicU64,
    pub(crate) topics_made: AtomicU64,
    pub(crate) topics_made_bytes: AtomicU64,
}

/// Lines of the log that it can cause as often as it likes.
#[derive(Debug, Default)]
pub(crate) struct QuietLines {
    pub(crate) connected: Quiet,
    pub(crate) disconnected: Quiet,
    /// By who refused, then which way it was to go.
    pub(crate) refused_flow: [[Quiet; 2]; 2],
    pub(crate) left_out: Quiet,
    pub(crate) lost: Quiet,
}

pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Peer {
    pub(crate) fn new(name: &str) -> Self {
        let (link, is_free, counters, refused, quiet) = Default::default();
        Self { name: name.to_owned(), link, is_free, counters, refused, quiet }
    }

    /// Takes this connection for the peer's only one, and says where the one came from whose place it took; or that the peer has a better one. Of two that the same end made the later one is better: the other has lost its way. Of two that both
    /// ends made at once it is that of the node whose name comes first, on both ends.
    pub(crate) fn take_link(&self, quic: &quinn::Connection, is_ours: bool, node: &str) -> Taken {
        let (mut link, mut replaced) = (lock(&self.link), None);
        if let Some(before) = link.as_ref().filter(|before| before.quic.close_reason().is_none()) {
            let ours_is_better = node < &*self.name;
            if before.is_ours != is_ours && is_ours != ours_is_better {
                return Taken::Not;
            }
            before.quic.close(crate::link::REPLACED, b"another connection took its place");
            replaced = Some(before.quic.remote_address());
        }
        *link = Some(Current { quic: quic.clone(), is_ours, since_unix_ns: now_unix_ns(), link: Weak::new() });
        count(&self.counters.links, 1);
        Taken::For(replaced)
    }

    /// The link that runs over a connection which it has taken.
    pub(crate) fn has_link(&self, link: &Arc<Link>) {
        let mut current = lock(&self.link);
        if let Some(current) = current.as_mut().filter(|current| current.quic.stable_id() == link.quic.stable_id()) {
            current.link = Arc::downgrade(link);
        }
    }

    /// Ends its link, if it has one: it may be begun anew.
    pub(crate) fn end_link(&self) {
        if let Some(link) = lock(&self.link).as_ref() {
            link.quic.close(crate::link::RENEWED, b"the node's options have changed");
        }
    }

    /// The connection has ended.
    pub(crate) fn free_link(&self, quic: &quinn::Connection) {
        let mut link = lock(&self.link);
        if link.as_ref().is_some_and(|current| current.quic.stable_id() == quic.stable_id()) {
            *link = None;
            drop(link);
            self.is_free.notify_waiters();
        }
    }

    /// Whether it has a link.
    pub(crate) fn is_connected(&self) -> bool {
        lock(&self.link).as_ref().is_some_and(|link| link.quic.close_reason().is_none())
    }

    /// Counts, remembers and tells that a flow was refused, or broken off.
    pub(crate) fn refuse_flow(&self, topic: &str, direction: FlowDirection, by: RefusedBy, reason: &str) {
        count(&self.counters.refused_flows, 1);
        let (topic, reason) = (shown(topic), shown(reason));
        if let Some(left_out) = self.quiet.refused_flow[by as usize][direction as usize].may() {
            let what = match (direction, by) {
                (FlowDirection::FromPeer, RefusedBy::Us) => "not taken",
                (FlowDirection::FromPeer, RefusedBy::Peer) => "can't be had",
                (FlowDirection::ToPeer, RefusedBy::Us) => "not given",
                (FlowDirection::ToPeer, RefusedBy::Peer) => "not taken there",
            };
            tracing::warn!(peer = self.name, topic, left_out = left_out.0, "{what}: {reason}");
        }
        let mut refused = lock(&self.refused);
        if refused.len() == REFUSED_MAX {
            refused.pop_front();
        }
        refused.push_back(RefusedFlow { topic, direction, by, reason, unix_ns: now_unix_ns() });
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        PeerStatus {
            name: self.name.clone(),
            link: self.link_status(),
            links: of(&counters.links),
            messages_sent: of(&counters.messages_sent),
            messages_received: of(&counters.messages_received),
            duplicates: of(&counters.duplicates),
            malformed: of(&counters.malformed),
            overtaken: of(&counters.overtaken),
            sent_raw_bytes: of(&counters.bytes_raw),
            sent_stored_bytes: of(&counters.bytes_stored),
            received_raw_bytes: of(&counters.received_raw_bytes),
            received_stored_bytes: of(&counters.received_stored_bytes),
            lost_sent_bytes: of(&counters.lost_sent_bytes),
            lost_received_bytes: of(&counters.lost_received_bytes),
            refused_flows: of(&counters.refused_flows),
            last_refused_flows: lock(&self.refused).iter().cloned().collect(),
            topics_made: of(&counters.topics_made),
            topics_made_bytes: of(&counters.topics_made_bytes),
        }
    }

    fn link_status(&self) -> Option<LinkStatus> {
        let current = lock(&self.link);
        let current = current.as_ref().filter(|link| link.quic.close_reason().is_none())?;
        let (quic, stats) = (&current.quic, current.quic.stats());
        let core = current.link.upgrade().map_or_else(Default::default, |link| link.status());
        Some(LinkStatus {
            address: quic.remote_address(),
            is_ours: current.is_ours,
            since_unix_ns: current.since_unix_ns,
            round_trip_ns: quic.rtt().as_nanos() as u64,
            clock: core.clock.map(|(ahead_ns, error_ns)| ClockStatus { ahead_ns, error_ns }),
            sent_udp_bytes: stats.udp_tx.bytes,
            received_udp_bytes: stats.udp_rx.bytes,
            lost_packets: stats.path.lost_packets,
            streams: core.streams as u64,
            flows: core.flows,
        })
    }
}
