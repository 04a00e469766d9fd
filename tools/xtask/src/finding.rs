//! What a check found wrong: where, what, and how to mend it.

use std::fmt;

/// One breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The file, relative to the root of the workspace, with `/` between its parts.
    pub(crate) file: String,
    /// The line, counted from 1; `None` if the finding is about the whole file.
    pub(crate) line: Option<usize>,
    /// What is wrong.
    pub(crate) problem: String,
    /// What to do about it.
    pub(crate) mend: String,
}

impl Finding {
    /// A finding at one line of `file`.
    pub(crate) fn at(file: &str, line: usize, problem: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { line: Some(line), ..Self::in_file(file, problem, mend) }
    }

    /// A finding about `file` as a whole.
    pub(crate) fn in_file(file: &str, problem: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, problem: problem.into(), mend: mend.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, problem, mend } = self;
        match line {
            Some(line) => write!(formatter, "{file}:{line}: {problem}; {mend}"),
            None => write!(formatter, "{file}: {problem}; {mend}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_prints_as_a_place_that_editors_can_follow() {
        let finding = Finding::at("core/a.rs", 7, "too long", "split it");
        assert_eq!(finding.to_string(), "core/a.rs:7: too long; split it");
    }
}
