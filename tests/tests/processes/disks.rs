//! Recorders whose disk is full, or is taken from them: nothing is lost in silence.

use crate::stage;
use crate::surroundings::{ADMINISTER, CHANGE_USER, NOBODY, may};
use memlane::journal::{Disk, Entry, From, GapReason, Journal};
use memlane::{PublishError, Publisher};
use memlane_tests::role::{Record, Role};
use memlane_tests::stage::{Actor, Stage, poll_until};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(20);

/// Publishes the next number, if there is room for it soon.
fn publish(publisher: &mut Publisher<[u8]>, number: &mut u64) -> Result<(), PublishError> {
    let mut payload = [7; 1000];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    publisher.publish_within(&payload, SHORT)?;
    *number += 1;
    Ok(())
}

/// What the journal has: numbers, and why it has gaps.
fn recorded(directory: &Path) -> (Vec<u64>, Vec<GapReason>) {
    let mut reader = Journal::open(Arc::new(Disk), directory).unwrap().read(From::Earliest).unwrap();
    let (mut numbers, mut gaps) = (Vec::new(), Vec::new());
    while let Some(entry) = reader.next().unwrap() {
        match entry {
            Entry::Message(message) => {
                numbers.push(u64::from_le_bytes(message.payload()[..8].try_into().unwrap()));
            }
            Entry::Gap(gap) => gaps.push(gap.reason),
        }
    }
    (numbers, gaps)
}

/// A small disk of its own: where a recorder's is, as others see it.
struct SmallDisk {
    recorder: Actor,
    directory: PathBuf,
}

fn on_a_small_disk(stage: &Stage, go_on: bool) -> (SmallDisk, Publisher<[u8]>) {
    let (topic, place) = stage.topic("t", |topic| topic.capacity_bytes(1 << 20));
    let disk = stage.root().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let role = Role::Record(Record { go_on, ..Record::new(&place, &disk.join("journal")) });
    let role = Role::OnSmallDisk { directory: disk.clone(), bytes: 4 << 20, role: Box::new(role) };
    let recorder = stage.start(&role);
    recorder.await_ready();
    let root = PathBuf::from(format!("/proc/{}/root", recorder.pid()));
    let directory = root.join(disk.strip_prefix("/").unwrap());
    (SmallDisk { recorder, directory }, topic.publisher::<[u8]>().open().unwrap())
}

impl SmallDisk {
    /// Ends the recorder once it has told the position to which it has come; what the journal has then.
    fn end(&mut self, count: usize) -> (Vec<u64>, Vec<GapReason>) {
        let journal = self.directory.join("journal");
        assert!(poll_until(|| (recorded(&journal).0.len() == count).then_some(())).is_some());
        let found = recorded(&journal);
        assert!(Journal::open(Arc::new(Disk), &journal).unwrap().verify().unwrap().is_whole());
        self.recorder.ask_to_stop();
        self.recorder.answer().unwrap();
        found
    }
}

#[test]
fn with_a_full_disk_publishers_wait_and_nothing_is_missing_when_there_is_room_again() {
    if !may(ADMINISTER, "a full disk") {
        return;
    }
    let stage = stage();
    let (mut disk, mut publisher) = on_a_small_disk(&stage, false);
    let mut number = 0;
    while publish(&mut publisher, &mut number).is_ok() {
        assert!(number < 10_000, "the disk has room for less");
    }
    // It is the disk: the ring takes no more for as long as that is full.
    std::thread::sleep(10 * SHORT);
    assert!(publish(&mut publisher, &mut number).unwrap_err().is_full());
    std::fs::remove_file(disk.directory.join("filler")).unwrap();
    let before = number;
    assert!(
        poll_until(|| {
            let _ = publish(&mut publisher, &mut number);
            (number >= before + 100).then_some(())
        })
        .is_some()
    );
    assert_eq!(disk.end(number as usize), ((0..number).collect(), vec![]));
}

#[test]
fn with_a_full_disk_a_topic_that_is_to_goes_on_and_the_journal_says_what_it_has_not() {
    if !may(ADMINISTER, "a full disk") {
        return;
    }
    let stage = stage();
    let (mut disk, mut publisher) = on_a_small_disk(&stage, true);
    let mut number = 0;
    while number < 8000 {
        publish(&mut publisher, &mut number).expect("nobody is held up for long");
    }
    std::fs::remove_file(disk.directory.join("filler")).unwrap();
    let journal = disk.directory.join("journal");
    assert!(
        poll_until(|| {
            publish(&mut publisher, &mut number).unwrap();
            (recorded(&journal).1.len() == 1).then_some(())
        })
        .is_some()
    );
    assert!(poll_until(|| (recorded(&journal).0.last() == Some(&(number - 1))).then_some(())).is_some());
    let (numbers, gaps) = recorded(&journal);
    assert_eq!(gaps, [GapReason::Failed]);
    let jumps = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    assert!(numbers[0] == 0 && numbers.is_sorted() && jumps == 1, "{jumps}");
    disk.end(numbers.len());
}

#[test]
fn without_permission_publishers_wait_until_it_is_given_back() {
    if !may(CHANGE_USER, "a lost permission") {
        return;
    }
    let stage = stage();
    let bus = memlane::Bus::builder("bus").root(stage.root()).mode(0o777).open().unwrap();
    std::fs::set_permissions(stage.root(), PermissionsExt::from_mode(0o777)).unwrap();
    let topic =
        bus.topic("t").unwrap().capacity_bytes(1 << 20).log_mode(0o666).subscribers_mode(0o666).create().unwrap();
    let directory = stage.root().join("journal");
    let role = Role::Record(Record::new(&stage.place("t"), &directory));
    let mut recorder = stage.start(&Role::AsUser { user: NOBODY, groups: Vec::new(), role: Box::new(role) });
    recorder.await_ready();
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let mut number = 0;
    publish(&mut publisher, &mut number).unwrap();
    let mode = |mode| std::fs::set_permissions(&directory, PermissionsExt::from_mode(mode)).unwrap();
    mode(0o555);
    while publish(&mut publisher, &mut number).is_ok() {
        assert!(number < 10_000, "no new segment can be made");
    }
    mode(0o755);
    let before = number;
    assert!(
        poll_until(|| {
            let _ = publish(&mut publisher, &mut number);
            (number >= before + 100).then_some(())
        })
        .is_some()
    );
    recorder.ask_to_stop();
    recorder.answer().unwrap();
    assert_eq!(recorded(&directory), ((0..number).collect(), vec![]));
}

#[test]
fn a_journal_that_is_removed_while_it_is_written_ends_its_recorder_and_holds_nobody_up() {
    for sync in [false, true] {
        let stage = stage();
        let (topic, place) = stage.topic("t", |topic| topic.capacity_bytes(1 << 20));
        let directory = stage.root().join("journal");
        let mut recorder = stage.start(&Role::Record(Record { sync, ..Record::new(&place, &directory) }));
        recorder.await_ready();
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let mut number = 0;
        publish(&mut publisher, &mut number).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        let ended = poll_until(|| {
            let _ = publish(&mut publisher, &mut number);
            recorder.has_ended()
        });
        assert!(!ended.expect("it ends").success());
        while number < 5000 {
            publish(&mut publisher, &mut number).unwrap();
        }
    }
}
