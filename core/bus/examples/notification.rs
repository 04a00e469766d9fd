//! The notification pattern: something happened, and everybody whom it concerns must hear of it, each at its own pace and none twice.
//! Run with `cargo run -p memlane --example notification`.
//!
//! A gateway halts and resumes trading; a router and a risk check must miss nothing, so they are gated and block; a display only shows what is so
//! now, so it takes the latest and holds nobody up. A watcher sees who listens.

#![forbid(unsafe_code)]

use memlane::{Bus, Event, Label, Message, Start, Topic, Wait};
use rkyv::{Archive, Serialize};
use std::error::Error;

/// What happened to an instrument.
#[derive(Archive, Serialize, Message)]
#[message(name = "trading.halt", version = 1)]
struct Halt {
    symbol: [u8; 8],
    is_halted: bool,
    /// The last one of the day.
    is_last: bool,
}

const DAY: [(&[u8; 8], bool); 4] =
    [(b"ZIEXT   ", true), (b"ZIEXT   ", false), (b"ZXIET   ", true), (b"ZXIET   ", false)];

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let root = tempfile::tempdir()?;
    let bus = Bus::builder("example").root(root.path()).open()?;
    let topic = bus.topic("trading.halts")?.capacity_bytes(1 << 16).message::<Halt>().open_or_create()?;
    let mut watcher = bus.watch("trading.>".parse()?);

    std::thread::scope(|scope| {
        // Each would be a process of its own. They join before anything happens, so they hear everything.
        let (router, risk) = (listen(&topic, "router")?, listen(&topic, "risk")?);
        let services = [scope.spawn(router), scope.spawn(risk)];
        let mut gateway = topic.publisher::<Halt>().label(Label::new("gateway")?).open()?;
        while let Some(event) = watcher.try_next()? {
            if let Event::Joined { participant, .. } = event {
                println!("{} is there, as {:?}", participant.label.name(), participant.role);
            }
        }
        for (index, (symbol, is_halted)) in DAY.into_iter().enumerate() {
            gateway.publish(&Halt { symbol: *symbol, is_halted, is_last: index + 1 == DAY.len() })?;
        }
        for service in services {
            assert_eq!(service.join().expect("it doesn't panic"), DAY.len());
        }
        Ok::<_, Box<dyn Error>>(())
    })?;

    let mut display = topic.subscriber::<Halt>().latest().start(Start::Latest).open()?;
    let now = display.receive()?;
    assert!(now.is_last && !now.is_halted);
    println!("the display, late, shows {}", describe(&now.symbol, now.is_halted));
    Ok(())
}

/// A service that hears of every halt, to the last.
fn listen(topic: &Topic, name: &'static str) -> Result<impl FnOnce() -> usize + Send + use<>, Box<dyn Error>> {
    let subscriber = topic.subscriber::<Halt>().wait(Wait::default()).label(Label::new(name)?);
    let mut subscriber = subscriber.open()?;
    Ok(move || {
        let mut heard = 0;
        loop {
            let halt = subscriber.receive().expect("nobody removes the topic");
            heard += 1;
            println!("{name}: {}", describe(&halt.symbol, halt.is_halted));
            if halt.is_last {
                return heard;
            }
        }
    })
}

fn describe(symbol: &[u8; 8], is_halted: bool) -> String {
    let symbol = String::from_utf8_lossy(symbol);
    format!("{} {}", symbol.trim_end(), if is_halted { "is halted" } else { "trades" })
}
