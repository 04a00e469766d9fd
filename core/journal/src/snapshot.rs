//! Snapshots: the state that a service has built up out of a journal, as of a position, so that it need not read everything again.
//!
//! ```text
//!  <journal>/snapshots/<name>/<position, 20 digits>.snapshot      replaced never, removed when newer ones are there
//!  0       8         12    16      24         32        40       48          52     60         64
//!  +-------+---------+-----+-------+----------+---------+--------+-----------+- - -+----------+- - - -
//!  | magic | version | 0   | epoch | position | unix_ns | length | state's   | 0s  | head's   | state
//!  |       | u32     |     |       |          |         |        | CRC u32   |     | CRC u32  |
//!  +-------+---------+-----+-------+----------+---------+--------+-----------+- - -+----------+- - - -
//! ```
//!
//! The head's CRC covers its first 60 bytes. A snapshot has its name once all of it survives a loss of power, so one that is there and isn't whole was
//! damaged later; then the one before it serves, and more is read again. Retention keeps what the oldest of them still needs.

use crate::error::JournalError;
use crate::layout::{VERSION, crc, half, put, put_half, word};
use crate::offset::checked;
use crate::read::Journal;
use crate::storage::{FileAccess, Storage, replace_file};
use memlane_shm::clock;
use memlane_shm::crash_point;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The directory of snapshots, in a journal's.
pub const SNAPSHOTS_DIRECTORY: &str = "snapshots";
/// How many are kept, if nothing else is said.
pub const SNAPSHOTS_KEPT_DEFAULT: usize = 3;

const MAGIC: u64 = u64::from_le_bytes(*b"MEMLSNAP");
const SUFFIX: &str = ".snapshot";
const HEAD_BYTES: usize = 64;
const LENGTH_AT: usize = 40;
const STATE_CRC_AT: usize = 48;
const HEAD_CRC_AT: usize = 60;

/// A state as of a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Everything before this position is in it: read from here on.
    pub position: u64,
    /// When it was saved, in nanoseconds since 1970.
    pub unix_ns: u64,
    /// What was saved.
    pub state: Vec<u8>,
    /// Newer ones, which are damaged.
    pub damaged: Vec<PathBuf>,
}

/// The snapshots of one service. One at a time saves them.
#[derive(Debug)]
pub struct Snapshots {
    directory: PathBuf,
    storage: Arc<dyn Storage>,
    epoch: u64,
    kept: usize,
    /// Held for as long as this lives.
    _lock: Box<dyn Debug + Send + Sync>,
}

impl Journal {
    /// Opens the snapshots with the name `name`, to load the newest and to save more.
    ///
    /// Names are as for offsets. Cost: some six system calls. Errors: [`JournalError`]; [`JournalError::SnapshotsTaken`] if somebody who lives has them.
    pub fn snapshots(&self, name: &str) -> Result<Snapshots, JournalError> {
        let directory = self.directory().join(SNAPSHOTS_DIRECTORY).join(checked(name)?);
        let storage = self.storage().clone();
        storage.create_directory(&directory).map_err(JournalError::of(&directory, "make it"))?;
        let path = directory.join("lock");
        let lock = storage.lock(&path).map_err(JournalError::of(&path, "lock it"))?;
        let _lock = lock.ok_or_else(|| JournalError::SnapshotsTaken { path: directory.clone() })?;
        Ok(Snapshots { directory, storage, epoch: self.subject().epoch, kept: SNAPSHOTS_KEPT_DEFAULT, _lock })
    }

    /// Of each name that snapshots were saved under: the positions of those that are there, the oldest first.
    ///
    /// Cost: a system call or two for each name. Errors: [`JournalError`].
    pub fn all_snapshots(&self) -> Result<Vec<(String, Vec<u64>)>, JournalError> {
        let directory = self.directory().join(SNAPSHOTS_DIRECTORY);
        let names = list(&**self.storage(), &directory)?;
        let named = names.into_iter().filter(|name| checked(name).is_ok());
        named.map(|name| Ok((name.clone(), positions(&**self.storage(), &directory.join(name))?))).collect()
    }
}

impl Snapshots {
    /// Keep so many: where the newest is damaged, the one before it serves. At least one; default 3.
    #[must_use]
    pub fn keep(mut self, count: usize) -> Self {
        self.kept = count.max(1);
        self
    }

    /// Saves `state`, in which is everything before `position`; then gives up the oldest ones beyond those that are kept. When it returns, the
    /// snapshot survives a loss of power; if it doesn't, there is the one before.
    ///
    /// Cost: a write of all of it and two syncs. Errors: the system's.
    pub fn save(&mut self, position: u64, state: &[u8]) -> Result<(), JournalError> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + state.len());
        bytes.resize(HEAD_BYTES, 0);
        put(&mut bytes, 0, MAGIC);
        put_half(&mut bytes, 8, VERSION);
        for (at, value) in [(16, self.epoch), (24, position), (32, clock::unix_ns()), (LENGTH_AT, state.len() as u64)] {
            put(&mut bytes, at, value);
        }
        put_half(&mut bytes, STATE_CRC_AT, crc(state));
        let sum = crc(&bytes[..HEAD_CRC_AT]);
        put_half(&mut bytes, HEAD_CRC_AT, sum);
        bytes.extend_from_slice(state);
        replace_file(&*self.storage, &self.path(position), &bytes, || {
            crash_point!("snapshot.written");
        })?;
        crash_point!("snapshot.saved");
        let all = self.positions()?;
        for position in &all[..all.len().saturating_sub(self.kept)] {
            let path = self.path(*position);
            self.storage.remove(&path).map_err(JournalError::of(&path, "remove it"))?;
        }
        Ok(())
    }

    /// The newest that is whole; `None` if none was ever saved.
    ///
    /// Cost: a read of all of it. Errors: [`JournalError`]; [`JournalError::Corrupt`] if none is whole.
    pub fn load(&self) -> Result<Option<Snapshot>, JournalError> {
        let (mut damaged, mut first) = (Vec::new(), None);
        for position in self.positions()?.into_iter().rev() {
            let path = self.path(position);
            match self.read(&path, position) {
                Ok(snapshot) => return Ok(Some(Snapshot { damaged, ..snapshot })),
                Err(error @ JournalError::Corrupt { .. }) => {
                    first.get_or_insert(error);
                    damaged.push(path);
                }
                Err(error) => return Err(error),
            }
        }
        first.map_or(Ok(None), Err)
    }

    /// The positions of those that are there, the oldest first.
    ///
    /// Errors: [`JournalError`].
    pub fn positions(&self) -> Result<Vec<u64>, JournalError> {
        positions(&*self.storage, &self.directory)
    }

    fn path(&self, position: u64) -> PathBuf {
        self.directory.join(format!("{position:020}{SUFFIX}"))
    }

    fn read(&self, path: &Path, position: u64) -> Result<Snapshot, JournalError> {
        let failed = || JournalError::of(path, "read it");
        let file = self.storage.open(path, FileAccess::Read).map_err(failed())?;
        let mut bytes = vec![0; file.length().map_err(failed())? as usize];
        let read = file.read_at(&mut bytes, 0).map_err(failed())?;
        bytes.truncate(read);
        let corrupt = |offset: usize, what| {
            let offset = offset as u64;
            JournalError::Corrupt { path: path.to_path_buf(), offset, position, what }
        };
        let Some((head, state)) = bytes.split_at_checked(HEAD_BYTES) else {
            return Err(corrupt(bytes.len(), "it is cut short"));
        };
        if word(head, 0) != MAGIC || half(head, HEAD_CRC_AT) != crc(&head[..HEAD_CRC_AT]) || word(head, 24) != position
        {
            return Err(corrupt(0, "it doesn't begin as a snapshot of this position does"));
        }
        let found = half(head, 8);
        if found != VERSION {
            return Err(JournalError::OtherVersion { path: path.to_path_buf(), found });
        }
        if word(head, 16) != self.epoch {
            let what = format!("number {:016x}, not {:016x}", word(head, 16), self.epoch);
            return Err(JournalError::OtherTopic { path: path.to_path_buf(), what });
        }
        if word(head, LENGTH_AT) != state.len() as u64 || half(head, STATE_CRC_AT) != crc(state) {
            return Err(corrupt(HEAD_BYTES, "the state isn't what was saved"));
        }
        let unix_ns = word(head, 32);
        Ok(Snapshot { position, unix_ns, state: bytes.split_off(HEAD_BYTES), damaged: Vec::new() })
    }
}

fn positions(storage: &dyn Storage, directory: &Path) -> Result<Vec<u64>, JournalError> {
    let names = list(storage, directory)?;
    let mut positions: Vec<u64> = names.iter().filter_map(|name| name.strip_suffix(SUFFIX)?.parse().ok()).collect();
    positions.sort_unstable();
    Ok(positions)
}

/// What lies in `directory`, if it is there.
fn list(storage: &dyn Storage, directory: &Path) -> Result<Vec<String>, JournalError> {
    match storage.list(directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        names => names.map_err(JournalError::of(directory, "list it")),
    }
}
