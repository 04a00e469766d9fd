//! A directory for the topics of a test, gone with them at its end; and every test of the program once more on named segments.

#[path = "on_named_segments.rs"]
mod on_named_segments;

use memlane_shm::{Backing, named};
use std::path::Path;
use tempfile::TempDir;

/// The directory.
pub(crate) struct Scratch(TempDir);

/// An empty directory: on the tmpfs for topics in files, elsewhere for named segments.
pub(crate) fn scratch() -> Scratch {
    let shared_memory = Path::new("/dev/shm");
    let on_tmpfs = Backing::of_environment().unwrap() == Backing::File && shared_memory.is_dir();
    Scratch(if on_tmpfs { tempfile::tempdir_in(shared_memory) } else { tempfile::tempdir() }.unwrap())
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Before the directory goes, for afterwards nothing would lead to the segments.
        let _ = named::remove_directory(self.path());
    }
}
