//! A bus of its own for a test, gone at its end.

#[path = "../../../../tests/shared/scratch.rs"]
pub(crate) mod scratch;

use memlane::{Bus, Topic};
use scratch::{Scratch, scratch};

pub(crate) struct Place {
    pub(crate) bus: Bus,
    _root: Scratch,
}

impl Place {
    pub(crate) fn new() -> Self {
        let root = scratch();
        Self { bus: Bus::builder("place").root(root.path()).open().unwrap(), _root: root }
    }

    /// A small topic.
    pub(crate) fn topic(&self, name: &str) -> Topic {
        self.bus.topic(name).unwrap().capacity_bytes(4096).prefault(false).open_or_create().unwrap()
    }
}
