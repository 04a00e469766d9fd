//! Nodes for tests, each with a bus of its own, whose bridges run in the test's runtime on loopback.

use memlane::{Bus, Publisher, Start, Topic};
use memlane_bridge_quic::{
    AllowList, Bridge, BridgeOptions, Existing, FlowOptions, Identity, IdentityFiles, NodeRequest, PeerOptions, Rule,
    make_authority, make_node,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// An authority, and a directory for all that its nodes have.
pub(crate) struct World {
    directory: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        make_authority(&directory.path().join("authority"), 30).unwrap();
        std::fs::create_dir(directory.path().join("buses")).unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn node(&self, name: &str) -> Node {
        let (hosts, days, existing) = (Vec::new(), 30, Existing::Refuse);
        let request = NodeRequest { node: name.to_owned(), hosts, days, existing };
        let made = make_node(&request, &self.path("authority"), &self.path("certificates")).unwrap();
        let files =
            IdentityFiles { certificate: made.certificate, key: made.key, authorities: made.authority, revoked: None };
        self.with_files(name, files)
    }

    /// A node with these files.
    pub(crate) fn with_files(&self, name: &str, files: IdentityFiles) -> Node {
        let bus = Bus::builder(name).root(self.path("buses")).open().unwrap();
        Node { name: name.to_owned(), bus, identity: Arc::new(Identity::load(files.clone()).unwrap()), files }
    }
}

/// A host, as far as bridges see it.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) bus: Bus,
    pub(crate) identity: Arc<Identity>,
    pub(crate) files: IdentityFiles,
}

impl Node {
    pub(crate) fn topic(&self, name: &str) -> Topic {
        self.bus.topic(name).unwrap().open_or_create().unwrap()
    }

    pub(crate) async fn start(&self, options: BridgeOptions) -> Bridge {
        Bridge::start(&self.bus, Arc::clone(&self.identity), options).await.unwrap()
    }

    /// A bridge that listens, and lets everybody have and give everything.
    pub(crate) async fn listen(&self, options: BridgeOptions) -> (Bridge, SocketAddr) {
        let listen = Some(options.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
        let bridge = self.start(BridgeOptions { listen, ..options }).await;
        let address = bridge.local_address().unwrap();
        (bridge, address)
    }
}

/// Options that let everybody have and give everything.
pub(crate) fn open_to_all() -> BridgeOptions {
    let all = || ">".parse().unwrap();
    let rule = Rule::new("*").unwrap().pull(all()).push(all());
    BridgeOptions { allow: AllowList::new([rule]), ..BridgeOptions::default() }
}

/// Options of who connects to a peer and wants these topics of it, or gives it those.
pub(crate) fn connects_to(peer: &str, address: SocketAddr, pulls: &[&str], pushes: &[&str]) -> BridgeOptions {
    let flows = |topics: &[&str]| {
        topics.iter().map(|topics| FlowOptions::reliable(topics.parse().unwrap())).collect::<Vec<_>>()
    };
    let (pulls, pushes) = (flows(pulls), flows(pushes));
    let peer = PeerOptions { name: peer.to_owned(), address: Some(address.to_string()), pulls, pushes };
    BridgeOptions { peers: vec![peer], listen: None, ..open_to_all() }
}

/// Waits until `what` is so.
///
/// # Panics
/// If it isn't in time.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "{what} has not come in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Publishes the numbers from `from` on.
pub(crate) fn publish(publisher: &mut Publisher<[u8]>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        publisher.publish_within(&number.to_le_bytes(), PATIENCE).unwrap();
    }
}

/// What arrives on a topic of a node, which may not be there yet.
pub(crate) struct Arrivals {
    topic: Topic,
    subscriber: memlane::Subscriber<[u8]>,
    pub(crate) numbers: Vec<u64>,
}

impl Arrivals {
    /// From the oldest message on.
    pub(crate) async fn of(node: &Node, topic: &str) -> Self {
        let mut found = None;
        until(&format!("topic {topic} of {}", node.name), || {
            found = node.bus.topic(topic).unwrap().open().ok();
            found.is_some()
        })
        .await;
        let topic = found.unwrap();
        let subscriber = topic.subscriber::<[u8]>().start(Start::Earliest).open().unwrap();
        Self { topic, subscriber, numbers: Vec::new() }
    }

    /// Waits until there are so many in all.
    pub(crate) async fn wait_for(&mut self, count: usize) {
        let (subscriber, numbers) = (&mut self.subscriber, &mut self.numbers);
        until(&format!("message {count}"), || {
            while let Some(sample) = subscriber.try_receive().unwrap() {
                numbers.push(u64::from_le_bytes((*sample).try_into().unwrap()));
            }
            numbers.len() >= count
        })
        .await;
    }

    /// Waits until this number has come.
    pub(crate) async fn wait_for_number(&mut self, number: u64) {
        while self.numbers.last() != Some(&number) {
            self.wait_for(self.numbers.len() + 1).await;
        }
    }

    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }
}
