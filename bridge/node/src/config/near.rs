//! The word that was probably meant.

/// The one of `known` that `word` is a slip of, if there is one: up to a third of its letters wrong, missing, too many or swapped.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let distances = known.iter().map(|each| (distance(&word, &each.replace('-', "_")), *each));
    let (slips, found) = distances.min_by_key(|(slips, _)| *slips)?;
    (slips <= (found.len() / 3).max(1)).then_some(found)
}

/// How many letters are to be changed, put in, left out or swapped with the next to get from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().take(64).collect(), other.chars().collect());
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for row in 0..=one.len() {
        for column in 0..=other.len() {
            rows[row][column] = if row == 0 || column == 0 {
                row + column
            } else {
                let differs = usize::from(one[row - 1] != other[column - 1]);
                let swapped =
                    row > 1 && column > 1 && one[row - 1] == other[column - 2] && one[row - 2] == other[column - 1];
                let by_swap = if swapped { rows[row - 2][column - 2] + 1 } else { usize::MAX };
                (rows[row - 1][column] + 1)
                    .min(rows[row][column - 1] + 1)
                    .min(rows[row - 1][column - 1] + differs)
                    .min(by_swap)
            };
        }
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_leads_to_the_word_that_was_meant_and_another_word_to_none() {
        let known = ["directory", "topics", "keep_bytes", "keep_age", "go-on"];
        for (word, meant) in [
            ("directroy", Some("directory")),
            ("topic", Some("topics")),
            ("keep-bytes", Some("keep_bytes")),
            ("Keep_Age", Some("keep_age")),
            ("go_on", Some("go-on")),
            ("wait", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), meant, "{word}");
        }
        assert_eq!(nearest("x", &[]), None);
    }
}
