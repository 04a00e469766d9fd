//! `layers`: a crate imports lower layers only, and every manifest inherits what the workspace decides.

use std::collections::BTreeSet;

use crate::finding::Finding;
use crate::metadata::{DependencyKind, Package};
use crate::workspace::Workspace;

/// The layer of every package, as the design draws them, but for the node, which the command runs. A package imports lower numbers only.
const LAYERS: [(&str, u8); 12] = [
    ("memlane-shm", 0),
    ("memlane-ring", 1),
    ("memlane-derive", 2),
    ("memlane-journal", 2),
    ("memlane", 3),
    ("memlane-bridge-protocol", 4),
    ("memlane-bridge-quic", 5),
    ("memlane-node", 6),
    ("memlane-cli", 7),
    ("memlane-xtask", 7),
    ("memlane-benches", 7),
    ("memlane-tests", 7),
];

/// Packages under this directory need no line in `LAYERS`: they are all of one layer.
const BINDINGS: (&str, u8) = ("bindings/", 5);

/// What to do about a package without a layer.
const ADD_LAYER: &str = "add it to LAYERS in tools/xtask/src/checks/layers.rs, as the design places it";

/// Keys that a manifest inherits with `key.workspace = true`: the table (none for the top), then the key.
const INHERITED: [(Option<&str>, &str); 3] =
    [(None, "lints"), (Some("package"), "rust-version"), (Some("package"), "license")];

/// Checks the manifest of every package.
pub(super) fn run(workspace: &Workspace) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let packages = &workspace.metadata.packages;
    let names = packages.iter().map(|package| package.name.as_str()).collect();
    for package in packages {
        let path = workspace.relative(&package.manifest_path);
        let text = workspace.read(&path)?;
        let manifest = Manifest { path: &path, text: &text };
        findings.extend(upward_dependencies(package, &names, manifest));
        findings.extend(not_inherited(manifest)?);
    }
    Ok(findings)
}

/// A manifest as a file.
#[derive(Clone, Copy)]
struct Manifest<'a> {
    /// Relative to the root of the workspace.
    path: &'a str,
    /// All of it.
    text: &'a str,
}

impl Manifest<'_> {
    /// The first line that sets `key`, as a key or as a table of its own, counted from 1.
    fn line_of(&self, key: &str) -> Option<usize> {
        let sets_key = |line: &str| {
            let table = line.trim_matches(['[', ']']);
            let name = table.rsplit_once("dependencies.").map_or(table, |(_, name)| name);
            name.strip_prefix(key)
                .is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || "-_".contains(next)))
        };
        self.text.lines().position(sets_key).map(|index| index + 1)
    }

    /// A finding at the line that sets `key`, or about the whole file.
    fn finding(&self, key: &str, problem: String, mend: &str) -> Finding {
        Finding { line: self.line_of(key), ..Finding::in_file(self.path, problem, mend) }
    }
}

/// The layer of the package `name`, whose manifest lies at `path`; `None` if nobody placed it yet.
fn layer_of(name: &str, path: &str) -> Option<u8> {
    let (bindings, bindings_layer) = BINDINGS;
    if path.starts_with(bindings) {
        return Some(bindings_layer);
    }
    LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer)
}

/// Dependencies of `package` on one of `names` (the packages of the workspace) in its own layer or a higher one.
/// Those of its tests are exempt.
fn upward_dependencies(package: &Package, names: &BTreeSet<&str>, manifest: Manifest<'_>) -> Vec<Finding> {
    let Some(own) = layer_of(&package.name, manifest.path) else {
        let problem = format!("the package `{}` has no layer", package.name);
        return vec![manifest.finding("name", problem, ADD_LAYER)];
    };
    let mut findings = Vec::new();
    for dependency in &package.dependencies {
        let is_ours = dependency.path.is_some() || names.contains(dependency.name.as_str());
        if !is_ours || dependency.kind == DependencyKind::Development {
            continue;
        }
        let name = &dependency.name;
        // Nothing imports the bindings, so only `LAYERS` is asked.
        match layer_of(name, "") {
            Some(other) if other < own => {}
            Some(other) => {
                let problem = format!("`{}` (layer {own}) depends on `{name}` (layer {other})", package.name);
                let mend = "depend on lower layers only, or move the code that needs it up";
                findings.push(manifest.finding(name, problem, mend));
            }
            None => {
                let problem = format!("the dependency `{name}` has no layer");
                findings.push(manifest.finding(name, problem, ADD_LAYER));
            }
        }
    }
    findings
}

/// Keys that `manifest` sets itself, or not at all, instead of inheriting them.
fn not_inherited(manifest: Manifest<'_>) -> anyhow::Result<Vec<Finding>> {
    let top: toml::Table = toml::from_str(manifest.text)?;
    let mut findings = Vec::new();
    for (table, key) in INHERITED {
        let place = match table {
            Some(table) => top.get(table).and_then(|table| table.get(key)),
            None => top.get(key),
        };
        let inherits = place.and_then(|value| value.get("workspace")).and_then(toml::Value::as_bool);
        if inherits != Some(true) {
            let problem = format!("`{key}` is not inherited from the workspace");
            let mend = match table {
                Some(table) => format!("write `{key}.workspace = true` in [{table}]"),
                None => format!("write `workspace = true` in [{key}]"),
            };
            findings.push(manifest.finding(key, problem, &mend));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Dependency;

    /// What is found in the made-up package `name` with one dependency.
    fn found(name: &str, path: &str, dependency: (&str, DependencyKind)) -> Vec<Finding> {
        let (dependency, kind) = dependency;
        let package = Package {
            name: name.to_owned(),
            manifest_path: format!("/made-up/{path}").into(),
            dependencies: vec![Dependency { name: dependency.to_owned(), kind, path: None }],
            targets: Vec::new(),
        };
        let text = format!("[package]\nname = \"{name}\"\n[dependencies]\n{dependency} = \"1\"\n");
        let names = LAYERS.iter().map(|(name, _)| *name).chain(["memlane-novel"]).collect();
        upward_dependencies(&package, &names, Manifest { path, text: &text })
    }

    #[test]
    fn lower_layers_may_be_imported() {
        let normal = DependencyKind::Normal;
        assert_eq!(found("memlane", "core/bus/Cargo.toml", ("memlane-ring", normal)), []);
        assert_eq!(found("memlane", "core/bus/Cargo.toml", ("rkyv", normal)), []);
    }

    #[test]
    fn higher_and_equal_layers_are_refused_at_their_line() {
        for (kind, dependency) in [(DependencyKind::Normal, "memlane"), (DependencyKind::Build, "memlane-derive")] {
            let found = found("memlane-journal", "core/journal/Cargo.toml", (dependency, kind));
            assert_eq!(found.len(), 1, "{dependency}");
            assert_eq!(found[0].line, Some(4));
            assert!(found[0].problem.contains(dependency));
        }
    }

    #[test]
    fn dependencies_of_tests_are_exempt() {
        let development = DependencyKind::Development;
        assert_eq!(found("memlane-shm", "core/shm/Cargo.toml", ("memlane-cli", development)), []);
    }

    #[test]
    fn package_without_a_layer_is_told_where_to_be_added() {
        let normal = DependencyKind::Normal;
        for (package, dependency) in [("memlane-novel", "memlane-shm"), ("memlane-cli", "memlane-novel")] {
            let found = found(package, "tools/novel/Cargo.toml", (dependency, normal));
            assert_eq!(found.len(), 1);
            assert!(found[0].problem.contains("`memlane-novel` has no layer"));
            assert!(found[0].mend.contains("layers.rs"));
        }
    }

    #[test]
    fn bindings_share_a_layer_whatever_their_names() {
        let path = "bindings/python/Cargo.toml";
        assert_eq!(found("memlane-python", path, ("memlane", DependencyKind::Normal)), []);
        assert_eq!(found("memlane-python", path, ("memlane-cli", DependencyKind::Normal)).len(), 1);
    }

    #[test]
    fn keys_that_are_not_inherited_are_found() {
        let text = "[package]\nname = \"a\"\nrust-version = \"1.90\"\nlicense.workspace = true\n";
        let found = not_inherited(Manifest { path: "core/a/Cargo.toml", text }).unwrap();
        let places: Vec<_> = found.iter().map(|finding| (finding.line, &*finding.mend)).collect();
        assert_eq!(
            places,
            [
                (None, "write `workspace = true` in [lints]"),
                (Some(3), "write `rust-version.workspace = true` in [package]"),
            ]
        );
    }

    #[test]
    fn line_of_a_key_is_not_that_of_a_longer_key() {
        let text = "memlane-ring.workspace = true\nmemlane = \"1\"\n[dependencies.libc]\n[lints]\n";
        let manifest = Manifest { path: "Cargo.toml", text };
        assert_eq!(manifest.line_of("memlane"), Some(2));
        assert_eq!(manifest.line_of("libc"), Some(3));
        assert_eq!(manifest.line_of("lints"), Some(4));
        assert_eq!(manifest.line_of("absent"), None);
    }
}
