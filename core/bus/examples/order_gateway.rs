//! The command pattern: clients send commands, a gateway accepts or rejects each and streams what becomes of it. Run with
//! `cargo run -p memlane --example order_gateway`.

#![forbid(unsafe_code)]

use memlane::{Bus, CallError, Client, Message, Request, Server};
use rkyv::{Archive, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

/// What a client can ask for.
#[derive(Archive, Serialize, Message)]
#[message(name = "example.command", version = 1)]
enum Command {
    New { symbol: String, shares: u32, price: u64 },
    Cancel { order: u64 },
    Close,
}

/// What the gateway says to it.
#[derive(Archive, Serialize, Message)]
#[message(name = "example.event", version = 1)]
enum Event {
    Accepted { order: u64 },
    Filled { order: u64, shares: u32, price: u64 },
    Cancelled { order: u64, shares: u32 },
    Closed,
}

/// Codes of refusals.
const NO_SUCH_ORDER: u32 = 1;
const TOO_LARGE: u32 = 2;

const SHARES_MAX: u32 = 10_000;
const PATIENCE: Duration = Duration::from_secs(5);

/// Orders that rest, by number: shares that are left.
type Book = BTreeMap<u64, u32>;

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let root = tempfile::tempdir()?;
    let bus = Bus::builder("example").root(root.path()).open()?;
    let server = bus.server::<Command, Event>("orders").open()?;
    let gateway = std::thread::spawn(move || serve(server));

    let mut client = bus.client::<Command, Event>("orders").open()?;
    order(&mut client, "ZIEXT", 300)?;
    order(&mut client, "ZVZZT", 1_000_000)?;
    order(&mut client, "ZXZZT", 250)?;
    for order in [2, 7] {
        match client.call(&Command::Cancel { order }, PATIENCE) {
            Ok(event) => println!("cancel {order}: {}", told(&event)),
            Err(CallError::Refused { code, text }) => println!("cancel {order}: rejected, {text} (code {code})"),
            Err(error) => return Err(error.into()),
        }
    }
    println!("close: {}", told(&*client.call(&Command::Close, PATIENCE)?));
    let resting = gateway.join().map_err(|_| "the gateway panicked")??;
    println!("orders that rest: {resting:?}");
    assert_eq!(resting, Book::new());
    Ok(())
}

/// Sends an order and prints everything that becomes of it.
fn order(client: &mut Client<Command, Event>, symbol: &str, shares: u32) -> Result<(), Box<dyn Error>> {
    let command = Command::New { symbol: symbol.to_owned(), shares, price: 99_50 };
    let pending = client.send(&command)?;
    loop {
        match client.next(pending, PATIENCE) {
            Ok(Some(event)) => println!("{shares} {symbol}: {}", told(&event)),
            Ok(None) => return Ok(()),
            Err(CallError::Refused { code, text }) => {
                println!("{shares} {symbol}: rejected, {text} (code {code})");
                return Ok(());
            }
            // After `ServerDied` an order may stand or not: a gateway that is to be asked again needs numbers of the client's own.
            Err(error) => return Err(error.into()),
        }
    }
}

/// Serves until somebody closes; gives the orders that rest.
fn serve(mut server: Server<Command, Event>) -> Result<Book, memlane::ServerError> {
    let (mut book, mut orders) = (Book::new(), 0);
    loop {
        let request = server.receive()?;
        let is_last = matches!(*request, ArchivedCommand::Close);
        if let Err(error) = carry_out(request, &mut book, &mut orders) {
            // Its client is gone, or doesn't read: that is no reason to stop.
            println!("gateway: {error}");
        }
        if is_last {
            return Ok(book);
        }
    }
}

fn carry_out(
    mut request: Request<'_, Command, Event>,
    book: &mut Book,
    orders: &mut u64,
) -> Result<(), memlane::ReplyError> {
    match *request {
        ArchivedCommand::New { shares, price, .. } => {
            let (shares, price) = (shares.to_native(), price.to_native());
            if shares > SHARES_MAX {
                return request.reply_error(TOO_LARGE, "more shares than anybody may buy at once");
            }
            *orders += 1;
            let order = *orders;
            request.send(&Event::Accepted { order })?;
            // A hundred at a time; what is left over rests.
            for _ in 0..shares / 100 {
                request.send(&Event::Filled { order, shares: 100, price })?;
            }
            if shares % 100 > 0 {
                book.insert(order, shares % 100);
            }
            request.finish()
        }
        ArchivedCommand::Cancel { order } => {
            let order = order.to_native();
            match book.remove(&order) {
                Some(shares) => request.reply(&Event::Cancelled { order, shares }),
                None => request.reply_error(NO_SUCH_ORDER, "no such order rests"),
            }
        }
        ArchivedCommand::Close => request.reply(&Event::Closed),
    }
}

fn told(event: &ArchivedEvent) -> String {
    match event {
        ArchivedEvent::Accepted { order } => format!("accepted as order {order}"),
        ArchivedEvent::Filled { shares, price, .. } => format!("{shares} filled at {price}"),
        ArchivedEvent::Cancelled { shares, .. } => format!("{shares} shares taken back"),
        ArchivedEvent::Closed => "the gateway closes".to_owned(),
    }
}
