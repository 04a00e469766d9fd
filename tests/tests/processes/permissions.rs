//! Who may do what: each row of the tables in `docs/security.md`, as another user if this is root, else as this user with its own
//! permission taken away.

use crate::stage;
use crate::surroundings::{CHANGE_USER, NOBODY, may};
use memlane::{Bus, Publisher, Publishers, Start, Subscriber, Topic, UserClass};
use memlane_tests::files::{memory_of, set_mode};
use memlane_tests::role::{BUS, Command, Manner, Order, Place, Publish, Role, Subscribe};
use memlane_tests::stage::{Actor, PATIENCE, Stage};
use nix::sys::signal::Signal;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bits of a permission.
const NONE: u32 = 0;
const R: u32 = 4;
const W: u32 = 2;
const X: u32 = 1;

const MANNERS: [Manner; 3] = [Manner::Gated, Manner::Lossy, Manner::Latest];

/// Does what it is told, one command after the other.
struct Visitor(Actor);

impl Visitor {
    /// Another user.
    fn user(stage: &Stage, user: u32, groups: &[u32]) -> Self {
        Self(stage.start(&Role::AsUser { user, groups: groups.to_vec(), role: Box::new(Role::Obey) }))
    }

    fn tries(&mut self, command: Command) -> Result<u64, String> {
        self.0.order(&Order { at_ns: 0, command });
        self.0.answer()
    }

    #[track_caller]
    fn may(&mut self, command: Command) -> u64 {
        self.tries(command.clone()).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// `command` is refused for want of permission, with the file and what would help.
    #[track_caller]
    fn may_not(&mut self, command: Command, file: &Path) {
        let refused = self.tries(command.clone()).expect_err("it must be refused");
        let begins = format!("{}: no permission to ", file.display());
        assert!(refused.starts_with(&begins), "{command:?} names {}: {refused}", file.display());
        assert!(refused.contains("it needs another user, group or mode"), "{command:?}: {refused}");
    }
}

/// A topic with a message in it, in use by the test all the while, and somebody with these permissions there.
struct Visit {
    publisher: Publisher<[u8]>,
    witness: Subscriber<[u8]>,
    topic: Topic,
    visitor: Visitor,
    place: Place,
    bus: PathBuf,
    stage: Stage,
    is_other_user: bool,
}

impl Visit {
    fn new(bus_bits: u32, log: u32, subs: u32) -> Self {
        let stage = stage();
        let (topic, place) =
            stage.topic("visited", |topic| topic.capacity_bytes(16384).publishers(Publishers::Many(4)));
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let witness = topic.subscriber::<[u8]>().start(Start::Earliest).open().unwrap();
        publisher.publish(b"before").unwrap();
        let is_other_user = may(CHANGE_USER, "another user (this user's own permission is taken away instead)");
        let visitor =
            if is_other_user { Visitor::user(&stage, NOBODY, &[]) } else { Visitor(stage.start(&Role::Obey)) };
        // What the owner keeps if the visitor is another user, and where the visitor's bits stand.
        let mode = |owner: u32, bits: u32| if is_other_user { owner << 6 | bits } else { bits << 6 };
        let bus = stage.bus().directory().to_path_buf();
        for (path, mode) in [
            (stage.root(), 0o755),
            (&topic.directory().join("log"), mode(R | W, log)),
            (&topic.directory().join("subs"), mode(R | W, subs)),
            (topic.directory(), if is_other_user { 0o755 } else { 0o700 }),
            (&bus, mode(R | W | X, bus_bits)),
        ] {
            set_mode(path, mode);
        }
        Self { publisher, witness, topic, visitor, place, bus, stage, is_other_user }
    }

    fn log(&self) -> PathBuf {
        self.topic.directory().join("log")
    }

    fn subs(&self) -> PathBuf {
        self.topic.directory().join("subs")
    }

    /// Nobody publishes, whatever `file` is that keeps the visitor from it.
    #[track_caller]
    fn may_not_publish(&mut self, file: &Path) {
        self.visitor.may_not(Command::PublishOneAtOnce(self.place.clone()), file);
    }

    /// What was published came, once and in order, `visitors` messages of the visitor among it; and the topic is as it was.
    #[track_caller]
    fn nothing_is_lost(mut self, visitors: usize) {
        self.publisher.publish(b"after").unwrap();
        let mut expected = vec![&b"before"[..]];
        expected.extend(std::iter::repeat_n(&b"x"[..], visitors));
        expected.push(b"after");
        for payload in expected {
            let message = self.witness.receive_within(PATIENCE).unwrap().expect("everything comes");
            assert_eq!(&*message, payload);
        }
        assert!(self.witness.try_receive().unwrap().is_none());
        set_mode(&self.bus, 0o700);
        for file in [self.log(), self.subs()] {
            set_mode(&file, 0o600);
        }
        let snapshot = self.topic.snapshot().unwrap();
        assert_eq!((snapshot.publishers.len(), snapshot.subscribers.len(), snapshot.abandoned), (1, 1, 0));
        assert_eq!(self.stage.leftovers(), [""; 0]);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // Or the stage can't be cleared.
        let _ = std::fs::set_permissions(&self.bus, PermissionsExt::from_mode(0o700));
    }
}

// The directory of the bus.

#[test]
fn without_permission_on_the_bus_nothing_can_be_done_there() {
    let mut visit = Visit::new(NONE, R | W, R | W);
    let (bus, log, place) = (visit.bus.clone(), visit.log(), visit.place.clone());
    visit.may_not_publish(&log);
    let visitor = &mut visit.visitor;
    visitor.may_not(Command::List(place.clone()), &bus);
    visitor.may_not(Command::CollectGarbage(place.clone()), &bus);
    for command in [Command::LookUp(place.clone()), Command::Snapshot(place.clone())] {
        visitor.may_not(command, &log);
    }
    for manner in MANNERS {
        visitor.may_not(Command::ReceiveOne(place.clone(), manner), &log);
    }
    visitor.may_not(Command::Remove(place.clone()), &bus);
    visitor.may_not(Command::Create(visit.stage.place("mine")), &bus);
    visit.nothing_is_lost(0);
}

#[test]
fn who_may_only_enter_the_bus_opens_topics_by_name_and_does_not_see_which_there_are() {
    let mut visit = Visit::new(X, R | W, R | W);
    let (bus, place) = (visit.bus.clone(), visit.place.clone());
    let visitor = &mut visit.visitor;
    assert_eq!(visitor.may(Command::LookUp(place.clone())), visit.topic.info().epoch);
    visitor.may(Command::PublishOne(place.clone()));
    assert_eq!(visitor.may(Command::ReceiveOne(place.clone(), Manner::Gated)), 1);
    visitor.may_not(Command::List(place.clone()), &bus);
    visitor.may_not(Command::CollectGarbage(place.clone()), &bus);
    visitor.may_not(Command::Remove(place.clone()), &bus);
    visitor.may_not(Command::Create(visit.stage.place("mine")), &bus);
    visit.nothing_is_lost(1);
}

#[test]
fn who_may_only_list_the_bus_sees_which_topics_there_are_and_opens_none() {
    let mut visit = Visit::new(R, R | W, R | W);
    let (bus, log, place) = (visit.bus.clone(), visit.log(), visit.place.clone());
    visit.may_not_publish(&log);
    let visitor = &mut visit.visitor;
    assert_eq!(visitor.may(Command::List(place.clone())), 1);
    assert_eq!(visitor.may(Command::CountSkipped(place.clone())), 1);
    visitor.may_not(Command::LookUp(place.clone()), &log);
    visitor.may_not(Command::ReceiveOne(place.clone(), Manner::Lossy), &log);
    visitor.may_not(Command::Create(visit.stage.place("mine")), &bus);
    visit.nothing_is_lost(0);
}

#[test]
fn who_may_list_and_enter_the_bus_uses_its_topics_and_neither_makes_nor_removes_any() {
    let mut visit = Visit::new(R | X, R | W, R | W);
    let (bus, place) = (visit.bus.clone(), visit.place.clone());
    let visitor = &mut visit.visitor;
    assert_eq!(visitor.may(Command::List(place.clone())), 1);
    visitor.may(Command::PublishOne(place.clone()));
    assert_eq!(visitor.may(Command::CountSkipped(place.clone())), 0);
    visitor.may_not(Command::Create(visit.stage.place("mine")), &bus);
    visitor.may_not(Command::Remove(place.clone()), &bus);
    visit.nothing_is_lost(1);
}

#[test]
fn who_may_write_to_the_bus_makes_topics_and_removes_its_own_only() {
    let mut visit = Visit::new(R | W | X, R | W, R | W);
    let (place, mine) = (visit.place.clone(), visit.stage.place("mine"));
    visit.visitor.may(Command::Create(mine.clone()));
    visit.visitor.may(Command::PublishOne(mine.clone()));
    visit.visitor.may(Command::Remove(mine.clone()));
    assert!(visit.visitor.tries(Command::LookUp(mine)).unwrap_err().contains("there is no such topic"));
    if visit.is_other_user {
        // It may even write to the files; yet those who use the topic don't hear of a removal that isn't one.
        visit.visitor.may_not(Command::Remove(place.clone()), visit.topic.directory());
    }
    visit.visitor.may(Command::PublishOne(place.clone()));
    // What dead makers left: one of the visitor's, one of this user's.
    let maker = Role::Create { place: visit.stage.place("half-made"), capacity_bytes: 16384 };
    let visitors = match visit.is_other_user {
        true => Role::AsUser { user: NOBODY, groups: Vec::new(), role: Box::new(maker.clone()) },
        false => maker.clone(),
    };
    for role in [&maker, &visitors] {
        visit.stage.start_armed(role, "create.staged").await_killed();
    }
    std::thread::sleep(Duration::from_millis(1100));
    let (own, others) = if visit.is_other_user { (1, 1) } else { (2, 0) };
    assert_eq!(visit.visitor.may(Command::CollectGarbage(place)), own);
    assert_eq!(visit.stage.bus().collect_garbage().unwrap().directories, others);
    visit.nothing_is_lost(1);
}

#[test]
fn where_everyone_makes_topics_nobody_can_remove_or_rename_anothers() {
    let stage = stage();
    set_mode(stage.root(), 0o755);
    let bus = Bus::builder(BUS).root(stage.root()).may_create(UserClass::Everyone).open().unwrap();
    assert_eq!(bus.directory().metadata().unwrap().mode() & 0o7777, 0o1777);
    if !may(CHANGE_USER, "two other users") {
        return;
    }
    let (mut first, mut second) = (Visitor::user(&stage, NOBODY, &[]), Visitor::user(&stage, NOBODY - 1, &[]));
    let place = stage.place("firsts");
    first.may(Command::Create(place.clone()));
    second.may_not(Command::Remove(place.clone()), &bus.directory().join("firsts"));
    second.may_not(Command::LookUp(place.clone()), &bus.directory().join("firsts/log"));
    assert_eq!(second.may(Command::CountSkipped(place.clone())), 1);
    first.may(Command::PublishOne(place.clone()));
    first.may(Command::Remove(place));
    assert_eq!((bus.topics().unwrap().len(), stage.leftovers().len()), (0, 0));
}

// The files of the topic.

#[test]
fn without_read_permission_on_the_log_nothing_can_be_done_whatever_else_is_permitted() {
    for log in [NONE, W] {
        let mut visit = Visit::new(R | X, log, R | W);
        let (log, place) = (visit.log(), visit.place.clone());
        visit.may_not_publish(&log);
        let visitor = &mut visit.visitor;
        visitor.may_not(Command::LookUp(place.clone()), &log);
        visitor.may_not(Command::Snapshot(place.clone()), &log);
        for manner in MANNERS {
            visitor.may_not(Command::ReceiveOne(place.clone(), manner), &log);
        }
        assert_eq!(visitor.may(Command::List(place.clone())), 1);
        assert_eq!(visitor.may(Command::CountSkipped(place.clone())), 1);
        visit.nothing_is_lost(0);
    }
}

#[test]
fn an_observer_reads_the_log_naps_between_looks_and_does_not_see_subscribers() {
    let mut visit = Visit::new(R | X, R, NONE);
    let (log, subs, place) = (visit.log(), visit.subs(), visit.place.clone());
    visit.may_not_publish(&log);
    let visitor = &mut visit.visitor;
    assert_eq!(visitor.may(Command::LookUp(place.clone())), visit.topic.info().epoch);
    assert_eq!(visitor.may(Command::Snapshot(place.clone())), 0);
    assert_eq!(visitor.may(Command::ReceiveOne(place.clone(), Manner::Lossy)), 0);
    assert_eq!(visitor.may(Command::ReceiveOne(place.clone(), Manner::Latest)), 0);
    visitor.may_not(Command::ReceiveOne(place.clone(), Manner::Gated), &subs);
    assert_eq!(visitor.may(Command::CountSkipped(place.clone())), 1);
    visit.nothing_is_lost(0);
}

#[test]
fn who_may_also_read_the_subscriber_table_sees_subscribers_and_still_only_observes() {
    let mut visit = Visit::new(R | X, R, R);
    let (log, subs, place) = (visit.log(), visit.subs(), visit.place.clone());
    visit.may_not_publish(&log);
    let visitor = &mut visit.visitor;
    assert_eq!(visitor.may(Command::Snapshot(place.clone())), 1);
    assert_eq!(visitor.may(Command::ReceiveOne(place.clone(), Manner::Lossy)), 0);
    visitor.may_not(Command::ReceiveOne(place.clone(), Manner::Gated), &subs);
    assert_eq!(visitor.may(Command::CountSkipped(place.clone())), 1);
    visit.nothing_is_lost(0);
}

#[test]
fn who_may_write_the_subscriber_table_subscribes_in_every_way_and_is_woken_but_does_not_publish() {
    let mut visit = Visit::new(R | X, R, R | W);
    let (log, place) = (visit.log(), visit.place.clone());
    visit.may_not_publish(&log);
    for manner in MANNERS {
        assert_eq!(visit.visitor.may(Command::ReceiveOne(place.clone(), manner)), 1, "{manner:?}");
    }
    assert_eq!(visit.visitor.may(Command::Snapshot(place.clone())), 1);
    // Clearing up after a publisher is a publisher's work.
    assert_eq!(visit.visitor.may(Command::CountSkipped(place)), 1);
    visit.nothing_is_lost(0);
}

#[test]
fn who_may_write_the_subscriber_table_of_a_topic_for_one_publisher_frees_dead_subscribers_slots() {
    for (subs, freed, skipped) in [(R, 0, 2), (R | W, 1, 1)] {
        // A topic that the visitor can't look at, beside the one with a dead subscriber.
        let mut visit = Visit::new(R | X, NONE, NONE);
        let others = if visit.is_other_user { 0 } else { 6 };
        let owner = if visit.is_other_user { 0o600 } else { 0 };
        set_mode(&visit.bus, 0o700);
        let (topic, place) = visit.stage.topic("one", |topic| topic.capacity_bytes(16384));
        visit.stage.start_armed(&Role::Subscribe(Subscribe::new(&place)), "join.gated").await_killed();
        for (file, bits) in [("log", R), ("subs", subs)] {
            set_mode(&topic.directory().join(file), owner | bits << others);
        }
        if visit.is_other_user {
            set_mode(topic.directory(), 0o755);
        }
        set_mode(&visit.bus, owner | (R | X) << others | 0o100);
        assert_eq!(visit.visitor.may(Command::FreeSlots(place.clone())), freed);
        assert_eq!(visit.visitor.may(Command::CountSkipped(place)), skipped);
        visit.nothing_is_lost(0);
    }
}

#[test]
fn who_may_write_the_log_but_not_the_subscriber_table_does_not_publish() {
    for subs in [NONE, R] {
        let mut visit = Visit::new(R | X, R | W, subs);
        let (file, place) = (visit.subs(), visit.place.clone());
        visit.may_not_publish(&file);
        assert_eq!(visit.visitor.may(Command::ReceiveOne(place.clone(), Manner::Lossy)), 0);
        visit.visitor.may_not(Command::ReceiveOne(place.clone(), Manner::Gated), &file);
        assert_eq!(visit.visitor.may(Command::CountSkipped(place)), 1);
        visit.nothing_is_lost(0);
    }
}

#[test]
fn who_may_write_both_files_publishes_subscribes_and_clears_up() {
    let mut visit = Visit::new(R | X, R | W, R | W);
    let (bus, place) = (visit.bus.clone(), visit.place.clone());
    let visitor = &mut visit.visitor;
    visitor.may(Command::PublishOne(place.clone()));
    visitor.may(Command::PublishOne(place.clone()));
    for manner in MANNERS {
        assert_eq!(visitor.may(Command::ReceiveOne(place.clone(), manner)), 1, "{manner:?}");
    }
    assert_eq!(visitor.may(Command::CountSkipped(place.clone())), 0);
    visitor.may_not(Command::Remove(place.clone()), &bus);
    visit.nothing_is_lost(2);
}

// What others put there.

#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_hangs_nobody() {
    let mut visit = Visit::new(R | W | X, R | W, R | W);
    let pipe = |path: PathBuf| nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    let trap = visit.stage.place("trap");
    set_mode(&visit.bus, 0o755);
    for directory in ["trap", ".staging-1-1-1"] {
        std::fs::create_dir(visit.bus.join(directory)).unwrap();
    }
    pipe(visit.bus.join("trap/log"));
    pipe(visit.bus.join(".staging-1-1-1/maker"));
    let refused = visit.visitor.tries(Command::LookUp(trap.clone())).unwrap_err();
    assert!(refused.contains("trap/log") && refused.contains("not a memlane file"), "{refused}");
    assert_eq!(visit.visitor.may(Command::CountSkipped(trap.clone())), 1);
    assert_eq!(visit.visitor.may(Command::List(trap)), 2);
    set_mode(&visit.bus, 0o700);
    visit.stage.bus().remove("trap").unwrap();
    std::fs::remove_dir_all(visit.bus.join(".staging-1-1-1")).unwrap();
    visit.nothing_is_lost(0);
}

#[test]
fn who_may_write_a_file_can_cut_it_short_and_so_end_those_who_have_it_mapped() {
    for (file, actor) in [("subs", false), ("log", false), ("log", true)] {
        let stage = stage();
        let (topic, place) = stage.topic("cut", |topic| topic.capacity_bytes(16384));
        let observer = Role::Subscribe(Subscribe::new(&place).manner(Manner::Lossy));
        let publisher = Role::Publish(Publish { pause_us: 100, ..Publish::new(&place, 1) });
        let mut victim = stage.start(if actor { &observer } else { &publisher });
        victim.await_ready();
        let memory = memory_of(&topic.directory().join(file));
        File::options().write(true).open(memory).unwrap().set_len(0).unwrap();
        assert_eq!(victim.await_end().signal(), Some(Signal::SIGBUS as i32), "{file}");
    }
}

// Owners and groups.

#[test]
fn only_root_gives_files_away_and_only_a_member_gives_them_to_a_group() {
    const STRANGER: u32 = 54_322;
    let mut visit = Visit::new(R | W | X, NONE, NONE);
    set_mode(visit.stage.root(), 0o777);
    let mine = visit.stage.place("mine");
    for (user, group, reason) in
        [(Some(STRANGER), None, "which only root can"), (None, Some(STRANGER), "its maker must be a member")]
    {
        for command in
            [Command::CreateFor(mine.clone(), user, group), Command::MakeBusFor(mine.root.clone(), user, group)]
        {
            let refused = visit.visitor.tries(command).unwrap_err();
            assert!(refused.contains("no permission to give it") && refused.contains(reason), "{refused}");
        }
    }
    assert!(visit.visitor.tries(Command::LookUp(mine)).unwrap_err().contains("there is no such topic"));
    assert!(!visit.stage.root().join("given").exists());
    visit.nothing_is_lost(0);
}

#[test]
fn a_topic_that_root_makes_for_a_service_is_published_to_by_it_subscribed_to_by_its_group_and_observed_by_everyone() {
    const SERVICE: u32 = 54_323;
    const GROUP: u32 = 54_324;
    let stage = stage();
    set_mode(stage.root(), 0o755);
    let other = may(CHANGE_USER, "other users (the files' modes are looked at)");
    let own = stage.root().metadata().unwrap();
    let (user, group) = if other { (SERVICE, GROUP) } else { (own.uid(), own.gid()) };
    let bus = Bus::builder(BUS).root(stage.root()).owner(user).group(group).may_look_up(UserClass::Everyone);
    let bus = bus.open().unwrap();
    let topic = bus.topic("served").unwrap().capacity_bytes(16384).publishers(Publishers::Many(2));
    let topic = topic.owner(user).group(group).may_subscribe(UserClass::Group).may_observe(UserClass::Everyone);
    let topic = topic.create().unwrap();
    for (path, mode) in [
        (bus.directory().to_path_buf(), 0o755),
        (topic.directory().to_path_buf(), 0o755),
        (topic.directory().join("log"), 0o644),
        (topic.directory().join("subs"), 0o660),
    ] {
        let found = path.metadata().unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (user, group, mode), "{}", path.display());
    }
    if !other {
        return;
    }
    let (place, log, subs) = (stage.place("served"), topic.directory().join("log"), topic.directory().join("subs"));
    let mut service = Visitor::user(&stage, SERVICE, &[]);
    let mut member = Visitor::user(&stage, SERVICE + 10, &[GROUP]);
    let mut stranger = Visitor::user(&stage, NOBODY, &[]);
    service.may(Command::PublishOne(place.clone()));
    member.may_not(Command::PublishOneAtOnce(place.clone()), &log);
    stranger.may_not(Command::PublishOneAtOnce(place.clone()), &log);
    for (visitor, is_woken) in [(&mut service, 1), (&mut member, 1), (&mut stranger, 0)] {
        assert_eq!(visitor.may(Command::ReceiveOne(place.clone(), Manner::Latest)), is_woken);
    }
    assert_eq!(member.may(Command::ReceiveOne(place.clone(), Manner::Gated)), 1);
    stranger.may_not(Command::ReceiveOne(place.clone(), Manner::Gated), &subs);
    for visitor in [&mut member, &mut stranger] {
        visitor.may_not(Command::Remove(place.clone()), bus.directory());
    }
    service.may(Command::Remove(place));
    assert_eq!((bus.topics().unwrap().len(), stage.leftovers().len()), (0, 0));
}

#[test]
fn a_mode_that_is_none_is_refused_and_makes_nothing() {
    let stage = stage();
    let topic = |name: &str| stage.bus().topic(name).unwrap().capacity_bytes(16384);
    // Meant as octal, written as decimal.
    for (builder, option) in
        [(topic("log").log_mode(644), "log_mode"), (topic("subs").subscribers_mode(0o1600), "subscribers_mode")]
    {
        let refused = builder.create().unwrap_err().to_string();
        assert!(refused.contains(option) && refused.contains("octal"), "{refused}");
    }
    assert_eq!((stage.bus().topics().unwrap().len(), stage.leftovers().len()), (0, 0));
}
