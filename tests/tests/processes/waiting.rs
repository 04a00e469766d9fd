//! Sleeping and waking between processes: nobody who waits uses the processor, and no wake-up is lost.

use crate::{print_time, stage};
use memlane::{Publishers, TopicBuilder};
use memlane_tests::clock::since_boot;
use memlane_tests::role::{Manner, Place, Publish, Role, Subscribe, Waiting, Way};
use memlane_tests::stage::{Actor, await_progress};
use nix::sys::signal::Signal;
use std::time::Duration;

/// Most processor time that a sleeper takes in a second, in ticks of 10 ms.
const IDLE_TICKS_MAX: u64 = 4;

const MANNERS: [Manner; 3] = [Manner::Gated, Manner::Lossy, Manner::Latest];

fn ticks_in_a_second(actors: &[Actor]) -> Vec<u64> {
    let before: Vec<u64> = actors.iter().map(Actor::processor_ticks).collect();
    std::thread::sleep(Duration::from_secs(1));
    actors.iter().zip(before).map(|(actor, before)| actor.processor_ticks() - before).collect()
}

#[test]
fn blocked_subscribers_use_no_processor_and_are_woken_by_a_publisher_in_another_process() {
    let stage = stage();
    let (topic, place) = stage.topic("idle", |topic| topic.capacity_bytes(16384).publishers(Publishers::Many(2)));
    let start = |manner| {
        let plan = Subscribe { patient: true, from_earliest: false, ..Subscribe::new(&place).manner(manner) };
        let actor = stage.start(&Role::Subscribe(plan));
        actor.await_ready();
        actor
    };
    let sleepers = MANNERS.map(start);
    std::thread::sleep(Duration::from_millis(50));
    let ticks = ticks_in_a_second(&sleepers);
    println!("ticks of 10 ms in a second, gated, lossy, latest: {ticks:?}");
    assert!(ticks.iter().all(|ticks| *ticks <= IDLE_TICKS_MAX), "{ticks:?}");
    assert!(sleepers.iter().all(|sleeper| sleeper.state() == 'S'));
    let published_at = since_boot();
    stage.publish_end(&topic);
    for sleeper in &sleepers {
        assert!(sleeper.tally().ended);
    }
    print_time("three sleepers woken, and their reports read", since_boot() - published_at);
}

#[test]
fn a_publisher_blocked_for_room_uses_little_processor_and_goes_on_when_its_subscriber_releases() {
    let stage = stage();
    for (name, publishers) in [("one", Publishers::One), ("many", Publishers::Many(2))] {
        let (topic, place) = stage.topic(name, |topic| topic.capacity_bytes(16384).publishers(publishers));
        let ledger = stage.ledger(&place);
        let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
        let plan = Publish { bytes_max: 200, ..Publish::new(&place, 1) };
        let mut publisher = [stage.start(&Role::Publish(plan))];
        publisher[0].await_ready();
        await_progress(&ledger, 1, 30);
        std::thread::sleep(Duration::from_millis(50));
        let stuck_at = ledger.entry(1).unwrap().published;
        let ticks = ticks_in_a_second(&publisher);
        assert_eq!(ledger.entry(1).unwrap().published, stuck_at, "it is blocked");
        println!("ticks of 10 ms in a second, blocked for room, {name}: {ticks:?}");
        let released_at = since_boot();
        subscriber.receive_batch(1000, |received| assert!(received.is_ok())).unwrap();
        let went_on_at = await_progress(&ledger, 1, stuck_at + 1);
        print_time("publisher goes on after the release", went_on_at - released_at);
        assert!(went_on_at - released_at < Duration::from_secs(2));
        drop(subscriber);
        // And it goes on without end once nobody gates.
        await_progress(&ledger, 1, stuck_at + 1000);
        publisher[0].ask_to_stop();
        publisher[0].published();
        // It wakes every millisecond, to see whether who holds it up is dead.
        assert!(ticks[0] <= 30, "{ticks:?}");
    }
}

/// A publisher comes to `crash` while it wakes a sleeper: dead or stopped there, it keeps nobody asleep.
fn rings_no_further_than(crash: &str) {
    let stage = stage();
    let (topic, place) = stage.topic("ring", |topic| topic.publishers(Publishers::Many(2)));
    let ledger = stage.ledger(&place);
    let plan = Subscribe { patient: true, ..Subscribe::new(&place) };
    let sleeper = stage.start(&Role::Subscribe(plan));
    sleeper.await_ready();
    while sleeper.state() != 'S' {
        std::thread::sleep(Duration::from_millis(1));
    }
    let plan = Publish { messages: 1, wait_for_go: true, ..Publish::new(&place, 1) };
    let mut publisher = stage.start_armed(&Role::Publish(plan), crash);
    publisher.await_ready();
    publisher.go();
    if crash.ends_with("stop") {
        publisher.await_stopped();
    } else {
        publisher.await_killed();
    }
    stage.publish_end(&topic);
    let tally = sleeper.tally();
    tally.assert_clean();
    assert_eq!(tally.messages, 2, "the message of the one who rang no further, and the end");
    if crash.ends_with("stop") {
        publisher.signal(Signal::SIGCONT);
        publisher.published();
    }
    tally.assert_complete(&ledger, [1]);
}

#[test]
fn a_publisher_killed_or_stopped_while_it_rings_keeps_nobody_asleep() {
    for crash in ["wake.before:1", "wake.before:1:stop", "wake.rung:1", "wake.rung:1:stop"] {
        rings_no_further_than(crash);
    }
}

/// Publishers and subscribers that sleep and wake all the time, without deadlines: a wake-up that is lost is a hang.
fn nobody_sleeps_for_ever(choose: impl FnOnce(TopicBuilder) -> TopicBuilder, senders: &[u32], messages: u64) {
    let stage = stage();
    let (topic, place) = stage.topic("wake", |topic| choose(topic).capacity_bytes(16384));
    let ledger = stage.ledger(&place);
    let listeners: Vec<Actor> = MANNERS
        .map(|manner| {
            let plan = Subscribe { patient: true, pause_at_random_us: 300, ..Subscribe::new(&place).manner(manner) };
            stage.start(&Role::Subscribe(plan))
        })
        .into();
    for listener in &listeners {
        listener.await_ready();
    }
    let start = since_boot();
    let way = |sender: u32| if sender.is_multiple_of(2) { Way::Mixed } else { Way::Single };
    let plan = |sender: &u32| Publish {
        messages,
        way: way(*sender),
        bytes_max: 400,
        pause_at_random_us: 300,
        ..Publish::new(&place, *sender)
    };
    let publishers: Vec<Actor> = senders.iter().map(|sender| stage.start(&Role::Publish(plan(sender)))).collect();
    for publisher in &publishers {
        publisher.published();
    }
    stage.publish_end(&topic);
    let tallies: Vec<_> = listeners.iter().map(Actor::tally).collect();
    print_time("all were woken every time, in", since_boot() - start);
    println!("{} messages; {} losses told to the lossy one", tallies[0].messages, tallies[1].losses);
    tallies.iter().for_each(|tally| tally.assert_clean());
    tallies[0].assert_complete(&ledger, senders.iter().copied());
    assert!(tallies[0].messages > messages * senders.len() as u64);
}

#[test]
fn a_hundred_thousand_messages_with_pauses_at_random_lose_no_wake_up_with_one_publisher() {
    nobody_sleeps_for_ever(|topic| topic, &[0], 100_000);
}

#[test]
fn a_hundred_thousand_messages_with_pauses_at_random_lose_no_wake_up_with_many_publishers() {
    nobody_sleeps_for_ever(|topic| topic.publishers(Publishers::Many(4)), &[0, 1, 2], 34_000);
}

#[test]
fn two_who_answer_each_other_at_the_moment_of_falling_asleep_never_both_sleep() {
    const ANSWERS: u64 = 12_000;
    for (name, publishers) in [("one", Publishers::One), ("many", Publishers::Many(2))] {
        let stage = stage();
        let (_, there) = stage.topic("there", |topic| topic.capacity_bytes(16384).publishers(publishers));
        let (_, back) = stage.topic("back", |topic| topic.capacity_bytes(16384).publishers(publishers));
        let answer = |hears: &Place, says: &Place, begins| {
            let (hears, says) = (hears.clone(), says.clone());
            let actor = stage.start(&Role::Answer { hears, says, messages: ANSWERS, begins });
            actor.await_ready();
            actor
        };
        let second = answer(&there, &back, false);
        let mut first = answer(&back, &there, true);
        let start = since_boot();
        first.go();
        assert_eq!((first.answer(), second.answer()), (Ok(ANSWERS), Ok(ANSWERS)));
        let time = since_boot() - start;
        print_time(&format!("a message and its answer, {name}, both asleep before"), time / ANSWERS as u32);
    }
}

/// Somebody sleeps by `waiting` on so many topics, and nothing but a publisher ends a sleep; two publish on one of them each, with pauses at random.
fn is_woken_each_time(waiting: Waiting, topics: usize) {
    const MESSAGES: u64 = 60_000;
    let stage = stage();
    let place = |index| {
        let (_, place) = stage.topic(&format!("t.{index}"), |topic| topic.capacity_bytes(16384).subscribers_max(2));
        place
    };
    let places: Vec<Place> = (0..topics).map(place).collect();
    let senders = [0, topics - 1];
    let senders = if waiting == Waiting::Blocked { &senders[..1] } else { &senders[..] };
    let messages = MESSAGES * senders.len() as u64;
    let sleeper = stage.start(&Role::Await { places: places.clone(), waiting, messages });
    sleeper.await_ready();
    let start = since_boot();
    let publish = |(sender, at): (u32, &usize)| {
        let plan = Publish {
            messages: MESSAGES,
            bytes_max: 200,
            pause_at_random_us: 200,
            ..Publish::new(&places[*at], sender)
        };
        stage.start(&Role::Publish(plan))
    };
    let publishers: Vec<Actor> = (0..).zip(senders).map(publish).collect();
    assert_eq!(sleeper.answer(), Ok(messages), "{waiting:?} over {topics} topics");
    print_time(&format!("{waiting:?} over {topics} topics, woken each time, in"), since_boot() - start);
    publishers.iter().for_each(|publisher| assert_eq!(publisher.published().0, MESSAGES));
}

#[test]
fn a_selector_over_few_topics_and_over_many_misses_no_wake_up() {
    is_woken_each_time(Waiting::Selector, 4);
    is_woken_each_time(Waiting::Selector, 150);
}

#[test]
fn a_subscriber_to_a_pattern_misses_no_wake_up() {
    is_woken_each_time(Waiting::Pattern, 2);
    is_woken_each_time(Waiting::Pattern, 40);
}

#[test]
fn tasks_and_event_loops_miss_no_wake_up() {
    is_woken_each_time(Waiting::Tasks, 4);
    is_woken_each_time(Waiting::Tasks, 40);
    is_woken_each_time(Waiting::BlockOn, 4);
    is_woken_each_time(Waiting::BlockOn, 40);
    is_woken_each_time(Waiting::Notifier, 4);
    is_woken_each_time(Waiting::Notifier, 40);
}

#[test]
fn a_blocked_subscriber_misses_no_wake_up() {
    is_woken_each_time(Waiting::Blocked, 1);
}
