//! Whatever is cut off a journal's files, and whichever bit of them flips: it is noticed, and named by file and position, and nothing that isn't as
//! it was written is ever handed out.

use crate::log::{DIRECTORY, Log, Published, journal, open, read};
use memlane_journal::layout::{MANIFEST_FILE, segment_name};
use memlane_journal::simulated::SimulatedDisk;
use memlane_journal::storage::{FileAccess, Storage};
use memlane_journal::{From, JournalError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn directory() -> &'static Path {
    Path::new(DIRECTORY)
}

/// A journal with some batches in each of its segments, as its writer leaves it that dies; and where its last two batches begin.
fn recorded() -> (SimulatedDisk, Log, [u64; 2]) {
    let disk = SimulatedDisk::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let mut log = Log::new(5);
    let (mut writer, _) = open(&storage, directory()).unwrap();
    while log.end < 150 << 10 {
        log.run(4).append_with(&mut writer, &[("feed", log.end + 1)]).unwrap();
    }
    let last_two = [log.run(2), log.run(2)];
    for run in &last_two {
        run.append_to(&mut writer).unwrap();
    }
    writer.sync().unwrap();
    (disk, log, last_two.map(|run| run.position))
}

/// A disk as it is, to be damaged.
fn copied(disk: &SimulatedDisk) -> Arc<dyn Storage> {
    Arc::new(disk.kill())
}

fn length(storage: &Arc<dyn Storage>, path: &Path) -> u64 {
    storage.open(path, FileAccess::Read).unwrap().length().unwrap()
}

/// What a reader gets before it is told of damage.
fn read_until_damage(storage: &Arc<dyn Storage>) -> (Vec<Published>, Option<JournalError>) {
    let mut all = Vec::new();
    let mut reader = match journal(storage, directory()).and_then(|journal| journal.read(From::Earliest)) {
        Ok(reader) => reader,
        Err(error) => return (all, Some(error)),
    };
    loop {
        match reader.next() {
            Ok(None) => return (all, None),
            Ok(Some(memlane_journal::Entry::Message(message))) => all.push(Published::of(&message)),
            Ok(Some(memlane_journal::Entry::Gap(_))) => {}
            Err(error) => return (all, Some(error)),
        }
    }
}

/// The newest segment, and all others.
fn segments(storage: &Arc<dyn Storage>) -> (PathBuf, Vec<PathBuf>) {
    let mut begins = journal(storage, directory()).unwrap().segments().unwrap();
    let newest = begins.pop().unwrap();
    let path = |begin: u64| directory().join(segment_name(begin));
    (path(newest), begins.into_iter().map(path).collect())
}

#[test]
fn the_newest_segment_cut_anywhere_in_its_last_two_batches_loses_no_more_and_says_so() {
    let (disk, log, [last_but_one, last]) = recorded();
    let (newest, _) = segments(&copied(&disk));
    let storage = copied(&disk);
    // Its records end where the last byte is that isn't zero.
    let mut bytes = vec![0; length(&storage, &newest) as usize];
    storage.open(&newest, FileAccess::Read).unwrap().read_at(&mut bytes, 0).unwrap();
    let records_end = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    let records_end = records_end.next_multiple_of(64);
    for cut in records_end - 2 * 64..=records_end + 64 {
        let storage = copied(&disk);
        storage.open(&newest, FileAccess::ReadWrite).unwrap().truncate(cut).unwrap();
        let end = match records_end.saturating_sub(cut) {
            0 => log.end,
            1..=64 => last,
            _ => last_but_one,
        };
        let whole: Vec<Published> = log.published.iter().filter(|message| message.position < end).cloned().collect();
        let report = journal(&storage, directory()).unwrap().verify().unwrap();
        let (writer, recovery) = open(&storage, directory()).unwrap();
        assert_eq!(writer.end(), end, "cut at {cut} of {records_end}");
        assert_eq!(read(&journal(&storage, directory()).unwrap(), From::Earliest).unwrap(), whole);
        if end < log.end {
            let told = recovery.cut.unwrap();
            assert_eq!((told.position, &told.path), (end, &newest), "cut at {cut} of {records_end}");
            let finding = &report.findings[0];
            assert_eq!((finding.position, &finding.path), (end, &newest), "cut at {cut} of {records_end}");
        }
    }
}

#[test]
fn an_older_segment_cut_anywhere_in_its_last_two_batches_is_damage_that_is_named() {
    let (disk, ..) = recorded();
    let (_, older) = segments(&copied(&disk));
    let path = &older[older.len() / 2];
    let whole = length(&copied(&disk), path);
    // Two batches, each with its source.
    for cut in whole - 4 * 64..whole {
        let storage = copied(&disk);
        storage.open(path, FileAccess::ReadWrite).unwrap().truncate(cut).unwrap();
        let report = journal(&storage, directory()).unwrap().verify().unwrap();
        assert!(!report.is_whole(), "cut at {cut} of {whole}");
        assert!(report.findings.iter().any(|finding| finding.path == *path), "{report:?}");
        let error = open(&storage, directory()).unwrap_err();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        let (_, told) = read_until_damage(&storage);
        assert!(told.is_some_and(|error| error.to_string().contains(&path.display().to_string())), "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_anywhere_is_noticed_or_means_nothing_and_no_message_changes() {
    let (disk, log, _) = recorded();
    let (newest, older) = segments(&copied(&disk));
    let paths: Vec<PathBuf> = older.into_iter().chain([newest, directory().join(MANIFEST_FILE)]).collect();
    let mut random = Log::new(std::process::id().into());
    let mut noticed = 0;
    for round in 0..600 {
        let storage = copied(&disk);
        let path = &paths[random.below(paths.len() as u64) as usize];
        let at = random.below(length(&storage, path));
        let bit = random.below(8);
        let file = storage.open(path, FileAccess::ReadWrite).unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, at).unwrap();
        file.write_at(&[byte[0] ^ 1 << bit], at).unwrap();
        let what = format!("round {round}: bit {bit} of byte {at} of {}", path.display());

        let (found, told) = read_until_damage(&storage);
        assert!(log.published.starts_with(&found), "{what}");
        let verified = journal(&storage, directory()).and_then(|journal| journal.verify());
        let is_told = |text: String| text.contains(&path.display().to_string());
        match verified {
            Ok(report) if report.findings.is_empty() => {
                assert_eq!((found.len(), told.is_none()), (log.published.len(), true), "{what}")
            }
            Ok(report) => {
                noticed += 1;
                assert!(report.findings.iter().any(|finding| finding.path == *path), "{what}: {report:?}");
            }
            Err(error) => {
                noticed += 1;
                assert!(is_told(error.to_string()), "{what}: {error}");
            }
        }
    }
    assert!(noticed > 200, "{noticed} of 600");
}
