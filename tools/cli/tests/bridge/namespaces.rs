//! Two nodes in two network namespaces: cut off from each other for longer than a link lasts, and moved to another address. Needs to be root, and `ip`; skipped where there is no making them.

use std::process::Command;
use std::time::Duration;

use crate::hosts::{Load, World, until};

const PORT: u16 = 7400;

/// How long the two are cut off; `MEMLANE_CUT_S` says otherwise.
fn cut() -> Duration {
    Duration::from_secs(std::env::var("MEMLANE_CUT_S").map_or(5, |seconds| seconds.parse().unwrap()))
}

/// A namespace for each of two hosts, and a wire between them; they go at the end.
struct Wire {
    names: [String; 2],
}

impl Wire {
    /// `None` where that can't be made.
    fn new() -> Option<Self> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = format!("{}-{count}", std::process::id());
        let wire = Self { names: [format!("memlane-{id}-a"), format!("memlane-{id}-b")] };
        let [a, b] = &wire.names;
        let is_made = ip(&["netns", "add", a])
            && ip(&["netns", "add", b])
            && ip(&["link", "add", "wire", "netns", a, "type", "veth", "peer", "name", "wire", "netns", b]);
        if !is_made {
            println!("skipped: network namespaces with a wire between can't be made here: that needs root, and `ip`");
            return None;
        }
        for (host, address) in [(0, "10.77.0.1/24"), (1, "10.77.0.2/24")] {
            assert!(wire.ip(host, &["addr", "add", address, "dev", "wire"]));
            assert!(wire.ip(host, &["link", "set", "wire", "up"]) && wire.ip(host, &["link", "set", "lo", "up"]));
        }
        Some(wire)
    }

    /// `ip` in the namespace of a host; whether it did it.
    fn ip(&self, host: usize, arguments: &[&str]) -> bool {
        ip(&[&["-n", &*self.names[host]], arguments].concat())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&["netns", "del", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
}

#[test]
fn hosts_that_are_cut_off_and_moved_lose_and_repeat_nothing() {
    let Some(wire) = Wire::new() else { return };
    let world = World::new();
    let listens = format!("listen = \"10.77.0.1:{PORT}\"\n[[bridge.peer]]\nname = \"osaka\"\nmay_pull = [\"t\"]\n");
    let pulls = format!(
        "[[bridge.peer]]\nname = \"tokyo\"\naddress = \"10.77.0.1:{PORT}\"\n[[bridge.peer.pull]]\ntopics = [\"t\"]\n"
    );
    let mut tokyo = world.host("tokyo", &listens, Some(&wire.names[0]));
    let mut osaka = world.host("osaka", &pulls, Some(&wire.names[1]));
    // Room for what is published while they are cut off.
    let (from, to) = (tokyo.topic("t", 256 << 20), osaka.topic("t", 4 << 20));
    tokyo.start();
    osaka.start();
    let load = Load::default();
    let goes_on = |what: &str| {
        let before = load.received();
        until(what, || load.received() > before + 5_000);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| load.publish(&from));
        let receiving = scope.spawn(|| load.receive(&to));
        goes_on("the load");
        println!("cut off for {:?}", cut());
        assert!(wire.ip(0, &["link", "set", "wire", "down"]));
        std::thread::sleep(cut());
        assert!(wire.ip(0, &["link", "set", "wire", "up"]));
        goes_on("the load after the cut");
        for address in 3..8 {
            // A link lives on, or is begun anew.
            assert!(wire.ip(1, &["addr", "flush", "dev", "wire"]));
            assert!(wire.ip(1, &["addr", "add", &format!("10.77.0.{address}/24"), "dev", "wire"]));
            goes_on("the load at another address");
        }
        let published = load.end();
        if receiving.join().is_err() {
            println!("{}\n{}", tokyo.log(), osaka.log());
            panic!("see above");
        }
        assert!(load.received() >= published);
    });
    assert!(tokyo.log().contains("disconnected"), "the cut was longer than a link lasts");
    assert_eq!((tokyo.stop(), osaka.stop()), (0, 0));
}
