//! Questions put to the tokens of a file: where a word stands, how long each function is, which paths are named.
//!
//! Tokens, not a syntax tree: so that the inside of macro calls (`proptest! { .. }`, `macro_rules!`) is seen as well,
//! while comments and strings are not.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A function, found by its body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of the word `fn`, counted from 1.
    pub(crate) line: usize,
    /// From the word `fn` to the closing brace, both included.
    pub(crate) lines: usize,
}

/// A path such as `std::sync::atomic`, with the branches of a `use` tree spelled out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedPath {
    /// Its parts. A keyword stands first where one precedes a leading `::`, as in `use ::std`.
    pub(crate) segments: Vec<String>,
    /// The line of its last part, counted from 1.
    pub(crate) line: usize,
}

/// Calls `visit` with the tokens of every group in `stream`, the outermost first.
pub(crate) fn visit_groups(stream: &TokenStream, visit: &mut impl FnMut(&[TokenTree])) {
    let trees: Vec<TokenTree> = stream.clone().into_iter().collect();
    visit(&trees);
    for tree in &trees {
        if let TokenTree::Group(group) = tree {
            visit_groups(&group.stream(), visit);
        }
    }
}

/// The lines on which the word `word` stands as a token of its own.
pub(crate) fn lines_of_word(stream: &TokenStream, word: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    visit_groups(stream, &mut |trees| {
        lines.extend(trees.iter().filter(|tree| is_word(tree, word)).map(line_of));
    });
    lines.sort_unstable();
    lines
}

/// Every function that has a body, methods, nested functions and those inside macro calls included.
pub(crate) fn functions(stream: &TokenStream) -> Vec<Function> {
    let mut functions = Vec::new();
    visit_groups(stream, &mut |trees| {
        for (index, tree) in trees.iter().enumerate() {
            if is_word(tree, "fn") {
                functions.extend(function_at(&trees[index..]));
            }
        }
    });
    functions
}

/// The function whose word `fn` is the first of `trees`; `None` for a function pointer or a function without a body.
fn function_at(trees: &[TokenTree]) -> Option<Function> {
    let name = match trees.get(1)? {
        TokenTree::Ident(name) => name.to_string(),
        // In a `macro_rules!` the name may be a variable: `fn $name`.
        TokenTree::Punct(dollar) if dollar.as_char() == '$' => format!("${}", trees.get(2)?),
        _ => return None,
    };
    let line = line_of(&trees[0]);
    for (index, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Punct(mark) if mark.as_char() == ';' => return None,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                // Braces followed by `>` or `,` are a constant argument in the signature: `-> Words<{ N }>`.
                let is_argument = trees.get(index + 1).is_some_and(|next| is_mark(next, '>') || is_mark(next, ','));
                if !is_argument {
                    let lines = group.span_close().end().line - line + 1;
                    return Some(Function { name, line, lines });
                }
            }
            _ => {}
        }
    }
    None
}

/// Every path that is named, in `use` trees and elsewhere. A plain word is a path of one part.
pub(crate) fn paths(stream: &TokenStream) -> Vec<NamedPath> {
    let mut found = Vec::new();
    collect_paths(stream, &[], &mut found);
    found
}

/// Adds the paths in `stream` to `found`, each behind `prefix`: the part of a `use` tree before its braces.
fn collect_paths(stream: &TokenStream, prefix: &[String], found: &mut Vec<NamedPath>) {
    let trees: Vec<TokenTree> = stream.clone().into_iter().collect();
    let mut index = 0;
    while index < trees.len() {
        match &trees[index] {
            TokenTree::Group(group) => collect_paths(&group.stream(), &[], found),
            TokenTree::Ident(first) => {
                let mut segments = [prefix, &[first.to_string()]].concat();
                while let Some(next) = after_double_colon(&trees, index + 1) {
                    match next {
                        TokenTree::Ident(segment) => segments.push(segment.to_string()),
                        TokenTree::Group(group) => {
                            collect_paths(&group.stream(), &segments, found);
                        }
                        _ => break,
                    }
                    index += 3;
                }
                found.push(NamedPath { segments, line: line_of(&trees[index]) });
            }
            _ => {}
        }
        index += 1;
    }
}

/// What follows the `::` at `index`, if one stands there.
fn after_double_colon(trees: &[TokenTree], index: usize) -> Option<&TokenTree> {
    match trees.get(index..index + 3)? {
        [first, second, next] if is_mark(first, ':') && is_mark(second, ':') => Some(next),
        _ => None,
    }
}

/// The inner attributes (`#![..]`) at the head of a file, doc comments among them.
pub(crate) fn inner_attributes(stream: &TokenStream) -> Vec<TokenStream> {
    let trees: Vec<TokenTree> = stream.clone().into_iter().collect();
    trees
        .chunks(3)
        .map_while(|chunk| match chunk {
            [hash, bang, TokenTree::Group(group)] if is_mark(hash, '#') && is_mark(bang, '!') => Some(group.stream()),
            _ => None,
        })
        .collect()
}

/// Whether an inner attribute `#![level(.., lint, ..)]` stands at the head of a file.
pub(crate) fn sets_lint(stream: &TokenStream, level: &str, lint: &str) -> bool {
    inner_attributes(stream).into_iter().any(|attribute| {
        let trees: Vec<TokenTree> = attribute.into_iter().collect();
        matches!(&trees[..], [word, TokenTree::Group(lints)]
            if is_word(word, level) && !lines_of_word(&lints.stream(), lint).is_empty())
    })
}

/// Whether `tree` is the word `word`.
pub(crate) fn is_word(tree: &TokenTree, word: &str) -> bool {
    matches!(tree, TokenTree::Ident(ident) if ident == word)
}

/// Whether `tree` is the punctuation mark `mark`.
pub(crate) fn is_mark(tree: &TokenTree, mark: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == mark)
}

/// The line on which `tree` begins, counted from 1.
pub(crate) fn line_of(tree: &TokenTree) -> usize {
    tree.span().start().line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> TokenStream {
        text.parse().unwrap()
    }

    fn function(name: &str, line: usize, lines: usize) -> Function {
        Function { name: name.to_owned(), line, lines }
    }

    #[test]
    fn word_is_found_in_code_and_not_in_comments_or_strings() {
        let text = "// word\n/// word\nfn a() { \"word\"; b'w'; /* word */ r#\"word\"#; word }\nword!{ word }";
        assert_eq!(lines_of_word(&parse(text), "word"), [3, 4, 4]);
    }

    #[test]
    fn function_is_measured_from_its_first_word_to_its_last_brace() {
        let text = "/// Doc.\n#[inline]\npub fn a(\n    b: u8,\n) {\n    b;\n}\n";
        assert_eq!(functions(&parse(text)), [function("a", 3, 5)]);
    }

    #[test]
    fn methods_nested_functions_and_macro_bodies_are_measured() {
        let text = "impl A {\n fn a() {\n fn b() {}\n }\n}\nproptest! {\n fn c() {\n }\n}";
        let found = functions(&parse(text));
        assert_eq!(found, [function("a", 2, 3), function("b", 3, 1), function("c", 7, 2)]);
    }

    #[test]
    fn constant_argument_in_a_signature_is_not_the_body() {
        let text = "fn a() -> Words<{ 1 }> where [(); { 2 }]: Sized, {\n\n}";
        assert_eq!(functions(&parse(text)), [function("a", 1, 3)]);
    }

    #[test]
    fn function_without_a_body_is_not_measured() {
        let text = "trait A { fn a(); }\nextern \"C\" { fn b(); }\ntype C = fn(u8);\nmod d {}";
        assert_eq!(functions(&parse(text)), []);
    }

    #[test]
    fn branches_of_a_use_tree_are_spelled_out() {
        let text = "use std::{\n  fmt,\n  sync::{Arc, atomic::*},\n};\nlet a = core::mem::take(b);";
        let found: Vec<(String, usize)> =
            paths(&parse(text)).into_iter().map(|path| (path.segments.join("::"), path.line)).collect();
        for expected in
            [("std::fmt", 2), ("std::sync::Arc", 3), ("std::sync::atomic", 3), ("core::mem::take", 5), ("b", 5)]
        {
            assert!(found.contains(&(expected.0.to_owned(), expected.1)), "{expected:?} in {found:?}");
        }
    }

    #[test]
    fn lint_levels_are_read_from_the_head_of_the_file_only() {
        let head = "//! Doc.\n#![deny(missing_docs, unsafe_code)]\nfn a() {}";
        assert!(sets_lint(&parse(head), "deny", "unsafe_code"));
        assert!(!sets_lint(&parse(head), "forbid", "unsafe_code"));
        assert!(!sets_lint(&parse("mod a { #![deny(unsafe_code)] }"), "deny", "unsafe_code"));
        assert!(!sets_lint(&parse("// #![deny(unsafe_code)]"), "deny", "unsafe_code"));
    }
}
