//! What a recorder is told while it runs, by whoever has it run: to stop, and what to keep.
//!
//! Ordering: whoever tells something stores it and then counts it in WORD (release); a recorder reads WORD (acquire), then looks, and sleeps only as
//! long as WORD has not changed since. So nothing that was told is slept through.

use crate::retention::Retention;
use memlane_ring::OwnWord;
use memlane_shm::{Region, futex};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Tells recorders that run by it ([`Recorder::run_by`](crate::Recorder::run_by)) to stop, and how much to keep. Clones tell the same recorders.
#[derive(Clone, Debug)]
pub struct RecorderControl {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// WORD: a futex word that counts what was told.
    word: Region,
    stops: AtomicBool,
    retention: Mutex<Retention>,
}

impl RecorderControl {
    /// For recorders that keep what `retention` says.
    ///
    /// Cost: some allocations.
    #[must_use]
    pub fn new(retention: Retention) -> Self {
        let (stops, retention) = (AtomicBool::new(false), Mutex::new(retention));
        Self { shared: Arc::new(Shared { word: Region::private(64), stops, retention }) }
    }

    /// Has them record what was published before, and end.
    ///
    /// Cost: a system call.
    pub fn stop(&self) {
        self.shared.stops.store(true, Ordering::Release);
        self.told();
    }

    /// Whether they are to stop.
    #[must_use]
    pub fn stops(&self) -> bool {
        self.shared.stops.load(Ordering::Acquire)
    }

    /// Has them keep so much from now on; what is too much goes with their next turn.
    ///
    /// Cost: a system call.
    pub fn set_retention(&self, retention: Retention) {
        *self.shared.retention.lock().unwrap_or_else(PoisonError::into_inner) = retention;
        self.told();
    }

    pub(crate) fn retention(&self) -> Retention {
        *self.shared.retention.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often something was told, modulo 2^32.
    pub(crate) fn told_so_far(&self) -> u32 {
        self.shared.word.word(0).load(Ordering::Acquire) as u32
    }

    /// A word to sleep on as long as nothing was told since it was `told`.
    pub(crate) fn word(&self, told: u32) -> OwnWord<'_> {
        (&self.shared.word, 0, told)
    }

    fn told(&self) {
        self.shared.word.word(0).fetch_add(1, Ordering::AcqRel);
        futex::wake(&self.shared.word, 0, u32::MAX);
    }
}
