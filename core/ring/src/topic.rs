//! A topic on the file system: made whole, opened with distrust, joined by publishers and subscribers.

use crate::bell::BusBell;
use crate::error::TopicError;
use crate::header::{Header, HeaderError, IDENTITY_AT, Publishers};
use crate::join::{self, JoinError, NoPlace, Start};
use crate::layout::{Geometry, HEADER_BYTES, control, slot, subs};
use crate::lossy::Lossy;
use crate::many::ManyPublisher;
use crate::memory::{Log, State, Subs};
use crate::observer::Observer;
use crate::one::OnePublisher;
use crate::publisher::Publisher;
use crate::rate::RateLimit;
use crate::read::Gated;
use crate::recover;
use crate::wake;
use memlane_shm::barrier::Light;
use memlane_shm::clock::Ticker;
use memlane_shm::segment::{is_at, open_file, open_locks};
use memlane_shm::sync::{Ordering, fence};
use memlane_shm::{Access, LockFile, MapOptions, Segment, SegmentError, crash_point, named};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file with the log.
pub const LOG_FILE: &str = "log";
/// The file with the subscriber table.
pub const SUBS_FILE: &str = "subs";
/// The file with the description of the message type, as text, if the topic has one. Nobody but root may write it.
pub const TYPE_FILE: &str = "type";

/// The directory of the bus of the topic in the directory `path`.
pub(crate) fn bus_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Tells those who wait for topics of the bus in `directory`, if there can be some.
pub(crate) fn note_change(directory: &Path) {
    if let Some(bell) = BusBell::open(directory) {
        bell.note_change();
    }
}

/// A topic that exists, or did when it was opened. Holds no memory and no lock.
#[derive(Clone, Debug)]
pub struct Topic {
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
    pub(crate) geometry: Geometry,
}

impl Topic {
    /// Reads what the topic in the directory `path` is.
    ///
    /// Cost: four system calls, six where it is a named segment. Errors: [`TopicError`].
    pub fn open(path: &Path) -> Result<Self, TopicError> {
        let log = path.join(LOG_FILE);
        let is_missing = |file: &Result<_, _>| matches!(file, Err(SegmentError::NotFound { .. })) && path.is_dir();
        let mut file = open_file(&log, Access::ReadOnly);
        if is_missing(&file) {
            // A topic comes and goes whole: this one came a moment ago, and its log with it.
            file = open_file(&log, Access::ReadOnly);
            if is_missing(&file) {
                return Err(TopicError::Header { path: log, source: HeaderError::Missing });
            }
        }
        let file = file.map_err(|error| not_found(path, error))?;
        let mut page = vec![0; HEADER_BYTES];
        let read = file.read_exact_at(&mut page, 0);
        let header_error = |source| TopicError::Header { path: log.clone(), source };
        read.map_err(|_| header_error(HeaderError::NotMemlane))?;
        let header = Header::from_page(&page).map_err(header_error)?;
        if let Err(missing) = named::check_memory(&log, &file) {
            // Or it was removed a moment ago, and another one may be in its place.
            return if is_at(&log, &file) { Err(missing.into()) } else { Self::open(path) };
        }
        let geometry = header.options.geometry()?;
        Ok(Self { path: path.to_path_buf(), header, geometry })
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of its bus.
    #[must_use]
    pub fn bus_directory(&self) -> &Path {
        bus_of(&self.path)
    }

    /// What its immutable page says.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its sizes and places.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Becomes a publisher. On a topic for one, waits until `stand_by` for a living one to go: zero refuses at once.
    ///
    /// Cost: about ten system calls. Errors: [`TopicError`].
    pub fn publisher(&self, map: &MapOptions, stand_by: Duration) -> Result<Publisher, TopicError> {
        self.limited_publisher(map, stand_by, &RateLimit::default())
    }

    /// As [`Topic::publisher`], with a limit of its own beside the topic's.
    ///
    /// Errors: [`TopicError`].
    pub fn limited_publisher(
        &self,
        map: &MapOptions,
        stand_by: Duration,
        own: &RateLimit,
    ) -> Result<Publisher, TopicError> {
        own.check()?;
        Ok(self.unlimited_publisher(map, stand_by)?.limit(own, &self.header.options.rate_limit))
    }

    fn unlimited_publisher(&self, map: &MapOptions, stand_by: Duration) -> Result<Publisher, TopicError> {
        // The first call in a threaded process waits for the kernel's grace period, 10 ms: not with a lock in hand.
        let _ = Light::for_this_process();
        let (mut log, subs) = (self.map_log(Access::ReadWrite, map)?, self.map_subs()?);
        log.last = self.map_last(Access::ReadWrite, map)?;
        crash_point!("attach.mapped");
        let locks = self.locks(LOG_FILE, Access::ReadWrite)?;
        let subscribers = self.locks(SUBS_FILE, Access::ReadWrite)?;
        let ticker = self.ticker();
        if let Publishers::Many(slots) = self.header.options.publishers {
            if let Some(me) = self.lock_any(&locks, slots)? {
                return Ok(ManyPublisher::attach(log, subs, me, ticker, locks, subscribers).into());
            }
            return Err(TopicError::PublishersFull { path: self.path.clone(), slots });
        }
        // Nothing wakes whoever waits for a lock with a deadline, so a stand-by asks every half millisecond.
        let deadline = Instant::now().checked_add(stand_by);
        while !self.lock(&locks, 0)? {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                let pid = log.slot(0).get(slot::PID);
                return Err(TopicError::PublisherExists { path: self.path.clone(), pid });
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        if log.state() == State::Removed {
            return Err(TopicError::NotFound { path: self.path.clone() });
        }
        let position = log.head();
        OnePublisher::attach(log, subs, ticker, locks, subscribers)
            .map(Publisher::from)
            .ok_or(TopicError::Corrupt { path: self.path.clone(), position })
    }

    /// Joins as a subscriber that holds publishers back.
    ///
    /// Cost: about ten system calls; for a start other than live or latest a look at the frames in between.
    /// Errors: [`TopicError`].
    pub fn gated(&self, map: &MapOptions, start: Start) -> Result<Gated, TopicError> {
        if self.header.options.lossy_only {
            return Err(TopicError::LossyOnly { path: self.path.clone() });
        }
        // Before the slot holds publishers: see `publisher`.
        let light = Light::for_this_process();
        let (log, subs) = (self.map_log(Access::ReadOnly, map)?, self.map_subs()?);
        crash_point!("attach.mapped");
        let subscribers = self.locks(SUBS_FILE, Access::ReadWrite)?;
        let publishers = self.locks_of_many()?;
        let joined = join::join(&log, &subs, &subscribers, start).map_err(|error| match error {
            JoinError::System(error) => SegmentError::of(&self.path.join(SUBS_FILE), "lock a slot", error).into(),
            JoinError::NoPlace(none) => self.no_place(none, start),
        })?;
        let slots = self.geometry.subscribers_max;
        let (slot, position) = joined.ok_or(TopicError::SubscribersFull { path: self.path.clone(), slots })?;
        Ok(Gated {
            log,
            subs,
            slot,
            position,
            light,
            publishers,
            subscribers,
            empty_polls: 0,
            first_look: Default::default(),
            usual: Default::default(),
            skipped: 0,
        })
    }

    /// Moves `gated`, a subscriber of this topic, past everything that is there, in the slot that it has.
    ///
    /// Cost: a look at the newest frames. Errors: [`TopicError`]; then it stays where it is.
    pub fn skip_to_live(&self, map: &MapOptions, gated: &mut Gated) -> Result<(), TopicError> {
        if gated.log.state() == State::Forked {
            // The slot is the parent's.
            *gated = self.gated(map, Start::Live)?;
            return Ok(());
        }
        // Its own cursor holds everything from its position on meanwhile.
        let live = join::place(&gated.log, gated.position, Start::Live);
        gated.position = live.map_err(|none| self.no_place(none, Start::Live))?;
        // RELEASE and WAKE, as for every message that was read: see read.rs.
        gated.subs.cursor(gated.slot).store(gated.position + 1, Ordering::Release);
        gated.light.fence();
        wake::ring_publishers_at(&gated.subs, gated.position);
        Ok(())
    }

    /// Joins as a subscriber that never holds anyone up. Permission to read `log` is enough.
    ///
    /// Cost: about six system calls. Errors: [`TopicError`].
    pub fn lossy(&self, map: &MapOptions, start: Start) -> Result<Lossy, TopicError> {
        let log = self.map_log(Access::ReadOnly, map)?;
        // Without permission to say that it sleeps it naps instead.
        let subs = match self.map_subs() {
            Ok(subs) => Some(subs),
            Err(TopicError::Segment(SegmentError::NoPermission { .. })) => None,
            Err(error) => return Err(error),
        };
        let publishers = self.locks_of_many()?;
        let position = loop {
            let head = log.head();
            let placed = join::place(&log, head, start);
            // OVERTAKEN, as for every look of a lossy subscriber: what it found counts if the head hasn't passed it.
            fence(Ordering::Acquire);
            if log.head() == head {
                break placed.map_err(|none| self.no_place(none, start))?;
            }
        };
        let observer = subs.as_ref().and_then(|subs| {
            let locks = self.locks(SUBS_FILE, Access::ReadWrite).ok()?;
            Observer::new(subs, locks, &self.geometry)
        });
        let buffer = Lossy::buffer_for(self.geometry.body_max);
        Ok(Lossy { log, subs, position, publishers, empty_polls: 0, observer, is_backed: false, buffer })
    }

    /// What to ask who of many publishers lives; one leaves nothing behind for which that must be known.
    fn locks_of_many(&self) -> Result<Option<LockFile>, TopicError> {
        self.geometry.many.then(|| self.locks(LOG_FILE, Access::ReadOnly)).transpose()
    }

    fn no_place(&self, none: NoPlace, start: Start) -> TopicError {
        match (none, start) {
            (NoPlace::NotThere { from, to }, Start::Position(position)) => {
                TopicError::NoSuchPosition { position, from, to }
            }
            (NoPlace::NotThere { from: position, .. } | NoPlace::Corrupt { position }, _) => {
                TopicError::Corrupt { path: self.path.clone(), position }
            }
        }
    }

    /// Frees what dead participants left, at once; returns how many publishers and subscribers that were.
    ///
    /// On a topic for one publisher its place isn't taken for that, so nobody is kept out: only subscribers leave anything there.
    /// Errors: [`TopicError`].
    pub fn sweep(&self) -> Result<(usize, usize), TopicError> {
        if self.geometry.many {
            return Ok(self.publisher(&MapOptions::default(), Duration::ZERO)?.sweep());
        }
        let (subs, locks) = (self.map_subs()?, self.locks(SUBS_FILE, Access::ReadWrite)?);
        Ok((0, recover::release_dead_subscribers(&locks, &subs)))
    }

    pub(crate) fn map_log(&self, access: Access, map: &MapOptions) -> Result<Log, TopicError> {
        let path = self.path.join(LOG_FILE);
        let segment = Segment::open(&path, access, map).map_err(|error| self.explain_missing(&path, error))?;
        self.check_size(&path, segment.region().len(), self.geometry.log_bytes())?;
        let header = Header::from_page(&crate::header::copy_page(segment.region()))
            .map_err(|source| TopicError::Header { path: path.clone(), source })?;
        if header.identity() != self.header.identity() {
            return Err(TopicError::NotFound { path: self.path.clone() });
        }
        let mut log = Log::new(segment.region().clone(), self.geometry);
        // Who only reads never rings.
        if access == Access::ReadWrite {
            log.bell = BusBell::open(self.bus_directory()).map(|bell| (bell, self.header.epoch));
        }
        Ok(log)
    }

    pub(crate) fn map_subs(&self) -> Result<Subs, TopicError> {
        self.map_subs_for(Access::ReadWrite)
    }

    pub(crate) fn map_subs_for(&self, access: Access) -> Result<Subs, TopicError> {
        let path = self.path.join(SUBS_FILE);
        let segment =
            Segment::open(&path, access, &MapOptions::default()).map_err(|error| self.explain_missing(&path, error))?;
        self.check_size(&path, segment.region().len(), self.geometry.subs_bytes())?;
        self.header
            .check_subs_page(&crate::header::copy_page(segment.region()))
            .map_err(|source| self.unless_replaced(TopicError::Header { path, source }))?;
        Ok(Subs::new(segment.region().clone(), &self.geometry))
    }

    pub(crate) fn check_size(&self, path: &Path, found: usize, expected: usize) -> Result<(), TopicError> {
        if found == expected {
            return Ok(());
        }
        let source = HeaderError::WrongSize { found: found as u64, expected: expected as u64 };
        Err(self.unless_replaced(TopicError::Header { path: path.to_path_buf(), source }))
    }

    /// A description of a file of its own, to lock slots on: of the very file that is mapped, whatever has its name by now.
    pub(crate) fn locks(&self, name: &str, access: Access) -> Result<LockFile, TopicError> {
        let path = self.path.join(name);
        let locks = open_locks(&path, access).map_err(|error| self.explain_missing(&path, error))?;
        let mut identity = [0; 16];
        match locks.file().read_exact_at(&mut identity, IDENTITY_AT) {
            Ok(()) if identity == self.header.identity() => Ok(locks),
            _ => Err(TopicError::NotFound { path: self.path.clone() }),
        }
    }

    /// The publishers' locks: to ask who of them lives, or, with write access, to take a dead one's.
    ///
    /// Cost: two system calls. Errors: [`TopicError`].
    pub fn publisher_locks(&self, access: Access) -> Result<LockFile, TopicError> {
        self.locks(LOG_FILE, access)
    }

    pub(crate) fn explain_missing(&self, path: &Path, error: SegmentError) -> TopicError {
        match error {
            SegmentError::NotFound { .. } => {
                self.unless_replaced(TopicError::Header { path: path.to_path_buf(), source: HeaderError::Missing })
            }
            // Or it was removed since its file was opened.
            lost @ SegmentError::Lost { .. } => self.unless_replaced(lost.into()),
            other => other.into(),
        }
    }

    /// `error`, unless the topic was removed meanwhile, and perhaps another one made in its place.
    pub(crate) fn unless_replaced(&self, error: TopicError) -> TopicError {
        match Self::open(&self.path) {
            Ok(now) if now.header.identity() == self.header.identity() => error,
            Ok(_) | Err(TopicError::NotFound { .. }) => TopicError::NotFound { path: self.path.clone() },
            Err(_) => error,
        }
    }

    /// Locks the first free slot of many. Looks twice: who clears up after a dead one has its slot for a moment.
    fn lock_any(&self, locks: &LockFile, slots: u32) -> Result<Option<u32>, TopicError> {
        for look in 0..2 {
            std::thread::sleep(Duration::from_millis(look));
            for slot in 0..slots {
                if self.lock(locks, slot)? {
                    return Ok(Some(slot));
                }
            }
        }
        Ok(None)
    }

    fn lock(&self, locks: &LockFile, slot: u32) -> Result<bool, TopicError> {
        locks
            .try_lock(slot)
            .map_err(|error| SegmentError::of(&self.path.join(LOG_FILE), "lock a publisher's slot", error).into())
    }

    fn ticker(&self) -> Option<Ticker> {
        let source = self.header.calibration.source;
        self.geometry.stamps.then(|| Ticker::of(source).unwrap_or_else(Ticker::best))
    }
}

pub(crate) fn not_found(path: &Path, error: SegmentError) -> TopicError {
    match error {
        SegmentError::NotFound { .. } => TopicError::NotFound { path: path.to_path_buf() },
        other => other.into(),
    }
}

const _: () = assert!(control::HEAD > 0 && subs::QUIET > 0);
