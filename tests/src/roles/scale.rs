//! Very many of something, in one process.

use super::errand::held;
use super::{Prompt, say, say_ready};
use crate::role::{BUS, Place, Report};
use crate::stage::PATIENCE;
use memlane::{Backing, Bus, Start, Wait};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::path::Path;
use std::time::Instant;

/// As many descriptors as this process may have.
pub(super) fn raise_files_limit() -> anyhow::Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(most)
}

/// Descriptors of a gated subscriber to a topic for one publisher: a lock and, of a named segment, the writable mapping.
///
/// # Errors
/// If the environment says what can't be.
pub fn descriptors_each() -> anyhow::Result<usize> {
    Ok(if Backing::of_environment()? == Backing::Named { 2 } else { 1 })
}

/// Makes so many topics, lists them, looks at all of them, and subscribes to all of them; then removes them.
pub(super) fn topics(root: &Path, count: usize) -> anyhow::Result<()> {
    raise_files_limit()?;
    let bus = Bus::builder(BUS).root(root).open()?;
    let name = |index: usize| format!("t.{index:05}");
    let mut bytes = 0;
    for index in 0..count {
        let topic = bus.topic(&name(index))?.capacity_bytes(4096).subscribers_max(1).prefault(false).create()?;
        bytes = topic.info().memory_bytes;
    }
    let start = Instant::now();
    anyhow::ensure!(bus.topics()?.len() == count, "all are listed");
    eprintln!("{count} topics of {bytes} bytes listed in {:?}", start.elapsed());
    let start = Instant::now();
    let all = bus.snapshot(&">".parse()?)?;
    anyhow::ensure!(all.len() == count && all.values().all(Result::is_ok), "all can be looked at");
    eprintln!("looked at in {:?}", start.elapsed());

    let place = Place { root: root.to_owned(), topic: String::new() };
    let before = held(&place)?;
    let start = Instant::now();
    let mut subscriber =
        bus.subscribe::<[u8]>("t.>".parse()?).start(Start::Earliest).wait(Wait::Block { spins: 0 }).open()?;
    eprintln!("subscribed to in {:?}", start.elapsed());
    let after = held(&place)?;
    // A selector has a bell, which is mapped.
    let each = ((after.0 - before.0) / count, (after.1 - before.1) / count);
    anyhow::ensure!(
        each == (descriptors_each()?, 2),
        "descriptors and mappings of a gated subscriber: {each:?}, of {before:?} and {after:?}"
    );
    for index in [0, count / 2, count - 1] {
        bus.topic(&name(index))?.open()?.publisher::<[u8]>().open()?.publish(&index.to_le_bytes())?;
        let received = subscriber.receive_within(PATIENCE)?;
        let told = received.as_ref().map(|(topic, message)| (*topic, message.to_vec()));
        anyhow::ensure!(told == Some((&name(index)[..], index.to_le_bytes().to_vec())), "{index}: {told:?}");
    }
    drop(subscriber);
    anyhow::ensure!(held(&place)? == before, "it leaves nothing open");
    for index in 0..count {
        bus.remove(&name(index))?;
    }
    say(&Report::Answer(Ok(bytes)))
}

/// Subscribes so many times to one topic; all read the same messages, when told to go.
pub(super) fn subscribers(place: &Place, count: usize, messages: usize) -> anyhow::Result<()> {
    raise_files_limit()?;
    let topic = place.open()?;
    let open = |_| topic.subscriber::<[u8]>().open();
    let mut subscribers = (0..count).map(open).collect::<Result<Vec<_>, _>>()?;
    let prompt = Prompt::listen();
    say_ready()?;
    prompt.await_go();
    let mut sum = 0;
    for subscriber in &mut subscribers {
        for expected in 0..messages as u64 {
            let received = subscriber.receive_within(PATIENCE)?;
            anyhow::ensure!(received.as_deref() == Some(&expected.to_le_bytes()[..]), "message {expected}");
            sum += 1;
        }
    }
    say(&Report::Answer(Ok(sum)))
}

/// Subscribes to as many topics as the limit of descriptors lets it; says the error.
pub(super) fn run_out_of_files(root: &Path, limit: u64) -> anyhow::Result<()> {
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
    let bus = Bus::builder(BUS).root(root).open()?;
    let mut all = bus.subscribe::<[u8]>(">".parse()?).open()?;
    let error = all.try_receive().map(|_| ()).err().map(|error| error.to_string());
    anyhow::ensure!(all.topics().count() > 10, "the others are received from");
    drop(all);
    anyhow::ensure!(!bus.topics()?.is_empty(), "what it had opened is closed again");
    say(&Report::Answer(Err(error.unwrap_or_default())))
}
