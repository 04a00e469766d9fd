//! Offers a peer the topics that it is to have, those that are there and those that come.

use super::run::OFFERS_WAITING_MAX;
use super::{About, Link, lock, outgoing};
use crate::allow::Direction;
use crate::options::FlowOptions;
use crate::refusal::RefusedBy;
use crate::status::FlowDirection;
use memlane::Topic;
use memlane_bridge_protocol::Topic as Offer;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Offers all topics that `options` name: because they were wanted by the number `want`, as far as they are allowed, or, if that is zero, in any case.
pub(super) async fn all(link: Arc<Link>, want: u32, options: FlowOptions) {
    let mut topics = link.context.topics.clone();
    let mut flows: JoinSet<()> = JoinSet::new();
    loop {
        let names = Arc::clone(&topics.borrow_and_update());
        for name in names.iter().filter(|name| options.topics.matches(name)) {
            let may = want == 0 || link.context.options().allow.may(&link.peer.name, Direction::Pull, name);
            if may && lock(&link.offered).insert(name.clone()) {
                flows.spawn(one(Arc::clone(&link), want, name.clone(), options.clone()));
            }
        }
        while flows.try_join_next().is_some() {}
        if topics.changed().await.is_err() {
            return;
        }
    }
}

/// Offers one topic, and carries it until that ends.
async fn one(link: Arc<Link>, want: u32, name: String, options: FlowOptions) {
    let topic = match link.context.bus.topic(&name).map(|builder| builder.open()) {
        Ok(Ok(topic)) => topic,
        // It went again, and may come back.
        _ => {
            lock(&link.offered).remove(&name);
            return;
        }
    };
    link.until_told(OFFERS_WAITING_MAX).await;
    let Some(offered) = link.with(|core, _| core.open(options.mode, want, offer(&topic))) else { return };
    let about = About { topic: name.clone(), direction: FlowDirection::ToPeer, mode: options.mode };
    let events = link.route(offered, about);
    let ended = outgoing::carry(&link, offered, &topic, &options, events).await;
    link.forget(offered);
    match ended {
        outgoing::Ended::Removed => {
            lock(&link.offered).remove(&name);
        }
        // Offered once on each link: the reason lasts.
        outgoing::Ended::Refused(text) => {
            link.peer.refuse_flow(&name, FlowDirection::ToPeer, RefusedBy::Peer, &text);
        }
        outgoing::Ended::Failed(text) => link.peer.refuse_flow(&name, FlowDirection::ToPeer, RefusedBy::Us, &text),
        outgoing::Ended::Link => {}
    }
}

/// What a peer is told of a topic.
fn offer(topic: &Topic) -> Offer {
    let info = topic.info();
    let shape = topic.frame_shape();
    let tag = info.options.message_type;
    Offer {
        name: topic.name().to_owned(),
        type_name: tag.name,
        type_version: tag.version,
        type_fingerprint: tag.fingerprint,
        epoch: info.epoch,
        cell: shape.cell as u32,
        capacity: shape.capacity,
        payload_at: shape.payload_at as u32,
        payload_align: info.options.payload_align as u32,
        body_max: shape.body_max,
        stamps: shape.stamps,
        // Without one its messages can't be shown by their fields, and that is all.
        description: topic.description().ok().flatten().unwrap_or_default(),
    }
}
