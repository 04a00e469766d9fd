//! `format`: rustfmt has nothing to change.

use std::path::Path;

use anyhow::{Context, ensure};

use crate::finding::Finding;
use crate::workspace::Workspace;

/// Runs rustfmt over the workspace without changing anything.
pub(super) fn run(workspace: &Workspace) -> anyhow::Result<Vec<Finding>> {
    let output = workspace.cargo().args(["fmt", "--all", "--check"]).output().context("cargo fmt can't be run")?;
    let differences = String::from_utf8_lossy(&output.stdout);
    let findings = findings(&differences, |path| workspace.relative(path));
    ensure!(
        output.status.success() || !findings.is_empty(),
        "cargo fmt --all --check: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(findings)
}

/// The first difference in each file, from what rustfmt printed (`Diff in <path>:<line>:`).
fn findings(differences: &str, relative: impl Fn(&Path) -> String) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for place in differences.lines().filter_map(|line| line.strip_prefix("Diff in ")) {
        let (path, line) = match place.trim_end_matches(':').rsplit_once(':') {
            Some((path, line)) => (path, line.parse().ok()),
            None => (place, None),
        };
        let file = relative(Path::new(path));
        if findings.iter().all(|finding| finding.file != file) {
            let finding = Finding::in_file(&file, "not formatted", "run `cargo fmt --all`");
            findings.push(Finding { line, ..finding });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_named_once_at_its_first_difference() {
        let differences = "Diff in /made-up/a.rs:3:\n-x\n+y\nDiff in /made-up/a.rs:9:\n-x\n";
        let found = findings(differences, |path| path.display().to_string());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].file.as_str(), found[0].line), ("/made-up/a.rs", Some(3)));
    }
}
