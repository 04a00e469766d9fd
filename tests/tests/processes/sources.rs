//! Publishers with names that are killed over and over: each number comes once, in order, whoever else publishes.

use crate::stage;
use memlane::{Publishers, Start, Subscriber};
use memlane_tests::random::Random;
use memlane_tests::role::{Place, Publish, Role};
use memlane_tests::stage::{Actor, Stage, poll_until};
use nix::sys::signal::Signal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LIVES: u32 = 150;
const NAME: &str = "venue.a";

/// Where a life may end by itself.
const POINTS: &[&str] = &[
    "source.named",
    "source.leased",
    "source.taken_down",
    "claim.claimed",
    "write.half",
    "commit.before",
    "commit.after",
    "reclaim.leased",
    "reclaim.head_moved",
    "reclaim.before_limit",
];

fn source(stage: &Stage, place: &Place, crash: Option<&str>) -> Actor {
    let role = Role::Source { place: place.clone(), name: NAME.to_owned() };
    match crash {
        Some(crash) => stage.start_armed(&role, crash),
        None => stage.start(&role),
    }
}

/// Takes what is there: of the source each number once, in order. Gives the last one.
fn check(subscriber: &mut Subscriber<[u8]>, last: &mut u64) {
    while let Some(message) = subscriber.receive_within(Duration::from_millis(1)).unwrap() {
        let Some(source) = message.source().unwrap() else { continue };
        assert_eq!((source.name, source.sequence), (NAME, *last + 1), "a gap or a repeat");
        assert_eq!(message[..8], source.sequence.to_le_bytes());
        *last += 1;
    }
}

/// Has the threads of a test end, also where it fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A source lives again and again, each time killed somewhere; one subscriber sees everything.
fn comes_back(publishers: Publishers) {
    let stage = stage();
    let (topic, place) = stage.topic("t", |topic| topic.capacity_bytes(16384).publishers(publishers));
    let seed = Random::seed();
    println!("MEMLANE_SEED={seed}");
    let mut random = Random::new(seed);
    let mut subscriber = topic.subscriber::<[u8]>().start(Start::Earliest).open().unwrap();
    let (is_over, mut last) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        let checking = scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                check(&mut subscriber, &mut last);
            }
        });
        // Somebody without a name writes over what the source leaves behind.
        let others = (publishers != Publishers::One).then(|| {
            scope.spawn(|| {
                let mut other = topic.publisher::<[u8]>().open().unwrap();
                while !is_over.load(Ordering::Acquire) {
                    let _ = other.publish_within(&[3; 200], Duration::from_millis(50));
                }
            })
        });
        let over = Over(&is_over);
        for _ in 0..LIVES {
            let crash = format!("{}:{}", random.one_of(POINTS), 1 + random.below(40) * random.below(3));
            let mut actor = source(&stage, &place, (random.below(3) > 0).then_some(&crash));
            std::thread::sleep(Duration::from_millis(4) + random.time_below(Duration::from_millis(15)));
            actor.kill();
        }
        let mut survivor = source(&stage, &place, None);
        survivor.await_ready();
        survivor.ask_to_stop();
        survivor.answer().unwrap();
        drop(over);
        if let Some(others) = others {
            others.join().unwrap();
        }
        checking.join().unwrap();
    });
    check(&mut subscriber, &mut last);
    let known = topic.publisher::<[u8]>().stand_by(Duration::from_secs(10)).open_source(NAME).unwrap().last_sequence();
    println!("{last} numbers in {LIVES} lives, each once, {publishers:?}");
    assert_eq!(known, last);
    assert!(last > 1_000, "{last}");
}

#[test]
fn a_source_killed_over_and_over_on_a_topic_for_one_publisher_repeats_and_leaves_out_nothing() {
    comes_back(Publishers::One);
}

#[test]
fn a_source_killed_over_and_over_among_many_publishers_repeats_and_leaves_out_nothing() {
    comes_back(Publishers::Many(4));
}

#[test]
fn a_source_that_is_only_stopped_keeps_its_name() {
    let stage = stage();
    let (topic, place) = stage.topic("t", |topic| topic.capacity_bytes(16384).publishers(Publishers::Many(4)));
    let mut subscriber = topic.subscriber::<[u8]>().lossy().start(Start::Earliest).open().unwrap();
    let mut stopped = source(&stage, &place, None);
    stopped.await_ready();
    let has_published = poll_until(|| (!matches!(subscriber.try_receive(), Ok(None))).then_some(()));
    assert!(has_published.is_some());
    stopped.signal(Signal::SIGSTOP);
    stopped.await_stopped();
    let refused = topic.publisher::<[u8]>().open_source(NAME).unwrap_err().to_string();
    assert!(refused.contains("somebody publishes here as the source venue.a"), "{refused}");
    stopped.kill();
    let source = topic.publisher::<[u8]>().open_source(NAME).unwrap();
    assert!(source.last_sequence() > 0);
}

#[test]
fn a_source_that_comes_back_knows_its_messages_behind_a_frame_that_another_one_has_not_finished() {
    for ends in [Signal::SIGCONT, Signal::SIGKILL] {
        let stage = stage();
        let (topic, place) = stage.topic("t", |topic| topic.capacity_bytes(16384).publishers(Publishers::Many(4)));
        let mut subscriber = topic.subscriber::<[u8]>().start(Start::Earliest).open().unwrap();
        let mut other = stage.start_armed(&Role::Publish(Publish::new(&place, 1)), "claim.claimed:5:stop");
        other.await_stopped();
        // It fills what is left of the ring, and waits.
        let mut first = source(&stage, &place, None);
        first.await_ready();
        let is_full = poll_until(|| {
            let before = topic.snapshot().unwrap().messages;
            std::thread::sleep(Duration::from_millis(20));
            let now = topic.snapshot().unwrap().messages;
            (now == before && now > 20).then_some(())
        });
        assert!(is_full.is_some());
        first.kill();
        let known = topic.publisher::<[u8]>().open_source(NAME).unwrap().last_sequence();
        other.signal(ends);
        if ends == Signal::SIGKILL {
            other.kill();
        }
        let mut last = 0;
        while last < known {
            let message = subscriber.receive_within(Duration::from_secs(30)).unwrap().expect("it is in the log");
            if let Some(source) = message.source().unwrap() {
                assert_eq!(source.sequence, last + 1, "{ends}");
                last += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
        while let Some(message) = subscriber.receive_within(Duration::from_millis(50)).unwrap() {
            assert_eq!(message.source().unwrap(), None, "{ends}: the last number was {known}");
            if ends == Signal::SIGCONT && message.position() > 1 << 20 {
                break;
            }
        }
        assert!(known > 10, "{known}");
    }
}
