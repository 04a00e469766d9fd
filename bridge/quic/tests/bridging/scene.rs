//! A pair of nodes that behave, on whom adversaries work: a topic goes from tokyo, which listens, to osaka.

use crate::world::{Arrivals, Node, World, connects_to, publish};
use memlane::{Pattern, Publisher};
use memlane_bridge_quic::{AllowList, Bridge, BridgeOptions, BridgeStatus, Refusal, Rule, Transport};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::Instant;
use tracing::subscriber::DefaultGuard;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
/// So much the process may grow while an adversary is at work: what it holds itself for its attack, and for the tests that run beside this one, is in it.
const GROWTH_MAX: u64 = 400 << 20;
/// What the adversary may do: have the topics that match the first, and those that osaka has, too; and give these.
const MAY_PULL: &str = "open.*";
const SHARED: &str = "shared.*";
const MAY_PUSH: &str = "given.*";

/// The pair, and what tokyo's bridge writes into its log.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) tokyo: Node,
    pub(crate) bridge: Bridge,
    pub(crate) address: SocketAddr,
    pub(crate) osaka: Node,
    _connecting: Bridge,
    publisher: Publisher<[u8]>,
    arrivals: Arrivals,
    next: u64,
    log: Log,
    _guard: DefaultGuard,
    anonymous_before: u64,
}

pub(crate) fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(BridgeOptions::default()).await
    }

    /// With these of tokyo's options; who may do what is the same always.
    pub(crate) async fn with(options: BridgeOptions) -> Self {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let world = World::new();
        let (tokyo, osaka) = (world.node("tokyo"), world.node("osaka"));
        let allow = AllowList::new([
            Rule::new("osaka").unwrap().pull(pattern(">")),
            Rule::new("mallory").unwrap().pull(pattern(MAY_PULL)).pull(pattern(SHARED)).push(pattern(MAY_PUSH)),
        ]);
        // What doesn't come in time is given up soon, so that tests needn't wait long.
        let transport = Transport { greeting_max: Duration::from_millis(700), ..options.transport };
        let (bridge, address) = tokyo.listen(BridgeOptions { allow, transport, ..options }).await;
        let publisher = tokyo.topic("good").publisher::<[u8]>().open().unwrap();
        let connecting = osaka.start(connects_to("tokyo", address, &["good", "shared.>"], &[])).await;
        let arrivals = Arrivals::of(&osaka, "good").await;
        let mut scene = Self {
            world,
            tokyo,
            bridge,
            address,
            osaka,
            _connecting: connecting,
            publisher,
            arrivals,
            next: 0,
            log,
            _guard: guard,
            anonymous_before: 0,
        };
        scene.goes_on().await;
        scene.anonymous_before = anonymous_bytes();
        scene
    }

    /// Sends some messages over the good link: they come, once each and in order.
    pub(crate) async fn goes_on(&mut self) {
        let end = self.next + 20;
        publish(&mut self.publisher, self.next..end);
        self.next = end;
        self.arrivals.wait_for(end as usize).await;
        let came = &self.arrivals.numbers;
        assert!(came.iter().copied().eq(0..end), "each once and in order up to {end}, not {} of them", came.len());
        let links = self.bridge.status().peer("osaka").map(|peer| peer.links);
        assert_eq!(links, Some(1), "the good link has lasted:\n{}", self.log.text());
    }

    /// Goes on until the bridge says that `is_so`.
    pub(crate) async fn until(&mut self, what: &str, mut is_so: impl FnMut(&BridgeStatus) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.goes_on().await;
            let status = self.bridge.status();
            if is_so(&status) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} has not come in time: {status:#?}\n{}", self.log.text());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Goes on until connections were refused for this reason, and that is in the log.
    pub(crate) async fn until_refused(&mut self, refusal: Refusal, text: &str) {
        self.until(refusal.as_str(), |status| status.refused(refusal) > 0).await;
        self.assert_told(text);
    }

    /// Goes on until a flow of the adversary's was refused for a reason with these words, which are in the log.
    pub(crate) async fn until_flow_refused(&mut self, words: &str) {
        self.until(words, |status| {
            let refused = status.peer("mallory").map_or(&[][..], |peer| &peer.last_refused_flows);
            refused.iter().any(|refused| refused.reason.contains(words))
        })
        .await;
    }

    /// The log has a line with these words.
    pub(crate) fn assert_told(&self, words: &str) {
        let text = self.log.text();
        assert!(text.contains(words), "{words:?} is not in the log:\n{text}");
    }

    pub(crate) fn log_lines(&self) -> usize {
        self.log.text().lines().count()
    }

    /// Goes on once more; nothing has grown without bound.
    pub(crate) async fn end(mut self) {
        self.goes_on().await;
        let growth = anonymous_bytes().saturating_sub(self.anonymous_before);
        assert!(growth < GROWTH_MAX, "the process has grown by {} MiB", growth >> 20);
    }
}

/// Bytes of the process's own memory: without what it maps of topics.
pub(crate) fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Runs an adversary in a thread of its own, as fast as that goes.
pub(crate) fn beside<T: Send + 'static, F: Future<Output = T>>(
    adversary: impl FnOnce() -> F + Send + 'static,
) -> JoinHandle<T> {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let done = runtime.block_on(adversary());
        runtime.shutdown_timeout(Duration::from_millis(10));
        done
    })
}

/// What was logged.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
