//! Clients and servers that check each other: every call ends with the right reply, or with an error.
//!
//! A request is (client, number, what to do with it), a reply is (number × 3 + client, the server's process id). Each server writes down what
//! it handled, each client what it got a reply to, in files that all of them append to.

use super::{Prompt, say, say_ready};
use crate::random::Random;
use crate::role::{Ask, Place, Report, Serve};
use crate::stage::PATIENCE;
use memlane::{CallError, Client, Request, Wait};
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

/// What a server does with a request: the last byte of it.
pub mod manner {
    /// Replies.
    pub const PLAIN: u8 = 0;
    /// Replies in parts.
    pub const PARTS: u8 = 1;
    /// Refuses, with the number as code.
    pub const REFUSE: u8 = 2;
    /// Drops it.
    pub const DROP: u8 = 3;
    /// Replies later.
    pub const LATER: u8 = 4;
    /// Says so, and holds it for ever.
    pub const HOLD: u8 = 5;
    /// Waits until it is cancelled, and says so.
    pub const UNTIL_CANCELLED: u8 = 6;
}

/// Parts of a reply in parts.
const PARTS: u64 = 5;

/// A request.
#[must_use]
pub fn request(client: u64, number: u64, manner: u8) -> [u8; 17] {
    let mut bytes = [manner; 17];
    bytes[..8].copy_from_slice(&client.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn number_at(bytes: &[u8], at: usize) -> anyhow::Result<u64> {
    let bytes = bytes.get(at..at + 8).ok_or_else(|| anyhow::anyhow!("a message was cut"))?;
    Ok(u64::from_le_bytes(bytes.try_into()?))
}

/// The process id of the server whose reply to `number` of `client` this is.
///
/// # Errors
/// If it is no such reply.
pub fn server_of(reply: &[u8], client: u64, number: u64) -> anyhow::Result<u64> {
    let expected = number * 3 + client;
    anyhow::ensure!(number_at(reply, 0)? == expected, "{reply:?} is no reply to request {number} of client {client}");
    number_at(reply, 8)
}

fn ledger(place: &Place, name: &str) -> anyhow::Result<File> {
    Ok(File::options().append(true).create(true).open(place.root.join(name))?)
}

pub(super) fn serve(plan: &Serve) -> anyhow::Result<()> {
    let spins = if plan.is_sleepy { 10 } else { 300 };
    let server = plan.place.bus()?.server::<[u8], [u8]>(&plan.place.topic);
    let mut server = server.wait(Wait::Block { spins }).open()?;
    let mut handled = ledger(&plan.place, "handled")?;
    say_ready()?;
    let prompt = Prompt::listen();
    let mut count = 0;
    while !prompt.says_stop() {
        let Some(request) = server.receive_within(Duration::from_millis(20))? else { continue };
        count += 1;
        handled.write_all(&request[..16])?;
        if plan.work_us > 0 {
            std::thread::sleep(Duration::from_micros(plan.work_us));
        }
        if let Some((detached, reply)) = handle(request)?
            && let Ok(answer) = server.answer(detached)
        {
            // Its client may be dead.
            let _ = answer.reply(&reply);
        }
    }
    say(&Report::Answer(Ok(count)))
}

type Later = (memlane::Detached, [u8; 16]);

/// Its client may be dead: that a reply isn't taken is no fault.
fn handle(mut request: Request<'_, [u8], [u8]>) -> anyhow::Result<Option<Later>> {
    let (client, number, manner) = (number_at(&request, 0)?, number_at(&request, 8)?, request[16]);
    let mut reply = [0; 16];
    reply[..8].copy_from_slice(&(number * 3 + client).to_le_bytes());
    reply[8..].copy_from_slice(&u64::from(std::process::id()).to_le_bytes());
    match manner {
        manner::PARTS => {
            for _ in 0..PARTS {
                let _ = request.send(&reply);
            }
            let _ = request.finish();
        }
        manner::REFUSE => drop(request.reply_error(number as u32, "as you wish")),
        manner::DROP => drop(request),
        manner::LATER => return Ok(Some((request.detach(), reply))),
        manner::HOLD => {
            say(&Report::Answer(Ok(number)))?;
            loop {
                std::thread::sleep(PATIENCE);
            }
        }
        manner::UNTIL_CANCELLED => {
            let start = Instant::now();
            while !request.is_cancelled() {
                anyhow::ensure!(start.elapsed() < PATIENCE, "nobody cancels");
                std::thread::sleep(Duration::from_micros(100));
            }
            say(&Report::Answer(Ok(number)))?;
        }
        _ => drop(request.reply(&reply)),
    }
    Ok(None)
}

pub(super) fn ask(plan: &Ask) -> anyhow::Result<()> {
    let spins = if plan.is_sleepy { 10 } else { 300 };
    let client = plan.place.bus()?.client::<[u8], [u8]>(&plan.place.topic);
    let mut client = client.wait(Wait::Block { spins }).open()?;
    let mut answered = ledger(&plan.place, "answered")?;
    let mut random = Random::new(plan.client);
    say_ready()?;
    let prompt = Prompt::listen();
    let (mut replies, mut longest) = (0, Duration::ZERO);
    let mut number = 0;
    while !prompt.says_stop() && (plan.calls == 0 || replies < plan.calls) {
        number += 1;
        let start = Instant::now();
        match once(&mut client, plan, number, &mut random)? {
            Ok(()) => {
                replies += 1;
                let mut line = [0; 16];
                line[..8].copy_from_slice(&plan.client.to_le_bytes());
                line[8..].copy_from_slice(&number.to_le_bytes());
                answered.write_all(&line)?;
            }
            Err(CallError::NoServer) => drop(client.wait_for_server(Duration::from_millis(100))?),
            Err(CallError::ServerDied) => {}
            // Nothing else may happen to a call, whoever dies.
            Err(error) => anyhow::bail!("call {number} of client {}: {error}", plan.client),
        }
        longest = longest.max(start.elapsed());
        if plan.is_sleepy {
            let until = Instant::now() + random.time_below(Duration::from_micros(30));
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
    }
    eprintln!("client {}: {replies} replies, the longest took {longest:?}", plan.client);
    say(&Report::Answer(Ok(replies)))
}

/// One call of a random manner; whether it ended as it must.
fn once(
    client: &mut Client<[u8], [u8]>,
    plan: &Ask,
    number: u64,
    random: &mut Random,
) -> anyhow::Result<Result<(), CallError>> {
    let manners = [manner::PLAIN, manner::PARTS, manner::REFUSE, manner::DROP, manner::LATER];
    let manner = if plan.is_mixed { *random.one_of(&manners) } else { manner::PLAIN };
    let message = request(plan.client, number, manner);
    if manner == manner::PLAIN && random.below(2) == 0 {
        return match client.call(&message, PATIENCE) {
            Ok(reply) => server_of(&reply, plan.client, number).map(|_| Ok(())),
            Err(error) => Ok(Err(error)),
        };
    }
    let pending = match client.send_within(&message, PATIENCE) {
        Ok(pending) => pending,
        Err(error) => return Ok(Err(error)),
    };
    let mut parts = 0;
    loop {
        match client.next(pending, PATIENCE) {
            Ok(Some(reply)) => {
                server_of(&reply, plan.client, number)?;
                parts += 1;
                if !reply.is_part() {
                    anyhow::ensure!(parts == 1 && manner != manner::PARTS, "a reply of {parts} parts");
                    return Ok(Ok(()));
                }
            }
            Ok(None) => {
                anyhow::ensure!(parts == PARTS && manner == manner::PARTS, "a reply of {parts} parts");
                return Ok(Ok(()));
            }
            Err(CallError::Refused { code, .. }) if manner == manner::REFUSE && code == number as u32 => {
                return Ok(Ok(()));
            }
            Err(CallError::Unanswered) if manner == manner::DROP => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
    }
}
