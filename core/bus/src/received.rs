//! Messages as subscribers get them: one that is held, and one of a batch.

use crate::error::{ReceiveError, TypeName};
use crate::payload::InvalidPayload;
use crate::raw::{Checked, Held, Trusted};
use core::ops::Deref;
use memlane_ring::TypeTag;
use memlane_ring::extension::{Field, Parts};
use memlane_ring::layout::{Geometry, StateWord};
use std::fmt;

/// A message that was received. A gated subscriber's is read in place and holds its space until it is dropped.
pub struct Sample<'a, P: ?Sized + Trusted> {
    held: Checked<'a, P>,
}

impl<'a, P: ?Sized + Trusted> Sample<'a, P> {
    #[inline(always)]
    pub(crate) fn new(held: Held<'a>, geometry: &'a Geometry, trust: bool) -> Result<Option<Self>, ReceiveError> {
        Checked::new(held, geometry, trust).map(|held| Some(Self { held }))
    }

    /// The message without what holds it.
    #[inline(always)]
    #[must_use]
    pub fn received(&self) -> Received<'_, P> {
        self.held.received()
    }

    /// Its position: its identity for ever.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.received().position
    }

    /// The slot of the publisher that sent it: zero on a topic for one.
    #[must_use]
    pub fn publisher(&self) -> u32 {
        self.received().publisher()
    }

    /// Ticks at its publishing, if the topic has stamps; [`Topic::stamp_unix_ns`](crate::Topic::stamp_unix_ns) turns them into time.
    #[must_use]
    pub fn stamp(&self) -> Option<u64> {
        self.received().stamp()
    }

    /// The value of the first header with this key.
    #[must_use]
    pub fn header(&self, key: &str) -> Option<&[u8]> {
        self.headers().find(|header| header.0 == key).map(|header| header.1)
    }

    /// Its headers: keys and values.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.received().headers()
    }
}

impl<P: ?Sized + Trusted> fmt::Debug for Sample<'_, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.received().fmt(formatter)
    }
}

impl<P: ?Sized + Trusted> Deref for Sample<'_, P> {
    type Target = P::View;

    #[inline(always)]
    fn deref(&self) -> &P::View {
        self.held.view()
    }
}

/// A message as it is handed over in a batch.
pub struct Received<'a, P: ?Sized + Trusted> {
    /// Its position.
    pub position: u64,
    /// What was sent.
    pub view: &'a P::View,
    word: StateWord,
    body: &'a [u8],
    geometry: &'a Geometry,
}

impl<P: ?Sized + Trusted> fmt::Debug for Received<'_, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Received");
        debug.field("position", &self.position).field("publisher", &self.publisher()).finish_non_exhaustive()
    }
}

impl<'a, P: ?Sized + Trusted> Received<'a, P> {
    /// Takes a frame apart and has `look` look at its payload.
    #[inline(always)]
    pub(crate) fn new(
        geometry: &'a Geometry,
        (position, word): (u64, StateWord),
        body: &'a [u8],
        look: impl FnOnce(&'a [u8]) -> Result<&'a P::View, InvalidPayload>,
    ) -> Result<Self, ReceiveError> {
        let parts = Parts::of(geometry, word, body).map_err(|error| ReceiveError::malformed(position, error))?;
        let view = look(parts.payload).map_err(|reason| invalid::<P>(position, reason))?;
        Ok(Self { position, view, word, body, geometry })
    }

    /// The same for a payload that was looked at before.
    #[inline(always)]
    pub(crate) fn with_view(
        geometry: &'a Geometry,
        (position, word): (u64, StateWord),
        body: &'a [u8],
        view: &'a P::View,
    ) -> Self {
        Self { position, view, word, body, geometry }
    }

    /// The slot of the publisher that sent it: zero on a topic for one.
    #[must_use]
    pub fn publisher(&self) -> u32 {
        self.word.publisher()
    }

    /// Ticks at its publishing, if the topic has stamps; [`Topic::stamp_unix_ns`](crate::Topic::stamp_unix_ns) turns them into time.
    #[must_use]
    pub fn stamp(&self) -> Option<u64> {
        Parts::of(self.geometry, self.word, self.body).ok().and_then(|parts| parts.stamp)
    }

    /// Its headers: keys and values. Unknown and malformed extensions are left out.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a, P> {
        let parts = Parts::of(self.geometry, self.word, self.body).ok();
        parts.into_iter().flat_map(|parts| parts.fields.map_while(Result::ok).filter_map(Field::user_header))
    }
}

#[cold]
fn invalid<P: ?Sized + Trusted>(position: u64, reason: InvalidPayload) -> ReceiveError {
    let type_name = P::type_info().map_or(TypeName(TypeTag::default()), |info| TypeName::from(&info));
    ReceiveError::Invalid { position, type_name, reason }
}
