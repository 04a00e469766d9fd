//! The bridge of a node: an endpoint that listens and connects, and a link for each peer that is there.

use crate::context::Context;
use crate::door::{Door, Pass};
use crate::identity::Identity;
use crate::link::{self, lock};
use crate::name::{peer_name, server_name};
use crate::options::{BridgeOptions, PeerOptions};
use crate::peer::{Peer, Taken};
use crate::pem::PemError;
use crate::quiet::shown;
use crate::refused::Refusal;
use crate::status::BridgeStatus;
use crate::strays::{Ids, Strays, Watched};
use crate::topics;
use memlane::Bus;
use memlane_bridge_protocol::Side;
use quinn::{Connection, Endpoint, Incoming, Runtime, VarInt};
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

/// Pauses between two tries to connect: the first after a link that was there comes at once.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// A link that has lasted so long is begun anew at once.
const LASTING: Duration = Duration::from_secs(1);

/// Why a bridge can't be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its address can't be had: another program may have it, or the user may not.
    #[error("can't listen on {address} (UDP): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The TLS library has no cipher that QUIC begins with.
    #[error("the TLS provider can't be used for QUIC: {0}")]
    Cipher(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
    /// Its key can't be read any more.
    #[error(transparent)]
    Key(#[from] PemError),
    /// The bus's directory can't be looked at.
    #[error(transparent)]
    Bus(#[from] memlane::BusError),
}

/// Why options can't be taken while it runs: start it anew.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// It listens where it was begun.
    #[error("it can't listen elsewhere while it runs (was {before:?}, is to be {after:?}): start the node anew")]
    Listen {
        /// Where it listens.
        before: Option<SocketAddr>,
        /// Where it is to.
        after: Option<SocketAddr>,
    },
    /// What bytes are carried by is settled when it is begun.
    #[error("the transport's settings can't be changed while it runs: start the node anew")]
    Transport,
}

/// The bridge of a node: carries topics to and from other nodes, as its options say, until it is closed or dropped.
///
/// It runs in the tokio runtime that it was started in, one thread of which is enough.
#[derive(Debug)]
pub struct Bridge {
    context: Arc<Context>,
    endpoint: Endpoint,
    /// They end with it.
    tasks: Mutex<JoinSet<()>>,
    /// Who is connected to, with what.
    connecting: Mutex<HashMap<String, (PeerOptions, AbortHandle)>>,
}

impl Bridge {
    /// Starts it: listens, and connects to those whose address it knows, again and again.
    ///
    /// Errors: [`StartError`]. A peer that can't be reached is none; it is tried again, and told to `tracing`.
    pub async fn start(bus: &Bus, identity: Arc<Identity>, options: BridgeOptions) -> Result<Self, StartError> {
        let strays = Arc::new(Strays::default());
        let endpoint = endpoint(&identity, &options, &strays)?;
        let (topics, watching) = topics::watch(bus.clone())?;
        let context = Arc::new(Context::new(bus, identity.name(), options, topics, strays));
        let mut tasks = JoinSet::new();
        tasks.spawn(watching);
        tasks.spawn(accept(Arc::clone(&context), endpoint.clone()));
        let bridge = Self { context, endpoint, tasks: Mutex::new(tasks), connecting: Mutex::default() };
        bridge.connect_to_peers();
        Ok(bridge)
    }

    /// From here on it does what these options say. Links of peers that are to have or to give other topics, or aren't known any more, end and are begun anew, which loses and repeats nothing; so do all
    /// if the rules have changed.
    ///
    /// Errors: [`UpdateError`], if what can't be changed is another: then nothing is changed.
    pub fn update(&self, options: BridgeOptions) -> Result<(), UpdateError> {
        let before = self.context.options();
        if options.listen != before.listen {
            return Err(UpdateError::Listen { before: before.listen, after: options.listen });
        }
        if options.transport != before.transport {
            return Err(UpdateError::Transport);
        }
        let is_changed = |peer: &Peer| {
            let of = |options: &BridgeOptions| options.peers.iter().find(|known| known.name == peer.name).cloned();
            options.allow != before.allow || options.journals != before.journals || of(&options) != of(&before)
        };
        let changed: Vec<_> = self.context.peers().into_iter().filter(|peer| is_changed(peer)).collect();
        self.context.set_options(options);
        self.connect_to_peers();
        for peer in changed {
            peer.end_link();
        }
        Ok(())
    }

    /// Begins to connect to whom it is to, and ends it with whom it isn't any more.
    fn connect_to_peers(&self) {
        let options = self.context.options();
        let (mut connecting, mut tasks) = (lock(&self.connecting), lock(&self.tasks));
        let is_wanted = |name: &str, peer: &PeerOptions| {
            options.peers.iter().any(|wanted| wanted.name == name && wanted.address == peer.address)
        };
        connecting.retain(|name, (peer, task)| {
            let stays = is_wanted(name, peer);
            if !stays {
                task.abort();
            }
            stays
        });
        for options in &options.peers {
            let Some(address) = &options.address else { continue };
            if connecting.contains_key(&options.name) {
                continue;
            }
            let (context, endpoint) = (Arc::clone(&self.context), self.endpoint.clone());
            let (peer, address) = (context.peer(&options.name), address.clone());
            let task = tasks.spawn(Connecting { context, endpoint, peer, address }.run());
            connecting.insert(options.name.clone(), (options.clone(), task));
        }
    }

    /// Where it listens, or sends from.
    ///
    /// Errors: those of the system.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Whether the peer of this name is connected.
    #[must_use]
    pub fn is_connected(&self, peer: &str) -> bool {
        self.context.known(peer).is_some_and(|peer| peer.is_connected())
    }

    /// How it stands: its peers, their connections and flows, what was counted, and whom it refused.
    ///
    /// Cost: some allocations for each peer and each flow, and a moment of each link's lock.
    #[must_use]
    pub fn status(&self) -> BridgeStatus {
        self.context.status()
    }

    /// Ends all links, with a word to the peers, and waits until those have it, or a second.
    pub async fn close(self) {
        self.endpoint.close(VarInt::from_u32(0), b"the node ends");
        lock(&self.tasks).abort_all();
        let _ = timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await;
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.endpoint.close(VarInt::from_u32(0), b"the node ends");
    }
}

fn endpoint(identity: &Identity, options: &BridgeOptions, strays: &Arc<Strays>) -> Result<Endpoint, StartError> {
    let transport = &options.transport;
    // Whoever only connects may have peers of either kind: a socket of IPv6 takes both, where there is one.
    let anywhere = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))];
    let addresses = options.listen.map_or(anywhere.to_vec(), |listen| vec![listen]);
    let mut opened = Err(io::Error::other("there is no address"));
    for address in &addresses {
        opened = UdpSocket::bind(address);
        if opened.is_ok() {
            break;
        }
    }
    let listen_error = |source| StartError::Listen { address: addresses[0], source };
    let socket = opened.map_err(listen_error)?;
    crate::socket::enlarge_buffers(&socket, transport.socket_buffer_bytes);
    let server = options.listen.map(|_| transport.server(identity)).transpose()?;
    let runtime = Arc::new(quinn::TokioRuntime);
    let (config, key) = transport.endpoint(identity)?;
    let socket = runtime.wrap_udp_socket(socket).map_err(listen_error)?;
    let socket = Arc::new(Watched { socket, ids: Ids::from_key(key), strays: Arc::clone(strays) });
    let mut endpoint = Endpoint::new_with_abstract_socket(config, server, socket, runtime).map_err(listen_error)?;
    endpoint.set_default_client_config(transport.client(identity)?);
    Ok(endpoint)
}

/// Accepts peers, until the endpoint is closed.
async fn accept(context: Arc<Context>, endpoint: Endpoint) {
    let (mut links, door) = (JoinSet::new(), Arc::new(Door::default()));
    while let Some(incoming) = endpoint.accept().await {
        while links.try_join_next().is_some() {}
        let (from, limits) = (incoming.remote_address(), &context.options().transport);
        if !incoming.remote_address_validated() && door.is_crowded(limits) {
            // Who really is where it says comes back with a token; who floods with others' addresses doesn't.
            let _ = incoming.retry();
            continue;
        }
        match door.enter(from.ip(), limits) {
            Ok(pass) => {
                links.spawn(take_in(Arc::clone(&context), incoming, pass));
            }
            Err(text) => {
                context.refusals.tell(Refusal::TooMany, &from, text);
                incoming.refuse();
            }
        }
    }
}

async fn take_in(context: Arc<Context>, incoming: Incoming, pass: Pass) {
    let from = incoming.remote_address();
    let refuse = |refusal, text: &str| context.refusals.tell(refusal, &from, text);
    let handshake = async { incoming.accept()?.await };
    let patience = context.options().transport.greeting_max;
    let shaken = timeout(patience, handshake).await;
    drop(pass);
    match shaken {
        Ok(Ok(quic)) => match name_of(&quic) {
            Ok(name) => {
                let peer = context.peer(&name);
                hold(&context, &peer, &quic, Side::Listener).await;
            }
            Err(text) => {
                refuse(Refusal::BadCertificate, &text);
                quic.close(VarInt::from_u32(4), text.as_bytes());
            }
        },
        Ok(Err(error)) => refuse(Refusal::of_handshake(&error), &crate::why::explain_connection(&error)),
        Err(_) => refuse(Refusal::Silent, &format!("it has taken longer than {patience:?} to shake hands")),
    }
}

/// The name in the peer's certificate.
fn name_of(quic: &Connection) -> Result<String, String> {
    let identity = quic.peer_identity().ok_or("it has no certificate")?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().map_err(|_| "its certificate can't be read")?;
    let first = chain.first().ok_or("it has no certificate")?;
    peer_name(first).map_err(|error| error.to_string())
}

/// Runs the peer's link over this connection, if it has no better one; whether both ends have greeted.
async fn hold(context: &Arc<Context>, peer: &Arc<Peer>, quic: &Connection, side: Side) -> bool {
    let tell = |refusal, text: &str| context.refusals.tell(refusal, &peer.name, text);
    match peer.take_link(quic, side == Side::Connector, &context.node) {
        Taken::Not => {
            tell(Refusal::Replaced, "there is another connection");
            quic.close(link::REPLACED, b"there is another connection");
            return false;
        }
        Taken::For(Some(before)) => {
            let now = quic.remote_address();
            tell(Refusal::Replaced, &format!("its connection from {before} was still there when it came from {now}"));
        }
        Taken::For(None) => {}
    }
    if let Some(left_out) = peer.quiet.connected.may() {
        let (address, left_out) = (quic.remote_address(), left_out.0);
        tracing::info!(peer = peer.name, %address, left_out, "connected");
    }
    let over = link::run(context, peer, quic, side).await;
    peer.free_link(quic);
    let why = shown(&over.why.to_string());
    if let Some(refusal) = over.why.refusal() {
        tell(refusal, &why);
    }
    if let Some(left_out) = peer.quiet.disconnected.may() {
        tracing::info!(peer = peer.name, left_out = left_out.0, "disconnected: {why}");
    }
    over.was_ready
}

/// Connects to a peer, again and again.
struct Connecting {
    context: Arc<Context>,
    endpoint: Endpoint,
    peer: Arc<Peer>,
    address: String,
}

impl Connecting {
    async fn run(self) {
        let mut pause = PAUSES.0;
        loop {
            loop {
                // Heard from before the look on, so that an end between the two is not missed.
                let mut is_free = std::pin::pin!(self.peer.is_free.notified());
                is_free.as_mut().enable();
                if !self.peer.is_connected() {
                    break;
                }
                // It has come by itself.
                is_free.await;
            }
            let begun = Instant::now();
            match timeout(self.context.options().transport.greeting_max, self.connect()).await {
                Ok(Ok(quic)) => {
                    if hold(&self.context, &self.peer, &quic, Side::Connector).await {
                        pause = PAUSES.0;
                        if begun.elapsed() >= LASTING {
                            continue;
                        }
                    }
                }
                Ok(Err(text)) => tracing::warn!(peer = self.peer.name, address = self.address, "can't connect: {text}"),
                Err(_) => tracing::warn!(peer = self.peer.name, address = self.address, "can't connect: no answer"),
            }
            sleep(pause.mul_f64(jitter())).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
        let name = server_name(&self.peer.name).map_err(|error| error.to_string())?;
        let addresses = tokio::net::lookup_host(&self.address).await.map_err(|error| error.to_string())?;
        let mut last = "its name has no address".to_owned();
        for address in addresses {
            let connecting = self.endpoint.connect(address, &name.to_str()).map_err(|error| error.to_string());
            match connecting {
                Ok(connecting) => match connecting.await {
                    Ok(quic) => return Ok(quic),
                    Err(error) => last = crate::why::explain_connection(&error),
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Between a half and one and a half, so that peers which lost each other at once don't come back all at once.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    0.5 + (RandomState::new().hash_one(0) % 1024) as f64 / 1024.0
}
