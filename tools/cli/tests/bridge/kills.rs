//! Nodes that are killed at any moment: the receiver's topic is the sender's, each message once, in order.

use std::time::Duration;

use crate::hosts::{Load, World, free_port};

/// How often one of the two is killed; `MEMLANE_KILLS` says otherwise.
fn kills() -> u32 {
    std::env::var("MEMLANE_KILLS").map_or(100, |kills| kills.parse().unwrap())
}

/// Kills one of two nodes, again and again, under load.
fn kill_at_random(is_recorded: bool) {
    let seed: u64 =
        std::env::var("MEMLANE_SEED").map_or_else(|_| std::process::id().into(), |seed| seed.parse().unwrap());
    println!("MEMLANE_SEED={seed}");
    let mut random = Random(seed | 1);
    let (world, port) = (World::new(), free_port());
    let journal = if is_recorded { "#JOURNAL" } else { "" };
    let listens = format!("listen = \"127.0.0.1:{port}\"\n[[bridge.peer]]\nname = \"osaka\"\nmay_pull = [\"t\"]\n");
    let pulls = format!(
        "{journal}[[bridge.peer]]\nname = \"tokyo\"\naddress = \"127.0.0.1:{port}\"\n[[bridge.peer.pull]]\ntopics = [\"t\"]\n"
    );
    let mut hosts = [world.host("tokyo", &format!("{listens}{journal}"), None), world.host("osaka", &pulls, None)];
    let make = |host: &crate::hosts::Host, capacity| {
        let builder = host.bus.topic("t").unwrap().capacity_bytes(capacity);
        builder.journaled(is_recorded).open_or_create().unwrap()
    };
    // With a journal the ring may be too small for what comes while a node isn't there.
    let topics = [make(&hosts[0], if is_recorded { 1 << 20 } else { 64 << 20 }), make(&hosts[1], 4 << 20)];
    hosts.iter_mut().for_each(crate::hosts::Host::start);
    let load = Load::default();
    std::thread::scope(|scope| {
        scope.spawn(|| load.publish(&topics[0]));
        let receiving = scope.spawn(|| load.receive(&topics[1]));
        let mut come_on = 0;
        for _ in 0..kills() {
            let before = load.received();
            std::thread::sleep(Duration::from_millis(20 + random.below(800)));
            come_on += u32::from(load.received() > before);
            if receiving.is_finished() {
                break;
            }
            let host = &mut hosts[random.below(2) as usize];
            host.kill();
            host.start();
        }
        let published = load.end();
        if receiving.join().is_err() {
            hosts.iter().for_each(|host| println!("{}", host.log()));
            panic!("see above");
        }
        println!(
            "{published} published, {} received; it went on between {come_on} of {} kills",
            load.received(),
            kills()
        );
        assert!(load.received() >= published && come_on > kills() / 10);
    });
    assert!(hosts.iter_mut().all(|host| host.stop() == 0));
}

#[test]
fn nodes_that_are_killed_at_random_lose_and_repeat_nothing() {
    kill_at_random(false);
}

#[test]
fn nodes_with_journals_that_are_killed_at_random_lose_and_repeat_nothing() {
    kill_at_random(true);
}

/// Xorshift64 (Marsaglia, 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
