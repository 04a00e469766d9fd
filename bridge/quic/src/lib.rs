//! Layer 5 of memlane: topics from one node to another over QUIC; who a bridge is, whom it believes, and who may do what.
//!
//! Read in this order:
//!
//! 1. `name.rs`: names of nodes, as certificates carry them
//! 2. `certs.rs`, `authority.rs`, `revoke.rs`: an authority of one's own, the certificates that it signs, and those that it takes back
//! 3. `describe.rs`: what a certificate says
//! 4. `identity.rs`, `verify.rs`: a node's certificate and key, both sides of TLS with it, and how all of that is changed while connections live
//! 5. `refusal.rs`: why a connection was refused, in words
//! 6. `allow.rs`: which peer may have and give which topics
//! 7. `options.rs`, `transport.rs`, `socket.rs`: what a bridge is to do, and how bytes are carried
//! 8. `bridge.rs`, `peer.rs`, `context.rs`, `topics.rs`, `why.rs`: who is listened to and connected to, and what all links share
//! 9. `link/`: one connection; `outgoing.rs` and `incoming.rs` carry flows, `offer.rs` says which, `replicas.rs` has the topics that are published on
//! 10. `door.rs`, `strays.rs`, `refused.rs`, `quiet.rs`: what comes from those who are no peers, or bad ones; `status.rs`: what is told to who looks
//! 11. `pem.rs`, `files.rs`, `crypto.rs`: files in, files out, and the cryptography that all of it uses

#![forbid(unsafe_code)]

mod allow;
mod authority;
mod bridge;
mod certs;
mod context;
mod crypto;
mod describe;
mod door;
mod files;
mod identity;
mod link;
mod name;
mod options;
mod peer;
mod pem;
mod quiet;
mod refusal;
mod refused;
mod replicas;
mod revoke;
mod socket;
mod status;
mod strays;
#[cfg(test)]
mod testing;
mod topics;
mod transport;
mod verify;
mod why;

#[cfg(test)]
mod handshake_tests;

pub use allow::{AllowList, Direction, NotAllowed, Rule};
pub use authority::AuthorityError;
pub use bridge::{Bridge, StartError, UpdateError};
pub use certs::{
    AUTHORITY_DAYS, DAYS_MAX, Existing, Host, HostError, Made, MakeError, NODE_DAYS, NodeRequest, make_authority,
    make_node, renew_authority,
};
pub use crypto::provider;
pub use describe::{Description, describe, utc};
pub use identity::{ALPN, Identity, IdentityError, IdentityFiles};
pub use memlane_bridge_protocol::{Mode, StartAt};
pub use name::{NODE_NAME_SUFFIX, NodeNameError, PeerNameError, check_node_name, peer_name, server_name};
pub use options::{BridgeOptions, Compression, FlowOptions, Linger, PeerOptions};
pub use pem::PemError;
pub use refusal::{RefusedBy, explain, explain_alert};
pub use refused::Refusal;
pub use revoke::{RevokeError, Revoked, revoke};
pub use socket::enlarge_buffers;
pub use status::{BridgeStatus, ClockStatus, FlowDirection, FlowStatus, LinkStatus, PeerStatus, RefusedFlow};
pub use transport::{Congestion, Transport};
