//! `sizes`: files, functions and the hot path stay short enough to be read in one go.

use crate::finding::Finding;
use crate::source::Source;
use crate::tokens;
use crate::workspace::Workspace;

/// A file has fewer lines than this.
const FILE_LINES_LIMIT: usize = 500;

/// A function has fewer lines than this, from `fn` to its closing brace.
const FUNCTION_LINES_LIMIT: usize = 70;

/// The files of the hot path together have fewer lines than this, comments included.
const HOT_PATH_LINES_LIMIT: usize = 900;

/// The directory of the hot path.
const HOT_PATH_DIRECTORY: &str = "core/ring/src";

/// The files of the hot path, in the order in which `lib.rs` says to read them.
const HOT_PATH_FILES: [&str; 3] = ["one.rs", "many.rs", "read.rs"];

/// Functions that may be longer, by file and name. Each line says why.
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

/// Measures every file.
pub(super) fn run(workspace: &Workspace) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for source in &workspace.sources {
        findings.extend(long_file(source));
        findings.extend(long_functions(source)?);
    }
    findings.extend(hot_path(|path| workspace.source(path)));
    Ok(findings)
}

/// How many lines `source` has.
fn count_lines(source: &Source) -> usize {
    source.text.lines().count()
}

/// `source`, if it is too long.
fn long_file(source: &Source) -> Option<Finding> {
    let lines = count_lines(source);
    (lines >= FILE_LINES_LIMIT).then(|| {
        let problem = format!("{lines} lines; a file stays under {FILE_LINES_LIMIT}");
        Finding::in_file(&source.path, problem, "move a part that stands alone to its own module")
    })
}

/// The functions of `source` that are too long.
fn long_functions(source: &Source) -> anyhow::Result<Vec<Finding>> {
    let functions = tokens::functions(&source.tokens()?);
    let is_long = |function: &tokens::Function| {
        function.lines >= FUNCTION_LINES_LIMIT && !LONG_FUNCTIONS.contains(&(&source.path, &function.name))
    };
    let finding = |function: tokens::Function| {
        let problem =
            format!("`{}` has {} lines; a function stays under {FUNCTION_LINES_LIMIT}", function.name, function.lines);
        Finding::at(&source.path, function.line, problem, "give a step of it a name of its own")
    };
    Ok(functions.into_iter().filter(is_long).map(finding).collect())
}

/// Whether the hot path is too long, or a file of it is gone. `find` gives the file at a path.
fn hot_path<'a>(find: impl Fn(&str) -> Option<&'a Source>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut lines = 0;
    for file in HOT_PATH_FILES {
        let path = format!("{HOT_PATH_DIRECTORY}/{file}");
        match find(&path) {
            Some(source) => lines += count_lines(source),
            None => findings.push(Finding::in_file(
                &path,
                "a file of the hot path, not found",
                "bring HOT_PATH_FILES in tools/xtask/src/checks/sizes.rs up to date",
            )),
        }
    }
    if lines >= HOT_PATH_LINES_LIMIT {
        let problem = format!(
            "the hot path ({}) has {lines} lines; it stays under {HOT_PATH_LINES_LIMIT}",
            HOT_PATH_FILES.join(", ")
        );
        findings.push(Finding::in_file(
            &format!("{HOT_PATH_DIRECTORY}/lib.rs"),
            problem,
            "move what claim, commit and read don't run to another file",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up function of so many lines.
    fn function_of(lines: usize) -> String {
        format!("fn long() {{{}}}\n", "\n".repeat(lines - 1))
    }

    #[test]
    fn file_may_reach_one_line_below_the_limit() {
        let of_lines = |lines| Source::made_up("core/a.rs", "\n".repeat(lines));
        assert_eq!(long_file(&of_lines(FILE_LINES_LIMIT - 1)), None);
        assert!(long_file(&of_lines(FILE_LINES_LIMIT)).is_some());
    }

    #[test]
    fn function_may_reach_one_line_below_the_limit() {
        let of_lines = |lines| Source::made_up("core/a.rs", format!("\n{}", function_of(lines)));
        assert_eq!(long_functions(&of_lines(FUNCTION_LINES_LIMIT - 1)).unwrap(), []);
        let found = long_functions(&of_lines(FUNCTION_LINES_LIMIT)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, Some(2));
        assert!(found[0].problem.contains("`long` has 70 lines"));
    }

    #[test]
    fn hot_path_is_measured_as_a_whole() {
        let of_lines = |lines| {
            let file = Source::made_up("core/ring/src/any.rs", "\n".repeat(lines));
            hot_path(|_| Some(&file))
        };
        assert_eq!(of_lines(HOT_PATH_LINES_LIMIT / HOT_PATH_FILES.len() - 1), []);
        assert_eq!(of_lines(HOT_PATH_LINES_LIMIT / HOT_PATH_FILES.len()).len(), 1);
    }

    #[test]
    fn file_of_the_hot_path_that_is_gone_is_reported() {
        assert_eq!(hot_path(|_| None).len(), HOT_PATH_FILES.len());
    }
}
