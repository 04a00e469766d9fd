//! Receiving: in place or copied out, one by one or in batches, every message or the latest.

use crate::backfill::{Backfill, Kept, Looked, Plan};
use crate::error::{OpenError, ReceiveError};
use crate::filter::Filter;
use crate::raw::{self, Held, Trusted};
use crate::received::{Received, Sample};
use crate::topic::Topic;
use crate::waiter::Listener;
use core::marker::PhantomData;
use memlane_ring::extension::Fields;
use memlane_ring::{
    Awaited, Copied, Gated, Label, LastValues, Lossy, ReadError, Start, Topic as Log, TopicError, Wait,
};
use memlane_shm::MapOptions;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a subscriber does when publishers are faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Holds them back: a full ring is `Full` to publishers. Reads in place, misses nothing. Takes a slot.
    #[default]
    Gated,
    /// Never holds anyone up: copies out, and is told each range that it missed. Read permission is enough.
    Lossy,
    /// As lossy, but always takes the newest message and leaves out what lies between.
    Latest,
}

/// How to open a subscriber.
#[derive(Debug)]
pub struct SubscriberBuilder<'a, P: ?Sized> {
    pub(crate) topic: &'a Topic,
    pub(crate) kind: Kind,
    start: Start,
    wait: Wait,
    filter: Option<Filter>,
    label: Arc<Label>,
    pub(crate) trust: bool,
    pub(crate) plan: Option<Plan>,
    payload: PhantomData<fn() -> P>,
}

impl<'a, P: ?Sized + Trusted> SubscriberBuilder<'a, P> {
    pub(crate) fn new(topic: &'a Topic) -> Self {
        Self {
            topic,
            kind: Kind::default(),
            start: Start::default(),
            wait: Wait::default(),
            filter: None,
            label: Arc::clone(topic.label()),
            trust: false,
            plan: None,
            payload: PhantomData,
        }
    }

    /// What to do when publishers are faster. Default [`Kind::Gated`].
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Never hold anyone up: short for `kind(Kind::Lossy)`.
    #[must_use]
    pub fn lossy(self) -> Self {
        self.kind(Kind::Lossy)
    }

    /// Only the newest message: short for `kind(Kind::Latest)`.
    #[must_use]
    pub fn latest(self) -> Self {
        self.kind(Kind::Latest)
    }

    /// Where to begin. Default [`Start::Live`].
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How to wait, in the calls that do. Default [`Wait::default`].
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Which messages it gets; all others are passed over, and never waited for. Default: every message.
    ///
    /// What was passed over isn't reported as lost; what was overwritten before it was looked at is, matching or not. A message
    /// whose extensions can't be read as far as the filter must is a [`ReceiveError::Malformed`].
    ///
    /// Cost: of a message that is passed over the header and extensions are read, the payload isn't, nor is it copied; a subscriber
    /// to the latest looks at each message since its last call, too. A gated subscriber releases many of them with one store. A
    /// subscriber without a filter pays one comparison a call.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Who it is, for people who look at the topic, in place of the bus's [`label`](crate::BusBuilder::label).
    #[must_use]
    pub fn label(mut self, label: Label) -> Self {
        self.label = Arc::new(label);
        self
    }

    /// Opens the subscriber. Everything from its start on is held, or will be reported, from here on.
    ///
    /// Cost: about ten system calls and the mapping of the ring. Errors: [`OpenError`].
    pub fn open(mut self) -> Result<Subscriber<P>, OpenError> {
        self.topic.check_type::<P>()?;
        let reader = match self.plan.take() {
            None => Reader::open(self.topic.log(), self.topic.map(), self.kind, self.start)?,
            Some(plan) => Reader::Backfilled(Backfill::open(self.topic, plan, self.start)?.into()),
        };
        Ok(self.reading(reader))
    }

    pub(crate) fn reading(self, reader: Reader) -> Subscriber<P> {
        reader.set_label(&self.label);
        Subscriber {
            is_plain: self.filter.is_none() && !matches!(reader, Reader::Backfilled(_)),
            reader,
            log: self.topic.log().clone(),
            map: *self.topic.map(),
            kind: self.kind,
            wait: self.wait,
            filter: self.filter,
            label: self.label,
            trust: self.trust,
            listener: None,
            payload: PhantomData,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Reader {
    Gated(Gated),
    Lossy(Lossy),
    Latest(Lossy),
    /// Reads a journal, or may.
    Backfilled(Box<Backfill>),
}

impl Reader {
    pub(crate) fn open(log: &Log, map: &MapOptions, kind: Kind, start: Start) -> Result<Self, TopicError> {
        Ok(match kind {
            Kind::Gated => Self::Gated(log.gated(map, start)?),
            Kind::Lossy => Self::Lossy(log.lossy(map, start)?),
            Kind::Latest => Self::Latest(log.lossy(map, start)?),
        })
    }

    pub(crate) fn set_label(&self, label: &Label) {
        let lossy = match self {
            Self::Gated(gated) => return gated.set_label(label),
            Self::Lossy(lossy) | Self::Latest(lossy) => lossy,
            Self::Backfilled(backfill) => backfill.live(),
        };
        // One that nobody sees needs no label.
        lossy.set_label(label);
    }

    pub(crate) fn open_with_last_values(
        log: &Log,
        map: &MapOptions,
        kind: Kind,
    ) -> Result<(LastValues, Self), TopicError> {
        Ok(match kind {
            Kind::Gated => log.gated_with_last_values(map).map(|(values, gated)| (values, Self::Gated(gated)))?,
            Kind::Lossy => log.lossy_with_last_values(map).map(|(values, lossy)| (values, Self::Lossy(lossy)))?,
            Kind::Latest => log.lossy_with_last_values(map).map(|(values, lossy)| (values, Self::Latest(lossy)))?,
        })
    }

    /// The next message that `filter` wants, if it is there.
    pub(crate) fn poll_wanted(&mut self, filter: &Filter) -> Result<Option<Held<'_>>, ReadError> {
        let wanted = |fields: &Fields<'_>| filter.matches(fields);
        Ok(match self {
            Self::Gated(gated) => gated.poll_wanted(wanted)?.map(Held::InPlace),
            Self::Lossy(lossy) => lossy.poll_wanted(wanted)?.map(|found| Held::Copied(lossy, found)),
            Self::Latest(lossy) => lossy.poll_latest_wanted(wanted)?.map(|found| Held::Copied(lossy, found)),
            Self::Backfilled(_) => unreachable!("it filters for itself"),
        })
    }

    /// Waits for the next message that `filter` wants.
    pub(crate) fn wait_wanted(
        &mut self,
        filter: &Filter,
        wait: Wait,
        timeout: Option<Duration>,
    ) -> Result<Option<Held<'_>>, ReadError> {
        let wanted = |fields: &Fields<'_>| filter.matches(fields);
        Ok(match self {
            Self::Gated(gated) => gated.wait_wanted(wanted, wait, timeout)?.map(Held::InPlace),
            Self::Lossy(lossy) => lossy.wait_wanted(wanted, wait, timeout)?.map(|found| Held::Copied(lossy, found)),
            Self::Latest(lossy) => {
                lossy.wait_latest_wanted(wanted, wait, timeout)?.map(|found| Held::Copied(lossy, found))
            }
            Self::Backfilled(_) => unreachable!("it filters for itself"),
        })
    }
}

/// A message that was found.
pub(crate) enum Taken {
    /// In the log, at the subscriber's position.
    InPlace,
    /// In its buffer.
    Copied(Copied),
    /// In its buffer, or in its journal.
    Kept(Kept),
}

/// Receives messages of type `P` from a topic. Dropping it leaves the topic.
#[derive(Debug)]
pub struct Subscriber<P: ?Sized> {
    pub(crate) reader: Reader,
    /// Whether it gets every message, and out of the ring.
    pub(crate) is_plain: bool,
    pub(crate) log: Log,
    pub(crate) map: MapOptions,
    pub(crate) kind: Kind,
    wait: Wait,
    pub(crate) filter: Option<Filter>,
    pub(crate) label: Arc<Label>,
    pub(crate) trust: bool,
    /// What it waits by without blocking, from the first such wait on.
    listener: Option<Listener>,
    payload: PhantomData<fn() -> P>,
}

impl<P: ?Sized + Trusted> Subscriber<P> {
    /// The next message, if it is there. Never waits.
    ///
    /// Cost: for a gated subscriber a look at one cache line, and no copy; for the others a copy.
    /// Errors: [`ReceiveError`]; go on receiving after it.
    #[inline(always)]
    pub fn try_receive(&mut self) -> Result<Option<Sample<'_, P>>, ReceiveError> {
        if !self.is_plain {
            return self.receive_otherwise(None);
        }
        let (geometry, trust) = (self.log.geometry(), self.trust);
        match &mut self.reader {
            Reader::Gated(gated) => match gated.poll() {
                Ok(Some(found)) => Sample::new(Held::InPlace(found), geometry, trust),
                Ok(None) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Reader::Lossy(lossy) => match lossy.poll() {
                Ok(Some(found)) => Sample::new(Held::Copied(&*lossy, found), geometry, trust),
                Ok(None) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Reader::Latest(lossy) => match lossy.poll_latest() {
                Ok(Some(found)) => Sample::new(Held::Copied(&*lossy, found), geometry, trust),
                Ok(None) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Reader::Backfilled(_) => unreachable!("it isn't plain"),
        }
    }

    /// The next message; waits for it without end, as the subscriber's [`Wait`] says.
    ///
    /// Errors: [`ReceiveError`]; go on receiving after it.
    #[inline(always)]
    pub fn receive(&mut self) -> Result<Sample<'_, P>, ReceiveError> {
        // Without a deadline there is a message or an error.
        Ok(self.wait_for(None)?.expect("a wait without a deadline ends with a message"))
    }

    /// The next message; waits for it up to `timeout`. `None` if the time was up.
    ///
    /// Errors: [`ReceiveError`]; go on receiving after it.
    #[inline(always)]
    pub fn receive_within(&mut self, timeout: Duration) -> Result<Option<Sample<'_, P>>, ReceiveError> {
        self.wait_for(Some(timeout))
    }

    #[inline(always)]
    pub(crate) fn wait_for(&mut self, timeout: Option<Duration>) -> Result<Option<Sample<'_, P>>, ReceiveError> {
        if !self.is_plain {
            return self.receive_otherwise(Some((self.wait, timeout)));
        }
        let (geometry, trust, wait) = (self.log.geometry(), self.trust, self.wait);
        match &mut self.reader {
            Reader::Gated(gated) => match gated.wait(wait, timeout) {
                Ok(Some(found)) => Sample::new(Held::InPlace(found), geometry, trust),
                Ok(None) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Reader::Lossy(lossy) => match lossy.wait(wait, timeout) {
                Ok(Some(found)) => Sample::new(Held::Copied(&*lossy, found), geometry, trust),
                Ok(None) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Reader::Latest(lossy) => match lossy.wait_latest(wait, timeout) {
                Ok(Some(found)) => Sample::new(Held::Copied(&*lossy, found), geometry, trust),
                Ok(None) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Reader::Backfilled(_) => unreachable!("it isn't plain"),
        }
    }

    /// Hands up to `messages_max` messages that are there to `each`, in order; returns how many. Never waits.
    ///
    /// Messages that are no valid `P` are handed over as errors and count. A gated subscriber releases all of them together when the
    /// call ends: one store for the batch.
    /// Errors: [`ReceiveError`], only if it comes before the first message.
    #[inline(always)]
    pub fn receive_batch(
        &mut self,
        messages_max: usize,
        mut each: impl FnMut(Result<&Received<'_, P>, ReceiveError>),
    ) -> Result<usize, ReceiveError> {
        let geometry = *self.log.geometry();
        let trust = self.trust;
        if let (Reader::Gated(gated), Some(filter)) = (&mut self.reader, &self.filter) {
            let wanted = |fields: &Fields<'_>| filter.matches(fields);
            return Ok(gated.poll_batch_wanted(messages_max, wanted, |found| {
                let received = match found {
                    Ok((position, word, body)) => raw::received(&geometry, (position, word), body, trust),
                    Err(error) => Err(error.into()),
                };
                match received {
                    Ok(received) => each(Ok(&received)),
                    Err(error) => each(Err(error)),
                }
            })?);
        }
        if let Reader::Gated(gated) = &mut self.reader {
            let count = gated.poll_batch(messages_max, |position, word, body| {
                match raw::received(&geometry, (position, word), body, trust) {
                    Ok(received) => each(Ok(&received)),
                    Err(error) => each(Err(error)),
                }
            })?;
            return Ok(count);
        }
        let mut count = 0;
        while count < messages_max {
            match self.try_receive() {
                Ok(Some(sample)) => each(Ok(&sample.received())),
                Ok(None) => break,
                Err(error @ (ReceiveError::Invalid { .. } | ReceiveError::Malformed { .. })) => each(Err(error)),
                Err(error) if count == 0 => return Err(error),
                Err(error) => {
                    // A loss, or the end: it was taken notice of here and won't be told again, so hand it over.
                    each(Err(error));
                    return Ok(count + 1);
                }
            }
            count += 1;
            count += self.rest_of_batch(messages_max - count, &mut each);
        }
        Ok(count)
    }

    pub(crate) fn awaited(&self) -> Awaited<'_> {
        match &self.reader {
            Reader::Gated(gated) => gated.awaited(),
            Reader::Lossy(lossy) | Reader::Latest(lossy) => lossy.awaited(),
            Reader::Backfilled(backfill) => backfill.live().awaited(),
        }
    }

    /// Whether [`Subscriber::try_receive`] would give a message or an error.
    pub(crate) fn has_news(&mut self) -> bool {
        match (&mut self.reader, &self.filter) {
            (Reader::Backfilled(backfill), filter) => backfill.has_news(filter.as_ref()),
            (Reader::Gated(gated), None) => gated.has_news(),
            (Reader::Gated(gated), Some(filter)) => gated.has_wanted(|fields: &Fields<'_>| filter.matches(fields)),
            (Reader::Lossy(lossy) | Reader::Latest(lossy), None) => lossy.has_news(),
            (Reader::Lossy(lossy) | Reader::Latest(lossy), Some(filter)) => {
                lossy.has_wanted(|fields: &Fields<'_>| filter.matches(fields))
            }
        }
    }

    /// Takes the next message, if it is there, so that [`Subscriber::sample`] can give it.
    pub(crate) fn take(&mut self) -> Result<Option<Taken>, ReceiveError> {
        if !self.has_news() {
            return Ok(None);
        }
        match self.look_back(None)? {
            Looked::Message(kept) => return Ok(Some(Taken::Kept(kept))),
            Looked::Nothing => return Ok(None),
            // It may have caught up just now.
            Looked::IsLive if !self.has_news() => return Ok(None),
            Looked::IsLive => {}
        }
        let copied = match (&mut self.reader, &self.filter) {
            (Reader::Backfilled(_), _) => unreachable!("it isn't live"),
            (Reader::Gated(_), _) => return Ok(Some(Taken::InPlace)),
            (Reader::Lossy(lossy), None) => lossy.poll(),
            (Reader::Lossy(lossy), Some(filter)) => lossy.poll_wanted(|fields: &Fields<'_>| filter.matches(fields)),
            // These may find that what was there has been overwritten, which is nobody's loss.
            (Reader::Latest(lossy), None) => lossy.poll_latest(),
            (Reader::Latest(lossy), Some(filter)) => {
                lossy.poll_latest_wanted(|fields: &Fields<'_>| filter.matches(fields))
            }
        };
        Ok(copied?.map(Taken::Copied))
    }

    /// What was taken.
    pub(crate) fn sample(&mut self, taken: Taken) -> Result<Sample<'_, P>, ReceiveError> {
        let sample = match taken {
            Taken::InPlace => self.try_receive(),
            Taken::Copied(copied) => {
                let (Reader::Lossy(lossy) | Reader::Latest(lossy)) = &self.reader else {
                    unreachable!("a gated subscriber copies nothing")
                };
                Sample::new(Held::Copied(lossy, copied), self.log.geometry(), self.trust)
            }
            Taken::Kept(kept) => {
                let Reader::Backfilled(backfill) = &self.reader else { unreachable!("it has what it took") };
                Sample::new(backfill.held(kept), self.log.geometry(), self.trust)
            }
        };
        Ok(sample?.expect("nobody overwrites what a gated subscriber has not read"))
    }

    pub(crate) fn listener(&mut self) -> &Listener {
        let (reader, log) = (&self.reader, &self.log);
        self.listener.get_or_insert_with(|| {
            let watch = match reader {
                Reader::Gated(gated) => gated.watch(),
                Reader::Lossy(lossy) | Reader::Latest(lossy) => lossy.watch(),
                Reader::Backfilled(backfill) => backfill.live().watch(),
            };
            Listener::for_news(watch, log.bus_directory())
        })
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.log.header().epoch
    }

    pub(crate) fn bus_directory(&self) -> &Path {
        self.log.bus_directory()
    }

    /// The position that is read next.
    #[must_use]
    pub fn position(&self) -> u64 {
        match &self.reader {
            Reader::Gated(gated) => gated.position(),
            Reader::Lossy(lossy) | Reader::Latest(lossy) => lossy.position(),
            Reader::Backfilled(backfill) => backfill.live().position(),
        }
    }

    /// Leaves out everything up to the newest message, which is the way past a corrupt frame; returns the range left out. A gated
    /// subscriber keeps its slot.
    ///
    /// Errors: [`TopicError`], if the place can't be found; then the subscriber stays where it is.
    pub fn skip_to_live(&mut self) -> Result<core::ops::Range<u64>, TopicError> {
        let from = self.position();
        // It may be a forked parent's.
        self.listener = None;
        match &mut self.reader {
            Reader::Gated(gated) => self.log.skip_to_live(&self.map, gated)?,
            Reader::Backfilled(backfill) => {
                backfill.skip_to_live(&self.log, &self.map)?;
                self.reader.set_label(&self.label);
            }
            reader => {
                *reader = Reader::open(&self.log, &self.map, self.kind, Start::Live)?;
                reader.set_label(&self.label);
            }
        }
        Ok(from..self.position())
    }
}
