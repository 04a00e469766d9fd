//! How a bridge stands, for who looks: plain values, gathered when they are asked for.

use crate::refusal::RefusedBy;
use crate::refused::Refusal;
use memlane_bridge_protocol::Mode;
use std::net::SocketAddr;

/// How a bridge stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeStatus {
    /// The name of its node.
    pub node: String,
    /// Those that are known, or have been here since it was started, by their names.
    pub peers: Vec<PeerStatus>,
    /// Connections that were refused, or given up for what their peers did: those reasons that happened, and how often.
    pub refused_connections: Vec<(Refusal, u64)>,
    /// Datagrams that came and belonged to no connection.
    pub stray_datagrams: u64,
}

impl BridgeStatus {
    /// The peer of this name, if it is known or has been here.
    #[must_use]
    pub fn peer(&self, name: &str) -> Option<&PeerStatus> {
        self.peers.iter().find(|peer| peer.name == name)
    }

    /// How many connections were refused for this reason.
    #[must_use]
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused_connections.iter().find(|(known, _)| *known == refusal).map_or(0, |(_, count)| *count)
    }
}

/// How a peer stands. Numbers count since the bridge was started, over all connections, and never fall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// The name of its node.
    pub name: String,
    /// Its connection; `None` if it isn't connected.
    pub link: Option<LinkStatus>,
    /// How many connections it has had.
    pub links: u64,
    /// Messages that were sent to it.
    pub messages_sent: u64,
    /// Messages of its that were published here.
    pub messages_received: u64,
    /// Messages of its that were here already.
    pub duplicates: u64,
    /// Messages, or batches of them, that couldn't be read and were left out.
    pub malformed: u64,
    /// Messages of flows of the newest ones that newer ones overtook here.
    pub overtaken: u64,
    /// Bytes of batches that were sent: packed.
    pub sent_raw_bytes: u64,
    /// The same as they went, compressed or not.
    pub sent_stored_bytes: u64,
    /// Bytes of batches that came: packed.
    pub received_raw_bytes: u64,
    /// The same as they came.
    pub received_stored_bytes: u64,
    /// Positions of topics here that were gone before they were sent.
    pub lost_sent_bytes: u64,
    /// Positions of its topics that it didn't have any more when they were to come.
    pub lost_received_bytes: u64,
    /// Flows, or topics that were wanted, that either end refused, or broke off since they couldn't go on.
    pub refused_flows: u64,
    /// The last few of them, the oldest first.
    pub last_refused_flows: Vec<RefusedFlow>,
    /// Topics that were made here for it, and the bytes of their rings.
    pub topics_made: u64,
    /// See above.
    pub topics_made_bytes: u64,
}

/// A flow that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedFlow {
    /// The topic, or the pattern that was wanted; cut if it is long.
    pub topic: String,
    /// Which way it was to go.
    pub direction: FlowDirection,
    /// By whom.
    pub by: RefusedBy,
    /// Why; cut if it is long.
    pub reason: String,
    /// When, in nanoseconds since 1970.
    pub unix_ns: u64,
}

/// Which way a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowDirection {
    /// From here to the peer.
    ToPeer,
    /// From the peer to here.
    FromPeer,
}

impl FlowDirection {
    /// A word for it, as for a label of metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        if self == Self::ToPeer { "to_peer" } else { "from_peer" }
    }
}

/// How a connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// Where the peer is.
    pub address: SocketAddr,
    /// Whether it was this end that connected.
    pub is_ours: bool,
    /// Since when, in nanoseconds since 1970.
    pub since_unix_ns: u64,
    /// QUIC's best guess of the round trip, in nanoseconds.
    pub round_trip_ns: u64,
    /// The clocks; `None` before a ping has come back.
    pub clock: Option<ClockStatus>,
    /// Datagrams that were sent, all with their bytes.
    pub sent_udp_bytes: u64,
    /// The same of those that came.
    pub received_udp_bytes: u64,
    /// Packets that were lost on the way to the peer.
    pub lost_packets: u64,
    /// Streams of the peer's that are being read.
    pub streams: u64,
    /// Its flows, by their topics.
    pub flows: Vec<FlowStatus>,
}

/// By how much a peer's clock is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStatus {
    /// So much, in nanoseconds.
    pub ahead_ns: i64,
    /// It is wrong by so much at most.
    pub error_ns: u64,
}

/// How a flow stands. Positions are its sender's log's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStatus {
    /// The topic's name here.
    pub topic: String,
    /// Which way it goes.
    pub direction: FlowDirection,
    /// What it promises.
    pub mode: Mode,
    /// Whether its receiver has taken it.
    pub is_running: bool,
    /// Up to where it was sent, or has come; `None` before the first.
    pub position: Option<u64>,
    /// Up to where it is in the receiver's log.
    pub applied: u64,
    /// Up to where it survives a loss of power there; zero if nobody sees to that.
    pub durable: u64,
    /// Bytes that may be sent before the receiver gives more credit.
    pub credit_left_bytes: u64,
}
