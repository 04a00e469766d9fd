//! Lines of the log that a peer can cause as often as it likes: one a second of each sort, with how many were left out.

use crate::link::lock;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The shortest time between two lines of a sort.
const PAUSE: Duration = Duration::from_secs(1);

/// One sort of lines.
#[derive(Debug, Default)]
pub(crate) struct Quiet(Mutex<(Option<Instant>, u64)>);

/// What a line is to say beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut(pub(crate) Option<u64>);

impl Quiet {
    /// Whether a line may be written now, and how many were left out since the last one.
    pub(crate) fn may(&self) -> Option<LeftOut> {
        self.may_at(Instant::now())
    }

    fn may_at(&self, now: Instant) -> Option<LeftOut> {
        let mut state = lock(&self.0);
        let (last, left_out) = &mut *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            *left_out += 1;
            return None;
        }
        *last = Some(now);
        let count = std::mem::take(left_out);
        Some(LeftOut((count > 0).then_some(count)))
    }
}

/// Text of a peer's, for a log: cut, and with nothing in it that does something to a terminal.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars().take(200) {
        if matches!(letter, '\'' | '"' | '\\') { shown.push(letter) } else { shown.extend(letter.escape_debug()) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_one_a_second_is_written_and_the_others_are_counted() {
        let (quiet, begin) = (Quiet::default(), Instant::now());
        assert_eq!(quiet.may_at(begin), Some(LeftOut(None)));
        for _ in 0..7 {
            assert_eq!(quiet.may_at(begin + PAUSE / 2), None);
        }
        assert_eq!(quiet.may_at(begin + PAUSE), Some(LeftOut(Some(7))));
        assert_eq!(quiet.may_at(begin + PAUSE * 3), Some(LeftOut(None)));
    }

    #[test]
    fn a_peers_text_is_cut_and_does_nothing_to_a_terminal() {
        let text = shown(&"\u{1b}[31m\n".repeat(999));
        assert!(!text.contains(['\u{1b}', '\n']) && text.len() < 2_000, "{text}");
        assert_eq!(shown("it isn't \"x\""), "it isn't \"x\"");
    }
}
