//! How bytes are carried: the settings of QUIC that matter, and which to use when.

use crate::identity::Identity;
use crate::pem::PemError;
use crate::strays::Ids;
use aws_lc_rs::hmac;
use quinn::congestion::{BbrConfig, CubicConfig};
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt};
use std::sync::Arc;
use std::time::Duration;

/// Streams beside those of flows: the control stream, and messages that are too long for a datagram.
const STREAMS_BESIDE: u32 = 16;
/// Bytes of an Ethernet frame's payload, without the headers of IPv6 and UDP.
const ETHERNET_PAYLOAD: u16 = 1500 - 40 - 8;

/// Connections that wait until somebody looks at them.
const INCOMING_MAX: usize = 4096;

/// How bytes are carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Most bytes of a flow that are under way and not published at the receiver yet: at least the line's bytes a second times its round trip, or it can't be filled. Default 16 MiB: 6.4 Gbit/s
    /// at 20 ms.
    pub window_bytes: u64,
    /// Who slows down when packets are lost, and how.
    pub congestion: Congestion,
    /// Longest UDP payload that is tried, in bytes. Default 1,452, as on Ethernet; about 8,900 where the network takes jumbo frames, 65,000 on loopback. What the path doesn't take isn't used.
    pub payload_bytes_max: u16,
    /// A peer that is silent for so long is asked for a sign of life. Default 1 s.
    pub keep_alive: Duration,
    /// One that is silent for so long is given up, and connected to again. Default 5 s.
    pub silence_max: Duration,
    /// Most flows that a peer may have open. Default 4,096.
    pub flows_max: u32,
    /// How often a peer may want topics on a connection, by a pattern each. Default 1,024.
    pub wants_max: u32,
    /// How long a peer may take to shake hands, and as long again to greet; then it is left. Default 5 s.
    pub greeting_max: Duration,
    /// Most handshakes with those who connect that are under way at once: more are refused, and from a half on who connects first shows that its address is its own. Default 256.
    pub handshakes_max: u32,
    /// Most of them from one address (of IPv6: from one network of 64 bits). Default 32.
    pub handshakes_of_address_max: u32,
    /// How often one address may connect in a second, on average, and at once after a while. Default 64.
    pub handshakes_per_second: u32,
    /// Sizes of the socket's buffers in bytes, as far as the system grants them (`net.core.rmem_max`, `wmem_max`). Default 8 MiB.
    pub socket_buffer_bytes: usize,
}

/// Who slows down when packets are lost, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// CUBIC (RFC 9438): takes loss for a full line. Fair among others; default.
    #[default]
    Cubic,
    /// BBR: measures what the line carries. For long lines that lose packets for other reasons.
    Bbr,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            window_bytes: 16 << 20,
            congestion: Congestion::default(),
            payload_bytes_max: ETHERNET_PAYLOAD,
            keep_alive: Duration::from_secs(1),
            silence_max: Duration::from_secs(5),
            flows_max: 4096,
            wants_max: 1024,
            greeting_max: Duration::from_secs(5),
            handshakes_max: 256,
            handshakes_of_address_max: 32,
            handshakes_per_second: 64,
            socket_buffer_bytes: 8 << 20,
        }
    }
}

impl Transport {
    fn config(&self) -> TransportConfig {
        let mut config = TransportConfig::default();
        let window = VarInt::from_u64(self.window_bytes.saturating_mul(2)).unwrap_or(VarInt::MAX);
        config.stream_receive_window(window).receive_window(window).send_window(self.window_bytes.saturating_mul(2));
        config.max_concurrent_uni_streams(VarInt::from_u32(self.flows_max.saturating_add(STREAMS_BESIDE)));
        config.max_concurrent_bidi_streams(VarInt::from_u32(1));
        config.datagram_receive_buffer_size(Some(1 << 20)).datagram_send_buffer_size(1 << 20);
        config.keep_alive_interval(Some(self.keep_alive));
        config.max_idle_timeout(IdleTimeout::try_from(self.silence_max).ok());
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(self.payload_bytes_max);
        config.mtu_discovery_config(Some(discovery));
        match self.congestion {
            Congestion::Cubic => config.congestion_controller_factory(Arc::new(CubicConfig::default())),
            Congestion::Bbr => config.congestion_controller_factory(Arc::new(BbrConfig::default())),
        };
        config
    }

    /// Those of an endpoint, and the key of the sums that its connections' numbers carry.
    pub(crate) fn endpoint(&self, identity: &Identity) -> Result<(EndpointConfig, u64), PemError> {
        let secret = identity.reset_secret()?;
        let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &secret)));
        // Numbers of connections are told from garbage also by a node that was begun anew.
        let number = secret.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        config.cid_generator(move || Box::new(Ids::from_key(number)));
        // It refuses only what is shorter than QUIC's own least.
        let _ = config.max_udp_payload_size(self.payload_bytes_max.max(ETHERNET_PAYLOAD));
        Ok((config, number))
    }

    /// QUIC's settings of who listens with this identity: for a connection of one's own, with the same ones.
    ///
    /// Errors: [`NoInitialCipherSuite`].
    pub fn server(&self, identity: &Identity) -> Result<ServerConfig, NoInitialCipherSuite> {
        let crypto = QuicServerConfig::try_from(Arc::new(identity.server_config()))?;
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::new(self.config()));
        // Whoever waits to be let in holds little.
        config.max_incoming(INCOMING_MAX).incoming_buffer_size(64 << 10).incoming_buffer_size_total(16 << 20);
        Ok(config)
    }

    /// The same of who connects. Errors: as above.
    pub fn client(&self, identity: &Identity) -> Result<ClientConfig, NoInitialCipherSuite> {
        let crypto = QuicClientConfig::try_from(Arc::new(identity.client_config()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(self.config()));
        Ok(config)
    }
}
