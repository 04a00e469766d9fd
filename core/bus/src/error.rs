//! What can go wrong, by operation, and what to do then.

use crate::message::TypeInfo;
use crate::name::NameError;
use crate::payload::{EncodeError, InvalidPayload};
use memlane_journal::JournalError;
use memlane_ring::extension::{ExtensionError, Malformed};
use memlane_ring::{ClaimError, ReadError, TopicError, TypeTag};
use memlane_shm::SegmentError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a bus could not be opened or looked through.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The name can't be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The directory for buses isn't there: mount a tmpfs, or choose another with `root` or `MEMLANE_ROOT`, on any local file system if
    /// topics are to be named segments (`backing` or `MEMLANE_BACKING`).
    #[error(
        "{path}: no such directory; buses live on a tmpfs, usually below /dev/shm: mount one there, or name another directory with MEMLANE_ROOT (in Rust: Bus::builder(…).root(…)), which may lie on any local file system with MEMLANE_BACKING=named (backing(Backing::Named))"
    )]
    NoRoot {
        /// The directory.
        path: PathBuf,
    },
    /// The usual directory for buses is not this user's alone, so whoever made it could read and change what goes over it.
    #[error(
        "{path}: {wrong}, so buses there are not private: have it removed, or name a directory that you trust with MEMLANE_ROOT (in Rust: Bus::builder(…).root(…))"
    )]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// There is no bus of that name, and it was not to be made.
    #[error("{path}: there is no such bus: publish to it, which makes it, or name another")]
    NotFound {
        /// Where its directory would be.
        path: PathBuf,
    },
    /// The directory's mode or owner keeps this process out, or its file system is mounted read-only.
    #[error(
        "{path}: no permission to {action}: it needs another user, group or mode, or a file system mounted for writing"
    )]
    NoPermission {
        /// The directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
    },
    /// The bus's directory could not be made, read or changed.
    #[error("{path}: can't {action}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A topic of it could not be handled.
    #[error(transparent)]
    Topic(#[from] TopicError),
}

impl BusError {
    /// An error about a bus's directory, or about the one where buses live.
    pub(crate) fn of_directory(error: SegmentError) -> Self {
        match error {
            SegmentError::NoPermission { path, action } => Self::NoPermission { path, action },
            SegmentError::System { path, action, source } => Self::Directory { path, action, source },
            SegmentError::NotFound { path } => {
                Self::Directory { path, action: "find it", source: io::ErrorKind::NotFound.into() }
            }
            other => Self::Topic(other.into()),
        }
    }
}

/// Why a topic, a publisher or a subscriber could not be opened. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The topic's files, slots or options stand against it.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A source can't have this name.
    #[error(
        "{name:?} can't be a source's name: {reason}; names are like `venue.a`: tokens of A-Z a-z 0-9 _ - between dots"
    )]
    SourceName {
        /// The name, cut if it is long.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The log could not be looked through.
    #[error(transparent)]
    Log(ClaimError),
    /// The journal that is to be read stands against it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A replay begins in the journal, last values lie at the end of the ring: open one of them.
    #[error("topic {topic}: a replay begins before the last values that were asked for: open one or the other")]
    LastValuesOfReplay {
        /// The topic's name.
        topic: String,
    },
    /// The topic carries another type than the one asked for: use that one, another topic, or make this one anew.
    #[error(
        "topic {topic} carries {found}, not {expected}: use the same type and version on both sides, or another topic"
    )]
    TypeMismatch {
        /// The topic's name.
        topic: String,
        /// What the topic carries.
        found: TypeName,
        /// What was asked for.
        expected: TypeName,
    },
    /// The oldest can be dropped only where no gated subscriber waits for it.
    #[error(
        "topic {topic} may have gated subscribers, whose messages can't be dropped: make it lossy_only, or choose to wait"
    )]
    NotLossyOnly {
        /// The topic's name.
        topic: String,
    },
    /// The type needs a larger alignment than the topic's payloads have: make the topic with `message::<T>()`.
    #[error(
        "{expected} is aligned to {needed} bytes, payloads of topic {topic} to {found}: make the topic for this type, or with payload_align({needed})"
    )]
    Align {
        /// The topic's name.
        topic: String,
        /// The type.
        expected: TypeName,
        /// What it needs, in bytes.
        needed: usize,
        /// What the topic has, in bytes.
        found: u64,
    },
}

/// A type as a topic knows it, for messages to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeName(pub(crate) TypeTag);

impl From<&TypeInfo> for TypeName {
    fn from(info: &TypeInfo) -> Self {
        Self(TypeTag { name: info.name.clone(), version: info.version, fingerprint: info.fingerprint })
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TypeTag { name, version, fingerprint } = &self.0;
        if name.is_empty() {
            return formatter.write_str("raw bytes");
        }
        write!(formatter, "{name} v{version} (layout {fingerprint:016x})")
    }
}

/// Why a message was not published. Subscribers see nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The log refused it.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The value could not be archived.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Its headers could not be put together.
    #[error(transparent)]
    Extension(#[from] ExtensionError),
}

impl PublishError {
    /// Whether a rate limit is used up: [`crate::Publisher::rate_wait`] says for how long.
    #[must_use]
    pub fn is_rate_limited(&self) -> bool {
        *self == Self::Claim(ClaimError::RateLimited)
    }

    /// Whether it is worth trying again: there was no room at the moment.
    #[must_use]
    pub fn is_full(&self) -> bool {
        *self == Self::Claim(ClaimError::Full)
    }
}

/// What a subscriber finds instead of a message. After any but `Forked` and `Removed`, go on receiving.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Publishers overtook this lossy subscriber: these positions are gone.
    #[error("positions {from} to {to} were overwritten before they were read")]
    Lost {
        /// First position that is gone.
        from: u64,
        /// First position that is still there.
        to: u64,
    },
    /// No publisher writes what stands at this position. It stays there: [`crate::Subscriber::skip_to_live`] gets past it.
    #[error("corrupt frame at position {position}: skip to live, or remove the topic and make it anew")]
    Corrupt {
        /// Where.
        position: u64,
    },
    /// The payload at this position is no value of the subscriber's type. It was skipped.
    #[error("message at position {position} is not a valid {type_name}: {reason}")]
    Invalid {
        /// Where.
        position: u64,
        /// The type.
        type_name: TypeName,
        /// What is wrong with it.
        reason: InvalidPayload,
    },
    /// The extensions of the message at this position can't be read, so a filter can't tell whether it matches either. It was
    /// skipped.
    #[error("message at position {position} has malformed extensions")]
    Malformed {
        /// Where.
        position: u64,
    },
    /// The journal that it reads can't be read here. It stays there: [`crate::Subscriber::skip_to_live`] gets past it.
    #[error(transparent)]
    Journal(Box<JournalError>),
    /// The journal was read to its end, but the subscriber can't go on in the ring: the next call tries again.
    #[error(transparent)]
    Topic(Box<TopicError>),
    /// This process was forked after the subscriber was opened.
    #[error("this subscriber belongs to the parent of this forked process: open one in the child")]
    Forked,
    /// The topic was removed, and everything in it was read.
    #[error("the topic was removed: open it again, or make it anew")]
    Removed,
}

impl From<ReadError> for ReceiveError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Lost { from, to } => Self::Lost { from, to },
            ReadError::Corrupt { position } => Self::Corrupt { position },
            ReadError::Malformed { position } => Self::Malformed { position },
            ReadError::Forked => Self::Forked,
            ReadError::Removed => Self::Removed,
        }
    }
}

impl ReceiveError {
    pub(crate) fn of_journal(error: JournalError) -> Self {
        Self::Journal(Box::new(error))
    }

    pub(crate) fn malformed(position: u64, _: Malformed) -> Self {
        Self::Malformed { position }
    }
}
