//! Where the messages of `memlane pub` come from.

use std::io::Read;
use std::path::PathBuf;
use std::vec::IntoIter;

use anyhow::Context;

use crate::commands::input::{Lines, Stdin};
use crate::commands::signals::Signals;

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
/// Digits of the number that a made-up message begins with.
const NUMBER_DIGITS: usize = 10;

/// Messages, one after the other.
#[derive(Debug)]
pub(super) enum Source {
    /// As given on the command line; with the one at hand.
    Arguments(IntoIter<String>, Vec<u8>),
    /// A file each; with the one at hand.
    Files(IntoIter<PathBuf>, Vec<u8>),
    /// A line each.
    Lines(Lines<Stdin>),
    /// All of stdin, until it has been given out.
    Whole(Option<Stdin>, usize, Vec<u8>),
    /// Made up: number, how many there are, and the one at hand.
    MadeUp(u64, Option<u64>, Vec<u8>),
}

impl Source {
    /// Messages of `size` bytes: ten digits that count, a space, then letters, as much of it as fits.
    pub(super) fn made_up(size: usize, count: Option<u64>) -> Self {
        let mut message: Vec<u8> = LETTERS.iter().copied().cycle().take(size).collect();
        if let Some(space) = message.get_mut(NUMBER_DIGITS) {
            *space = b' ';
        }
        Self::MadeUp(0, count, message)
    }

    pub(super) fn lines_of_stdin(signals: &Signals, line_bytes_max: usize) -> anyhow::Result<Self> {
        Ok(Self::Lines(Lines::new(Stdin::open(signals)?, line_bytes_max)))
    }

    pub(super) fn whole_stdin(signals: &Signals, bytes_max: usize) -> anyhow::Result<Self> {
        Ok(Self::Whole(Some(Stdin::open(signals)?), bytes_max, Vec::new()))
    }

    /// How many messages there will be, if that is known.
    pub(super) fn messages(&self) -> Option<u64> {
        match self {
            Self::Arguments(rest, _) => Some(rest.len() as u64),
            Self::Files(rest, _) => Some(rest.len() as u64),
            Self::Whole(..) => Some(1),
            Self::MadeUp(_, count, _) => *count,
            Self::Lines(_) => None,
        }
    }

    /// The next message; `None` at the end.
    pub(super) fn next_message(&mut self) -> anyhow::Result<Option<&[u8]>> {
        match self {
            Self::Arguments(rest, message) => Ok(rest.next().map(|next| {
                *message = next.into_bytes();
                message.as_slice()
            })),
            Self::Files(rest, message) => {
                let Some(path) = rest.next() else { return Ok(None) };
                *message = std::fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
                Ok(Some(message))
            }
            Self::Lines(lines) => lines.next_line(),
            Self::Whole(stdin, bytes_max, message) => {
                let Some(stdin) = stdin.take() else { return Ok(None) };
                // One byte more than fits is enough to be refused.
                stdin.take(*bytes_max as u64 + 1).read_to_end(message).context("can't read stdin")?;
                Ok(Some(message))
            }
            Self::MadeUp(number, count, message) => {
                if count.is_some_and(|count| *number >= count) {
                    return Ok(None);
                }
                write_number(*number, message);
                *number += 1;
                Ok(Some(message))
            }
        }
    }
}

/// Writes the last ten digits of `number` to the front, as much of them as fits.
#[inline]
fn write_number(mut number: u64, message: &mut [u8]) {
    let mut digits = [b'0'; NUMBER_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    let fits = message.len().min(NUMBER_DIGITS);
    // A message too short for all of them has those that change.
    message[..fits].copy_from_slice(&digits[NUMBER_DIGITS - fits..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_up(size: usize, count: u64) -> Vec<String> {
        let mut source = Source::made_up(size, Some(count));
        let mut messages = Vec::new();
        while let Some(message) = source.next_message().unwrap() {
            messages.push(String::from_utf8(message.to_vec()).unwrap());
        }
        messages
    }

    #[test]
    fn made_up_messages_count_and_have_the_size_asked_for() {
        assert_eq!(made_up(16, 2), ["0000000000 lmnop", "0000000001 lmnop"]);
        assert_eq!(made_up(3, 2), ["000", "001"]);
        assert_eq!(made_up(0, 1), [""]);
    }
}
