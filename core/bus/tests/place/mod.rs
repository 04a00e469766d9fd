//! A bus of its own for a test, gone at its end.

use memlane::{Bus, Topic};

pub(crate) struct Place {
    pub(crate) bus: Bus,
    _root: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { bus: Bus::builder("place").root(root.path()).open().unwrap(), _root: root }
    }

    /// A small topic.
    pub(crate) fn topic(&self, name: &str) -> Topic {
        self.bus.topic(name).unwrap().capacity_bytes(4096).prefault(false).open_or_create().unwrap()
    }
}
