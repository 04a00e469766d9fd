//! A topic's files, whatever its memory lies in.

use memlane_shm::named::memory_path;
use std::fs::set_permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Sets the permission bits of what is at `path`: of a named segment's link, and of its memory.
///
/// # Panics
/// If they can't be set.
pub fn set_mode(path: &Path, mode: u32) {
    for path in [memory_of(path), path.to_path_buf()] {
        set_permissions(path, PermissionsExt::from_mode(mode)).expect("they are this user's");
    }
}

/// The file with the memory of what is at `path`, also if this user may not read that any more; then it may afterwards.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn memory_of(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.to_path_buf();
    }
    let found = memory_path(path).or_else(|_| {
        set_permissions(path, PermissionsExt::from_mode(0o600))?;
        memory_path(path)
    });
    found.expect("there is a segment")
}
