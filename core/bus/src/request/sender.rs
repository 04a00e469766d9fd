//! One direction of a connection, as its publisher has it.

use super::ASK_EVERY;
use crate::error::PublishError;
use crate::payload::{Payload, Scratch};
use core::marker::PhantomData;
use memlane_ring::extension::{Block, CallStatus, IdBlock};
use memlane_ring::{ClaimError, Publisher, Wait};
use std::fmt;
use std::time::{Duration, Instant};

/// Publishes messages of type `P` with what says to which request they belong.
pub(super) struct Sender<P: ?Sized> {
    log: Publisher,
    scratch: Scratch,
    /// For messages that carry nothing but an id.
    ids: IdBlock,
    /// For all others.
    block: Block,
    payload: PhantomData<fn(&P)>,
}

impl<P: ?Sized + Payload> Sender<P> {
    pub(super) fn new(log: Publisher) -> Self {
        let ids = IdBlock::new(log.geometry());
        Self { log, scratch: Scratch::new(), ids, block: Block::default(), payload: PhantomData }
    }

    /// Publishes `message` with `id` alone. Never waits.
    #[inline(always)]
    pub(super) fn send(&mut self, id: u128, message: &P) -> Result<(), PublishError> {
        self.log.publish(self.ids.with(id), message.encode(&mut self.scratch)?)?;
        Ok(())
    }

    /// The next message will likely be for `id`.
    #[inline(always)]
    pub(super) fn expect(&mut self, id: u128) {
        self.ids.expect(id);
    }

    /// Publishes `message` with `id` and whatever `extend` adds; waits for room for `timeout` at most, and no longer than `is_awaited`,
    /// which is asked every millisecond.
    pub(super) fn send_patiently(
        &mut self,
        id: u128,
        message: &P,
        (wait, timeout): (Wait, Duration),
        extend: impl FnOnce(&mut Block) -> Result<(), PublishError>,
        mut is_awaited: impl FnMut() -> bool,
    ) -> Result<(), PublishError> {
        self.block.clear();
        extend(&mut self.block)?;
        self.block.correlation_id(id)?;
        let extensions = self.block.finish(self.log.geometry().payload_align);
        let payload = message.encode(&mut self.scratch)?;
        let mut outcome = self.log.publish(extensions, payload);
        if outcome != Err(ClaimError::Full) || timeout.is_zero() {
            return outcome.map(drop).map_err(Into::into);
        }
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let left = deadline.map_or(ASK_EVERY, |deadline| deadline.saturating_duration_since(Instant::now()));
            outcome = self.log.publish_waiting(extensions, payload, wait, Some(left.min(ASK_EVERY)));
            if outcome != Err(ClaimError::Full) || left.is_zero() || !is_awaited() {
                return outcome.map(drop).map_err(Into::into);
            }
        }
    }

    /// Says something about request `id`, without a payload. Never waits.
    pub(super) fn say(&mut self, id: u128, status: CallStatus<'_>) -> Result<(), PublishError> {
        self.block.clear();
        self.block.call_status(status)?;
        self.block.correlation_id(id)?;
        self.log.publish(self.block.finish(self.log.geometry().payload_align), &[])?;
        Ok(())
    }
}

impl<P: ?Sized> fmt::Debug for Sender<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sender").field("log", &self.log).finish_non_exhaustive()
    }
}
