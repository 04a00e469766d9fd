//! Messages as subscribers get them: one that is held, and one of a batch.

use crate::error::{ReceiveError, TypeName};
use crate::name;
use crate::payload::InvalidPayload;
use crate::raw::{Checked, Held, Trusted};
use core::ops::Deref;
use memlane_ring::TypeTag;
use memlane_ring::extension::{Field, Fields, Malformed, MessageOrigin, Parts, Source, TraceContext};
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

    /// Leaves it where it is: a gated subscriber gets it again.
    pub(crate) fn leave(self) {
        self.held.leave();
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

    /// What the message is about. Cost and errors: as for [`Received::key`].
    pub fn key(&self) -> Result<Option<&[u8]>, Malformed> {
        self.received().key()
    }

    /// Which request or conversation it belongs to. Cost and errors: as for [`Received::correlation_id`].
    pub fn correlation_id(&self) -> Result<Option<u128>, Malformed> {
        self.received().correlation_id()
    }

    /// The topic on which an answer is awaited; its name can be one, but there may be none of that name. Cost and errors:
    /// as for [`Received::reply_to`].
    pub fn reply_to(&self) -> Result<Option<&str>, Malformed> {
        self.received().reply_to()
    }

    /// Which trace it belongs to, and below which span. Cost and errors: as for [`Received::trace_context`].
    pub fn trace_context(&self) -> Result<Option<TraceContext>, Malformed> {
        self.received().trace_context()
    }

    /// What tracing systems on the way want passed on: the text of a `tracestate` header. Cost and errors: as for
    /// [`Received::trace_state`].
    pub fn trace_state(&self) -> Result<Option<&str>, Malformed> {
        self.received().trace_state()
    }

    /// What kind of bytes the payload is: a media type. Cost and errors: as for [`Received::content_type`].
    pub fn content_type(&self) -> Result<Option<&str>, Malformed> {
        self.received().content_type()
    }

    /// Which schema the payload follows. Cost and errors: as for [`Received::schema_id`].
    pub fn schema_id(&self) -> Result<Option<u64>, Malformed> {
        self.received().schema_id()
    }

    /// Where it was first published, if it came over a bridge. Cost and errors: as for [`Received::origin`].
    pub fn origin(&self) -> Result<Option<MessageOrigin<'_>>, Malformed> {
        self.received().origin()
    }

    /// Who sent it, and its number among the messages of that source. The sender says so; nobody has checked it. Cost and
    /// errors: as for [`Received::source`].
    pub fn source(&self) -> Result<Option<Source<'_>>, Malformed> {
        self.received().source()
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
        self.fields().map_while(Result::ok).filter_map(Field::user_header)
    }

    /// Its extensions. Whoever made this value has found that they can be taken apart.
    #[inline]
    fn fields(&self) -> Fields<'a> {
        Parts::of(self.geometry, self.word, self.body).map(|parts| parts.fields).unwrap_or_default()
    }

    /// What the message is about.
    ///
    /// Cost: a walk over the extensions before it; nothing for a message without any. Errors: [`Malformed`] if the sender
    /// wrote it wrong.
    pub fn key(&self) -> Result<Option<&'a [u8]>, Malformed> {
        self.fields().key()
    }

    /// Which request or conversation it belongs to.
    ///
    /// Cost: a walk over the extensions before it; nothing for a message without any. Errors: [`Malformed`] if the sender
    /// wrote it wrong.
    pub fn correlation_id(&self) -> Result<Option<u128>, Malformed> {
        self.fields().correlation_id()
    }

    /// The topic on which an answer is awaited; its name can be one, but there may be none of that name.
    ///
    /// Cost: a walk over the extensions before it; nothing for a message without any. Errors: [`Malformed`] if the sender
    /// wrote it wrong.
    pub fn reply_to(&self) -> Result<Option<&'a str>, Malformed> {
        let topic = self.fields().reply_topic()?;
        if topic.is_some_and(|topic| name::check(topic).is_err()) { Err(Malformed) } else { Ok(topic) }
    }

    /// Which trace it belongs to, and below which span.
    ///
    /// Cost: a walk over the extensions before it; nothing for a message without any. Errors: [`Malformed`] if the sender
    /// wrote it wrong.
    pub fn trace_context(&self) -> Result<Option<TraceContext>, Malformed> {
        self.fields().trace_context()
    }

    /// What tracing systems on the way want passed on: the text of a `tracestate` header.
    ///
    /// Cost: a walk over the extensions before it; nothing for a message without any. Errors: [`Malformed`] if the sender
    /// wrote it wrong.
    pub fn trace_state(&self) -> Result<Option<&'a str>, Malformed> {
        self.fields().trace_state()
    }

    /// What kind of bytes the payload is: a media type.
    ///
    /// Cost: a walk over the extensions before it; nothing for a message without any. Errors: [`Malformed`] if the sender
    /// wrote it wrong.
    pub fn content_type(&self) -> Result<Option<&'a str>, Malformed> {
        self.fields().content_type()
    }

    /// Which schema the payload follows.
    ///
    /// Cost: a walk over the extensions before it; nothing for a message without any. Errors: [`Malformed`] if the sender
    /// wrote it wrong.
    pub fn schema_id(&self) -> Result<Option<u64>, Malformed> {
        self.fields().schema_id()
    }

    /// Where it was first published, if it came over a bridge: node, position and time there.
    ///
    /// Cost: two walks over its fields. Errors: [`Malformed`].
    pub fn origin(&self) -> Result<Option<MessageOrigin<'a>>, Malformed> {
        self.fields().origin()
    }

    /// Who sent it, and its number among the messages of that source. The sender says so; nobody has checked it.
    ///
    /// Cost: a walk over the extensions before it; nothing for a message without any. Errors: [`Malformed`] if the sender
    /// wrote it wrong.
    pub fn source(&self) -> Result<Option<Source<'a>>, Malformed> {
        let source = self.fields().publishers_source()?;
        if source.is_some_and(|source| name::check(source.name).is_err()) { Err(Malformed) } else { Ok(source) }
    }
}

#[cold]
fn invalid<P: ?Sized + Trusted>(position: u64, reason: InvalidPayload) -> ReceiveError {
    let type_name = P::type_info().map_or(TypeName(TypeTag::default()), |info| TypeName::from(&info));
    ReceiveError::Invalid { position, type_name, reason }
}
