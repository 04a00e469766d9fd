//! Participants are stopped (SIGSTOP) in the middle of things for 20 seconds while others wait for them. Who is only stopped is
//! alive: it is waited for, never overrun, and goes on as if nothing had been.

use crate::{print_time, stage};
use memlane::{Publishers, Topic, TopicBuilder};
use memlane_tests::clock::since_boot;
use memlane_tests::ledger::Ledger;
use memlane_tests::role::{Manner, Place, Publish, Role, Subscribe, Way};
use memlane_tests::stage::{Actor, Stage, await_progress};
use nix::sys::signal::Signal;
use std::time::Duration;

/// How long they are stopped.
const STOP: Duration = Duration::from_secs(20);

/// A topic, somebody who is stopped there, and others.
struct Scene {
    topic: Topic,
    place: Place,
    ledger: Ledger,
    stopped: Actor,
    listener: Actor,
    others: Vec<Actor>,
    /// What must not change meanwhile: where the listener stands, and what the senders have published.
    at: (Vec<u64>, Vec<u64>),
}

impl Scene {
    fn set(
        stage: &Stage,
        name: &str,
        choose: impl FnOnce(TopicBuilder) -> TopicBuilder,
    ) -> (Topic, Place, Ledger, Actor) {
        let (topic, place) = stage.topic(name, |topic| choose(topic).capacity_bytes(32768).subscribers_max(4));
        let ledger = stage.ledger(&place);
        let listener = stage.start(&Role::Subscribe(Subscribe::new(&place)));
        listener.await_ready();
        (topic, place, ledger, listener)
    }

    /// One of two publishers is stopped between claim and commit.
    fn one_of_many(stage: &Stage) -> Self {
        let (topic, place, ledger, listener) = Self::set(stage, "many", |topic| topic.publishers(Publishers::Many(4)));
        let lossy = stage.start(&Role::Subscribe(Subscribe::new(&place).manner(Manner::Lossy)));
        lossy.await_ready();
        let other = stage.start(&Role::Publish(Publish { way: Way::Mixed, ..Publish::new(&place, 1) }));
        other.await_ready();
        let plan = Publish { way: Way::Single, ..Publish::new(&place, 2) };
        let stopped = stage.start_armed(&Role::Publish(plan), "commit.before:200:stop");
        stopped.await_stopped();
        Self { topic, place, ledger, stopped, listener, others: vec![other, lossy], at: Default::default() }
    }

    /// The only publisher is stopped in the middle of a batch, with another one standing by.
    fn the_only_one(stage: &Stage) -> Self {
        let (topic, place, ledger, listener) = Self::set(stage, "one", |topic| topic);
        let plan = Publish { way: Way::Batch, resume: true, wait_for_go: true, ..Publish::new(&place, 0) };
        let mut stopped = stage.start_armed(&Role::Publish(plan.clone()), "batch.half:200:stop");
        stopped.await_ready();
        let follower = Publish { stand_by_ms: 60_000, wait_for_go: false, ..plan };
        let follower = stage.start(&Role::Publish(follower));
        follower.await_stand_by();
        stopped.go();
        stopped.await_stopped();
        Self { topic, place, ledger, stopped, listener, others: vec![follower], at: Default::default() }
    }

    /// A subscriber is stopped before it has looked at the message that it holds.
    fn a_reader(stage: &Stage) -> Self {
        let (topic, place, ledger, listener) = Self::set(stage, "reader", |topic| topic);
        let stopped = stage.start_armed(&Role::Subscribe(Subscribe::new(&place)), "read.holding:200:stop");
        stopped.await_ready();
        let publisher = stage.start(&Role::Publish(Publish::new(&place, 1)));
        publisher.await_ready();
        stopped.await_stopped();
        Self { topic, place, ledger, stopped, listener, others: vec![publisher], at: Default::default() }
    }

    /// Where everybody is.
    fn standing(&self) -> (Vec<u64>, Vec<u64>) {
        let snapshot = self.topic.snapshot().unwrap();
        let positions = snapshot.subscribers.iter().map(|subscriber| subscriber.position.unwrap()).collect();
        assert_eq!(snapshot.abandoned, 0, "the stopped one was taken for dead");
        (positions, (0..3).map(|sender| self.ledger.entry(sender).unwrap().published).collect())
    }

    /// Waits until everybody waits.
    fn settle(&mut self) {
        while self.at != self.standing() {
            self.at = self.standing();
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn assert_standstill(&self) {
        assert_eq!(self.at, self.standing(), "somebody went past the stopped one");
        assert_eq!(self.stopped.state(), 'T');
    }

    fn print_idleness(&self, name: &str) {
        let ticks: Vec<u64> = self.others.iter().chain([&self.listener]).map(Actor::processor_ticks).collect();
        println!("{name}: the others used {ticks:?} ticks of 10 ms so far");
    }
}

#[test]
fn who_is_stopped_for_twenty_seconds_is_waited_for_and_goes_on_as_if_nothing_had_been() {
    let stage = stage();
    let mut scenes = [Scene::one_of_many(&stage), Scene::the_only_one(&stage), Scene::a_reader(&stage)];
    let names = ["one of many", "the only one", "a reader"];
    for (scene, name) in scenes.iter_mut().zip(names) {
        scene.settle();
        scene.print_idleness(name);
    }
    let start = since_boot();
    while since_boot() - start < STOP {
        scenes.iter().for_each(Scene::assert_standstill);
        std::thread::sleep(Duration::from_millis(500));
    }
    let [many, one, reader] = scenes;
    many.print_idleness("one of many");
    one.print_idleness("the only one");
    reader.print_idleness("a reader");
    many_go_on(&stage, many);
    one_goes_on(&stage, one);
    reader_goes_on(&stage, reader);
}

fn many_go_on(stage: &Stage, mut scene: Scene) {
    let continued_at = since_boot();
    scene.stopped.signal(Signal::SIGCONT);
    let committed_at = await_progress(&scene.ledger, 2, scene.at.1[2] + 1);
    await_progress(&scene.ledger, 1, scene.at.1[1] + 300);
    await_progress(&scene.ledger, 2, scene.at.1[2] + 300);
    print_time("one of many committed after SIGCONT", committed_at - continued_at);
    scene.stopped.ask_to_stop();
    scene.others[0].ask_to_stop();
    scene.stopped.published();
    scene.others[0].published();
    stage.publish_end(&scene.topic);
    scene.listener.tally().assert_complete(&scene.ledger, [1, 2]);
    scene.others[1].tally().assert_clean();
    assert_eq!(scene.topic.snapshot().unwrap().abandoned, 0);
}

fn one_goes_on(stage: &Stage, mut scene: Scene) {
    let refused = scene.place.open().unwrap().publisher::<[u8]>().open().unwrap_err().to_string();
    assert!(refused.contains(&format!("process {} publishes here already", scene.stopped.pid())), "{refused}");
    scene.stopped.signal(Signal::SIGCONT);
    await_progress(&scene.ledger, 0, scene.at.1[0] + 300);
    scene.stopped.ask_to_stop();
    scene.stopped.published();
    let published = scene.ledger.entry(0).unwrap().published;
    await_progress(&scene.ledger, 0, published + 300);
    scene.others[0].ask_to_stop();
    scene.others[0].published();
    stage.publish_end(&scene.topic);
    scene.listener.tally().assert_complete(&scene.ledger, [0]);
}

fn reader_goes_on(stage: &Stage, mut scene: Scene) {
    scene.stopped.signal(Signal::SIGCONT);
    await_progress(&scene.ledger, 1, scene.at.1[1] + 300);
    scene.others[0].ask_to_stop();
    scene.others[0].published();
    stage.publish_end(&scene.topic);
    scene.stopped.tally().assert_complete(&scene.ledger, [1]);
    scene.listener.tally().assert_complete(&scene.ledger, [1]);
}
