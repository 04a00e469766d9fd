//! How a command ends: exit codes, and the one line that says what went wrong.

use std::process::ExitCode;

use anyhow::Error;

use super::output::ReaderGone;
use super::signals::Stop;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// What was asked for is done.
    Done,
    /// A check failed, or messages were lost. The command has said so.
    Unsound,
    /// The time given was up. The command has said so.
    TimedOut,
    /// A signal came before the work was done.
    Stopped(Stop),
}

impl Ending {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unsound => 3,
            // As timeout(1) has it.
            Self::TimedOut => 124,
            Self::Stopped(stop) => stop.exit_code(),
        }
    }

    /// The word for it in JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unsound => "lost",
            Self::TimedOut => "timed_out",
            Self::Stopped(_) => "stopped",
        }
    }
}

/// The exit code for what a command returned; an error is told on stderr, in one line.
pub(super) fn exit_code(result: anyhow::Result<Ending>) -> ExitCode {
    match result {
        Ok(ending) => ending.code().into(),
        // Nobody is left to tell.
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            complain(&one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// Says something on stderr that is not a part of the output.
pub(super) fn complain(what: &str) {
    use std::io::Write;
    // Where stderr is closed, nobody is left to tell.
    let _ = writeln!(std::io::stderr().lock(), "memlane: {what}");
}

/// An error with its causes, outermost first. Some errors show their cause themselves: it isn't told twice.
fn one_line(error: &Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_cause_that_was_told_already_is_not_told_again() {
        let error = anyhow!("no space").context("can't write: no space").context("topic t");
        assert_eq!(one_line(&error), "topic t: can't write: no space");
    }
}
