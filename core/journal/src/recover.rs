//! Opens a journal for writing after whatever happened to it: finds the last whole batch, cuts off what a death left behind it, and says so.
//!
//! What may be cut is what was never known to survive: everything behind the highest `synced` that any record names. If something before that
//! is not whole, the disk or somebody else has damaged it, which recovery tells and doesn't touch.
//!
//! | left behind | becomes |
//! |---|---|
//! | data without a record | zeros |
//! | records that aren't right, or without the batch they were for | cut off |
//! | after a loss of power: a batch whose data aren't what its record says | cut off, with all that follow |
//! | segments behind a cut | set aside, under another name |
//! | a segment that was being made; one that was being pruned | removed |
//!
//! In the run of the host in which the newest records were written, what a process wrote is there whether it was synced or not, so data are
//! not read again.

use crate::begin::close;
use crate::error::JournalError;
use crate::layout::{CUT_SUFFIX, MANIFEST_FILE, RECORD_BYTES, UNFINISHED_SUFFIX, segment_begin, segment_name};
use crate::manifest::Manifest;
use crate::record::Record;
use crate::segment::{Form, Segment};
use crate::standing::Standing;
use crate::storage::{FileAccess, Storage};
use crate::subject::Subject;
use memlane_shm::clock;
use memlane_shm::crash_point;
use std::io;
use std::path::{Path, PathBuf};

/// What was found when a journal was opened for writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The oldest position that it has.
    pub begin: u64,
    /// Where it goes on.
    pub end: u64,
    /// How many messages it was ever given.
    pub messages: u64,
    /// What was cut off, if anything.
    pub cut: Option<Cut>,
}

/// What recovery cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// From this position on.
    pub position: u64,
    /// The segment that was cut.
    pub path: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What was wrong there.
    pub why: &'static str,
    /// The segments behind it, under the names that they were given.
    pub set_aside: Vec<PathBuf>,
}

/// A journal that can be gone on with, in a new segment.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) manifest: Manifest,
    pub(crate) standing: Standing,
    /// Segments that may not have been synced.
    pub(crate) unsynced: Vec<Segment>,
    pub(crate) recovery: Recovery,
}

impl Recovered {
    /// What there is before the first segment of a journal, which begins at `begin`.
    pub(crate) fn nothing(subject: &Subject, begin: u64) -> Self {
        let manifest = Manifest {
            subject: subject.clone(),
            generation: 0,
            first: begin,
            newest: begin,
            created_unix_ns: clock::unix_ns(),
            segment_bytes: 0,
        };
        let recovery = Recovery { begin, end: begin, messages: 0, cut: None };
        Self { manifest, standing: Standing::before(begin), unsynced: Vec::new(), recovery }
    }
}

/// Recovers the journal in `directory`, whose lock the caller has; `None` if there is none.
pub(crate) fn recover(
    storage: &dyn Storage,
    directory: &Path,
    subject: &Subject,
) -> Result<Option<Recovered>, JournalError> {
    let names = storage.list(directory).map_err(JournalError::of(directory, "list it"))?;
    for name in names.iter().filter(|name| name.ends_with(UNFINISHED_SUFFIX)) {
        remove(storage, &directory.join(name))?;
    }
    let mut begins: Vec<u64> = names.iter().filter_map(|name| segment_begin(name)).collect();
    begins.sort_unstable();
    let Some(manifest) = Manifest::read(storage, directory)? else {
        forget_half_made(storage, directory, &begins)?;
        return Ok(None);
    };
    manifest.subject.check_same(subject, &directory.join(MANIFEST_FILE))?;
    for pruned in begins.extract_if(.., |begin| *begin < manifest.first) {
        remove(storage, &directory.join(segment_name(pruned)))?;
    }
    for known in [manifest.first, manifest.newest] {
        if !begins.contains(&known) {
            return Err(JournalError::Missing { path: directory.join(segment_name(known)), from: known });
        }
    }
    Search { storage, directory, manifest, begins }.run().map(Some)
}

fn remove(storage: &dyn Storage, path: &Path) -> Result<(), JournalError> {
    match storage.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(JournalError::of(path, "remove it")(error)),
        _ => Ok(()),
    }
}

/// Without a manifest there is no journal yet: its maker died before it wrote one, and left at most a segment without batches.
fn forget_half_made(storage: &dyn Storage, directory: &Path, begins: &[u64]) -> Result<(), JournalError> {
    for begin in begins {
        let segment = Segment::open(storage, directory, *begin, FileAccess::Read);
        if let Ok(segment) = &segment
            && Scan::of(segment, None, u64::MAX)?.standing.end != *begin
        {
            let path = directory.join(MANIFEST_FILE);
            return Err(JournalError::Manifest { path, what: "it is missing, though there are segments" });
        }
        remove(storage, &directory.join(segment_name(*begin)))?;
    }
    Ok(())
}

/// Looks for the last whole batch.
struct Search<'a> {
    storage: &'a dyn Storage,
    directory: &'a Path,
    manifest: Manifest,
    begins: Vec<u64>,
}

/// Where the whole ones end.
struct Place {
    /// Which segment.
    index: usize,
    segment: Segment,
    scan: Scan,
}

impl Search<'_> {
    fn run(mut self) -> Result<Recovered, JournalError> {
        let newest = self.newest()?;
        let synced = newest.scan.standing.synced;
        let same_run = newest.scan.standing.session.is_some_and(|session| session.boot == self.storage.boot());
        let first_unsynced = self.begins.partition_point(|begin| *begin <= synced).saturating_sub(1);
        self.check_chain(if same_run { newest.index } else { first_unsynced })?;
        let place = if same_run { newest } else { self.verify(first_unsynced, newest.index, synced)? };
        let index = place.index;
        let (segment, mut standing, cut) = self.cut(place, synced)?;
        let mut unsynced = Vec::new();
        if same_run {
            for begin in &self.begins[first_unsynced.min(index)..index] {
                unsynced.push(Segment::open(self.storage, self.directory, *begin, FileAccess::ReadWrite)?);
            }
            unsynced.push(segment);
        } else {
            // It was read from the disk, and what was cut is synced.
            standing.synced = standing.end;
        }
        let recovery = Recovery { begin: self.manifest.first, end: standing.end, messages: standing.messages, cut };
        Ok(Recovered { manifest: self.manifest, standing, unsynced, recovery })
    }

    fn open(&self, index: usize) -> Result<Segment, JournalError> {
        let segment = Segment::open(self.storage, self.directory, self.begins[index], FileAccess::ReadWrite)?;
        if segment.head.epoch != self.manifest.subject.epoch {
            let what = format!("number {:016x}, not {:016x}", segment.head.epoch, self.manifest.subject.epoch);
            return Err(JournalError::OtherTopic { path: segment.path, what });
        }
        Ok(segment)
    }

    /// The newest segment that has begun, and what its records say. A loss of power may leave newer ones that haven't.
    fn newest(&self) -> Result<Place, JournalError> {
        let mut index = self.begins.len() - 1;
        loop {
            let found = self.open(index).and_then(|segment| Ok((Scan::of(&segment, None, u64::MAX)?, segment)));
            match found {
                Ok((scan, segment)) if scan.standing.has_begun() => return Ok(Place { index, segment, scan }),
                // One that the manifest names was synced before.
                Err(error) if self.begins[index] <= self.manifest.newest => return Err(error),
                Ok((_, segment)) if self.begins[index] <= self.manifest.newest => {
                    let what = "its first records are damaged";
                    return Err(segment.corrupt(segment.head.records_at(), segment.head.begin, what));
                }
                _ => index -= 1,
            }
        }
    }

    /// Checks that each of the segments before number `to` ends where the next one begins.
    fn check_chain(&self, to: usize) -> Result<(), JournalError> {
        for index in 0..to {
            let segment = self.open(index)?;
            let (next, end) = (self.begins[index + 1], end_of(&segment)?);
            if end != next {
                return Err(broken_chain(&segment, end)?);
            }
        }
        Ok(())
    }

    /// Reads the data again from `synced` on, in the segments `from` to `to`, up to the first batch that isn't whole.
    fn verify(&self, from: usize, to: usize, synced: u64) -> Result<Place, JournalError> {
        let mut index = from;
        loop {
            let segment = self.open(index)?;
            let scan = Scan::of(&segment, Some(synced), u64::MAX)?;
            let goes_on = index < to && scan.standing.end == self.begins[index + 1];
            if !goes_on {
                return Ok(Place { index, segment, scan });
            }
            index += 1;
        }
    }

    /// Closes the segment of `place`, and cuts off what lies behind, if anything does.
    fn cut(&mut self, place: Place, synced: u64) -> Result<(Segment, Standing, Option<Cut>), JournalError> {
        let Place { index, segment, scan: Scan { number, standing, stop } } = place;
        let (end, offset) = (standing.end, segment.head.record_at(number));
        let behind = Behind::of(&segment, number, end)?;
        let later = self.begins.split_off(index + 1);
        let Some(why) = stop.or(behind.what).or((!later.is_empty()).then_some("what follows isn't whole")) else {
            if segment.length()? != offset {
                close(&segment, number, end)?;
            }
            return Ok((segment, standing, None));
        };
        // A compressed one was synced before it got its name, so that no loss of power can have torn it.
        if synced.max(behind.synced) > end || segment.head.form != Form::Plain {
            return Err(segment.corrupt(offset, end, why));
        }
        if self.manifest.newest > segment.head.begin {
            self.manifest.newest = segment.head.begin;
            self.manifest.replace(self.storage, self.directory)?;
        }
        let mut set_aside = Vec::new();
        for begin in later.iter().rev() {
            let from = self.directory.join(segment_name(*begin));
            let to = self.directory.join(segment_name(*begin) + CUT_SUFFIX);
            self.storage.rename(&from, &to).map_err(JournalError::of(&from, "set it aside"))?;
            set_aside.push(to);
        }
        crash_point!("journal.recovering");
        close(&segment, number, end)?;
        segment.file.sync().map_err(JournalError::of(&segment.path, "sync it"))?;
        self.storage.sync_directory(self.directory).map_err(JournalError::of(self.directory, "sync it"))?;
        let cut = Cut { position: end, path: segment.path.clone(), offset, why, set_aside };
        Ok((segment, standing, Some(cut)))
    }
}

/// What is wrong with `segment`, which ends at `end`, where none begins.
pub(crate) fn broken_chain(segment: &Segment, end: u64) -> Result<JournalError, JournalError> {
    // One that was cut short has frames where its records end; one that is whole has none, so the one after it is gone.
    if has_data_at(segment, end)? {
        return Ok(segment.corrupt(segment.head.offset(end), end, "its records end here, though its data go on"));
    }
    if let Form::Compressed { records, .. } = segment.head.form
        && segment.record(records.saturating_sub(1))?.is_none()
    {
        return Ok(segment.corrupt(segment.head.records_at(), end, FEWER_RECORDS));
    }
    Ok(JournalError::Missing { path: segment.path.with_file_name(segment_name(end)), from: end })
}

/// Whether anything lies in the data of `segment` at `position`, where a frame would begin.
fn has_data_at(segment: &Segment, position: u64) -> Result<bool, JournalError> {
    if segment.head.form != Form::Plain || position >= segment.head.data_end() {
        return Ok(false);
    }
    let mut word = [0; 8];
    match segment.read_data(position, &mut word) {
        // The file ends before.
        Err(JournalError::Corrupt { .. }) => Ok(false),
        other => other.map(|()| word != [0; 8]),
    }
}

/// What is wrong with a compressed segment that has lost some.
const FEWER_RECORDS: &str = "it has other records than its first page says";

/// Where a segment that isn't the newest ends: its last record says it, if it was closed.
pub(crate) fn end_of(segment: &Segment) -> Result<u64, JournalError> {
    let records = segment.length()?.saturating_sub(segment.head.records_at()) / RECORD_BYTES as u64;
    match segment.record(records.saturating_sub(1))? {
        Some(record @ (Record::Batch(_) | Record::Gap(_))) => Ok(record.end()),
        _ => Ok(Scan::of(segment, None, u64::MAX)?.standing.end),
    }
}

/// What the records of a segment say, up to the first that isn't right.
pub(crate) struct Scan {
    /// How many count.
    pub(crate) number: u64,
    /// Where the log stands after them.
    pub(crate) standing: Standing,
    /// What is wrong with the next, if it is whole and wrong all the same.
    pub(crate) stop: Option<&'static str>,
}

impl Scan {
    /// Reads the records, `limit` of them at most, and the data of batches that end behind `verify_from`.
    pub(crate) fn of(segment: &Segment, verify_from: Option<u64>, limit: u64) -> Result<Self, JournalError> {
        let mut standing = Standing::before(segment.head.begin);
        let (mut records, mut settled, mut stop, mut look) = (segment.records(0), 0, None, segment.look_at_copies());
        while records.number() < limit {
            let Some(record) = records.next()? else { break };
            stop = standing.take(&record).err();
            if let (None, Record::Batch(batch), Some(from)) = (stop, &record, verify_from)
                && batch.end > from
            {
                stop = look.move_to(segment, records.number() - 1, batch)?;
            }
            if stop.is_some() {
                break;
            }
            if standing.is_settled() {
                settled = records.number();
            }
        }
        if let (Form::Compressed { records: all, .. }, None) = (segment.head.form, stop)
            && limit == u64::MAX
            && records.number() != all
        {
            stop = Some(FEWER_RECORDS);
        }
        if settled == records.number() && stop.is_none() {
            return Ok(Self { number: settled, standing, stop });
        }
        // Once more without what doesn't count.
        Ok(Self { stop, ..Self::of(segment, None, settled)? })
    }
}

/// What is there behind the last record that counts.
pub(crate) struct Behind {
    pub(crate) what: Option<&'static str>,
    /// The highest `synced` of records there that are whole.
    synced: u64,
}

impl Behind {
    pub(crate) fn of(segment: &Segment, number: u64, end: u64) -> Result<Self, JournalError> {
        let (mut what, mut synced) = (None, 0);
        let mut records = segment.records(number);
        while let Some(bytes) = records.bytes()? {
            if bytes != [0; RECORD_BYTES] {
                what = Some("a record isn't whole");
                let record = Record::decode(&bytes, segment.head.epoch, records.number());
                synced = synced.max(record.map_or(0, |record| record.synced()));
            }
            records.skip();
        }
        let left = segment.length()?.saturating_sub(segment.head.records_at());
        if what.is_none() && !left.is_multiple_of(RECORD_BYTES as u64) {
            what = Some("the file ends within a record");
        }
        if what.is_none() && has_data_at(segment, end)? {
            what = Some("there are data without a record");
        }
        Ok(Self { what, synced })
    }
}
