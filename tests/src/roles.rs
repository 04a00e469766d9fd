//! What actors do.

mod damage;
mod dialogue;
mod errand;
pub mod keyed;
mod publish;
mod record;
pub mod scale;
pub mod service;
mod source;
mod subscribe;
mod surroundings;
pub mod transform;
mod waiting;

use crate::clock::since_boot;
use crate::role::{Order, Report, Role};
use crate::stage::SUPERVISOR;
use nix::sys::signal::Signal;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Plays `role` to its end.
///
/// # Errors
/// Whatever keeps it from being played; the process then ends with an error.
pub fn play(role: Role) -> anyhow::Result<()> {
    die_with_supervisor()?;
    match role {
        Role::InPidNamespace(role) => surroundings::in_pid_namespace(&role),
        Role::InNamespaces { bus, at, role } => surroundings::in_namespaces(&bus, &at, role),
        Role::InChild(role) => surroundings::in_child(&role),
        Role::TryNamespaces { bus, at } => surroundings::try_namespaces(&bus, &at),
        Role::AsUser { user, groups, role } => {
            surroundings::become_user(user, &groups)?;
            play(*role)
        }
        Role::OnReadOnlyMount { directory, role } => {
            surroundings::mount_read_only(&directory)?;
            play(*role)
        }
        Role::OnSmallDisk { directory, bytes, role } => {
            surroundings::mount_small_disk(&directory, bytes)?;
            play(*role)
        }
        Role::WithoutMembarrier(role) => {
            surroundings::refuse_membarrier()?;
            play(*role)
        }
        Role::LockMemory { place, limit_bytes } => surroundings::lock_memory(&place, limit_bytes),
        Role::Refused(role) => {
            let error = play(*role).err().map_or(String::from("it was not refused"), |error| error.to_string());
            say(&Report::Answer(Err(error)))
        }
        Role::Publish(plan) => publish::play(&plan),
        Role::Subscribe(plan) => subscribe::play(&plan),
        Role::Answer { hears, says, messages, begins } => dialogue::play(&hears, &says, messages, begins),
        Role::Await { places, waiting, messages } => waiting::play(&places, waiting, messages),
        Role::PublishKeyed { place, seed, keys, stand_by_ms } => {
            keyed::publish(&place, seed, keys, Duration::from_millis(stand_by_ms))
        }
        Role::JoinKeyed { place, lossy } => keyed::join(&place, lossy),
        Role::Serve(plan) => service::serve(&plan),
        Role::Ask(plan) => service::ask(&plan),
        Role::Create { place, capacity_bytes } => errand::create(&place, capacity_bytes),
        Role::Obey => errand::obey(&Prompt::listen()),
        Role::Damage { directory, seed } => damage::play(&directory, seed, &Prompt::listen()),
        Role::Churn { place } => errand::churn(&place, &Prompt::listen()),
        Role::FillFileSystem { directory, bytes } => surroundings::fill_file_system(&directory, bytes),
        Role::Leak { place, rounds } => errand::leak(&place, rounds),
        Role::Record(plan) => record::play(&plan),
        Role::Save { directory, name } => record::save(&directory, &name),
        Role::Commit { directory, name } => record::commit(&directory, &name),
        Role::Transform { input, output, directory } => transform::play(&input, &output, directory.as_deref()),
        Role::Source { place, name } => source::play(&place, &name),
        Role::ManyTopics { root, count } => scale::topics(&root, count),
        Role::ManySubscribers { place, count, messages } => scale::subscribers(&place, count, messages),
        Role::RunOutOfFiles { root, limit } => scale::run_out_of_files(&root, limit),
        Role::TakeAllSlots { place, slots } => errand::take_all_slots(&place, slots),
    }
}

/// Has the kernel kill this process when its supervisor dies.
fn die_with_supervisor() -> anyhow::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let parent = nix::unistd::getppid().as_raw();
    let supervisor = std::env::var(SUPERVISOR).ok().and_then(|pid| pid.parse().ok());
    // It died before it could be told; a parent in another PID namespace shows as zero.
    anyhow::ensure!(
        parent == 0 || supervisor.is_none_or(|supervisor: i32| supervisor == parent),
        "the supervisor is gone"
    );
    Ok(())
}

/// Tells the supervisor something.
fn say(report: &Report) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(report)?;
    line.push('\n');
    Ok(std::io::stdout().lock().write_all(line.as_bytes())?)
}

fn say_ready() -> anyhow::Result<()> {
    say(&Report::Ready { at_ns: since_boot().as_nanos() as u64 })
}

/// What the supervisor says: lines on standard input.
struct Prompt {
    flags: Arc<Flags>,
    orders: Receiver<Order>,
}

#[derive(Default)]
struct Flags {
    go: AtomicBool,
    stop: AtomicBool,
}

impl Prompt {
    /// Starts a thread that listens. Whoever joins a topic before that joins sooner: in a process with threads the kernel takes its
    /// time to register it for `membarrier`.
    fn listen() -> Self {
        let (sender, orders) = channel();
        let flags = Arc::new(Flags::default());
        let heard = Arc::clone(&flags);
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                match line.as_str() {
                    "go" => heard.go.store(true, Ordering::Release),
                    "stop" => break,
                    order => {
                        let Ok(order) = serde_json::from_str(order) else { break };
                        if sender.send(order).is_err() {
                            break;
                        }
                    }
                }
            }
            heard.stop.store(true, Ordering::Release);
        });
        Self { flags, orders }
    }

    fn says_stop(&self) -> bool {
        self.flags.stop.load(Ordering::Acquire)
    }

    fn await_go(&self) {
        while !self.flags.go.load(Ordering::Acquire) && !self.says_stop() {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn next_order(&self) -> Option<Order> {
        self.orders.recv().ok()
    }
}
