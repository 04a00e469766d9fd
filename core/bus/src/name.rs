//! Names of buses and topics: dotted tokens that are also safe names of directories.

/// Most bytes of a name.
pub(crate) const NAME_BYTES_MAX: usize = 200;

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} can't be a name: {reason}; names are like `md.trades.xnas`: tokens of A-Z a-z 0-9 _ - between dots, at most 200 bytes"
)]
pub struct NameError {
    /// The name, cut if it is long.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Checks a bus's or topic's name.
pub(crate) fn check(name: &str) -> Result<(), NameError> {
    let refuse = |reason| Err(NameError { name: name.chars().take(64).collect(), reason });
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.len() > NAME_BYTES_MAX {
        return refuse("it is too long");
    }
    name.split('.').try_for_each(check_token).or_else(refuse)
}

/// Checks a token of a name; says what is wrong with it.
pub(crate) fn check_token(token: &str) -> Result<(), &'static str> {
    if token.is_empty() {
        return Err("it has an empty token (a dot at an end, or two in a row)");
    }
    let is_plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_plain { Ok(()) } else { Err("it has a character that names don't have") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_directory_or_confuse_people_are_refused() {
        for name in ["", ".", "..", "a..b", ".a", "a.", "a/b", "../x", "a b", "a\0b", "a\nb", "ä", "*", "a.>"] {
            assert!(check(name).is_err(), "{name:?}");
        }
        assert!(check(&"x".repeat(10_000)).unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn dotted_tokens_are_names() {
        for name in ["a", "md.trades.xnas", "A-1_b.2", &"x".repeat(NAME_BYTES_MAX)] {
            check(name).unwrap();
        }
    }
}
