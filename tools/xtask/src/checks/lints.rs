//! `lints`: clippy has nothing to say, tests, benches and examples included.

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::finding::Finding;
use crate::workspace::Workspace;

/// What to ask of cargo: every target, and the rest too when one fails.
const COMMAND: [&str; 5] = ["clippy", "--workspace", "--all-targets", "--keep-going", "--quiet"];

/// Runs clippy over the workspace with warnings as errors.
pub(super) fn run(workspace: &Workspace) -> anyhow::Result<Vec<Finding>> {
    let output = workspace
        .cargo()
        .args(COMMAND)
        .args(["--message-format=json", "--", "-D", "warnings"])
        .output()
        .context("cargo clippy can't be run")?;
    let findings = findings(&String::from_utf8_lossy(&output.stdout));
    ensure!(
        output.status.success() || !findings.is_empty(),
        "cargo clippy: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(findings)
}

/// A line of cargo's JSON output. Lines of other kinds have no message.
#[derive(Deserialize)]
struct Line {
    /// The diagnostic, if the line is about one.
    message: Option<Diagnostic>,
}

/// A diagnostic of rustc or clippy.
#[derive(Deserialize)]
struct Diagnostic {
    /// What is wrong.
    message: String,
    /// `error`, `warning` or weaker.
    level: String,
    /// The lint or error code; errors of syntax have none.
    code: Option<Code>,
    /// The places that it is about.
    spans: Vec<Span>,
}

/// The name of a lint or of an error.
#[derive(Deserialize)]
struct Code {
    /// Such as `clippy::needless_return` or `E0308`.
    code: String,
}

/// A place that a diagnostic is about.
#[derive(Deserialize)]
struct Span {
    /// Relative to the root of the workspace.
    file_name: String,
    /// Counted from 1.
    line_start: usize,
    /// Whether it is the place to look at first.
    is_primary: bool,
}

/// The errors with a place in cargo's JSON output. One that concerns several targets of a package counts once.
fn findings(output: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let diagnostics = output
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .filter_map(|line| line.message)
        .filter(|diagnostic| diagnostic.level == "error");
    for Diagnostic { message, code, spans, .. } in diagnostics {
        let Some(span) = spans.iter().find(|span| span.is_primary) else {
            continue;
        };
        let problem = match code {
            Some(Code { code }) => format!("{message} ({code})"),
            None => message,
        };
        let mend = "`cargo clippy --workspace --all-targets` explains";
        let finding = Finding::at(&span.file_name, span.line_start, problem, mend);
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_with_a_place_are_found_once() {
        let error = r#"{"reason":"compiler-message","message":{"message":"unneeded `return`","level":"error",
            "code":{"code":"clippy::needless_return"},
            "spans":[{"file_name":"core/a.rs","line_start":7,"is_primary":true}]}}"#
            .replace('\n', " ");
        let summary = r#"{"message":{"message":"aborting","level":"error","code":null,"spans":[]}}"#;
        let artifact = r#"{"reason":"compiler-artifact","filenames":[]}"#;
        let found = findings(&[error.as_str(), artifact, error.as_str(), summary, "not JSON"].join("\n"));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].file.as_str(), found[0].line), ("core/a.rs", Some(7)));
        assert_eq!(found[0].problem, "unneeded `return` (clippy::needless_return)");
    }
}
