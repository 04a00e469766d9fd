//! A clock that all processes of the host share.

use std::time::Duration;

/// Time since the machine started, comparable between processes.
#[must_use]
pub fn since_boot() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}
