//! `names`: nothing is left for later. No marks of unfinished work, no ignored tests, no stand-in macros.

use proc_macro2::TokenTree;

use crate::finding::Finding;
use crate::source::Source;
use crate::tokens::{self, is_mark, is_word};
use crate::workspace::Workspace;

/// Words that mark unfinished work, wherever they stand. Split here, so that this file doesn't hold them.
const MARKS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

/// Macros that stand in for code, or that only help to write it.
const MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Looks at every file.
pub(super) fn run(workspace: &Workspace) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for source in &workspace.sources {
        findings.extend(marks(source));
        findings.extend(stand_ins(source)?);
    }
    Ok(findings)
}

/// The marks of unfinished work in `source`, comments and strings included.
fn marks(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let mut words = line.split(|next: char| !next.is_alphanumeric() && next != '_');
        if let Some(mark) = words.find(|word| MARKS.contains(word)) {
            let problem = format!("`{mark}`");
            let mend = "do it now, or open an issue and say here what holds today";
            findings.push(Finding::at(&source.path, index + 1, problem, mend));
        }
    }
    findings
}

/// The ignored tests and the stand-in macros in `source`.
fn stand_ins(source: &Source) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    tokens::visit_groups(&source.tokens()?, &mut |trees| {
        for (index, tree) in trees.iter().enumerate() {
            let next = trees.get(index + 1);
            let found = match next {
                Some(TokenTree::Group(attribute)) if is_mark(tree, '#') => {
                    let ignores = tokens::lines_of_word(&attribute.stream(), "ignore");
                    (!ignores.is_empty())
                        .then(|| ("an ignored test".to_owned(), "make it pass, or delete it and say why"))
                }
                Some(bang) if is_mark(bang, '!') => {
                    let is_call = matches!(trees.get(index + 2), Some(TokenTree::Group(_)));
                    let name = MACROS.iter().find(|name| is_call && is_word(tree, name));
                    name.map(|name| (format!("`{name}!`"), "write what it stands for, or delete it"))
                }
                _ => None,
            };
            if let Some((problem, mend)) = found {
                findings.push(Finding::at(&source.path, tokens::line_of(tree), problem, mend));
            }
        }
    });
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of all findings in a made-up file, in order.
    fn lines(text: impl Into<String>) -> Vec<usize> {
        let source = Source::made_up("core/a.rs", text);
        let found = [marks(&source), stand_ins(&source).unwrap()].concat();
        let mut lines: Vec<_> = found.iter().filter_map(|finding| finding.line).collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn marks_are_found_in_comments_as_whole_words() {
        for mark in MARKS {
            assert_eq!(lines(format!("// {mark}: later\n// {mark}S\n// a_{mark}")), [1], "{mark}");
        }
    }

    #[test]
    fn ignored_tests_are_found_with_and_without_a_reason() {
        let text = "#[test]\n#[ignore]\nfn a() {}\n#[ignore = \"slow\"]\nfn b() {}\n\
                    #[cfg_attr(miri, ignore)]\nfn c() { let ignore = 1; }";
        assert_eq!(lines(text), [2, 4, 6]);
    }

    #[test]
    fn stand_in_macros_are_found_where_they_are_called() {
        let text = "fn a() {\n todo!()\n}\nfn b() {\n std::dbg!(1);\n}\n// todo!()\n\
                    fn c() -> bool { todo != dbg && unimplemented }";
        assert_eq!(lines(text), [2, 5]);
    }
}
