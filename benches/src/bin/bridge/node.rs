//! Nodes with a bridge, and applications as tasks on the same thread.

use crate::{Result, say, say_trips};
use memlane::{Bus, Publisher, Start, Subscriber};
use memlane_bridge_quic::{
    AllowList, Bridge, BridgeOptions, Existing, FlowOptions, Identity, IdentityFiles, Linger, NodeRequest, PeerOptions,
    Rule, make_authority, make_node,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Trips before those that count.
const WARM_UP: usize = 500;

/// Makes those of both nodes.
pub(crate) fn make_certificates(place: &Path) -> Result<()> {
    make_authority(&place.join("authority"), 30)?;
    for node in ["tokyo", "osaka"] {
        let (node, hosts, days, existing) = (node.to_owned(), Vec::new(), 30, Existing::Refuse);
        make_node(&NodeRequest { node, hosts, days, existing }, &place.join("authority"), &place.join("certificates"))?;
    }
    std::fs::create_dir(place.join("buses"))?;
    Ok(())
}

pub(crate) fn identity(place: &Path, name: &str) -> Result<Identity> {
    let certificates = place.join("certificates");
    let file = |name: &str| certificates.join(name);
    Ok(Identity::load(IdentityFiles {
        certificate: file(&format!("{name}.pem")),
        key: file(&format!("{name}.key")),
        authorities: file("authority.pem"),
        revoked: None,
    })?)
}

/// A bus without topics.
fn bus(place: &Path, name: &str) -> Result<Bus> {
    let bus = Bus::builder(name).root(place.join("buses")).open()?;
    for topic in bus.topics()? {
        bus.remove(&topic)?;
    }
    Ok(bus)
}

fn linger(is_polling: bool) -> Linger {
    if is_polling { Linger::Forever } else { Linger::default() }
}

async fn listen(place: &Path, bus: &Bus, name: &str, options: BridgeOptions) -> Result<Bridge> {
    let rule = Rule::new("*")?.pull(">".parse()?).push(">".parse()?);
    let listen = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let options = BridgeOptions { listen, allow: AllowList::new([rule]), ..options };
    let bridge = Bridge::start(bus, Arc::new(identity(place, name)?), options).await?;
    say(&bridge.local_address()?.to_string());
    Ok(bridge)
}

async fn connect(
    place: &Path,
    bus: &Bus,
    names: (&str, &str),
    address: &str,
    topics: (&str, &str),
    linger: Linger,
) -> Result<Bridge> {
    let flows = |topics: &str| -> Result<Vec<FlowOptions>> {
        Ok(if topics.is_empty() { Vec::new() } else { vec![FlowOptions::reliable(topics.parse()?)] })
    };
    let (pulls, pushes) = (flows(topics.0)?, flows(topics.1)?);
    let peer = PeerOptions { name: names.1.to_owned(), address: Some(address.to_owned()), pulls, pushes };
    let options = BridgeOptions { peers: vec![peer], linger, ..BridgeOptions::default() };
    Ok(Bridge::start(bus, Arc::new(identity(place, names.0)?), options).await?)
}

/// Has a topic of so many messages, and gives it.
pub(crate) async fn has(place: &Path, bytes: usize, count: u64) -> Result<()> {
    let bus = bus(place, "tokyo")?;
    let frame = (bytes as u64 + 8).next_multiple_of(64);
    let topic = bus.topic("t")?.capacity_bytes((frame * count).next_power_of_two()).open_or_create()?;
    let mut publisher = topic.publisher::<[u8]>().open()?;
    let mut payload = vec![7; bytes];
    for number in 0..count {
        payload[..8].copy_from_slice(&number.to_le_bytes());
        publisher.publish(&payload)?;
    }
    let _bridge = listen(place, &bus, "tokyo", BridgeOptions::default()).await?;
    std::future::pending().await
}

/// Waits until it has got so many messages, and says how long that took from the first on.
pub(crate) async fn gets(place: &Path, address: &str, count: u64) -> Result<()> {
    let bus = bus(place, "osaka")?;
    let topic = bus.topic("t")?.open_or_create()?;
    let mut newest = topic.subscriber::<[u8]>().latest().start(Start::Earliest).open()?;
    let _bridge = connect(place, &bus, ("osaka", "tokyo"), address, ("t", ""), Linger::default()).await?;
    let mut begun = None;
    loop {
        if let Some(sample) = newest.try_receive()? {
            let begun = *begun.get_or_insert_with(|| {
                say("begun");
                Instant::now()
            });
            if sample.first_chunk().map(|number| u64::from_le_bytes(*number)) == Some(count - 1) {
                say(&begun.elapsed().as_nanos().to_string());
                return std::future::pending().await;
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The next message, by polling or by waiting.
async fn next(subscriber: &mut Subscriber<[u8]>, is_polling: bool) -> Result<[u8; 64]> {
    if !is_polling {
        return Ok((*subscriber.receive_async().await?).try_into()?);
    }
    loop {
        if let Some(sample) = subscriber.try_receive()? {
            return Ok((*sample).try_into()?);
        }
        tokio::task::yield_now().await;
    }
}

/// Sends back on one topic what comes on the other.
pub(crate) async fn echoes(place: &Path, is_polling: bool) -> Result<()> {
    let bus = bus(place, "osaka")?;
    let there = bus.topic("there")?.open_or_create()?;
    let mut publisher: Publisher<[u8]> = bus.topic("back")?.open_or_create()?.publisher().open()?;
    let mut subscriber = there.subscriber::<[u8]>().start(Start::Earliest).open()?;
    let options = BridgeOptions { linger: linger(is_polling), ..BridgeOptions::default() };
    let _bridge = listen(place, &bus, "osaka", options).await?;
    loop {
        let message = next(&mut subscriber, is_polling).await?;
        publisher.publish(&message[..])?;
    }
}

/// So many round trips.
pub(crate) async fn pings(place: &Path, is_polling: bool, address: &str, trips: usize) -> Result<()> {
    let bus = bus(place, "tokyo")?;
    let mut publisher: Publisher<[u8]> = bus.topic("there")?.open_or_create()?.publisher().open()?;
    let back = bus.topic("back")?.open_or_create()?;
    let mut subscriber = back.subscriber::<[u8]>().start(Start::Earliest).open()?;
    let linger = linger(is_polling);
    let _bridge = connect(place, &bus, ("tokyo", "osaka"), address, ("back", "there"), linger).await?;
    let mut took = Vec::with_capacity(trips);
    for trip in 0..trips + WARM_UP {
        let begun = Instant::now();
        publisher.publish(&[7; 64][..])?;
        next(&mut subscriber, is_polling).await?;
        if trip >= WARM_UP {
            took.push(begun.elapsed().as_nanos() as f64);
        }
    }
    say_trips(took);
    Ok(())
}
