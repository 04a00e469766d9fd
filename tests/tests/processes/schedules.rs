//! Schedules that chance seldom finds, made by stopping somebody at a named place while others pass.

use crate::{print_time, stage};
use memlane::{Publishers, Start, Subscriber, TopicBuilder};
use memlane_tests::clock::since_boot;
use memlane_tests::ledger::Ledger;
use memlane_tests::role::{Place, Publish, Role, Subscribe, Way};
use memlane_tests::stage::{Actor, PATIENCE, await_progress};
use memlane_tests::tally::{Strictness, Tally};
use nix::sys::signal::Signal;
use std::time::Duration;

/// How long somebody is stopped at each place. The twenty seconds are in `stopped.rs`.
const STOP: Duration = Duration::from_millis(100);

fn small(topic: TopicBuilder) -> TopicBuilder {
    topic.capacity_bytes(16384).subscribers_max(4)
}

fn of_many(topic: TopicBuilder) -> TopicBuilder {
    small(topic).publishers(Publishers::Many(4))
}

/// One of two publishers, or a subscriber, is stopped at `crash`, for as long as the others need to run into it or to go laps past it.
fn stopped_at(crash: &str, role: impl Fn(&Place) -> Role) {
    let stage = stage();
    let (topic, place) = stage.topic("many", of_many);
    let ledger = stage.ledger(&place);
    let listener = stage.start(&Role::Subscribe(Subscribe::new(&place)));
    listener.await_ready();
    let mut other = stage.start(&Role::Publish(Publish { way: Way::Mixed, ..Publish::new(&place, 1) }));
    other.await_ready();
    let mut stopped = stage.start_armed(&role(&place), &format!("{crash}:stop"));
    stopped.await_stopped();
    std::thread::sleep(STOP);
    assert_eq!(topic.snapshot().unwrap().abandoned, 0, "{crash}: the stopped one was taken for dead");
    stopped.signal(Signal::SIGCONT);
    let published = ledger.entry(1).unwrap().published;
    await_progress(&ledger, 1, published + 300);
    other.ask_to_stop();
    stopped.ask_to_stop();
    other.published();
    assert_eq!(stopped.errors(), [""; 0], "{crash}");
    stage.publish_end(&topic);
    listener.tally().assert_complete(&ledger, [1, 2]);
    assert_eq!(topic.snapshot().unwrap().abandoned, 0, "{crash}");
}

#[test]
fn a_publisher_stopped_at_any_place_is_never_overrun() {
    for crash in [
        "attach.locked:1",
        "attach.announced:1",
        "claim.claimed:200",
        "claim.tail_moved:200",
        "write.half:200",
        "commit.before:200",
        "commit.after:200",
        "batch.half:100",
        "reclaim.leased:10",
        "reclaim.head_moved:10",
        "reclaim.half_stamped:10",
        "reclaim.before_limit:10",
    ] {
        stopped_at(crash, |place| Role::Publish(Publish { way: Way::Mixed, ..Publish::new(place, 2) }));
    }
}

#[test]
fn a_subscriber_stopped_at_any_place_is_never_overrun() {
    for crash in ["join.announced:1", "join.gated:1", "read.holding:99", "release.before:99", "release.after:99"] {
        // It joins late, so it can't tell what it missed before; what it then sees is whole and in order.
        let late = |place: &_| Subscribe { strictness: Strictness::Told, ..Subscribe::new(place) };
        stopped_at(crash, |place| Role::Subscribe(late(place)));
    }
}

#[test]
fn who_looks_for_its_place_is_not_said_to_have_one() {
    let stage = stage();
    let (topic, place) = stage.topic("one", small);
    let joining = stage.start_armed(&Role::Subscribe(Subscribe::new(&place)), "join.announced:1:stop");
    joining.await_stopped();
    // Whoever waits for subscribers goes on once they have one: what is published before passes this one by.
    let position = || topic.snapshot().unwrap().subscribers[0].position;
    assert_eq!(position(), None);
    joining.signal(Signal::SIGCONT);
    joining.await_ready();
    assert_eq!(position(), Some(0));
}

/// Reads until message `end` of sender 0; every message is whole, and follows the one before.
fn read_up_to(subscriber: &mut Subscriber<[u8]>, end: u64) {
    let mut tally = Tally::new(Strictness::Told);
    while tally.next.get(&0).is_none_or(|next| *next < end) {
        let sample = subscriber.receive_within(PATIENCE).unwrap().expect("it was published");
        tally.message(sample.position(), &sample);
    }
    tally.assert_clean();
}

/// Waits until `sender` waits for room.
fn await_full(ledger: &Ledger, sender: u32) -> u64 {
    let mut published = u64::MAX;
    while published != ledger.entry(sender).unwrap().published {
        published = ledger.entry(sender).unwrap().published;
        std::thread::sleep(Duration::from_millis(100));
    }
    published
}

#[test]
fn who_joins_between_a_publishers_look_for_gates_and_its_move_of_the_head_is_not_overrun() {
    let stage = stage();
    let (topic, place) = stage.topic("one", small);
    let ledger = stage.ledger(&place);
    let plan = Role::Publish(Publish { bytes_max: 500, ..Publish::new(&place, 0) });
    let publisher = stage.start_armed(&plan, "reclaim.leased:30:stop");
    publisher.await_stopped();
    let mut joined = topic.subscriber::<[u8]>().start(Start::Earliest).open().unwrap();
    publisher.signal(Signal::SIGCONT);
    let published = await_full(&ledger, 0);
    read_up_to(&mut joined, published);
}

#[test]
fn who_joins_before_a_publisher_dies_with_its_head_moved_is_not_overrun_by_the_next_one() {
    let stage = stage();
    let (topic, place) = stage.topic("one", small);
    let ledger = stage.ledger(&place);
    let plan = Publish { bytes_max: 500, resume: true, ..Publish::new(&place, 0) };
    let crash = "reclaim.leased:30:stop,reclaim.head_moved:30";
    let mut publisher = stage.start_armed(&Role::Publish(plan.clone()), crash);
    publisher.await_stopped();
    let mut joined = topic.subscriber::<[u8]>().start(Start::Earliest).open().unwrap();
    publisher.signal(Signal::SIGCONT);
    publisher.await_killed();
    let successor = stage.start(&Role::Publish(plan));
    successor.await_ready();
    let published = await_full(&ledger, 0);
    read_up_to(&mut joined, published);
}

#[test]
fn a_message_behind_a_dead_ones_claim_comes_though_the_dead_ones_slot_is_taken_again() {
    let stage = stage();
    let (topic, place) = stage.topic("many", of_many);
    let ledger = stage.ledger(&place);
    let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
    let plan = Publish { wait_for_go: true, ..Publish::new(&place, 0) };
    let mut victim = stage.start_armed(&Role::Publish(plan), "commit.before:20");
    victim.await_ready();
    let mut behind = topic.publisher::<[u8]>().open().unwrap();
    victim.go();
    victim.await_killed();
    // The new owner of the slot lives, and has nothing to say.
    let _idle = topic.publisher::<[u8]>().open().unwrap();
    behind.publish(b"behind").unwrap();
    let start = since_boot();
    for _ in 0..ledger.entry(0).unwrap().published {
        subscriber.receive().unwrap();
    }
    let sample = subscriber.receive_within(Duration::from_secs(5)).unwrap().expect("it doesn't wait for the dead");
    assert_eq!(&*sample, b"behind");
    print_time("a message behind a dead one's claim came after", since_boot() - start);
}

#[test]
fn who_opens_a_topic_that_is_replaced_meanwhile_gets_an_error_and_nobody_elses_lock() {
    let stage = stage();
    for (name, role) in [
        ("publisher", (|place| Role::Publish(Publish::new(place, 0))) as fn(&Place) -> Role),
        ("subscriber", |place| Role::Subscribe(Subscribe::new(place))),
    ] {
        let (_, place) = stage.topic(name, small);
        let refused = Role::Refused(Box::new(role(&place)));
        let opening = stage.start_armed(&refused, "attach.mapped:1:stop");
        opening.await_stopped();
        stage.bus().remove(name).unwrap();
        let (topic, _) = stage.topic(name, small);
        opening.signal(Signal::SIGCONT);
        let error = opening.answer().unwrap_err();
        assert!(error.contains("there is no such topic"), "{error}");
        assert_eq!(topic.snapshot().unwrap().publishers.len() + topic.snapshot().unwrap().subscribers.len(), 0);
    }
}

#[test]
fn a_publisher_behind_a_stopped_one_uses_little_processor() {
    let stage = stage();
    let (_topic, place) = stage.topic("many", of_many);
    let ledger = stage.ledger(&place);
    let stopped = stage.start_armed(&Role::Publish(Publish::new(&place, 0)), "commit.before:50:stop");
    stopped.await_stopped();
    let waiting = stage.start(&Role::Publish(Publish::new(&place, 1)));
    await_full(&ledger, 1);
    let before = waiting.processor_ticks();
    std::thread::sleep(Duration::from_secs(1));
    let ticks = waiting.processor_ticks() - before;
    println!("ticks of 10 ms in a second behind a stopped publisher: {ticks}");
    assert!(ticks <= 30, "{ticks}");
    drop::<[Actor; 2]>([stopped, waiting]);
}
