//! Carries a topic from its ring into its journal: what has been published is one run of bytes there, and becomes one batch here.
//!
//! The ring keeps a run until it is recorded, and with [`SyncPolicy::Batch`] until it is durable. So what a failing disk refuses is still there when
//! it works again, and publishers are held up meanwhile, or the run is let go and the gap recorded, as asked.
//!
//! A recorder is in no publisher's way: it naps while messages flow, and what piles up meanwhile is written at once. Only after a while without
//! any it has itself woken.

use crate::beside::Beside;
use crate::control::RecorderControl;
use crate::error::JournalError;
use crate::options::{OnFailure, RecorderOptions, SyncPolicy};
use crate::record::GapReason;
use crate::recover::Recovery;
use crate::storage::{Room, Storage};
use crate::subject::Subject;
use crate::tally::Tally;
use crate::writer::{Frames, PendingSync, Writer, WriterOptions};
use memlane_ring::{Gated, ReadError, Run, Start, Topic, TopicError};
use memlane_shm::MapOptions;
use memlane_shm::clock;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Most bytes of a batch, unless a single frame is longer, or a quarter of the ring is less. With a quarter of that, writing takes half again as
/// long, since each write has its price in the file system.
pub const BATCH_BYTES_MAX: u64 = 1 << 20;

const NAP: Duration = Duration::from_micros(50);
/// After so long without a message it has itself woken.
const NAPS_FOR: Duration = Duration::from_millis(10);
/// It looks round at least so often.
const SLEEP_MAX: Duration = Duration::from_millis(100);
/// After so long without a message it looks round more rarely, if whoever has it run can wake it.
const SLEEPS_FOR: Duration = Duration::from_secs(2);
/// It looks round at least so often then.
const LONG_SLEEP_MAX: Duration = Duration::from_secs(1);
/// How often it looks whether something has grown too old.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// How often it looks whether the journal was removed.
const LOOK_ROUND_EVERY: Duration = Duration::from_millis(100);
/// How long it waits before it asks a disk again that has refused.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Why a topic can't be recorded, or not any longer.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The journal can't be opened or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The topic can't be joined.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The topic was removed. All of it is recorded.
    #[error("the topic was removed")]
    Removed,
    /// The topic can't be read any further.
    #[error("the topic can't be read any further: {0}")]
    Read(ReadError),
}

impl From<ReadError> for RecordError {
    fn from(error: ReadError) -> Self {
        if error == ReadError::Removed { Self::Removed } else { Self::Read(error) }
    }
}

/// What came of a turn.
#[derive(Debug)]
pub enum Turn {
    /// Something was recorded.
    Recorded,
    /// There was nothing to record.
    Idle,
    /// The journal refused, for the first time in a row: from now on messages wait, or are not recorded.
    Failing(JournalError),
    /// It still refuses.
    StillFailing(JournalError),
    /// Something was recorded, and what isn't to be kept could not be given up: it is tried again with the next segment.
    NotPruned(JournalError),
    /// A closed segment could not be compressed or compacted, and stays as it is: it is tried again in a minute, unless it is damaged.
    NotCompressed(JournalError),
    /// It takes messages again. Those that weren't recorded are those from the first position to the second, if there are any.
    Recovered {
        /// What is missing.
        gap: Option<(u64, u64)>,
    },
}

/// Records one topic.
#[derive(Debug)]
pub struct Recorder {
    gated: Gated,
    writer: Writer,
    options: RecorderOptions,
    tally: Tally,
    batch_bytes_max: u64,
    /// Of the ring, in bytes.
    capacity: u64,
    is_failing: bool,
    /// What was let go of without being recorded, since the journal refuses.
    missing: Option<(u64, u64)>,
    /// Up to where publishers were told that it is durable.
    told_durable: u64,
    /// When retention was looked after, and with how many new segments.
    pruned: Option<(u64, Instant)>,
    beside: Beside,
    looked_round: Instant,
    last_sync: Instant,
    syncing: Option<JoinHandle<(PendingSync, io::Result<()>)>>,
    /// How much whoever has it run had told it when it looked last.
    told: u32,
}

impl Recorder {
    /// Begins, or goes on, to record `topic` in `directory`, from the oldest message that the ring still has, or where the journal ends.
    /// What the ring let go of in between is recorded as a gap. `description` is that of its messages' type, if it has one.
    ///
    /// Cost: as of opening a writer, and of joining a topic. Errors: [`RecordError`].
    pub fn open(
        topic: &Topic,
        description: &str,
        storage: Arc<dyn Storage>,
        directory: &Path,
        options: RecorderOptions,
    ) -> Result<(Self, Recovery), RecordError> {
        let beside = Beside::new(options.compression, options.compaction)?;
        let map = MapOptions::default();
        let header = topic.header();
        let subject =
            Subject { epoch: header.epoch, options: header.options.clone(), description: description.to_owned() };
        // First it holds what there is.
        let mut gated = topic.gated(&map, Start::Earliest)?;
        let is_synced_each = options.sync == SyncPolicy::Batch;
        let writer_options = WriterOptions {
            segment_bytes: options.segment_bytes,
            room: if is_synced_each { Room::Written } else { Room::Reserved },
            syncs: options.sync != SyncPolicy::None,
        };
        let begin = gated.position();
        let (mut writer, recovery) =
            Writer::open(storage, directory, &subject, header.calibration, begin, writer_options)?;
        if writer.end() > begin {
            gated = topic.gated(&map, Start::Position(writer.end()))?;
        } else if writer.end() < begin {
            writer.gap(begin, GapReason::NotRecorded)?;
        }
        if options.sync != SyncPolicy::None {
            gated.record_durably(writer.synced());
        }
        let tally = Tally::new(topic.geometry(), header.calibration, writer.sources());
        let (last_sync, syncing, told_durable) = (Instant::now(), None, writer.synced());
        let capacity = topic.geometry().capacity;
        let batch_bytes_max = BATCH_BYTES_MAX.min(capacity / 4);
        let (is_failing, missing) = (false, None);
        let recorder = Self {
            gated,
            writer,
            options,
            tally,
            batch_bytes_max,
            capacity,
            is_failing,
            missing,
            told_durable,
            pruned: None,
            beside,
            looked_round: last_sync,
            last_sync,
            syncing,
            told: 0,
        };
        Ok((recorder, recovery))
    }

    /// Where the journal ends.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.writer.end()
    }

    /// Everything before this position survives a loss of power.
    #[must_use]
    pub fn synced(&self) -> u64 {
        self.writer.synced()
    }

    /// How many messages the journal was ever given.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.writer.messages()
    }

    /// Records what has been published, a batch of it at most.
    ///
    /// Cost: as of an append, and of the sync if each batch is. Errors: [`RecordError`], after which there is no going on; what may pass is told as a
    /// [`Turn`].
    pub fn turn(&mut self) -> Result<Turn, RecordError> {
        if let Err(error) = self.look_round().and_then(|()| self.look_after_sync()) {
            return self.refused(error);
        }
        self.beside.look_after(&self.writer);
        self.tally.clear();
        let tally = &mut self.tally;
        let Some(run) = self.gated.poll_run(self.batch_bytes_max, |_, word, body| tally.take(word, body))? else {
            return self.idle();
        };
        let recorded = record(&mut self.writer, &run, &self.tally, self.is_failing, self.options.sync);
        if let Err(error) = recorded {
            if self.options.on_failure == OnFailure::GoOn {
                give_up(run, &mut self.missing);
            }
            return self.refused(error);
        }
        run.release();
        self.tell_durable();
        if std::mem::take(&mut self.is_failing) {
            return Ok(Turn::Recovered { gap: self.missing.take() });
        }
        Ok(self.keep(Turn::Recorded))
    }

    /// With nothing to record: syncs what a recorder before this one has not, and gives up what has grown too old.
    fn idle(&mut self) -> Result<Turn, RecordError> {
        let is_behind = self.writer.synced() < self.writer.end() && !self.writer.has_failed();
        if self.options.sync == SyncPolicy::Batch && is_behind {
            if let Err(error) = self.writer.sync() {
                return self.refused(error);
            }
            self.tell_durable();
        }
        Ok(self.keep(Turn::Idle))
    }

    /// Looks after what is recorded, after a turn; gives that, or what has gone wrong.
    fn keep(&mut self, turn: Turn) -> Turn {
        match (self.prune(), self.beside.take_error()) {
            (Err(error), _) => Turn::NotPruned(error),
            (_, Some(error)) => Turn::NotCompressed(error),
            _ => turn,
        }
    }

    /// Gives up what isn't to be kept: after each new segment, and now and then what has grown too old.
    fn prune(&mut self) -> Result<(), JournalError> {
        if !self.options.retention.is_limited() {
            return Ok(());
        }
        let rolls = self.writer.rolls();
        let is_done = |(done, at): (u64, Instant)| done == rolls && at.elapsed() < PRUNE_EVERY;
        if !self.pruned.is_some_and(is_done) {
            self.pruned = Some((rolls, Instant::now()));
            self.writer.prune(&self.options.retention)?;
        }
        Ok(())
    }

    fn refused(&mut self, error: JournalError) -> Result<Turn, RecordError> {
        if !error.may_pass() {
            return Err(error.into());
        }
        let was_failing = std::mem::replace(&mut self.is_failing, true);
        Ok(if was_failing { Turn::StillFailing(error) } else { Turn::Failing(error) })
    }

    /// Records until `stop` says so, and what was published before that; then syncs, if it is to. Each turn that isn't a matter of course is told to
    /// `tell`.
    ///
    /// Errors: [`RecordError`]; [`RecordError::Removed`] once all of a removed topic is recorded.
    pub fn run(&mut self, stop: &AtomicBool, tell: impl FnMut(&Self, &Turn)) -> Result<(), RecordError> {
        self.run_until(|_| stop.load(Ordering::Acquire), None, tell)
    }

    /// As [`Recorder::run`], until `control` says so; keeps what that says. While nothing is published for seconds it wakes up once a second.
    ///
    /// Errors: as for [`Recorder::run`].
    pub fn run_by(&mut self, control: &RecorderControl, tell: impl FnMut(&Self, &Turn)) -> Result<(), RecordError> {
        let mut told = None;
        let look = |recorder: &mut Self| {
            let so_far = control.told_so_far();
            if told.replace(so_far) != Some(so_far) {
                recorder.options.retention = control.retention();
                recorder.pruned = None;
            }
            recorder.told = so_far;
            control.stops()
        };
        self.run_until(look, Some(control), tell)
    }

    /// Records until `look`, which is asked before each turn, says that it is over.
    fn run_until(
        &mut self,
        mut look: impl FnMut(&mut Self) -> bool,
        control: Option<&RecorderControl>,
        mut tell: impl FnMut(&Self, &Turn),
    ) -> Result<(), RecordError> {
        let (mut idle_since, mut last) = (None, None);
        loop {
            let stops = look(self);
            // What was published before lies within a ring's length.
            let here = self.gated.position();
            if stops && here >= *last.get_or_insert(here + self.capacity) {
                return Ok(self.finish()?);
            }
            let turn = self.turn();
            match turn {
                Ok(Turn::Recorded) => idle_since = None,
                Ok(Turn::Idle) if stops => return Ok(self.finish()?),
                Ok(Turn::Idle) => self.rest(idle_since.get_or_insert_with(Instant::now).elapsed(), control),
                Ok(turn @ (Turn::Recovered { .. } | Turn::NotPruned(_) | Turn::NotCompressed(_))) => tell(self, &turn),
                Ok(Turn::Failing(error) | Turn::StillFailing(error)) if stops => return Err(error.into()),
                Ok(turn) => {
                    tell(self, &turn);
                    self.wait_for_the_disk()?;
                }
                Err(RecordError::Removed) => {
                    return self.finish().map_err(RecordError::from).and(Err(RecordError::Removed));
                }
                Err(error) => {
                    // What is wrong already is the more telling.
                    let _ = self.finish();
                    return Err(error);
                }
            }
        }
    }

    /// Leaves the disk alone for a while; where publishers are not to wait for it, gives up what they publish meanwhile.
    fn wait_for_the_disk(&mut self) -> Result<(), RecordError> {
        if self.options.on_failure == OnFailure::Hold {
            std::thread::sleep(RETRY_AFTER);
            return Ok(());
        }
        let begin = Instant::now();
        while begin.elapsed() < RETRY_AFTER {
            match self.gated.poll_run(self.batch_bytes_max, |_, _, _| ())? {
                Some(run) => give_up(run, &mut self.missing),
                None => self.gated.nap(NAP),
            }
        }
        Ok(())
    }

    /// Waits until all that is recorded is as durable as it is to be, and gives back what the journal doesn't need.
    fn finish(&mut self) -> Result<(), JournalError> {
        self.join_sync()?;
        if self.options.sync != SyncPolicy::None {
            self.writer.sync()?;
        }
        self.tell_durable();
        self.beside.finish(&self.writer);
        self.writer.close()
    }

    /// Tells publishers that wait for it.
    fn tell_durable(&mut self) {
        let synced = self.writer.synced();
        if self.options.sync != SyncPolicy::None && synced > self.told_durable {
            self.gated.set_durable(synced);
            self.told_durable = synced;
        }
    }

    fn rest(&mut self, idle: Duration, control: Option<&RecorderControl>) {
        if idle < NAPS_FOR {
            return self.gated.nap(NAP);
        }
        let may_sleep_long = idle >= SLEEPS_FOR && !self.beside.is_at_work();
        let longest = match self.options.sync {
            SyncPolicy::Interval(interval) if self.writer.synced() < self.writer.end() => interval.min(SLEEP_MAX),
            _ if may_sleep_long => LONG_SLEEP_MAX,
            _ => SLEEP_MAX,
        };
        if !control.is_some_and(|control| self.gated.sleep_for_run_or(control.word(self.told), longest)) {
            self.gated.sleep_for_run(longest.min(SLEEP_MAX));
        }
    }

    /// Now and then, whether what is written is still there.
    fn look_round(&mut self) -> Result<(), JournalError> {
        if self.looked_round.elapsed() < LOOK_ROUND_EVERY {
            return Ok(());
        }
        self.looked_round = Instant::now();
        self.writer.check_is_there()
    }

    /// Takes in the sync that goes on beside, if it has ended, and begins the next when it is time. After one that failed the journal goes on where the last good
    /// one ended.
    fn look_after_sync(&mut self) -> Result<(), JournalError> {
        let SyncPolicy::Interval(interval) = self.options.sync else { return Ok(()) };
        if self.syncing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join_sync()?;
        }
        if self.writer.has_failed() && self.syncing.is_none() {
            // The ring has let go of what was for that sync: it is a gap.
            let (from, to) = (self.writer.mend()?, self.gated.position());
            self.missing = (from < to).then_some((from, to)).or(self.missing);
        }
        let is_due = self.writer.synced() < self.writer.end() && self.last_sync.elapsed() >= interval;
        if self.syncing.is_none() && is_due {
            self.last_sync = Instant::now();
            let pending = self.writer.begin_sync();
            let thread = std::thread::Builder::new().name("memlane-sync".to_owned());
            let handle = thread.spawn(move || {
                let result = pending.run();
                (pending, result)
            });
            // Without a thread beside it is done here.
            match handle {
                Ok(handle) => self.syncing = Some(handle),
                Err(_) => self.writer.sync()?,
            }
        }
        Ok(())
    }

    fn join_sync(&mut self) -> Result<(), JournalError> {
        let Some(handle) = self.syncing.take() else { return Ok(()) };
        let (pending, result) = handle.join().expect("a sync doesn't panic");
        self.writer.has_synced(&pending, result)?;
        self.tell_durable();
        Ok(())
    }
}

/// Lets go of `run`, which the journal can't take: it is `missing` too.
fn give_up(run: Run<'_>, missing: &mut Option<(u64, u64)>) {
    *missing = Some((missing.map_or(run.position(), |missing| missing.0), run.end()));
    run.release();
}

/// Appends `run`, of which `tally` says what is in it.
fn record(
    writer: &mut Writer,
    run: &Run<'_>,
    tally: &Tally,
    was_failing: bool,
    sync: SyncPolicy,
) -> Result<(), JournalError> {
    if writer.has_failed() {
        writer.mend()?;
    }
    if run.position() > writer.end() {
        // Nobody recorded what lies between, or there was nothing: a dead publisher's frame, which subscribers pass over.
        let reason = if was_failing { GapReason::Failed } else { GapReason::Abandoned };
        writer.gap(run.position(), reason)?;
    }
    // A run that was recorded and could not be synced comes again.
    if run.end() > writer.end() {
        let now = clock::unix_ns();
        let frames = Frames {
            position: run.position(),
            bytes: run.bytes(),
            messages: u32::try_from(run.messages()).expect("a batch has fewer messages than bytes"),
            first_unix_ns: tally.first_unix_ns().unwrap_or(now),
            highest_unix_ns: tally.highest_unix_ns().unwrap_or(now),
        };
        let moved: Vec<(&str, u64)> = tally.sources().collect();
        writer.append(&frames, &moved)?;
    }
    if sync == SyncPolicy::Batch { writer.sync() } else { Ok(()) }
}
