//! A publisher with a claim of its own that may stay open while others publish.

use memlane_ring::{Claim, ClaimError, Publisher};
use std::ptr::NonNull;

/// A publisher, and the claim that it has open, which borrows it.
pub(crate) struct Writer {
    publisher: NonNull<Publisher>,
    claim: Option<Claim<'static>>,
}

impl Writer {
    pub(crate) fn new(publisher: Publisher) -> Self {
        Self { publisher: NonNull::from(Box::leak(Box::new(publisher))), claim: None }
    }

    /// The publisher, which has no claim open.
    pub(crate) fn publisher(&mut self) -> &mut Publisher {
        assert!(self.claim.is_none(), "the script asks first");
        // SAFETY:
        // - Alive: `new` leaked it, and only `drop` frees it.
        // - Exclusive: no claim borrows it, and the reference borrows `self`.
        unsafe { self.publisher.as_mut() }
    }

    /// Opens a claim.
    pub(crate) fn open(&mut self, extensions: &[u8], bytes: usize) -> Result<&mut Claim<'static>, ClaimError> {
        let publisher: *mut Publisher = self.publisher();
        // SAFETY:
        // - Alive: as above; `drop` and `take` end the claim first.
        // - Exclusive: `publisher` refuses as long as the claim is here, and `take` gives it away for good.
        let publisher: &'static mut Publisher = unsafe { &mut *publisher };
        Ok(self.claim.insert(publisher.claim(extensions, bytes)?))
    }

    pub(crate) fn has_claim(&self) -> bool {
        self.claim.is_some()
    }

    /// Takes the open claim out and has `end` end it.
    pub(crate) fn end_claim<T>(&mut self, end: impl for<'a> FnOnce(Claim<'a>) -> T) -> Option<T> {
        self.claim.take().map(end)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.claim = None;
        // SAFETY: it came out of a box in `new`, and nothing borrows it any more.
        drop(unsafe { Box::from_raw(self.publisher.as_ptr()) });
    }
}
