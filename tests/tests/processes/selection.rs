//! Waiting on many topics while those who publish on them die or are stopped.

use crate::stage;
use memlane::{Publishers, Selectable, Selector, Subscriber, Wait};
use memlane_tests::role::{Publish, Role};
use nix::sys::signal::Signal;
use std::time::Duration;

/// More than one system call can name, so that they share the bell of the bus.
const IDLE_TOPICS: usize = 150;
const PATIENCE: Duration = Duration::from_secs(30);

/// A publisher comes to `crash` while it wakes a selector: dead or stopped there, it keeps it from nothing that others publish.
fn rings_no_further_than(crash: &str) {
    let stage = stage();
    let (topic, place) = stage.topic("ring", |topic| topic.publishers(Publishers::Many(2)).capacity_bytes(16384));
    let idle = |index| {
        let (topic, _) = stage.topic(&format!("idle.{index}"), |topic| topic.capacity_bytes(4096).subscribers_max(4));
        topic.subscriber::<[u8]>().open().unwrap()
    };
    let mut subscribers: Vec<Subscriber<[u8]>> = (0..IDLE_TOPICS).map(idle).collect();
    subscribers.push(topic.subscriber().open().unwrap());
    let plan = Publish { messages: 1, wait_for_go: true, ..Publish::new(&place, 1) };
    let mut publisher = stage.start_armed(&Role::Publish(plan), crash);
    publisher.await_ready();
    let mut selector = Selector::new(&stage.bus()).wait(Wait::Block { spins: 0 });
    let received = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut received = 0;
            while received < 2 {
                let mut all: Vec<&mut dyn Selectable> = subscribers.iter_mut().map(|one| one as _).collect();
                let found = selector.select(&mut all, Some(PATIENCE)).expect("a wake-up was lost");
                assert_eq!(found, IDLE_TOPICS);
                received += u32::from(subscribers[found].try_receive().unwrap().is_some());
            }
            received
        });
        // It is asleep by then.
        std::thread::sleep(Duration::from_millis(20));
        publisher.go();
        if crash.ends_with("stop") {
            publisher.await_stopped();
        } else {
            publisher.await_killed();
        }
        stage.publish_end(&topic);
        receiver.join().unwrap()
    });
    assert_eq!(received, 2, "the message of the one who rang no further, and the end");
    if crash.ends_with("stop") {
        publisher.signal(Signal::SIGCONT);
        publisher.published();
    }
}

#[test]
fn a_publisher_killed_or_stopped_while_it_rings_keeps_no_selector_asleep() {
    // The first ring is that of whoever attaches.
    for crash in ["wake.before:1", "wake.bell:2", "wake.bell:2:stop", "wake.rung:1", "wake.rung:1:stop"] {
        rings_no_further_than(crash);
    }
}
