//! Work on closed segments beside a recorder, on a thread that yields to all others: one segment at a time is written anew there, and takes its place here, between
//! two batches, which is one system call.

use crate::error::JournalError;
use crate::keeper::{Compaction, Keeper};
use crate::rewrite::{Compression, Rewritten};
use crate::writer::Writer;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a disk is left alone that has refused.
const RETRY_AFTER: Duration = Duration::from_secs(60);

type Step = (Keeper, Result<Option<Rewritten>, JournalError>);

/// What goes on beside a recorder.
#[derive(Debug)]
pub(crate) struct Beside {
    compression: Option<Compression>,
    compaction: Option<Compaction>,
    /// While nothing goes on; a new one looks at everything once more.
    keeper: Option<Keeper>,
    running: Option<JoinHandle<Step>>,
    stop: Arc<AtomicBool>,
    /// Up to where everything that was closed has been looked at.
    looked_to: Option<u64>,
    /// Not before then.
    rests_until: Option<Instant>,
    error: Option<JournalError>,
    /// The file that lost its name last: to let go of it is left to the thread.
    old: Option<Rewritten>,
}

impl Beside {
    pub(crate) fn new(compression: Option<Compression>, compaction: Option<Compaction>) -> Result<Self, JournalError> {
        compression.map_or(Ok(()), Compression::check)?;
        let is_asked = compression.is_some() || compaction.is_some();
        Ok(Self {
            compression,
            compaction,
            keeper: is_asked.then(|| Keeper::new(compression, compaction)),
            running: None,
            stop: Arc::default(),
            looked_to: None,
            rests_until: None,
            error: None,
            old: None,
        })
    }

    /// Takes in what has been done, and begins with what is to be done next, if anything is.
    ///
    /// Cost: none, most often; now and then a few system calls.
    pub(crate) fn look_after(&mut self, writer: &Writer) {
        if self.running.as_ref().is_some_and(JoinHandle::is_finished)
            && let Err(error) = self.join(writer)
        {
            self.refused(error);
        }
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let Some(end) = writer.closed_end().filter(|end| self.looked_to.is_none_or(|looked_to| *end > looked_to))
        else {
            return;
        };
        let Some(mut keeper) = self.keeper.take() else { return };
        let (journal, stop, old) = (writer.journal(), self.stop.clone(), self.old.take());
        let thread = std::thread::Builder::new().name("memlane-keep".to_owned());
        let spawned = thread.spawn(move || {
            memlane_shm::priority::yield_to_others();
            drop(old);
            let step = journal.and_then(|journal| keeper.step(&journal, Some(end), &stop));
            (keeper, step)
        });
        self.looked_to = Some(end);
        match spawned {
            Ok(running) => self.running = Some(running),
            // The keeper went with it.
            Err(error) => {
                self.keeper = Some(Keeper::new(self.compression, self.compaction));
                self.refused(JournalError::of(writer.directory(), "begin a thread that compresses it")(error));
            }
        }
    }

    /// Whether a segment is being written anew, which waits to be taken in.
    pub(crate) fn is_at_work(&self) -> bool {
        self.running.is_some()
    }

    /// Has it told, and tried again after a while.
    fn refused(&mut self, error: JournalError) {
        (self.error, self.looked_to) = (Some(error), None);
        self.rests_until = Some(Instant::now() + RETRY_AFTER);
    }

    /// What was refused since it was asked last.
    pub(crate) fn take_error(&mut self) -> Option<JournalError> {
        self.error.take()
    }

    /// Ends what goes on; what isn't whole is given up.
    pub(crate) fn finish(&mut self, writer: &Writer) {
        self.stop.store(true, Ordering::Release);
        // All that is recorded is there, compressed or not.
        let _ = self.join(writer);
    }

    fn join(&mut self, writer: &Writer) -> Result<(), JournalError> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let (keeper, step) = running.join().expect("it doesn't panic");
        self.keeper = Some(keeper);
        let step = match step {
            // Retention has given the segment up between two looks at it: the next step doesn't come by it.
            Err(error) if was_given_up(&error) => {
                self.looked_to = None;
                return Ok(());
            }
            other => other?,
        };
        if let Some(rewritten) = step {
            let placed = writer.journal().and_then(|journal| rewritten.take_place(&journal, writer.begin()));
            if placed.is_err() {
                // The keeper takes it for done.
                self.keeper = Some(Keeper::new(self.compression, self.compaction));
            }
            placed?;
            self.old = Some(rewritten);
            // There may be more.
            self.looked_to = None;
        }
        Ok(())
    }
}

fn was_given_up(error: &JournalError) -> bool {
    match error {
        JournalError::Storage { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        JournalError::NotRetained { .. } => true,
        _ => false,
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}
