//! `memlane journal verify`: whether everything is as it was written.

use std::path::PathBuf;

use clap::Args;
use memlane::journal::{FindingKind, JournalError, Report};
use serde::Serialize;

use super::super::ending::Ending;
use super::super::output::{Output, print_json};
use super::super::units;

const AFTER_HELP: &str = "\
Reads every byte. What lies behind the last whole batch never counted, as while a recorder is at work, or after it died: it is told as \
`unfinished`, and is no damage; the next recorder cuts it off.

Exit code 3: something is damaged or missing; each is told with its file, its place and its position.";

/// Check journals: every sum, every frame, every segment
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Verify {
    /// A journal, or a directory of journals
    directory: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a journal was found to be.
#[derive(Debug, Serialize)]
struct Verified {
    topic: String,
    is_whole: bool,
    segments: u64,
    batches: u64,
    messages: u64,
    bytes: u64,
    gaps: u64,
    findings: Vec<Found>,
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
struct Found {
    kind: &'static str,
    path: PathBuf,
    offset: u64,
    position: u64,
    what: String,
}

impl Verify {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        let mut all = Vec::new();
        for (topic, path) in super::journals(&self.directory)? {
            let report = super::open(&path).and_then(|journal| Ok(journal.verify()?));
            all.push(match report {
                Ok(report) => Verified::of(topic, report),
                // What is wrong with the journal itself is a finding, what is wrong with the system is not.
                Err(error) => match error.downcast::<JournalError>()? {
                    error @ JournalError::Storage { .. } => return Err(error.into()),
                    error => Verified::not_a_journal(topic, path, &error),
                },
            });
        }
        let is_whole = all.iter().all(|verified| verified.is_whole);
        if self.json {
            print_json(&all)?;
        } else {
            let mut output = Output::stdout()?;
            all.iter().flat_map(Verified::lines).try_for_each(|line| output.line(&line))?;
            output.flush()?;
        }
        Ok(if is_whole { Ending::Done } else { Ending::Unsound })
    }
}

impl Verified {
    fn of(topic: String, report: Report) -> Self {
        let is_whole = report.is_whole();
        let Report { segments, batches, messages, bytes, gaps, findings } = report;
        let findings = findings.into_iter().map(|finding| Found {
            kind: match finding.kind {
                FindingKind::Damaged => "damaged",
                FindingKind::Unfinished => "unfinished",
            },
            path: finding.path,
            offset: finding.offset,
            position: finding.position,
            what: finding.what,
        });
        Self { topic, is_whole, segments, batches, messages, bytes, gaps, findings: findings.collect() }
    }

    fn not_a_journal(topic: String, path: PathBuf, error: &JournalError) -> Self {
        let found = Found { kind: "damaged", path, offset: 0, position: 0, what: error.to_string() };
        Self { topic, is_whole: false, segments: 0, batches: 0, messages: 0, bytes: 0, gaps: 0, findings: vec![found] }
    }

    fn lines(&self) -> Vec<String> {
        let segments = if self.segments == 1 { "segment" } else { "segments" };
        let verdict = if self.is_whole { "whole" } else { "DAMAGED" };
        let gaps = if self.gaps == 0 { String::new() } else { format!(", {} gaps", units::count(self.gaps)) };
        let mut lines = vec![format!(
            "{}: {verdict}: {} messages in {} batches and {} {segments}, {}{gaps}",
            self.topic,
            units::count(self.messages),
            units::count(self.batches),
            units::count(self.segments),
            units::bytes(self.bytes),
        )];
        for Found { kind, path, offset, position, what } in &self.findings {
            lines.push(format!("  {kind}: {} at byte {offset}, position {position}: {what}", path.display()));
        }
        lines
    }
}
