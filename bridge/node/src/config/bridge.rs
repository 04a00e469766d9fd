//! The section `[bridge]`, and its peers: which topics come from where and go where, and who may have what.

use std::path::PathBuf;
use std::time::Duration;

use memlane::{Bus, NameError, Pattern};

use super::node::check_name;
use super::section::{Keys, Placed, Section};

pub(crate) const BRIDGE: Keys = Keys {
    section: "[bridge]",
    keys: &[
        "listen",
        "certificate",
        "key",
        "authorities",
        "revoked",
        "window",
        "packet",
        "congestion",
        "keep_alive",
        "silence",
        "peer",
    ],
};
pub(crate) const PEER: Keys =
    Keys { section: "[[bridge.peer]]", keys: &["name", "address", "may_pull", "may_push", "pull", "push"] };
pub(crate) const PULL: Keys =
    Keys { section: "[[bridge.peer.pull]]", keys: &["topics", "mode", "from", "compression", "prefix"] };
/// Where it begins, and what it is called, the receiver says.
pub(crate) const PUSH: Keys = Keys { section: "[[bridge.peer.push]]", keys: &["topics", "mode", "compression"] };
/// Shortest packets that QUIC begins with, and longest that UDP carries.
const PACKET_BYTES: core::ops::RangeInclusive<u64> = 1200..=65_500;

/// How this node and others carry topics between each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeConfig {
    /// Where peers may connect to: `host:port`. If it isn't given, this node only connects to others.
    pub listen: Option<String>,
    /// The file with this node's certificate, and those between it and an authority (PEM).
    pub certificate: PathBuf,
    /// The file with its key (PEM).
    pub key: PathBuf,
    /// The file with the certificates of those whose word for a peer is taken (PEM); at least one.
    pub authorities: PathBuf,
    /// The file with lists of certificates that don't hold any more (PEM).
    pub revoked: Option<PathBuf>,
    /// Most bytes of a flow that are under way.
    pub window_bytes: Option<u64>,
    /// Longest packet that is tried.
    pub packet_bytes: Option<u16>,
    /// Whether BBR says how fast to send, in place of CUBIC.
    pub is_bbr: bool,
    /// After so long a silence a peer is asked for a sign of life.
    pub keep_alive: Option<Duration>,
    /// After so long a one it is given up.
    pub silence: Option<Duration>,
    /// Who it talks to; no two have the same name, and none has the node's.
    pub peers: Vec<PeerConfig>,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// The name of that node, which its certificate must have.
    pub name: String,
    /// Where to connect to, `host:port`. If it isn't given, it is waited for.
    pub address: Option<String>,
    /// What it may have from here, if it asks.
    pub may_pull: Vec<Pattern>,
    /// What it may give.
    pub may_push: Vec<Pattern>,
    /// What to ask it for.
    pub pull: Vec<FlowConfig>,
    /// What to give it.
    pub push: Vec<FlowConfig>,
}

/// Topics that are carried in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowConfig {
    /// Those whose names match one of these, also later ones; at least one.
    pub topics: Vec<Pattern>,
    /// What is promised.
    pub mode: FlowMode,
    /// Where a topic begins that was never carried before.
    pub from: FlowStart,
    /// How batches are compressed.
    pub compression: FlowCompression,
    /// What the names get in front at the receiver, with a dot between: `ny` makes `ny.md.trades` of `md.trades`.
    pub prefix: Option<String>,
}

/// What is promised of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowMode {
    /// Each message once, in order.
    #[default]
    Reliable,
    /// Each message at most once: what was on its way when a connection ended is told as lost.
    AtMostOnce,
    /// The newest message; those before it may be left out.
    Latest,
}

/// Where a flow begins with a topic that the receiver has nothing of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowStart {
    /// With the oldest message that the sender has.
    Earliest,
    /// With the next one.
    #[default]
    Live,
}

/// How batches of a flow are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowCompression {
    /// They aren't.
    #[default]
    None,
    /// LZ4: quick.
    Lz4,
    /// Zstandard: small.
    Zstd,
}

impl BridgeConfig {
    /// Reads it; what is wrong is taken down. `node` is this node's name.
    pub(crate) fn read(section: &Section<'_>, node: Option<&str>) -> Option<Self> {
        let listen = section.parsed("listen", "\"0.0.0.0:7400\"", check_address);
        let (certificate, key) = (section.path("certificate"), section.path("key"));
        let (authorities, revoked) = (section.path("authorities"), section.path("revoked"));
        for (lacking, help) in [
            ("certificate", "each node has one: certificate = \"/etc/memlane/node.pem\""),
            ("key", "it is that of the certificate: key = \"/etc/memlane/node.key\""),
            ("authorities", "say whose word is taken for a peer: authorities = \"/etc/memlane/authority.pem\""),
        ] {
            if !section.has(lacking) {
                section.lacks(lacking, help);
            }
        }
        let packet = section.bytes("packet");
        if let Some(packet) = packet.as_ref().filter(|packet| !PACKET_BYTES.contains(&packet.value)) {
            let help = "1452 on Ethernet, 8900 with jumbo frames, 65000 on loopback";
            section.reader.wrong(&packet.span, "a packet has 1200 to 65500 bytes", help);
        }
        let (keep_alive, silence) = (section.span_of_time("keep_alive"), section.span_of_time("silence"));
        let usual = (Duration::from_secs(1), Duration::from_secs(5));
        let asked = keep_alive.as_ref().map_or(usual.0, |keep_alive| keep_alive.value);
        if silence.as_ref().map_or(usual.1, |silence| silence.value) <= asked {
            let key = if silence.is_some() { "silence" } else { "keep_alive" };
            let help = "a peer is to be asked some times before it is given up";
            section.reader.wrong(&section.span_of(key), "`silence` isn't longer than `keep_alive`", help);
        }
        let is_bbr = section.choice("congestion", &[("cubic", false), ("bbr", true)]).unwrap_or_default();
        let peers = PeerConfig::read_all(&section.sections("peer", &PEER), node, section.has("listen"));
        Some(Self {
            listen: listen.map(|listen| listen.value),
            certificate: certificate?.value,
            key: key?.value,
            authorities: authorities?.value,
            revoked: revoked.map(|revoked| revoked.value),
            window_bytes: section.bytes("window").map(|window| window.value),
            packet_bytes: packet.and_then(|packet| u16::try_from(packet.value).ok()),
            is_bbr,
            keep_alive: keep_alive.map(|keep_alive| keep_alive.value),
            silence: silence.map(|silence| silence.value),
            peers,
        })
    }
}

impl PeerConfig {
    fn read_all(sections: &[Section<'_>], node: Option<&str>, listens: bool) -> Vec<Self> {
        let mut taken: Vec<Placed<Self>> = Vec::new();
        for section in sections {
            let Some(read) = Self::read(section, listens) else { continue };
            let name = &read.value.name;
            if node == Some(name.as_str()) {
                let help = "a peer is another node: [node] has this name";
                section.reader.wrong(&read.span, format!("the peer {name} would be this node itself"), help);
            }
            if let Some(before) = taken.iter().find(|before| before.value.name == *name) {
                let line = section.reader.line(&before.span);
                let help = format!("the peer in line {line} has it: put what is for one peer into one section");
                section.reader.wrong(&read.span, "this name is that of another peer", help);
            }
            taken.push(read);
        }
        taken.into_iter().map(|read| read.value).collect()
    }

    fn read(section: &Section<'_>, listens: bool) -> Option<Placed<Self>> {
        let name = section.parsed("name", "\"node-2\"", check_name);
        if !section.has("name") {
            section.lacks("name", "it is what that node's [node] says: name = \"node-2\"");
        }
        let address = section.parsed("address", "\"node-2.example.com:7400\"", check_address);
        if !section.has("address") && !listens {
            let help = "give it an address, or [bridge] a `listen` that it can connect to";
            section.reader.missing(&section.span, "nobody would connect to this peer, nor it to this node", help);
        }
        let flows = |key, keys, receives| {
            let sections = section.sections(key, keys);
            sections.iter().filter_map(|section| FlowConfig::read(section, receives)).collect::<Vec<_>>()
        };
        let (pull, push) = (flows("pull", &PULL, true), flows("push", &PUSH, false));
        let may = |key| section.patterns(key).map_or_else(Vec::new, |patterns| patterns.value);
        let (may_pull, may_push) = (may("may_pull"), may("may_push"));
        let name = name?;
        let config =
            Self { name: name.value, address: address.map(|address| address.value), may_pull, may_push, pull, push };
        Some(Placed { value: config, span: name.span })
    }
}

impl FlowConfig {
    /// Reads it; whoever receives says more of it.
    fn read(section: &Section<'_>, receives: bool) -> Option<Self> {
        let topics = section.patterns("topics");
        if !section.has("topics") {
            section.lacks("topics", "say which: topics = [\"md.>\"]");
        }
        if let Some(none) = topics.as_ref().filter(|topics| topics.value.is_empty()) {
            section.reader.wrong(&none.span, "`topics` has nothing in it", "say which, such as [\"md.>\"]");
        }
        let modes =
            [("reliable", FlowMode::Reliable), ("at-most-once", FlowMode::AtMostOnce), ("latest", FlowMode::Latest)];
        let mode = section.choice("mode", &modes).unwrap_or_default();
        let starts = [("earliest", FlowStart::Earliest), ("live", FlowStart::Live)];
        let from = if receives { section.choice("from", &starts) } else { None };
        let compressions =
            [("none", FlowCompression::None), ("lz4", FlowCompression::Lz4), ("zstd", FlowCompression::Zstd)];
        let compression = section.choice("compression", &compressions).unwrap_or_default();
        if mode == FlowMode::Latest && from == Some(FlowStart::Earliest) {
            let help = "leave `from` out, or choose another mode";
            section.reader.wrong(&section.span_of("from"), "a latest-only flow begins with the newest message", help);
        }
        if mode == FlowMode::Latest && compression != FlowCompression::None {
            let help = "leave `compression` out, or choose another mode";
            section.reader.wrong(
                &section.span_of("compression"),
                "a latest-only flow has no batches to compress",
                help,
            );
        }
        let check_prefix = |prefix: &str| match Bus::check_name(prefix) {
            Ok(()) => Ok(prefix.to_owned()),
            Err(NameError { reason, .. }) => Err(format!("{reason}; it is put before a name, with a dot between")),
        };
        let prefix = if receives { section.parsed("prefix", "\"ny\"", check_prefix) } else { None };
        let usual = if mode == FlowMode::Reliable { FlowStart::Earliest } else { FlowStart::Live };
        let from = from.unwrap_or(usual);
        Some(Self { topics: topics?.value, mode, from, compression, prefix: prefix.map(|prefix| prefix.value) })
    }
}

/// Whether it can be an address: a host and a port.
fn check_address(text: &str) -> Result<String, String> {
    let wrong = |what: &str| Err(format!("{what}; give host:port, such as node-2.example.com:7400 or [::1]:7400"));
    let Some((host, port)) = text.rsplit_once(':') else { return wrong("it has no port") };
    if port.parse::<u16>().is_err() {
        return wrong("a port is a number up to 65535");
    }
    let is_v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match is_v6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host_name(host),
    };
    if is_host { Ok(text.to_owned()) } else { wrong("no host is called so") }
}

/// Whether it can be the name of a host, or an IPv4 address.
fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        let is_plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        is_plain && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    let looks_like_v4 = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    host.len() <= 253
        && host.trim_end_matches('.').split('.').all(is_label)
        && (!looks_like_v4 || host.parse::<std::net::Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["a:1", "10.0.0.1:7400", "[::1]:7400", "node-2.example.com:65535", "0.0.0.0:0", "host.:1"] {
            assert_eq!(check_address(good).as_deref(), Ok(good));
        }
        for bad in ["", "a", ":1", "a:", "a:65536", "::1:7400", "[::1:7400", "a b:1", "-a:1", "1.2.3:4", "a..b:1"] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }
}
