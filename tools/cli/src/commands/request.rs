//! `memlane req`: a request to a service, and its reply to stdout.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use memlane::{CallError, Client, Reply};
use serde::Serialize;

use super::attach::Deadline;
use super::ending::{Ending, complain};
use super::latencies::{Figures, Latencies};
use super::output::Output;
use super::place::Place;
use super::signals::Signals;
use super::subscribe::print::put_text;
use super::units;

const AFTER_HELP: &str = "\
Without PAYLOAD the request is all of stdin. It goes to one of the service's servers; if there is none yet, one is \
waited for. A reply of several parts is printed part by part. A refusal is told on stderr, and the exit code is 3.

Examples:
  memlane req echo hello                        one request, and its reply
  date | memlane req upper --timeout 500ms
  memlane req echo ping --count 1000 --json     a thousand calls, one after the other, and how long they took";

/// Send a request to a service and print the reply
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Call {
    /// The service
    service: String,
    /// The request [default: all of stdin]
    payload: Option<String>,
    /// Longest wait for each reply, and for a server to come
    #[arg(long, value_name = "TIME", default_value = "5", value_parser = units::parse_duration)]
    timeout: Duration,
    /// Send it so many times, one after the other
    #[arg(long, value_name = "N", default_value = "1", value_parser = units::parse_count)]
    count: u64,
    /// Give each request this header; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::publish::parse_header)]
    header: Vec<(String, String)>,
    /// How to print replies: text, a line each, or raw, with nothing in between
    #[arg(long, value_enum, default_value_t = Format::Text, hide_possible_values = true)]
    format: Format,
    /// Print no replies
    #[arg(long, short)]
    quiet: bool,
    /// Print replies and the summary as JSON, an object a line
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Raw,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    reply: &'a str,
    is_part: bool,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    service: String,
    ended: &'static str,
    replies: u64,
    refused: u64,
    failed: u64,
    seconds: f64,
    latency: Option<Figures>,
}

impl Call {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        let signals = Signals::watch()?;
        let payload = match &self.payload {
            Some(payload) => payload.clone().into_bytes(),
            None => {
                let mut payload = Vec::new();
                std::io::stdin().read_to_end(&mut payload).context("can't read stdin")?;
                payload
            }
        };
        // A request has room in a quarter of the ring, and a reply of about its length too.
        let capacity_bytes = (payload.len() as u64 * 8).next_power_of_two().max(1 << 20);
        let client = place.open()?.client::<[u8], [u8]>(&self.service).capacity_bytes(capacity_bytes);
        let mut client = client.tell_deadlines(true).open()?;
        let deadline = Deadline::after(Some(self.timeout));
        while !client.wait_for_server(deadline.slice())? {
            if let Some(stop) = signals.stop() {
                return Ok(Ending::Stopped(stop));
            }
            if deadline.has_passed() {
                complain(&format!("no server of {} came in time: start one with `memlane serve`", self.service));
                return Ok(Ending::TimedOut);
            }
        }
        let mut summary = Summary { service: self.service.clone(), ..Summary::default() };
        let mut output = Output::stdout()?;
        let ending = self.call_all(&mut client, &payload, &mut output, &mut summary, &signals)?;
        summary.ended = ending.word();
        if self.json {
            output.json(&summary)?;
        }
        output.flush()?;
        if self.count > 1 && !self.json {
            let Summary { replies, refused, failed, seconds, .. } = &summary;
            let span = units::span(Duration::from_secs_f64(*seconds));
            complain(&format!("{replies} replies in {span}; {refused} refused, {failed} failed"));
        }
        Ok(ending)
    }

    fn call_all(
        &self,
        client: &mut Client<[u8], [u8]>,
        payload: &[u8],
        output: &mut Output,
        summary: &mut Summary,
        signals: &Signals,
    ) -> anyhow::Result<Ending> {
        let (start, mut latencies, mut ending) = (Instant::now(), Latencies::new(), Ending::Done);
        for _ in 0..self.count {
            if let Some(stop) = signals.stop() {
                ending = Ending::Stopped(stop);
                break;
            }
            let sent = Instant::now();
            match self.call(client, payload, output, signals) {
                Ok(()) => {
                    summary.replies += 1;
                    latencies.record(u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX));
                }
                Err(Failure::Stopped) => {}
                Err(Failure::Output(error)) => return Err(error),
                Err(Failure::Call(error)) => {
                    let is_refusal = matches!(error, CallError::Refused { .. });
                    summary.refused += u64::from(is_refusal);
                    summary.failed += u64::from(!is_refusal);
                    let is_late = matches!(error, CallError::TimedOut);
                    if ending == Ending::Done {
                        ending = if is_late { Ending::TimedOut } else { Ending::Unsound };
                    }
                    complain(&error.to_string());
                }
            }
        }
        summary.seconds = start.elapsed().as_secs_f64();
        summary.latency = (!latencies.is_empty()).then(|| latencies.figures());
        Ok(ending)
    }

    fn call(
        &self,
        client: &mut Client<[u8], [u8]>,
        payload: &[u8],
        output: &mut Output,
        signals: &Signals,
    ) -> Result<(), Failure> {
        let deadline = Deadline::after(Some(self.timeout));
        let fields = |error: memlane::PublishError| Failure::Call(error.into());
        let mut request = client.request();
        for (key, value) in &self.header {
            request = request.header(key, value.as_bytes()).map_err(fields)?;
        }
        let pending = request.send_within(payload, self.timeout).map_err(Failure::Call)?;
        loop {
            let error = match client.next(pending, deadline.slice()) {
                Ok(Some(reply)) => {
                    self.print(&reply, output).map_err(Failure::Output)?;
                    if !reply.is_part() {
                        return Ok(());
                    }
                    continue;
                }
                Ok(None) => return Ok(()),
                Err(error) => error,
            };
            let is_late = matches!(error, CallError::TimedOut);
            if is_late && signals.stop().is_none() && !deadline.has_passed() {
                continue;
            }
            client.cancel(pending);
            return Err(if is_late && signals.stop().is_some() { Failure::Stopped } else { Failure::Call(error) });
        }
    }

    fn print(&self, reply: &Reply<'_, [u8]>, output: &mut Output) -> anyhow::Result<()> {
        if self.quiet {
            return Ok(());
        }
        if self.json {
            let text = String::from_utf8_lossy(reply);
            output.json(&Line { reply: &text, is_part: reply.is_part() })?;
        } else if self.format == Format::Raw {
            output.bytes(reply)?;
        } else {
            let mut line = Vec::new();
            put_text(&mut line, reply);
            line.push(b'\n');
            output.bytes(&line)?;
        }
        output.flush()
    }
}

/// Why there is no reply.
enum Failure {
    Call(CallError),
    Output(anyhow::Error),
    Stopped,
}
