//! Publishers whose rate is limited.
//!
//! A limited publisher has no room that it knows of (`bound_max` is zero), so each claim comes to where room is made, and there the meter is
//! asked first. Publishers without a limit look at nothing more than they do anyway. What the meter let through and found no room is given
//! back; a claim that is given up stays used.

use crate::error::ClaimError;
use crate::many::ManyPublisher;
use crate::memory::Log;
use crate::one::OnePublisher;
#[cfg(not(loom))]
use crate::publisher::{Kind, Publisher};
use crate::rate::Meter;
#[cfg(not(loom))]
use crate::rate::RateLimit;
#[cfg(not(loom))]
use std::time::Duration;

#[cfg(not(loom))]
impl Publisher {
    /// Limits what this publisher publishes by `own`, and by what its topic says. Both were checked.
    pub(crate) fn limit(mut self, own: &RateLimit, topic: &RateLimit) -> Self {
        if let Some(meter) = Meter::new(own, topic) {
            match &mut self.kind {
                Kind::One(one) => {
                    (one.meter, one.bound_max) = (Some(meter), 0);
                    one.set_bound();
                }
                Kind::Many(many) => {
                    (many.meter, many.bound_max) = (Some(meter), 0);
                    many.set_bound();
                }
            }
        }
        self
    }

    /// After [`ClaimError::RateLimited`]: how long to wait before the same may be published, unless other publishers of the topic are
    /// faster.
    #[must_use]
    pub fn rate_wait(&self) -> Duration {
        let meter = match &self.kind {
            Kind::One(one) => &one.meter,
            Kind::Many(many) => &many.meter,
        };
        meter.as_ref().map_or(Duration::ZERO, |meter| meter.wait)
    }
}

/// A publisher that may have a meter.
pub(crate) trait Metered: Sized {
    /// Its meter, and the log where its topic's limit is counted.
    fn meter(&mut self) -> Option<(&mut Meter, &Log)>;

    /// Has `make` make room for a message of `bytes` bytes, if the meter lets it through.
    fn metered(
        &mut self,
        bytes: u64,
        make: impl FnOnce(&mut Self) -> Result<(), ClaimError>,
    ) -> Result<(), ClaimError> {
        if let Some((meter, log)) = self.meter() {
            meter.take(log, 1, bytes)?;
        }
        let made = make(self);
        if let (Err(_), Some((meter, log))) = (&made, self.meter()) {
            meter.give_back(log, 1, bytes);
        }
        made
    }
}

impl Metered for OnePublisher {
    fn meter(&mut self) -> Option<(&mut Meter, &Log)> {
        Some((self.meter.as_deref_mut()?, &self.log))
    }
}

impl Metered for ManyPublisher {
    fn meter(&mut self) -> Option<(&mut Meter, &Log)> {
        Some((self.meter.as_deref_mut()?, &self.log))
    }
}
