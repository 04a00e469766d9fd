//! The module that carries topics from and to other nodes.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;

use memlane::Pattern;
use memlane_bridge_quic::{
    AllowList, Bridge, BridgeOptions, Compression, Congestion, FlowOptions, Identity, IdentityFiles, Linger, Mode,
    NodeNameError, PeerOptions, Rule, StartAt, Transport,
};
use tracing::{error, info};

use crate::config::{BridgeConfig, Config, FlowCompression, FlowConfig, FlowMode, FlowStart, PeerConfig, Waiting};
use crate::module::{Context, Module, ModuleError, Order};
use crate::place::Place;

/// Carries topics from and to the peers of `[bridge]`.
#[derive(Debug)]
pub struct BridgeModule {
    place: Place,
    node: String,
    files: IdentityFiles,
    /// What it is begun with; a reload hands it a later one.
    config: Arc<Config>,
}

/// Why topics can't be carried.
#[derive(Debug, thiserror::Error)]
pub enum BridgeModuleError {
    /// The address can't be looked up: write one of this host's.
    #[error("can't listen on {address}: {source}")]
    Address {
        /// The address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate is another node's: have one made for this node, or give the node that name.
    #[error(
        "{certificate}: the certificate is that of {found:?}, but [node] says that this one is {expected:?}: have one made with `memlane certs node {expected}`"
    )]
    OtherNode {
        /// The certificate's file.
        certificate: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// A peer can't have its name.
    #[error(transparent)]
    Name(#[from] NodeNameError),
}

impl BridgeModule {
    /// For what `config` says, of the bus at `place`; `None` if it has no `[bridge]`.
    #[must_use]
    pub fn new(place: &Place, config: &Arc<Config>) -> Option<Self> {
        let bridge = config.bridge.as_ref()?;
        let files = IdentityFiles {
            certificate: bridge.certificate.clone(),
            key: bridge.key.clone(),
            authorities: bridge.authorities.clone(),
            revoked: bridge.revoked.clone(),
        };
        let (place, node, config) = (place.clone(), config.node.name.clone(), Arc::clone(config));
        Some(Self { place, node, files, config })
    }

    async fn carry(&self, context: &Context) -> Result<(), ModuleError> {
        let identity = Arc::new(Identity::load(self.files.clone())?);
        if identity.name() != self.node {
            let (certificate, expected) = (self.files.certificate.clone(), self.node.clone());
            return Err(BridgeModuleError::OtherNode { certificate, found: identity.name(), expected }.into());
        }
        let Some(options) = options(&self.config)? else { return Ok(()) };
        let bridge = Bridge::start(&self.place.open()?, Arc::clone(&identity), options).await?;
        if let Ok(address) = bridge.local_address() {
            info!(module = self.name(), %address, "open to peers");
        }
        context.say_running();
        loop {
            match context.order_async().await {
                Order::Stop => {
                    bridge.close().await;
                    return Ok(());
                }
                Order::Reload(config) => {
                    if let Err(error) = self.go_over_to(&config, &identity, &bridge) {
                        error!(module = self.name(), "goes on as before: {error}");
                        context.say_impaired(format!("the new configuration can't be followed: {error}"));
                    } else {
                        context.say_running();
                    }
                }
            }
        }
    }

    fn go_over_to(&self, config: &Config, identity: &Identity, bridge: &Bridge) -> Result<(), ModuleError> {
        // Also if nothing else has changed: certificates are renewed in their files.
        identity.reload()?;
        if let Some(options) = options(config)? {
            bridge.update(options)?;
        }
        Ok(())
    }
}

impl Module for BridgeModule {
    fn name(&self) -> &str {
        "bridge"
    }

    fn run(&self, context: &Context) -> Result<(), ModuleError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.carry(context))
    }
}

/// What the bridge is to do; `None` if there is to be none.
fn options(config: &Config) -> Result<Option<BridgeOptions>, BridgeModuleError> {
    let Some(bridge) = &config.bridge else { return Ok(None) };
    let listen = bridge.listen.as_ref().map(|address| resolve(address)).transpose()?;
    let allow = bridge.peers.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(BridgeOptions {
        listen,
        peers: bridge.peers.iter().map(peer).collect(),
        allow: AllowList::new(allow),
        transport: transport(bridge),
        journals: config.journals.iter().map(|journal| journal.directory.clone()).collect(),
        linger: match config.node.wait {
            Waiting::Park => Linger::default(),
            Waiting::Poll => Linger::Forever,
        },
        ..BridgeOptions::default()
    }))
}

fn resolve(address: &str) -> Result<SocketAddr, BridgeModuleError> {
    let failed = |source| BridgeModuleError::Address { address: address.to_owned(), source };
    let first = address.to_socket_addrs().map_err(failed)?.next();
    first.ok_or_else(|| failed(io::Error::other("its name has no address")))
}

fn rule(peer: &PeerConfig) -> Result<Rule, NodeNameError> {
    let rule = peer.may_pull.iter().cloned().fold(Rule::new(&peer.name)?, Rule::pull);
    Ok(peer.may_push.iter().cloned().fold(rule, Rule::push))
}

fn peer(peer: &PeerConfig) -> PeerOptions {
    let (name, address) = (peer.name.clone(), peer.address.clone());
    let flows = |flows: &[FlowConfig]| flows.iter().flat_map(flow).collect();
    PeerOptions { name, address, pulls: flows(&peer.pull), pushes: flows(&peer.push) }
}

fn flow(flow: &FlowConfig) -> impl Iterator<Item = FlowOptions> {
    let options = |topics: &Pattern| FlowOptions {
        topics: topics.clone(),
        mode: match flow.mode {
            FlowMode::Reliable => Mode::Reliable,
            FlowMode::AtMostOnce => Mode::AtMostOnce,
            FlowMode::Latest => Mode::Latest,
        },
        start: match flow.from {
            FlowStart::Earliest => StartAt::Earliest,
            FlowStart::Live => StartAt::Live,
        },
        compression: match flow.compression {
            FlowCompression::None => Compression::None,
            FlowCompression::Lz4 => Compression::Lz4,
            FlowCompression::Zstd => Compression::Zstd,
        },
        prefix: flow.prefix.as_ref().map_or_else(String::new, |prefix| format!("{prefix}.")),
    };
    flow.topics.iter().map(options)
}

fn transport(bridge: &BridgeConfig) -> Transport {
    let usual = Transport::default();
    Transport {
        window_bytes: bridge.window_bytes.unwrap_or(usual.window_bytes),
        payload_bytes_max: bridge.packet_bytes.unwrap_or(usual.payload_bytes_max),
        congestion: if bridge.is_bbr { Congestion::Bbr } else { Congestion::Cubic },
        keep_alive: bridge.keep_alive.unwrap_or(usual.keep_alive),
        silence_max: bridge.silence.unwrap_or(usual.silence_max),
        ..usual
    }
}
