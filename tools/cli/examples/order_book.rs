//! An order book as a journaled service builds it: live, out of the journal, and out of a snapshot and what came after it. All three are the same.
//!
//! `cargo run --release -p memlane-cli --example order_book [-- CAPTURE]`, where CAPTURE is a pcap file of IEX DEEP; without one a feed is made up.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, anyhow, bail};
use memlane::journal::{Disk, From, Journal, RecorderOptions, Turn};
use memlane::{Bus, Publisher, Start, Subscriber, Topic};
use memlane_cli::capture::{self, deep::DeepMessage};
use memlane_cli::feed::Feed;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const MADE_UP_MESSAGES: u64 = 400_000;
const BUY: u8 = b'8';
const SELL: u8 = b'5';

fn main() -> Result<()> {
    let capture = std::env::args_os().nth(1).map(PathBuf::from);
    println!("{}", compare(capture.as_deref())?);
    Ok(())
}

/// Builds the book in the three ways; what to tell of it.
pub(crate) fn compare(capture: Option<&Path>) -> Result<String> {
    let root = tempfile::tempdir_in("/dev/shm")?;
    let disk = tempfile::tempdir()?;
    let topic = Bus::builder("order_book").root(root.path()).open()?.topic("md.deep")?.capacity_bytes(1 << 20);
    let topic = topic.stamps(true).create()?;
    let (mut recorder, _) = topic.record(disk.path(), RecorderOptions::default())?;
    let journal = Journal::open(Arc::new(Disk), disk.path())?;

    let subscriber = topic.subscriber().start(Start::Earliest).open()?;

    let (published, total) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let is_over = AtomicBool::new(false);
    let (live, replayed) = std::thread::scope(|scope| -> Result<(Book, Book)> {
        // The recorder, as `memlane record` runs it.
        scope.spawn(|| recorder.run(&is_over, |_, turn| assert!(!matches!(turn, Turn::Failing(_)), "{turn:?}")));
        let service = scope.spawn(|| serve(subscriber, &journal, &total));
        let late = scope.spawn(|| {
            while total.load(Ordering::Relaxed) == u64::MAX && published.load(Ordering::Relaxed) < MADE_UP_MESSAGES / 2
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            replay(&topic, &journal, &total)
        });
        let sent = publish(topic.publisher().open()?, capture, &published);
        // Also if that failed, for nobody waits for ever.
        total.store(published.load(Ordering::Relaxed), Ordering::Relaxed);
        let books = (service.join(), late.join());
        is_over.store(true, Ordering::Relaxed);
        sent?;
        Ok((
            books.0.map_err(|_| anyhow!("the service panicked"))??,
            books.1.map_err(|_| anyhow!("the replay panicked"))??,
        ))
    })?;

    // One that begins with the newest snapshot.
    let snapshot = journal.snapshots("book")?.load()?.context("of fewer than 50,000 messages there is no snapshot")?;
    let mut restored = Book::decode(&snapshot.state)?;
    let (position, known) = (snapshot.position, restored.messages);
    let mut subscriber = topic.subscriber::<[u8]>().replay(&journal, From::Position(position)).open()?;
    while restored.messages < live.messages {
        follow(&mut subscriber, &mut restored)?;
    }
    if live != replayed || live != restored {
        bail!("the books differ");
    }
    let symbols = live.levels.keys().map(|(symbol, ..)| symbol).collect::<std::collections::BTreeSet<_>>().len();
    Ok(format!(
        "{} messages, {} price levels of {symbols} symbols; {}\nthe same live, replayed, and from the snapshot at position {position} with {} messages after it",
        live.messages,
        live.levels.len(),
        live.best(),
        live.messages - known,
    ))
}

/// A service that is there from the beginning, and saves its state now and then.
fn serve(mut subscriber: Subscriber<[u8]>, journal: &Journal, total: &AtomicU64) -> Result<Book> {
    let mut snapshots = journal.snapshots("book")?;
    let mut book = Book::default();
    while book.messages < total.load(Ordering::Relaxed) {
        follow(&mut subscriber, &mut book)?;
        if book.messages % 100_000 == 50_000 {
            snapshots.save(subscriber.position(), &book.encode())?;
        }
    }
    Ok(book)
}

/// One that comes late, reads the journal from its beginning, and goes on live.
fn replay(topic: &Topic, journal: &Journal, total: &AtomicU64) -> Result<Book> {
    let mut subscriber = topic.subscriber::<[u8]>().replay(journal, From::Earliest).open()?;
    let mut book = Book::default();
    while book.messages < total.load(Ordering::Relaxed) {
        follow(&mut subscriber, &mut book)?;
    }
    Ok(book)
}

/// Publishes the capture, or what is made up.
fn publish(mut publisher: Publisher<[u8]>, capture: Option<&Path>, published: &AtomicU64) -> Result<()> {
    let mut one = |message: &[u8]| -> Result<()> {
        publisher.publish_within(message, Duration::from_secs(60))?;
        published.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    match capture {
        Some(path) => {
            let mut capture = capture::open(path)?;
            while let Some(message) = capture.next_message() {
                one(message?.bytes)?;
            }
        }
        None => {
            let mut feed = Feed::new(7);
            for _ in 0..MADE_UP_MESSAGES {
                one(feed.next_message().1)?;
            }
        }
    }
    Ok(())
}

/// Takes the next message into the book, if one comes soon.
fn follow(subscriber: &mut Subscriber<[u8]>, book: &mut Book) -> Result<()> {
    if let Some(message) = subscriber.receive_within(Duration::from_millis(10))? {
        book.take(&message)?;
    }
    Ok(())
}

/// Shares wanted and offered, by symbol, side and price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Book {
    /// How many messages it is made of.
    messages: u64,
    levels: BTreeMap<(String, u8, i64), u32>,
}

impl Book {
    fn take(&mut self, message: &[u8]) -> Result<()> {
        self.messages += 1;
        let message = DeepMessage::parse(message)?;
        let (BUY | SELL, Some(symbol), Some(size), Some(price)) =
            (message.kind, message.symbol, message.size, message.price)
        else {
            return Ok(());
        };
        let level = (symbol.to_owned(), message.kind, price.0);
        match size {
            0 => drop(self.levels.remove(&level)),
            size => drop(self.levels.insert(level, size)),
        }
        Ok(())
    }

    /// The best prices of the symbol with the most levels.
    fn best(&self) -> String {
        let mut counts = BTreeMap::new();
        self.levels.keys().for_each(|(symbol, ..)| *counts.entry(symbol).or_insert(0) += 1);
        let Some((symbol, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return "it is empty".into() };
        let of = |side: u8| self.levels.range((symbol.clone(), side, i64::MIN)..=(symbol.clone(), side, i64::MAX));
        let show = |level: Option<(&(String, u8, i64), &u32)>| {
            level.map_or("-".to_owned(), |((.., price), size)| format!("{size} @ {}", capture::deep::Price(*price)))
        };
        format!("{symbol}: {} | {}", show(of(BUY).next_back()), show(of(SELL).next()))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.messages.to_le_bytes().to_vec();
        for ((symbol, side, price), size) in &self.levels {
            bytes.extend_from_slice(format!("{symbol:8}").as_bytes());
            bytes.push(*side);
            bytes.extend_from_slice(&price.to_le_bytes());
            bytes.extend_from_slice(&size.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let (messages, levels) = bytes.split_first_chunk().context("a snapshot begins with a count")?;
        let (levels, rest) = levels.as_chunks::<21>();
        if !rest.is_empty() {
            bail!("a snapshot has whole levels");
        }
        let level = |level: &[u8; 21]| -> Result<_> {
            let symbol = std::str::from_utf8(&level[..8])?.trim_end().to_owned();
            let (price, size) =
                (i64::from_le_bytes(level[9..17].try_into()?), u32::from_le_bytes(level[17..].try_into()?));
            Ok(((symbol, level[8], price), size))
        };
        Ok(Self { messages: u64::from_le_bytes(*messages), levels: levels.iter().map(level).collect::<Result<_>>()? })
    }
}
