//! A peer, whether it is connected or not: which link it has, how far it has got, what was counted.

use crate::link::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// A peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    link: Mutex<Option<Current>>,
    /// Its link has ended.
    pub(crate) is_free: Notify,
    pub(crate) counters: Counters,
}

#[derive(Debug)]
struct Current {
    quic: quinn::Connection,
    /// Whether it was this end that connected.
    is_ours: bool,
}

/// What happened with a peer, ever.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) links: AtomicU64,
    pub(crate) messages_sent: AtomicU64,
    pub(crate) messages_received: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) bytes_raw: AtomicU64,
    pub(crate) bytes_stored: AtomicU64,
    pub(crate) lost_sent_bytes: AtomicU64,
    pub(crate) lost_received_bytes: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl Peer {
    pub(crate) fn new(name: &str) -> Self {
        let (link, is_free, counters) = Default::default();
        Self { name: name.to_owned(), link, is_free, counters }
    }

    /// Takes this connection for the peer's only one; `false` if it has a better one. Of two that the same end made the later one is better: the other has lost its way. Of two that both
    /// ends made at once it is that of the node whose name comes first, on both ends.
    pub(crate) fn take_link(&self, quic: &quinn::Connection, is_ours: bool, node: &str) -> bool {
        let mut link = lock(&self.link);
        if let Some(before) = link.as_ref().filter(|before| before.quic.close_reason().is_none()) {
            let ours_is_better = node < &*self.name;
            if before.is_ours != is_ours && is_ours != ours_is_better {
                return false;
            }
            before.quic.close(crate::link::REPLACED, b"another connection took its place");
        }
        *link = Some(Current { quic: quic.clone(), is_ours });
        count(&self.counters.links, 1);
        true
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
}
