//! A report as text for people, 80 columns wide.

use std::fmt;

use super::{Figures, Report, Row};
use crate::bench::placement::Part;
use crate::bench::statistics::Spread;

/// Columns of the first field, the name.
const NAME_COLUMNS: usize = 30;

/// The same where a name is indented below the one that it is compared with.
const PAIR_COLUMNS: usize = NAME_COLUMNS + 2;

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_head(formatter)?;
        for (part, title) in [(Part::Near, "NEAR"), (Part::Far, "FAR")] {
            self.write_part(formatter, part, title)?;
        }
        if self.batches.near + self.batches.far == 0 {
            writeln!(formatter, "\nno batch could be placed: is something else running?")?;
        }
        let all = || self.rows.iter().filter_map(|row| row.figures.all.as_ref());
        let has_ratios = all().any(|figures| figures.ratio.is_some() || figures.latency_ratio.is_some());
        if has_ratios && self.limit_ns.near.is_some() && self.limit_ns.far.is_some() {
            self.write_ratios_of_all(formatter)?;
        }
        self.write_comparisons(formatter)?;
        self.write_batch_sizes(formatter)?;
        for note in &self.notes {
            writeln!(formatter)?;
            write_wrapped(formatter, note)?;
        }
        let mut entries = self.headline.entries().peekable();
        if entries.peek().is_some() {
            writeln!(formatter)?;
        }
        for (name, value) in entries {
            let value = value.map_or_else(|| "–".to_owned(), number);
            writeln!(formatter, "{name:<NAME_COLUMNS$} {value:>12}")?;
        }
        Ok(())
    }
}

impl Report {
    fn write_head(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, cores, batches, thresholds, .. } = self;
        writeln!(formatter, "memlane bench {}: {} rounds in {:.1} s", self.bench, self.rounds, self.seconds)?;
        writeln!(
            formatter,
            "{}, {}, {} cores{}",
            machine.processor,
            machine.kernel,
            machine.cores,
            if machine.is_virtual { ", virtual" } else { "" }
        )?;
        let interrupted = self
            .interruptions
            .map_or_else(String::new, |times| format!(" (interrupted {} times)", grouped(times as f64)));
        writeln!(
            formatter,
            "initiator on core {}{interrupted}, responder on core {}",
            cores.initiator, cores.responder
        )?;
        writeln!(
            formatter,
            "alternating batches of {} ms, a raw handoff before and after each:\n\
             {} near ({:.0}–{:.0} ns), {} far ({:.0}–{:.0} ns), {} dropped",
            self.batch_ms,
            grouped(batches.near as f64),
            thresholds.sibling_ns_max,
            thresholds.near_ns_max,
            grouped(batches.far as f64),
            thresholds.far_ns_min,
            thresholds.disturbed_ns_min,
            grouped(batches.dropped as f64),
        )?;
        if thresholds.is_relative {
            writeln!(formatter, "the bounds of near and far are relative to the fastest handoff seen")?;
        }
        Ok(())
    }

    fn write_part(&self, formatter: &mut fmt::Formatter<'_>, part: Part, title: &str) -> fmt::Result {
        let Some(limit) = self.limit_ns.part(part) else {
            return Ok(());
        };
        let handoff = number(limit.p50);
        writeln!(
            formatter,
            "\n{title}: {} batches beside a plain raw handoff of {handoff} ns ({})",
            limit.count,
            range(limit)
        )?;
        writeln!(
            formatter,
            "{:<NAME_COLUMNS$} {:>8} {:<6} {:>13} {:>6} {:>12}",
            "median of batches", "", "", "p10–p90", "ratio", "p10–p90"
        )?;
        for row in &self.rows {
            if let Some(figures) = row.figures.part(part) {
                row.write_figures(formatter, figures)?;
            }
        }
        self.write_latencies(formatter, part)
    }

    fn write_latencies(&self, formatter: &mut fmt::Formatter<'_>, part: Part) -> fmt::Result {
        let mut is_first = true;
        for row in &self.rows {
            let Some(figures) = row.figures.part(part) else {
                continue;
            };
            let Some(latency) = &figures.latency else {
                continue;
            };
            if is_first {
                writeln!(
                    formatter,
                    "{:<NAME_COLUMNS$} {:>8} {:>8} {:>8} {:>11} {:>10}",
                    "one by one, ns", "p50", "p99", "p99.9", "max", "samples"
                )?;
            }
            is_first = false;
            writeln!(
                formatter,
                "{} {:>8} {:>8} {:>8} {:>11} {:>10}",
                name_field(&row.name),
                narrow(latency.p50_ns),
                narrow(latency.p99_ns),
                narrow(latency.p999_ns),
                number(latency.max_ns),
                grouped(latency.samples as f64)
            )?;
            if let Some(ratios) = &figures.latency_ratio {
                writeln!(
                    formatter,
                    "{:<NAME_COLUMNS$} {:>8.2} {:>8.2} {:>8.2}",
                    "  ratio to the limit's own", ratios.p50, ratios.p99, ratios.p999
                )?;
            }
        }
        Ok(())
    }

    fn write_batch_sizes(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "\n{:<NAME_COLUMNS$} {:>8}", "OPERATIONS PER BATCH", "median")?;
        for row in &self.rows {
            writeln!(formatter, "{} {:>8}", name_field(&row.name), grouped(row.operations_per_batch))?;
        }
        Ok(())
    }

    fn write_comparisons(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name_before = "";
        for (index, pair) in self.comparisons.iter().enumerate() {
            if index == 0 {
                writeln!(
                    formatter,
                    "\n{:<PAIR_COLUMNS$} {:>8} {:>8} {:>8} {:>13}",
                    "SIDE BY SIDE, MEDIAN RATIO", "near", "far", "both", "p10–p90"
                )?;
            }
            if pair.name != name_before {
                writeln!(formatter, "{} to", pair.name)?;
                name_before = &pair.name;
            }
            let median = |part: &Option<Spread>| part.map_or_else(|| "–".to_owned(), |spread| number(spread.p50));
            let ratio = &pair.ratio;
            let spread = ratio.all.as_ref().map_or_else(String::new, range);
            let name = field(&format!("  {}", pair.beside), PAIR_COLUMNS);
            let (near, far, both) = (median(&ratio.near), median(&ratio.far), median(&ratio.all));
            let line = format!("{name} {near:>8} {far:>8} {both:>8} {spread:>13}");
            writeln!(formatter, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn write_ratios_of_all(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "\n{:<NAME_COLUMNS$} {:>8} {:>13}   {:>22}",
            "RATIOS OVER BOTH", "median", "p10–p90", "of p50 / p99 / p99.9"
        )?;
        for row in &self.rows {
            let Some(figures) = &row.figures.all else {
                continue;
            };
            if figures.ratio.is_none() && figures.latency_ratio.is_none() {
                continue;
            }
            let (median, spread) =
                figures.ratio.map_or_else(Default::default, |ratio| (number(ratio.p50), range(&ratio)));
            let percentiles = figures.latency_ratio.map_or_else(String::new, |ratios| {
                format!("{:.2} / {:.2} / {:.2}", ratios.p50, ratios.p99, ratios.p999)
            });
            let line = format!("{} {median:>8} {spread:>13}   {percentiles:>22}", name_field(&row.name));
            writeln!(formatter, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl Row {
    fn write_figures(&self, formatter: &mut fmt::Formatter<'_>, figures: &Figures) -> fmt::Result {
        let (spread, unit) = match self.kind {
            "stream" => rate(&figures.operations_per_s),
            "handoff" => time(&figures.ns_per_operation, ["ns/hop", "µs/hop", "ms/hop"]),
            "alone" => time(&figures.ns_per_operation, ["ns/op", "µs/op", "ms/op"]),
            _ => time(&figures.ns_per_operation, ["ns", "µs", "ms"]),
        };
        let (ratio, ratio_range) =
            figures.ratio.map_or_else(Default::default, |ratio| (number(ratio.p50), range(&ratio)));
        let line = format!(
            "{} {:>8} {unit:<6} {:>13} {ratio:>6} {ratio_range:>12}",
            name_field(&self.name),
            number(spread.p50),
            range(&spread),
        );
        writeln!(formatter, "{}", line.trim_end())
    }
}

/// A paragraph of lines of at most 80 columns.
fn write_wrapped(formatter: &mut fmt::Formatter<'_>, paragraph: &str) -> fmt::Result {
    const COLUMNS: usize = 80;
    let mut line = String::new();
    for word in paragraph.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            writeln!(formatter, "{line}")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(formatter, "{line}")
}

/// The name in its column; one that is too long has a line of its own.
fn name_field(name: &str) -> String {
    field(name, NAME_COLUMNS)
}

fn field(name: &str, columns: usize) -> String {
    if name.chars().count() <= columns { format!("{name:<columns$}") } else { format!("{name}\n{:columns$}", "") }
}

/// A rate in the unit that suits its median.
fn rate(per_s: &Spread) -> (Spread, &'static str) {
    match per_s.p50 {
        rate if rate >= 1e6 => (divided(per_s, 1e6), "M/s"),
        rate if rate >= 1e3 => (divided(per_s, 1e3), "k/s"),
        _ => (*per_s, "/s"),
    }
}

/// A time in the unit that suits it: nanoseconds up to 100,000.
fn time(ns: &Spread, units: [&'static str; 3]) -> (Spread, &'static str) {
    match ns.p90 {
        p90 if p90 >= 1e8 => (divided(ns, 1e6), units[2]),
        p90 if p90 >= 1e5 => (divided(ns, 1e3), units[1]),
        _ => (*ns, units[0]),
    }
}

fn divided(spread: &Spread, divisor: f64) -> Spread {
    Spread { count: spread.count, p10: spread.p10 / divisor, p50: spread.p50 / divisor, p90: spread.p90 / divisor }
}

/// A time in a column of nanoseconds; milliseconds if it would be too wide.
fn narrow(ns: f64) -> String {
    if ns < 999_999.5 { number(ns) } else { format!("{} ms", number(ns / 1e6)) }
}

fn range(spread: &Spread) -> String {
    format!("{}–{}", number(spread.p10), number(spread.p90))
}

/// Two or three significant digits, whole numbers from 100 on, thousands apart.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => return grouped(value.round()),
    };
    format!("{value:.digits$}")
}

/// A whole number, thousands apart.
fn grouped(whole: f64) -> String {
    let digits = format!("{:.0}", whole.abs());
    let mut text = String::from(if whole < 0.0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        let cases = [
            (0.0, "0.00"),
            (0.754, "0.75"),
            (9.999, "10.0"),
            (65.04, "65.0"),
            (99.96, "100"),
            (1_234_567.8, "1,234,568"),
            (-1_000.0, "-1,000"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_name_that_is_too_long_leaves_the_columns_in_place() {
        assert_eq!(name_field("short").chars().count(), NAME_COLUMNS);
        let long = "x".repeat(NAME_COLUMNS + 1);
        let field = name_field(&long);
        let (first, second) = field.split_once('\n').unwrap();
        assert_eq!(first, long);
        assert_eq!(second.chars().count(), NAME_COLUMNS);
    }

    #[test]
    fn rates_and_times_are_told_in_the_unit_that_suits_them() {
        let spread = |p50| Spread { count: 1, p10: p50 / 2.0, p50, p90: p50 * 2.0 };
        let (scaled, unit) = rate(&spread(60e6));
        assert_eq!((scaled.p10, scaled.p50, unit), (30.0, 60.0, "M/s"));
        assert_eq!((rate(&spread(5e3)).1, rate(&spread(5.0)).1), ("k/s", "/s"));
        let units = ["ns", "µs", "ms"];
        let (scaled, unit) = time(&spread(60e3), units);
        assert_eq!((scaled.p50, unit), (60.0, "µs"));
        assert_eq!((time(&spread(60.0), units).1, time(&spread(60e6), units).1), ("ns", "ms"));
        assert_eq!((narrow(999_999.0), narrow(8_595_722.0)), ("999,999".to_owned(), "8.60 ms".to_owned()));
    }
}
