//! Reads a topic's messages in runs, without holding anyone up.

use crate::backfill::{Backfill, Plan};
use crate::error::{OpenError, ReceiveError};
use crate::topic::Topic;
use crate::waiter::Listener;
use core::ops::Range;
use core::task::Poll;
use memlane_journal::{From, Journal, JournalError};
use memlane_ring::extension::{Fields, Malformed, Parts};
use memlane_ring::layout::{FLAG_EXTENSIONS, FRAME_HEADER_BYTES, Geometry, StateWord};
use memlane_ring::{Awaited, Found, FrameShape, Lossy, ReadError, Start, TopicError};
use memlane_shm::clock::Calibration;
use std::future::poll_fn;
use std::path::PathBuf;

/// Reads all messages of a topic from a position on, in its order, whatever their type: from the ring, and where that has let go, from its journal, if there is one. Nobody is held up.
///
/// ```
/// use memlane::replication::Followed;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let root = memlane::doc_root();
/// # let topic = memlane::Bus::builder("follow").root(&root).open()?.topic("t")?.open_or_create()?;
/// let mut follower = topic.follow(None, memlane::Start::Earliest)?;
/// topic.publisher::<[u8]>().open()?.publish(b"hello")?;
/// let mut contents = Vec::new();
/// let followed = follower.turn(64 << 10, |message| contents.push(message.content.to_vec()))?;
/// assert!(matches!(followed, Followed::Run(run) if run.end == follower.position()));
/// assert_eq!(contents, [b"hello"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Follower {
    log: Reading,
    /// What was asked for and is gone, until it is told.
    lost: Option<Range<u64>>,
    look: Look,
    directory: PathBuf,
    listener: Option<Listener>,
}

/// Where it reads.
#[derive(Debug)]
enum Reading {
    Ring(Box<Lossy>),
    Backfilled(Box<Backfill>),
}

impl Reading {
    fn live(&self) -> &Lossy {
        match self {
            Self::Ring(lossy) => lossy,
            Self::Backfilled(backfill) => backfill.live(),
        }
    }

    fn position(&self) -> u64 {
        self.live().position()
    }
}

/// How messages are taken apart, and where a run is copied to.
#[derive(Debug)]
struct Look {
    geometry: Geometry,
    calibration: Calibration,
    bytes: Vec<u8>,
}

/// What a look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// These positions: each message that begins in them was handed over, the rest is padding.
    Run(Range<u64>),
    /// These positions aren't there any more.
    Lost(Range<u64>),
    /// There is nothing yet.
    Nothing,
}

/// A message as it lies in the log.
#[derive(Clone, Debug)]
pub struct FollowedMessage<'a> {
    /// Its position.
    pub position: u64,
    /// When it was published, in nanoseconds since 1970; zero if the topic has no stamps.
    pub unix_ns: u64,
    /// Whether extensions come before its payload.
    pub has_extensions: bool,
    /// Extensions and payload.
    pub content: &'a [u8],
    /// Its extensions.
    ///
    /// Errors: [`Malformed`], if its publisher wrote what can't be read.
    pub fields: Result<Fields<'a>, Malformed>,
}

impl Topic {
    /// Reads all its messages from `start` on, also those that its `journal` has, if that is given.
    ///
    /// What isn't there any more of what was asked for comes as [`Followed::Lost`]. Cost: about ten system calls. Errors: [`OpenError`];
    /// [`TopicError::NoSuchPosition`] if `start` lies behind the topic's end.
    pub fn follow(&self, journal: Option<&Journal>, start: Start) -> Result<Follower, OpenError> {
        let (log, lost) = match journal {
            None => self.follow_ring(start)?,
            Some(journal) => self.follow_journal(journal, start)?,
        };
        let header = self.log().header();
        let (geometry, calibration) = (*self.log().geometry(), header.calibration);
        let look = Look { geometry, calibration, bytes: Vec::new() };
        Ok(Follower { log, lost, look, directory: self.log().bus_directory().to_path_buf(), listener: None })
    }

    fn follow_ring(&self, start: Start) -> Result<(Reading, Option<Range<u64>>), OpenError> {
        match self.log().lossy(self.map(), start) {
            Ok(lossy) => Ok((Reading::Ring(lossy.into()), None)),
            Err(TopicError::NoSuchPosition { position, from, .. }) if position < from => {
                let lossy = self.log().lossy(self.map(), Start::Earliest)?;
                let lost = position..lossy.position();
                Ok((Reading::Ring(lossy.into()), Some(lost)))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn follow_journal(&self, journal: &Journal, start: Start) -> Result<(Reading, Option<Range<u64>>), OpenError> {
        let from = match start {
            Start::Earliest => Some(From::Earliest),
            Start::Position(position) => {
                let (from, to) = self.snapshot().map(|topic| (topic.head, topic.tail))?;
                if position > to {
                    return Err(TopicError::NoSuchPosition { position, from, to }.into());
                }
                Some(From::Position(position))
            }
            Start::Live | Start::Latest => None,
        };
        match Backfill::open(self, Plan::backfilled(journal, from), start) {
            Ok(backfill) => Ok((Reading::Backfilled(Box::new(backfill)), None)),
            Err(OpenError::Journal(JournalError::NotRetained { .. })) => {
                let backfill = Backfill::open(self, Plan::backfilled(journal, Some(From::Earliest)), start)?;
                let lost = match start {
                    Start::Position(position) => Some(position..backfill.live().position()),
                    _ => None,
                };
                Ok((Reading::Backfilled(Box::new(backfill)), lost))
            }
            Err(error) => Err(error),
        }
    }
}

impl Follower {
    /// Hands the messages that follow to `each`, as far as they lie together, of about `bytes_max` bytes of the log; at least one, if there is one. Never waits.
    ///
    /// Cost: a copy of the run out of the ring, or the sum of a batch of the journal, and a look at each header. Errors: [`ReceiveError`], but for a loss.
    pub fn turn(
        &mut self,
        bytes_max: u64,
        mut each: impl FnMut(FollowedMessage<'_>),
    ) -> Result<Followed, ReceiveError> {
        if let Some(lost) = self.lost.take() {
            return Ok(Followed::Lost(lost));
        }
        let (look, from) = (&mut self.look, self.log.position());
        let run = match &mut self.log {
            Reading::Ring(lossy) => look.ring_run(lossy, bytes_max, &mut each).map_err(ReceiveError::from),
            Reading::Backfilled(backfill) => look.run(backfill, bytes_max, &mut each),
        };
        match run {
            // Where padding comes first, it begins there.
            Ok(Some(run)) => Ok(Followed::Run(from.min(run.start)..run.end)),
            Ok(None) => Ok(Followed::Nothing),
            Err(ReceiveError::Lost { from, to }) => Ok(Followed::Lost(from..to)),
            Err(error) => Err(error),
        }
    }

    /// Where it reads next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.log.position()
    }

    /// Whether a turn would come to something.
    pub fn has_news(&mut self) -> bool {
        self.lost.is_some()
            || match &mut self.log {
                Reading::Ring(lossy) => lossy.has_news(),
                Reading::Backfilled(backfill) => backfill.has_news(None),
            }
    }

    /// Waits until a turn would come to something. It may be dropped at any time.
    ///
    /// Cost: as of waiting in a task for a message.
    pub async fn news(&mut self) {
        poll_fn(|context| {
            if self.has_news() {
                return Poll::Ready(());
            }
            let position = self.position();
            if self.listener.is_none() {
                self.listener = Some(Listener::for_news(self.live().watch(), &self.directory));
            }
            if let Some(listener) = &self.listener {
                listener.arm(position, context.waker());
            }
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn live(&self) -> &Lossy {
        self.log.live()
    }

    /// What a thread that waits for many topics sleeps on.
    #[must_use]
    pub fn awaited(&self) -> Awaited<'_> {
        self.live().awaited()
    }
}

impl Look {
    fn run(
        &mut self,
        backfill: &mut Backfill,
        bytes_max: u64,
        each: &mut impl FnMut(FollowedMessage<'_>),
    ) -> Result<Option<Range<u64>>, ReceiveError> {
        loop {
            if backfill.is_live() {
                match self.ring_run(backfill.live_mut(), bytes_max, each) {
                    Err(ReadError::Lost { from, to }) => backfill.go_back(from, to)?,
                    run => return Ok(run?),
                }
            }
            let geometry = self.geometry;
            let run = backfill.journal_run(|calibration, position, word, body| {
                each(message(&geometry, calibration, position, word, body));
            })?;
            if run.is_some() {
                return Ok(run);
            }
        }
    }

    fn ring_run(
        &mut self,
        lossy: &mut Lossy,
        bytes_max: u64,
        each: &mut impl FnMut(FollowedMessage<'_>),
    ) -> Result<Option<Range<u64>>, ReadError> {
        let Some(run) = lossy.poll_run(bytes_max, &mut self.bytes)? else { return Ok(None) };
        let shape = FrameShape::of_geometry(&self.geometry);
        let bytes = &self.bytes[..(run.end - run.start) as usize];
        let mut at = 0;
        while at < bytes.len() {
            let position = run.start + at as u64;
            // It was looked at where it lay, and is as it was.
            let frame = match shape.look(position, &bytes[at..]) {
                Some(Found::Message(word, frame)) => {
                    let body = &bytes[at + FRAME_HEADER_BYTES as usize..][..word.length() as usize];
                    each(message(&self.geometry, &self.calibration, position, word, body));
                    frame
                }
                Some(Found::Padding(frame)) => frame,
                None => return Err(ReadError::Corrupt { position }),
            };
            at += frame as usize;
        }
        Ok(Some(run))
    }
}

#[inline]
fn message<'a>(
    geometry: &Geometry,
    calibration: &Calibration,
    position: u64,
    word: StateWord,
    body: &'a [u8],
) -> FollowedMessage<'a> {
    let content = &body[(geometry.payload_at - FRAME_HEADER_BYTES) as usize..];
    let has_extensions = word.flags() & FLAG_EXTENSIONS != 0;
    let stamp = body.first_chunk().filter(|_| geometry.stamps).map(|ticks| u64::from_le_bytes(*ticks));
    let fields =
        if has_extensions { Parts::of(geometry, word, body).map(|parts| parts.fields) } else { Ok(Fields::default()) };
    let unix_ns = stamp.map_or(0, |ticks| calibration.unix_ns(ticks));
    FollowedMessage { position, unix_ns, has_extensions, content, fields }
}
