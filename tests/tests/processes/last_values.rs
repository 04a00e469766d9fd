//! Late joiners get the state at a position while publishers and joiners die: compared with what a subscriber has seen that was there
//! from the beginning.

use crate::stage;
use crate::surroundings::{CHANGE_USER, NOBODY, may};
use memlane::{ClaimError, Kind, PublishError, Publishers, Topic, TopicBuilder};
use memlane_shm::named::memory_path;
use memlane_tests::random::Random;
use memlane_tests::role::{LastValue, Place, Report, Role};
use memlane_tests::roles::keyed;
use memlane_tests::stage::{Actor, PATIENCE, Stage};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many keys publishers use; a few more than there is room for, so that some are refused.
const KEYS: u64 = 110;
const KEYS_MAX: u32 = 100;
/// How long the deaths go on. `MEMLANE_KILL_SECONDS` says how long instead.
const TIME: Duration = Duration::from_secs(8);
/// Longest life of a victim.
const LIFE_MAX: Duration = Duration::from_millis(60);
/// Published last, without a key.
const END: &[u8] = b"the end of the record";

const PUBLISHER_POINTS: &[&str] = &[
    "attach.locked",
    "claim.claimed",
    "write.half",
    "commit.before",
    "commit.after",
    "reclaim.leased",
    "reclaim.head_moved",
    "reclaim.before_limit",
    "keys.written",
    "keys.counted",
    "fold.half",
    "fold.before",
    "fold.after",
];
const JOINER_POINTS: &[&str] = &["join.announced", "join.gated", "release.before", "release.after", "leave.gated"];

fn ring(topic: TopicBuilder) -> TopicBuilder {
    topic.capacity_bytes(16384).subscribers_max(12).last_values(KEYS_MAX, 200)
}

/// Every message that a topic ever had.
#[derive(Debug, Default)]
struct Record {
    positions: Vec<u64>,
    /// With a key, or without; without a payload, or not.
    messages: Vec<(Option<LastValue>, bool)>,
}

/// Reads from now on until the end is published.
fn record(topic: &Topic) -> JoinHandle<Record> {
    let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
    std::thread::spawn(move || {
        let mut record = Record::default();
        loop {
            let sample = subscriber.receive_within(PATIENCE).unwrap().expect("there is an end");
            if *sample == *END {
                return record;
            }
            let key = sample.key().unwrap();
            record.positions.push(sample.position());
            let value = key.map(|key| keyed::value(key, sample.position(), &sample));
            record.messages.push((value, sample.is_empty()));
        }
    })
}

fn publish_end(topic: &Topic) {
    let mut publisher = topic.publisher::<[u8]>().stand_by(PATIENCE).open().unwrap();
    publisher.publish_within(END, PATIENCE).unwrap();
}

/// What a joiner reported.
type Joined = (u64, Vec<LastValue>, Vec<u64>);

/// Compares each snapshot with the state that follows from the record at its position, and what came next with the record behind it.
fn compare(record: &Record, mut joined: Vec<Joined>) {
    joined.sort_unstable();
    let mut state: BTreeMap<Vec<u8>, LastValue> = BTreeMap::new();
    let mut index = 0;
    for (position, mut values, next) in joined {
        while index < record.positions.len() && record.positions[index] < position {
            if let (Some(value), is_empty) = &record.messages[index] {
                if *is_empty {
                    state.remove(&value.key);
                } else {
                    state.insert(value.key.clone(), value.clone());
                }
            }
            index += 1;
        }
        values.sort_unstable();
        assert!(values.iter().eq(state.values()), "at {position}:\n{values:?}\n{state:?}");
        let came = record.positions[index..].iter().take(next.len());
        // The end itself isn't in the record.
        assert!(next.iter().zip(came).all(|(next, came)| next == came), "after {position}: {next:?}");
    }
}

fn joined(reports: Vec<Report>) -> impl Iterator<Item = Joined> {
    reports.into_iter().filter_map(|report| match report {
        Report::Joined { position, values, next } => Some((position, values, next)),
        _ => None,
    })
}

struct Victim {
    actor: Actor,
    dies_at: Instant,
}

struct Reaper<'a> {
    stage: &'a Stage,
    place: Place,
    many: bool,
    random: Random,
    joined: Vec<Joined>,
    kills: u32,
}

impl Reaper<'_> {
    fn start(&mut self, publishes: bool) -> Victim {
        let place = self.place.clone();
        let (role, points) = if publishes {
            let stand_by_ms = if self.many { 0 } else { 60_000 };
            let seed = self.random.next_u64();
            (Role::PublishKeyed { place, seed, keys: KEYS, stand_by_ms }, PUBLISHER_POINTS)
        } else {
            (Role::JoinKeyed { place, lossy: self.random.below(3) == 0 }, JOINER_POINTS)
        };
        let crash = format!("{}:{}", self.random.one_of(points), 1 + self.random.below(60) * self.random.below(4));
        let armed = self.random.below(3) > 0;
        let actor = if armed { self.stage.start_armed(&role, &crash) } else { self.stage.start(&role) };
        Victim { actor, dies_at: Instant::now() + self.random.time_below(LIFE_MAX) }
    }

    /// Whether it is dead, by its own hand or by ours. Any other end is a fault.
    fn reap(&mut self, victim: &mut Victim) -> bool {
        let Some(status) = victim.actor.has_ended() else {
            if Instant::now() >= victim.dies_at {
                victim.actor.signal(Signal::SIGKILL);
            }
            return false;
        };
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}");
        self.kills += 1;
        self.joined.extend(joined(victim.actor.last_reports()));
        true
    }

    fn rage(&mut self) {
        let named = std::env::var("MEMLANE_KILL_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
        let time = named.map_or(TIME, Duration::from_secs);
        let mut victims: Vec<_> = (0..6).map(|number| (number < 3, self.start(number < 3))).collect();
        let start = Instant::now();
        while start.elapsed() < time {
            for (publishes, victim) in &mut victims {
                if self.reap(victim) {
                    *victim = self.start(*publishes);
                }
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        for (_, mut victim) in victims {
            self.joined.extend(joined(victim.actor.last_reports()));
        }
    }
}

/// Deaths for a time, of publishers and joiners; then each snapshot is compared with the record.
fn mayhem(many: bool) {
    let stage = stage();
    let publishers = if many { Publishers::Many(16) } else { Publishers::One };
    let (topic, place) = stage.topic("keyed", |topic| ring(topic).publishers(publishers));
    let record = record(&topic);
    let seed = Random::seed();
    println!("MEMLANE_SEED={seed}");
    // Joiners that live, all the while.
    let mut witnesses = [false, true].map(|lossy| stage.start(&Role::JoinKeyed { place: place.clone(), lossy }));
    let mut reaper = Reaper { stage: &stage, place, many, random: Random::new(seed), joined: Vec::new(), kills: 0 };
    reaper.rage();
    for witness in &mut witnesses {
        assert!(witness.has_ended().is_none(), "it lives on");
        reaper.joined.extend(joined(witness.last_reports()));
    }
    publish_end(&topic);
    let record = record.join().unwrap();
    let laps = record.positions.last().unwrap() / topic.info().options.capacity;
    let values: usize = reaper.joined.iter().map(|joined| joined.1.len()).sum();
    println!(
        "{} kills, {} snapshots of {} values in all; {} messages in {laps} laps",
        reaper.kills,
        reaper.joined.len(),
        values,
        record.positions.len()
    );
    assert!(reaper.joined.len() >= 20 && reaper.kills >= 50 && laps >= 5, "it came to something");
    compare(&record, reaper.joined);
}

#[test]
fn snapshots_are_consistent_while_publishers_and_joiners_die_on_a_topic_of_many() {
    mayhem(true);
}

#[test]
fn snapshots_are_consistent_while_publishers_and_joiners_die_on_a_topic_of_one() {
    mayhem(false);
}

/// A publisher dies at a named place; a joiner gets the state at once, the next publisher goes on, and then the state is right again.
fn dies_at(point: &str, pass: u32, many: bool) {
    let stage = stage();
    let publishers = if many { Publishers::Many(4) } else { Publishers::One };
    let (topic, place) = stage.topic("keyed", |topic| ring(topic).publishers(publishers));
    let record = record(&topic);
    let mut joined_at = Vec::new();
    let mut join = |kind| {
        let (values, _) = topic.subscriber::<[u8]>().kind(kind).open_with_last_values().unwrap();
        let found = values.iter().map(|message| {
            let message = message.unwrap();
            keyed::value(message.key().unwrap().unwrap(), message.position, message.view)
        });
        joined_at.push((values.position(), found.collect(), Vec::new()));
    };
    let role = Role::PublishKeyed { place: place.clone(), seed: 7, keys: 50, stand_by_ms: 0 };
    let mut victim = stage.start_armed(&role, &format!("{point}:{pass}"));
    victim.await_killed();
    join(Kind::Gated);
    join(Kind::Lossy);
    let mut publisher = topic.publisher::<[u8]>().stand_by(PATIENCE).open().unwrap();
    for round in 0..1000_u32 {
        let key = format!("key {}", round % 20);
        let message = publisher.message().key(key.as_bytes()).unwrap();
        message.publish_within(&round.to_le_bytes(), PATIENCE).unwrap();
        if round % 50 == 0 {
            join(Kind::Gated);
            join(Kind::Lossy);
        }
    }
    drop(publisher);
    publish_end(&topic);
    compare(&record.join().unwrap(), joined_at);
}

#[test]
fn publisher_killed_in_the_middle_of_a_fold_leaves_the_state_whole() {
    for many in [false, true] {
        for point in ["fold.half", "fold.before", "fold.after"] {
            for pass in [1, 30, 400] {
                dies_at(point, pass, many);
            }
        }
    }
}

#[test]
fn publisher_killed_while_it_registers_a_key_loses_no_place_and_no_key() {
    for many in [false, true] {
        for point in ["keys.written", "keys.counted"] {
            for pass in [1, 5] {
                dies_at(point, pass, many);
                loses_no_place(point, pass, many);
            }
        }
    }
}

/// A publisher dies while it registers its key number `pass`; then exactly as many keys find a place as were promised, its own among them.
fn loses_no_place(point: &str, pass: u32, many: bool) {
    const KEYS_OF_THE_DEAD: u64 = 50;
    let stage = stage();
    let publishers = if many { Publishers::Many(4) } else { Publishers::One };
    let (topic, place) = stage.topic("keyed", |topic| ring(topic).publishers(publishers));
    let role = Role::PublishKeyed { place, seed: 9, keys: KEYS_OF_THE_DEAD, stand_by_ms: 0 };
    stage.start_armed(&role, &format!("{point}:{pass}")).await_killed();
    let mut publisher = topic.publisher::<[u8]>().stand_by(PATIENCE).open().unwrap();
    let mut kept = HashMap::new();
    // First a new key, behind the one that was not finished.
    let keys = std::iter::once("first".to_owned()).chain((0..KEYS_OF_THE_DEAD).map(keyed::key));
    for key in keys.chain((0..KEYS_MAX).map(|number| format!("new {number}"))) {
        match publisher.message().key(key.as_bytes()).unwrap().publish_within(b"new", PATIENCE) {
            Ok(position) => drop(kept.insert(key, position)),
            Err(error) => assert_eq!(error, PublishError::Claim(ClaimError::KeysFull)),
        }
    }
    let (values, _) = topic.subscriber::<[u8]>().open_with_last_values().unwrap();
    assert_eq!((kept.len(), values.len()), (KEYS_MAX as usize, KEYS_MAX as usize), "{point}:{pass}");
    for (key, position) in kept {
        assert_eq!(values.get(key.as_bytes()).unwrap().unwrap().position, position);
    }
}

#[test]
fn a_publisher_that_comes_back_goes_on_with_the_keys_that_are_there() {
    let stage = stage();
    let (topic, _) = stage.topic("keyed", ring);
    for round in 0..20_u32 {
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        for number in 0..KEYS_MAX {
            publisher.message().key(&number.to_le_bytes()).unwrap().publish(&round.to_le_bytes()).unwrap();
        }
    }
    let (values, _) = topic.subscriber::<[u8]>().open_with_last_values().unwrap();
    assert_eq!(values.len(), KEYS_MAX as usize);
    assert!(values.iter().all(|message| message.unwrap().view == 19_u32.to_le_bytes()));
}

#[test]
fn an_observer_who_may_only_read_gets_the_last_values() {
    let stage = stage();
    let (topic, place) = stage.topic("keyed", ring);
    let record = record(&topic);
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    for number in 0..1000_u32 {
        let message = publisher.message().key(&(number % 70).to_le_bytes()).unwrap();
        message.publish_within(&number.to_le_bytes(), PATIENCE).unwrap();
    }
    drop(publisher);
    publish_end(&topic);
    let record = record.join().unwrap();
    let is_other_user = may(CHANGE_USER, "another user (this user's own permission is taken away instead)");
    let set_mode = |path: &std::path::Path, others: u32, own: u32| {
        let mode = if is_other_user { 0o700 | others } else { own };
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    let directory = topic.directory();
    set_mode(stage.root(), 0o055, 0o700);
    set_mode(stage.bus().directory(), 0o055, 0o700);
    set_mode(directory, 0o055, 0o700);
    for (file, others, own) in [("log", 0o044, 0o400), ("last", 0o044, 0o400), ("subs", 0, 0)] {
        // Of a named segment, the link and its memory.
        for path in [directory.join(file), memory_path(&directory.join(file)).unwrap()] {
            set_mode(&path, others, own);
        }
    }
    let role = Role::JoinKeyed { place, lossy: true };
    let role =
        if is_other_user { Role::AsUser { user: NOBODY, groups: Vec::new(), role: Box::new(role) } } else { role };
    let mut observer = stage.start(&role);
    observer.await_ready();
    let first = observer.report();
    let seen: Vec<_> = joined(vec![first]).chain(joined(observer.last_reports())).collect();
    assert!(!seen.is_empty() && seen.iter().all(|joined| joined.1.len() == 70));
    compare(&record, seen);
    for path in [directory.join("subs"), memory_path(&directory.join("subs")).unwrap()] {
        set_mode(&path, 0, 0o600);
    }
}
