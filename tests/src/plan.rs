//! What services, their clients, and those who wait on many topics are told.

use crate::role::Place;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What somebody sleeps by who waits on many topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Waiting {
    /// A subscriber that blocks, on the first topic.
    Blocked,
    /// A selector.
    Selector,
    /// A subscriber to a pattern.
    Pattern,
    /// Tasks of one thread, one for each topic.
    Tasks,
    /// One future in `memlane::block_on` that polls a wait for each.
    BlockOn,
    /// A file descriptor that an event loop waits for.
    Notifier,
}

/// A server that does with each request what that says, and writes down what it handled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serve {
    /// The bus; the topic's name is the service's.
    pub place: Place,
    /// How long each request takes, in microseconds.
    pub work_us: u64,
    /// Goes to sleep as soon as there is nothing to do.
    pub is_sleepy: bool,
}

/// A client that calls and checks the replies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The bus; the topic's name is the service's.
    pub place: Place,
    /// As whom.
    pub client: u64,
    /// How many replies it wants; without end if zero.
    pub calls: u64,
    /// Asks for replies of all kinds.
    pub is_mixed: bool,
    /// Goes to sleep as soon as there is nothing to do, and begins each call at a random moment.
    pub is_sleepy: bool,
}

/// A recorder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where.
    pub place: Place,
    /// The journal.
    pub directory: PathBuf,
    /// Syncs each batch; else the kernel does what it likes.
    pub sync: bool,
    /// Has the topic go on if the disk is full or fails; else publishers wait.
    pub go_on: bool,
    /// Makes the topic again if it is gone.
    pub restore: bool,
    /// Keeps so many bytes; all if there is no limit.
    pub keep_bytes: Option<u64>,
    /// Compresses and compacts segments as soon as they are closed.
    pub shrink: bool,
}

impl Record {
    /// Without syncs; publishers wait, and everything is kept.
    #[must_use]
    pub fn new(place: &Place, directory: &Path) -> Self {
        let (place, directory) = (place.clone(), directory.to_path_buf());
        Self { place, directory, sync: false, go_on: false, restore: false, keep_bytes: None, shrink: false }
    }
}
