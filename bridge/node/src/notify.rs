//! What systemd is told (`sd_notify`), if it has asked: that the node is ready, reloads, stops, how it is, and that its supervisor lives.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::debug;

/// Longest text of a status.
const STATUS_CHARACTERS_MAX: usize = 300;

/// The service manager, or nobody.
#[derive(Debug)]
pub(crate) struct Notifier {
    /// How often it wants to hear that the supervisor lives.
    watchdog: Option<Duration>,
    next_sign: Instant,
    status: String,
    is_ready: bool,
}

impl Notifier {
    /// As the environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub(crate) fn of_environment(now: Instant) -> Self {
        // Half of it, so that one sign that comes late is no death.
        let watchdog = sd_notify::watchdog_enabled().map(|longest| longest / 2).filter(|half| !half.is_zero());
        Self { watchdog, next_sign: now, status: String::new(), is_ready: false }
    }

    /// Says how the node is, if that is new; and, the first time that it `has_begun`, that it is ready.
    pub(crate) fn is_so(&mut self, has_begun: bool, status: &str) {
        let status: String = status.chars().take(STATUS_CHARACTERS_MAX).collect();
        if has_begun && !self.is_ready {
            self.is_ready = true;
            send(&[NotifyState::Ready, NotifyState::Status(&status)]);
        } else if self.status != status {
            send(&[NotifyState::Status(&status)]);
        }
        self.status = status;
    }

    /// Says that the configuration is being read again. [`Notifier::has_reloaded`] must follow.
    pub(crate) fn reloads(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(since) => send(&[NotifyState::Reloading, since]),
            Err(error) => debug!("the clock can't be read for systemd: {error}"),
        }
    }

    pub(crate) fn has_reloaded(&mut self, status: &str) {
        self.is_ready = true;
        status.clone_into(&mut self.status);
        send(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Says that the node ends, and takes up to `drain` for that.
    pub(crate) fn stops(&mut self, drain: Duration) {
        let micros = u32::try_from(drain.as_micros()).unwrap_or(u32::MAX);
        let more = NotifyState::ExtendTimeoutUsec(micros.saturating_add(5_000_000));
        "finishing what is begun".clone_into(&mut self.status);
        send(&[NotifyState::Stopping, more, NotifyState::Status(&self.status)]);
    }

    /// Says that the supervisor lives, if it is time to.
    pub(crate) fn sign(&mut self, now: Instant) {
        if let Some(every) = self.watchdog.filter(|_| now >= self.next_sign) {
            self.next_sign = now + every;
            send(&[NotifyState::Watchdog]);
        }
    }

    /// When it is time for that.
    pub(crate) fn next_sign(&self) -> Option<Instant> {
        self.watchdog.map(|_| self.next_sign)
    }
}

fn send(states: &[NotifyState<'_>]) {
    // A node that can't be heard works all the same.
    if let Err(error) = sd_notify::notify(states) {
        debug!("systemd can't be told: {error}");
    }
}
