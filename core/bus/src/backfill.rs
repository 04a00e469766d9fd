//! Subscribers that begin in a journal, or go back to it: what the ring has let go they read from there.
//!
//! The journal has the ring's own bytes at the ring's own positions, so where it ends the ring goes on, and where the ring was overwritten the
//! journal has it: one side hands the position over to the other, and nothing comes twice or is missing.

use crate::error::{OpenError, ReceiveError};
use crate::filter::Filter;
use crate::raw::{self, Held, Trusted};
use crate::received::{Received, Sample};
use crate::subscriber::{Kind, Reader, Subscriber, SubscriberBuilder};
use crate::topic::Topic;
use core::ops::Range;
use memlane_journal::{From, Journal, JournalError, Located, Next, Reader as JournalReader};
use memlane_ring::extension::Parts;
use memlane_ring::layout::StateWord;
use memlane_ring::{Copied, Lossy, ReadError, Start, Topic as Log, TopicError, Wait};
use memlane_shm::MapOptions;
use memlane_shm::clock::Calibration;
use std::time::Duration;

/// What a subscriber wants of a journal.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    journal: Journal,
    /// Where to begin in it; `None` to begin in the ring.
    from: Option<From>,
    /// Whether it goes back to the journal.
    is_backfilled: bool,
}

impl Plan {
    /// Of one that goes back to `journal`, and begins in it, if that is given.
    pub(crate) fn backfilled(journal: &Journal, from: Option<From>) -> Self {
        Self { journal: journal.clone(), from, is_backfilled: true }
    }

    /// Whether it begins in the journal.
    pub(crate) fn is_replay(&self) -> bool {
        self.from.is_some()
    }
}

impl<P: ?Sized + Trusted> SubscriberBuilder<'_, P> {
    /// Begin in `journal`, which is this topic's, at `from`; where it ends go on in the ring, as [`SubscriberBuilder::kind`] says, without a gap
    /// or a repetition, while publishers and recorder go on too. In place of [`SubscriberBuilder::start`].
    ///
    /// Until it has come to the journal's end it holds nobody up, whatever its kind, and is seen among the observers. Messages are given in place, out of the mapped
    /// segments, each batch checked against its sum. What the journal doesn't have comes as [`ReceiveError::Lost`].
    ///
    /// ```
    /// use memlane::journal::{Disk, From, Journal, RecorderOptions};
    /// use std::sync::Arc;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let root = memlane::doc_root();
    /// # let directory = root.join("journal/orders");
    /// # let bus = memlane::Bus::builder("replay").root(&root).open()?;
    /// let topic = bus.topic("orders")?.stamps(true).open_or_create()?;
    /// let (mut recorder, _) = topic.record(&directory, RecorderOptions::default())?;
    /// let mut publisher = topic.publisher::<[u8]>().open()?;
    /// publisher.publish(b"one")?;
    /// recorder.turn()?;
    ///
    /// let journal = Journal::open(Arc::new(Disk), &directory)?;
    /// let mut subscriber = topic.subscriber::<[u8]>().replay(&journal, From::Earliest).open()?;
    /// assert_eq!(&*subscriber.receive()?, b"one");
    /// publisher.publish(b"two")?;
    /// assert_eq!(&*subscriber.receive()?, b"two");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn replay(mut self, journal: &Journal, from: From) -> Self {
        let is_backfilled = self.plan.is_some_and(|plan| plan.is_backfilled);
        self.plan = Some(Plan { journal: journal.clone(), from: Some(from), is_backfilled });
        self
    }

    /// Never hold anyone up and never lose anything: a lossy subscriber that reads from `journal`, which is this topic's, what publishers
    /// have overwritten before it was read, and comes back to the ring when it has caught up.
    ///
    /// [`ReceiveError::Lost`] comes only for what the journal doesn't have either. Cost of going back: some forty system calls.
    #[must_use]
    pub fn backfilled(mut self, journal: &Journal) -> Self {
        let from = self.plan.and_then(|plan| plan.from);
        self.plan = Some(Plan { journal: journal.clone(), from, is_backfilled: true });
        self.kind = Kind::Lossy;
        self
    }
}

/// Reads the journal where the ring has let go, and else the ring.
#[derive(Debug)]
pub(crate) struct Backfill {
    journal: Journal,
    /// Where it is in the ring, or would be: what comes next has its position.
    live: Lossy,
    /// While it reads the journal.
    reader: Option<JournalReader>,
    /// The position at which it went back to the journal last.
    went_back_at: Option<u64>,
    /// Whether it goes back; if not, it is over where it has caught up.
    is_backfilled: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept {
    /// A message in the journal.
    InJournal(Located),
    /// One that was copied out of the ring.
    Copied(Copied),
}

/// What a look came to.
enum Step {
    Message(Kept),
    Nothing,
    /// The journal has ended, and from here on the ring has everything.
    CaughtUp,
}

impl Backfill {
    pub(crate) fn open(topic: &Topic, plan: Plan, start: Start) -> Result<Self, OpenError> {
        let start = if plan.is_replay() { Start::Live } else { start };
        let from = plan.from;
        let mut backfill = Self::around(plan, topic, topic.log().lossy(topic.map(), start)?)?;
        if let Some(from) = from {
            let reader = backfill.journal.read(from)?;
            // Whoever waits for news finds them at once.
            let _ = backfill.live.go_on_at(reader.position().min(backfill.live.position()), 0);
            backfill.reader = Some(reader);
        }
        Ok(backfill)
    }

    /// Of one that is to go back to the journal, and begins where `live` does.
    pub(crate) fn around(plan: Plan, topic: &Topic, live: Lossy) -> Result<Self, JournalError> {
        let Plan { journal, is_backfilled, .. } = plan;
        journal.check_is_of(topic.log().header().epoch, topic.log().geometry())?;
        Ok(Self { journal, live: live.backed(), reader: None, went_back_at: None, is_backfilled })
    }

    pub(crate) fn live(&self) -> &Lossy {
        &self.live
    }

    pub(crate) fn live_mut(&mut self) -> &mut Lossy {
        &mut self.live
    }

    /// Whether the ring has what comes next.
    pub(crate) fn is_live(&self) -> bool {
        self.reader.is_none()
    }

    /// Hands the messages of the journal's next batch to `each`, with what makes times of their stamps; returns where they lay. `None` if the journal has ended, and the ring goes on.
    pub(crate) fn journal_run(
        &mut self,
        mut each: impl FnMut(&Calibration, u64, StateWord, &[u8]),
    ) -> Result<Option<Range<u64>>, ReceiveError> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        match reader.find().map_err(ReceiveError::of_journal)? {
            Some(Next::Message(located)) => {
                let calibration = reader.calibration();
                each(&calibration, located.position, located.word, reader.body(&located));
                let count = 1 + reader.each_of_batch(usize::MAX, |at, word, body| each(&calibration, at, word, body));
                self.live.go_on_at(reader.position(), count as u64)?;
                Ok(Some(located.position..reader.position()))
            }
            next => {
                self.pass_gap_or_end(next)?;
                Ok(None)
            }
        }
    }

    /// Held as long as the subscriber isn't asked for more.
    pub(crate) fn held(&self, kept: Kept) -> Held<'_> {
        match (kept, &self.reader) {
            (Kept::Copied(copied), _) => Held::Copied(&self.live, copied),
            (Kept::InJournal(located), Some(reader)) => Held::InJournal(reader, located),
            (Kept::InJournal(_), None) => unreachable!("who found it reads it"),
        }
    }

    /// The next message that `filter` wants; waits for it in the ring, if `wait` is given, for at most so long.
    fn next(&mut self, filter: Option<&Filter>, wait: Option<(Wait, Option<Duration>)>) -> Result<Step, ReceiveError> {
        loop {
            let Some(reader) = &mut self.reader else {
                match self.next_live(filter, wait) {
                    Err(ReadError::Lost { from, to }) => self.go_back(from, to)?,
                    found => return Ok(found?.map_or(Step::Nothing, |copied| Step::Message(Kept::Copied(copied)))),
                }
                continue;
            };
            match reader.find().map_err(ReceiveError::of_journal)? {
                Some(Next::Message(located)) => {
                    self.live.go_on_at(reader.position(), 1)?;
                    let Some(filter) = filter else { return Ok(Step::Message(Kept::InJournal(located))) };
                    let parts = Parts::of(self.journal.geometry(), located.word, reader.body(&located));
                    let parts = parts.map_err(|error| ReceiveError::malformed(located.position, error))?;
                    match filter.matches(&parts.fields) {
                        Ok(true) => return Ok(Step::Message(Kept::InJournal(located))),
                        Ok(false) => {}
                        Err(error) => return Err(ReceiveError::malformed(located.position, error)),
                    }
                }
                next => {
                    let is_end = next.is_none();
                    self.pass_gap_or_end(next)?;
                    if is_end && !self.is_backfilled {
                        return Ok(Step::CaughtUp);
                    }
                }
            }
        }
    }

    /// The journal's reader has come to a gap, or to the end, which is `None`: goes on in the ring, or says what is lost.
    fn pass_gap_or_end(&mut self, next: Option<Next>) -> Result<(), ReceiveError> {
        match next {
            // The ring may have it still.
            Some(Next::Gap(gap)) if !self.live.is_in_reach() => return Err(self.live.lose_up_to(gap.end).into()),
            None => {
                let end = self.reader.as_ref().map_or(0, JournalReader::position).max(self.live.position());
                self.live.go_on_at(end, 0)?;
                self.reader = None;
            }
            Some(_) => self.reader = None,
        }
        Ok(())
    }

    fn next_live(
        &mut self,
        filter: Option<&Filter>,
        wait: Option<(Wait, Option<Duration>)>,
    ) -> Result<Option<Copied>, ReadError> {
        match (filter, wait) {
            (None, None) => self.live.poll(),
            (None, Some((wait, timeout))) => self.live.wait(wait, timeout),
            (Some(filter), None) => self.live.poll_wanted(|fields: &_| filter.matches(fields)),
            (Some(filter), Some((wait, timeout))) => {
                self.live.wait_wanted(|fields: &_| filter.matches(fields), wait, timeout)
            }
        }
    }

    /// The ring was overwritten from `from` up to `to`: goes on in the journal, or says what is lost.
    #[cold]
    pub(crate) fn go_back(&mut self, from: u64, to: u64) -> Result<(), ReceiveError> {
        self.live.go_on_at(from, 0)?;
        // What was read there without coming any further is of no use a second time.
        let has_it = self.went_back_at.replace(from) != Some(from)
            && self.journal.end().map_err(ReceiveError::of_journal)? > from;
        if !has_it {
            return Err(self.live.lose_up_to(to).into());
        }
        match self.journal.read(From::Position(from)) {
            // Of what it begins behind, nothing can be found.
            Ok(reader) if reader.position() > from => {
                return Err(self.live.lose_up_to(reader.position().min(to)).into());
            }
            Ok(reader) => self.reader = Some(reader),
            Err(JournalError::NotRetained { oldest, .. }) => return Err(self.live.lose_up_to(oldest.min(to)).into()),
            Err(error) => return Err(ReceiveError::of_journal(error)),
        }
        Ok(())
    }

    /// Goes back before the message at `position`, which it gave last.
    fn step_back(&mut self, position: u64) {
        if let Some(reader) = &mut self.reader {
            reader.step_back();
        }
        let _ = self.live.go_on_at(position, 0);
    }

    /// Whether there is a message, or an error to be told.
    pub(crate) fn has_news(&mut self, filter: Option<&Filter>) -> bool {
        // Of what a filter passes over in the journal nothing is known before it is read.
        if self.reader.as_mut().is_some_and(JournalReader::has_next) {
            return true;
        }
        match filter {
            None => self.live.has_news(),
            Some(filter) => self.live.has_wanted(|fields: &_| filter.matches(fields)),
        }
    }

    /// Hands what follows in the journal's batch at hand to `each`.
    fn each_of_batch(&mut self, messages_max: usize, each: impl FnMut(u64, StateWord, &[u8])) -> usize {
        let Some(reader) = &mut self.reader else { return 0 };
        let count = reader.each_of_batch(messages_max, each);
        // A position that can't be is told by the next look.
        let _ = self.live.go_on_at(reader.position(), count as u64);
        count
    }

    pub(crate) fn skip_to_live(&mut self, log: &Log, map: &MapOptions) -> Result<(), TopicError> {
        self.live = log.lossy(map, Start::Live)?.backed();
        self.reader = None;
        Ok(())
    }
}

/// What a look of a subscriber that may read a journal came to.
pub(crate) enum Looked {
    Message(Kept),
    Nothing,
    /// It doesn't read one, or has caught up.
    IsLive,
}

impl<P: ?Sized + Trusted> Subscriber<P> {
    /// The next message, of those that a filter wants, or that may be in a journal.
    #[inline(never)]
    pub(crate) fn receive_otherwise(
        &mut self,
        wait: Option<(Wait, Option<Duration>)>,
    ) -> Result<Option<Sample<'_, P>>, ReceiveError> {
        let looked = self.look_back(wait)?;
        if self.is_plain {
            // It has just caught up.
            return match wait {
                None => self.try_receive(),
                Some((_, timeout)) => self.wait_for(timeout),
            };
        }
        let held = match (looked, &mut self.reader, &self.filter, wait) {
            (Looked::Message(kept), Reader::Backfilled(backfill), ..) => Some(backfill.held(kept)),
            (Looked::IsLive, reader, Some(filter), None) => reader.poll_wanted(filter)?,
            (Looked::IsLive, reader, Some(filter), Some((wait, timeout))) => {
                reader.wait_wanted(filter, wait, timeout)?
            }
            _ => None,
        };
        held.map_or(Ok(None), |held| Sample::new(held, self.log.geometry(), self.trust))
    }

    /// What comes next for one that may read a journal; one that has caught up goes over to the ring.
    pub(crate) fn look_back(&mut self, wait: Option<(Wait, Option<Duration>)>) -> Result<Looked, ReceiveError> {
        loop {
            let Reader::Backfilled(backfill) = &mut self.reader else { return Ok(Looked::IsLive) };
            match backfill.next(self.filter.as_ref(), wait)? {
                Step::Message(kept) => return Ok(Looked::Message(kept)),
                Step::Nothing => return Ok(Looked::Nothing),
                Step::CaughtUp => {}
            }
            let start = Start::Position(backfill.live.position());
            match Reader::open(&self.log, &self.map, self.kind, start) {
                Ok(reader) => {
                    reader.set_label(&self.label);
                    self.is_plain = self.filter.is_none();
                    self.reader = reader;
                }
                // Meanwhile the ring was overwritten here.
                Err(TopicError::NoSuchPosition { position, from, .. }) if position < from => {
                    backfill.go_back(position, from)?;
                }
                Err(error) => return Err(ReceiveError::Topic(Box::new(error))),
            }
        }
    }

    /// Has the message at `position`, which it gave last and left where it is, come again.
    pub(crate) fn go_back_to(&mut self, position: u64) {
        match &mut self.reader {
            // It is there.
            Reader::Gated(_) => {}
            Reader::Backfilled(backfill) => backfill.step_back(position),
            Reader::Lossy(lossy) | Reader::Latest(lossy) => {
                let _ = lossy.go_on_at(position, 0);
            }
        }
    }

    /// Hands what follows in a journal's batch at hand to `each`, up to so many messages; returns how many.
    pub(crate) fn rest_of_batch(
        &mut self,
        messages_max: usize,
        each: &mut impl FnMut(Result<&Received<'_, P>, ReceiveError>),
    ) -> usize {
        let (Reader::Backfilled(backfill), None) = (&mut self.reader, &self.filter) else { return 0 };
        let (geometry, trust) = (self.log.geometry(), self.trust);
        backfill.each_of_batch(messages_max, |position, word, body| {
            match raw::received(geometry, (position, word), body, trust) {
                Ok(received) => each(Ok(&received)),
                Err(error) => each(Err(error)),
            }
        })
    }
}
