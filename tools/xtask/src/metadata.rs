//! The parts of `cargo metadata` that the checks read.

use std::path::PathBuf;

use serde::Deserialize;

/// The workspace as cargo sees it.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// The members of the workspace.
    pub(crate) packages: Vec<Package>,
    /// The directory of the root manifest.
    pub(crate) workspace_root: PathBuf,
    /// Where cargo builds.
    pub(crate) target_directory: PathBuf,
}

/// A member of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// The name by which other packages depend on it.
    pub(crate) name: String,
    /// Its manifest, as an absolute path.
    pub(crate) manifest_path: PathBuf,
    /// What it depends on, in every kind and for every platform.
    pub(crate) dependencies: Vec<Dependency>,
    /// What cargo builds of it: libraries, programs, tests, benches, examples, build scripts.
    pub(crate) targets: Vec<Target>,
}

/// A dependency of a package.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The name of the package depended on, whatever it is renamed to.
    pub(crate) name: String,
    /// When it is needed.
    pub(crate) kind: DependencyKind,
    /// Where it lies, if it is depended on by path, as our own packages are.
    pub(crate) path: Option<PathBuf>,
}

/// When a dependency is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DependencyKind {
    /// By the package itself.
    Normal,
    /// By its tests, benches and examples.
    Development,
    /// By its build script.
    Build,
}

impl<'de> Deserialize<'de> for DependencyKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("normal") => Ok(Self::Normal),
            Some("dev") => Ok(Self::Development),
            Some("build") => Ok(Self::Build),
            Some(other) => Err(serde::de::Error::unknown_variant(other, &["normal", "dev", "build"])),
        }
    }
}

/// One thing that cargo builds.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    /// Its root file, as an absolute path.
    pub(crate) src_path: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_dependencies_are_read_as_cargo_writes_them() {
        let kinds: Vec<DependencyKind> = serde_json::from_str(r#"[null, "dev", "build"]"#).unwrap();
        assert_eq!(kinds, [DependencyKind::Normal, DependencyKind::Development, DependencyKind::Build]);
        assert!(serde_json::from_str::<DependencyKind>(r#""peer""#).is_err());
    }
}
