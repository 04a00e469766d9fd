//! Subscribers are killed while they join, read and release: what they held is released, and whoever they held up goes on.

use crate::{print_time, stage};
use memlane::{Publishers, TopicBuilder};
use memlane_ring::layout::subs;
use memlane_shm::named::memory_path;
use memlane_tests::clock::since_boot;
use memlane_tests::role::{Manner, Publish, Role, Subscribe, Way};
use memlane_tests::stage::{Stage, await_progress};
use nix::sys::signal::Signal;
use std::time::Duration;

fn small(topic: TopicBuilder) -> TopicBuilder {
    topic.capacity_bytes(16384).subscribers_max(3)
}

fn of_many(topic: TopicBuilder) -> TopicBuilder {
    small(topic).publishers(Publishers::Many(4))
}

/// A gated subscriber dies at `crash`; the publisher and another subscriber go on, and its slot is free.
fn one_of_two_dies(stage: &Stage, name: &str, choose: fn(TopicBuilder) -> TopicBuilder, crash: &str) {
    let (topic, place) = stage.topic(name, choose);
    let ledger = stage.ledger(&place);
    let listener = stage.start(&Role::Subscribe(Subscribe::new(&place)));
    listener.await_ready();
    let mut publisher = stage.start(&Role::Publish(Publish { way: Way::Mixed, ..Publish::new(&place, 1) }));
    publisher.await_ready();
    let comes_and_goes = ["join", "attach", "leave"].iter().any(|phase| crash.starts_with(phase));
    let rejoin_every = if comes_and_goes { 30 } else { 0 };
    let victim = Subscribe { rejoin_every, from_earliest: false, ..Subscribe::new(&place) };
    let died_at = stage.start_armed(&Role::Subscribe(victim), crash).await_killed();
    let published = ledger.entry(1).unwrap().published;
    // Several laps: past everything that the dead one may have held.
    let went_on_at = await_progress(&ledger, 1, published + 300);
    publisher.ask_to_stop();
    let (_, longest_wait) = publisher.published();
    assert_eq!(topic.snapshot().unwrap().subscribers.len(), 1, "after {crash}, the living one is left");
    stage.publish_end(&topic);
    listener.tally().assert_complete(&ledger, [1]);
    print_time(&format!("{crash}: 300 messages after"), went_on_at.saturating_sub(died_at));
    print_time(&format!("{crash}: longest wait of the publisher"), longest_wait);
    assert!(longest_wait < Duration::from_secs(2), "{longest_wait:?}");
}

#[test]
fn a_subscriber_killed_while_joining_holds_nothing() {
    let stage = stage();
    for (round, crash) in
        ["attach.mapped:3", "join.announced:1", "join.gated:1", "join.announced:7", "join.gated:7"].iter().enumerate()
    {
        one_of_two_dies(&stage, &format!("one{round}"), small, crash);
        one_of_two_dies(&stage, &format!("many{round}"), of_many, crash);
    }
}

#[test]
fn a_subscriber_killed_while_reading_or_releasing_holds_nothing() {
    let stage = stage();
    let crashes = ["read.holding:1", "read.holding:333", "release.before:9", "release.after:1", "release.after:333"];
    for (round, crash) in crashes.iter().enumerate() {
        one_of_two_dies(&stage, &format!("one{round}"), small, crash);
        one_of_two_dies(&stage, &format!("many{round}"), of_many, crash);
    }
}

#[test]
fn a_subscriber_killed_while_it_leaves_holds_nothing() {
    let stage = stage();
    for (round, crash) in
        ["leave.gated:1", "leave.gated:5", "leave.slot_free:1", "leave.slot_free:5"].iter().enumerate()
    {
        one_of_two_dies(&stage, &format!("one{round}"), small, crash);
        one_of_two_dies(&stage, &format!("many{round}"), of_many, crash);
    }
}

#[test]
fn a_publisher_that_waits_for_a_subscriber_goes_on_when_it_is_killed() {
    let stage = stage();
    for (name, choose) in [("one", small as fn(_) -> _), ("many", of_many)] {
        let (_topic, place) = stage.topic(name, choose);
        let ledger = stage.ledger(&place);
        let mut holder = stage.start(&Role::Subscribe(Subscribe { hold_us: 60_000_000, ..Subscribe::new(&place) }));
        holder.await_ready();
        let mut publisher = stage.start(&Role::Publish(Publish::new(&place, 1)));
        publisher.await_ready();
        let mut stuck_at = 0;
        while stuck_at == 0 || ledger.entry(1).unwrap().published > stuck_at {
            stuck_at = ledger.entry(1).unwrap().published;
            std::thread::sleep(Duration::from_millis(50));
        }
        let killed_at = since_boot();
        holder.kill();
        let went_on_at = await_progress(&ledger, 1, stuck_at + 1);
        await_progress(&ledger, 1, stuck_at + 1000);
        publisher.ask_to_stop();
        publisher.published();
        print_time(&format!("{name}: publisher goes on after the kill"), went_on_at - killed_at);
        assert!(went_on_at - killed_at < Duration::from_secs(2));
    }
}

#[test]
fn subscribers_that_never_hold_anyone_up_leave_nothing_when_they_are_killed() {
    let stage = stage();
    let (topic, place) = stage.topic("lossy", small);
    let ledger = stage.ledger(&place);
    let mut publisher = stage.start(&Role::Publish(Publish::new(&place, 1)));
    publisher.await_ready();
    for manner in [Manner::Lossy, Manner::Latest, Manner::Lossy, Manner::Latest] {
        let plan = Subscribe { from_earliest: false, ..Subscribe::new(&place).manner(manner) };
        let mut victim = stage.start(&Role::Subscribe(plan));
        victim.await_ready();
        std::thread::sleep(Duration::from_millis(5));
        victim.signal(Signal::SIGKILL);
        victim.await_killed();
    }
    await_progress(&ledger, 1, ledger.entry(1).unwrap().published + 300);
    publisher.ask_to_stop();
    publisher.published();
    assert!(topic.snapshot().unwrap().subscribers.is_empty());
    let table = std::fs::read(memory_path(&topic.directory().join("subs")).unwrap()).unwrap();
    assert!(table[subs::SLOTS_USED..][..8].iter().all(|byte| *byte == 0), "no slot that gates was ever taken");
}

#[test]
fn more_dead_subscribers_than_slots_leave_slots_for_the_living() {
    let stage = stage();
    let (topic, place) = stage.topic("slots", small);
    for crash in ["join.announced", "join.gated", "join.gated", "join.announced", "join.gated"] {
        stage.start_armed(&Role::Subscribe(Subscribe::new(&place)), crash).await_killed();
    }
    let living: Vec<_> = (0..3).map(|_| topic.subscriber::<[u8]>().open().unwrap()).collect();
    assert_eq!(topic.snapshot().unwrap().subscribers.len(), living.len());
    let refused = topic.subscriber::<[u8]>().open().unwrap_err().to_string();
    assert!(refused.contains("all 3 subscriber slots are taken"), "{refused}");
}
