//! Waiting on many topics: by a selector, by a pattern, and in tasks. Run with `cargo run -p memlane --example many_topics`.

#![forbid(unsafe_code)]

use memlane::{Bus, Selector, Topic};
use std::error::Error;
use std::time::Duration;

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let root = tempfile::tempdir()?;
    let bus = Bus::builder("example").root(root.path()).open()?;
    let topic = |venue: &str| -> Result<Topic, Box<dyn Error>> {
        Ok(bus.topic(&format!("md.{venue}.trades"))?.capacity_bytes(1 << 16).open_or_create()?)
    };
    let (nasdaq, nyse, bats) = (topic("xnas")?, topic("xnys")?, topic("bats")?);

    // One subscriber for all topics that match, also for those that are made later.
    let mut all = bus.subscribe::<[u8]>("md.*.trades".parse()?).open()?;

    // A selector over subscribers of any kinds and types.
    let (mut first, mut second) = (nasdaq.subscriber::<[u8]>().open()?, nyse.subscriber::<[u8]>().latest().open()?);
    nyse.publisher::<[u8]>().open()?.publish(b"100 at 20.50")?;
    let mut selector = Selector::new(&bus);
    match selector.select(&mut [&mut first, &mut second], Some(Duration::from_secs(1))) {
        Some(0) => println!("nasdaq: {:?}", first.try_receive()?),
        Some(_) => println!("nyse: {:?}", second.try_receive()?.as_deref().map(String::from_utf8_lossy)),
        None => println!("nothing within a second"),
    }
    let (topic, trade) = all.receive()?;
    println!("{topic}: {}", String::from_utf8_lossy(&trade));
    drop(trade);

    // A task that waits without blocking its thread.
    let (mut publisher, mut subscriber) = (bats.publisher::<[u8]>().open()?, bats.subscriber::<[u8]>().open()?);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        publisher.publish_async(b"7 at 99").await?;
        println!("bats: {}", String::from_utf8_lossy(&subscriber.receive_async().await?));
        Ok::<_, Box<dyn Error>>(())
    })
}
