//! What all links of a bridge share.

use crate::link::lock;
use crate::options::{BridgeOptions, Linger};
use crate::peer::Peer;
use crate::refused::Refusals;
use crate::replicas::Replicas;
use crate::status::BridgeStatus;
use crate::strays::Strays;
use memlane::Bus;
use memlane::journal::{Disk, Journal};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;
use tokio::sync::watch;

/// What all links of a bridge share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) bus: Bus,
    /// The name of this node.
    pub(crate) node: String,
    options: RwLock<Arc<BridgeOptions>>,
    peers: Mutex<BTreeMap<String, Arc<Peer>>>,
    pub(crate) replicas: Replicas,
    pub(crate) refusals: Refusals,
    pub(crate) strays: Arc<Strays>,
    /// The topics of the bus, as they come and go.
    pub(crate) topics: watch::Receiver<Arc<BTreeSet<String>>>,
    begun: Instant,
    /// When something was sent or came last, in nanoseconds since it was begun.
    active_ns: AtomicU64,
}

impl Context {
    pub(crate) fn new(
        bus: &Bus,
        node: String,
        options: BridgeOptions,
        topics: watch::Receiver<Arc<BTreeSet<String>>>,
        strays: Arc<Strays>,
    ) -> Self {
        Self {
            bus: bus.clone(),
            node,
            options: RwLock::new(Arc::new(options)),
            peers: Mutex::default(),
            replicas: Replicas::default(),
            refusals: Refusals::default(),
            strays,
            topics,
            begun: Instant::now(),
            active_ns: AtomicU64::new(0),
        }
    }

    pub(crate) fn options(&self) -> Arc<BridgeOptions> {
        Arc::clone(&self.options.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(crate) fn set_options(&self, options: BridgeOptions) {
        *self.options.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(options);
    }

    /// The peer of this name, known or not.
    pub(crate) fn peer(&self, name: &str) -> Arc<Peer> {
        let mut peers = lock(&self.peers);
        if let Some(peer) = peers.get(name) {
            return Arc::clone(peer);
        }
        let peer = Arc::new(Peer::new(name));
        peers.insert(name.to_owned(), Arc::clone(&peer));
        peer
    }

    /// The peer of this name, if it is known or has been here.
    pub(crate) fn known(&self, name: &str) -> Option<Arc<Peer>> {
        lock(&self.peers).get(name).map(Arc::clone)
    }

    /// Those that are known, or have been here.
    pub(crate) fn peers(&self) -> Vec<Arc<Peer>> {
        lock(&self.peers).values().map(Arc::clone).collect()
    }

    pub(crate) fn status(&self) -> BridgeStatus {
        BridgeStatus {
            node: self.node.clone(),
            peers: self.peers().iter().map(|peer| peer.status()).collect(),
            refused_connections: self.refusals.counts(),
            stray_datagrams: self.strays.count.load(Ordering::Relaxed),
        }
    }

    /// The journal of a topic, if it has one.
    pub(crate) fn journal(&self, topic: &str) -> Option<Journal> {
        let open = |directory: &PathBuf| Journal::open(Arc::new(Disk), &directory.join(topic)).ok();
        self.options().journals.iter().find_map(open)
    }

    /// Something was sent, or has come.
    pub(crate) fn is_active(&self) {
        self.active_ns.store(self.begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// Whether to look again rather than to sleep.
    pub(crate) fn lingers(&self, linger: Linger) -> bool {
        match linger {
            Linger::Forever => true,
            Linger::For(longest) => {
                let idle_ns =
                    (self.begun.elapsed().as_nanos() as u64).saturating_sub(self.active_ns.load(Ordering::Relaxed));
                u128::from(idle_ns) < longest.as_nanos()
            }
        }
    }
}
