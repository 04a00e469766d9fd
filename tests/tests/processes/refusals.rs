//! What can't be is a clear error, and leaves nothing behind.

use crate::stage;
use memlane::{
    BusError, ClaimError, Message, OpenError, PublishError, Publishers, ReceiveError, SegmentError, Start, TopicError,
    Wait,
};
use memlane_tests::role::{BUS, Publish, Role, Subscribe};
use memlane_tests::stage::await_progress;
use nix::sys::resource::{Resource, getrlimit};
use rkyv::{Archive, Serialize};
use std::time::{Duration, Instant};

#[derive(Archive, Debug, Serialize, Message)]
#[message(name = "tests.trade", version = 3)]
struct Trade {
    price: i64,
    is_buy: bool,
}

/// The same type in the author's eyes, one version on.
mod newer {
    use super::{Archive, Message, Serialize};

    #[derive(Archive, Debug, Serialize, Message)]
    #[message(name = "tests.trade", version = 4)]
    pub(super) struct Trade {
        pub(super) price: i64,
        pub(super) is_buy: bool,
    }
}

/// Same name and version, another layout.
mod changed {
    use super::{Archive, Message, Serialize};

    #[derive(Archive, Debug, Serialize, Message)]
    #[message(name = "tests.trade", version = 3)]
    pub(super) struct Trade {
        pub(super) price: i32,
        pub(super) is_buy: bool,
    }
}

#[test]
fn a_name_that_is_taken_is_refused_and_the_topic_stays_as_it_is() {
    let stage = stage();
    let (topic, place) = stage.topic("taken", |topic| topic.capacity_bytes(16384));
    let mut maker = stage.start(&Role::Create { place: place.clone(), capacity_bytes: 1 << 20 });
    assert!(!maker.await_end().success());
    let refused = stage.bus().topic("taken").unwrap().create().unwrap_err();
    assert!(matches!(refused, OpenError::Topic(TopicError::Exists { .. })), "{refused}");
    assert!(refused.to_string().contains("taken: a topic of that name exists already"), "{refused}");
    assert_eq!(place.open().unwrap().info(), topic.info());
    assert_eq!(stage.leftovers(), [""; 0]);
}

#[test]
fn another_type_or_version_is_refused_with_both_shown() {
    let stage = stage();
    let (topic, _) = stage.topic("typed", |topic| topic.capacity_bytes(16384).message::<Trade>());
    let shown = |refused: OpenError| {
        let text = refused.to_string();
        assert!(matches!(refused, OpenError::TypeMismatch { .. }), "{text}");
        assert!(text.contains("topic typed carries tests.trade v3"), "{text}");
        text
    };
    assert!(shown(topic.subscriber::<newer::Trade>().open().unwrap_err()).contains("not tests.trade v4"));
    assert!(shown(topic.publisher::<newer::Trade>().open().unwrap_err()).contains("not tests.trade v4"));
    let changed = shown(topic.subscriber::<changed::Trade>().open().unwrap_err());
    let layouts: Vec<&str> = changed.split("layout ").skip(1).map(|rest| &rest[..16]).collect();
    assert!(layouts.len() == 2 && layouts[0] != layouts[1], "{changed}");
    let (raw, _) = stage.topic("raw", |topic| topic.capacity_bytes(16384));
    let refused = raw.subscriber::<Trade>().open().unwrap_err().to_string();
    assert!(refused.contains("carries raw bytes, not tests.trade v3"), "{refused}");
    // The right one gets in, and gets its values.
    let mut subscriber = topic.subscriber::<Trade>().open().unwrap();
    topic.publisher::<Trade>().open().unwrap().publish(&Trade { price: -5, is_buy: true }).unwrap();
    let trade = subscriber.receive().unwrap();
    assert_eq!((trade.price.to_native(), trade.is_buy), (-5, true));
    let unused = (newer::Trade { price: 0, is_buy: false }, changed::Trade { price: 0, is_buy: false });
    assert!(unused.0.price == 0 && !unused.0.is_buy && unused.1.price == 0 && !unused.1.is_buy);
}

#[test]
fn a_message_that_fails_its_check_is_an_error_with_its_position_and_the_next_one_comes() {
    let stage = stage();
    let (topic, _) = stage.topic("typed", |topic| topic.capacity_bytes(16384).message::<Trade>());
    let mut gated = topic.subscriber::<Trade>().open().unwrap();
    let mut lossy = topic.subscriber::<Trade>().lossy().open().unwrap();
    let mut raw = topic.publisher::<[u8]>().open().unwrap();
    let mut bytes = [0; 16];
    bytes[8] = 1;
    let good = raw.publish(&bytes).unwrap();
    bytes[8] = 7;
    let not_a_bool = raw.publish(&bytes).unwrap();
    let too_short = raw.publish(&bytes[..9]).unwrap();
    bytes[8] = 0;
    let last = raw.publish(&bytes).unwrap();
    for subscriber in [&mut gated, &mut lossy] {
        assert_eq!(subscriber.receive().unwrap().position(), good);
        for wrong in [not_a_bool, too_short] {
            let error = subscriber.receive().unwrap_err();
            let ReceiveError::Invalid { position, .. } = &error else { panic!("{error}") };
            assert_eq!(*position, wrong);
            let text = error.to_string();
            assert!(text.contains(&format!("position {wrong} is not a valid tests.trade v3")), "{text}");
        }
        assert_eq!(subscriber.receive().unwrap().position(), last);
    }
}

#[test]
fn a_topic_of_another_layout_version_or_with_a_damaged_or_cut_file_is_refused() {
    let stage = stage();
    let (topic, place) = stage.topic("old", |topic| topic.capacity_bytes(16384));
    let (other, _) = stage.topic("other", |topic| topic.capacity_bytes(16384));
    let path = |topic: &memlane::Topic, file: &str| topic.directory().join(file);
    let original = std::fs::read(path(&topic, "log")).unwrap();
    let open = || {
        let topic = place.open().map_err(|error| error.to_string())?;
        topic.subscriber::<[u8]>().open().map(drop).map_err(|error| error.to_string())
    };
    let with_log = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut log = original.clone();
        change(&mut log);
        std::fs::write(path(&topic, "log"), log).unwrap();
        open().unwrap_err()
    };
    let abi = with_log(&|log| {
        log[8] = 99;
        let sum = fnv(&log[..4088]);
        log[4088..4096].copy_from_slice(&sum.to_le_bytes());
    });
    assert!(abi.contains(&format!("made with layout version 99, this is {}", memlane_ring::layout::ABI)), "{abi}");
    let damaged = with_log(&|log| log[32] ^= 1);
    assert!(damaged.contains("the header is damaged"), "{damaged}");
    let foreign = with_log(&|log| log[..8].copy_from_slice(b"whatever"));
    assert!(foreign.contains("not a memlane file"), "{foreign}");
    let stump = with_log(&|log| log.truncate(100));
    assert!(stump.contains("not a memlane file"), "{stump}");
    std::fs::write(path(&topic, "log"), &original).unwrap();
    let memory = memlane_shm::named::memory_path(&path(&topic, "log")).unwrap();
    let whole = std::fs::read(&memory).unwrap();
    std::fs::write(&memory, &whole[..8192]).unwrap();
    let cut = open().unwrap_err();
    assert!(cut.contains("8192 bytes long, its header says"), "{cut}");
    std::fs::write(&memory, &whole).unwrap();
    open().unwrap();
    memlane_shm::named::remove_file(&path(&topic, "subs")).unwrap();
    std::fs::copy(path(&other, "subs"), path(&topic, "subs")).unwrap();
    let mixed = open().unwrap_err();
    assert!(mixed.contains("files are of different topics"), "{mixed}");
    // None of them can't be removed.
    stage.bus().remove("old").unwrap();
    assert_eq!(stage.bus().topics().unwrap(), ["other"]);
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn half_a_topic_is_an_error_and_not_an_endless_loop() {
    let stage = stage();
    for missing in ["log", "subs"] {
        let (topic, place) = stage.topic(&format!("no-{missing}"), |topic| topic.capacity_bytes(16384));
        memlane_shm::named::remove_file(&topic.directory().join(missing)).unwrap();
        // In a process of its own, which can be given up on.
        let mut actor = stage.start(&Role::Obey);
        actor.await_ready();
        use memlane_tests::role::{Command, Order};
        let command = if missing == "log" { Command::OpenOrCreate(place) } else { Command::JoinOnce(place) };
        actor.order(&Order { at_ns: 0, command });
        let error = actor.answer().unwrap_err();
        assert!(error.contains("topic") && error.contains("remove"), "{error}");
        stage.bus().remove(topic.name()).unwrap();
    }
    assert_eq!(stage.bus().topics().unwrap(), [""; 0]);
}

#[test]
fn a_payload_that_is_too_long_is_refused_whole_and_the_longest_arrives() {
    let stage = stage();
    for publishers in [Publishers::One, Publishers::Many(4)] {
        let name = format!("{publishers:?}").replace(['(', ')'], "");
        let (topic, _) = stage.topic(&name, |topic| topic.capacity_bytes(16384).publishers(publishers));
        let longest = topic.info().payload_bytes_max as usize;
        let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let too_long = vec![1; longest + 1];
        let refused = publisher.publish(&too_long).unwrap_err();
        assert_eq!(refused, PublishError::Claim(ClaimError::TooLong));
        assert!(refused.to_string().contains("longer than the topic allows"), "{refused}");
        assert!(publisher.publish_within(&too_long, Duration::from_secs(60)).is_err(), "no waiting helps");
        assert!(publisher.publish_batch(&[&too_long]).is_err());
        assert!(publisher.loan(longest + 1).is_err());
        assert!(publisher.loan(usize::MAX).is_err());
        assert_eq!(
            publisher.publish_batch(&[&[2; 10], &too_long, &[3; 10]]).unwrap(),
            1,
            "up to the one that is too long"
        );
        publisher.publish(&too_long[1..]).unwrap();
        assert_eq!(subscriber.receive().unwrap().len(), 10);
        assert_eq!(subscriber.receive().unwrap().len(), longest);
        assert!(subscriber.try_receive().unwrap().is_none());
    }
}

#[test]
fn participants_of_a_bus_whose_directory_vanishes_go_on_and_newcomers_get_an_error() {
    let stage = stage();
    let (topic, place) = stage.topic("gone", |topic| topic.capacity_bytes(16384));
    let ledger = stage.ledger(&place);
    let mut listener = stage.start(&Role::Subscribe(Subscribe::new(&place)));
    listener.await_ready();
    let mut publisher = stage.start(&Role::Publish(Publish::new(&place, 0)));
    publisher.await_ready();
    let bus = stage.bus();
    memlane_shm::named::remove_directory(&stage.root().join(BUS)).unwrap();
    let published = ledger.entry(0).unwrap().published;
    await_progress(&ledger, 0, published + 1000);
    for error in [
        topic.publisher::<[u8]>().open().unwrap_err(),
        topic.subscriber::<[u8]>().open().unwrap_err(),
        topic.subscriber::<[u8]>().lossy().start(Start::Latest).open().unwrap_err(),
        bus.topic("gone").unwrap().open().unwrap_err(),
    ] {
        assert!(matches!(error, OpenError::Topic(TopicError::NotFound { .. })), "{error}");
        assert!(error.to_string().contains("there is no such topic (it may have been removed)"), "{error}");
    }
    let create = bus.topic("gone").unwrap().open_or_create().unwrap_err();
    assert!(matches!(create, OpenError::Topic(TopicError::Segment(SegmentError::NotFound { .. }))), "{create}");
    assert!(matches!(bus.topics().unwrap_err(), BusError::Directory { .. }));
    assert!(bus.collect_garbage().is_err() && bus.remove("gone").is_err() && topic.snapshot().is_err());
    publisher.ask_to_stop();
    publisher.published();
    listener.ask_to_stop();
    let tally = listener.tally();
    tally.assert_clean();
    assert!(tally.messages >= 500, "all but what was in the ring when it was stopped");
}

#[test]
fn participants_of_a_removed_topic_are_told() {
    let stage = stage();
    let (_topic, place) = stage.topic("removed", |topic| topic.capacity_bytes(16384));
    let patient = |plan: Subscribe| stage.start(&Role::Subscribe(Subscribe { patient: true, ..plan }));
    use memlane_tests::role::Manner;
    let sleepers =
        [Manner::Gated, Manner::Lossy, Manner::Latest].map(|manner| patient(Subscribe::new(&place).manner(manner)));
    for sleeper in &sleepers {
        sleeper.await_ready();
    }
    let mut publisher = place.open().unwrap().publisher::<[u8]>().open().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let start = Instant::now();
    stage.bus().remove("removed").unwrap();
    for sleeper in &sleepers {
        let tally = sleeper.tally();
        assert!(tally.errors.len() == 1 && tally.errors[0].contains("the topic was removed"), "{:?}", tally.errors);
    }
    crate::print_time("three sleepers told of the removal", start.elapsed());
    let refused = (0..1000).find_map(|_| publisher.publish(&[0; 1000]).err()).expect("told within a lap");
    assert_eq!(refused, PublishError::Claim(ClaimError::Removed));
    assert!(stage.bus().topic("removed").unwrap().open().is_err());
}

#[test]
fn what_was_published_before_a_removal_is_read_before_it_is_told_also_past_a_dead_ones_claim() {
    let stage = stage();
    let (topic, place) = stage.topic("removed", |topic| topic.capacity_bytes(16384).publishers(Publishers::Many(2)));
    let mut subscribers = [
        topic.subscriber::<[u8]>().open().unwrap(),
        topic.subscriber::<[u8]>().lossy().open().unwrap(),
        topic.subscriber::<[u8]>().lossy().wait(Wait::SpinThenYield { spins: 10 }).open().unwrap(),
    ];
    let mut victim = stage.start_armed(&Role::Publish(Publish::new(&place, 0)), "commit.before:10");
    victim.await_killed();
    let before = stage.ledger(&place).entry(0).unwrap().published;
    let mut slots = [topic.publisher::<[u8]>().open().unwrap(), topic.publisher::<[u8]>().open().unwrap()];
    // The claim is padding by now; this one is not, and its owner has left without a word.
    std::mem::forget(slots[1].loan(2000).unwrap());
    slots[0].publish(b"behind").unwrap();
    drop(slots);
    stage.bus().remove("removed").unwrap();
    for subscriber in &mut subscribers {
        for _ in 0..before {
            subscriber.receive().unwrap();
        }
        assert_eq!(&*subscriber.receive().unwrap(), b"behind");
        assert!(matches!(subscriber.receive().unwrap_err(), ReceiveError::Removed));
    }
}

#[test]
fn every_publisher_slot_can_be_taken_and_one_more_is_refused() {
    let (_, files_max) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if files_max < 2200 {
        return println!("1,024 publishers in a process: skipped, RLIMIT_NOFILE is {files_max}");
    }
    let stage = stage();
    let (topic, place) =
        stage.topic("slots", |topic| topic.capacity_bytes(65536).publishers(Publishers::Many(1024)).subscribers_max(1));
    let refused = stage.start(&Role::TakeAllSlots { place, slots: 1024 }).answer().unwrap_err();
    assert!(refused.contains("all 1024 publisher slots are taken"), "{refused}");
    topic.publisher::<[u8]>().open().unwrap();
    let more = stage.bus().topic("more").unwrap().publishers(Publishers::Many(1025)).create().unwrap_err();
    assert!(more.to_string().contains("publishers_max can't be 1025"), "{more}");
}

#[test]
fn opening_leaving_and_failing_leaves_no_descriptor_and_no_mapping() {
    let stage = stage();
    let (_, place) = stage.topic("leak", |topic| topic.capacity_bytes(16384).message_type(Default::default()));
    let mut actor = stage.start(&Role::Leak { place, rounds: 50 });
    actor.answer().unwrap();
    actor.await_success();
    assert_eq!(stage.leftovers(), [""; 0]);
}
