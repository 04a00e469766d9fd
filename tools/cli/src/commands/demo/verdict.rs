//! Holds what the subscribers say they received against what the publisher says it published.

use serde::Serialize;

use super::cast::{Cast, Member};
use super::children::Child;
use super::wire::{Manner, Published, Received};

/// What came of the demo.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    pub(super) cores: usize,
    pub(super) published: Published,
    pub(super) rows: Vec<Row>,
    /// What is not as it should be; empty if the check is ok.
    pub(super) problems: Vec<String>,
}

/// What came of a subscriber.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: &'static str,
    #[serde(skip)]
    pub(super) manner: Manner,
    pub(super) kind: &'static str,
    pub(super) waits: &'static str,
    /// Messages that were published and that it did not get.
    pub(super) missed: u64,
    #[serde(flatten)]
    pub(super) received: Received,
}

impl Verdict {
    /// `children` are the cast, in its order, and the publisher, if it was started.
    pub(super) fn of(cast: &Cast, children: &[Child], publisher: Option<usize>) -> Self {
        let mut verdict = Self { cores: cast.cores.len(), ..Self::default() };
        for child in children {
            if let Some(failure) = &child.failure {
                verdict.problems.push(format!("{}: {failure}", child.name));
            }
        }
        match publisher.and_then(|publisher| children[publisher].published) {
            Some(published) => verdict.published = published,
            None => verdict.problems.push("the publisher did not come to its end".to_owned()),
        }
        for (member, child) in cast.subscribers.iter().zip(children) {
            if let Some(received) = &child.received {
                verdict.judge(member, received);
            }
        }
        verdict
    }

    pub(super) fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    fn judge(&mut self, member: &Member, received: &Received) {
        let Published { messages, digest, .. } = self.published;
        let mut object = |what: String| self.problems.push(format!("{}: {what}", member.name));
        if received.out_of_order > 0 {
            object(format!("{} messages did not come in order", received.out_of_order));
        }
        if received.messages > messages {
            object(format!("received {} messages of {messages}", received.messages));
        }
        let missed = messages.saturating_sub(received.messages);
        match member.part.manner {
            Manner::Gated if missed > 0 || received.lost_ranges > 0 => {
                object(format!("missed {missed} messages of {messages}"))
            }
            Manner::Gated if received.digest != digest => object("received other bytes than were published".to_owned()),
            Manner::Lossy if missed > 0 && received.lost_ranges == 0 => {
                object(format!("missed {missed} messages and was not told"))
            }
            _ => {}
        }
        self.rows.push(Row {
            name: member.name,
            manner: member.part.manner,
            kind: member.part.manner.word(),
            waits: member.part.waiting.word(),
            missed,
            received: received.clone(),
        });
    }

    /// How many gated subscribers there were.
    pub(super) fn gated(&self) -> usize {
        self.rows.iter().filter(|row| row.manner == Manner::Gated).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::demo::wire::{SubscriberPart, Waiting};

    fn problems(manner: Manner, change: impl FnOnce(&mut Received)) -> Vec<String> {
        let published = Published { messages: 10, digest: 7, ..Published::default() };
        let mut received = Received { messages: 10, digest: 7, ..Received::default() };
        change(&mut received);
        let mut verdict = Verdict { published, ..Verdict::default() };
        let part = SubscriberPart { manner, waiting: Waiting::Block };
        verdict.judge(&Member { name: "a", part, cores: Vec::new() }, &received);
        assert_eq!(verdict.is_ok(), verdict.problems.is_empty());
        verdict.problems
    }

    #[test]
    fn all_messages_in_order_are_what_a_gated_subscriber_must_have() {
        assert!(problems(Manner::Gated, |_| ()).is_empty());
        assert_eq!(problems(Manner::Gated, |received| received.messages = 9).len(), 1);
        assert_eq!(problems(Manner::Gated, |received| received.messages = 11).len(), 1);
        assert_eq!(problems(Manner::Gated, |received| received.digest = 8).len(), 1);
        assert_eq!(problems(Manner::Gated, |received| received.out_of_order = 1).len(), 1);
        assert_eq!(problems(Manner::Gated, |received| received.lost_ranges = 1).len(), 1);
    }

    #[test]
    fn a_lossy_subscriber_may_miss_messages_if_it_was_told() {
        let loses = |ranges| {
            move |received: &mut Received| (received.messages, received.digest, received.lost_ranges) = (4, 1, ranges)
        };
        assert!(problems(Manner::Lossy, loses(2)).is_empty());
        assert_eq!(problems(Manner::Lossy, loses(0)).len(), 1);
        assert!(problems(Manner::Latest, loses(0)).is_empty(), "leaving out is what it is for");
    }
}
