//! `memlane serve`: a server that echoes requests, or has a command answer each.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use memlane::{Request, ServerError};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Serialize;

use super::ending::{Ending, complain};
use super::output::print_json;
use super::place::Place;
use super::signals::{LOOK_EVERY, Signals};
use super::units;

/// The longest reply of a command that is taken.
const REPLY_BYTES_MAX: u64 = 64 << 20;
/// The number of an error that a command's failure becomes, unless its exit code says more.
const CODE_KILLED: u32 = 255;

const AFTER_HELP: &str = "\
Without --command each request is its own reply. With it, a shell runs the command for each request, one at a time: the \
request on stdin, the reply from stdout. A command that fails refuses the request, with its exit code and the last line \
of its stderr; one that takes longer than --timeout is killed. Several servers of a service share its requests.

Examples:
  memlane serve echo                            replies with what it was sent
  memlane serve upper --command 'tr a-z A-Z'    has a command reply
  memlane serve jobs --count 100 --json         ends after 100 requests";

/// Serve requests of a service: echo them, or have a command reply
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Serve {
    /// The service
    service: String,
    /// Have a shell run this for each request: the request on stdin, the reply from stdout
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// End after so many requests
    #[arg(long, value_name = "N", value_parser = units::parse_count)]
    count: Option<u64>,
    /// Longest time that a command may take
    #[arg(long, value_name = "TIME", default_value = "10", value_parser = units::parse_duration)]
    timeout: Duration,
    /// Print the summary as JSON, on stdout
    #[arg(long)]
    json: bool,
    /// Print no summary
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

/// What was served.
#[derive(Debug, Default, Serialize)]
struct Summary {
    service: String,
    ended: &'static str,
    requests: u64,
    refused: u64,
    /// Replies that the client didn't take.
    undelivered: u64,
}

impl Serve {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        let signals = Signals::watch()?;
        let mut server = place.open()?.server::<[u8], [u8]>(&self.service).open()?;
        let mut summary = Summary { service: self.service.clone(), ..Summary::default() };
        let ending = loop {
            if let Some(stop) = signals.stop() {
                // Without a count, that is how it was meant to end.
                break if self.count.is_none() { Ending::Done } else { Ending::Stopped(stop) };
            }
            if self.count.is_some_and(|count| summary.requests >= count) {
                break Ending::Done;
            }
            match server.receive_within(LOOK_EVERY) {
                Ok(Some(request)) => self.serve(request, &mut summary)?,
                Ok(None) => {}
                Err(error @ ServerError::Bus(_)) => complain(&error.to_string()),
                Err(error @ ServerError::Forked) => return Err(error.into()),
            }
        };
        summary.ended = ending.word();
        if self.json {
            print_json(&summary)?;
        } else if !self.quiet {
            let Summary { requests, refused, undelivered, .. } = &summary;
            complain(&format!("served {requests} requests: {refused} refused, {undelivered} replies not taken"));
        }
        Ok(ending)
    }

    fn serve(&self, request: Request<'_, [u8], [u8]>, summary: &mut Summary) -> anyhow::Result<()> {
        summary.requests += 1;
        let told = match &self.command {
            None => {
                let echo = request.to_vec();
                request.reply(&echo)
            }
            Some(command) => match self.answer(command, &request)? {
                Ok(reply) => request.reply(&reply),
                Err((code, text)) => {
                    summary.refused += 1;
                    request.reply_error(code, &text)
                }
            },
        };
        if let Err(error) = told {
            summary.undelivered += 1;
            complain(&format!("a reply was not taken: {error}"));
        }
        Ok(())
    }

    /// What the command says to `request`, or the code and the text of its failure.
    fn answer(&self, command: &str, request: &[u8]) -> anyhow::Result<Result<Vec<u8>, (u32, String)>> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Killed together with all that it starts.
            .process_group(0)
            .spawn()
            .context("can't run a shell")?;
        let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // A command that reads no input may have closed it; the end of input comes with the drop.
                let _ = stdin.take().map(|mut stdin| stdin.write_all(request));
            });
            let reply = scope.spawn(move || read(stdout));
            let said = scope.spawn(move || read(stderr));
            let code = wait(&mut child, self.timeout)?;
            let (reply, said) = (reply.join().unwrap_or_default(), said.join().unwrap_or_default());
            Ok(match code {
                Some(0) => Ok(reply),
                Some(code) => Err((u32::try_from(code).unwrap_or(CODE_KILLED), last_line(&said))),
                None => Err((CODE_KILLED, "the command took too long, or was killed".to_owned())),
            })
        })
    }
}

/// All that a command says, up to a bound.
fn read(from: Option<impl Read>) -> Vec<u8> {
    let mut all = Vec::new();
    // What can't be read any more is the end.
    let _ = from.map(|from| from.take(REPLY_BYTES_MAX).read_to_end(&mut all));
    all
}

/// Waits for a command's end and gives its exit code; kills it when its time is up. `None` if it was killed.
fn wait(child: &mut Child, timeout: Duration) -> anyhow::Result<Option<i32>> {
    let start = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait()? {
            break status.code();
        }
        if start.elapsed() >= timeout {
            break None;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    // What it left running would hold its output open.
    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    child.wait()?;
    Ok(code)
}

fn last_line(said: &[u8]) -> String {
    String::from_utf8_lossy(said).lines().last().unwrap_or("the command failed").chars().take(500).collect()
}
