//! Directories that appear whole or not at all.
//!
//! A directory is filled under a temporary name beside its place ([`Staged`]) and renamed there. Its maker holds a lock on a
//! file inside meanwhile, so that [`remove_abandoned`] can tell a directory that is being made from one whose maker died.

use crate::lock::LockFile;
use crate::named;
use crate::segment::{Owner, Segment, SegmentError, SegmentOptions};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What the names of half-made and half-removed directories begin with; a topic's name can't.
pub const STAGING_PREFIX: &str = ".staging-";

/// The file whose lock says that a staged directory's maker lives.
const MAKER_FILE: &str = "maker";

/// A directory that is being filled. Dropping it removes it.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    _maker: LockFile,
    placed: bool,
}

impl Staged {
    /// Makes an empty directory in `parent`, under a name that nobody else has.
    ///
    /// Cost: four system calls. Errors: [`SegmentError`].
    pub fn new(parent: &Path) -> Result<Self, SegmentError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            // The process id alone isn't unique across PID namespaces; time makes a clash rare, `create` makes it harmless.
            let name = format!("{STAGING_PREFIX}{}-{}-{count}", std::process::id(), crate::clock::unix_ns());
            let path = parent.join(name);
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => {
                    return Err(SegmentError::of(parent, "make a directory in it", error));
                }
            }
            let options = File::options().read(true).write(true).create_new(true).clone();
            let maker = match LockFile::open(&path.join(MAKER_FILE), &options) {
                Ok(maker) => maker,
                // Taken for abandoned while this process was stopped: start again.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(SegmentError::of(&path, "make a file in it", error)),
            };
            maker.try_lock(0).map_err(|error| SegmentError::of(&path, "lock a file in it", error))?;
            return Ok(Self { path, _maker: maker, placed: false });
        }
    }

    /// Where it lies for now.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its permissions and moves it to `target`, if nothing is there.
    ///
    /// Returns `false`, and removes it, if something is. Errors: [`SegmentError`].
    pub fn place(mut self, target: &Path, mode: u32, owner: Owner) -> Result<bool, SegmentError> {
        let failed = |action| move |error| SegmentError::of(target, action, error);
        let directory = open_directory(&self.path).map_err(failed("open it"))?;
        owner.give(target, &directory, mode)?;
        crate::crash_point!("create.before_rename");
        self.placed = rename_to_free_name(&self.path, target).map_err(failed("put it in its place"))?;
        if self.placed {
            // It has done its duty; one that a dead maker leaves in a finished directory means nothing.
            let _ = fs::remove_file(target.join(MAKER_FILE));
        }
        Ok(self.placed)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.placed {
            // A leftover that can't be removed now goes with the next `remove_abandoned`.
            let _ = named::remove_directory(&self.path);
        }
    }
}

/// Makes a file of `bytes` bytes at `path`, which appears with what `fill` wrote or not at all; says whether it did, or one was there.
///
/// Errors: [`SegmentError`].
pub fn place_file(
    path: &Path,
    bytes: u64,
    options: &SegmentOptions,
    fill: impl FnOnce(&Segment),
) -> Result<bool, SegmentError> {
    let staged = Staged::new(path.parent().unwrap_or(Path::new(".")))?;
    let made = staged.path().join("file");
    fill(&Segment::create(&made, bytes, options)?);
    rename_to_free_name(&made, path).map_err(|error| SegmentError::of(path, "put it in its place", error))
}

/// The very directory at `path`, not what a link leads to.
fn open_directory(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)
}

/// Makes an empty directory at `path`, with this mode, whatever the umask, and this owner; returns `false` if something is there.
///
/// Cost: three to five system calls. Errors: [`SegmentError`]; nothing is left behind.
pub fn make(path: &Path, mode: u32, owner: Owner) -> Result<bool, SegmentError> {
    let failed = |action| move |error| SegmentError::of(path, action, error);
    // Nobody else's until it has its permissions.
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(failed("make it")(error)),
    }
    let given = open_directory(path).map_err(failed("open it"));
    given.and_then(|directory| owner.give(path, &directory, mode)).map(|()| true).inspect_err(|_| {
        // Empty, unless a process of the same user was quick to use it; the first error tells more.
        let _ = fs::remove_dir(path);
    })
}

/// Renames `from` to `to` unless `to` exists; says whether it did.
fn rename_to_free_name(from: &Path, to: &Path) -> io::Result<bool> {
    let (from, to) = (path_string(from)?, path_string(to)?);
    // SAFETY: both are strings that end with a zero and outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if result == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(false) } else { Err(error) }
}

fn path_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a path can't hold a zero byte"))
}

/// Where a directory that is being removed lies in its staged one.
const REMOVED: &str = "removed";

/// Removes the directory at `path` in one step as seen by others: it first loses its name, then its files. In between `farewell` gets
/// to know where it lies.
///
/// Those who have its files mapped keep them. Errors: [`SegmentError`]; then it is there as before, and `farewell` wasn't called.
pub fn remove(path: &Path, farewell: impl FnOnce(&Path)) -> Result<(), SegmentError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let staged = Staged::new(parent)?;
    let hidden = staged.path().join(REMOVED);
    fs::rename(path, &hidden).map_err(|error| SegmentError::of(path, "remove it", error))?;
    crate::crash_point!("remove.hidden");
    farewell(&hidden);
    drop(staged);
    Ok(())
}

/// Removes what dead makers and removers left half-done in `parent`; returns how many directories that were. `farewell` gets to know
/// where each lies whose remover died, as in [`remove`].
///
/// Errors: [`SegmentError`] if `parent` can't be read; what can't be removed is left.
pub fn remove_abandoned(parent: &Path, farewell: impl Fn(&Path)) -> Result<usize, SegmentError> {
    let failed = |error| SegmentError::of(parent, "list it", error);
    let mut removed = 0;
    for entry in fs::read_dir(parent).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if !entry.file_name().as_bytes().starts_with(STAGING_PREFIX.as_bytes()) || !is_abandoned(&path) {
            continue;
        }
        let hidden = path.join(REMOVED);
        if hidden.is_dir() {
            farewell(&hidden);
        }
        removed += usize::from(named::remove_directory(&path).is_ok());
    }
    Ok(removed)
}

/// Whether the maker of a staged directory is dead.
///
/// A maker that has made the directory but not yet its file and its lock looks dead for a moment, so nothing younger than
/// a second counts as abandoned. One that was stopped right there for longer starts again, see [`Staged::new`].
fn is_abandoned(path: &Path) -> bool {
    const MOMENT: std::time::Duration = std::time::Duration::from_secs(1);
    let is_old =
        || path.metadata().and_then(|data| data.modified()).is_ok_and(|at| at.elapsed().is_ok_and(|age| age > MOMENT));
    // A pipe of that name, which somebody put there, is not waited for.
    match LockFile::open(&path.join(MAKER_FILE), File::options().read(true).custom_flags(libc::O_NONBLOCK)) {
        Ok(maker) => maker.is_held_by_another(0).is_ok_and(|held| !held) && is_old(),
        Err(error) => error.kind() == io::ErrorKind::NotFound && is_old(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn of_two_makers_one_wins_and_the_other_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("topic");
        let (first, second) = (Staged::new(parent.path()).unwrap(), Staged::new(parent.path()).unwrap());
        assert!(first.place(&target, 0o700, Owner::default()).unwrap());
        assert!(!second.place(&target, 0o700, Owner::default()).unwrap());
        let names: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["topic"]);
    }

    #[test]
    fn a_directory_that_is_being_made_is_not_abandoned() {
        let parent = tempfile::tempdir().unwrap();
        let staged = Staged::new(parent.path()).unwrap();
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        File::open(staged.path()).unwrap().set_modified(old).unwrap();
        assert_eq!(remove_abandoned(parent.path(), |_| {}).unwrap(), 0);
        assert!(staged.path().exists());
    }

    #[test]
    fn what_a_dead_maker_left_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join(format!("{STAGING_PREFIX}1-1-1"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join(MAKER_FILE), "").unwrap();
        assert_eq!(remove_abandoned(parent.path(), |_| {}).unwrap(), 0, "too young to tell");
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        File::open(&path).unwrap().set_modified(old).unwrap();
        assert_eq!(remove_abandoned(parent.path(), |_| {}).unwrap(), 1);
        assert!(!path.exists());
    }

    #[test]
    fn a_removed_directory_is_gone_whole() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("topic");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("log"), "x").unwrap();
        let mut seen = None;
        remove(&path, |hidden| seen = Some((path.exists(), fs::read_to_string(hidden.join("log")).unwrap()))).unwrap();
        assert_eq!(seen.unwrap(), (false, "x".to_owned()), "it has lost its name before its files");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        let missing = remove(&path, |_| panic!("there is nobody to take leave of")).unwrap_err();
        assert!(matches!(missing, SegmentError::NotFound { .. }));
    }

    #[test]
    fn what_a_dead_remover_left_takes_its_leave_too() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join(format!("{STAGING_PREFIX}1-1-1"));
        fs::create_dir_all(path.join(REMOVED)).unwrap();
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        File::open(&path).unwrap().set_modified(old).unwrap();
        let left = std::cell::RefCell::new(Vec::new());
        let removed = remove_abandoned(parent.path(), |hidden| left.borrow_mut().push(hidden.to_path_buf()));
        assert_eq!((removed.unwrap(), left.into_inner()), (1, vec![path.join(REMOVED)]));
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_is_made_with_its_mode_once_and_not_in_place_of_a_link() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("bus");
        assert!(make(&path, 0o1777, Owner::default()).unwrap());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o1777);
        assert!(!make(&path, 0o700, Owner::default()).unwrap());
        let link = parent.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(!make(&link, 0o700, Owner::default()).unwrap());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o1777, "it is left as it is");
    }
}
