//! Named sources: how far each got, for whoever comes back under its name, and one publisher at a time for each name.
//!
//! A frame carries its source and the source's sequence (extension.rs). So the log itself says how far a source got, down to its head;
//! what lies below the head is summed up in a table: whoever makes room takes down the highest sequence of each name in what
//! it is about to give up, *before* it moves the head. Publishing pays nothing for it, and no death between two steps loses anything:
//! the next one that makes room looks at the same frames again.
//!
//! ```text
//!   last sequence of a name = the highest of   table[name]   and of the frames in   [head, tail)
//! ```
//!
//! The kernel's lock on a name's place says whether the one that uses it lives: a second one is fenced out. A name keeps its
//! place for as long as the topic lives.

use crate::error::{ClaimError, TopicError};
use crate::extension::Parts;
use crate::label::Label;
use crate::layout::{FLAG_EXTENSIONS, control, status};
use crate::look::Look;
use crate::many::ManyPublisher;
use crate::memory::Log;
use crate::one::OnePublisher;
use crate::topic::{LOG_FILE, Topic};
use memlane_shm::sync::{AtomicU64, Ordering};
use memlane_shm::{Access, LockFile, SegmentError, crash_point};
use std::time::Duration;

/// The names that a publisher knows, in the order of their places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    names: Vec<Label>,
    /// Of a lone publisher that notes all that it publishes: between which positions, and for each source that it had there its place and its last sequence. What it has just
    /// committed is not noted yet when it makes room, and may be given up by that.
    noted_between: Option<(u64, u64)>,
    noted: Vec<(u32, u64)>,
}

/// The right to publish under a name, as long as it lives.
#[derive(Debug)]
pub struct Seat {
    /// Its place in the table.
    pub(crate) place: u32,
    /// Its lock is held through it.
    _lock: LockFile,
}

impl Log {
    fn sources_used(&self) -> u32 {
        // Foreign numbers end at the table's end.
        self.control(status::SOURCES_USED).load(Ordering::Acquire).min(self.geometry.sources_max().into()) as u32
    }

    fn source_name(&self, place: u32) -> Label {
        Label::read(&self.region, self.geometry.source_name_at(place))
    }

    fn source_sequence(&self, place: u32) -> &AtomicU64 {
        self.region.word(self.geometry.source_sequence_at(place))
    }

    /// Hands the place of each frame's source in `[from, to)`, and its sequence, to `each`; where the frames end before, so does this.
    ///
    /// Nobody makes room meanwhile: the caller is the one who would.
    fn each_source(&self, sources: &Sources, from: u64, to: u64, mut each: impl FnMut(u32, u64)) {
        let mut position = from;
        while position < to {
            match self.look(position) {
                Look::Frame(word, end) => {
                    if word.flags() & FLAG_EXTENSIONS != 0 {
                        // SAFETY: `look` found it, and what isn't reclaimed is not written over, which is the caller's to do.
                        let body = unsafe { self.body(position, word.length()) };
                        let fields = Parts::of(&self.geometry, word, body).map(|parts| parts.fields);
                        if let Ok(Some(source)) = fields.and_then(|fields| fields.source())
                            && let Some(place) = sources.names.iter().position(|name| name.name() == source.name)
                        {
                            each(place as u32, source.sequence);
                        }
                    }
                    position = end;
                }
                Look::Padding(end) => position = end,
                // Another publisher is about it, and others may have committed behind it. It isn't a frame of a source that somebody asks for, who has its seat.
                Look::Nothing => match self.end_of_claim(position) {
                    Some(end) => position = end,
                    None => return,
                },
                Look::Strange => return,
            }
        }
    }
}

impl Sources {
    /// Learns of names that came since.
    fn refresh(&mut self, log: &Log) {
        let used = log.sources_used();
        for place in self.names.len() as u32..used {
            self.names.push(log.source_name(place));
        }
    }

    /// Before the head moves to `to`: takes down how far each source got in what is given up.
    ///
    /// Cost: a load where there are no sources; where each was noted a few; else a look at each frame.
    pub(crate) fn take_down(&mut self, log: &Log, to: u64) {
        if log.control(status::SOURCES_USED).load(Ordering::Relaxed) == 0 {
            return;
        }
        let take_down = |place, sequence| {
            let highest = log.source_sequence(place);
            highest.store(highest.load(Ordering::Relaxed).max(sequence), Ordering::Relaxed);
        };
        let mut from = log.head();
        if let Some((_, end)) = self.noted_between.filter(|(begin, _)| *begin <= from) {
            // What was noted is in the log, if perhaps not in what is given up.
            self.noted.iter().for_each(|(place, sequence)| take_down(*place, *sequence));
            from = from.max(end);
        }
        if from < to {
            self.refresh(log);
            log.each_source(self, from, to, take_down);
        }
        crash_point!("source.taken_down");
    }

    /// The last sequence of the name at `place`; zero if there is none.
    fn last(&mut self, log: &Log, place: u32) -> u64 {
        self.refresh(log);
        let mut last = log.source_sequence(place).load(Ordering::Relaxed);
        let head = log.head();
        let end = head.saturating_add(log.geometry.capacity);
        log.each_source(self, head, end, |at, sequence| {
            if at == place {
                last = last.max(sequence);
            }
        });
        last
    }
}

impl OnePublisher {
    /// From here on, the caller notes the source of each message that has one, and so saves the look at each frame that is given up.
    pub(crate) fn note_sources(&mut self) {
        self.sources.noted_between = Some((self.tail(), self.tail()));
    }

    /// The messages of the source at `place` are published up to `sequence`.
    #[inline]
    pub(crate) fn note(&mut self, place: u32, sequence: u64) {
        let tail = self.tail();
        if let Some((_, end)) = &mut self.sources.noted_between {
            *end = tail;
        }
        match self.sources.noted.iter_mut().find(|noted| noted.0 == place) {
            Some(noted) => noted.1 = sequence,
            None => self.sources.noted.push((place, sequence)),
        }
    }

    /// How far the source in `seat` got; zero if it has published nothing.
    pub(crate) fn last_sequence(&mut self, seat: &Seat) -> u64 {
        self.sources.last(&self.log, seat.place)
    }
}

impl ManyPublisher {
    /// The same. Nobody makes room meanwhile, which this one sees to by the lease.
    pub(crate) fn last_sequence(&mut self, seat: &Seat) -> Result<u64, ClaimError> {
        let lease = self.log.control(control::LEASE);
        while let Err(holder) = lease.compare_exchange(0, u64::from(self.me) + 1, Ordering::Acquire, Ordering::Relaxed)
        {
            let holder = u32::try_from(holder - 1).map_err(|_| ClaimError::Corrupt)?;
            if !self.peers.bury_publisher(&self.log, holder) {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        crash_point!("source.leased");
        let last = self.sources.last(&self.log, seat.place);
        self.log.control(control::LEASE).store(0, Ordering::Release);
        Ok(last)
    }
}

impl Topic {
    /// The names of the sources that the topic has had.
    ///
    /// Cost: some system calls. Errors: [`TopicError`].
    pub fn source_names(&self) -> Result<Vec<String>, TopicError> {
        let log = self.map_log(Access::ReadOnly, &memlane_shm::MapOptions::default())?;
        Ok((0..log.sources_used()).map(|place| log.source_name(place).name().to_owned()).collect())
    }

    /// Takes the seat of the source `name`, if nobody who lives has it.
    ///
    /// Cost: some ten system calls. Errors: [`TopicError`].
    pub fn seat(&self, name: &str) -> Result<Seat, TopicError> {
        let name = Label::new(name).map_err(|_| {
            let (option, reason) = ("the length of a source's name", "a source's name has 1 to 120 bytes");
            TopicError::BadOption { option, value: name.len() as u64, reason }
        })?;
        let log = self.map_log(Access::ReadWrite, &memlane_shm::MapOptions::default())?;
        let lock = self.locks(LOG_FILE, Access::ReadWrite)?;
        let failed = |error| SegmentError::of(&self.path().join(LOG_FILE), "lock a source's place", error);
        // The lock after those of publishers and of sources: of who gives out places.
        let (first, places) = (self.geometry.publishers_max, self.geometry.sources_max());
        let registrar = self.locks(LOG_FILE, Access::ReadWrite)?;
        while !registrar.try_lock(first + places).map_err(failed)? {
            // Whoever has it gives out a place, which takes some microseconds, or is stopped, or dies.
            std::thread::sleep(Duration::from_micros(100));
        }
        let used = log.sources_used();
        let place = (0..used).find(|place| log.source_name(*place) == name);
        let Some(place) = place.or((used < places).then_some(used)) else {
            return Err(TopicError::SourcesFull { path: self.path().to_path_buf(), sources: places });
        };
        if !lock.try_lock(first + place).map_err(failed)? {
            return Err(TopicError::SourceTaken { path: self.path().to_path_buf(), name: name.name().to_owned() });
        }
        if place == used {
            log.source_sequence(place).store(0, Ordering::Relaxed);
            name.write(&log.region, self.geometry.source_name_at(place));
            crash_point!("source.named");
            log.control(status::SOURCES_USED).store(u64::from(used) + 1, Ordering::Release);
        }
        Ok(Seat { place, _lock: lock })
    }
}
