//! A disk in memory that remembers what was synced, so that a test can see every state that a loss of power may leave.
//!
//! It keeps what `storage.rs` promises, and nothing beyond: what was written and not synced survives by sectors, each for itself; what was done to
//! the names in a directory survives in order, up to some point. A sync that fails drops what it was to make durable, as the kernel does: a later
//! one that succeeds says nothing of it.
//!
//! Each operation is a step; [`SimulatedDisk::at`] gives the disk as it was after some of them, so that a workload is run once and then looked
//! at in all its states.

use crate::storage::{FileAccess, Room, Storage, StoredFile};
use crate::window::{Copying, Window};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk writes whole or not at all, in bytes.
const SECTOR_BYTES: usize = 512;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// What of the unsynced a loss of power leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    /// Nothing.
    Nothing,
    /// All of it.
    All,
    /// What was done before this step, counted from zero.
    Before(usize),
    /// All but what was done in this step.
    AllBut(usize),
    /// What was done before this step, and of what was written in it so many sectors.
    Torn(usize, usize),
    /// Each sector, length and name by the toss of a coin, from this seed.
    Some(u64),
}

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writing; half of it is written.
    Write,
    /// Reserving room.
    Reserve,
    /// A sync of a file.
    Sync,
    /// Making, renaming or removing a file.
    Name,
}

#[derive(Clone, Debug, Default)]
struct State {
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// What was done to names and not synced.
    renamings: Vec<(usize, Renaming)>,
    directories: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    boot: u64,
    steps: Vec<State>,
    /// The next so many operations of this kind succeed, and then it fails, for ever or once.
    fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    operation: Operation,
    after: usize,
    kind: io::ErrorKind,
    once: bool,
}

#[derive(Clone, Debug, Default)]
struct File {
    content: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// What was done and not synced, and in which step.
    pending: Vec<(usize, Change)>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Arc<Vec<u8>>),
    Zeros(u64, u64),
    Length(u64),
}

#[derive(Clone, Debug)]
enum Renaming {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl SimulatedDisk {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the operation of this kind fail that comes after the next `after`; and all that follow, unless it is to fail `once`.
    pub fn fail(&self, operation: Operation, after: usize, kind: io::ErrorKind, once: bool) {
        self.state().fault = Some(Fault { operation, after, kind, once });
    }

    /// Has nothing fail any more.
    pub fn mend(&self) {
        self.state().fault = None;
    }

    /// How many operations were done that changed something.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.state().steps.len()
    }

    /// The disk as it was after the first so many steps.
    #[must_use]
    pub fn at(&self, step: usize) -> Self {
        let state = self.state();
        state.steps.get(step).map_or_else(|| Self::of(state.clone()), |earlier| Self::of(earlier.clone()))
    }

    /// The disk after the death of whoever uses it: all that was done is there, and no lock is held.
    #[must_use]
    pub fn kill(&self) -> Self {
        Self::of(State { locks: BTreeSet::new(), ..self.state().clone() })
    }

    /// What a loss of power leaves.
    #[must_use]
    pub fn lose_power(&self, survives: Survives) -> Self {
        let state = self.state();
        let mut coin =
            Coin(if let Survives::Some(seed) = survives { seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 } else { 1 });
        let files: Vec<File> = state
            .files
            .iter()
            .map(|file| {
                let mut content = file.durable.as_ref().clone();
                for (step, change) in &file.pending {
                    change.survive(&mut content, |sector| match survives {
                        Survives::Nothing => false,
                        Survives::All => true,
                        Survives::Before(end) => *step < end,
                        Survives::AllBut(lost) => *step != lost,
                        Survives::Torn(torn, sectors) => *step < torn || (*step == torn && sector < sectors),
                        Survives::Some(_) => coin.toss(),
                    });
                }
                let content = Arc::new(content);
                File { durable: content.clone(), content, pending: Vec::new() }
            })
            .collect();
        let mut names = state.durable_names.clone();
        let mut is_over = BTreeSet::new();
        for (step, renaming) in &state.renamings {
            // In order, in each directory.
            let survives = match survives {
                Survives::Nothing => false,
                Survives::All | Survives::AllBut(_) => true,
                Survives::Before(end) | Survives::Torn(end, _) => *step < end,
                Survives::Some(_) => coin.toss() || coin.toss(),
            };
            let directory = renaming.directory();
            if !survives {
                is_over.insert(directory.clone());
            }
            if !is_over.contains(&directory) {
                renaming.apply(&mut names);
            }
        }
        let directories = state.directories.clone();
        Self::of(State {
            files,
            durable_names: names.clone(),
            names,
            directories,
            boot: state.boot + 1,
            ..State::default()
        })
    }

    fn of(mut state: State) -> Self {
        state.steps.clear();
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Begins a step of this kind, if it doesn't fail.
    fn step(&mut self, operation: Operation) -> io::Result<usize> {
        if let Some(fault) = self.fault.as_mut().filter(|fault| fault.operation == operation) {
            if fault.after == 0 {
                let kind = fault.kind;
                if fault.once {
                    self.fault = None;
                }
                return Err(kind.into());
            }
            fault.after -= 1;
        }
        let earlier = Self { steps: Vec::new(), ..self.without_steps() };
        self.steps.push(earlier);
        Ok(self.steps.len() - 1)
    }

    fn without_steps(&mut self) -> Self {
        let steps = std::mem::take(&mut self.steps);
        let copy = self.clone();
        self.steps = steps;
        copy
    }

    fn rename(&mut self, renaming: Renaming) -> io::Result<()> {
        let step = self.step(Operation::Name)?;
        renaming.apply(&mut self.names);
        self.renamings.push((step, renaming));
        Ok(())
    }

    /// Makes an empty file.
    fn create(&mut self, path: &Path) -> io::Result<usize> {
        let file = self.files.len();
        self.rename(Renaming::Create(path.to_path_buf(), file))?;
        self.files.push(File::default());
        Ok(file)
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Renaming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }

    fn directory(&self) -> PathBuf {
        let (Self::Create(path, _) | Self::Rename(path, _) | Self::Remove(path)) = self;
        path.parent().unwrap_or(Path::new("")).to_path_buf()
    }
}

impl Change {
    /// Does it to `content`, as far as `survives` says of each sector, counted from the change's own first.
    fn survive(&self, content: &mut Vec<u8>, mut survives: impl FnMut(usize) -> bool) {
        let (offset, length) = match self {
            Self::Write(offset, bytes) => (*offset as usize, bytes.len()),
            Self::Zeros(offset, bytes) => (*offset as usize, *bytes as usize),
            Self::Length(length) => {
                if survives(0) {
                    content.truncate(*length as usize);
                    grow(content, *length as usize);
                }
                return;
            }
        };
        let (mut at, mut sector) = (offset, 0);
        while at < offset + length {
            let end = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(offset + length);
            if survives(sector) {
                grow(content, end);
                match self {
                    Self::Write(_, bytes) => content[at..end].copy_from_slice(&bytes[at - offset..end - offset]),
                    _ => content[at..end].fill(0),
                }
            }
            (at, sector) = (end, sector + 1);
        }
    }
}

/// Makes `content` at least so long, with zeros. Without optimization `resize` would go byte by byte.
fn grow(content: &mut Vec<u8>, length: usize) {
    if content.len() < length {
        content.extend_from_slice(&vec![0; length - content.len()]);
    }
}

/// Xorshift64 (Marsaglia, 2003).
struct Coin(u64);

impl Coin {
    fn toss(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 32 & 1 == 0
    }
}

impl Storage for SimulatedDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.state().directories.extend(path.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StoredFile>> {
        let mut state = self.state();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.create(path)?;
        Ok(Box::new(Opened { disk: self.clone(), file }))
    }

    fn open(&self, path: &Path, _: FileAccess) -> io::Result<Box<dyn StoredFile>> {
        let file = self.state().find(path)?;
        Ok(Box::new(Opened { disk: self.clone(), file }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        if !state.directories.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let all = state.names.keys().chain(&state.directories);
        let mut within: Vec<_> = all.filter(|name| name.parent() == Some(path)).collect();
        within.sort_unstable();
        Ok(within.into_iter().filter_map(|name| Some(name.file_name()?.to_str()?.to_owned())).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.find(from)?;
        state.rename(Renaming::Rename(from.to_path_buf(), to.to_path_buf()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.find(path)?;
        state.rename(Renaming::Remove(path.to_path_buf()))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(Operation::Sync)?;
        let (done, left) = std::mem::take(&mut state.renamings)
            .into_iter()
            .partition(|(_, renaming): &(usize, Renaming)| renaming.directory() == path);
        state.renamings = left;
        for (_, renaming) in done {
            renaming.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Debug + Send + Sync>>> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            state.create(path)?;
        }
        let is_free = state.locks.insert(path.to_path_buf());
        let lock = || Box::new(Lock { disk: self.clone(), path: path.to_path_buf() }) as Box<dyn Debug + Send + Sync>;
        Ok(is_free.then(lock))
    }

    fn boot(&self) -> u64 {
        self.state().boot
    }
}

#[derive(Debug)]
struct Lock {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

#[derive(Clone, Debug)]
struct Opened {
    disk: SimulatedDisk,
    file: usize,
}

impl Opened {
    fn change(&self, operation: Operation, change: Change) -> io::Result<()> {
        let mut state = self.disk.state();
        let step = state.step(operation)?;
        let file = &mut state.files[self.file];
        change.survive(Arc::make_mut(&mut file.content), |_| true);
        file.pending.push((step, change));
        Ok(())
    }
}

impl StoredFile for Opened {
    fn has_name(&self) -> io::Result<bool> {
        Ok(self.disk.state().names.values().any(|file| *file == self.file))
    }

    fn window(&self) -> io::Result<Box<dyn Window>> {
        Ok(Box::new(Copying::new(Arc::new(self.clone()))))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].content.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.disk.state().files[self.file].content.clone();
        let there = content.get(offset as usize..).unwrap_or_default();
        let count = there.len().min(bytes.len());
        bytes[..count].copy_from_slice(&there[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let result = self.change(Operation::Write, Change::Write(offset, Arc::new(bytes.to_vec())));
        if result.is_err() {
            let mut state = self.disk.state();
            let step = state.steps.len();
            let file = &mut state.files[self.file];
            let half = Change::Write(offset, Arc::new(bytes[..bytes.len() / 2].to_vec()));
            half.survive(Arc::make_mut(&mut file.content), |_| true);
            file.pending.push((step, half));
        }
        result
    }

    fn reserve(&self, bytes: u64, _: Room) -> io::Result<()> {
        if self.length()? < bytes { self.change(Operation::Reserve, Change::Length(bytes)) } else { Ok(()) }
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.change(Operation::Name, Change::Length(bytes))
    }

    fn give_back(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let length = self.length()?;
        let bytes = bytes.min(length.saturating_sub(offset));
        self.change(Operation::Name, Change::Zeros(offset, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let result = state.step(Operation::Sync);
        let file = &mut state.files[self.file];
        let pending = std::mem::take(&mut file.pending);
        result?;
        let durable = Arc::make_mut(&mut file.durable);
        pending.iter().for_each(|(_, change)| change.survive(durable, |_| true));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
