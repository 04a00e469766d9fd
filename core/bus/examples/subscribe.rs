//! Prints trades as they come: `cargo run --release -p memlane --example subscribe`. Beside it: the example `publish`.

#![forbid(unsafe_code)]

use memlane::{Bus, Message};
use rkyv::{Archive, Serialize};

#[derive(Archive, Serialize, Message)]
#[message(name = "md.trade", version = 1)]
struct Trade {
    price: i64,
    size: u32,
    symbol: [u8; 8],
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let topic = Bus::open("default")?.topic("md.trades")?.message::<Trade>().open_or_create()?;
    let mut subscriber = topic.subscriber::<Trade>().open()?;
    println!("waiting for trades");
    loop {
        let trade = subscriber.receive()?;
        println!("{} shares at {} (position {})", trade.size, trade.price, trade.position());
    }
}
