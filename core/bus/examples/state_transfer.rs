//! State transfer: a late joiner gets the book of last quotes, and then the live feed. Run with
//! `cargo run -p memlane --example state_transfer`.

#![forbid(unsafe_code)]

use memlane::{Bus, Message, Publisher, Received};
use rkyv::{Archive, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

#[derive(Archive, Serialize, Message)]
#[message(name = "md.quote", version = 1)]
struct Quote {
    bid: i64,
    ask: i64,
}

/// The newest quote of each symbol: bid and ask.
type Book = BTreeMap<String, (i64, i64)>;

fn apply(book: &mut Book, quote: &Received<'_, Quote>) -> Result<(), Box<dyn Error>> {
    let symbol = quote.key()?.ok_or("a quote without a symbol")?;
    book.insert(String::from_utf8(symbol.to_vec())?, (quote.view.bid.to_native(), quote.view.ask.to_native()));
    Ok(())
}

fn publish(feed: &mut Publisher<Quote>, symbol: &str, bid: i64) -> Result<u64, Box<dyn Error>> {
    let quote = Quote { bid, ask: bid + 1 };
    Ok(feed.message().key(symbol.as_bytes())?.publish_within(&quote, Duration::from_secs(1))?)
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let root = tempfile::tempdir()?;
    let bus = Bus::builder("example").root(root.path()).open()?;
    // A small ring: what it keeps as history is gone soon, the last quote of each symbol isn't.
    let topic = bus.topic("md.quotes")?.capacity_bytes(1 << 16).last_values(1_000, 128);
    let topic = topic.message::<Quote>().open_or_create()?;
    let mut feed = topic.publisher::<Quote>().open()?;
    publish(&mut feed, "RARE", 7)?;
    for bid in 0..10_000 {
        publish(&mut feed, ["ZIEXT", "ZVZZT"][bid as usize % 2], bid)?;
    }

    // A late joiner: the book as it is at a position of the log ..
    let (quotes, mut subscriber) = topic.subscriber::<Quote>().open_with_last_values()?;
    let mut book = Book::new();
    for quote in quotes.iter() {
        apply(&mut book, &quote?)?;
    }
    println!("the book at position {}: {book:?}", quotes.position());
    assert_eq!(book["RARE"], (7, 8));
    assert_eq!((book["ZIEXT"], book["ZVZZT"]), ((9_998, 9_999), (9_999, 10_000)));

    // .. and then every quote from there on, without a gap.
    publish(&mut feed, "RARE", 8)?;
    let quote = subscriber.receive()?;
    apply(&mut book, &quote.received())?;
    println!("then, at position {}: {book:?}", quote.position());
    assert_eq!(book["RARE"], (8, 9));
    Ok(())
}
