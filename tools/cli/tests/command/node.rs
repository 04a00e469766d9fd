//! `memlane node` while it runs: as a real process, told by signals, with topics that come and disks that fail.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::sandbox::{Running, Sandbox};

/// A node, its log, and where it lives.
struct Node {
    sandbox: Sandbox,
    running: Option<Running>,
    log: Arc<Mutex<Vec<String>>>,
    reading: Option<JoinHandle<()>>,
}

impl Node {
    /// One that isn't begun.
    fn new(config: &str) -> Self {
        let node = Self { sandbox: Sandbox::new(), running: None, log: Arc::default(), reading: None };
        node.configure(config);
        node
    }

    fn started(config: &str) -> Self {
        let mut node = Self::new(config);
        node.start(&[], &[]);
        node
    }

    /// Writes its configuration; `DIR` in it is the sandbox.
    fn configure(&self, config: &str) {
        let config = config.replace("DIR", self.sandbox.path().to_str().unwrap());
        // As editors do: it is never half there.
        let path = self.sandbox.file("memlane.toml.new", format!("[node]\nname = \"n\"\n{config}").as_bytes());
        std::fs::rename(path, self.sandbox.path().join("memlane.toml")).unwrap();
    }

    fn start(&mut self, arguments: &[&str], environment: &[(&str, &str)]) {
        let path = self.sandbox.path().join("memlane.toml");
        let mut command = self.sandbox.command(["node", "--config", path.to_str().unwrap()].iter().chain(arguments));
        for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"] {
            command.env_remove(variable);
        }
        command.envs(environment.iter().copied()).stdout(Stdio::null());
        let mut process = dying_with_us(command).spawn().unwrap();
        let (lines, log) = (BufReader::new(process.stderr.take().unwrap()).lines(), self.log.clone());
        self.reading = Some(std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().unwrap().push(line);
            }
        }));
        self.running = Some(process.into());
    }

    fn signal(&mut self, signal: Signal) {
        self.running.as_mut().unwrap().signal(signal);
    }

    /// Waits for its end; its exit code.
    fn end(&mut self) -> i32 {
        let code = self.running.take().unwrap().end().code;
        self.reading.take().unwrap().join().unwrap();
        code
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// How many lines of the log have all of these words.
    fn count(&self, words: &[&str]) -> usize {
        let has_all = |line: &&String| words.iter().all(|word| line.contains(word));
        self.log.lock().unwrap().iter().filter(has_all).count()
    }

    fn wait_for_log(&self, words: &[&str], count: usize) {
        let is_there = self.sandbox.wait_until(|| self.count(words) >= count);
        assert!(is_there, "{words:?} not in\n{}", self.log());
    }

    fn publish(&self, topic: &str, lines: &str, more: &[&str]) {
        let ended = self.sandbox.run_with(lines.as_bytes(), ["pub", topic, "--quiet"].iter().chain(more));
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path().join(name)
    }

    /// What the journal at `name` has, as far as it is recorded.
    fn recorded(&self, name: &str) -> String {
        let ended = self.sandbox.run(["journal", "dump", self.path(name).to_str().unwrap()]);
        String::from_utf8(ended.stdout).unwrap()
    }

    fn wait_for_recorded(&self, name: &str, lines: &str) {
        let is_there = self.sandbox.wait_until(|| self.recorded(name) == lines);
        assert!(is_there, "{name} has {:?}\n{}", self.recorded(name), self.log());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Killed, it lets go of its end of the log.
        drop(self.running.take());
        if let Some(reading) = self.reading.take() {
            let _ = reading.join();
        }
    }
}

/// The same command, which the kernel kills should the test die without having done so; where there is no `setpriv`, as it is.
fn dying_with_us(command: Command) -> Command {
    let has_setpriv = Command::new("setpriv").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !has_setpriv {
        return command;
    }
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    wrapped
}

fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|number| format!("message {number}\n")).collect()
}

const BY_NAME: &str = "[[journal]]\ndirectory = \"DIR/j\"\ntopics = [\"md.>\"]\nsegment = \"1MiB\"\n";

#[test]
fn topics_are_recorded_that_are_made_before_and_while_it_runs() {
    let marked = "[[journal]]\ndirectory = \"DIR/marked\"\nmarked = true\nsegment = \"1MiB\"\n";
    let mut node = Node::new(&format!("{BY_NAME}{marked}"));
    node.publish("md.before", "1\n", &[]);
    node.start(&[], &[]);
    node.wait_for_recorded("j/md.before", "1\n");
    node.publish("md.later", "2\n", &[]);
    node.publish("other", "3\n", &["--journaled"]);
    node.publish("plain", "4\n", &[]);
    node.wait_for_recorded("j/md.later", "2\n");
    node.wait_for_recorded("marked/other", "3\n");
    node.signal(Signal::SIGTERM);
    assert_eq!(node.end(), 0, "{}", node.log());
    assert!(!node.path("j/other").exists() && !node.path("j/plain").exists() && !node.path("marked/plain").exists());
}

#[test]
fn a_journal_that_cannot_be_written_is_tried_again_and_holds_up_no_other() {
    let ill = "[[journal]]\ndirectory = \"DIR/file/ill\"\ntopics = [\"md.>\"]\nsegment = \"1MiB\"\n";
    let mut node = Node::new(&format!("{ill}{BY_NAME}"));
    let file = node.sandbox.file("file", b"in the way");
    node.publish("md.a", "1\n", &[]);
    node.start(&[], &[]);
    node.wait_for_recorded("j/md.a", "1\n");
    node.wait_for_log(&["ERROR", "failed:", "can't make it", "file/ill", "begins again in"], 2);
    node.publish("md.a", "2\n", &[]);
    node.wait_for_recorded("j/md.a", "1\n2\n");
    std::fs::remove_file(file).unwrap();
    node.wait_for_recorded("file/ill/md.a", "1\n2\n");
    node.signal(Signal::SIGINT);
    assert_eq!(node.end(), 0, "{}", node.log());
}

#[test]
fn one_topic_that_cannot_be_recorded_stops_no_other_of_its_journal() {
    let mut node = Node::new(BY_NAME);
    std::fs::create_dir(node.path("j")).unwrap();
    let file = node.sandbox.file("j/md.ill", b"in the way");
    node.publish("md.ill", "1\n", &[]);
    node.publish("md.sound", "2\n", &[]);
    node.start(&[], &[]);
    node.wait_for_recorded("j/md.sound", "2\n");
    node.wait_for_log(&["ERROR", "md.ill", "not recorded, and tried again"], 1);
    std::fs::remove_file(file).unwrap();
    node.wait_for_recorded("j/md.ill", "1\n");
    assert_eq!(node.count(&["failed:"]), 0, "{}", node.log());
}

#[test]
fn a_reload_begins_and_ends_journals_and_changes_what_is_recorded_and_logged() {
    let mut node = Node::started(&format!("[log]\nlevel = \"info\"\n{BY_NAME}"));
    node.publish("md.a", "1\n", &[]);
    node.publish("x", "2\n", &[]);
    node.wait_for_recorded("j/md.a", "1\n");
    // A journal more, and another topic for the one that stays.
    let more = BY_NAME.replace("\"md.>\"", "\"md.>\", \"x\"");
    let new = "[[journal]]\ndirectory = \"DIR/k\"\ntopics = [\"md.a\"]\nkeep_messages = 5\nsegment = \"1MiB\"\n";
    node.configure(&format!("[log]\nlevel = \"info\"\n{more}{new}"));
    node.signal(Signal::SIGHUP);
    node.wait_for_recorded("j/x", "2\n");
    node.wait_for_recorded("k/md.a", "1\n");
    // The first one less.
    node.configure(&format!("[log]\nlevel = \"error\"\n{new}"));
    node.signal(Signal::SIGHUP);
    node.wait_for_log(&["ends", "/j", "not in the configuration any more"], 1);
    assert!(node.sandbox.wait_until(|| {
        let info = node.sandbox.json(["info", "md.a", "--json"]);
        info["subscribers"].as_array().unwrap().len() == 1
    }));
    node.publish("md.a", "3\n", &[]);
    node.wait_for_recorded("k/md.a", "1\n3\n");
    assert_eq!(node.recorded("j/md.a"), "1\n");
    // From here on it says errors only.
    node.signal(Signal::SIGTERM);
    assert_eq!(node.end(), 0, "{}", node.log());
    assert_eq!(node.count(&["SIGTERM"]), 0, "{}", node.log());
}

#[test]
fn a_reload_that_is_refused_says_why_and_changes_nothing() {
    let mut node = Node::started(BY_NAME);
    node.publish("md.a", "1\n", &[]);
    node.wait_for_recorded("j/md.a", "1\n");
    let new = "[[journal]]\ndirectory = \"DIR/k\"\ntopics = [\"md.a\"]\n";
    for (config, said) in [
        (
            format!("bus = \"other\"\n{BY_NAME}{new}"),
            "memlane.toml:3: `bus` of [node] can't be changed while the node runs",
        ),
        (format!("{BY_NAME}sync = \"batch\"\n{new}"), "memlane.toml:7: `sync` of [[journal]] can't be changed"),
        (format!("{BY_NAME}{new}colour = \"red\"\n"), "memlane.toml:10:1: there is no key `colour` in [[journal]]"),
        (format!("{BY_NAME}{new}["), "memlane.toml:10:"),
    ] {
        let before = node.count(&["the configuration is refused"]);
        node.configure(&config);
        node.signal(Signal::SIGHUP);
        node.wait_for_log(&["ERROR", said], 1);
        node.wait_for_log(&["the configuration is refused; the node goes on by the one before"], before + 1);
    }
    node.publish("md.a", "2\n", &[]);
    node.wait_for_recorded("j/md.a", "1\n2\n");
    assert!(!node.path("k").exists());
    node.signal(Signal::SIGTERM);
    assert_eq!(node.end(), 0, "{}", node.log());
}

#[test]
fn at_its_end_it_has_recorded_all_that_was_published() {
    let mut node = Node::started(BY_NAME);
    node.publish("md.a", "message 0\n", &[]);
    node.wait_for_recorded("j/md.a", "message 0\n");
    node.publish("md.a", &lines(1..20_000), &[]);
    node.signal(Signal::SIGTERM);
    assert_eq!(node.end(), 0, "{}", node.log());
    assert!(node.recorded("j/md.a") == lines(0..20_000));
    assert_eq!(node.count(&["all that was begun is finished"]), 1, "{}", node.log());
}

#[test]
fn killed_and_begun_again_it_has_lost_nothing() {
    let mut node = Node::new(BY_NAME);
    let mut published = 0;
    for life in 0..4 {
        node.start(&[], &[]);
        for _ in 0..3 {
            node.publish("md.a", &lines(published..published + 500), &[]);
            published += 500;
        }
        if life < 3 {
            node.signal(Signal::SIGKILL);
            assert_eq!(node.end(), -1);
            node.publish("md.a", &lines(published..published + 500), &[]);
            published += 500;
        }
    }
    node.signal(Signal::SIGTERM);
    assert_eq!(node.end(), 0, "{}", node.log());
    assert!(node.recorded("j/md.a") == lines(0..published), "{}", node.log());
}

#[test]
fn topics_come_back_after_a_restart_of_the_host() {
    let config = format!("{BY_NAME}restore = true\n");
    let mut node = Node::started(&config);
    node.publish("md.a", "1\n", &[]);
    node.wait_for_recorded("j/md.a", "1\n");
    node.signal(Signal::SIGTERM);
    assert_eq!(node.end(), 0, "{}", node.log());
    node.sandbox.output(["rm", "md.a"]);
    node.start(&[], &[]);
    node.wait_for_log(&["made again", "md.a"], 1);
    node.publish("md.a", "2\n", &[]);
    node.wait_for_recorded("j/md.a", "1\n2\n");
}

#[test]
fn a_node_whose_time_is_up_says_who_had_not_finished() {
    let mut node = Node::started(&format!("drain = 0\n{BY_NAME}"));
    node.publish("md.a", "1\n", &[]);
    node.wait_for_recorded("j/md.a", "1\n");
    node.signal(Signal::SIGTERM);
    assert_eq!(node.end(), 3, "{}", node.log());
    assert_eq!(node.count(&["ended before it had finished", "/j"]), 1, "{}", node.log());
}

#[test]
fn a_second_signal_ends_a_node_at_once() {
    // Both are there when it goes on, and two threads may take one each before either knows of the other: then they count as one.
    let codes = (0..5).map(|_| {
        let mut node = Node::started(&format!("drain = \"1h\"\n{BY_NAME}"));
        node.publish("md.a", "1\n", &[]);
        node.wait_for_recorded("j/md.a", "1\n");
        for signal in [Signal::SIGSTOP, Signal::SIGTERM, Signal::SIGINT, Signal::SIGCONT] {
            node.signal(signal);
        }
        node.end()
    });
    assert!(codes.into_iter().any(|code| [130, 143].contains(&code)));
}

#[test]
fn the_log_may_be_json() {
    let mut node = Node::new(BY_NAME);
    node.start(&["--json"], &[]);
    node.wait_for_log(&["begins"], 1);
    node.signal(Signal::SIGTERM);
    assert_eq!(node.end(), 0);
    for line in node.log().lines() {
        let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(parsed["level"].is_string() && parsed["message"].is_string(), "{line}");
    }
}

#[test]
fn journald_gets_lines_with_their_priority_and_without_a_time() {
    let node = Node::new("[[journal]]\ndirectory = \"/dev/null/j\"\nmarked = true\n");
    let (reader, writer) = std::io::pipe().unwrap();
    let metadata = std::fs::File::from(OwnedFd::from(writer.try_clone().unwrap())).metadata().unwrap();
    let path = node.path("memlane.toml");
    let mut command = node.sandbox.command(["node", "--config", path.to_str().unwrap()]);
    command.env_remove("NOTIFY_SOCKET").env("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino()));
    let mut command = dying_with_us(command);
    let mut running = Running::from(command.stderr(writer).spawn().unwrap());
    // Else it would hold the pipe open.
    drop(command);
    let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
    assert!(lines.next().unwrap().starts_with("<6>begins node=\"n\""));
    assert!(lines.next().unwrap().starts_with("<6>begins module=\"journal /dev/null/j\""));
    assert!(lines.next().unwrap().starts_with("<3>failed: /dev/null/j: can't make it"));
    running.signal(Signal::SIGTERM);
    assert_eq!(lines.last().as_deref(), Some("<6>ended; all that was begun is finished"));
}

#[test]
fn a_node_goes_on_whose_log_nobody_reads_any_more() {
    let node = Node::new(BY_NAME);
    let path = node.path("memlane.toml");
    let mut command = dying_with_us(node.sandbox.command(["node", "--config", path.to_str().unwrap()]));
    let (reader, writer) = std::io::pipe().unwrap();
    let mut running = Running::from(command.stderr(writer).spawn().unwrap());
    drop((command, reader));
    node.publish("md.a", "1\n", &[]);
    node.wait_for_recorded("j/md.a", "1\n");
    running.signal(Signal::SIGHUP);
    node.publish("md.b", "2\n", &[]);
    node.wait_for_recorded("j/md.b", "2\n");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().code, 0);
}

/// What systemd would hear.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        Self { socket, heard: Vec::new() }
    }

    /// The next message that has a line that begins so.
    fn hear(&mut self, begin: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let received = self.socket.recv(&mut buffer);
            let length = received.unwrap_or_else(|error| panic!("no {begin}: {error}; heard {:?}", self.heard));
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            self.heard.push(text.clone());
            if text.lines().any(|line| line.starts_with(begin)) {
                return text;
            }
        }
    }
}

#[test]
fn systemd_hears_when_it_is_ready_reloads_lives_and_stops() {
    let mut node = Node::new(BY_NAME);
    let socket = node.path("notify");
    let mut manager = Manager::at(&socket);
    node.start(&[], &[("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "100000")]);
    let ready = manager.hear("READY=1");
    assert!(ready.contains("STATUS=1 of 1 modules run"), "{ready}");
    for _ in 0..3 {
        manager.hear("WATCHDOG=1");
    }
    node.signal(Signal::SIGHUP);
    let reloading = manager.hear("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.hear("READY=1");
    node.configure("x = 1\n");
    node.signal(Signal::SIGHUP);
    manager.hear("RELOADING=1");
    let refused = manager.hear("READY=1");
    assert!(refused.contains("STATUS=the new configuration is refused"), "{refused}");
    node.signal(Signal::SIGTERM);
    let stopping = manager.hear("STOPPING=1");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC="), "{stopping}");
    assert_eq!(node.end(), 0, "{}", node.log());
}

#[test]
fn systemd_hears_that_it_is_ready_though_a_module_fails_and_which() {
    let ill = "[[journal]]\ndirectory = \"DIR/file/ill\"\nmarked = true\n";
    let mut node = Node::new(&format!("{ill}{BY_NAME}"));
    node.sandbox.file("file", b"in the way");
    let socket = node.path("notify");
    let mut manager = Manager::at(&socket);
    node.start(&[], &[("NOTIFY_SOCKET", socket.to_str().unwrap())]);
    let ready = manager.hear("READY=1");
    assert!(ready.contains("of 2 modules run") && ready.contains("can't make it"), "{ready}");
}
