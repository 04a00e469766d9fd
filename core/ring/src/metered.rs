//! Publishing where a rate is limited: the meter is asked first, then the way is opened for what it let through.
//!
//! A limited publisher has no room that it knows of (`bound_max` is zero), so each claim comes to where room is made, and is refused
//! there: publishers without a limit check nothing more than they do anyway. The refusal leads here.
//! What was let through and could not be published is given back.

use crate::error::ClaimError;
use crate::many::ManyPublisher;
use crate::one::OnePublisher;
use crate::publisher::{Kind, Publisher};
use crate::rate::{Meter, RateLimit, counted_bytes};
use std::time::Duration;

impl Publisher {
    /// Limits what this publisher publishes by `own`, and by what its topic says. Both were checked.
    pub(crate) fn limit(mut self, own: &RateLimit, topic: &RateLimit) -> Self {
        self.meter = Meter::new(own, topic);
        let is_limited = self.meter.is_some();
        if is_limited {
            self.set_shut(true);
        }
        self
    }

    /// After [`ClaimError::RateLimited`]: how long to wait before the same may be published, unless other publishers of the topic are
    /// faster.
    #[must_use]
    pub fn rate_wait(&self) -> Duration {
        self.meter.as_ref().map_or(Duration::ZERO, |meter| meter.wait)
    }

    #[cold]
    pub(crate) fn publish_metered(&mut self, extensions: &[u8], payload: &[u8]) -> Result<u64, ClaimError> {
        let bytes = (extensions.len() + payload.len()) as u64;
        self.metered(1, bytes, |me| match &mut me.kind {
            Kind::One(one) => one.publish(extensions, payload),
            Kind::Many(many) => many.publish(extensions, payload),
        })
    }

    /// Publishes as many as the limits let through, at most half as many each time they refuse.
    #[cold]
    pub(crate) fn publish_batch_metered(&mut self, mut payloads: &[&[u8]]) -> Result<usize, ClaimError> {
        loop {
            let bytes = payloads.iter().map(|payload| payload.len() as u64).sum();
            let asked = payloads.len();
            let outcome = self.metered(asked as u64, bytes, |me| match &mut me.kind {
                Kind::One(one) => one.publish_batch(&mut payloads.iter()),
                Kind::Many(many) => many.publish_batch(payloads),
            });
            match outcome {
                Err(ClaimError::RateLimited | ClaimError::LongerThanBurst) if asked > 1 => {
                    payloads = &payloads[..asked / 2];
                }
                Ok(count) => {
                    let unused = payloads[count..].iter().map(|payload| payload.len() as u64).sum();
                    if let Some(meter) = &self.meter {
                        meter.give_back(self.log(), (asked - count) as u64, unused);
                    }
                    return Ok(count);
                }
                other => return other,
            }
        }
    }

    /// Has `publish` publish what the meter lets through.
    fn metered<T>(
        &mut self,
        messages: u64,
        bytes: u64,
        publish: impl FnOnce(&mut Self) -> Result<T, ClaimError>,
    ) -> Result<T, ClaimError> {
        let Some(mut meter) = self.meter.take() else { return Err(ClaimError::RateLimited) };
        let taken = meter.take(self.log(), messages, bytes);
        let outcome = taken.and_then(|()| {
            self.set_shut(false);
            let outcome = publish(self);
            self.set_shut(true);
            outcome.inspect_err(|_| meter.give_back(self.log(), messages, bytes))
        });
        self.meter = Some(meter);
        outcome
    }

    fn set_shut(&mut self, shut: bool) {
        match &mut self.kind {
            Kind::One(one) => one.set_shut(shut),
            Kind::Many(many) => many.set_shut(shut),
        }
    }
}

/// As [`OnePublisher::place`], if the meter lets it through. What is then given up stays used.
#[cold]
pub(crate) fn place_metered(
    one: &mut OnePublisher,
    meter: Option<&mut Box<Meter>>,
    body: u64,
) -> Result<u64, ClaimError> {
    let Some(meter) = meter else { return Err(ClaimError::RateLimited) };
    let bytes = counted_bytes(&one.log.geometry, body);
    meter.take(&one.log, 1, bytes)?;
    one.set_shut(false);
    let placed = one.place(body);
    one.set_shut(true);
    placed.inspect_err(|_| meter.give_back(&one.log, 1, bytes))
}

/// As [`ManyPublisher::claim`], if the meter lets it through.
#[cold]
pub(crate) fn claim_metered(
    many: &mut ManyPublisher,
    meter: Option<&mut Box<Meter>>,
    body: u64,
) -> Result<u64, ClaimError> {
    let Some(meter) = meter else { return Err(ClaimError::RateLimited) };
    let bytes = counted_bytes(&many.log.geometry, body);
    meter.take(&many.log, 1, bytes)?;
    many.set_shut(false);
    let claimed = many.claim(many.log.geometry.frame_bytes(body));
    many.set_shut(true);
    claimed.inspect_err(|_| meter.give_back(&many.log, 1, bytes))
}
