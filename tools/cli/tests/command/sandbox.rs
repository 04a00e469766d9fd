//! A directory for buses that goes at the end, and processes that end with the test.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Far longer than anything here takes: who waits so long waits for ever.
const FOREVER: Duration = Duration::from_secs(120);
const SHARED_MEMORY: &str = "/dev/shm";

/// A directory for buses, and for files.
pub(crate) struct Sandbox {
    directory: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let builder = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix("memlane-cli-test-");
            builder
        };
        // Where there is no tmpfs for us, any file system does.
        let directory = builder().tempdir_in(SHARED_MEMORY).or_else(|_| builder().tempdir()).unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a file there.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The command with these arguments, and no input.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memlane"));
        command
            .args(arguments)
            .env("MEMLANE_ROOT", self.path())
            .env_remove("MEMLANE_BUS")
            .env_remove("MEMLANE_BACKING");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the command to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ended {
        self.start(arguments).end()
    }

    /// Runs the command to its end with this input.
    pub(crate) fn run_with<S: AsRef<OsStr>>(&self, input: &[u8], arguments: impl IntoIterator<Item = S>) -> Ended {
        let mut running = Running(Some(self.command(arguments).stdin(Stdio::piped()).spawn().unwrap()));
        // A command that takes no input may have ended before it was written.
        let _ = running.process().stdin.take().unwrap().write_all(input);
        running.end()
    }

    /// Runs the command, which must succeed, and gives what it printed.
    pub(crate) fn output<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Vec<u8> {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.stdout
    }

    /// Runs the command, which must succeed and print one line of JSON.
    pub(crate) fn json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Value {
        serde_json::from_slice(&self.output(arguments)).unwrap()
    }

    pub(crate) fn start<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Running {
        Running(Some(self.command(arguments).spawn().unwrap()))
    }

    /// Waits until `is_so`; `false` if it never is.
    pub(crate) fn wait_until(&self, mut is_so: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + FOREVER;
        while Instant::now() < deadline {
            if is_so() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Waits until so many gated subscribers and publishers are attached to the topic.
    pub(crate) fn wait_for(&self, topic: &str, subscribers: usize, publishers: usize) {
        let deadline = Instant::now() + FOREVER;
        loop {
            assert!(Instant::now() < deadline, "nobody came");
            let ended = self.run(["info", topic, "--json"]);
            if ended.code == 0 {
                let info: Value = serde_json::from_slice(&ended.stdout).unwrap();
                let readers = info["subscribers"].as_array().unwrap();
                let settled = readers.iter().filter(|reader| reader["position"].is_u64()).count();
                if settled == subscribers && info["publishers"].as_array().unwrap().len() == publishers {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A process. Dropping it kills it.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn process(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    pub(crate) fn id(&mut self) -> i32 {
        self.process().id() as i32
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        kill(Pid::from_raw(self.id()), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let process = self.0.take().unwrap();
        let id = Pid::from_raw(process.id() as i32);
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || sender.send(process.wait_with_output()));
        let Ok(output) = receiver.recv_timeout(FOREVER) else {
            // It was not reaped: `wait_with_output` still waits for it.
            let _ = kill(id, Signal::SIGKILL);
            let _ = waiter.join();
            panic!("a command does not end");
        };
        waiter.join().unwrap().unwrap();
        Ended::of(output.unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(process) = &mut self.0 {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// How a process ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit code; -1 if a signal killed it.
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let stderr = String::from_utf8(output.stderr).unwrap();
        Self { code: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr }
    }

    /// What it printed, as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// What it printed, a JSON object a line.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl From<Child> for Running {
    fn from(process: Child) -> Self {
        Self(Some(process))
    }
}
