//! The supervisor: a directory for topics that goes when the test does, and handles of actor processes.

use crate::clock::since_boot;
use crate::ledger::Ledger;
use crate::payload::{BYTES_MIN, Mark, SENDER_OF_END};
use crate::role::{Order, Place, Report, Role};
use crate::tally::Tally;
use memlane::{Backing, Bus, Topic, TopicBuilder};
use memlane_shm::named;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longest wait for anything that must happen: so long that only a fault exceeds it.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The variable that names the process that an actor belongs to.
pub const SUPERVISOR: &str = "MEMLANE_SUPERVISOR";

/// Where shared memory is, on most hosts.
pub const SHARED_MEMORY: &str = "/dev/shm";

/// A bus of its own for one test. Dropping it removes everything.
#[derive(Debug)]
pub struct Stage {
    actor: &'static str,
    root: PathBuf,
}

impl Stage {
    /// An empty bus: on `/dev/shm` if there is one; elsewhere if its topics are to be named segments. `actor` is the path of the actor's program.
    ///
    /// # Panics
    /// If there is no room for it.
    #[must_use]
    pub fn new(actor: &'static str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let shared_memory = PathBuf::from(SHARED_MEMORY);
        let is_for_files = Backing::of_environment().expect("`file` or `named`") == Backing::File;
        let parent = if is_for_files && shared_memory.is_dir() { shared_memory } else { std::env::temp_dir() };
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = parent.join(format!("memlane-tests-{}-{count}", std::process::id()));
        std::fs::create_dir(&root).expect("a directory for the test can be made");
        Self { actor, root }
    }

    /// The directory for buses.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a topic of this name is, or would be.
    #[must_use]
    pub fn place(&self, topic: &str) -> Place {
        Place { root: self.root.clone(), topic: topic.to_owned() }
    }

    /// The bus.
    ///
    /// # Panics
    /// If it can't be opened.
    #[must_use]
    pub fn bus(&self) -> Bus {
        self.place("none").bus().expect("the bus can be opened")
    }

    /// Makes a topic.
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn topic(&self, name: &str, choose: impl FnOnce(TopicBuilder) -> TopicBuilder) -> (Topic, Place) {
        let builder = self.bus().topic(name).expect("a name");
        (choose(builder).create().expect("the topic can be made"), self.place(name))
    }

    /// The ledger of a topic.
    ///
    /// # Panics
    /// If it can't be opened.
    #[must_use]
    pub fn ledger(&self, place: &Place) -> Ledger {
        Ledger::open(&place.ledger()).expect("the ledger can be opened")
    }

    /// Starts an actor.
    #[must_use]
    pub fn start(&self, role: &Role) -> Actor {
        Actor::start(self.actor, role, None, true)
    }

    /// Starts an actor that kills (or stops) itself: `crash` is like `claim.claimed:7` or `commit.before:1:stop`.
    #[must_use]
    pub fn start_armed(&self, role: &Role, crash: &str) -> Actor {
        Actor::start(self.actor, role, Some(crash), true)
    }

    /// Starts an actor whose reports nobody reads.
    #[must_use]
    pub fn start_silent(&self, role: &Role, crash: Option<&str>) -> Actor {
        Actor::start(self.actor, role, crash, false)
    }

    /// Publishes a topic's last message, after which subscribers report. On a topic for one publisher, stands by for the last.
    ///
    /// # Panics
    /// If it can't be published.
    pub fn publish_end(&self, topic: &Topic) {
        let mut publisher = topic.publisher::<[u8]>().stand_by(PATIENCE).open().expect("a publisher can be opened");
        let mut payload = [0; BYTES_MIN];
        Mark { sender: SENDER_OF_END, number: 0 }.fill(&mut payload);
        publisher.publish_within(&payload, PATIENCE).expect("the last message can be published");
    }

    /// Names in the bus's directory that are no topics.
    ///
    /// # Panics
    /// If it can't be listed.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.bus().directory()).expect("the bus can be listed");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        // The bus's own bell belongs there.
        names.filter(|name| name.starts_with('.') && name != ".bell").collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = named::remove_directory(&self.root);
    }
}

/// A process. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Actor {
    child: Child,
    orders: Option<ChildStdin>,
    reports: Receiver<Report>,
}

impl Actor {
    fn start(program: &str, role: &Role, crash: Option<&str>, speaks: bool) -> Self {
        let mut command = Command::new(program);
        command.arg(serde_json::to_string(role).expect("a role is JSON"));
        command.env(SUPERVISOR, std::process::id().to_string()).env_remove("MEMLANE_ROOT").env_remove("MEMLANE_CRASH");
        if let Some(crash) = crash {
            command.env("MEMLANE_CRASH", crash);
        }
        if matches!(role, Role::Await { .. }) {
            command.env("MEMLANE_SLEEP", "for-good");
        }
        command.stdin(Stdio::piped()).stdout(if speaks { Stdio::piped() } else { Stdio::null() });
        let mut child = command.spawn().expect("an actor can be started");
        let (sender, reports) = channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    // A line that was cut off by a kill is no report.
                    let Ok(report) = serde_json::from_str(&line) else { continue };
                    if sender.send(report).is_err() {
                        break;
                    }
                }
            });
        }
        let orders = child.stdin.take();
        Self { child, orders, reports }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next report.
    ///
    /// # Panics
    /// If there is none in time.
    #[track_caller]
    pub fn report(&self) -> Report {
        match self.reports.recv_timeout(PATIENCE) {
            Ok(report) => report,
            Err(error) => panic!("actor {} says nothing: {error}", self.pid()),
        }
    }

    /// Waits until it says that it is ready; gives the time at which it was.
    ///
    /// # Panics
    /// If it says something else, or nothing.
    #[track_caller]
    pub fn await_ready(&self) -> Duration {
        match self.report() {
            Report::StandsBy => self.await_ready(),
            Report::Ready { at_ns } => Duration::from_nanos(at_ns),
            other => panic!("not ready: {other:?}"),
        }
    }

    /// Waits until it stands by for another publisher.
    ///
    /// # Panics
    /// If it says something else, or nothing.
    #[track_caller]
    pub fn await_stand_by(&self) {
        assert_eq!(self.report(), Report::StandsBy);
        // From here it is a moment to the first look at the lock.
        std::thread::sleep(Duration::from_millis(5));
    }

    /// The last report, past those that say that it stands by or is ready.
    #[track_caller]
    fn result(&self) -> Report {
        loop {
            match self.report() {
                Report::StandsBy | Report::Ready { .. } => {}
                result => return result,
            }
        }
    }

    /// Kills it, if it lives; gives all that it said and nobody has asked for.
    pub fn last_reports(&mut self) -> Vec<Report> {
        self.kill();
        // Whoever listens to it ends with it.
        self.reports.iter().collect()
    }

    /// What it answers.
    ///
    /// # Panics
    /// If it says something else, or nothing.
    #[track_caller]
    pub fn answer(&self) -> Result<u64, String> {
        match self.result() {
            Report::Answer(answer) => answer,
            other => panic!("no answer: {other:?}"),
        }
    }

    /// The tally of a subscriber that ends.
    ///
    /// # Panics
    /// If it says something else, or nothing.
    #[track_caller]
    pub fn tally(&self) -> Tally {
        match self.result() {
            Report::Received(tally) => tally,
            other => panic!("no tally: {other:?}"),
        }
    }

    /// The count of messages and the longest wait of a publisher that ends; it had no errors.
    ///
    /// # Panics
    /// If it had, or says something else, or nothing.
    #[track_caller]
    pub fn published(&self) -> (u64, Duration) {
        match self.result() {
            Report::Published { messages, longest_wait_us, errors } => {
                assert!(errors.is_empty(), "{errors:?}");
                (messages, Duration::from_micros(longest_wait_us))
            }
            other => panic!("not published: {other:?}"),
        }
    }

    /// The errors, and what must not be, that it reports at its end, whatever it plays.
    ///
    /// # Panics
    /// If it says nothing.
    #[track_caller]
    pub fn errors(&self) -> Vec<String> {
        match self.result() {
            Report::Published { errors, .. } => errors,
            Report::Received(tally) => [tally.errors, tally.faults].concat(),
            Report::Answer(answer) => answer.err().into_iter().collect(),
            Report::StandsBy | Report::Ready { .. } | Report::Joined { .. } => Vec::new(),
        }
    }

    /// Has it begin.
    pub fn go(&mut self) {
        self.tell("go");
    }

    /// Has it end in its own time.
    pub fn ask_to_stop(&mut self) {
        self.tell("stop");
    }

    /// Gives an obedient actor its next order.
    pub fn order(&mut self, order: &Order) {
        self.tell(&serde_json::to_string(order).expect("an order is JSON"));
    }

    fn tell(&mut self, line: &str) {
        // One that is dead is not told; whoever waits for its answer finds out.
        let _ = self.orders.as_mut().map(|orders| writeln!(orders, "{line}"));
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // One that is dead already is what a kill wants.
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&mut self) -> ExitStatus {
        let _ = self.child.kill();
        self.child.wait().expect("an own child can be waited for")
    }

    /// Whether it has ended, and how.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("an own child can be asked for")
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// If it doesn't in time.
    #[track_caller]
    pub fn await_end(&mut self) -> ExitStatus {
        let ended = poll_until(|| self.has_ended());
        ended.unwrap_or_else(|| panic!("actor {} goes on and on", self.pid()))
    }

    /// Waits until it was killed; gives the time at which that was noticed.
    ///
    /// # Panics
    /// If it isn't in time, or ended in another way.
    #[track_caller]
    pub fn await_killed(&mut self) -> Duration {
        let status = self.await_end();
        let at = since_boot();
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}");
        at
    }

    /// Waits until it has ended well.
    ///
    /// # Panics
    /// If it doesn't.
    #[track_caller]
    pub fn await_success(&mut self) {
        let status = self.await_end();
        assert!(status.success(), "{status}");
    }

    /// Waits until it is stopped (SIGSTOP).
    ///
    /// # Panics
    /// If it isn't in time.
    #[track_caller]
    pub fn await_stopped(&self) {
        poll_until(|| (self.state() == 'T').then_some(())).expect("it stops itself");
    }

    /// Its state, as `ps` shows it.
    #[must_use]
    pub fn state(&self) -> char {
        self.stat(0).and_then(|state| state.chars().next()).unwrap_or('X')
    }

    /// Processor time that it has used, in clock ticks of 10 ms.
    #[must_use]
    pub fn processor_ticks(&self) -> u64 {
        let ticks = |field| self.stat(field).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
        ticks(11) + ticks(12)
    }

    /// A field of `/proc/PID/stat`, counted from the one after the name.
    fn stat(&self, field: usize) -> Option<String> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(field).map(str::to_owned)
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Calls `look` until it gives something, or [`PATIENCE`] is over.
pub fn poll_until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() > PATIENCE {
            return None;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Waits until `sender` has published `messages` messages in all; gives the time at which that was noticed.
///
/// # Panics
/// If it doesn't come so far in time.
#[track_caller]
pub fn await_progress(ledger: &Ledger, sender: u32, messages: u64) -> Duration {
    let published = || ledger.entry(sender).expect("the ledger can be read").published;
    poll_until(|| (published() >= messages).then_some(()))
        .unwrap_or_else(|| panic!("sender {sender} is stuck at {} messages", published()));
    since_boot()
}
