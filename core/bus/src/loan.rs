//! Messages that are written where subscribers will read them.

use crate::error::PublishError;
use crate::payload::Payload;
use crate::publisher::Publisher;
use crate::raw;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use memlane_ring::Claim;
use std::time::Duration;

impl Publisher<[u8]> {
    /// Claims room for a payload of `bytes` bytes, to be written where subscribers will read it. Nothing is visible before
    /// [`Loan::publish`]; dropping the loan gives it back.
    ///
    /// Cost: no copy for payloads of more than [`memlane_ring::STAGED_BYTES_MAX`] bytes, whatever their length.
    /// Errors: [`PublishError`].
    #[inline(always)]
    pub fn loan(&mut self, bytes: usize) -> Result<Loan<'_>, PublishError> {
        Ok(Loan { claim: self.log.claim(&[], bytes)? })
    }

    /// As [`Publisher::loan`], but waits up to `timeout` for room.
    ///
    /// Errors: [`PublishError`]; `Full` if the time was up.
    #[inline]
    pub fn loan_within(&mut self, bytes: usize, timeout: Duration) -> Result<Loan<'_>, PublishError> {
        Ok(Loan { claim: raw::claim_within(&mut self.log, bytes, self.wait, timeout)? })
    }
}

impl<T: Payload> Publisher<T>
where
    T::View: rkyv::Portable + Sized,
{
    /// Claims room for one archived value, to be written in place; for types of fixed size. Nothing is visible before
    /// [`TypedLoan::publish`]; dropping the loan gives it back.
    ///
    /// Errors: [`PublishError`]; `TooLong` never for a topic that was made for this type and holds it.
    ///
    /// # Panics
    /// If the type's archived size isn't fixed (it holds a string, a vector or the like): publish a value instead.
    #[inline(always)]
    pub fn loan_archived(&mut self) -> Result<TypedLoan<'_, T>, PublishError> {
        Ok(TypedLoan { claim: self.log.claim(&[], fixed_bytes::<T>())?, payload: PhantomData })
    }

    /// As [`Publisher::loan_archived`], but waits up to `timeout` for room.
    ///
    /// Errors: [`PublishError`]; `Full` if the time was up.
    ///
    /// # Panics
    /// As [`Publisher::loan_archived`].
    #[inline]
    pub fn loan_archived_within(&mut self, timeout: Duration) -> Result<TypedLoan<'_, T>, PublishError> {
        let claim = raw::claim_within(&mut self.log, fixed_bytes::<T>(), self.wait, timeout)?;
        Ok(TypedLoan { claim, payload: PhantomData })
    }
}

fn fixed_bytes<T: Payload>() -> usize {
    T::FIXED_BYTES.expect("a loan is for types whose archived size is fixed: publish a value instead")
}

/// Room for a raw payload.
#[derive(Debug)]
pub struct Loan<'a> {
    claim: Claim<'a>,
}

impl Loan<'_> {
    /// The payload, to be written. What it holds before means nothing.
    #[inline(always)]
    pub fn payload(&mut self) -> &mut [u8] {
        self.claim.payload()
    }

    /// The position that the message will have.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.claim.position()
    }

    /// Publishes the first `bytes` bytes; returns the position.
    ///
    /// Errors: [`PublishError`].
    ///
    /// # Panics
    /// If `bytes` is more than was asked for.
    #[inline(always)]
    pub fn publish(self, bytes: usize) -> Result<u64, PublishError> {
        Ok(self.claim.commit(bytes)?)
    }
}

/// Room for one archived value of fixed size.
#[derive(Debug)]
pub struct TypedLoan<'a, T: Payload> {
    claim: Claim<'a>,
    payload: PhantomData<fn(T)>,
}

impl<T: Payload> TypedLoan<'_, T>
where
    T::View: rkyv::Portable + Sized,
{
    /// Has `write` put the archived value together in place and publishes it; returns the position.
    ///
    /// ```
    /// use memlane::{Bus, Message};
    /// use rkyv::{Archive, Serialize};
    ///
    /// #[derive(Archive, Serialize, Message)]
    /// struct Quote {
    ///     bid: i64,
    ///     ask: i64,
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let root = memlane::doc_root();
    /// let topic = Bus::builder("typed-loan").root(&root).open()?.topic("quotes")?.message::<Quote>().open_or_create()?;
    /// let mut subscriber = topic.subscriber::<Quote>().open()?;
    /// let mut publisher = topic.publisher::<Quote>().open()?;
    /// publisher.loan_archived()?.publish(|place| place.write(ArchivedQuote { bid: 99.into(), ask: 101.into() }))?;
    /// assert_eq!(subscriber.receive()?.ask, 101);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `write` gets the place and returns what it initialized there, as [`MaybeUninit::write`] does. Fields that it leaves out
    /// hold bytes of older messages; subscribers check what they receive in any case. The bytes of padding between fields are
    /// whatever the compiler moves there with a value, which may come from this process's stack: where subscribers must
    /// not see such, use [`Publisher::publish`], which writes zeros there.
    /// Errors: [`PublishError`].
    ///
    /// # Panics
    /// If `write` returns a reference to another place. Nothing is published then.
    #[inline]
    pub fn publish(
        mut self,
        write: impl FnOnce(&mut MaybeUninit<T::View>) -> &mut T::View,
    ) -> Result<u64, PublishError> {
        let place = raw::as_uninit(self.claim.payload());
        let expected = place.as_ptr();
        let written = core::ptr::from_ref(write(place));
        assert!(core::ptr::eq(written, expected), "the value belongs in the place that was handed out, not elsewhere");
        raw::settle(self.claim.payload());
        Ok(self.claim.commit(size_of::<T::View>())?)
    }
}
