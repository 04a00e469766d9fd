//! The known fields of a block: how their values are written and read. The table of tags stands in `extension.rs`.
//!
//! A value that isn't one of its field is [`Malformed`] to whoever asks for that field, and to nobody else.

use super::{
    Block, ExtensionError, Field, Fields, Malformed, TAG_CONTENT_TYPE, TAG_CORRELATION_ID, TAG_KEY, TAG_REPLY_TOPIC,
    TAG_SCHEMA_ID, TAG_SOURCE, TAG_SOURCE_SEQUENCE, TAG_TRACE_CONTEXT, TAG_TRACE_STATE, TraceContext,
};

/// Who sent a message, and how far it has got: a name that outlives processes, and a count that grows with its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source<'a> {
    /// Its name.
    pub name: &'a str,
    /// The number of this message among its own.
    pub sequence: u64,
}

/// Each adds a field, once for each message.
///
/// Errors: [`ExtensionError::Twice`] and [`ExtensionError::TooLong`]; the block is unchanged.
impl Block {
    /// Adds the key: what the message is about. Errors: see above.
    pub fn key(&mut self, key: &[u8]) -> Result<(), ExtensionError> {
        self.once(TAG_KEY, &[key])
    }

    /// Adds the correlation id. Errors: see above.
    pub fn correlation_id(&mut self, id: u128) -> Result<(), ExtensionError> {
        self.once(TAG_CORRELATION_ID, &[&id.to_le_bytes()])
    }

    /// Adds the topic on which an answer is awaited, whose name the caller has checked. Errors: see above.
    pub fn reply_topic(&mut self, name: &str) -> Result<(), ExtensionError> {
        self.once(TAG_REPLY_TOPIC, &[name.as_bytes()])
    }

    /// Adds the trace context.
    ///
    /// Errors: see above, and [`ExtensionError::TraceContext`] if an id of it is all zero.
    pub fn trace_context(&mut self, context: TraceContext) -> Result<(), ExtensionError> {
        if !context.is_valid() {
            return Err(ExtensionError::TraceContext);
        }
        self.once(TAG_TRACE_CONTEXT, &[&context.to_bytes()])
    }

    /// Adds the text of W3C's `tracestate`, as it is. Errors: see above.
    pub fn trace_state(&mut self, state: &str) -> Result<(), ExtensionError> {
        self.once(TAG_TRACE_STATE, &[state.as_bytes()])
    }

    /// Adds the media type of the payload. Errors: see above.
    pub fn content_type(&mut self, content_type: &str) -> Result<(), ExtensionError> {
        self.once(TAG_CONTENT_TYPE, &[content_type.as_bytes()])
    }

    /// Adds the number of the schema that the payload follows. Errors: see above.
    pub fn schema_id(&mut self, id: u64) -> Result<(), ExtensionError> {
        self.once(TAG_SCHEMA_ID, &[&id.to_le_bytes()])
    }

    /// Adds the source, whose name the caller has checked, and its sequence. Errors: see above.
    pub fn source(&mut self, source: Source<'_>) -> Result<(), ExtensionError> {
        self.source_as(TAG_SOURCE, TAG_SOURCE_SEQUENCE, source)
    }

    /// Adds a source with these two tags.
    pub(super) fn source_as(
        &mut self,
        name_tag: u16,
        sequence_tag: u16,
        source: Source<'_>,
    ) -> Result<(), ExtensionError> {
        let (bytes_before, given_before) = (self.bytes.len(), self.given);
        self.once(name_tag, &[source.name.as_bytes()])?;
        self.once(sequence_tag, &[&source.sequence.to_le_bytes()]).inspect_err(|_| {
            self.bytes.truncate(bytes_before);
            self.given = given_before;
        })
    }

    /// Adds a field that a message has once.
    pub(super) fn once(&mut self, tag: u16, parts: &[&[u8]]) -> Result<(), ExtensionError> {
        let bit = 1 << tag;
        if self.given & bit != 0 {
            return Err(ExtensionError::Twice);
        }
        self.field(tag, parts)?;
        self.given |= bit;
        Ok(())
    }
}

/// Each looks for a field, and is `None` without one.
///
/// Cost: a walk over the fields before it; no allocation.
/// Errors: [`Malformed`] if its value is none of that field, or a length before it leads out of the block.
impl<'a> Fields<'a> {
    /// The value of the first field with this tag. Cost and errors: see above.
    #[inline]
    pub fn value_of(&self, tag: u16) -> Result<Option<&'a [u8]>, Malformed> {
        for field in self.clone() {
            let field = field?;
            if field.tag == tag {
                return Ok(Some(field.value));
            }
        }
        Ok(None)
    }

    /// The key. Cost and errors: see above.
    #[inline]
    pub fn key(&self) -> Result<Option<&'a [u8]>, Malformed> {
        self.value_of(TAG_KEY)
    }

    /// The correlation id. Cost and errors: see above.
    pub fn correlation_id(&self) -> Result<Option<u128>, Malformed> {
        Ok(self.number_of(TAG_CORRELATION_ID)?.map(u128::from_le_bytes))
    }

    /// The topic on which an answer is awaited: text, of which nothing else is known. Cost and errors: see above.
    pub fn reply_topic(&self) -> Result<Option<&'a str>, Malformed> {
        self.text_of(TAG_REPLY_TOPIC)
    }

    /// The trace context. Cost and errors: see above.
    pub fn trace_context(&self) -> Result<Option<TraceContext>, Malformed> {
        self.value_of(TAG_TRACE_CONTEXT)?.map(TraceContext::of_bytes).transpose()
    }

    /// The text of W3C's `tracestate`. Cost and errors: see above.
    pub fn trace_state(&self) -> Result<Option<&'a str>, Malformed> {
        self.text_of(TAG_TRACE_STATE)
    }

    /// The media type of the payload. Cost and errors: see above.
    pub fn content_type(&self) -> Result<Option<&'a str>, Malformed> {
        self.text_of(TAG_CONTENT_TYPE)
    }

    /// The number of the schema that the payload follows. Cost and errors: see above.
    pub fn schema_id(&self) -> Result<Option<u64>, Malformed> {
        Ok(self.number_of(TAG_SCHEMA_ID)?.map(u64::from_le_bytes))
    }

    /// The source, of whose name nothing is known but that it is text, and its sequence.
    ///
    /// Cost and errors: see above; also [`Malformed`] if there is only one of the two.
    pub fn source(&self) -> Result<Option<Source<'a>>, Malformed> {
        self.source_of(TAG_SOURCE, TAG_SOURCE_SEQUENCE)
    }

    /// The source with these two tags.
    pub(super) fn source_of(&self, name_tag: u16, sequence_tag: u16) -> Result<Option<Source<'a>>, Malformed> {
        let (mut name, mut sequence) = (None, None);
        for field in self.clone() {
            let Field { tag, value } = field?;
            if tag == name_tag {
                name = name.or(Some(value));
            } else if tag == sequence_tag {
                sequence = sequence.or(Some(value));
            } else {
                continue;
            }
            if let (Some(name), Some(sequence)) = (name, sequence) {
                return Ok(Some(Source { name: text(name)?, sequence: u64::from_le_bytes(number(sequence)?) }));
            }
        }
        if name.or(sequence).is_some() { Err(Malformed) } else { Ok(None) }
    }

    pub(super) fn text_of(&self, tag: u16) -> Result<Option<&'a str>, Malformed> {
        self.value_of(tag)?.map(text).transpose()
    }

    fn number_of<const BYTES: usize>(&self, tag: u16) -> Result<Option<[u8; BYTES]>, Malformed> {
        self.value_of(tag)?.map(number).transpose()
    }
}

pub(super) fn text(value: &[u8]) -> Result<&str, Malformed> {
    core::str::from_utf8(value).map_err(|_| Malformed)
}

pub(super) fn number<const BYTES: usize>(value: &[u8]) -> Result<[u8; BYTES], Malformed> {
    value.try_into().map_err(|_| Malformed)
}
