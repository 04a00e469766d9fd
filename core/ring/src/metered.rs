//! Publishers whose rate is limited.
//!
//! A limited publisher has no room that it knows of (`bound_max` is zero), so each claim comes to where room is made, and there the meter is
//! asked first. Publishers without a limit look at nothing more than they do anyway. What the meter let through and found no room is given
//! back; a claim that is given up stays used.

use crate::error::ClaimError;
use crate::many::ManyPublisher;
use crate::one::OnePublisher;
#[cfg(not(loom))]
use crate::publisher::{Kind, Publisher};
#[cfg(not(loom))]
use crate::rate::{Meter, RateLimit};
#[cfg(not(loom))]
use std::time::Duration;

#[cfg(not(loom))]
impl Publisher {
    /// Limits what this publisher publishes by `own`, and by what its topic says. Both were checked.
    pub(crate) fn limit(mut self, own: &RateLimit, topic: &RateLimit) -> Self {
        if let Some(meter) = Meter::new(own, topic) {
            match &mut self.kind {
                Kind::One(one) => one.limit(meter),
                Kind::Many(many) => many.limit(meter),
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

impl OnePublisher {
    #[cfg(not(loom))]
    fn limit(&mut self, meter: Box<Meter>) {
        self.meter = Some(meter);
        self.bound_max = 0;
        self.set_bound();
    }

    /// Has `make` make room for a message of `bytes` bytes, if the meter lets it through.
    pub(crate) fn metered(
        &mut self,
        bytes: u64,
        make: impl FnOnce(&mut Self) -> Result<(), ClaimError>,
    ) -> Result<(), ClaimError> {
        if let Some(meter) = &mut self.meter {
            meter.take(&self.log, 1, bytes)?;
        }
        make(self).inspect_err(|_| {
            if let Some(meter) = &self.meter {
                meter.give_back(&self.log, 1, bytes);
            }
        })
    }
}

impl ManyPublisher {
    #[cfg(not(loom))]
    fn limit(&mut self, meter: Box<Meter>) {
        self.meter = Some(meter);
        self.bound_max = 0;
        self.set_bound();
    }

    /// As for one publisher.
    pub(crate) fn metered(
        &mut self,
        bytes: u64,
        make: impl FnOnce(&mut Self) -> Result<(), ClaimError>,
    ) -> Result<(), ClaimError> {
        if let Some(meter) = &mut self.meter {
            meter.take(&self.log, 1, bytes)?;
        }
        make(self).inspect_err(|_| {
            if let Some(meter) = &self.meter {
                meter.give_back(&self.log, 1, bytes);
            }
        })
    }
}
