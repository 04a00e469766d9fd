//! Messages with keys, and joiners that report the last of each.

use super::{Prompt, say, say_ready};
use crate::random::{Random, mix};
use crate::role::{LastValue, Place, Report};
use memlane::{ClaimError, LastValues, OpenError, PublishError, Subscriber, TopicError};
use std::time::Duration;

/// How often somebody who waits for room looks whether to stop.
const GLANCE: Duration = Duration::from_millis(20);
/// How many messages behind its snapshot a joiner reports.
const NEXT_MAX: usize = 5;

/// A message with a key as the record and reports have it: the payload shows by its sum.
#[must_use]
pub fn value(key: &[u8], position: u64, payload: &[u8]) -> LastValue {
    let sum = payload.iter().fold(payload.len() as u64, |sum, byte| mix(sum ^ u64::from(*byte)));
    LastValue { key: key.to_vec(), position, sum }
}

/// The key of this number that keyed publishers use.
#[must_use]
pub fn key(number: u64) -> String {
    format!("{number:x}").repeat(1 + number as usize % 5)
}

/// Publishes messages of random keys and lengths, some without a key, some that take a key out, until told to stop. Keys that find no
/// place are let be.
pub(super) fn publish(place: &Place, seed: u64, keys: u64, stand_by: Duration) -> anyhow::Result<()> {
    let topic = place.open()?;
    if !stand_by.is_zero() {
        say(&Report::StandsBy)?;
    }
    let mut publisher = topic.publisher::<[u8]>().stand_by(stand_by).open()?;
    let mut random = Random::new(seed);
    let prompt = Prompt::listen();
    say_ready()?;
    let (mut published, mut payload) = (0, Vec::new());
    while !prompt.says_stop() {
        let outgoing = match random.below(8) {
            0 => publisher.message(),
            _ => publisher.message().key(key(random.below(keys)).as_bytes())?,
        };
        payload.clear();
        let words = random.below(16).saturating_sub(1);
        payload.extend((0..words).flat_map(|_| random.next_u64().to_le_bytes()));
        match outgoing.publish_within(&payload, GLANCE) {
            Ok(_) => published += 1,
            Err(PublishError::Claim(ClaimError::Full | ClaimError::KeysFull)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    say(&Report::Answer(Ok(published)))
}

/// Joins again and again until told to stop; reports each time the state, and what came next.
pub(super) fn join(place: &Place, lossy: bool) -> anyhow::Result<()> {
    let topic = place.open()?;
    let prompt = Prompt::listen();
    say_ready()?;
    while !prompt.says_stop() {
        let subscriber = topic.subscriber::<[u8]>();
        let subscriber = if lossy { subscriber.lossy() } else { subscriber };
        let (values, mut subscriber) = match subscriber.open_with_last_values() {
            Ok(joined) => joined,
            // Publishers may be faster than one whom they don't wait for.
            Err(OpenError::Topic(TopicError::Overtaken { .. })) if lossy => continue,
            Err(error) => return Err(error.into()),
        };
        let next = receive_some(&mut subscriber, lossy)?;
        say(&Report::Joined { position: values.position(), values: report(&values)?, next })?;
    }
    say(&Report::Answer(Ok(0)))
}

fn receive_some(subscriber: &mut Subscriber<[u8]>, lossy: bool) -> anyhow::Result<Vec<u64>> {
    let mut next = Vec::new();
    while next.len() < NEXT_MAX {
        match subscriber.receive_within(Duration::from_millis(2)) {
            Ok(Some(sample)) => next.push(sample.position()),
            Ok(None) => break,
            Err(_) if lossy => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(next)
}

fn report(values: &LastValues<[u8]>) -> anyhow::Result<Vec<LastValue>> {
    let message = |message: Result<memlane::Received<'_, [u8]>, memlane::ReceiveError>| {
        let message = message?;
        let key = message.key()?.unwrap_or_default();
        anyhow::ensure!(values.get(key)?.is_some_and(|found| found.position == message.position), "found by its key");
        Ok(value(key, message.position, message.view))
    };
    values.iter().map(message).collect()
}
