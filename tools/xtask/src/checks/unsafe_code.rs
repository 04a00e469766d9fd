//! `unsafe`: the keyword stands where the design allows it, and the compiler forbids it everywhere else.

use crate::finding::Finding;
use crate::source::Source;
use crate::tokens;
use crate::workspace::Workspace;

/// Where `unsafe` may stand: directories and single files.
const HOMES: [&str; 4] = ["core/shm/", "core/ring/", "core/bus/src/raw.rs", "bindings/"];

/// The crate root that denies `unsafe` and allows it again in one module, so it can't forbid it.
const DENYING_ROOT: &str = "core/bus/src/lib.rs";

/// Looks at every file, and at the root of every target that cargo builds.
pub(super) fn run(workspace: &Workspace) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for source in &workspace.sources {
        findings.extend(misplaced(source)?);
    }
    for target in workspace.metadata.packages.iter().flat_map(|package| &package.targets) {
        let path = workspace.relative(&target.src_path);
        if let Some(root) = workspace.source(&path) {
            findings.extend(permissive_root(root)?);
        }
    }
    Ok(findings)
}

/// Whether `unsafe` may stand in the file at `path`.
fn is_home(path: &str) -> bool {
    HOMES.iter().any(|home| path.starts_with(home))
}

/// Every `unsafe` in `source`, if it is no place for it.
fn misplaced(source: &Source) -> anyhow::Result<Vec<Finding>> {
    if is_home(&source.path) {
        return Ok(Vec::new());
    }
    let finding = |line| {
        let mend = format!("use a safe interface of one of: {}", HOMES.join(", "));
        Finding::at(&source.path, line, "`unsafe` outside its homes", mend)
    };
    let lines = tokens::lines_of_word(&source.tokens()?, "unsafe");
    Ok(lines.into_iter().map(finding).collect())
}

/// `root`, the root file of a crate, if the compiler would let `unsafe` pass there.
fn permissive_root(root: &Source) -> anyhow::Result<Option<Finding>> {
    if is_home(&root.path) {
        return Ok(None);
    }
    let level = if root.path == DENYING_ROOT { "deny" } else { "forbid" };
    if tokens::sets_lint(&root.tokens()?, level, "unsafe_code") {
        return Ok(None);
    }
    let attribute = format!("`#![{level}(unsafe_code)]`");
    let problem = format!("a crate root without {attribute}");
    let mend = format!("write {attribute} below its module doc");
    Ok(Some(Finding::at(&root.path, 1, problem, mend)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_in_comments_strings_and_lint_names_is_not_unsafe_code() {
        let text = "#![forbid(unsafe_code)]\n// unsafe\n/// unsafe\nconst A: &str = \"unsafe\";";
        let source = Source::made_up("tools/a/src/main.rs", text);
        assert_eq!(misplaced(&source).unwrap(), []);
    }

    #[test]
    fn blocks_functions_impls_attributes_and_macros_are_found() {
        let text = "fn a() { unsafe { b() } }\nunsafe fn b() {}\nunsafe impl C for D {}\n\
                    #[unsafe(no_mangle)]\nfn e() {}\nmacro_rules! f { () => { unsafe {} } }";
        let found = misplaced(&Source::made_up("core/derive/src/lib.rs", text)).unwrap();
        let lines: Vec<_> = found.iter().filter_map(|finding| finding.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 6]);
    }

    #[test]
    fn homes_are_the_two_lowest_crates_one_module_of_the_bus_and_the_bindings() {
        let is_refused = |path| !misplaced(&Source::made_up(path, "unsafe fn a() {}")).unwrap().is_empty();
        for home in ["core/shm/src/map.rs", "core/ring/tests/loom.rs", "core/bus/src/raw.rs", "bindings/c/src/lib.rs"] {
            assert!(!is_refused(home), "{home}");
        }
        for elsewhere in ["core/bus/src/lib.rs", "core/bus/tests/raw.rs", "tests/src/lib.rs"] {
            assert!(is_refused(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn crate_roots_must_forbid_and_the_bus_must_deny() {
        let is_refused = |path, text| permissive_root(&Source::made_up(path, text)).unwrap().is_some();
        let forbids = "//! Doc.\n#![forbid(unsafe_code)]";
        let denies = "//! Doc.\n#![deny(unsafe_code)]";
        assert!(!is_refused("tests/src/lib.rs", forbids));
        assert!(is_refused("tests/src/lib.rs", denies));
        assert!(is_refused("core/bus/tests/killed.rs", "//! Doc."));
        assert!(!is_refused("core/bus/src/lib.rs", denies));
        assert!(is_refused("core/bus/src/lib.rs", forbids));
        assert!(!is_refused("core/shm/src/lib.rs", "//! Doc."));
    }
}
