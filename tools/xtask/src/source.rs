//! A Rust source file: its place, its text, its tokens.

use anyhow::anyhow;
use proc_macro2::TokenStream;

/// A Rust source file of the workspace.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the root of the workspace, with `/` between its parts.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl Source {
    /// Its tokens, without ordinary comments; doc comments come as `doc` attributes.
    ///
    /// Errors: the text isn't Rust, with the place.
    pub(crate) fn tokens(&self) -> anyhow::Result<TokenStream> {
        self.text.parse().map_err(|error: proc_macro2::LexError| {
            anyhow!("{}:{}: not Rust: {error}", self.path, error.span().start().line)
        })
    }
}

#[cfg(test)]
impl Source {
    /// A made-up file for the tests of a check.
    pub(crate) fn made_up(path: &str, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), text: text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_rust_is_an_error_with_its_place() {
        let error = Source::made_up("core/a.rs", "fn a() {}\n)").tokens().unwrap_err();
        assert!(error.to_string().starts_with("core/a.rs:2: "), "{error}");
    }
}
