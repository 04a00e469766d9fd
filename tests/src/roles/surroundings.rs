//! Other surroundings for a process: another user, another PID namespace, a file system without room.

use super::say;
use crate::payload::Mark;
use crate::role::{BUS, Place, Report, Role};
use crate::stage::{SHARED_MEMORY, SUPERVISOR};
use anyhow::Context;
use memlane::Backing;
use memlane_shm::barrier;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::path::Path;
use std::process::Command;

/// The number of the system call.
const SYS_MEMBARRIER: i64 = if cfg!(target_arch = "x86_64") { 324 } else { 283 };

/// Gives up being root. Needs to be root.
pub(super) fn become_user(user: u32, groups: &[u32]) -> anyhow::Result<()> {
    setgroups(&groups.iter().copied().map(Gid::from_raw).collect::<Vec<_>>())?;
    setgid(Gid::from_raw(user))?;
    setuid(Uid::from_raw(user))?;
    // The kernel forgets it at a change of user.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}

/// Starts a process in a PID namespace of its own, which has this one's input and output, and waits for it.
pub(super) fn in_pid_namespace(role: &Role) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWPID)?;
    in_child(role)
}

/// Starts a process, which has this one's input and output, and waits for it.
pub(super) fn in_child(role: &Role) -> anyhow::Result<()> {
    let mut child =
        Command::new(std::env::current_exe()?).arg(serde_json::to_string(role)?).env_remove(SUPERVISOR).spawn()?;
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "{status}");
    Ok(())
}

/// Starts the first process of a PID namespace, and it another one that plays `role`.
pub(super) fn in_namespaces(bus: &Path, at: &Path, role: Box<Role>) -> anyhow::Result<()> {
    enter_namespaces(bus, at)?;
    in_child(&Role::InChild(role))
}

pub(super) fn try_namespaces(bus: &Path, at: &Path) -> anyhow::Result<()> {
    let number = enter_namespaces(bus, at).map_or_else(|error| error as u64, |()| 0);
    say(&Report::Answer(Ok(number)))
}

/// From here on this process sees the directory `bus` in the directory `at` and else nothing of the shared memory that it saw; it shares no
/// IPC, and its children no process ids, with others.
fn enter_namespaces(bus: &Path, at: &Path) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some("size=8m"))?;
    let inside = at.join(BUS);
    nix::unistd::mkdir(&inside, Mode::S_IRWXU)?;
    mount(Some(bus), &inside, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    if Path::new(SHARED_MEMORY).is_dir() {
        mount(Some("tmpfs"), SHARED_MEMORY, Some("tmpfs"), MsFlags::empty(), Some("size=8m"))?;
    }
    Ok(())
}

/// Mounts `directory` read-only where it is; nobody else sees that. Needs to be root.
pub(super) fn mount_read_only(directory: &Path) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some(directory), directory, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, directory, None::<&str>, read_only, None::<&str>)?;
    Ok(())
}

/// Mounts a tmpfs of so many bytes on `directory`, half of which a file `filler` takes; nobody else sees that, but through `/proc`. Needs to be root.
pub(super) fn mount_small_disk(directory: &Path, bytes: u64) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some(format!("size={bytes}").as_str()))?;
    Ok(std::fs::write(directory.join("filler"), vec![7; bytes as usize / 2])?)
}

/// Has the kernel refuse `membarrier` to this process from here on, as strict sandboxes do.
pub(super) fn refuse_membarrier() -> anyhow::Result<()> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let refused = [(SYS_MEMBARRIER, Vec::new())].into_iter().collect();
    let errno = SeccompAction::Errno(nix::errno::Errno::EPERM as u32);
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, errno, architecture)?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?;
    anyhow::ensure!(barrier::Light::for_this_process().is_real_fence() && !barrier::heavy(), "it is not refused");
    Ok(())
}

/// Opens a publisher and a subscriber whose memory is locked.
pub(super) fn lock_memory(place: &Place, limit_bytes: u64) -> anyhow::Result<()> {
    // Raising it is root's; what is the limit already need not be raised.
    let (_, most) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    setrlimit(Resource::RLIMIT_MEMLOCK, limit_bytes.min(most), limit_bytes.min(most))?;
    let topic = place.bus()?.topic(&place.topic)?.lock_memory(true).open()?;
    let mut subscriber = topic.subscriber::<[u8]>().open()?;
    let mut publisher = topic.publisher::<[u8]>().open()?;
    publisher.publish(b"locked")?;
    anyhow::ensure!(subscriber.receive()?.len() == 6, "it was published");
    let status = std::fs::read_to_string("/proc/self/status")?;
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).context("VmLck")?;
    let kibibytes: u64 = locked.trim().trim_end_matches(" kB").parse()?;
    say(&Report::Answer(Ok(kibibytes * 1024)))
}

/// Mounts a small tmpfs at `directory`, which nobody else sees, and fills it with topics. All that were made can be used to their last
/// byte; the one that wasn't left nothing behind; and once one is removed, another can be made.
pub(super) fn fill_file_system(directory: &Path, bytes: u64) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let mount_tmpfs = |directory: &Path, bytes: u64| {
        mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some(format!("size={bytes}").as_str()))
    };
    if Backing::of_environment()? == Backing::Named {
        // Room for links; the memory is elsewhere.
        mount_tmpfs(directory, 1 << 20)?;
        mount_tmpfs(Path::new(SHARED_MEMORY), bytes)?;
    } else {
        mount_tmpfs(directory, bytes)?;
    }
    let place = |number: usize| Place { root: directory.to_path_buf(), topic: format!("t{number}") };
    let make = |number| {
        let place = place(number);
        place.bus()?.topic(&place.topic)?.capacity_bytes(1 << 20).prefault(number % 2 == 0).create()?;
        anyhow::Ok(())
    };
    let mut count = 0;
    let refused = loop {
        match make(count) {
            Ok(()) => count += 1,
            Err(error) => break error.to_string(),
        }
        anyhow::ensure!(count as u64 * (1 << 20) < bytes, "more topics than there is room for");
    };
    let bus = place(0).bus()?;
    anyhow::ensure!(bus.topics()?.len() == count && count > 0, "{count} topics were made");
    let entries = std::fs::read_dir(bus.directory())?.flatten();
    // The bus's own bell belongs there.
    let entries = entries.filter(|entry| entry.file_name() != ".bell").count();
    anyhow::ensure!(entries == count, "{entries} entries for {count} topics: something was left behind");
    for number in 0..count {
        let topic = place(number).open()?;
        let mut subscriber = topic.subscriber::<[u8]>().open()?;
        let mut publisher = topic.publisher::<[u8]>().open()?;
        let mut payload = vec![0; 100_000];
        for round in 0..25 {
            Mark { sender: 0, number: round }.fill(&mut payload);
            publisher.publish(&payload)?;
            let sample = subscriber.try_receive()?;
            anyhow::ensure!(sample.is_some_and(|sample| *sample == payload), "message {round} of topic {number}");
        }
    }
    bus.remove("t0")?;
    make(0)?;
    say(&Report::Answer(Err(refused)))
}
