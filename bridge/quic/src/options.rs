//! What a bridge is to do.

use crate::allow::AllowList;
use crate::transport::Transport;
use memlane::Pattern;
use memlane_bridge_protocol::{Features, Mode, StartAt};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What a bridge is to do.
#[derive(Clone, Debug)]
pub struct BridgeOptions {
    /// Where it listens for peers; `None` if it only connects.
    pub listen: Option<SocketAddr>,
    /// Whom it knows. Others may connect, too, if their certificates are good; what they may do the rules say.
    pub peers: Vec<PeerOptions>,
    /// Who may do what.
    pub allow: AllowList,
    /// How bytes are carried.
    pub transport: Transport,
    /// Where the journals of the bus's topics are, each in a directory of its topic's name: what a ring has let go is sent from there.
    pub journals: Vec<PathBuf>,
    /// How long it looks for more before it sleeps.
    pub linger: Linger,
    /// Most topics that are made here for a peer which has them, since the bridge was started. Default 4,096.
    pub topics_made_max: u32,
    /// Most bytes that the rings of these topics have together. Default 16 GiB.
    pub topics_made_bytes_max: u64,
}

impl Default for BridgeOptions {
    fn default() -> Self {
        Self {
            listen: None,
            peers: Vec::new(),
            allow: AllowList::default(),
            transport: Transport::default(),
            journals: Vec::new(),
            linger: Linger::default(),
            topics_made_max: 4096,
            topics_made_bytes_max: 16 << 30,
        }
    }
}

/// How long a bridge looks for more, once something has come, before it sleeps. A thread that sleeps is woken by the system, which takes some 5 µs on the same core, and on virtual cores 30 µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linger {
    /// So long after the last message; a bridge without traffic uses no processor time. Zero: it sleeps at once.
    For(Duration),
    /// It never sleeps: for a core of its own.
    Forever,
}

impl Default for Linger {
    fn default() -> Self {
        Self::For(Duration::from_micros(200))
    }
}

/// A peer that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerOptions {
    /// The name of its node, as its certificate says it.
    pub name: String,
    /// Where to connect to it: a host, by number or name, and a port. `None`: it connects.
    pub address: Option<String>,
    /// The topics that it is asked for.
    pub pulls: Vec<FlowOptions>,
    /// The topics that it is given.
    pub pushes: Vec<FlowOptions>,
}

/// Topics that are carried from one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowOptions {
    /// Which topics, also those that are made later.
    pub topics: Pattern,
    /// What is promised.
    pub mode: Mode,
    /// Where to begin with a topic that has never come from there. Only who receives says so.
    pub start: StartAt,
    /// How batches are compressed.
    pub compression: Compression,
    /// What is put before the names of topics at the receiver; empty: they have the same names. Only who receives says so.
    pub prefix: String,
}

impl FlowOptions {
    /// Each message of these topics once, from the oldest on, as they are.
    #[must_use]
    pub fn reliable(topics: Pattern) -> Self {
        let (mode, start, compression) = (Mode::Reliable, StartAt::Earliest, Compression::None);
        Self { topics, mode, start, compression, prefix: String::new() }
    }
}

/// How batches are compressed: where the line is the bottleneck, not the processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// By LZ4: quick.
    Lz4,
    /// By Zstandard at level 1: smaller.
    Zstd,
}

impl Compression {
    /// The one that is asked for; of several the quickest.
    pub(crate) fn of(features: Features) -> Self {
        if features.has(Features::LZ4) {
            Self::Lz4
        } else if features.has(Features::ZSTD) {
            Self::Zstd
        } else {
            Self::None
        }
    }

    pub(crate) fn feature(self) -> Features {
        match self {
            Self::None => Features(0),
            Self::Lz4 => Features::LZ4,
            Self::Zstd => Features::ZSTD,
        }
    }
}
