//! The workspace: what cargo knows about it, its Rust files, and how to run cargo in it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::metadata::Metadata;
use crate::source::Source;

/// Everything that the checks look at, read once.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// What cargo knows.
    pub(crate) metadata: Metadata,
    /// Every Rust file that git tracks or would track, in the order of their paths.
    pub(crate) sources: Vec<Source>,
}

impl Workspace {
    /// Reads the workspace to which this program belongs.
    ///
    /// Errors: cargo or git failed, or a file that git lists can't be read.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let metadata = load_metadata()?;
        let root = &metadata.workspace_root;
        let sources = list_files(root)?
            .into_iter()
            .filter(|path| path.ends_with(".rs"))
            .map(|path| {
                let text = fs::read_to_string(root.join(&path)).with_context(|| path.clone())?;
                Ok(Source { path, text })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { metadata, sources })
    }

    /// A call of cargo at the root of the workspace.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.metadata.workspace_root);
        command
    }

    /// The text of the file at `path`, relative to the root.
    pub(crate) fn read(&self, path: &str) -> anyhow::Result<String> {
        fs::read_to_string(self.metadata.workspace_root.join(path)).with_context(|| path.to_owned())
    }

    /// `path` relative to the root, with `/` between its parts; `path` itself if it lies elsewhere.
    pub(crate) fn relative(&self, path: &Path) -> String {
        relative(&self.metadata.workspace_root, path)
    }

    /// The Rust file at `path`, relative to the root, if git tracks it or would.
    pub(crate) fn source(&self, path: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.path == path)
    }
}

/// `path` relative to `root`, with `/` between its parts; `path` itself if it lies elsewhere.
fn relative(root: &Path, path: &Path) -> String {
    let inner = path.strip_prefix(root).unwrap_or(path);
    inner.to_string_lossy().replace('\\', "/")
}

/// The cargo that started this program.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// Asks cargo about the workspace that holds this package.
fn load_metadata() -> anyhow::Result<Metadata> {
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .output()
        .context("cargo can't be run")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cargo metadata wrote what was not expected")
}

/// The files under `root` that git tracks or would track, and that are there, in order.
fn list_files(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()
        .context("git can't be run")?;
    ensure!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    Ok(names.split_terminator('\0').filter(|name| root.join(name).is_file()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_loads_with_this_file_in_it() {
        let workspace = Workspace::load().unwrap();
        assert!(workspace.source("tools/xtask/src/workspace.rs").is_some());
        assert!(workspace.metadata.packages.iter().any(|package| package.name == "memlane-xtask"));
    }

    #[test]
    fn paths_outside_the_root_stay_whole() {
        assert_eq!(relative(Path::new("/made-up"), Path::new("/made-up/core/a.rs")), "core/a.rs");
        assert_eq!(relative(Path::new("/made-up"), Path::new("/other/a.rs")), "/other/a.rs");
    }
}
