//! Request–reply: a call there and its reply back, over a connection.

use super::round_trip::{CHANGED, CUT, PATIENCE, SILENCE, sum_of_filled};
use super::{Side, Stage, size_text};
use crate::bench::lane::{Kind, Lane, Watch};
use crate::bench::latencies::{Recorded, Recorder};
use crate::bench::reference::payload::sum_of_words;
use memlane::{Client, Server, Wait};
use memlane_shm::clock::Ticker;
use memlane_shm::sync::WORD_BYTES;

/// Calls of `WORDS` times eight bytes each way, written and read whole.
#[derive(Debug)]
pub struct Calls<const WORDS: usize> {
    end: End,
    number: u64,
    /// If latencies are recorded, and not only the time of a batch.
    recorder: Option<(Ticker, Recorder)>,
}

#[derive(Debug)]
enum End {
    Client(Box<Client<[u8], [u8]>>),
    Server(Box<Server<[u8], [u8]>>),
}

impl<const WORDS: usize> Calls<WORDS> {
    /// A client on the first core and a server on the second, of a service called `service`.
    ///
    /// # Errors
    /// If they can't be opened.
    pub fn new(stage: &Stage, service: &str) -> anyhow::Result<Self> {
        let end = match stage.side() {
            Side::Initiator => End::Client(Box::new(stage.bus().client(service).wait(Wait::BusySpin).open()?)),
            Side::Responder => End::Server(Box::new(stage.bus().server(service).wait(Wait::BusySpin).open()?)),
        };
        Ok(Self { end, number: 0, recorder: None })
    }

    /// The same, with a stamp after each call, which is the start of the next too.
    #[must_use]
    pub fn by_call(mut self) -> Self {
        self.recorder = Some((Ticker::best(), Recorder::default()));
        self
    }
}

/// Reads all of a message.
#[inline(always)]
fn check<const WORDS: usize>(message: &[u8], number: u64) -> anyhow::Result<()> {
    let Some(message) = message.get(..WORDS * WORD_BYTES) else { anyhow::bail!(CUT) };
    anyhow::ensure!(sum_of_words(message) == sum_of_filled(WORDS * WORD_BYTES, number), CHANGED);
    Ok(())
}

#[inline(always)]
fn call<const WORDS: usize>(client: &mut Client<[u8], [u8]>, number: u64) -> anyhow::Result<()> {
    let mut payload = [[0; WORD_BYTES]; WORDS];
    payload.fill(number.to_le_bytes());
    check::<WORDS>(&client.call(payload.as_flattened(), PATIENCE)?, number)
}

impl<const WORDS: usize> Lane for Calls<WORDS> {
    fn name(&self) -> String {
        let by_call = if self.recorder.is_some() { ", by call" } else { "" };
        format!("memlane call {}{by_call}", size_text(WORDS * WORD_BYTES))
    }

    fn kind(&self) -> Kind {
        Kind::Handoff
    }

    fn initiator(&mut self, count: u64, _: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let Self { end: End::Client(client), number, recorder } = self else { anyhow::bail!("the other side calls") };
        if client.servers() == 0 {
            anyhow::ensure!(client.wait_for_server(PATIENCE)?, SILENCE);
        }
        let Some((ticker, recorder)) = recorder else {
            for _ in 0..count {
                *number += 1;
                call::<WORDS>(client, *number)?;
            }
            return Ok(None);
        };
        let mut stamps = Vec::with_capacity(usize::try_from(count)? + 1);
        stamps.push(ticker.now());
        for _ in 0..count {
            *number += 1;
            call::<WORDS>(client, *number)?;
            stamps.push(ticker.now());
        }
        recorder.record_differences(&stamps);
        Ok(Some(recorder.take()))
    }

    fn responder(&mut self, count: u64, _: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let Self { end: End::Server(server), number, .. } = self else { anyhow::bail!("the other side answers") };
        for _ in 0..count {
            *number += 1;
            let Some(request) = server.receive_within(PATIENCE)? else { anyhow::bail!(SILENCE) };
            check::<WORDS>(&request, *number)?;
            let mut payload = [[0; WORD_BYTES]; WORDS];
            payload.fill(number.to_le_bytes());
            request.reply(payload.as_flattened())?;
        }
        Ok(None)
    }
}
