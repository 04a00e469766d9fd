//! Other users, other PID namespaces, a file system without room. These need to be root; without, they say so and do nothing.

use crate::{print_time, stage};
use memlane::{Publishers, TopicBuilder};
use memlane_tests::clock::since_boot;
use memlane_tests::role::{Manner, Publish, Role, Subscribe, Way};
use memlane_tests::stage::{Actor, Stage, await_progress};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

/// A user who owns nothing.
pub(crate) const NOBODY: u32 = 65534;

/// Bits of `CapEff`, see capabilities(7).
pub(crate) const CHANGE_USER: u64 = 1 << 6 | 1 << 7;
pub(crate) const ADMINISTER: u64 = 1 << 21;

/// Whether this process may do what `what` needs; says so if not.
pub(crate) fn may(capabilities: u64, what: &str) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let may = u64::from_str_radix(effective.trim(), 16).unwrap() & capabilities == capabilities;
    if !may {
        println!("{what}: skipped, it needs root");
    }
    may
}

#[test]
fn a_full_file_system_is_an_error_when_a_topic_is_made_and_never_a_signal() {
    if !may(ADMINISTER, "a full file system") {
        return;
    }
    let stage = stage();
    let directory = stage.root().join("small");
    std::fs::create_dir(&directory).unwrap();
    // Both ways of running out: with the ring, and with the small files beside it.
    for bytes in [5_u64 << 20, (3 << 20) + 3 * 24 * 1024, (2 << 20) + 57344] {
        let mut actor = stage.start(&Role::FillFileSystem { directory: directory.clone(), bytes });
        let refused = actor.answer().unwrap_err();
        actor.await_success();
        assert!(refused.contains("no room for") && refused.contains("enlarge the file system"), "{refused}");
    }
}

fn as_nobody(stage: &Stage, role: Role) -> Actor {
    stage.start(&Role::AsUser { user: NOBODY, groups: Vec::new(), role: Box::new(role) })
}

#[test]
fn read_permission_is_enough_to_observe_and_for_nothing_else() {
    if !may(CHANGE_USER, "permissions") {
        return;
    }
    let stage = stage();
    let bus = memlane::Bus::builder("bus").root(stage.root()).mode(0o755).open().unwrap();
    std::fs::set_permissions(stage.root(), PermissionsExt::from_mode(0o755)).unwrap();
    let make = |name: &str, log: u32, subs: u32| {
        let topic = bus.topic(name).unwrap().capacity_bytes(16384).log_mode(log).subscribers_mode(subs);
        let topic = topic.create().unwrap();
        // The ledger is the test's own, and must not be what is refused.
        drop(stage.ledger(&stage.place(name)));
        std::fs::set_permissions(stage.place(name).ledger(), PermissionsExt::from_mode(0o666)).unwrap();
        topic
    };
    let readable = make("readable", 0o644, 0o600);
    let place = stage.place("readable");
    let patient = |manner| Subscribe { patient: true, ..Subscribe::new(&place).manner(manner) };
    let observers = [Manner::Lossy, Manner::Latest].map(|manner| as_nobody(&stage, Role::Subscribe(patient(manner))));
    for observer in &observers {
        observer.await_ready();
    }
    let mut publisher = stage.start(&Role::Publish(Publish { messages: 2000, ..Publish::new(&place, 0) }));
    publisher.published();
    publisher.await_success();
    stage.publish_end(&readable);
    for observer in &observers {
        let tally = observer.tally();
        tally.assert_clean();
        assert!(tally.ended && tally.messages > 1);
    }
    // Each of these says so on standard error, and with its exit status.
    make("private", 0o600, 0o600);
    let (private, gated) = (stage.place("private"), Subscribe::new(&place));
    for role in [
        Role::Subscribe(gated),
        Role::Publish(Publish::new(&place, 1)),
        Role::Subscribe(Subscribe::new(&private).manner(Manner::Lossy)),
        Role::Create { place: stage.place("mine"), capacity_bytes: 16384 },
    ] {
        let refused = as_nobody(&stage, Role::Refused(Box::new(role))).answer().unwrap_err();
        println!("{refused}");
        assert!(refused.contains("no permission to"), "{refused}");
    }
    assert!(readable.snapshot().unwrap().subscribers.is_empty());
    assert_eq!(stage.leftovers(), [""; 0]);
}

#[test]
fn a_bus_that_is_mounted_read_only_can_be_observed_and_nothing_else() {
    if !may(ADMINISTER, "a read-only mount") {
        return;
    }
    let stage = stage();
    let (topic, place) = stage.topic("mounted", |topic| topic.capacity_bytes(16384));
    let directory = stage.bus().directory().to_path_buf();
    let mounted = |role| Role::OnReadOnlyMount { directory: directory.clone(), role: Box::new(role) };
    let patient = |manner| Subscribe { patient: true, ..Subscribe::new(&place).manner(manner) };
    let observers =
        [Manner::Lossy, Manner::Latest].map(|manner| stage.start(&mounted(Role::Subscribe(patient(manner)))));
    for observer in &observers {
        observer.await_ready();
    }
    let mut publisher = stage.start(&Role::Publish(Publish { messages: 2000, ..Publish::new(&place, 0) }));
    publisher.published();
    publisher.await_success();
    stage.publish_end(&topic);
    for observer in &observers {
        let tally = observer.tally();
        tally.assert_clean();
        assert!(tally.ended && tally.messages > 1);
    }
    for role in [
        Role::Subscribe(Subscribe::new(&place)),
        Role::Publish(Publish::new(&place, 1)),
        Role::Create { place: stage.place("mine"), capacity_bytes: 16384 },
    ] {
        let refused = stage.start(&Role::Refused(Box::new(mounted(role)))).answer().unwrap_err();
        println!("{refused}");
        assert!(refused.contains("no permission to"), "{refused}");
    }
    assert!(topic.snapshot().unwrap().subscribers.is_empty());
}

#[test]
fn memory_is_locked_as_far_as_the_limit_allows_and_else_the_error_says_so() {
    const RING: u64 = 1 << 20;
    let stage = stage();
    let (_topic, place) =
        stage.topic("locked", |topic| topic.capacity_bytes(RING).log_mode(0o666).subscribers_mode(0o666));
    let lock = |limit_bytes| Role::LockMemory { place: place.clone(), limit_bytes };
    // Both mappings of the ring, and nothing to speak of beside them.
    let locked = stage.start(&lock(16 << 20)).answer().unwrap();
    println!("{locked} bytes are locked");
    assert!((2 * RING..3 * RING).contains(&locked), "{locked}");
    if !may(CHANGE_USER, "a limit on locked memory") {
        return;
    }
    // Root may lock beyond any limit.
    std::fs::set_permissions(stage.root(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(stage.bus().directory(), PermissionsExt::from_mode(0o755)).unwrap();
    let refused = as_nobody(&stage, Role::Refused(Box::new(lock(65536)))).answer().unwrap_err();
    println!("{refused}");
    assert!(refused.contains("can't be locked in memory") && refused.contains("ulimit -l"), "{refused}");
}

#[test]
fn a_topic_is_shared_with_its_group_and_with_nobody_else() {
    if !may(CHANGE_USER, "groups") {
        return;
    }
    /// A user, and a group that has this user alone.
    const MEMBER: u32 = 54321;
    let stage = stage();
    let bus = memlane::Bus::builder("bus").root(stage.root()).mode(0o750).group(MEMBER).open().unwrap();
    std::fs::set_permissions(stage.root(), PermissionsExt::from_mode(0o755)).unwrap();
    let topic = bus.topic("shared").unwrap().capacity_bytes(16384);
    let topic = topic.group(MEMBER).log_mode(0o660).subscribers_mode(0o660).create().unwrap();
    let place = stage.place("shared");
    drop(stage.ledger(&place));
    std::fs::set_permissions(place.ledger(), PermissionsExt::from_mode(0o666)).unwrap();
    for (path, mode) in [
        (bus.directory().to_path_buf(), 0o750),
        (topic.directory().to_path_buf(), 0o750),
        (topic.directory().join("log"), 0o660),
        (topic.directory().join("subs"), 0o660),
    ] {
        let found = path.metadata().unwrap();
        assert_eq!((found.gid(), found.mode() & 0o7777), (MEMBER, mode), "{}", path.display());
    }
    let as_member = |role| stage.start(&Role::AsUser { user: MEMBER, groups: Vec::new(), role: Box::new(role) });
    let listener = as_member(Role::Subscribe(Subscribe::new(&place)));
    listener.await_ready();
    let mut publisher = as_member(Role::Publish(Publish { messages: 2000, ..Publish::new(&place, 0) }));
    assert_eq!(publisher.published().0, 2000);
    publisher.await_success();
    stage.publish_end(&topic);
    listener.tally().assert_complete(&stage.ledger(&place), [0]);
    for role in [
        Role::Subscribe(Subscribe::new(&place).manner(Manner::Lossy)),
        Role::Subscribe(Subscribe::new(&place)),
        Role::Publish(Publish::new(&place, 1)),
    ] {
        let refused = as_nobody(&stage, Role::Refused(Box::new(role))).answer().unwrap_err();
        assert!(refused.contains("no permission to"), "{refused}");
    }
}

/// Publishers and subscribers that sleep and wake all the time, some or all of them where the kernel refuses `membarrier`.
fn all_are_woken(publisher_may: bool, subscribers_may: bool) {
    let stage = stage();
    let in_sandbox = |may, role| if may { role } else { Role::WithoutMembarrier(Box::new(role)) };
    for (name, publishers) in [("one", Publishers::One), ("many", Publishers::Many(2))] {
        let (topic, place) = stage.topic(name, |topic| topic.capacity_bytes(16384).publishers(publishers));
        let listeners = [Manner::Gated, Manner::Lossy, Manner::Latest].map(|manner| {
            let plan = Subscribe { patient: true, pause_at_random_us: 300, ..Subscribe::new(&place).manner(manner) };
            stage.start(&in_sandbox(subscribers_may, Role::Subscribe(plan)))
        });
        for listener in &listeners {
            listener.await_ready();
        }
        let before: Vec<u64> = listeners.iter().map(Actor::processor_ticks).collect();
        std::thread::sleep(Duration::from_millis(500));
        let ticks: Vec<u64> =
            listeners.iter().zip(before).map(|(listener, before)| listener.processor_ticks() - before).collect();
        println!("ticks of 10 ms in half a second, membarrier {subscribers_may}, gated, lossy, latest: {ticks:?}");
        assert!(ticks.iter().all(|ticks| *ticks <= 15), "{ticks:?}");
        let plan = Publish {
            messages: 5000,
            bytes_max: 400,
            pause_at_random_us: 300,
            way: Way::Mixed,
            ..Publish::new(&place, 0)
        };
        stage.start(&in_sandbox(publisher_may, Role::Publish(plan))).published();
        stage.publish_end(&topic);
        let tallies = listeners.each_ref().map(Actor::tally);
        tallies.iter().for_each(|tally| tally.assert_clean());
        tallies[0].assert_complete(&stage.ledger(&place), [0]);
    }
}

#[test]
fn a_publisher_that_is_refused_membarrier_wakes_every_sleeper() {
    all_are_woken(false, true);
}

#[test]
fn subscribers_that_are_refused_membarrier_nap_and_miss_nothing() {
    all_are_woken(true, false);
}

#[test]
fn a_bus_where_everybody_is_refused_membarrier_works() {
    all_are_woken(false, false);
}

#[test]
fn death_is_seen_across_pid_namespaces_and_no_living_one_is_taken_for_dead() {
    if !may(ADMINISTER, "PID namespaces") {
        return;
    }
    let small = |topic: TopicBuilder| topic.capacity_bytes(16384).subscribers_max(4);
    let stage = stage();
    let (topic, place) = stage.topic("many", |topic| small(topic).publishers(Publishers::Many(4)));
    let ledger = stage.ledger(&place);
    let elsewhere = |role| Role::InPidNamespace(Box::new(role));
    let listener = stage.start(&elsewhere(Role::Subscribe(Subscribe::new(&place))));
    listener.await_ready();
    // Three who all are process 1 where they live.
    let mut inside = stage.start(&elsewhere(Role::Publish(Publish::new(&place, 1))));
    let mut victim = stage.start(&elsewhere(Role::Publish(Publish::new(&place, 2))));
    let holder = Subscribe { hold_us: 60_000_000, ..Subscribe::new(&place) };
    let mut outside = stage.start(&Role::Publish(Publish::new(&place, 3)));
    for actor in [&inside, &victim, &outside] {
        actor.await_ready();
    }
    await_progress(&ledger, 2, 300);
    assert_eq!(topic.snapshot().unwrap().publishers.len(), 3, "all are seen, and from everywhere");
    victim.kill();
    await_progress(&ledger, 1, ledger.entry(1).unwrap().published + 300);
    await_progress(&ledger, 3, ledger.entry(3).unwrap().published + 300);
    let mut holder = stage.start(&elsewhere(Role::Subscribe(holder)));
    holder.await_ready();
    std::thread::sleep(Duration::from_millis(100));
    let stuck_at = ledger.entry(3).unwrap().published;
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(ledger.entry(3).unwrap().published, stuck_at, "the living holder is waited for");
    let killed_at = since_boot();
    holder.kill();
    print_time("goes on after a kill in another PID namespace", await_progress(&ledger, 3, stuck_at + 300) - killed_at);
    inside.ask_to_stop();
    outside.ask_to_stop();
    inside.published();
    outside.published();
    stage.publish_end(&topic);
    listener.tally().assert_complete(&ledger, [1, 2, 3]);
}
