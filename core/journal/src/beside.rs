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
    /// While nothing goes on.
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
            (self.error, self.looked_to) = (Some(error), None);
            self.rests_until = Some(Instant::now() + RETRY_AFTER);
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
        // Where the system has no thread to spare, nothing is done.
        self.running = spawned.ok();
        self.looked_to = Some(end);
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
            rewritten.take_place(&writer.journal()?, writer.begin())?;
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
