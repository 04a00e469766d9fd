//! Hosts, as far as a node sees them: each with buses of its own, and perhaps a network of its own.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memlane::{Bus, Kind, Start, Topic};
use nix::sys::signal::Signal;

use crate::sandbox::{Running, Sandbox};

/// Far longer than anything here takes.
const FOREVER: Duration = Duration::from_secs(180);

/// A directory that goes at the end, with the certificates of all its hosts.
pub(crate) struct World {
    sandbox: Sandbox,
}

impl World {
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::new();
        let authority = sandbox.path().join("authority");
        sandbox.output(["certs", "authority", authority.to_str().unwrap()]);
        Self { sandbox }
    }

    /// A host with a node of this name, whose configuration goes on with `config`; `namespace` is that of its network, if it has one.
    pub(crate) fn host(&self, name: &str, config: &str, namespace: Option<&str>) -> Host {
        let path = self.sandbox.path();
        let (authority, certificates) = (path.join("authority"), path.join("certificates"));
        let paths = ["--authority", authority.to_str().unwrap(), "--to", certificates.to_str().unwrap()];
        self.sandbox.output(["certs", "node", name].iter().chain(&paths));
        let root = path.join(name);
        std::fs::create_dir(&root).unwrap();
        let file = |file: &str| certificates.join(file).to_str().unwrap().to_owned();
        let (certificate, key, authorities) =
            (file(&format!("{name}.pem")), file(&format!("{name}.key")), file("authority.pem"));
        let text = format!(
            "[node]\nname = \"{name}\"\n{}\n[bridge]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\nauthorities = \"{authorities}\"\nkeep_alive = \"200ms\"\nsilence = \"1s\"\n{config}",
            if config.contains("JOURNAL") {
                format!(
                    "[[journal]]\ndirectory = \"{}\"\nmarked = true\nrestore = true\n",
                    root.join("journal").display()
                )
            } else {
                String::new()
            },
        );
        let config = self.sandbox.file(&format!("{name}.toml"), text.replace("#JOURNAL", "").as_bytes());
        let bus = Bus::builder("default").root(&root).open().unwrap();
        Host {
            root,
            config,
            log: path.join(format!("{name}.log")),
            namespace: namespace.map(str::to_owned),
            bus,
            node: None,
        }
    }
}

/// A port of UDP on loopback that nobody has.
pub(crate) fn free_port() -> u16 {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A host.
pub(crate) struct Host {
    root: PathBuf,
    config: PathBuf,
    log: PathBuf,
    namespace: Option<String>,
    pub(crate) bus: Bus,
    node: Option<Running>,
}

impl Host {
    /// Begins its node, or begins it anew.
    pub(crate) fn start(&mut self) {
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, env!("CARGO_BIN_EXE_memlane")]);
                command
            }
            None => Command::new(env!("CARGO_BIN_EXE_memlane")),
        };
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        command.arg("node").arg("--config").arg(&self.config).env("MEMLANE_ROOT", &self.root);
        command.env_remove("MEMLANE_BUS").env_remove("MEMLANE_BACKING").env_remove("NOTIFY_SOCKET");
        self.node = Some(command.stdin(std::process::Stdio::null()).stderr(log).spawn().unwrap().into());
    }

    /// Ends its node, as a loss of power or the kernel would.
    pub(crate) fn kill(&mut self) {
        // Dropped, it is killed and waited for.
        drop(self.node.take());
    }

    /// Has its node finish what it has begun; its exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        let mut node = self.node.take().unwrap();
        node.signal(Signal::SIGTERM);
        node.end().code
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn topic(&self, name: &str, capacity: u64) -> Topic {
        self.bus.topic(name).unwrap().capacity_bytes(capacity).open_or_create().unwrap()
    }
}

/// Numbers that are published, one after the other, until that is enough.
#[derive(Default)]
pub(crate) struct Load {
    is_over: AtomicBool,
    published: AtomicU64,
    received: AtomicU64,
}

impl Load {
    /// Publishes some 20,000 a second.
    pub(crate) fn publish(&self, topic: &Topic) {
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let mut number = 0_u64;
        while !self.is_over.load(Ordering::Acquire) {
            for _ in 0..20 {
                publisher.publish_within(&number.to_le_bytes(), FOREVER).unwrap();
                number += 1;
            }
            self.published.store(number, Ordering::Release);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    /// That is enough; how many that was.
    pub(crate) fn end(&self) -> u64 {
        self.is_over.store(true, Ordering::Release);
        self.published.load(Ordering::Acquire)
    }

    /// Receives until all that was published is here, and nobody publishes any more.
    ///
    /// # Panics
    /// If a number is missing, or comes twice, or out of order.
    pub(crate) fn receive(&self, topic: &Topic) {
        let subscriber = topic.subscriber::<[u8]>().kind(Kind::Gated).start(Start::Earliest).open();
        let (mut subscriber, mut next, mut last) = (subscriber.unwrap(), 0_u64, Instant::now());
        loop {
            let ends_at = self.is_over.load(Ordering::Acquire).then(|| self.published.load(Ordering::Acquire));
            match subscriber.receive_within(Duration::from_millis(10)).unwrap() {
                Some(sample) => {
                    assert_eq!(u64::from_le_bytes((*sample).try_into().unwrap()), next, "each once, in order");
                    (next, last) = (next + 1, Instant::now());
                    self.received.store(next, Ordering::Release);
                }
                // The publisher may have published some more since it was told to end.
                None if ends_at.is_some_and(|end| next >= end) && last.elapsed() > Duration::from_millis(500) => return,
                None => assert!(last.elapsed() < FOREVER, "nothing comes any more; {next} have come"),
            }
        }
    }
}

/// Waits until `is_so`.
///
/// # Panics
/// If it never is.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + FOREVER;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} never comes");
        std::thread::sleep(Duration::from_millis(10));
    }
}
