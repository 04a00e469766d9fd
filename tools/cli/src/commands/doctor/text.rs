//! The checks as text: a table, by groups, as wide as the terminal.
//!
//! Where it is narrow, why something matters is said below what was found, and only where there is something to mend;
//! where there is room, it stands beside it.

use console::{measure_text_width, style};

use super::super::table::{Lean, Table};
use super::Report;
use super::check::{Check, Verdict};

/// More is hard to read.
const FOUND_COLUMNS_MAX: usize = 64;
/// Before a command that mends.
const ARROW: &str = "→ ";
/// How far to the right it stands, where it would not fit below what was found.
const INDENT: usize = 2;

/// The lines of a report, for a terminal of so many columns.
pub(super) fn lines(report: &Report, columns: usize) -> Vec<String> {
    let names = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let found_at = "UNKNOWN".len() + 2 + names + 2;
    let why_columns = report.checks.iter().map(|check| measure_text_width(check.why)).max().unwrap_or(0);
    let is_wide = columns >= found_at + FOUND_COLUMNS_MAX + 2 + why_columns;
    let found_columns = columns.saturating_sub(found_at).clamp(20, FOUND_COLUMNS_MAX);
    let mut heads = vec![("VERDICT", Lean::Left), ("CHECK", Lean::Left), ("FOUND", Lean::Left)];
    heads.extend(is_wide.then_some(("WHY IT MATTERS", Lean::Left)));
    let mut table = Table::new(&heads);
    let heights: Vec<usize> =
        report.checks.iter().map(|check| add_rows(&mut table, check, found_columns, is_wide)).collect();
    let mut rows = table.lines().into_iter();
    let mut lines: Vec<String> = rows.next().map(|head| style(head).bold().to_string()).into_iter().collect();
    let mut group = None;
    for (check, height) in report.checks.iter().zip(heights) {
        if group != Some(check.group) {
            group = Some(check.group);
            lines.extend([String::new(), style(check.group.heading()).bold().to_string()]);
        }
        lines.extend(rows.by_ref().take(height));
        lines.extend(mend_lines(&check.mend, found_at, columns));
    }
    lines.extend([String::new(), summary(report)]);
    lines
}

/// Adds what was found and why it matters; returns how many rows that took.
fn add_rows(table: &mut Table, check: &Check, found_columns: usize, is_wide: bool) -> usize {
    let mut found = wrap(&check.found, found_columns);
    let mut beside = Vec::new();
    if is_wide {
        beside.push(check.why.to_owned());
    } else if !check.mend.is_empty() {
        found.extend(wrap(check.why, found_columns).iter().map(|line| style(line).dim().to_string()));
    }
    let height = found.len().max(beside.len());
    let line = |lines: &[String], index: usize| lines.get(index).cloned().unwrap_or_default();
    for index in 0..height {
        let (verdict, name) = match index {
            0 => (styled(check.verdict), check.name.to_owned()),
            _ => (String::new(), String::new()),
        };
        table.row([verdict, name, line(&found, index), line(&beside, index)]);
    }
    height
}

fn styled(verdict: Verdict) -> String {
    let word = style(verdict.word());
    match verdict {
        Verdict::Ok => word.green(),
        Verdict::Unknown => word.dim(),
        Verdict::Warn => word.yellow(),
        Verdict::Bad => word.red().bold(),
    }
    .to_string()
}

/// Ways to mend, below what was found; or all further left if a command would not fit there, since it is to be copied whole.
fn mend_lines(mends: &[String], found_at: usize, columns: usize) -> Vec<String> {
    let arrow_columns = measure_text_width(ARROW);
    // What begins with a condition, such as "in a container: …", is a sentence and may be broken.
    let mut commands = mends.iter().filter(|mend| !mend.contains(": "));
    let fit = commands.all(|command| found_at + arrow_columns + measure_text_width(command) <= columns);
    let indent = if fit { found_at } else { INDENT };
    let room = columns.saturating_sub(indent + arrow_columns);
    let lines_of = |mend: &String| {
        let starts = std::iter::once(ARROW).chain(std::iter::repeat("  "));
        starts.zip(wrap(mend, room)).map(|(start, part)| format!("{:indent$}{start}{part}", "")).collect::<Vec<_>>()
    };
    mends.iter().flat_map(lines_of).collect()
}

fn summary(report: &Report) -> String {
    let Report { ok, unknown, warn, bad, .. } = report;
    let advice = if warn + bad > 0 { "; → is what to do, most often as root" } else { "" };
    format!("{ok} ok, {unknown} unknown, {warn} warn, {bad} bad{advice}")
}

/// Breaks at spaces into lines of at most so many columns; a word that is longer has a line to itself.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if measure_text_width(line) + 1 + measure_text_width(word) <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use memlane_shm::clock::TickSource;

    use super::super::made_up::MadeUp;
    use super::*;

    /// A host on which as much as possible is to be mended.
    fn poor_host() -> MadeUp {
        let mut host = MadeUp::new();
        host.room(|room| room.free_bytes = 1);
        host.mount("tmpfs", "rw");
        host.proc("self/limits", "Max locked memory  65536  65536  bytes\n");
        host.proc("swaps", "head\n/dev/a partition 1024 0 -2\n");
        host.proc("sys/kernel/osrelease", "5.4.0");
        host.sys("devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
        host.sys("devices/system/cpu/isolated", "\n");
        host.sys("devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
        host.sys("fs/cgroup/a/cpu.max", "1 2\n");
        host.sys("fs/cgroup/a/memory.max", "1\n");
        host.host.calls.tick_source = TickSource::Monotonic;
        (host.host.calls.has_membarrier, host.host.calls.has_futex_waitv) = (false, false);
        host
    }

    #[test]
    fn lines_fit_the_terminal_and_commands_stay_whole() {
        let host = poor_host();
        let report = Report::of(&host.host);
        assert_eq!(
            (report.verdict, report.ok),
            (Verdict::Bad, 3),
            "only the directory, its backing and the number of cpus are ok"
        );
        for columns in [80, 120, 150, 200] {
            let lines = lines(&report, columns);
            for line in &lines {
                // The directories of a test are as long as they happen to be.
                let has_path = line.contains(&*host.host.root.path.to_string_lossy());
                assert!(has_path || measure_text_width(line) <= columns, "{columns}: {line}");
            }
            let clock = "→ echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource";
            assert!(lines.iter().any(|line| line.ends_with(clock)), "{columns}");
        }
    }

    #[test]
    fn why_it_matters_is_always_told_where_there_is_room_and_else_where_there_is_something_to_mend() {
        let host = MadeUp::new();
        let report = Report::of(&host.host);
        assert_eq!((report.verdict, report.ok), (Verdict::Ok, report.checks.len()));
        let text = |columns| lines(&report, columns).join("\n");
        assert!(text(200).contains("WHY IT MATTERS") && text(200).contains(report.checks[0].why));
        assert!(!text(80).contains("WHY IT MATTERS") && !text(80).contains("A topic reserves"));
        assert!(text(80).ends_with("\n15 ok, 0 unknown, 0 warn, 0 bad"), "{}", text(80));
        let poor = poor_host();
        assert!(lines(&Report::of(&poor.host), 80).join("\n").contains("A topic reserves"));
    }

    #[test]
    fn text_is_broken_at_spaces() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a muchtoolongword b", 5), ["a", "muchtoolongword", "b"]);
        assert_eq!(wrap("", 5), [""]);
    }
}
