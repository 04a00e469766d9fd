//! Why the log refused something. Hot-path errors are small and `Copy`; those of opening carry what a person needs to know.

use crate::header::HeaderError;
use memlane_shm::SegmentError;
use std::path::PathBuf;

/// Why a claim or a publish was refused. Nothing was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The slowest gated subscriber, or a publisher that hasn't finished, holds the space: wait for it, or retry later.
    #[error("the log is full: a gated subscriber (or an unfinished publisher) holds the space; wait for room or retry")]
    Full,
    /// Longer than the topic's `payload_bytes_max`; no retry can help.
    #[error("the payload is longer than the topic allows: make the topic with a larger payload_bytes_max or capacity")]
    TooLong,
    /// The topic keeps the last message of each key, and has as many keys as there can be; no retry can help.
    #[error(
        "the topic has as many keys as it can keep last values of: use fewer keys, or make it with last_values of more"
    )]
    KeysFull,
    /// A key is longer than the topic, which keeps the last message of each, has room for: 255 bytes at most.
    #[error(
        "the key is too long for the topic's last values: use one of at most 255 bytes, or last_values of longer messages"
    )]
    KeyTooLong,
    /// A message with a key is, with its headers, longer than the topic, which keeps the last of each key, has room for.
    #[error(
        "the message has a key and is longer than the topic keeps: make the topic with last_values of longer messages"
    )]
    KeyedTooLong,
    /// The rate limit of the publisher or of its topic is used up; how long to wait is to be asked of the publisher.
    #[error("the rate limit is used up: wait as long as the publisher's `rate_wait` says, or use a call that waits")]
    RateLimited,
    /// Longer than the rate limit's burst of bytes, or a burst of no messages: no retry can help.
    #[error("the message is longer than the rate limit lets through at once: limit it with a larger burst of bytes")]
    LongerThanBurst,
    /// This process was forked after the publisher was made, which belongs to the parent: open one of its own.
    #[error("this publisher belongs to the parent of this forked process: open one in the child")]
    Forked,
    /// The topic was removed; its subscribers are gone or going. Who still has it mapped may receive what was being published.
    #[error("the topic was removed: open it again, or make it anew")]
    Removed,
    /// The topic's memory holds what no publisher writes: remove the topic and make it anew.
    #[error("the topic's memory is corrupt: remove the topic and make it anew")]
    Corrupt,
}

impl ClaimError {
    /// Whether waiting helps: for room, or for what a rate limit lets through.
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(self, Self::Full | Self::RateLimited)
    }
}

/// What a subscriber finds instead of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The publishers overtook this lossy subscriber: what stood in this range of positions is gone. Go on reading.
    #[error("positions {from} to {to} were overwritten before they were read")]
    Lost {
        /// First position that is gone.
        from: u64,
        /// First position that is still there, where reading goes on.
        to: u64,
    },
    /// There are bytes at this position that no publisher writes. Skip to live, or leave.
    #[error("corrupt frame at position {position}: skip to live, or remove the topic and make it anew")]
    Corrupt {
        /// Where.
        position: u64,
    },
    /// The extensions of the frame at this position can't be read, so nobody can tell whether it is wanted. It was passed over.
    #[error("the frame at position {position} has malformed extensions")]
    Malformed {
        /// Where.
        position: u64,
    },
    /// This process was forked after the subscriber was made, which belongs to the parent: open one of its own.
    #[error("this subscriber belongs to the parent of this forked process: open one in the child")]
    Forked,
    /// The topic was removed, and everything that was in it was read.
    #[error("the topic was removed")]
    Removed,
}

/// Why a topic could not be made, opened or joined. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// A living publisher uses this source's name: use another, or wait for it to leave.
    #[error("{path}: somebody publishes here as the source {name} already: stop that one, or use another name")]
    SourceTaken {
        /// The topic.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// The topic knows as many sources as it can, and keeps their names for ever: use one of them, or make the topic anew.
    #[error(
        "{path}: all {sources} names of sources are given: use one of them again, or make the topic anew (with more publishers, each of which adds one)"
    )]
    SourcesFull {
        /// The topic.
        path: PathBuf,
        /// How many there are.
        sources: u32,
    },
    /// An option has a value that can't be.
    #[error("{option} can't be {value}: {reason}")]
    BadOption {
        /// The option's name.
        option: &'static str,
        /// What was asked for.
        value: u64,
        /// What it may be.
        reason: &'static str,
    },
    /// There is a topic of that name already.
    #[error("{path}: a topic of that name exists already: open it, or remove it first")]
    Exists {
        /// Its directory.
        path: PathBuf,
    },
    /// There is no topic of that name.
    #[error("{path}: there is no such topic (it may have been removed): create it first")]
    NotFound {
        /// Where its directory would be.
        path: PathBuf,
    },
    /// The files are not those of a topic, or not of one that this version understands.
    #[error("{path}: {source}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// Another publisher holds a topic that was made for one.
    #[error(
        "{path}: process {pid} publishes here already and the topic was made for one publisher: stand by for it, or make the topic with many publishers"
    )]
    PublisherExists {
        /// The topic's directory.
        path: PathBuf,
        /// The holder's process id, in its own namespace.
        pid: u64,
    },
    /// All publisher slots are taken by live processes.
    #[error(
        "{path}: all {slots} publisher slots are taken: close one, or make the topic with a larger publishers_max (at most 1024)"
    )]
    PublishersFull {
        /// The topic's directory.
        path: PathBuf,
        /// How many there are.
        slots: u32,
    },
    /// All subscriber slots are taken by live processes.
    #[error(
        "{path}: all {slots} subscriber slots are taken: close one, read lossily (needs no slot), or make the topic with a larger subscribers_max"
    )]
    SubscribersFull {
        /// The topic's directory.
        path: PathBuf,
        /// How many there are.
        slots: u32,
    },
    /// The topic is for subscribers that hold nobody up: read lossily.
    #[error(
        "{path}: the topic takes lossy subscribers only: read lossily or the latest, or make the topic without lossy_only"
    )]
    LossyOnly {
        /// The topic's directory.
        path: PathBuf,
    },
    /// A start position that the ring doesn't hold, or that isn't where a frame begins.
    #[error("position {position} is not in the log, which holds {from} to {to}, or no frame begins there")]
    NoSuchPosition {
        /// What was asked for.
        position: u64,
        /// The oldest that can be had.
        from: u64,
        /// The end of the log.
        to: u64,
    },
    /// The topic doesn't keep the last message of each key.
    #[error("{path}: the topic keeps no last values: make it with last_values")]
    NoLastValues {
        /// The topic's directory.
        path: PathBuf,
    },
    /// Publishers overtook a joiner that holds nobody up, again and again: join gated, or make the ring larger.
    #[error("{path}: publishers were faster than the last values could be read: join gated, or make the ring larger")]
    Overtaken {
        /// The topic's directory.
        path: PathBuf,
    },
    /// The table of last values holds what no publisher writes. The log is there as ever.
    #[error("{path}: the topic's last values are corrupt: remove the topic and make it anew, or join without them")]
    LastValuesCorrupt {
        /// The topic's directory.
        path: PathBuf,
    },
    /// A reader met bytes that no publisher writes while it looked for its place.
    #[error("{path}: corrupt frame at position {position}: remove the topic and make it anew")]
    Corrupt {
        /// The topic's directory.
        path: PathBuf,
        /// Where.
        position: u64,
    },
    /// The files could not be made, opened or mapped.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}
