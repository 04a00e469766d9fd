//! What a client holds: replies, and requests that are on their way.

use crate::raw::{Hand, Stored, Trusted};
use crate::received::Received;
use core::ops::Deref;
use std::fmt;

/// A reply, or a part of one, read where it lies. It derefs to the message.
pub struct Reply<'a, R: ?Sized + Trusted> {
    held: Held<'a, R>,
}

/// Where a reply lies, and whether it is a part, of which others come behind it. Two words, see [`Hand`].
enum Held<'a, R: ?Sized + Trusted> {
    /// In the ring.
    InPlace(&'a mut Hand<R>),
    PartInPlace(&'a mut Hand<R>),
    /// In memory of its own, where it was found valid: it came while another was waited for.
    Stored(Box<(Stored, bool)>),
}

impl<'a, R: ?Sized + Trusted> Reply<'a, R> {
    /// The one in hand.
    #[inline(always)]
    pub(super) fn in_place(hand: &'a mut Hand<R>, is_part: bool) -> Self {
        Self { held: if is_part { Held::PartInPlace(hand) } else { Held::InPlace(hand) } }
    }

    pub(super) fn stored(stored: Stored, is_part: bool) -> Self {
        Self { held: Held::Stored(Box::new((stored, is_part))) }
    }
}

impl<R: ?Sized + Trusted> Reply<'_, R> {
    /// Whether the server said that there is more to come.
    #[must_use]
    pub fn is_part(&self) -> bool {
        match &self.held {
            Held::InPlace(_) => false,
            Held::PartInPlace(_) => true,
            Held::Stored(stored) => stored.1,
        }
    }

    /// The message with its fields.
    #[must_use]
    pub fn message(&self) -> Received<'_, R> {
        match &self.held {
            Held::InPlace(hand) | Held::PartInPlace(hand) => hand.received(),
            Held::Stored(stored) => stored.0.received(&**self),
        }
    }
}

impl<R: ?Sized + Trusted> Deref for Reply<'_, R> {
    type Target = R::View;

    #[inline(always)]
    fn deref(&self) -> &R::View {
        match &self.held {
            Held::InPlace(hand) | Held::PartInPlace(hand) => hand.view(),
            // Checked once more each time, in memory that nobody else can write.
            Held::Stored(stored) => R::view(stored.0.payload()).expect("it was valid when it was taken"),
        }
    }
}

impl<R: ?Sized + Trusted> Drop for Reply<'_, R> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Held::InPlace(hand) | Held::PartInPlace(hand) = &mut self.held {
            hand.let_go();
        }
    }
}

impl<R: ?Sized + Trusted> fmt::Debug for Reply<'_, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reply").field("is_part", &self.is_part()).finish_non_exhaustive()
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
