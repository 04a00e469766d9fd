//! Signals that ask for an end: noticed by whoever looks, within a tenth of a second.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Whoever waits looks at least this often whether a signal came.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A signal that asked for an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    number: u8,
}

impl Stop {
    /// As a shell reports a process that the signal killed.
    pub(super) fn exit_code(self) -> u8 {
        128 + self.number
    }
}

/// Watches for SIGHUP, SIGINT and SIGTERM.
#[derive(Clone, Debug)]
pub(super) struct Signals {
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// Watches from now on. A second signal ends the process at once, in case it is stuck.
    pub(super) fn watch() -> anyhow::Result<Self> {
        let seen = Arc::new(AtomicBool::new(false));
        Self::install(|signal| {
            // In this order: the first signal finds the flag down, and puts it up.
            flag::register_conditional_shutdown(signal, 128 + signal, seen.clone())?;
            flag::register(signal, seen.clone()).map(drop)
        })
    }

    /// Watches from now on, however many come: for those who must tidy up, and are sure to come to it.
    pub(super) fn watch_patiently() -> anyhow::Result<Self> {
        Self::install(|_| Ok(()))
    }

    fn install(each: impl Fn(i32) -> io::Result<()>) -> anyhow::Result<Self> {
        let received = Arc::new(AtomicUsize::new(0));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            let watch = || {
                each(signal)?;
                flag::register_usize(signal, received.clone(), signal as usize)
            };
            watch().context("can't watch for signals")?;
        }
        Ok(Self { received })
    }

    /// The signal that came, if one did.
    pub(super) fn stop(&self) -> Option<Stop> {
        let number = u8::try_from(self.received.load(Ordering::Relaxed)).unwrap_or(0);
        (number != 0).then_some(Stop { number })
    }
}
