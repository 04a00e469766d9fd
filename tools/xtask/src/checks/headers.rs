//! `headers`: every module begins by saying what it does, and the ring has one door to atomics.

use crate::finding::Finding;
use crate::source::Source;
use crate::tokens;
use crate::workspace::Workspace;

/// Where atomics come through the door alone.
const BEHIND_THE_DOOR: &str = "core/ring/src/";

/// The crates that offer atomics beside the door.
const CRATES_WITH_ATOMICS: [&str; 2] = ["std", "core"];

/// Looks at the head of every module, and at the paths that the ring names.
pub(super) fn run(workspace: &Workspace) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for source in &workspace.sources {
        findings.extend(headless(source));
        findings.extend(atomics_beside_the_door(source)?);
    }
    Ok(findings)
}

/// `source`, if it is a module of a crate and its first line is no module doc.
fn headless(source: &Source) -> Option<Finding> {
    let is_module = source.path.split('/').any(|part| part == "src");
    (is_module && !source.text.starts_with("//!")).then(|| {
        let mend = "begin with `//!`: the job of the module, its invariant, its orderings";
        Finding::at(&source.path, 1, "no module doc on the first line", mend)
    })
}

/// The paths into the standard library's atomics that `source` names, if it is a file of the ring.
fn atomics_beside_the_door(source: &Source) -> anyhow::Result<Vec<Finding>> {
    if !source.path.starts_with(BEHIND_THE_DOOR) {
        return Ok(Vec::new());
    }
    let is_atomic = |path: &tokens::NamedPath| {
        path.segments
            .windows(3)
            .any(|parts| CRATES_WITH_ATOMICS.contains(&&*parts[0]) && parts[1..] == ["sync", "atomic"])
    };
    let finding = |path: tokens::NamedPath| {
        let problem = format!("`{}` beside the door", path.segments.join("::"));
        Finding::at(&source.path, path.line, problem, "take atomics from `memlane_shm::sync`")
    };
    Ok(tokens::paths(&source.tokens()?).into_iter().filter(is_atomic).map(finding).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_must_begin_with_its_doc() {
        let is_refused = |path, text| headless(&Source::made_up(path, text)).is_some();
        assert!(!is_refused("core/ring/src/read.rs", "//! Reads.\n"));
        assert!(is_refused("core/ring/src/read.rs", "\n//! Reads.\n"));
        assert!(is_refused("tools/cli/src/bin/a.rs", "use std::fmt;\n"));
        assert!(!is_refused("core/ring/tests/read.rs", "use std::fmt;\n"));
    }

    #[test]
    fn atomics_are_found_in_paths_and_in_use_trees() {
        let text = "use std::sync::atomic::AtomicU64;\nuse core::{fmt, sync::{atomic, Arc}};\n\
                    fn a() { return ::core::sync::atomic::fence(b) }\nuse ::std::sync::atomic::*;";
        let found = atomics_beside_the_door(&Source::made_up("core/ring/src/one.rs", text)).unwrap();
        let lines: Vec<_> = found.iter().filter_map(|finding| finding.line).collect();
        assert_eq!(lines, [1, 2, 3, 4]);
    }

    #[test]
    fn door_itself_and_other_crates_are_left_alone() {
        let text = "// std::sync::atomic\nuse memlane_shm::sync::AtomicU64;\nuse std::sync::Arc;";
        let ring = Source::made_up("core/ring/src/one.rs", text);
        assert_eq!(atomics_beside_the_door(&ring).unwrap(), []);
        let shm = Source::made_up("core/shm/src/sync.rs", "use std::sync::atomic::AtomicU64;");
        assert_eq!(atomics_beside_the_door(&shm).unwrap(), []);
    }
}
