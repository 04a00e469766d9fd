//! A second publisher on a topic for one: refused, or standing by and taking over.

use crate::{print_time, stage};
use memlane::{OpenError, TopicError};
use memlane_tests::clock::since_boot;
use memlane_tests::role::{Publish, Role, Subscribe};
use memlane_tests::stage::await_progress;
use std::time::{Duration, Instant};

#[test]
fn a_second_publisher_is_refused_and_told_who_publishes() {
    let stage = stage();
    let (topic, place) = stage.topic("one", |topic| topic.capacity_bytes(16384));
    let mut first = stage.start(&Role::Publish(Publish { pause_us: 1000, ..Publish::new(&place, 0) }));
    first.await_ready();
    let start = Instant::now();
    let refused = topic.publisher::<[u8]>().open().unwrap_err();
    print_time("refused after", start.elapsed());
    let OpenError::Topic(TopicError::PublisherExists { pid, .. }) = &refused else { panic!("{refused}") };
    assert_eq!(*pid, u64::from(first.pid()));
    assert!(refused.to_string().contains(&format!("process {pid} publishes here already")), "{refused}");
    let impatient = topic.publisher::<[u8]>().stand_by(Duration::from_millis(30)).open().unwrap_err();
    assert!(impatient.to_string().contains(&pid.to_string()), "{impatient}");
    assert!(start.elapsed() >= Duration::from_millis(30));
    // One that leaves in good order is followed at once.
    first.ask_to_stop();
    first.published();
    first.await_success();
    topic.publisher::<[u8]>().open().unwrap();
}

#[test]
fn publishers_that_stand_by_take_over_one_after_the_other_within_milliseconds() {
    let stage = stage();
    let (topic, place) = stage.topic("one", |topic| topic.capacity_bytes(16384));
    let ledger = stage.ledger(&place);
    let listener = stage.start(&Role::Subscribe(Subscribe::new(&place)));
    listener.await_ready();
    let plan = Publish { resume: true, pause_us: 100, stand_by_ms: 60_000, ..Publish::new(&place, 0) };
    let mut active = stage.start(&Role::Publish(plan.clone()));
    active.await_ready();
    let mut times = Vec::new();
    for _ in 0..12 {
        let next = stage.start(&Role::Publish(plan.clone()));
        next.await_stand_by();
        let published = ledger.entry(0).unwrap().published;
        await_progress(&ledger, 0, published + 20);
        let killed_at = since_boot();
        active.kill();
        let took_over_at = next.await_ready();
        times.push(took_over_at.saturating_sub(killed_at));
        active = next;
    }
    active.ask_to_stop();
    active.published();
    stage.publish_end(&topic);
    listener.tally().assert_complete(&ledger, [0]);
    times.sort();
    print_time("taken over after the kill, median of 12", times[6]);
    print_time("taken over after the kill, longest of 12", times[11]);
    assert!(times[6] < Duration::from_secs(1), "{times:?}");
}
