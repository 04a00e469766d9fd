//! What a client holds: replies, and requests that are on their way.

use crate::raw::Trusted;
use crate::received::{Received, Sample};
use core::ops::Deref;
use std::fmt;

/// A reply, or a part of one, read where it lies. It derefs to the message.
pub struct Reply<'a, R: ?Sized + Trusted> {
    pub(super) sample: Sample<'a, R>,
    pub(super) is_more: bool,
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
        self.sample.received()
    }
}

impl<R: ?Sized + Trusted> Deref for Reply<'_, R> {
    type Target = R::View;

    #[inline(always)]
    fn deref(&self) -> &R::View {
        &self.sample
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
