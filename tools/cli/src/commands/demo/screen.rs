//! How far everybody is, while it lasts: redrawn on a terminal, else a line each second.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::cast::Cast;
use super::wire::{Progress, Report};
use crate::commands::ending::complain;
use crate::commands::output::Output;
use crate::commands::units;

/// How often a line is printed where nothing can be redrawn.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// The live part of the output.
#[derive(Debug)]
pub(super) struct Screen {
    rows: Vec<Row>,
    bars: MultiProgress,
    is_terminal: bool,
    is_quiet: bool,
    line_next: Instant,
}

#[derive(Debug)]
struct Row {
    name: String,
    bar: ProgressBar,
    last: Progress,
    messages_per_s: f64,
}

impl Screen {
    /// A screen for the cast, in its order, and the publisher. Quiet, where JSON is wanted and nobody looks on.
    pub(super) fn open(cast: &Cast, json: bool) -> Self {
        let bars = MultiProgress::new();
        let is_terminal = !bars.is_hidden();
        let names = cast
            .subscribers
            .iter()
            .map(|member| format!("{:<8}{:<8}{}", member.name, member.part.manner.word(), member.part.waiting.word()));
        let row =
            |name: String| Row { name, bar: ProgressBar::hidden(), last: Progress::default(), messages_per_s: 0.0 };
        let mut rows: Vec<Row> = names.chain(["publisher".to_owned()]).map(row).collect();
        if is_terminal {
            // The publisher stands first.
            rows.rotate_right(1);
            for row in &mut rows {
                row.bar = bars.add(ProgressBar::no_length());
                if let Ok(style) = ProgressStyle::with_template("{msg}") {
                    row.bar.set_style(style);
                }
            }
            rows.rotate_left(1);
        }
        Self { rows, bars, is_terminal, is_quiet: json && !is_terminal, line_next: Instant::now() + LINE_EVERY }
    }

    /// Says what is going on, before anything else.
    pub(super) fn say(&self, text: &str, json: bool) -> anyhow::Result<()> {
        if json {
            return Ok(());
        }
        let mut output = Output::stdout()?;
        output.line(text)?;
        output.line("")?;
        output.flush()
    }

    /// Takes note of what a process told.
    pub(super) fn take(&mut self, child: usize, report: &Report) {
        let row = &mut self.rows[child];
        if let Report::Progress(progress) = report {
            let span = progress.seconds - row.last.seconds;
            if span > 0.0 {
                row.messages_per_s = progress.messages.saturating_sub(row.last.messages) as f64 / span;
            }
            row.last = *progress;
            row.bar.set_message(row.text());
        }
    }

    /// Prints a line if it is time to, where nothing can be redrawn.
    pub(super) fn refresh(&mut self) {
        let now = Instant::now();
        if self.is_terminal || self.is_quiet || now < self.line_next {
            return;
        }
        self.line_next = now + LINE_EVERY;
        let parts: Vec<String> = self.rows.iter().map(Row::short_text).collect();
        complain(&parts.join(" | "));
    }

    /// Makes room for what comes next.
    pub(super) fn close(&mut self) {
        self.rows.iter().for_each(|row| row.bar.finish_and_clear());
        // What can't be cleared stays, above the result.
        let _ = self.bars.clear();
    }
}

impl Row {
    fn text(&self) -> String {
        let Progress { messages, is_flat_out, latency, .. } = self.last;
        let figures = match latency {
            Some(latency) if latency.count > 0 => {
                format!("p50 {:>7}  p99 {:>7}", units::nanoseconds(latency.p50_ns), units::nanoseconds(latency.p99_ns))
            }
            None if is_flat_out => "flat out".to_owned(),
            None => "paced".to_owned(),
            Some(_) => String::new(),
        };
        format!("{:<22}{:>12}  {:>9}  {figures}", self.name, units::count(messages), units::rate(self.messages_per_s))
    }

    fn short_text(&self) -> String {
        let name = self.name.split_whitespace().next().unwrap_or_default();
        let latency = self.last.latency.filter(|latency| latency.count > 0);
        let figures =
            latency.map_or_else(String::new, |latency| format!(" p50 {}", units::nanoseconds(latency.p50_ns)));
        format!("{name} {}{figures}", units::rate(self.messages_per_s))
    }
}
