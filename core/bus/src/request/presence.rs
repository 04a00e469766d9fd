//! Who is there: topics that appear with their publisher's lock held, and removing those of the dead.
//!
//! Whoever removes such a topic holds its lock meanwhile, so of several who find a dead one's only one removes it, and its owner, were it
//! still about to lock it, finds it taken and makes another.

use super::names::{self, ConnectionName, Kind};
use crate::bus::Bus;
use crate::error::{BusError, OpenError, TypeName};
use crate::message::TypeInfo;
use crate::payload::Payload;
use crate::topic::{Topic, TopicBuilder};
use memlane_ring::{BusBell, Publisher, Topic as Log, TopicError, TypeTag};
use memlane_shm::{Access, LockFile, SegmentError};
use std::time::Duration;

/// How often somebody may take a topic that is being made for abandoned before that is an error.
const ROUNDS_MAX: u32 = 100;

/// Tries `make` again as long as somebody takes what it makes for abandoned, in the moment between making and locking it.
pub(super) fn undisturbed<T>(mut make: impl FnMut() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let mut round = 1;
    loop {
        match make() {
            Err(OpenError::Topic(TopicError::NotFound { .. } | TopicError::PublisherExists { .. }))
                if round < ROUNDS_MAX =>
            {
                round += 1;
            }
            other => return other,
        }
    }
}

/// Names of one service differ by ids, which are all equally long: one was checked when the client or the server was opened.
pub(super) fn name_was_checked(error: BusError) -> OpenError {
    unreachable!("a name like it was checked: {error}")
}

/// Makes a topic with `builder` and becomes its publisher.
pub(super) fn make_and_lock(builder: &TopicBuilder) -> Result<(Topic, Publisher), OpenError> {
    let topic = builder.create()?;
    let publisher = topic.log().publisher(topic.map(), Duration::ZERO)?;
    Ok((topic, publisher))
}

/// Gives the topic `from`, which is whole and locked, the name `to`, and tells those who wait for topics.
pub(super) fn reveal(bus: &Bus, from: &str, to: &str) -> Result<(), OpenError> {
    let path = bus.directory().join(to);
    std::fs::rename(bus.directory().join(from), &path)
        .map_err(|error| TopicError::from(SegmentError::of(&path, "put it in its place", error)))?;
    if let Some(bell) = BusBell::open(bus.directory()) {
        bell.note_change();
    }
    Ok(())
}

/// The locks of the topic `name`, if it is there.
pub(super) fn locks(bus: &Bus, name: &str, access: Access) -> Result<Option<LockFile>, TopicError> {
    match Log::open(&bus.directory().join(name)).and_then(|log| log.publisher_locks(access)) {
        Err(TopicError::NotFound { .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// Removes the topic `name`, and `companion` before it, if its publisher is dead; whether it was. What can't be looked at or removed,
/// for want of permission, is left.
pub(super) fn remove_if_dead(bus: &Bus, name: &str, companion: Option<&str>) -> bool {
    let Ok(Some(locks)) = locks(bus, name, Access::ReadWrite) else { return false };
    if !locks.try_lock(0).unwrap_or(false) {
        return false;
    }
    if let Some(companion) = companion {
        let _ = bus.remove(companion);
    }
    bus.remove(name).is_ok()
}

/// Removes a connection, whether its client lives or not; the other side is told.
pub(super) fn remove_connection(bus: &Bus, name: &ConnectionName) {
    let _ = bus.remove(&name.replies());
    let _ = bus.remove(&name.requests());
}

/// Removes a connection if its client is dead; whether it was.
pub(super) fn remove_connection_if_dead(bus: &Bus, name: &ConnectionName) -> bool {
    remove_if_dead(bus, &name.requests(), Some(&name.replies()))
}

/// Removes what the dead left of the services for which `is_meant`; returns how many presences and connections that were.
fn sweep(bus: &Bus, topics: &[String], is_meant: impl Fn(&str) -> bool) -> usize {
    let mut removed = 0;
    for name in topics {
        let Some((service, kind)) = names::parse(name) else { continue };
        if !is_meant(service) {
            continue;
        }
        removed += usize::from(match kind {
            Kind::Presence(_) | Kind::Making => remove_if_dead(bus, name, None),
            Kind::Requests(_, connection) => remove_connection_if_dead(bus, &connection),
            Kind::Opening(connection) => remove_if_dead(bus, name, Some(&connection.replies())),
        });
    }
    removed
}

/// Removes what the dead left of this service.
pub(super) fn sweep_service(bus: &Bus, service: &str) {
    // What can't be listed can't be swept.
    let topics = bus.topics().unwrap_or_default();
    sweep(bus, &topics, |found| found == service);
}

/// Removes what the dead left of all services; returns how many presences and connections that were.
pub(crate) fn sweep_all(bus: &Bus, topics: &[String]) -> usize {
    sweep(bus, topics, |_| true)
}

/// A topic's type, as `P` asks for it.
pub(super) fn typed<P: ?Sized + Payload>(builder: TopicBuilder) -> TopicBuilder {
    match P::type_info() {
        Some(info) => builder.message_type(TypeName::from(&info).0).payload_align(P::ALIGN as u64),
        None => builder,
    }
}

/// What a server takes and gives, in words; two of them are the same if, and only if, the types are.
pub(super) fn types<Q: ?Sized + Payload, R: ?Sized + Payload>() -> String {
    let name = |info: Option<TypeInfo>| info.map_or(TypeName(TypeTag::default()), |info| TypeName::from(&info));
    format!("takes {} and gives {}", name(Q::type_info()), name(R::type_info()))
}
