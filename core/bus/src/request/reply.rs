//! What a client holds: replies, and requests that are on their way.

use crate::raw::{Stored, Trusted};
use crate::received::{Received, Sample};
use core::ops::Deref;
use std::fmt;

/// A reply, or a part of one, read where it lies. It derefs to the message.
pub struct Reply<'a, R: ?Sized + Trusted> {
    pub(super) held: HeldReply<'a, R>,
    pub(super) is_more: bool,
}

/// Where a reply lies.
pub(super) enum HeldReply<'a, R: ?Sized + Trusted> {
    /// In the ring.
    InPlace(Sample<'a, R>),
    /// In memory of its own, where it was found valid: it came while another was waited for.
    Stored(Stored),
}

impl<R: ?Sized + Trusted> Reply<'_, R> {
    /// Whether the server said that there is more to come.
    #[must_use]
    pub fn is_part(&self) -> bool {
        self.is_more
    }

    /// The message with its fields.
    #[must_use]
    pub fn message(&self) -> Received<'_, R> {
        match &self.held {
            HeldReply::InPlace(sample) => sample.received(),
            HeldReply::Stored(stored) => stored.received(&**self),
        }
    }
}

impl<R: ?Sized + Trusted> Deref for Reply<'_, R> {
    type Target = R::View;

    #[inline(always)]
    fn deref(&self) -> &R::View {
        match &self.held {
            HeldReply::InPlace(sample) => sample,
            // Checked once more each time, in memory that nobody else can write.
            HeldReply::Stored(stored) => R::view(stored.payload()).expect("it was valid when it was taken"),
        }
    }
}

impl<R: ?Sized + Trusted> fmt::Debug for Reply<'_, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reply").field("is_part", &self.is_more).finish_non_exhaustive()
    }
}

/// A request on its way, whose reply is to be taken with [`Client::wait`](crate::Client::wait) or
/// [`Client::next`](crate::Client::next), or given up with [`Client::cancel`](crate::Client::cancel): until then the client keeps what comes for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pending(pub(super) u128);

impl Pending {
    /// The request's number, which the server sees too.
    #[must_use]
    pub fn correlation_id(self) -> u128 {
        self.0
    }
}
