//! Short errands: making, removing, opening and leaving, as often as the test wants.

use super::{Prompt, say, say_ready};
use crate::clock::since_boot;
use crate::role::{BUS, Command, Manner, Place, Report};
use crate::stage::PATIENCE;
use memlane::{Bus, Message, Publishers, Start, Topic};
use memlane_shm::named::memory_path;
use rkyv::{Archive, Serialize};
use std::path::Path;
use std::time::Duration;

/// A type that no topic of these tests carries.
#[derive(Archive, Serialize, Message)]
#[message(name = "tests.foreign", version = 9)]
struct Foreign {
    value: u64,
}

pub(super) fn create(place: &Place, capacity_bytes: u64) -> anyhow::Result<()> {
    let topic = place.bus()?.topic(&place.topic)?.capacity_bytes(capacity_bytes).create()?;
    say(&Report::Answer(Ok(topic.info().epoch)))
}

pub(super) fn obey(prompt: &Prompt) -> anyhow::Result<()> {
    say_ready()?;
    while let Some(order) = prompt.next_order() {
        let at = Duration::from_nanos(order.at_ns);
        std::thread::sleep(at.saturating_sub(since_boot() + Duration::from_micros(300)));
        while since_boot() < at {
            std::hint::spin_loop();
        }
        let answer = carry_out(&order.command).map_err(|error| error.to_string());
        say(&Report::Answer(answer))?;
    }
    Ok(())
}

/// The epoch of the topic, where there is one.
fn carry_out(command: &Command) -> anyhow::Result<u64> {
    let builder = |place: &Place| {
        let topic = place.bus()?.topic(&place.topic)?;
        anyhow::Ok(topic.capacity_bytes(16384).publishers(Publishers::One).subscribers_max(8))
    };
    Ok(match command {
        Command::Create(place) => builder(place)?.create()?.info().epoch,
        Command::OpenOrCreate(place) => builder(place)?.open_or_create()?.info().epoch,
        Command::PublishOne(place) => {
            let topic = place.open()?;
            topic.publisher::<[u8]>().stand_by(Duration::from_secs(5)).open()?.publish(b"x")?;
            topic.info().epoch
        }
        Command::PublishOneAtOnce(place) => {
            let topic = place.open()?;
            topic.publisher::<[u8]>().open()?.publish(b"x")?;
            topic.info().epoch
        }
        Command::JoinOnce(place) => {
            let topic = place.open()?;
            topic.subscriber::<[u8]>().start(Start::Earliest).open()?.try_receive()?;
            topic.info().epoch
        }
        Command::Remove(place) => {
            place.bus()?.remove(&place.topic)?;
            0
        }
        Command::CollectGarbage(place) => place.bus()?.collect_garbage()?.directories as u64,
        Command::FreeSlots(place) => {
            let garbage = place.bus()?.collect_garbage()?;
            (garbage.publishers + garbage.subscribers) as u64
        }
        Command::CountSkipped(place) => place.bus()?.collect_garbage()?.skipped as u64,
        Command::List(place) => place.bus()?.topics()?.len() as u64,
        Command::LookUp(place) => place.open()?.info().epoch,
        Command::Snapshot(place) => place.open()?.snapshot()?.subscribers.len() as u64,
        Command::ReceiveOne(place, manner) => receive_one(&place.open()?, *manner)?,
        Command::CreateFor(place, user, group) => {
            let mut builder = builder(place)?;
            if let Some(user) = *user {
                builder = builder.owner(user);
            }
            if let Some(group) = *group {
                builder = builder.group(group);
            }
            builder.create()?.info().epoch
        }
        Command::MakeBusFor(root, user, group) => {
            let mut builder = Bus::builder("given").root(root);
            if let Some(user) = *user {
                builder = builder.owner(user);
            }
            if let Some(group) = *group {
                builder = builder.group(group);
            }
            builder.open()?.topics()?.len() as u64
        }
    })
}

/// Receives the oldest message, with the log mapped read-only. Whether it can be woken is whether it may say that it sleeps.
fn receive_one(topic: &Topic, manner: Manner) -> anyhow::Result<u64> {
    let subscriber = topic.subscriber::<[u8]>().kind(manner.kind()).start(Start::Earliest);
    let mut subscriber = subscriber.open()?;
    anyhow::ensure!(subscriber.receive_within(PATIENCE)?.is_some(), "there is a message");
    let log = mapped_as(&topic.directory().join("log"))?;
    anyhow::ensure!(log == ["r--s"], "the log is mapped as {log:?}");
    let subs = mapped_as(&topic.directory().join("subs"))?;
    match subs.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(0),
        ["rw-s"] => Ok(1),
        _ => anyhow::bail!("the subscriber table is mapped as {subs:?}"),
    }
}

/// How this process has the segment at `path` mapped: read-only is `r--s`.
fn mapped_as(path: &Path) -> anyhow::Result<Vec<String>> {
    // Who may not read it has not mapped it either.
    let path = memory_path(path).unwrap_or_else(|_| path.to_path_buf()).to_string_lossy().into_owned();
    let mappings = std::fs::read_to_string("/proc/self/maps")?;
    let of_path = mappings.lines().filter(|line| line.ends_with(&path));
    Ok(of_path.filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect())
}

/// Whatever is wrong with the topic, it is an error here, and the next try comes.
pub(super) fn churn(place: &Place, prompt: &Prompt) -> anyhow::Result<()> {
    say_ready()?;
    let mut rounds = 0;
    while !prompt.says_stop() {
        let _ = once_around(place, rounds);
        rounds += 1;
        std::thread::sleep(Duration::from_micros(300));
    }
    say(&Report::Answer(Ok(rounds)))
}

fn once_around(place: &Place, round: u64) -> anyhow::Result<()> {
    let topic = place.open()?;
    let start = [Start::Live, Start::Latest, Start::Earliest, Start::Position(4096)][(round % 4) as usize];
    if let Ok(mut publisher) = topic.publisher::<[u8]>().open() {
        let _ = publisher.publish(&[7; 100]);
        let _ = publisher.publish_batch(&[&[7; 100], &[8; 50]]);
        publisher.sweep();
    }
    if let Ok(mut gated) = topic.subscriber::<[u8]>().start(start).open() {
        let _ = gated.try_receive().map(|sample| sample.is_some());
        let _ = gated.skip_to_live();
    }
    if let Ok(mut latest) = topic.subscriber::<[u8]>().latest().start(start).open() {
        let _ = latest.receive_within(Duration::from_millis(1)).map(|sample| sample.is_some());
    }
    topic.snapshot()?;
    place.bus()?.collect_garbage()?;
    Ok(())
}

/// How many descriptors this process has open, and how many mappings below `place` or of named segments.
pub(super) fn held(place: &Place) -> anyhow::Result<(usize, usize)> {
    let descriptors = std::fs::read_dir("/proc/self/fd")?.count();
    let root = place.root.to_string_lossy().into_owned();
    let mappings = std::fs::read_to_string("/proc/self/maps")?;
    let is_one = |line: &&str| line.contains(&root) || line.contains("/dev/shm/memlane-");
    Ok((descriptors, mappings.lines().filter(is_one).count()))
}

pub(super) fn leak(place: &Place, rounds: u32) -> anyhow::Result<()> {
    every_way_in(place)?;
    let before = held(place)?;
    for _ in 0..rounds {
        every_way_in(place)?;
    }
    let after = held(place)?;
    anyhow::ensure!(before.1 == 0, "{} mappings are left after the first round", before.1);
    let left = after.0.saturating_sub(before.0) + after.1;
    say(&Report::Answer(if left == 0 { Ok(0) } else { Err(format!("before {before:?}, after {after:?}")) }))
}

/// Every way to open something, and every refusal.
fn every_way_in(place: &Place) -> anyhow::Result<()> {
    let bus = Bus::builder(BUS).root(&place.root).open()?;
    let topic = place.open()?;
    let mut publisher = topic.publisher::<[u8]>().open()?;
    anyhow::ensure!(topic.publisher::<[u8]>().open().is_err(), "there is a publisher");
    let mut gated = topic.subscriber::<[u8]>().open()?;
    let mut lossy = topic.subscriber::<[u8]>().lossy().open()?;
    let mut latest = topic.subscriber::<[u8]>().latest().open()?;
    publisher.publish(&[1; 100])?;
    for subscriber in [&mut gated, &mut lossy, &mut latest] {
        anyhow::ensure!(subscriber.try_receive()?.is_some_and(|sample| sample.len() == 100), "it was published");
    }
    gated.skip_to_live()?;
    anyhow::ensure!(publisher.publish(&vec![0; 1 << 20]).is_err(), "too long");
    anyhow::ensure!(topic.subscriber::<[u8]>().start(Start::Position(1)).open().is_err(), "no such position");
    anyhow::ensure!(topic.subscriber::<Foreign>().open().is_err(), "another type");
    anyhow::ensure!(topic.publisher::<Foreign>().open().is_err(), "another type");
    anyhow::ensure!(bus.topic(&place.topic)?.create().is_err(), "the name is taken");
    anyhow::ensure!(bus.topic("absent")?.open().is_err(), "there is none");
    anyhow::ensure!(bus.topic("huge")?.capacity_bytes(1 << 36).create().is_err(), "more than there is room for");
    bus.topic("short-lived")?.capacity_bytes(4096).cell_bytes(64).create()?;
    bus.remove("short-lived")?;
    topic.snapshot()?;
    Ok(())
}

pub(super) fn take_all_slots(place: &Place, slots: u32) -> anyhow::Result<()> {
    let most = super::scale::raise_files_limit()?;
    anyhow::ensure!(most > u64::from(slots) * 2 + 64, "RLIMIT_NOFILE is {most}, too low for {slots} publishers");
    let topic = place.open()?;
    let mut publishers = Vec::new();
    for slot in 0..slots {
        let mut publisher = topic.publisher::<[u8]>().open()?;
        publisher.publish(&slot.to_le_bytes())?;
        publishers.push(publisher);
    }
    let refused = topic.publisher::<[u8]>().open().map(|_| 0).map_err(|error| error.to_string());
    // One leaves, and there is room for one.
    publishers.swap_remove(slots as usize / 2);
    publishers.push(topic.publisher::<[u8]>().open()?);
    for publisher in &mut publishers {
        publisher.publish(b"still here")?;
    }
    say(&Report::Answer(refused))
}
