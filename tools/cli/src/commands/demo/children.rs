//! The demo's processes: started, listened to, ended by their ids and reaped. They die with their parent.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};

use super::PARTICIPANT;
use super::wire::{Assignment, Published, Received, Report, Role};
use crate::commands::place::Place;

/// This very program, even if its file has been replaced meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// How long a process may take to end after its last word.
const GRACE: Duration = Duration::from_secs(1);

/// Has the kernel kill this process when its parent dies; an error if it is dead already.
pub(super) fn die_with(parent: u32) -> anyhow::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("can't ask to die with the demo")?;
    ensure!(getppid().as_raw() as u32 == parent, "the demo that this process belongs to is gone");
    Ok(())
}

/// A process told something.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) child: usize,
    pub(super) report: Report,
}

/// What is known of a process.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: &'static str,
    process: std::process::Child,
    is_ready: bool,
    pub(super) published: Option<Published>,
    pub(super) received: Option<Received>,
    pub(super) failure: Option<String>,
}

impl Child {
    fn is_over(&self) -> bool {
        self.published.is_some() || self.received.is_some() || self.failure.is_some()
    }
}

/// All of them. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Troupe {
    place: Place,
    topic: &'static str,
    children: Vec<Child>,
    sender: Sender<Event>,
    events: Receiver<Event>,
}

impl Troupe {
    pub(super) fn new(place: &Place, topic: &'static str) -> Self {
        let (sender, events) = channel();
        Self { place: place.clone(), topic, children: Vec::new(), sender, events }
    }

    /// Starts a process; returns its number.
    ///
    /// To be called by the main thread: the kernel counts the death of the thread that starts a process as its parent's.
    pub(super) fn start(&mut self, name: &'static str, cores: &[usize], role: Role) -> anyhow::Result<usize> {
        let (parent, topic) = (std::process::id(), self.topic.to_owned());
        let assignment = Assignment { parent, topic, cores: cores.to_vec(), role };
        let mut command = Command::new(THIS_PROGRAM);
        command.arg0("memlane").args(["--bus", &self.place.bus]);
        if let Some(root) = &self.place.root {
            command.arg("--root").arg(root);
        }
        // In a group of its own a ^C reaches the demo alone, which then ends the others in order.
        command.arg(PARTICIPANT).arg(serde_json::to_string(&assignment)?).process_group(0);
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("can't start a process")?;
        let number = self.children.len();
        if let Some(stdout) = process.stdout.take() {
            let sender = self.sender.clone();
            std::thread::spawn(move || listen(number, BufReader::new(stdout), &sender));
        }
        self.children.push(Child { name, process, is_ready: false, published: None, received: None, failure: None });
        Ok(number)
    }

    /// What is told next, if anything is in time.
    pub(super) fn next_event(&self, timeout: Duration) -> Option<Event> {
        self.events.recv_timeout(timeout).ok()
    }

    /// Takes down what a process told.
    pub(super) fn take(&mut self, child: usize, report: Report) {
        let child = &mut self.children[child];
        match report {
            Report::Ready => child.is_ready = true,
            Report::Progress(_) => {}
            Report::Published(published) => child.published = Some(published),
            Report::Received(received) => child.received = Some(received),
            // The last word counts, not the silence after it.
            Report::Failed(failure) if !child.is_over() => child.failure = Some(failure),
            Report::Failed(_) => {}
        }
    }

    pub(super) fn is_ready(&self, child: usize) -> bool {
        self.children[child].is_ready
    }

    pub(super) fn all_are_ready(&self) -> bool {
        self.children.iter().all(|child| child.is_ready)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.children.iter().any(|child| child.failure.is_some())
    }

    /// Whether everybody, a publisher among them, has had the last word.
    pub(super) fn is_over(&self) -> bool {
        self.children.iter().all(Child::is_over) && self.children.iter().any(|child| child.published.is_some())
    }

    /// Asks a process to come to its end.
    pub(super) fn ask_to_end(&self, child: usize) {
        // It was not reaped yet, so the id is still its own.
        let id = self.children[child].process.id();
        let _ = kill(Pid::from_raw(id as i32), Signal::SIGTERM);
    }

    /// Ends those who have not ended, and reaps everybody.
    pub(super) fn end(mut self) -> Vec<Child> {
        self.kill_and_reap();
        std::mem::take(&mut self.children)
    }

    fn kill_and_reap(&mut self) {
        let deadline = Instant::now() + GRACE;
        for child in &mut self.children {
            // Who has had the last word is on the way out.
            while child.is_over() && Instant::now() < deadline && matches!(child.process.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(2));
            }
            // No harm to one that has ended.
            let _ = child.process.kill();
            let status = child.process.wait();
            if !child.is_over() {
                child.failure = Some(match status {
                    Ok(status) => format!("did not come to its end ({status})"),
                    Err(error) => format!("did not come to its end ({error})"),
                });
            }
        }
    }
}

impl Drop for Troupe {
    fn drop(&mut self) {
        self.kill_and_reap();
    }
}

/// Passes on what a process tells, until it closes its stdout.
fn listen(child: usize, stdout: impl BufRead, sender: &Sender<Event>) {
    for line in stdout.lines().map_while(Result::ok) {
        let report =
            serde_json::from_str(&line).unwrap_or_else(|error| Report::Failed(format!("said {line:?}: {error}")));
        if sender.send(Event { child, report }).is_err() {
            return;
        }
    }
    let _ = sender.send(Event { child, report: Report::Failed("ended without a word".to_owned()) });
}
