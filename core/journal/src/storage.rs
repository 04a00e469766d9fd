//! What the journal asks of a file system, and no more: the machine's own (disk.rs) or a simulated one (simulated.rs), which
//! gives tests every state that a loss of power may leave.
//!
//! What may be relied on after a loss of power, of the machine's own as of the simulated one:
//!
//! | done | is there afterwards |
//! |---|---|
//! | `write_at`, `give_back`, `truncate`, `reserve`, and then `sync` of the same file | whole |
//! | `write_at`, `give_back` without `sync` | any of its sectors (512 bytes), in any order among all writes since the last `sync` |
//! | `truncate`, `reserve` without `sync` | the old length or the new one |
//! | `create`, `rename`, `remove`, `create_directory`, and then `sync_directory` of the parent | whole |
//! | the same without `sync_directory` | the first so many of them, in the order in which they were done in that directory |

use crate::error::JournalError;
use crate::layout::UNFINISHED_SUFFIX;
use crate::window::Window;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

/// A file system.
pub trait Storage: Debug + Send + Sync {
    /// Makes the directory `path` and those that it lies in, where they are missing; the names of those that it makes, and of the
    /// deepest that was there, survive a loss of power.
    ///
    /// Cost: two system calls for each, and one sync of each one's parent. Errors: the system's; `AlreadyExists` if a file has
    /// that name.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Makes an empty file for reading and writing, readable by its owner and group.
    ///
    /// Errors: the system's; `AlreadyExists` if something has that name.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>>;

    /// Opens a file that is there.
    ///
    /// Errors: the system's; `NotFound` if there is none.
    fn open(&self, path: &Path, access: FileAccess) -> io::Result<Box<dyn StoredFile>>;

    /// The names of what lies in the directory `path`, sorted; names that aren't UTF-8 are left out, since none of ours is.
    ///
    /// Errors: the system's.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Gives the file `from` the name `to` in the same directory, in place of what may have had it.
    ///
    /// Errors: the system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the file `path`. Whoever has it open or mapped keeps it.
    ///
    /// Errors: the system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Waits until what was done to the names in the directory `path` survives a loss of power.
    ///
    /// Errors: the system's.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Takes the lock on the file `path`, which is made if it is missing; `None` if somebody who lives has it. It is let go when
    /// what is returned is dropped, and at death.
    ///
    /// Errors: the system's.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Debug + Send + Sync>>>;

    /// A number of the host's run since it was started: what was written in the same run needs no loss of power to be thought of. Where the
    /// host doesn't tell, another one each time.
    fn boot(&self) -> u64;
}

/// Puts a file with these bytes at `path`, in place of what may be there; `before_it_counts` is called when all of it survives a loss of power and it lacks
/// nothing but its name.
///
/// Cost: ten system calls, two syncs among them. Errors: the system's; then what was there is there, unless the last sync failed.
pub(crate) fn replace_file(
    storage: &dyn Storage,
    path: &Path,
    bytes: &[u8],
    before_it_counts: impl FnOnce(),
) -> Result<(), JournalError> {
    let directory = path.parent().unwrap_or(path);
    let failed = |action| JournalError::of(path, action);
    let (unfinished, file) = make_aside(storage, path)?;
    file.write_at(bytes, 0).map_err(failed("write it"))?;
    file.sync().map_err(failed("sync it"))?;
    before_it_counts();
    storage.rename(&unfinished, path).map_err(failed("replace it"))?;
    storage.sync_directory(directory).map_err(JournalError::of(directory, "sync it"))
}

/// Makes an empty file that is to become the one at `path`, in place of one that a death may have left; gives its path, too.
///
/// Cost: two system calls. Errors: the system's.
pub(crate) fn make_aside(storage: &dyn Storage, path: &Path) -> Result<(PathBuf, Box<dyn StoredFile>), JournalError> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(UNFINISHED_SUFFIX);
    let unfinished = PathBuf::from(unfinished);
    match storage.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(JournalError::of(path, "make it anew")(error));
        }
        _ => {}
    }
    let file = storage.create(&unfinished).map_err(JournalError::of(path, "make it"))?;
    Ok((unfinished, file))
}

/// What an open file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAccess {
    /// Reading alone.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// An open file.
pub trait StoredFile: Debug + Send + Sync {
    /// Its length, in bytes.
    ///
    /// Errors: the system's.
    fn length(&self) -> io::Result<u64>;

    /// Fills `bytes` from `offset` on, but not past the file's end; returns how many there were.
    ///
    /// Cost: a system call. Errors: the system's.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// Cost: a system call, most often. Errors: the system's; some of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes it `bytes` long, if it is shorter, and reserves room for all of them, which read as zeros where nothing was written.
    ///
    /// With `Room::Written` the room is also written, so that later writes change nothing but bytes: a sync of them takes half the
    /// time, but all is written twice. It ends with a `sync`.
    ///
    /// Errors: the system's; `StorageFull`. Its length is then as it was.
    fn reserve(&self, bytes: u64, room: Room) -> io::Result<()>;

    /// Makes it `bytes` long.
    ///
    /// Errors: the system's.
    fn truncate(&self, bytes: u64) -> io::Result<()>;

    /// Gives the room of `bytes` bytes from `offset` on back; as far as they lie in the file, they read as zeros, and its length stays.
    ///
    /// Errors: the system's. A file system that can't is none; there they read as before.
    fn give_back(&self, offset: u64, bytes: u64) -> io::Result<()>;

    /// Whether it still has a name: one that was removed goes with the last who has it open.
    ///
    /// Errors: the system's.
    fn has_name(&self) -> io::Result<bool>;

    /// A look at it: in place where that can be.
    ///
    /// Errors: the system's.
    fn window(&self) -> io::Result<Box<dyn Window>>;

    /// Waits until all that was written before survives a loss of power, with the file's length (`fdatasync`). After an error it isn't known
    /// what of it does: the kernel may have dropped it, and a later success says nothing.
    ///
    /// Errors: the system's.
    fn sync(&self) -> io::Result<()>;
}

/// What the room is that a file is given ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// Reserved.
    #[default]
    Reserved,
    /// Reserved and written.
    Written,
}
