//! Containers: processes with PID, IPC and mount namespaces of their own that share one bus's directory with this host and nothing
//! else. Needs to be root; where the kernel refuses, that is what is tested.

use crate::{print_time, stage};
use memlane::{Publishers, TopicBuilder};
use memlane_shm::named::memory_path;
use memlane_tests::clock::since_boot;
use memlane_tests::role::{Command, Manner, Order, Place, Publish, Role, Subscribe, Way};
use memlane_tests::stage::{Actor, SHARED_MEMORY, Stage, await_progress, poll_until};
use nix::errno::Errno;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Far more than it takes; other work on the machine stretches it.
const SOON: Duration = Duration::from_secs(2);

/// A stage, and a place from where a container sees its bus.
struct Container {
    stage: Stage,
    at: PathBuf,
}

impl Container {
    /// `None` where the kernel refuses such namespaces, which it then does with the right error.
    fn new() -> Option<Self> {
        Self::beside(stage())
    }

    fn beside(stage: Stage) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("memlane-tests-at-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let at = std::env::temp_dir().join(name);
        std::fs::create_dir(&at).unwrap();
        let container = Self { stage, at };
        let attempt = Role::TryNamespaces { bus: container.bus(), at: container.at.clone() };
        let number = container.stage.start(&attempt).answer().unwrap();
        let error = Errno::from_raw(number as i32);
        if number != 0 {
            println!("namespaces: skipped, the kernel refuses them ({error}): it needs root");
            assert!([Errno::EPERM, Errno::ENOSYS].contains(&error), "{error}");
        }
        (number == 0).then_some(container)
    }

    fn bus(&self) -> PathBuf {
        self.stage.bus().directory().to_path_buf()
    }

    /// Where those inside find the topic `name`.
    fn place(&self, name: &str) -> Place {
        Place { root: self.at.clone(), topic: name.to_owned() }
    }

    fn inside(&self, role: Role) -> Role {
        Role::InNamespaces { bus: self.bus(), at: self.at.clone(), role: Box::new(role) }
    }

    fn start(&self, role: Role) -> Actor {
        self.stage.start(&self.inside(role))
    }

    fn start_armed(&self, role: Role, crash: &str) -> Actor {
        self.stage.start_armed(&self.inside(role), crash)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // What was mounted there was seen by those inside only.
        let _ = std::fs::remove_dir(&self.at);
    }
}

fn tries(actor: &mut Actor, command: Command) -> Result<u64, String> {
    actor.order(&Order { at_ns: 0, command });
    actor.answer()
}

fn small(topic: TopicBuilder) -> TopicBuilder {
    topic.capacity_bytes(16384).subscribers_max(4).publishers(Publishers::Many(4))
}

#[test]
fn messages_and_wake_ups_cross_the_boundary_of_a_container_both_ways() {
    let Some(container) = Container::new() else { return };
    let stage = &container.stage;
    let (out, out_place) = stage.topic("outwards", small);
    let (inward, in_place) = stage.topic("inwards", small);
    // They sleep without a deadline, so that a lost wake-up is a hang.
    let patient =
        |place: &Place, manner| Role::Subscribe(Subscribe { patient: true, ..Subscribe::new(place).manner(manner) });
    let manners = [Manner::Gated, Manner::Lossy, Manner::Latest];
    let inside = manners.map(|manner| container.start(patient(&container.place("inwards"), manner)));
    let outside = manners.map(|manner| stage.start(&patient(&out_place, manner)));
    for actor in inside.iter().chain(&outside) {
        actor.await_ready();
    }
    let plan = |place: &Place, sender| {
        let plan = Publish { messages: 5000, pause_at_random_us: 300, ..Publish::new(place, sender) };
        Role::Publish(Publish { bytes_max: 400, way: Way::Mixed, ..plan })
    };
    let publishers = [stage.start(&plan(&in_place, 1)), container.start(plan(&container.place("outwards"), 2))];
    let published = publishers.each_ref().map(|publisher| publisher.published().0);
    stage.publish_end(&inward);
    stage.publish_end(&out);
    for (tallies, sender, count) in [
        (inside.each_ref().map(Actor::tally), 1, published[0]),
        (outside.each_ref().map(Actor::tally), 2, published[1]),
    ] {
        tallies.iter().for_each(|tally| tally.assert_clean());
        assert!(tallies.iter().all(|tally| tally.ended));
        assert!(count >= 5000 && tallies[0].next[&sender] == count, "{count}, {:?}", tallies[0].next);
    }
}

#[test]
fn a_container_sees_nothing_of_the_hosts_shared_memory_but_the_bus() {
    let Some(container) = Container::new() else { return };
    let (_topic, place) = container.stage.topic("shared", small);
    let mut inside = container.start(Role::Obey);
    assert_eq!(tries(&mut inside, Command::List(container.place("shared"))), Ok(1));
    if place.root.starts_with(SHARED_MEMORY) {
        let hidden = tries(&mut inside, Command::List(place)).unwrap_err();
        assert!(hidden.contains("no such directory"), "{hidden}");
    }
    // What it makes there is there for all.
    tries(&mut inside, Command::Create(container.place("made"))).unwrap();
    assert_eq!(container.stage.bus().topics().unwrap(), ["made", "shared"]);
    tries(&mut inside, Command::Remove(container.place("shared"))).unwrap();
    assert_eq!(container.stage.bus().topics().unwrap(), ["made"]);
}

/// A publisher that is held up by a gated subscriber goes on when that one is killed; one of them is in a container.
fn a_killed_holder_lets_go(container: &Container, name: &str, holder_is_inside: bool) {
    let (topic, place) = container.stage.topic(name, small);
    let play = |is_inside, role: fn(&Place) -> Role| match is_inside {
        true => container.start(role(&container.place(name))),
        false => container.stage.start(&role(&place)),
    };
    let mut holder =
        play(holder_is_inside, |place| Role::Subscribe(Subscribe { hold_us: 600_000_000, ..Subscribe::new(place) }));
    holder.await_ready();
    let mut publisher = play(!holder_is_inside, |place| Role::Publish(Publish::new(place, 1)));
    publisher.await_ready();
    // Where it doesn't go on is found by looking twice.
    let tail = || topic.snapshot().unwrap().tail;
    let stuck_at = poll_until(|| {
        let before = tail();
        std::thread::sleep(Duration::from_millis(300));
        (before > 8192 && tail() == before).then_some(before)
    });
    let stuck_at = stuck_at.expect("the living holder is waited for");
    assert_eq!(topic.snapshot().unwrap().subscribers.len(), 1);
    let killed_at = since_boot();
    holder.kill();
    poll_until(|| (tail() > stuck_at).then_some(())).expect("it goes on");
    let took = since_boot() - killed_at;
    print_time(&format!("{name}: goes on after the kill"), took);
    assert!(took < SOON, "{took:?}");
    publisher.ask_to_stop();
    publisher.published();
    publisher.await_success();
}

#[test]
fn the_death_of_a_subscriber_in_a_container_is_noticed_outside_and_the_other_way_round() {
    let Some(container) = Container::new() else { return };
    a_killed_holder_lets_go(&container, "holder-inside", true);
    a_killed_holder_lets_go(&container, "holder-outside", false);
}

#[test]
fn the_death_of_a_publisher_in_a_container_amid_a_message_holds_nobody_up_outside() {
    let Some(container) = Container::new() else { return };
    let (topic, place) = container.stage.topic("dies-inside", small);
    let ledger = container.stage.ledger(&place);
    let listener = container.stage.start(&Role::Subscribe(Subscribe::new(&place)));
    listener.await_ready();
    let mut victim =
        container.start_armed(Role::Publish(Publish::new(&container.place("dies-inside"), 2)), "claim.claimed:50");
    assert!(!victim.await_end().success());
    let mut publisher = container.stage.start(&Role::Publish(Publish::new(&place, 1)));
    let ready_at = publisher.await_ready();
    print_time("publishes past the dead one's claim", await_progress(&ledger, 1, 300) - ready_at);
    publisher.ask_to_stop();
    publisher.published();
    container.stage.publish_end(&topic);
    let tally = listener.tally();
    tally.assert_complete(&ledger, [1]);
    assert!((49..=50).contains(&tally.next[&2]), "what it had published came: {:?}", tally.next);
    assert_eq!(topic.snapshot().unwrap().abandoned, 1);
}

#[test]
fn the_death_of_a_publisher_outside_amid_a_message_holds_nobody_up_in_a_container() {
    let Some(container) = Container::new() else { return };
    let (topic, place) = container.stage.topic("dies-outside", small);
    let listener = container.start(Role::Subscribe(Subscribe::new(&container.place("dies-outside"))));
    listener.await_ready();
    let victim = Role::Publish(Publish::new(&place, 2));
    container.stage.start_armed(&victim, "claim.claimed:50").await_killed();
    let plan = Publish { messages: 1000, ..Publish::new(&container.place("dies-outside"), 1) };
    let mut publisher = container.start(Role::Publish(plan));
    assert_eq!(publisher.published().0, 1000);
    publisher.await_success();
    container.stage.publish_end(&topic);
    let tally = listener.tally();
    tally.assert_clean();
    assert!(tally.ended && tally.next[&1] == 1000, "{:?}", tally.next);
    assert!(tally.next[&2] >= container.stage.ledger(&place).entry(2).unwrap().published);
    assert_eq!(topic.snapshot().unwrap().abandoned, 1);
}

#[test]
fn the_only_publisher_keeps_its_place_and_loses_it_at_its_death_across_the_boundary() {
    let Some(container) = Container::new() else { return };
    let (topic, _place) = container.stage.topic("single", |topic| topic.capacity_bytes(16384));
    let inside_place = container.place("single");
    let mut inside = container.start(Role::Obey);
    let publisher = topic.publisher::<[u8]>().open().unwrap();
    let refused = tries(&mut inside, Command::PublishOneAtOnce(inside_place.clone())).unwrap_err();
    assert!(refused.contains("publishes here already"), "{refused}");
    drop(publisher);
    tries(&mut inside, Command::PublishOneAtOnce(inside_place.clone())).unwrap();
    let mut holder = container.start(Role::Publish(Publish { pause_us: 1000, ..Publish::new(&inside_place, 1) }));
    holder.await_ready();
    let refused = topic.publisher::<[u8]>().open().expect_err("there is one").to_string();
    assert!(refused.contains("publishes here already"), "{refused}");
    let killed_at = since_boot();
    holder.kill();
    topic.publisher::<[u8]>().stand_by(SOON).open().unwrap();
    print_time("takes over from a publisher killed in a container", since_boot() - killed_at);
}

/// Waits until a directory that is being made has come, and is so old that its maker's lock alone keeps it.
fn await_half_made(bus: &Path) {
    let half_made =
        |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().path().join("maker").exists().then_some(());
    poll_until(|| std::fs::read_dir(bus).unwrap().find_map(half_made)).expect("it begins");
    std::thread::sleep(Duration::from_millis(1200));
}

#[test]
fn a_topic_that_is_being_made_on_one_side_is_not_cleared_away_from_the_other_until_its_maker_is_dead() {
    let Some(container) = Container::new() else { return };
    let mut inside = container.start(Role::Obey);
    let garbage = || container.stage.bus().collect_garbage().unwrap().directories;
    let create = |place| Role::Create { place, capacity_bytes: 16384 };

    let mut maker = container.stage.start_armed(&create(container.stage.place("made")), "create.staged:1:stop");
    await_half_made(&container.bus());
    assert_eq!(tries(&mut inside, Command::CollectGarbage(container.place("made"))), Ok(0));
    maker.kill();
    assert_eq!(tries(&mut inside, Command::CollectGarbage(container.place("made"))), Ok(1));

    let mut maker = container.start_armed(create(container.place("made")), "create.staged:1:stop");
    await_half_made(&container.bus());
    assert_eq!(garbage(), 0);
    // Its namespace ends with its first process, a moment after the one that is killed here.
    maker.kill();
    poll_until(|| (garbage() == 1).then_some(())).expect("it is cleared away");
    assert_eq!(container.stage.leftovers(), [""; 0]);
}

#[test]
fn a_container_with_another_shared_memory_is_told_that_named_segments_are_elsewhere_and_removes_none() {
    let Some(container) = Container::beside(crate::named::named_stage()) else { return };
    let stage = &container.stage;
    let (topic, _) = stage.topic("elsewhere", small);
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let mut inside = container.start(Role::Obey);
    let place = container.place("elsewhere");
    for command in [Command::OpenOrCreate(place.clone()), Command::JoinOnce(place.clone())] {
        let refused = tries(&mut inside, command).unwrap_err();
        assert!(refused.contains("its memory is not in this /dev/shm"), "{refused}");
    }
    assert_eq!(tries(&mut inside, Command::CountSkipped(place.clone())), Ok(1));
    assert_eq!(stage.bus().topics().unwrap(), ["elsewhere"]);
    // What is removed there loses its name, and its memory when somebody clears up who can.
    let memory = memory_path(&topic.directory().join("log")).unwrap();
    tries(&mut inside, Command::Remove(place)).unwrap();
    assert_eq!(stage.bus().topics().unwrap(), [""; 0]);
    assert!(memory.exists());
    assert_eq!(crate::named::collect(stage), 1);
    assert!(!memory.exists());
    assert!(publisher.publish(b"late").is_err(), "who is there is told");
}
