//! Flow control between processes: a limit that publishers share, and a topic that no subscriber holds up.

use crate::stage;
use memlane::{Publishers, RateLimit};
use memlane_tests::payload::Mark;
use memlane_tests::role::{Manner, Publish, Role, Subscribe, Way};
use memlane_tests::stage::await_progress;
use nix::sys::signal::Signal;
use std::time::Instant;

/// Messages a second, all publishers together.
const PER_SECOND: u64 = 2_000;
/// Messages at once.
const BURST: u64 = 100;

#[test]
fn publishers_of_many_share_their_topics_limit_while_one_is_killed_and_one_is_stopped() {
    let stage = stage();
    let start = Instant::now();
    let limit = RateLimit::default().messages(PER_SECOND, BURST);
    let (topic, place) = stage.topic("t", |topic| topic.publishers(Publishers::Many(8)).rate_limit(limit));
    let ledger = stage.ledger(&place);
    let listener = stage.start(&Role::Subscribe(Subscribe::new(&place)));
    listener.await_ready();
    let plan = |sender, way| Role::Publish(Publish { way, bytes_max: 100, ..Publish::new(&place, sender) });
    let ways = [(0, Way::Single), (1, Way::Batch), (2, Way::Mixed)];
    let mut others = ways.map(|(sender, way)| stage.start(&plan(sender, way)));
    let mut killed = stage.start_armed(&plan(4, Way::Single), "commit.before:50");
    let mut stopped = stage.start_armed(&plan(5, Way::Single), "commit.before:50:stop");
    killed.await_killed();
    stopped.await_stopped();
    // Neither took anything with it that the others wait for.
    let published = ledger.entry(0).unwrap().published;
    await_progress(&ledger, 0, published + 300);
    stopped.signal(Signal::SIGCONT);
    await_progress(&ledger, 5, 100);
    let mut in_all = 0;
    for actor in others.iter_mut().chain([&mut stopped]) {
        actor.ask_to_stop();
        in_all += actor.published().0;
    }
    in_all += ledger.entry(4).unwrap().published;
    let counted = topic.snapshot().unwrap().messages;
    let passes = BURST + (start.elapsed().as_secs_f64() * PER_SECOND as f64).ceil() as u64;
    println!("{in_all} messages passed, {counted} were counted, of {passes} that the limit lets pass");
    assert!(in_all <= passes, "{in_all} messages passed, the limit is {passes}");
    assert!(in_all > BURST, "it comes back");
    stage.publish_end(&topic);
    listener.tally().assert_complete(&ledger, [0, 1, 2, 4, 5]);
}

#[test]
fn a_stopped_lossy_subscriber_never_holds_up_the_publishers_of_a_lossy_only_topic() {
    let stage = stage();
    for (name, publishers) in [("one", Publishers::One), ("many", Publishers::Many(2))] {
        let (topic, place) =
            stage.topic(name, |topic| topic.publishers(publishers).capacity_bytes(32768).lossy_only(true));
        let plan = Subscribe::new(&place).manner(Manner::Lossy);
        let stopped = stage.start(&Role::Subscribe(plan));
        stopped.await_ready();
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let (mut payload, mut number) = ([0; 200], 0);
        let mut publish = || {
            Mark { sender: 1, number }.fill(&mut payload);
            publisher.publish(&payload).expect("nobody holds the space");
            number += 1;
        };
        // It is stopped wherever it is, after some laps.
        for _ in 0..1000 {
            publish();
        }
        stopped.signal(Signal::SIGSTOP);
        stopped.await_stopped();
        // Twenty laps and more, without a wait.
        for _ in 0..20 * 32768 / 200 {
            publish();
        }
        drop(publisher);
        assert_eq!(stopped.state(), 'T');
        stopped.signal(Signal::SIGCONT);
        stage.publish_end(&topic);
        let tally = stopped.tally();
        tally.assert_clean();
        assert!(tally.ended && tally.losses > 0, "it was told what it lost: {tally:?}");
    }
}
