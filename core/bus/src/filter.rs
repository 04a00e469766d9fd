//! Which messages a subscriber wants, told by their extensions.

use memlane_ring::extension::{Fields, Malformed};
use std::collections::HashSet;

/// Says which messages a subscriber gets: those with certain keys or headers. What doesn't match is passed over without a look at
/// its payload, and so is every message without the key or header that is asked for.
///
/// ```
/// use memlane::Filter;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let root = memlane::doc_root();
/// # let bus = memlane::Bus::builder("filters").root(&root).open()?;
/// # let topic = bus.topic("t")?.open_or_create()?;
/// let filter = Filter::keys(["ZIEXT", "ZVZZT"]).and(Filter::header("venue", "xnas"));
/// let mut subscriber = topic.subscriber::<[u8]>().filter(filter).open()?;
/// let mut publisher = topic.publisher::<[u8]>().open()?;
///
/// publisher.publish(b"no key at all")?;
/// publisher.message().key(b"ZIEXT")?.header("venue", b"xnys")?.publish(b"another venue")?;
/// publisher.message().key(b"ZVZZT")?.header("venue", b"xnas")?.publish(b"this one")?;
/// assert_eq!(&*subscriber.receive()?, b"this one");
/// # Ok(())
/// # }
/// ```
///
/// Cost: for each condition that is looked at a walk over the message's extensions; for a set of keys one hash of the key besides. No
/// allocation but when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    condition: Condition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Key(Box<[u8]>),
    Keys(HashSet<Box<[u8]>>),
    Header { key: Box<str>, value: Box<[u8]> },
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

impl Filter {
    /// Messages with this key.
    #[must_use]
    pub fn key(key: impl AsRef<[u8]>) -> Self {
        Self { condition: Condition::Key(key.as_ref().into()) }
    }

    /// Messages with one of these keys; of no keys, none.
    #[must_use]
    pub fn keys<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self { condition: Condition::Keys(keys.into_iter().map(|key| key.as_ref().into()).collect()) }
    }

    /// Messages with a header of this key that has this value. Of several headers with the key one is enough.
    #[must_use]
    pub fn header(key: &str, value: impl AsRef<[u8]>) -> Self {
        Self { condition: Condition::Header { key: key.into(), value: value.as_ref().into() } }
    }

    /// Messages that match both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let mut conditions = match self.condition {
            Condition::All(conditions) => conditions,
            condition => vec![condition],
        };
        conditions.push(other.condition);
        Self { condition: Condition::All(conditions) }
    }

    /// Messages that match one of the two, or both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let mut conditions = match self.condition {
            Condition::Any(conditions) => conditions,
            condition => vec![condition],
        };
        conditions.push(other.condition);
        Self { condition: Condition::Any(conditions) }
    }

    /// Whether a message with these extensions matches. An error if a length in them lies before that is known.
    #[inline]
    pub(crate) fn matches(&self, fields: &Fields<'_>) -> Result<bool, Malformed> {
        self.condition.holds(fields)
    }
}

impl Condition {
    fn holds(&self, fields: &Fields<'_>) -> Result<bool, Malformed> {
        match self {
            Self::Key(wanted) => Ok(fields.key()?.is_some_and(|key| key == &**wanted)),
            Self::Keys(wanted) => Ok(fields.key()?.is_some_and(|key| wanted.contains(key))),
            Self::Header { key, value } => {
                for field in fields.clone() {
                    if field?.user_header() == Some((key, value)) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::All(conditions) => {
                for condition in conditions {
                    if !condition.holds(fields)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Any(conditions) => {
                for condition in conditions {
                    if condition.holds(fields)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}
