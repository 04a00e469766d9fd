//! The topics that others' messages are published on: one [`Replica`] for each, which all links share.

use crate::peer::{Peer, count};
use memlane::replication::{Replica, Route};
use memlane::{Bus, BusError, NameError, OpenError, TypeTag};
use memlane_bridge_protocol::{EndCode, Topic as Offer};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What a message's fields of its origin take at most, in bytes.
const ORIGIN_BYTES_MAX: u64 = 512;

/// A topic that several links may publish on.
pub(crate) type Shared = Arc<Mutex<Replica>>;

/// Those that are in use.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    open: Mutex<HashMap<String, Weak<Mutex<Replica>>>>,
}

/// Why a topic that was offered can't be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(
        "the topic {topic} carries {here} here, {there} there: use the same type and version on both hosts, or a prefix"
    )]
    OtherType { topic: String, here: String, there: String },
    #[error(
        "{made} topics with {made_bytes} bytes were made here for it, and {topic} would have {bytes} bytes: raise topics_made_max or topics_made_bytes_max, or make it here first"
    )]
    TooMany { topic: String, bytes: u64, made: u64, made_bytes: u64 },
}

/// How much may be made for a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) topics: u32,
    pub(crate) bytes: u64,
}

impl TakeError {
    pub(crate) fn code(&self) -> EndCode {
        match self {
            Self::Name(_) => EndCode::Malformed,
            Self::OtherType { .. } => EndCode::OtherType,
            Self::TooMany { .. } => EndCode::TooMany,
            Self::Bus(_) | Self::Open(_) => EndCode::Failed,
        }
    }
}

/// The replica, a panic in whose use left nothing half-done: what is published is.
pub(crate) fn lock(replica: &Shared) -> std::sync::MutexGuard<'_, Replica> {
    replica.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replicas {
    /// The topic `name` here, for messages of what `peer` offers, and their route on it. It is made if it isn't there, like it is there.
    pub(crate) fn take(
        &self,
        bus: &Bus,
        node: &str,
        (peer, budget): (&Peer, Budget),
        name: &str,
        offer: &Offer,
    ) -> Result<(Shared, Route), TakeError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, replica| replica.strong_count() > 0);
        let known = open.get(name).and_then(Weak::upgrade).filter(|known| !lock(known).is_gone());
        let replica = match known {
            Some(known) => known,
            None => {
                let topic = find_or_make(bus, name, offer, peer, budget)?;
                let replica = Arc::new(Mutex::new(topic.replicate(node)?));
                open.insert(name.to_owned(), Arc::downgrade(&replica));
                replica
            }
        };
        let mut locked = lock(&replica);
        check_type(name, &locked.topic().info().options.message_type, &tag(offer))?;
        let renamed = (name != offer.name).then_some(&*offer.name);
        let route = locked.route(&peer.name, offer.epoch, renamed)?;
        drop(locked);
        Ok((replica, route))
    }
}

fn tag(offer: &Offer) -> TypeTag {
    TypeTag { name: offer.type_name.clone(), version: offer.type_version, fingerprint: offer.type_fingerprint }
}

fn check_type(topic: &str, here: &TypeTag, there: &TypeTag) -> Result<(), TakeError> {
    if here == there {
        return Ok(());
    }
    let show = |tag: &TypeTag| match &*tag.name {
        "" => "raw bytes".to_owned(),
        name => format!("{name} version {} ({:016x})", tag.version, tag.fingerprint),
    };
    Err(TakeError::OtherType { topic: topic.to_owned(), here: show(here), there: show(there) })
}

/// The topic of this name, or one like what is offered.
fn find_or_make(
    bus: &Bus,
    name: &str,
    offer: &Offer,
    peer: &Peer,
    budget: Budget,
) -> Result<memlane::Topic, TakeError> {
    if let Ok(topic) = bus.topic(name)?.open() {
        return Ok(topic);
    }
    let bytes = capacity(offer);
    let [made, made_bytes] = [&peer.counters.topics_made, &peer.counters.topics_made_bytes];
    let [made_before, bytes_before] = [made, made_bytes].map(|counter| counter.load(Ordering::Relaxed));
    if made_before >= budget.topics.into() || bytes_before.saturating_add(bytes) > budget.bytes {
        let topic = name.to_owned();
        return Err(TakeError::TooMany { topic, bytes, made: made_before, made_bytes: bytes_before });
    }
    let topic = make(bus, name, offer)?;
    count(made, 1);
    count(made_bytes, bytes);
    Ok(topic)
}

/// Most bytes of a message's payload here: messages have some more fields than there.
fn payload_bytes_max(offer: &Offer) -> u64 {
    offer.body_max.saturating_add(ORIGIN_BYTES_MAX)
}

/// Bytes of the ring here.
fn capacity(offer: &Offer) -> u64 {
    let frame_bytes_max = payload_bytes_max(offer).saturating_add(u64::from(offer.payload_at) + u64::from(offer.cell));
    offer.capacity.max(frame_bytes_max.saturating_mul(4).checked_next_power_of_two().unwrap_or(u64::MAX))
}

fn make(bus: &Bus, name: &str, offer: &Offer) -> Result<memlane::Topic, TakeError> {
    let builder = bus.topic(name)?;
    let builder = builder
        .capacity_bytes(capacity(offer))
        .cell_bytes(offer.cell.into())
        .payload_bytes_max(payload_bytes_max(offer))
        .stamps(offer.stamps)
        .message_type(tag(offer))
        .payload_align(offer.payload_align.into());
    Ok(builder.describe(offer.description.clone()).open_or_create()?)
}
