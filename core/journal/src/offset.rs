//! Durable offsets: how far a reader has come, kept under its name beside the journal, so that it goes on there after any death.
//!
//! ```text
//!  <journal>/offsets/<name>      three slots of 64 bytes
//!  0            8          16        24      32           60
//!  +------------+----------+---------+-------+---- - - ---+-----------+
//!  | generation | position | unix_ns | epoch | zeros      | CRC u32   |
//!  +------------+----------+---------+-------+---- - - ---+-----------+
//! ```
//!
//! The slot with the highest generation counts, of those whose CRC (of the first 60 bytes and the slot's number) is right. A commit goes neither over the newest one, so
//! that one that is torn leaves the one before it, nor over the newest that was synced, so that a loss of power leaves that or a later one. Who commits what it has done,
//! after it has done it, does everything at least once, whenever it dies.

use crate::error::JournalError;
use crate::layout::{crc, half, put, put_half, word};
use crate::read::Journal;
use crate::storage::{FileAccess, Storage, StoredFile};
use memlane_shm::clock;
use memlane_shm::crash_point;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The directory of offsets, in a journal's.
pub const OFFSETS_DIRECTORY: &str = "offsets";
/// Most bytes of a name.
pub const OFFSET_NAME_BYTES_MAX: usize = 120;

const SLOTS: u64 = 3;
const SLOT_BYTES: usize = 64;
const FILE_BYTES: usize = SLOTS as usize * SLOT_BYTES;
const CRC_AT: usize = 60;

/// How far a reader has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Everything before this position is done.
    pub position: u64,
    /// When it was committed, in nanoseconds since 1970.
    pub unix_ns: u64,
    generation: u64,
    slot: u64,
}

/// An offset that is committed to. One at a time has it.
#[derive(Debug)]
pub struct Offset {
    path: PathBuf,
    directory: PathBuf,
    storage: Arc<dyn Storage>,
    file: Box<dyn StoredFile>,
    /// Held for as long as this lives.
    _lock: Box<dyn Debug + Send + Sync>,
    epoch: u64,
    committed: Option<Committed>,
    /// The slot of the newest commit that survives a loss of power, with the file's name, as far as this one knows.
    durable: Option<u64>,
    /// Whether a sync failed: the kernel may have dropped what it was for.
    is_dropped: bool,
}

impl Journal {
    /// Opens the offset `name`, or makes it, to go on from it and to commit to it.
    ///
    /// A name has 1 to 120 letters, digits, `.`, `_` and `-`, and doesn't begin with a `.`. Cost: some ten system calls. Errors: [`JournalError`];
    /// [`JournalError::OffsetTaken`] if somebody who lives has it.
    pub fn offset(&self, name: &str) -> Result<Offset, JournalError> {
        let directory = self.directory().join(OFFSETS_DIRECTORY);
        let path = directory.join(checked(name)?);
        let storage = self.storage().clone();
        storage.create_directory(&directory).map_err(JournalError::of(&directory, "make it"))?;
        let lock = storage.lock(&path).map_err(JournalError::of(&path, "lock it"))?;
        let lock = lock.ok_or_else(|| JournalError::OffsetTaken { path: path.clone() })?;
        let file = storage.open(&path, FileAccess::ReadWrite).map_err(JournalError::of(&path, "open it"))?;
        let committed = read(&*file, &path, self.subject().epoch)?;
        Ok(Offset {
            path,
            directory,
            storage,
            file,
            _lock: lock,
            epoch: self.subject().epoch,
            committed,
            durable: None,
            is_dropped: false,
        })
    }

    /// All offsets, by name, with what was committed to each; `None` for one that nothing was committed to.
    ///
    /// Cost: three system calls for each. Errors: [`JournalError`].
    pub fn offsets(&self) -> Result<Vec<(String, Option<Committed>)>, JournalError> {
        let directory = self.directory().join(OFFSETS_DIRECTORY);
        let names = match self.storage().list(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            names => names.map_err(JournalError::of(&directory, "list it"))?,
        };
        let committed = |name: String| {
            let path = directory.join(&name);
            let file = self.storage().open(&path, FileAccess::Read).map_err(JournalError::of(&path, "open it"))?;
            Ok((name, read(&*file, &path, self.subject().epoch)?))
        };
        names.into_iter().filter(|name| checked(name).is_ok()).map(committed).collect()
    }

    /// Removes the offset `name`; says whether there was one.
    ///
    /// Errors: [`JournalError`]; [`JournalError::OffsetTaken`] if somebody who lives has it.
    pub fn remove_offset(&self, name: &str) -> Result<bool, JournalError> {
        if !self.offsets()?.iter().any(|(found, _)| found == name) {
            return Ok(false);
        }
        let offset = self.offset(name)?;
        self.storage().remove(&offset.path).map_err(JournalError::of(&offset.path, "remove it"))?;
        let synced = self.storage().sync_directory(&offset.directory);
        synced.map_err(JournalError::of(&offset.directory, "sync it"))?;
        Ok(true)
    }
}

impl Offset {
    /// Everything before this position is done; `None` if nothing was ever committed.
    #[must_use]
    pub fn position(&self) -> Option<u64> {
        self.committed.map(|committed| committed.position)
    }

    /// Says that everything before `position` is done. It survives the death of this process; a loss of power once [`Offset::sync`] has returned.
    ///
    /// Cost: a system call; the first time two syncs more. Errors: the system's; then what was committed before counts.
    pub fn commit(&mut self, position: u64) -> Result<(), JournalError> {
        if self.durable.is_none() && self.committed.is_some() {
            // Whoever committed what was found may not have synced it, nor what it is to outlive.
            self.sync()?;
        }
        let before = self.committed;
        let is_free = |slot: &u64| Some(*slot) != self.durable && before.is_none_or(|newest| newest.slot != *slot);
        let slot = (0..SLOTS).find(is_free).unwrap_or(0);
        let generation = before.map_or(1, |newest| newest.generation + 1);
        let committed = Committed { position, unix_ns: clock::unix_ns(), generation, slot };
        self.write(&committed)?;
        self.committed = Some(committed);
        if before.is_none() {
            self.sync()?;
        }
        Ok(())
    }

    fn write(&self, committed: &Committed) -> Result<(), JournalError> {
        let bytes = encode(committed, self.epoch);
        let at = committed.slot * SLOT_BYTES as u64;
        let failed = || JournalError::of(&self.path, "write to it");
        let (first, rest) = bytes.split_at(if memlane_shm::crash::IS_COMPILED_IN { SLOT_BYTES / 2 } else { 0 });
        if !first.is_empty() {
            self.file.write_at(first, at).map_err(failed())?;
            crash_point!("offset.half_written");
        }
        self.file.write_at(rest, at + first.len() as u64).map_err(failed())?;
        crash_point!("offset.written");
        Ok(())
    }

    /// Waits until what was committed survives a loss of power.
    ///
    /// Cost: a sync; the first time two. Errors: the system's; what was synced before still survives one.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        if let Some(committed) = self.committed.filter(|_| self.is_dropped) {
            self.write(&committed)?;
        }
        let synced = self.file.sync();
        self.is_dropped = synced.is_err();
        synced.map_err(JournalError::of(&self.path, "sync it"))?;
        if self.durable.is_none() {
            let synced = self.storage.sync_directory(&self.directory);
            synced.map_err(JournalError::of(&self.directory, "sync it"))?;
        }
        self.durable = self.committed.map(|committed| committed.slot);
        Ok(())
    }
}

/// `name`, if it can be one.
pub(crate) fn checked(name: &str) -> Result<&str, JournalError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = (1..=OFFSET_NAME_BYTES_MAX).contains(&name.len());
    if fits && name.bytes().all(is_plain) && !name.starts_with('.') {
        return Ok(name);
    }
    Err(JournalError::OffsetName { name: name.chars().take(OFFSET_NAME_BYTES_MAX).collect() })
}

fn read(file: &dyn StoredFile, path: &Path, epoch: u64) -> Result<Option<Committed>, JournalError> {
    let mut bytes = [0; FILE_BYTES];
    let read = file.read_at(&mut bytes, 0).map_err(JournalError::of(path, "read it"))?;
    let slots = || bytes[..read].chunks(SLOT_BYTES);
    let whole: Vec<(Committed, u64)> = slots().zip(0..).filter_map(|(bytes, slot)| decode(bytes, slot)).collect();
    let newest = whole.iter().max_by_key(|(committed, _)| committed.generation);
    match newest {
        // The first commit, torn, is what a death leaves; more are no death's work.
        None if slots().filter(|slot| slot.iter().any(|byte| *byte != 0)).count() > 1 => {
            let (path, what) = (path.to_path_buf(), "none of its slots is whole");
            Err(JournalError::Corrupt { path, offset: 0, position: 0, what })
        }
        Some((_, found)) if *found != epoch => {
            let what = format!("number {found:016x}, not {epoch:016x}");
            Err(JournalError::OtherTopic { path: path.to_path_buf(), what })
        }
        newest => Ok(newest.map(|(committed, _)| *committed)),
    }
}

fn encode(committed: &Committed, epoch: u64) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    put(&mut bytes, 0, committed.generation);
    put(&mut bytes, 8, committed.position);
    put(&mut bytes, 16, committed.unix_ns);
    put(&mut bytes, 24, epoch);
    let sum = slot_crc(&bytes, committed.slot);
    put_half(&mut bytes, CRC_AT, sum);
    bytes
}

/// What a slot says, and of which topic it is.
fn decode(bytes: &[u8], slot: u64) -> Option<(Committed, u64)> {
    if bytes.len() < SLOT_BYTES {
        return None;
    }
    let committed = Committed { generation: word(bytes, 0), position: word(bytes, 8), unix_ns: word(bytes, 16), slot };
    let is_whole = committed.generation != 0 && half(bytes, CRC_AT) == slot_crc(bytes, slot);
    is_whole.then(|| (committed, word(bytes, 24)))
}

fn slot_crc(bytes: &[u8], slot: u64) -> u32 {
    let mut covered = [0; CRC_AT + 8];
    covered[..CRC_AT].copy_from_slice(&bytes[..CRC_AT]);
    put(&mut covered, CRC_AT, slot);
    crc(&covered)
}
