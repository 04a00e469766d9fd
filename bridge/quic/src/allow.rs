//! Who may do what: for each peer, the topics that it may pull (have from us) and push (give to us). What no rule allows isn't allowed.

use crate::name::{NodeNameError, check_node_name};
use memlane::Pattern;

/// What a peer does with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It has it from us.
    Pull,
    /// It gives it to us.
    Push,
}

/// Stands for every peer whose certificate is good.
const EVERY_PEER: &str = "*";

/// What a peer may do, or every peer.
///
/// ```
/// use memlane_bridge_quic::{AllowList, Direction, Rule};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rules = AllowList::new([
///     Rule::new("*")?.pull("md.>".parse()?),
///     Rule::new("paris")?.push("orders.paris.*".parse()?),
/// ]);
/// assert!(rules.may("oslo", Direction::Pull, "md.trades") && !rules.may("oslo", Direction::Push, "orders.paris.new"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    peer: String,
    pull: Vec<Pattern>,
    push: Vec<Pattern>,
}

impl Rule {
    /// A rule for the peer of this name, or, with `*`, for every peer. It allows nothing yet.
    ///
    /// Errors: [`NodeNameError`], if no node can have the name.
    pub fn new(peer: &str) -> Result<Self, NodeNameError> {
        if peer != EVERY_PEER {
            check_node_name(peer)?;
        }
        Ok(Self { peer: peer.to_owned(), pull: Vec::new(), push: Vec::new() })
    }

    /// The peer may have the topics from us that the pattern stands for.
    #[must_use]
    pub fn pull(mut self, topics: Pattern) -> Self {
        self.pull.push(topics);
        self
    }

    /// The peer may give us the topics that the pattern stands for.
    #[must_use]
    pub fn push(mut self, topics: Pattern) -> Self {
        self.push.push(topics);
        self
    }

    fn allows(&self, peer: &str, direction: Direction, topic: &str) -> bool {
        let patterns = if direction == Direction::Pull { &self.pull } else { &self.push };
        (self.peer == EVERY_PEER || self.peer == peer) && patterns.iter().any(|pattern| pattern.matches(topic))
    }
}

/// Why a peer may not do what it asks for; its text is for the peer and for one's own records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{peer:?} may not {} the topic {topic:?} {} here: no rule allows it; to allow it, add a rule for the peer {peer:?} (or `*`) to {} a pattern such as {topic:?}",
    verb(*direction),
    preposition(*direction),
    verb(*direction)
)]
pub struct NotAllowed {
    /// The peer's name.
    pub peer: String,
    /// What it wants to do.
    pub direction: Direction,
    /// With which topic; cut if it is long.
    pub topic: String,
}

fn verb(direction: Direction) -> &'static str {
    if direction == Direction::Pull { "pull" } else { "push" }
}

fn preposition(direction: Direction) -> &'static str {
    if direction == Direction::Pull { "from" } else { "to" }
}

/// All rules. Without any, nothing is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    rules: Vec<Rule>,
}

impl AllowList {
    /// These rules: what any of them allows is allowed.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self { rules: rules.into_iter().collect() }
    }

    /// Whether `peer`, by the name in its certificate, may pull or push `topic`. A direction is the peer's, as it asks for it: [`Direction::Pull`] gives it a topic of ours.
    ///
    /// Cost: a walk over the rules; an allocation.
    #[must_use]
    pub fn may(&self, peer: &str, direction: Direction, topic: &str) -> bool {
        // A text with wildcards, or one that is no name, comes from a peer that tries something.
        let is_name = !topic.contains(['*', '>']) && topic.parse::<Pattern>().is_ok();
        is_name && self.rules.iter().any(|rule| rule.allows(peer, direction, topic))
    }

    /// The same, with the reason.
    ///
    /// Errors: [`NotAllowed`], which says what would have to be added.
    pub fn check(&self, peer: &str, direction: Direction, topic: &str) -> Result<(), NotAllowed> {
        if self.may(peer, direction, topic) {
            return Ok(());
        }
        Err(NotAllowed { peer: peer.to_owned(), direction, topic: topic.chars().take(200).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Pull, Push};

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    fn rules() -> AllowList {
        AllowList::new([
            Rule::new("*").unwrap().pull(pattern("md.>")),
            Rule::new("paris").unwrap().pull(pattern("orders.*")).push(pattern("orders.paris")),
            Rule::new("paris").unwrap().push(pattern("fills")),
        ])
    }

    #[test]
    fn without_a_rule_nothing_is_allowed() {
        for direction in [Pull, Push] {
            assert!(!AllowList::default().may("paris", direction, "md.trades"));
            assert!(!AllowList::new([Rule::new("*").unwrap()]).may("paris", direction, "md.trades"));
        }
    }

    #[test]
    fn a_peer_may_do_what_any_rule_for_it_or_for_everybody_allows() {
        for (peer, direction, topic) in [
            ("oslo", Pull, "md.trades"),
            ("paris", Pull, "md.a.b"),
            ("paris", Pull, "orders.new"),
            ("paris", Push, "orders.paris"),
            ("paris", Push, "fills"),
        ] {
            rules().check(peer, direction, topic).unwrap();
        }
        for (peer, direction, topic) in [
            ("oslo", Push, "md.trades"),
            ("oslo", Pull, "orders.new"),
            ("Paris", Pull, "orders.new"),
            ("paris", Push, "orders.new"),
            ("paris", Pull, "fills"),
            ("*", Push, "fills"),
        ] {
            assert!(!rules().may(peer, direction, topic), "{peer} {direction:?} {topic}");
        }
    }

    #[test]
    fn a_refusal_names_peer_topic_and_the_rule_that_is_missing() {
        let text = rules().check("oslo", Push, "orders.paris").unwrap_err().to_string();
        assert_eq!(
            text,
            "\"oslo\" may not push the topic \"orders.paris\" to here: no rule allows it; to allow it, add a rule for the peer \"oslo\" (or `*`) to push a pattern such as \"orders.paris\""
        );
        let text = rules().check("oslo", Pull, &"x".repeat(9_999)).unwrap_err().to_string();
        assert!(text.contains("may not pull") && text.len() < 700, "{text}");
    }

    #[test]
    fn texts_that_are_no_topics_name_are_refused_even_where_every_topic_is_allowed() {
        let all = AllowList::new([Rule::new("*").unwrap().pull(pattern(">"))]);
        assert!(all.may("oslo", Pull, "a.b"));
        for topic in ["", "*", ">", "a.>", "..", "../a", "a b", "a\0", "a/b"] {
            assert!(!all.may("oslo", Pull, topic), "{topic:?}");
        }
    }

    #[test]
    fn rules_are_for_nodes_or_for_everybody() {
        for peer in ["", "a.b", "par*", "**"] {
            assert!(Rule::new(peer).is_err(), "{peer:?}");
        }
    }
}
