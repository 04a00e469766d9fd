//! Publishes a trade a second: `cargo run --release -p memlane --example publish`. Beside it: the example `subscribe`.

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
    let mut publisher = topic.publisher::<Trade>().open()?;
    for size in (100..).step_by(100).take(60) {
        let position = publisher.publish(&Trade { price: 123_400, size, symbol: *b"ZIEXT   " })?;
        println!("published {size} shares at position {position}");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    Ok(())
}
