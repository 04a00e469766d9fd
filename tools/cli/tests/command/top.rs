//! `memlane top` in a terminal: a pseudo one, whose other end the test holds.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{Termios, tcgetattr};

use crate::sandbox::{Running, Sandbox};

const FOREVER: Duration = Duration::from_secs(120);

/// `top` at work, and what it has drawn so far.
struct Terminal {
    top: Running,
    ours: File,
    theirs: OwnedFd,
    before: Termios,
    drawn: String,
    pieces: Receiver<Vec<u8>>,
}

/// Both ends of a terminal, ours first.
fn open_terminal() -> (File, OwnedFd) {
    let size = Winsize { ws_row: 40, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
    // The other tests start processes too: these must not keep our end open.
    fcntl(&master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    fcntl(&slave, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    (File::from(master), slave)
}

fn start(sandbox: &Sandbox, arguments: &[&str], theirs: &OwnedFd) -> Running {
    let end = || Stdio::from(theirs.try_clone().unwrap());
    let mut command = sandbox.command([&["top"], arguments].concat());
    Running::from(command.stdin(end()).stdout(end()).env("TERM", "xterm").spawn().unwrap())
}

impl Terminal {
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let (ours, slave) = open_terminal();
        let before = tcgetattr(&slave).unwrap();
        let top = start(sandbox, arguments, &slave);
        let (sender, pieces) = channel();
        let mut reader = ours.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { top, ours, theirs: slave, before, drawn: String::new(), pieces }
    }

    /// Waits until it has drawn `text`, a word: between words the cursor may move. Forgets what it drew up to there.
    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + FOREVER;
        let end = loop {
            if let Some(at) = self.drawn.find(text) {
                break at + text.len();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let piece = self.pieces.recv_timeout(left);
            let piece = piece.unwrap_or_else(|_| panic!("{text:?} was not drawn"));
            self.drawn += &String::from_utf8_lossy(&piece);
        };
        self.drawn.drain(..end);
    }

    fn press(&mut self, keys: &str) {
        self.ours.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end; the terminal must be as it was.
    fn end(mut self) -> i32 {
        // It leaves the alternate screen.
        self.wait_for("\x1b[?1049l");
        let code = self.top.end().code;
        assert_eq!(tcgetattr(&self.theirs).unwrap(), self.before);
        code
    }
}

#[test]
fn top_shows_topics_and_their_participants_and_gives_the_terminal_back() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::start(&sandbox, &["--interval", "50ms"]);
    terminal.wait_for("greetings");
    let publisher = sandbox.start(["pub", "md.trades", "--size", "8", "--rate", "1000", "--name", "feed"]);
    terminal.wait_for("md.trades");
    terminal.press("\r");
    terminal.wait_for("publisher");
    terminal.wait_for("feed");
    drop(publisher);
    terminal.wait_for("died");
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn top_gives_the_terminal_back_at_control_c_and_at_sigterm() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::start(&sandbox, &[]);
    terminal.wait_for("greetings");
    terminal.press("\x03");
    assert_eq!(terminal.end(), 0);
    let mut terminal = Terminal::start(&sandbox, &[]);
    terminal.wait_for("greetings");
    terminal.top.signal(Signal::SIGTERM);
    assert_eq!(terminal.end(), 0);
}

#[test]
fn top_ends_when_its_terminal_goes() {
    let sandbox = Sandbox::new();
    let (mut ours, theirs) = open_terminal();
    let top = start(&sandbox, &[], &theirs);
    drop(theirs);
    let (mut drawn, mut bytes) = (String::new(), [0; 4096]);
    while !drawn.contains("greetings") {
        let count = ours.read(&mut bytes).unwrap();
        drawn += &String::from_utf8_lossy(&bytes[..count]);
    }
    drop(ours);
    // With an error if it was just about to draw.
    assert!(matches!(top.end().code, 0 | 1));
}

#[test]
fn top_without_a_terminal_says_what_to_use_instead() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(["top"]);
    assert!(ended.code == 1 && ended.stderr.contains("memlane stat"), "{}", ended.stderr);
}
