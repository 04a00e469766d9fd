//! The machine that is measured: its two cores, the process on the other one, and how it is described.
//!
//! Invariant: a peer process never outlives the process that measures. [`PeerProcess`] ends it when it is dropped, and
//! the peer asks the kernel to be killed with its parent ([`die_with_parent`]): an orphan that spins would spoil
//! everything that is measured after it.

use std::ffi::OsString;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sched::CpuSet;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;
use serde::Serialize;

/// Why the machine can't be measured on.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Two processes that spin need a core each: allow a second one (`taskset`, cgroup, more virtual cores).
    #[error("two cores are needed, but this process may run on {cores} only: allow it a second one")]
    TooFewCores {
        /// How many it may run on.
        cores: usize,
    },
    /// The parent died before the peer could ask to die with it: start the measurement again.
    #[error("the parent process {expected} is gone; this process has no business of its own")]
    Orphaned {
        /// Who should have been the parent.
        expected: u32,
    },
    /// The kernel refused.
    #[error("can't {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}

impl MachineError {
    fn of(action: &'static str, source: impl Into<std::io::Error>) -> Self {
        Self::System { action, source: source.into() }
    }
}

/// The cores that the two processes are pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cores {
    /// Where the measuring process runs, the initiator.
    pub initiator: usize,
    /// Where its peer runs, the responder.
    pub responder: usize,
}

impl Cores {
    /// The first two cores that the calling thread may run on.
    ///
    /// # Errors
    /// [`MachineError::TooFewCores`] if it may run on one only.
    pub fn choose() -> Result<Self, MachineError> {
        let allowed = allowed_cores()?;
        match allowed[..] {
            [initiator, responder, ..] => Ok(Self { initiator, responder }),
            _ => Err(MachineError::TooFewCores { cores: allowed.len() }),
        }
    }
}

/// Numbers of the cores that the calling thread may run on, ascending.
fn allowed_cores() -> Result<Vec<usize>, MachineError> {
    let set = affinity()?;
    Ok((0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect())
}

fn affinity() -> Result<CpuSet, MachineError> {
    nix::sched::sched_getaffinity(Pid::from_raw(0))
        .map_err(|error| MachineError::of("ask which cores this thread may run on", error))
}

/// Keeps the calling thread on one core; dropping it lets the thread go where it might before.
#[derive(Debug)]
#[must_use = "dropping it undoes the pinning"]
pub struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Pins the calling thread to `core`.
    ///
    /// # Errors
    /// [`MachineError::System`] if there is no such core or this process may not run there.
    pub fn to(core: usize) -> Result<Self, MachineError> {
        let failed = |error| MachineError::of("pin this thread to its core", error);
        let before = affinity()?;
        let mut only = CpuSet::new();
        only.set(core).map_err(failed)?;
        nix::sched::sched_setaffinity(Pid::from_raw(0), &only).map_err(failed)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // If the kernel refuses, the thread stays where it is, which is no harm.
        let _ = nix::sched::sched_setaffinity(Pid::from_raw(0), &self.before);
    }
}

/// Has the kernel kill this process when the thread of process `parent` that started it ends.
///
/// # Errors
/// [`MachineError::Orphaned`] if `parent` is already gone.
pub fn die_with_parent(parent: u32) -> Result<(), MachineError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| MachineError::of("ask to die with the parent", error))?;
    // It may have died before the call.
    if std::os::unix::process::parent_id() == parent {
        Ok(())
    } else {
        Err(MachineError::Orphaned { expected: parent })
    }
}

/// How the peer process is started: this very program, with other arguments.
#[derive(Clone, Debug, Default)]
pub struct PeerCommand {
    /// Its arguments, the hidden subcommand first.
    pub arguments: Vec<OsString>,
    /// What its environment has beside this process's own.
    pub environment: Vec<(OsString, OsString)>,
}

/// The process on the other core. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct PeerProcess {
    child: Child,
}

impl PeerProcess {
    /// Starts this program again. What it prints on standard error is seen, standard output is left to the report.
    ///
    /// # Errors
    /// [`MachineError::System`] if the kernel refuses.
    pub fn start(command: &PeerCommand) -> Result<Self, MachineError> {
        let failed = |error| MachineError::of("start the peer process", error);
        let program = std::env::current_exe().map_err(failed)?;
        let child = Command::new(program)
            .args(&command.arguments)
            .envs(command.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok(Self { child })
    }

    /// How it ended, if it has: one system call. It stays to be reaped by [`PeerProcess::wait`] or the drop.
    #[must_use]
    pub fn ending(&self) -> Option<String> {
        let id = Pid::from_raw(i32::try_from(self.child.id()).ok()?);
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match nix::sys::wait::waitid(Id::Pid(id), flags) {
            Ok(WaitStatus::Exited(_, code)) => Some(format!("exit code {code}")),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(format!("killed by {signal}")),
            _ => None,
        }
    }

    /// Waits for its end and reaps it.
    ///
    /// # Errors
    /// [`MachineError::System`] if the kernel refuses.
    pub fn wait(mut self) -> Result<ExitStatus, MachineError> {
        self.child.wait().map_err(|error| MachineError::of("wait for the peer process", error))
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        // Both fail harmlessly if it has ended and been reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory on the tmpfs for one measurement, removed when dropped.
#[derive(Debug)]
pub struct Workplace {
    path: PathBuf,
}

impl Workplace {
    /// Makes one under `/dev/shm`, or under the directory for temporary files where there is no `/dev/shm`.
    ///
    /// # Errors
    /// [`MachineError::System`] if it can't be made.
    pub fn new() -> Result<Self, MachineError> {
        let shared_memory = Path::new("/dev/shm");
        let parent = if shared_memory.is_dir() { shared_memory.to_path_buf() } else { std::env::temp_dir() };
        let name = format!("memlane-bench-{}-{}", std::process::id(), memlane_shm::clock::unix_ns());
        let path = parent.join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| MachineError::of("make a directory in shared memory", error))?;
        Ok(Self { path })
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What can't be removed lies on a tmpfs and goes with the next boot.
        let _ = memlane_shm::named::remove_directory(&self.path);
    }
}

/// How often the kernel took the core away from the calling thread since it began; `None` if it doesn't say.
///
/// What it took during a measurement, other programs got: figures are as good as this number is small.
#[must_use]
pub fn interruptions() -> Option<u64> {
    let about = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    entry(&about, "nonvoluntary_ctxt_switches")?.parse().ok()
}

/// What a reader of figures wants to know about the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name, as it gives it.
    pub processor: String,
    /// Name and release of the kernel.
    pub kernel: String,
    /// How many cores this process may run on.
    pub cores: usize,
    /// Whether it runs under a hypervisor, which may move its cores about.
    pub is_virtual: bool,
}

impl Machine {
    /// Asks the kernel. Call it before pinning, which leaves one core.
    #[must_use]
    pub fn describe() -> Self {
        let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let kernel = nix::sys::utsname::uname().map_or_else(
            |_| "unknown".to_owned(),
            |name| format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
        );
        Self {
            processor: entry(&about, "model name").unwrap_or(std::env::consts::ARCH).to_owned(),
            kernel,
            cores: allowed_cores().map_or(1, |cores| cores.len()),
            is_virtual: entry(&about, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        }
    }
}

/// The first value of `key` in a text of `/proc`.
fn entry<'a>(about: &'a str, key: &str) -> Option<&'a str> {
    about.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_by_its_first_core() {
        let about = "processor\t: 0\nmodel name\t: Fast One\nflags\t\t: fpu hypervisor\n\nprocessor\t: 1\nmodel name\t: Other\n";
        assert_eq!(entry(about, "model name"), Some("Fast One"));
        assert_eq!(entry(about, "flags"), Some("fpu hypervisor"));
        assert_eq!(entry(about, "bogus"), None);
    }

    #[test]
    fn the_kernel_says_how_often_it_interrupted_a_thread() {
        assert!(interruptions().is_some());
    }

    #[test]
    fn a_thread_goes_back_where_it_might_run_before_it_was_pinned() {
        let before = allowed_cores().unwrap();
        let last = *before.last().unwrap();
        let pinned = Pinned::to(last).unwrap();
        assert_eq!(allowed_cores().unwrap(), [last]);
        drop(pinned);
        assert_eq!(allowed_cores().unwrap(), before);
    }

    #[test]
    fn a_workplace_is_gone_with_what_was_in_it() {
        let workplace = Workplace::new().unwrap();
        let path = workplace.path().to_path_buf();
        std::fs::write(path.join("file"), "x").unwrap();
        drop(workplace);
        assert!(!path.exists());
    }

    #[test]
    fn a_process_whose_parent_is_another_is_an_orphan() {
        assert!(matches!(die_with_parent(u32::MAX), Err(MachineError::Orphaned { expected: u32::MAX })));
    }
}
