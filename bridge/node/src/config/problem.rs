//! What is wrong with a configuration, and where: file, line, column, the line itself with a marker, and what would be right.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A line that is longer is shown up to here.
const SHOWN_CHARACTERS_MAX: usize = 160;

/// Something in a configuration that can't be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// Where in the line it begins: characters, from 1.
    pub column: usize,
    /// How many characters of the line it is about, at least one.
    pub width: usize,
    /// The line itself.
    pub text: String,
    /// What is wrong.
    pub what: String,
    /// What would be right; empty where that is said already.
    pub help: String,
}

impl Problem {
    /// About the bytes `span` of `source`, or the part of them in the first line.
    pub(crate) fn at(source: &str, span: Range<usize>, what: impl Into<String>, help: impl Into<String>) -> Self {
        let mut start = span.start.min(source.len());
        while !source.is_char_boundary(start) {
            start -= 1;
        }
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |at| start + at);
        let text: String = source[line_start..line_end].trim_end_matches('\r').chars().map(shown).collect();
        let column = source[line_start..start].chars().count() + 1;
        let end = span.end.clamp(start, line_end);
        let width = source.get(start..end).map_or(1, |marked| marked.trim_end().chars().count()).max(1);
        let line = source[..start].matches('\n').count() + 1;
        Self { line, column, width, text, what: what.into(), help: help.into() }
    }

    /// In one line, for a log.
    #[must_use]
    pub fn line_in(&self, path: &Path) -> String {
        let Self { line, column, what, help, .. } = self;
        let help = if help.is_empty() { String::new() } else { format!(" ({help})") };
        format!("{}:{line}:{column}: {what}{help}", path.display())
    }

    /// As people read it, with the line and a marker; `path` is the file.
    #[must_use]
    pub fn shown_in(&self, path: &Path) -> String {
        let Self { line, column, width, what, help, .. } = self;
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let text: String = self.text.chars().take(SHOWN_CHARACTERS_MAX).collect();
        let mut shown = format!("{}:{line}:{column}: {what}\n  {number} | {text}", path.display());
        if *column <= SHOWN_CHARACTERS_MAX {
            // Tabs stay tabs, so that the marker stands below what it marks.
            let before: String =
                self.text.chars().take(column - 1).map(|each| if each == '\t' { '\t' } else { ' ' }).collect();
            let marker = "^".repeat((*width).min(SHOWN_CHARACTERS_MAX));
            shown = format!("{shown}\n  {gutter} | {before}{marker}");
        }
        if !help.is_empty() {
            shown = format!("{shown}\n  {gutter} = {help}");
        }
        shown
    }
}

/// What a terminal may be shown of foreign text.
fn shown(character: char) -> char {
    if character.is_control() && character != '\t' { '\u{fffd}' } else { character }
}

/// All that was found wrong with a configuration, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file.
    pub path: PathBuf,
    /// What is wrong; at least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let between = if index == 0 { "" } else { "\n" };
            write!(formatter, "{between}{}", problem.shown_in(&self.path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_file_line_column_the_line_and_a_marker_below_it() {
        let source = "[node]\n\tbüs = \"x\"\n";
        let at = source.find("\"x\"").unwrap();
        let problem = Problem::at(source, at..at + 3, "no such thing", "write y");
        assert_eq!((problem.line, problem.column, problem.width), (2, 8, 3));
        let shown = problem.shown_in(Path::new("a.toml"));
        assert_eq!(shown, "a.toml:2:8: no such thing\n  2 | \tbüs = \"x\"\n    | \t      ^^^\n    = write y");
    }

    #[test]
    fn spans_that_leave_the_line_or_the_text_are_marked_as_far_as_they_go() {
        let source = "a = [\n1]";
        let problem = Problem::at(source, 4..8, "x", "");
        assert_eq!((problem.line, problem.column, problem.width), (1, 5, 1));
        for span in [8..8, 100..200] {
            let problem = Problem::at(source, span, "x", "");
            assert_eq!((problem.line, problem.column, problem.width), (2, 3, 1));
        }
        assert_eq!(Problem::at("", 0..0, "x", "").text, "");
    }

    #[test]
    fn characters_that_would_steer_a_terminal_are_not_shown() {
        let problem = Problem::at("a = \"\u{1b}[2J\"\r\n", 0..1, "x", "");
        assert!(!problem.text.contains('\u{1b}') && !problem.text.contains('\r'), "{:?}", problem.text);
    }
}
