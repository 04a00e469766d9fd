//! What came through to a subscriber: counted, in which order, whole or not.

use crate::ledger::Ledger;
use crate::payload::{Mark, SENDER_OF_END};
use memlane::ReceiveError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How much a subscriber may miss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strictness {
    /// Nothing: it gates, from the beginning.
    #[default]
    Gapless,
    /// Only what it was told of.
    Told,
    /// Anything, as long as the order is kept.
    Ordered,
}

/// What one subscriber received.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    strictness: Strictness,
    /// The number after the last message of each sender.
    pub next: BTreeMap<u32, u64>,
    /// Messages in all.
    pub messages: u64,
    /// Ranges of positions that it was told were lost.
    pub losses: u64,
    /// Whether the last message of the topic came.
    pub ended: bool,
    /// What must not be: torn messages, gaps, repeats. The first few.
    pub faults: Vec<String>,
    /// Errors other than losses. The first few.
    pub errors: Vec<String>,
    /// Longest time between two messages, in microseconds.
    pub longest_gap_us: u64,
    last_position: Option<u64>,
    losses_seen: BTreeMap<u32, u64>,
}

impl Tally {
    /// Nothing yet.
    #[must_use]
    pub fn new(strictness: Strictness) -> Self {
        Self { strictness, ..Self::default() }
    }

    /// A message came.
    pub fn message(&mut self, position: u64, payload: &[u8]) {
        self.messages += 1;
        if self.last_position.is_some_and(|last| position <= last) {
            self.fault(format!("position {position} after {:?}", self.last_position));
        }
        self.last_position = Some(position);
        match Mark::check(payload) {
            Err(fault) => self.fault(format!("at position {position}: {fault}")),
            Ok(mark) if mark.sender == SENDER_OF_END => self.ended = true,
            Ok(mark) => self.mark(position, mark),
        }
    }

    /// A message that came is held for a while: nobody has written over it meanwhile.
    pub fn still_whole(&mut self, position: u64, payload: &[u8]) {
        if let Err(fault) = Mark::check(payload) {
            self.fault(format!("while it was held at position {position}: {fault}"));
        }
    }

    fn mark(&mut self, position: u64, mark: Mark) {
        let next = self.next.insert(mark.sender, mark.number + 1);
        let losses_seen = self.losses_seen.insert(mark.sender, self.losses).unwrap_or(0);
        let is_gap = mark.number > next.unwrap_or(0);
        let gap_is_fine = match self.strictness {
            Strictness::Gapless => false,
            // A late joiner's first message of a sender is no gap.
            Strictness::Told => next.is_none() || self.losses > losses_seen,
            Strictness::Ordered => true,
        };
        if mark.number < next.unwrap_or(0) || (is_gap && !gap_is_fine) {
            self.fault(format!("{mark:?} at position {position} where {} comes next", next.unwrap_or(0)));
        }
    }

    /// Something else than a message came.
    pub fn error(&mut self, error: &ReceiveError) {
        match error {
            ReceiveError::Lost { from, to } => {
                self.losses += 1;
                if from >= to {
                    self.fault(format!("lost {from} to {to}"));
                }
            }
            other => self.errors.push(other.to_string()),
        }
        self.errors.truncate(16);
    }

    fn fault(&mut self, fault: String) {
        self.faults.push(fault);
        self.faults.truncate(16);
    }

    /// Nothing came that must not, and no error.
    ///
    /// # Panics
    /// If something did.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.faults.is_empty() && self.errors.is_empty(), "{:?} {:?}", self.faults, self.errors);
    }

    /// Everything that is in `ledger` for sure came, and nothing that wasn't begun; for gapless tallies that saw the end.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn assert_complete(&self, ledger: &Ledger, senders: impl IntoIterator<Item = u32>) {
        self.assert_clean();
        assert!(self.ended, "the last message didn't come");
        for sender in senders {
            let entry = ledger.entry(sender).expect("the ledger can be read");
            let came = self.next.get(&sender).copied().unwrap_or(0);
            assert!(
                entry.published <= came && came <= entry.begun,
                "of sender {sender}, {came} messages came; it wrote down {entry:?}"
            );
        }
    }
}
