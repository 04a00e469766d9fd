//! Getting at a topic: waiting for it, for its publisher's place, for its subscribers.

use std::time::{Duration, Instant};

use memlane::{BusError, OpenError, PublishError, Publisher, PublisherBuilder, Snapshot, Topic, TopicError, TypeTag};

use super::ending::Ending;
use super::place::Place;
use super::signals::{LOOK_EVERY, Signals};
use super::units;

/// How often to look whether what is waited for has come.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Why the time was up for a publisher.
pub(super) const NO_ROOM: &str =
    "no room in time: a gated subscriber holds the ring, or a rate limit is used up, see `memlane info`";

/// A moment that may never come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// The moment after `span`; never if there is none.
    pub(super) fn after(span: Option<Duration>) -> Self {
        Self(span.and_then(|span| Instant::now().checked_add(span)))
    }

    pub(super) fn has_passed(self) -> bool {
        self.0.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// How long to wait now: until the deadline, and no longer than until the next look at the signals.
    pub(super) fn slice(self) -> Duration {
        self.0.map_or(LOOK_EVERY, |deadline| deadline.saturating_duration_since(Instant::now()).min(LOOK_EVERY))
    }
}

/// What was waited for, or how the wait ended instead.
pub(super) type Waited<T> = Result<T, Ending>;

/// Asks until there is something, the deadline has passed or a signal came.
pub(super) fn wait_for<T>(
    signals: &Signals,
    deadline: Deadline,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<Waited<T>> {
    loop {
        if let Some(found) = ask()? {
            return Ok(Ok(found));
        }
        if let Some(stop) = signals.stop() {
            return Ok(Err(Ending::Stopped(stop)));
        }
        if deadline.has_passed() {
            return Ok(Err(Ending::TimedOut));
        }
        std::thread::sleep(ASK_EVERY.min(deadline.slice()));
    }
}

/// Opens the topic `name` of a bus that is there; an error that says so if there is none.
pub(super) fn open_topic(place: &Place, name: &str) -> anyhow::Result<Topic> {
    Ok(place.open_existing()?.topic(name)?.open()?)
}

/// The topic `name`, if it is there.
pub(super) fn find_topic(place: &Place, name: &str) -> anyhow::Result<Option<Topic>> {
    let bus = match place.open_existing() {
        Err(BusError::NotFound { .. }) => return Ok(None),
        bus => bus?,
    };
    match bus.topic(name)?.open() {
        Err(OpenError::Topic(TopicError::NotFound { .. })) => Ok(None),
        topic => Ok(Some(topic?)),
    }
}

/// Opens a publisher as `choose` has it; waits up to `stand_by` for the one that is there to go.
pub(super) fn open_publisher(
    topic: &Topic,
    stand_by: Option<Duration>,
    choose: impl Fn(PublisherBuilder<'_, [u8]>) -> PublisherBuilder<'_, [u8]>,
    signals: &Signals,
) -> anyhow::Result<Waited<Publisher<[u8]>>> {
    let deadline = Deadline::after(Some(stand_by.unwrap_or_default()));
    loop {
        match choose(topic.publisher().stand_by(deadline.slice())).open() {
            Err(OpenError::Topic(TopicError::PublisherExists { pid, .. })) if deadline.has_passed() => anyhow::bail!(
                "process {pid} publishes to topic {} already, which was made for one publisher: wait for it with --stand-by, or make the topic with --publishers many",
                topic.name()
            ),
            Err(OpenError::Topic(TopicError::PublisherExists { .. })) => {}
            other => return Ok(Ok(other?)),
        }
        if let Some(stop) = signals.stop() {
            return Ok(Err(Ending::Stopped(stop)));
        }
    }
}

/// Waits until so many gated subscribers are there.
pub(super) fn wait_for_subscribers(
    topic: &Topic,
    count: usize,
    signals: &Signals,
    deadline: Deadline,
) -> anyhow::Result<Waited<()>> {
    wait_for(signals, deadline, || Ok((settled_subscribers(&topic.snapshot()?) >= count).then_some(())))
}

/// How many gated subscribers have taken their place.
fn settled_subscribers(snapshot: &Snapshot) -> usize {
    snapshot.subscribers.iter().filter(|subscriber| subscriber.position.is_some()).count()
}

/// What each message carries beside its payload.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) key: Option<&'a str>,
    pub(super) headers: &'a [(String, String)],
}

/// Publishes; waits for room, and for what rate limits ask, until the deadline, or a signal.
#[inline]
pub(super) fn publish(
    publisher: &mut Publisher<[u8]>,
    fields: Fields<'_>,
    message: &[u8],
    signals: &Signals,
    timeout: Option<Duration>,
) -> Result<Waited<u64>, PublishError> {
    let first = if fields.headers.is_empty() && fields.key.is_none() {
        publisher.publish(message)
    } else {
        publish_with(publisher, fields, message, Duration::ZERO)
    };
    match first {
        Err(error) if error.is_full() || error.is_rate_limited() => {
            publish_patiently(publisher, fields, message, signals, Deadline::after(timeout))
        }
        other => other.map(Ok),
    }
}

#[cold]
fn publish_patiently(
    publisher: &mut Publisher<[u8]>,
    fields: Fields<'_>,
    message: &[u8],
    signals: &Signals,
    deadline: Deadline,
) -> Result<Waited<u64>, PublishError> {
    loop {
        match publish_with(publisher, fields, message, deadline.slice()) {
            Err(error) if error.is_full() => {}
            // It doesn't wait at all for what takes longer than the slice.
            Err(error) if error.is_rate_limited() => std::thread::sleep(publisher.rate_wait().min(deadline.slice())),
            other => return other.map(Ok),
        }
        if let Some(stop) = signals.stop() {
            return Ok(Err(Ending::Stopped(stop)));
        }
        if deadline.has_passed() {
            return Ok(Err(Ending::TimedOut));
        }
    }
}

fn publish_with(
    publisher: &mut Publisher<[u8]>,
    fields: Fields<'_>,
    message: &[u8],
    timeout: Duration,
) -> Result<u64, PublishError> {
    let mut outgoing = publisher.message();
    if let Some(key) = fields.key {
        outgoing = outgoing.key(key.as_bytes())?;
    }
    let mut headers = fields.headers.iter();
    let outgoing = headers.try_fold(outgoing, |outgoing, (key, value)| outgoing.header(key, value.as_bytes()))?;
    outgoing.publish_within(message, timeout)
}

/// Refuses raw bytes on a topic that carries a type, unless that is meant.
pub(super) fn check_untyped(topic: &Topic, meant: bool) -> anyhow::Result<()> {
    let message_type = topic.info().options.message_type;
    anyhow::ensure!(
        meant || message_type.name.is_empty(),
        "topic {} carries {}, not raw bytes: publish to another topic, or say --untyped if these are archived values of that type",
        topic.name(),
        type_name(&message_type)
    );
    Ok(())
}

/// A message is too long: says how long it may be.
pub(super) fn explain(error: PublishError, topic: &Topic, bytes: usize) -> anyhow::Error {
    if error != PublishError::Claim(memlane::ClaimError::TooLong) {
        return error.into();
    }
    let longest = topic.info().payload_bytes_max;
    anyhow::anyhow!(
        "a message of {} does not fit topic {}, which takes {} at most: remove it and make it anew with a larger --capacity (a message takes up to a quarter) or --payload-max",
        units::bytes(bytes as u64),
        topic.name(),
        units::bytes(longest)
    )
}

/// A type as people know it.
pub(super) fn type_name(message_type: &TypeTag) -> String {
    if message_type.name.is_empty() {
        return "raw bytes".to_owned();
    }
    format!("{} v{}", message_type.name, message_type.version)
}
