//! Reads a journal in its order, in place where its files can be mapped.
//!
//! What is handed out has been checked against its batch's sum and its frame's own header.

use crate::error::JournalError;
use crate::look::{self, Look};
use crate::read::Journal;
use crate::record::{Batch, Gap, Record, Session};
use crate::recover::broken_chain;
use crate::seek::{self, Target};
use crate::segment::{Form, Segment};
use memlane_ring::Found;
use memlane_ring::extension::{Field, Parts};
use memlane_ring::layout::{FRAME_HEADER_BYTES, StateWord};
use memlane_shm::clock::Calibration;

/// What comes next in a journal.
#[derive(Debug)]
pub enum Entry<'a> {
    /// A message.
    Message(Message<'a>),
    /// Positions that the journal doesn't have.
    Gap(Gap),
}

/// A message of a journal.
#[derive(Debug)]
pub struct Message<'a> {
    /// Its position: its identity for ever.
    pub position: u64,
    /// When it was published, in nanoseconds since 1970; where the topic has no stamps, when its batch was read.
    pub unix_ns: u64,
    /// Its state word.
    pub word: StateWord,
    /// Everything after its header: stamp, extensions, payload.
    pub body: &'a [u8],
    /// What lies in it.
    pub parts: Parts<'a>,
}

impl<'a> Message<'a> {
    /// What was published.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.parts.payload
    }

    /// The number of the publisher that published it.
    #[must_use]
    pub fn publisher(&self) -> u32 {
        self.word.publisher()
    }

    /// What it is about; `None` if it doesn't say, or if that can't be read.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.parts.fields.key().ok().flatten()
    }

    /// Its headers: keys and values. Unknown and malformed extensions are left out.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.parts.fields.clone().map_while(Result::ok).filter_map(Field::user_header)
    }
}

/// What comes next, for [`Reader::body`] to show: numbers alone, where a borrow would be in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A message.
    Message(Located),
    /// Positions that the journal doesn't have.
    Gap(Gap),
}

/// Where a message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its position.
    pub position: u64,
    /// Its state word.
    pub word: StateWord,
    /// Where its body begins in its batch, in bytes.
    at: usize,
}

/// Reads a journal in its order.
#[derive(Debug)]
pub struct Reader {
    journal: Journal,
    source: Source,
    /// Of the next record.
    number: u64,
    /// Where to begin, until that is found.
    target: Option<Target>,
    batch: Option<Place>,
    /// Before the message that was read last.
    before: Option<Place>,
    /// Where the next record begins.
    end: u64,
}

/// A segment that is read.
#[derive(Debug)]
struct Source {
    segment: Segment,
    session: Session,
    /// The frames of the batch.
    look: Look,
}

impl Source {
    fn new(segment: Segment) -> Result<Self, JournalError> {
        Ok(Self { session: seek::session(&segment)?, look: segment.look()?, segment })
    }
}

/// What the frame before looked like, as most often the next one does: where that begins is then known before its header is there, as for gated
/// subscribers of the ring.
struct Usual {
    word: StateWord,
    /// Bytes of the frame, and of what follows its header.
    frame: usize,
    body: usize,
    /// Where the last one has ended, at the latest.
    end: usize,
}

impl Usual {
    /// Whether such a frame is at `at`, where `rest` begins.
    #[inline(always)]
    fn is_at(&self, rest: &[u8], at: usize) -> bool {
        rest.first_chunk().is_some_and(|word| u64::from_le_bytes(*word) == self.word.0) && at + self.frame <= self.end
    }
}

/// Where a reader is in a batch.
#[derive(Clone, Copy, Debug)]
struct Place {
    batch: Batch,
    /// Bytes of it that were read.
    at: u64,
    /// Messages of it that were read.
    messages: u64,
}

impl Reader {
    /// Reads `journal` from `target` on, which lies in the segment that begins at `begin`.
    pub(crate) fn new(journal: &Journal, begin: u64, target: Target) -> Result<Self, JournalError> {
        let segment = journal.segment(begin)?;
        let number = seek::first_not_before(&segment, target)?;
        // The one before it is whole; whether it is itself is found out when it is read.
        let before = number.checked_sub(1).map_or(Ok(None), |before| segment.record(before))?;
        let end = before.map_or(begin, |record| record.end());
        Ok(Self {
            journal: journal.clone(),
            number,
            source: Source::new(segment)?,
            target: Some(target),
            batch: None,
            before: None,
            end,
        })
    }

    /// What comes next; `None` at the end of what is recorded, so far.
    ///
    /// Cost: three system calls for each batch, and the sum of its bytes. Errors: [`JournalError`]; the reader stays where it is.
    #[expect(clippy::should_implement_trait, reason = "what it gives is borrowed")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, JournalError> {
        Ok(match self.find()? {
            None => None,
            Some(Next::Message(located)) => Some(Entry::Message(self.message(&located)?)),
            Some(Next::Gap(gap)) => Some(Entry::Gap(gap)),
        })
    }

    /// The same without what it is made of: [`Reader::body`] gives that until the next call.
    ///
    /// Cost and errors: as for [`Reader::next`].
    pub fn find(&mut self) -> Result<Option<Next>, JournalError> {
        loop {
            let Some(place) = self.batch else {
                match self.next_record()? {
                    None => return Ok(None),
                    Some(Record::Batch(batch)) => self.enter(batch)?,
                    Some(Record::Gap(gap)) => return Ok(Some(Next::Gap(gap))),
                    Some(_) => {}
                }
                continue;
            };
            let Some(located) = self.step(place)? else {
                self.batch = None;
                continue;
            };
            if let Some(target) = self.target {
                if target.is_behind_message(&self.message(&located)?, place) {
                    continue;
                }
                self.target = None;
            }
            return Ok(Some(Next::Message(located)));
        }
    }

    /// Everything after the header of the message that was found last: stamp, extensions, payload.
    #[inline]
    #[must_use]
    pub fn body(&self, located: &Located) -> &[u8] {
        &self.source.look.bytes()[located.at..][..located.word.length() as usize]
    }

    /// What makes times of the stamps of the message that was found last, and of those that follow in the same batch.
    #[must_use]
    pub fn calibration(&self) -> Calibration {
        self.source.session.calibration
    }

    /// Hands the messages that follow in the same batch to `each`, as (position, state word, body), up to `messages_max` of them; returns how many.
    /// What can't be read ends it, and is told by the next call of [`Reader::find`].
    ///
    /// Cost: a look at each header.
    #[inline]
    pub fn each_of_batch(&mut self, messages_max: usize, mut each: impl FnMut(u64, StateWord, &[u8])) -> usize {
        let Some(place) = self.batch.as_mut().filter(|_| self.target.is_none()) else { return 0 };
        let (data, frames) = (self.source.look.bytes(), self.source.segment.head.frames);
        let (mut at, mut count) = (place.at as usize, 0);
        let mut usual = Usual { word: StateWord(0), frame: 1, body: 0, end: 0 };
        while count < messages_max && at < data.len() {
            let position = place.batch.position + at as u64;
            let rest = &data[at..];
            if !usual.is_at(rest, at) {
                match frames.look(position, rest) {
                    Some(Found::Message(word, bytes)) => {
                        // A frame of the same word is of the same lap.
                        let lap_bytes = (frames.lap_end(position) - position) as usize;
                        let end = at + lap_bytes.min(rest.len());
                        usual = Usual { word, frame: bytes as usize, body: word.length() as usize, end };
                    }
                    Some(Found::Padding(bytes)) => {
                        at += bytes as usize;
                        continue;
                    }
                    None => break,
                }
            }
            at += usual.frame;
            count += 1;
            each(position, usual.word, &rest[FRAME_HEADER_BYTES as usize..][..usual.body]);
        }
        (place.at, place.messages) = (at as u64, place.messages + count as u64);
        count
    }

    /// Has the message that was found last come again.
    pub fn step_back(&mut self) {
        if let Some(before) = self.before.take() {
            self.batch = Some(before);
        }
    }

    /// When what comes next was published, or its gap noticed, in nanoseconds since 1970; `None` at the end. The next call of [`Reader::next`] gives it: for who reads
    /// several journals in the order of their times.
    ///
    /// Cost and errors: as for [`Reader::next`].
    pub fn next_unix_ns(&mut self) -> Result<Option<u64>, JournalError> {
        let Some(next) = self.find()? else { return Ok(None) };
        let unix_ns = match &next {
            Next::Message(located) => self.message(located)?.unix_ns,
            Next::Gap(gap) => gap.unix_ns,
        };
        self.unread(&next);
        Ok(Some(unix_ns))
    }

    /// Whether anything comes, or an error is to be told.
    ///
    /// Cost: as for [`Reader::next`].
    pub fn has_next(&mut self) -> bool {
        match self.find() {
            Ok(None) => false,
            Ok(Some(next)) => {
                self.unread(&next);
                true
            }
            Err(_) => true,
        }
    }

    /// Goes back before what was found last.
    fn unread(&mut self, next: &Next) {
        match next {
            Next::Message(_) => self.batch = self.before,
            Next::Gap(gap) => {
                self.number -= 1;
                self.end = gap.position;
            }
        }
    }

    /// Where it reads next: what comes begins there, or behind.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.batch.map_or(self.end, |place| place.batch.position + place.at)
    }

    /// The next record of this segment, or of the one that follows.
    fn next_record(&mut self) -> Result<Option<Record>, JournalError> {
        if let Some(record) = self.source.segment.record(self.number)? {
            return self.take_record(record).map(Some);
        }
        let next = self.end;
        if next == self.source.segment.head.begin {
            // Nothing is in it yet, so a writer that came since has made another one in its place.
            self.source = Source::new(self.journal.segment(next)?)?;
            return match self.source.segment.record(self.number)? {
                Some(record) => self.take_record(record).map(Some),
                None => self.check_is_newest().map(|()| None),
            };
        }
        match self.journal.segment(next) {
            Err(JournalError::Storage { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                self.check_is_newest().map(|()| None)
            }
            Err(error) => Err(error),
            Ok(segment) => {
                // What was recorded here between the two looks.
                if self.source.segment.record(self.number)?.is_some() {
                    return self.next_record();
                }
                self.source = Source::new(segment)?;
                self.number = 0;
                self.next_record()
            }
        }
    }

    /// Goes past a record, which begins where the one before it ended, and ends there or behind.
    fn take_record(&mut self, record: Record) -> Result<Record, JournalError> {
        if record.position() != self.end || record.end() < record.position() {
            let offset = self.source.segment.head.record_at(self.number);
            return Err(self.source.segment.corrupt(
                offset,
                self.end,
                "a record doesn't begin where the one before it ends",
            ));
        }
        (self.number, self.end) = (self.number + 1, record.end());
        Ok(record)
    }

    /// Where no segment begins that would follow this one, none may lie behind it: it was pruned, or is missing. And where no record is, none may be behind it: it was
    /// damaged.
    fn check_is_newest(&self) -> Result<(), JournalError> {
        let segment = &self.source.segment;
        if matches!(segment.head.form, Form::Compressed { records, .. } if self.number < records) {
            return Err(segment.corrupt(segment.head.record_at(self.number), self.end, "a record isn't whole"));
        }
        // Looked at once more, for both may have been written between the looks.
        if segment.record(self.number + 1)?.is_some() && segment.record(self.number)?.is_none() {
            return Err(segment.corrupt(segment.head.record_at(self.number), self.end, "a record isn't whole"));
        }
        let has_room = self.source.segment.length()? >= self.source.segment.head.record_at(self.number + 1);
        if has_room {
            return Ok(());
        }
        let segments = self.journal.segments()?;
        if segments[0] > self.end {
            let (path, position, oldest) = (self.journal.directory().to_path_buf(), self.end, segments[0]);
            return Err(JournalError::NotRetained { path, position, oldest });
        }
        let is_broken = segments.last().is_some_and(|newest| *newest > self.end) && !segments.contains(&self.end);
        if is_broken { Err(broken_chain(&self.source.segment, self.end)?) } else { Ok(()) }
    }

    fn enter(&mut self, batch: Batch) -> Result<(), JournalError> {
        let Source { segment, look, .. } = &mut self.source;
        match look.move_to(segment, self.number - 1, &batch) {
            Ok(None) => self.batch = Some(Place { batch, at: 0, messages: 0 }),
            failed => {
                self.number -= 1;
                self.end = batch.position;
                let offset = look::place(segment, self.number, &batch);
                return Err(failed.map_or_else(
                    |error| error,
                    |what| segment.corrupt(offset, batch.position, what.unwrap_or_default()),
                ));
            }
        }
        Ok(())
    }

    /// Goes past the next message of the batch; `None` at its end.
    fn step(&mut self, place: Place) -> Result<Option<Located>, JournalError> {
        let Place { batch, mut at, messages } = place;
        let (data, head) = (self.source.look.bytes(), &self.source.segment.head);
        while at < data.len() as u64 {
            let position = batch.position + at;
            match head.frames.look(position, &data[at as usize..]) {
                Some(Found::Padding(bytes)) => at += bytes,
                Some(Found::Message(word, bytes)) => {
                    self.before = Some(Place { batch, at, messages });
                    self.batch = Some(Place { batch, at: at + bytes, messages: messages + 1 });
                    return Ok(Some(Located { position, word, at: (at + FRAME_HEADER_BYTES) as usize }));
                }
                None => {
                    let what = "there is no frame where one should be";
                    return Err(self.corrupt(&batch, position, what));
                }
            }
        }
        Ok(None)
    }

    /// What is wrong in `batch`, which is the one that is read.
    fn corrupt(&self, batch: &Batch, position: u64, what: &'static str) -> JournalError {
        let segment = &self.source.segment;
        let offset = match segment.head.form {
            Form::Plain => segment.head.offset(position),
            Form::Compressed { .. } => look::place(segment, self.number.saturating_sub(1), batch),
        };
        segment.corrupt(offset, position, what)
    }

    fn message(&self, located: &Located) -> Result<Message<'_>, JournalError> {
        let Located { position, word, .. } = *located;
        let body = self.body(located);
        let parts = Parts::of(self.journal.geometry(), word, body).map_err(|_| {
            let what = "its extensions can't be read";
            self.batch.map_or_else(
                || self.source.segment.corrupt(0, position, what),
                |place| self.corrupt(&place.batch, position, what),
            )
        })?;
        let stamp = parts.stamp.map(|ticks| self.source.session.calibration.unix_ns(ticks));
        let batch_unix_ns = || self.batch.map_or(0, |place| place.batch.first_unix_ns);
        Ok(Message { position, unix_ns: stamp.unwrap_or_else(batch_unix_ns), word, body, parts })
    }
}

impl Target {
    /// Whether `message`, before which `place` is, comes before it.
    fn is_behind_message(self, message: &Message<'_>, place: Place) -> bool {
        match self {
            Self::Position(position) => message.position < position,
            Self::Instant(unix_ns) => message.unix_ns < unix_ns,
            Self::Messages(count) => place.batch.messages_before.saturating_add(place.messages) < count,
        }
    }
}
