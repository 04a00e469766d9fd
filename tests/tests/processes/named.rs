//! Named segments: what becomes of them when those die who make and remove them, and when they go before their links.

use crate::stage;
use memlane::{Backing, Bus, OpenError, ReceiveError, SegmentError, TopicError};
use memlane_shm::named::memory_path;
use memlane_tests::role::{BUS, Command, Order, Role};
use memlane_tests::stage::{PATIENCE, Stage};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A stage whose bus has named segments, whatever the environment says: who opens it later is told by what is there.
pub(crate) fn named_stage() -> Stage {
    let stage = stage();
    Bus::builder(BUS).root(stage.root()).backing(Backing::Named).open().unwrap();
    stage
}

/// The named segments of the links in `directory` and below.
fn memory_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let found =
        entries.flat_map(|path| if path.is_dir() { memory_below(&path) } else { Vec::from_iter(memory_path(&path)) });
    found.filter(|memory| memory.starts_with("/dev/shm/") && !memory.starts_with(directory)).collect()
}

/// What is old enough to be cleared away is.
pub(crate) fn collect(stage: &Stage) -> usize {
    std::thread::sleep(Duration::from_millis(1100));
    stage.bus().collect_garbage().unwrap().directories
}

#[test]
fn a_bus_keeps_its_backing_whatever_its_later_openers_say() {
    let stage = named_stage();
    Bus::builder(BUS).root(stage.root()).backing(Backing::File).open().unwrap();
    let (topic, _) = stage.topic("named", |topic| topic.capacity_bytes(16384));
    let memory = memory_below(topic.directory());
    assert_eq!(memory.len(), 2, "its log and its subscriber table");
    assert!(memory.iter().all(|memory| memory.exists()));
    let bell = memory_below(stage.bus().directory());
    let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    stage.bus().remove("named").unwrap();
    assert!(memory.iter().all(|memory| !memory.exists()), "it goes with the topic");
    publisher.publish(b"late").expect_err("who has it mapped is not ended, but told");
    assert_eq!(&*subscriber.receive().unwrap(), b"late");
    let told = subscriber.receive_within(PATIENCE).unwrap_err();
    assert!(matches!(told, ReceiveError::Removed), "{told}");
    assert!(stage.bus().remove_if_empty().unwrap());
    assert_eq!(bell.len(), 3);
    assert!(bell.iter().all(|memory| !memory.exists()), "and the bell with the bus");
}

#[test]
fn a_maker_killed_at_any_place_leaves_no_named_segment_that_is_not_found() {
    for (point, segments) in [
        ("create.linked:1", 0),
        ("create.named:1", 1),
        ("create.linked:2", 1),
        ("create.named:2", 2),
        ("create.before_rename", 2),
    ] {
        let stage = named_stage();
        let maker = Role::Create { place: stage.place("half-made"), capacity_bytes: 1 << 16 };
        stage.start_armed(&maker, point).await_killed();
        let [staged] = &stage.leftovers()[..] else { panic!("{:?}", stage.leftovers()) };
        let memory = memory_below(&stage.bus().directory().join(staged));
        let made = memory.iter().filter(|memory| memory.exists());
        assert_eq!(made.count(), segments, "{point}");
        assert_eq!(collect(&stage), 1);
        assert!(memory.iter().all(|memory| !memory.exists()), "{point}");
        assert_eq!(stage.leftovers(), [""; 0]);
    }
}

#[test]
fn a_remover_killed_at_any_place_leaves_no_named_segment_that_is_not_found() {
    for (point, is_there) in [("remove.hidden", true), ("remove.unlinked", false)] {
        let stage = named_stage();
        let (topic, place) = stage.topic("removed", |topic| topic.capacity_bytes(16384));
        let memory = memory_below(topic.directory());
        let mut remover = stage.start_armed(&Role::Obey, point);
        remover.order(&Order { at_ns: 0, command: Command::Remove(place) });
        remover.await_killed();
        assert!(memory.iter().all(|memory| memory.exists() == is_there), "{point}");
        assert_eq!(collect(&stage), 1);
        assert!(memory.iter().all(|memory| !memory.exists()), "{point}");
        assert_eq!(stage.leftovers(), [""; 0]);
    }
}

/// As a restart of the host does.
fn lose(memory: &[PathBuf]) {
    memory.iter().for_each(|memory| std::fs::remove_file(memory).unwrap());
}

#[test]
fn after_a_restart_of_the_host_topics_are_made_anew_or_cleared_away() {
    let stage = named_stage();
    let make = |name: &str| stage.topic(name, |topic| topic.capacity_bytes(16384)).0;
    let epoch = make("first").info().epoch;
    make("second");
    lose(&memory_below(stage.bus().directory()));
    let refused = stage.bus().topic("first").unwrap().open().unwrap_err();
    assert!(matches!(refused, OpenError::Topic(TopicError::Segment(SegmentError::Lost { .. }))), "{refused}");
    assert!(refused.to_string().contains("its memory is gone, as after a restart"), "{refused}");
    // Many who start at once make one.
    let place = stage.place("first");
    let mut services: Vec<_> = (0..8).map(|_| stage.start(&Role::Obey)).collect();
    for service in &services {
        service.await_ready();
    }
    for service in &mut services {
        service.order(&Order { at_ns: 0, command: Command::OpenOrCreate(place.clone()) });
    }
    let epochs: Vec<u64> = services.iter().map(|service| service.answer().unwrap()).collect();
    assert!(epochs.iter().all(|found| *found == epochs[0] && *found != epoch), "{epochs:?}");
    let bell = stage.bus().directory().join(".bell");
    assert!(memory_path(&bell).unwrap().exists(), "it is made anew too");
    let topic = place.open().unwrap();
    let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
    topic.publisher::<[u8]>().open().unwrap().publish(b"again").unwrap();
    assert_eq!(&*subscriber.receive().unwrap(), b"again");
    assert_eq!(stage.bus().collect_garbage().unwrap().directories, 1);
    assert_eq!(stage.bus().topics().unwrap(), ["first"]);
    assert_eq!(stage.leftovers(), [""; 0]);
}
