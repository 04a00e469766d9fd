//! Patterns of topic names.

use crate::name::{NAME_BYTES_MAX, check_token};
use std::fmt;
use std::str::FromStr;

/// Names that belong together: tokens between dots, of which `*` stands for any one, and `>`, at the end, for one or more.
///
/// ```
/// let trades: memlane::Pattern = "md.*.trades".parse()?;
/// assert!(trades.matches("md.xnas.trades") && !trades.matches("md.trades") && !trades.matches("md.a.b.trades"));
/// let all: memlane::Pattern = "md.>".parse()?;
/// assert!(all.matches("md.xnas.trades") && !all.matches("md"));
/// # Ok::<_, memlane::PatternTextError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: String,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{pattern:?} can't be a pattern: {reason}; patterns are like `md.*.trades` or `md.>`: tokens as names have, `*` for any one of them, and at the end `>` for one or more"
)]
pub struct PatternTextError {
    /// The text, cut if it is long.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FromStr for Pattern {
    type Err = PatternTextError;

    fn from_str(text: &str) -> Result<Self, PatternTextError> {
        let refuse = |reason| PatternTextError { pattern: text.chars().take(64).collect(), reason };
        if text.len() > NAME_BYTES_MAX {
            return Err(refuse("it is too long"));
        }
        let mut tokens = text.split('.').peekable();
        while let Some(token) = tokens.next() {
            match token {
                "*" => {}
                ">" if tokens.peek().is_none() => {}
                ">" => return Err(refuse("`>` stands only at the end")),
                _ => check_token(token).map_err(refuse)?,
            }
        }
        Ok(Self { text: text.to_owned() })
    }
}

impl Pattern {
    /// Whether it stands for `name`. Cost: a walk over both; no allocation.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut tokens = name.split('.');
        for wanted in self.text.split('.') {
            match (wanted, tokens.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(token)) if wanted == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(name)
    }

    #[test]
    fn each_token_stands_for_itself_or_for_any() {
        for (pattern, name) in [("a", "a"), ("*", "a"), (">", "a"), (">", "a.b"), ("a.*", "a.b"), ("*.b.>", "a.b.c.d")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("a", "b"), ("a", "a.b"), ("a.b", "a"), ("*", "a.b"), ("a.>", "a"), ("a.*", "a.b.c"), ("a*", "ab")]
        {
            assert!(!pattern.parse::<Pattern>().is_ok_and(|pattern| pattern.matches(name)), "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_a_reason() {
        let long = "x.".repeat(5_000) + "x";
        for text in ["", ".", "a.", "a..b", ">.a", "a.>.b", "a*", "a/b", "a b", "a\0b", "**", &long] {
            let error = text.parse::<Pattern>().unwrap_err();
            assert!(error.to_string().len() < 400 && error.to_string().contains("can't be a pattern"), "{error}");
        }
    }
}
