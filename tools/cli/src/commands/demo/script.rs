//! The messages that the demo's publisher publishes: read or made up beforehand, then over and over.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::capture;
use crate::feed::Feed;

/// So many messages are kept at most; about eight seconds of the generated feed.
const MESSAGES_MAX: usize = 1 << 16;
/// So many bytes of messages are kept at most.
const BYTES_MAX: usize = 32 << 20;
const SEED: u64 = 1;

/// Messages with the time at which each is due, counted from the first.
#[derive(Debug, Default)]
pub(super) struct Script {
    bytes: Vec<u8>,
    /// When a message is due, in nanoseconds, and where it ends in `bytes`.
    lines: Vec<(u64, usize)>,
    first_ns: u64,
}

impl Script {
    /// The first part of a capture, or of the generated feed.
    pub(super) fn load(input: Option<&Path>) -> anyhow::Result<Self> {
        let mut script = Self::default();
        let Some(input) = input else {
            let mut feed = Feed::new(SEED);
            while script.has_room() {
                let (received_ns, bytes) = feed.next_message();
                script.push(received_ns, bytes);
            }
            return Ok(script);
        };
        let mut capture = capture::open(input).with_context(|| input.display().to_string())?;
        while script.has_room()
            && let Some(message) = capture.next_message()
        {
            let message = message?;
            script.push(message.received_ns, message.bytes);
        }
        ensure!(!script.lines.is_empty(), "{} has no messages", input.display());
        Ok(script)
    }

    /// Whether there is a capture with a message in it.
    pub(super) fn check(input: &Path) -> anyhow::Result<()> {
        let mut capture = capture::open(input).with_context(|| input.display().to_string())?;
        let first = capture.next_message().transpose()?;
        ensure!(first.is_some(), "{} has no messages", input.display());
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.lines.len() < MESSAGES_MAX && self.bytes.len() < BYTES_MAX
    }

    fn push(&mut self, received_ns: u64, bytes: &[u8]) {
        if self.lines.is_empty() {
            self.first_ns = received_ns;
        }
        let due_before = self.lines.last().map_or(0, |line| line.0);
        self.bytes.extend_from_slice(bytes);
        self.lines.push((received_ns.saturating_sub(self.first_ns).max(due_before), self.bytes.len()));
    }

    /// Message number `index`, from the front again after the last.
    #[inline]
    pub(super) fn message(&self, index: u64) -> &[u8] {
        let index = (index % self.lines.len() as u64) as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.lines[before].1);
        &self.bytes[start..self.lines[index].1]
    }

    /// When message number `index` is due.
    #[inline]
    pub(super) fn due(&self, index: u64) -> Duration {
        let count = self.lines.len() as u64;
        let span_ns = self.lines.last().map_or(0, |line| line.0);
        let turn_ns = (index / count).saturating_mul(span_ns);
        Duration::from_nanos(turn_ns.saturating_add(self.lines[(index % count) as usize].0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_last_message_the_first_comes_again_and_later() {
        let script = Script::load(None).unwrap();
        let count = MESSAGES_MAX as u64;
        for index in [0, 1, count - 1] {
            assert_eq!(script.message(index), script.message(index + count));
            assert!(script.due(index) < script.due(index + count));
        }
        assert!(
            (0..2 * count).all(|index| script.due(index) <= script.due(index + 1) && !script.message(index).is_empty())
        );
    }
}
