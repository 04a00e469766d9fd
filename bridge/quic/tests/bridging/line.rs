//! A bad line between two nodes: loses, doubles, turns round and delays packets, is cut, and gives its users new addresses. What it does is drawn from a seed.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Longest packet on loopback.
const PACKET_BYTES_MAX: usize = 65_536;

/// How bad it is: chances in a thousand, for packets in either direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Badness {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// So many come later than those behind them.
    pub(crate) late: u64,
    pub(crate) delay: Duration,
    pub(crate) is_cut: bool,
}

/// A line to one node, which others reach by its address.
pub(crate) struct Line {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    to: SocketAddr,
    near: Arc<UdpSocket>,
    badness: Mutex<Badness>,
    random: Mutex<u64>,
    /// By the address of whoever uses it: where the node answers to.
    far: Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>,
}

impl Shared {
    /// Xorshift64 (Marsaglia, 2003).
    fn draws(&self, chances: u64) -> bool {
        let mut state = self.random.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % 1000 < chances
    }

    /// Sends a packet, as bad as the line is.
    fn pass(&self, from: &Arc<UdpSocket>, packet: &[u8], to: SocketAddr) {
        let badness = *self.badness.lock().unwrap();
        if badness.is_cut || self.draws(badness.lost) {
            return;
        }
        let copies = 1 + usize::from(self.draws(badness.doubled));
        let late = if self.draws(badness.late) { Duration::from_millis(3) } else { Duration::ZERO };
        for _ in 0..copies {
            let (from, packet, wait) = (Arc::clone(from), packet.to_vec(), badness.delay + late);
            if wait.is_zero() {
                let _ = from.try_send_to(&packet, to);
            } else {
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    let _ = from.send_to(&packet, to).await;
                });
            }
        }
    }
}

impl Line {
    pub(crate) async fn to(node: SocketAddr, seed: u64, badness: Badness) -> Self {
        println!("seed {seed}: {badness:?}");
        let near = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let address = near.local_addr().unwrap();
        let (badness, random, far) = (Mutex::new(badness), Mutex::new(seed | 1), Mutex::default());
        let shared = Arc::new(Shared { to: node, near, badness, random, far });
        let mut tasks = JoinSet::new();
        tasks.spawn(forth(Arc::clone(&shared)));
        Self { address, shared, _tasks: tasks }
    }

    /// Where the node is reached over it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn becomes(&self, change: impl FnOnce(&mut Badness)) {
        change(&mut self.shared.badness.lock().unwrap());
    }

    /// From here on the node sees its users at other addresses.
    pub(crate) fn gives_new_addresses(&self) {
        self.shared.far.lock().unwrap().clear();
    }
}

/// From users to the node.
async fn forth(shared: Arc<Shared>) {
    let (mut packet, mut back) = (vec![0; PACKET_BYTES_MAX], JoinSet::new());
    while let Ok((length, user)) = shared.near.recv_from(&mut packet).await {
        let known = shared.far.lock().unwrap().get(&user).map(Arc::clone);
        let far = match known {
            Some(far) => far,
            None => {
                let far = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
                shared.far.lock().unwrap().insert(user, Arc::clone(&far));
                back.spawn(answer(Arc::clone(&shared), Arc::clone(&far), user));
                far
            }
        };
        shared.pass(&far, &packet[..length], shared.to);
    }
}

/// From the node to a user.
async fn answer(shared: Arc<Shared>, far: Arc<UdpSocket>, user: SocketAddr) {
    let mut packet = vec![0; PACKET_BYTES_MAX];
    while let Ok((length, _)) = far.recv_from(&mut packet).await {
        shared.pass(&shared.near, &packet[..length], user);
    }
}
