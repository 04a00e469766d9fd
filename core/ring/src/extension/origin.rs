//! Where a message comes from that came over a bridge. Its source is then the topic in which it was first published, and its sequence the position there and one: so the log knows by itself how
//! far it has got with each of them. The name cannot be that of an application's source, which has no colon.
//!
//! ```text
//!   source            tokyo:00c0ffee00c0ffee   node, epoch of the topic there
//!   source sequence   position there + 1
//!   origin            when it was published there (ns since 1970; zero if that isn't known), the topic's name there if it was another
//!   original source, original sequence         what its publisher gave it
//! ```

use super::known::{Source, number, text};
use super::{
    BLOCK_HEADER_BYTES, Block, ExtensionError, FIELD_HEADER_BYTES, Fields, Malformed, TAG_ORIGIN,
    TAG_ORIGINAL_SEQUENCE, TAG_ORIGINAL_SOURCE, TAG_SOURCE, TAG_SOURCE_SEQUENCE,
};

/// Where a message was first published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageOrigin<'a> {
    /// The name of the node.
    pub node: &'a str,
    /// The number of the very topic there.
    pub epoch: u64,
    /// Its position there.
    pub position: u64,
    /// When it was published there, in nanoseconds since 1970; zero if that topic has no stamps.
    pub unix_ns: u64,
    /// The topic's name there, if it is another than here.
    pub topic: Option<&'a str>,
}

impl MessageOrigin<'_> {
    /// The name of the source that messages of this node's topic have elsewhere.
    #[must_use]
    pub fn source_name(node: &str, epoch: u64) -> String {
        format!("{node}:{epoch:016x}")
    }

    /// Node and epoch, if `source` is such a name.
    #[must_use]
    pub fn parse_source(source: &str) -> Option<(&str, u64)> {
        let (node, epoch) = source.split_once(':')?;
        let epoch = u64::from_str_radix(epoch, 16).ok().filter(|_| epoch.len() == 16 && !node.is_empty())?;
        Some((node, epoch))
    }
}

impl Block {
    /// Adds where it comes from, which takes the place of a source: what it had as one is to be added by [`Block::original_source`].
    ///
    /// Errors: as for the other fields.
    pub fn origin(&mut self, origin: &MessageOrigin<'_>) -> Result<(), ExtensionError> {
        let name = MessageOrigin::source_name(origin.node, origin.epoch);
        self.source(Source { name: &name, sequence: origin.position + 1 })?;
        self.once(TAG_ORIGIN, &[&origin.unix_ns.to_le_bytes(), origin.topic.unwrap_or_default().as_bytes()])
    }

    /// Adds the source that a message has had before it came over a bridge. Errors: as for the other fields.
    pub fn original_source(&mut self, source: Source<'_>) -> Result<(), ExtensionError> {
        self.source_as(TAG_ORIGINAL_SOURCE, TAG_ORIGINAL_SEQUENCE, source)
    }
}

impl<'a> Fields<'a> {
    /// Where it comes from, if it came over a bridge.
    ///
    /// Cost: two walks over the fields. Errors: [`Malformed`].
    pub fn origin(&self) -> Result<Option<MessageOrigin<'a>>, Malformed> {
        let Some(origin) = self.value_of(TAG_ORIGIN)? else { return Ok(None) };
        let source = self.source()?.ok_or(Malformed)?;
        let (node, epoch) = MessageOrigin::parse_source(source.name).ok_or(Malformed)?;
        let position = source.sequence.checked_sub(1).ok_or(Malformed)?;
        let (unix_ns, topic) = origin.split_at_checked(size_of::<u64>()).ok_or(Malformed)?;
        let topic = Some(text(topic)?).filter(|topic| !topic.is_empty());
        Ok(Some(MessageOrigin { node, epoch, position, unix_ns: u64::from_le_bytes(number(unix_ns)?), topic }))
    }

    /// The source that its publisher gave it, also if it came over a bridge. Of the name nothing is known but that it is text.
    ///
    /// Cost and errors: as for [`Fields::source`].
    pub fn publishers_source(&self) -> Result<Option<Source<'a>>, Malformed> {
        if self.value_of(TAG_ORIGIN)?.is_some() {
            self.source_of(TAG_ORIGINAL_SOURCE, TAG_ORIGINAL_SEQUENCE)
        } else {
            self.source()
        }
    }
}

/// A block that says where a message comes from and nothing else, encoded once for each origin.
#[derive(Clone, Debug)]
pub struct OriginBlock {
    bytes: Box<[u8]>,
    sequence_at: usize,
    unix_ns_at: usize,
}

impl OriginBlock {
    /// For messages of this topic of the node, in a topic whose payloads are aligned to `payload_align`. `topic` is its name there, if it is another.
    ///
    /// Errors: [`ExtensionError`].
    pub fn new(node: &str, epoch: u64, topic: Option<&str>, payload_align: u64) -> Result<Self, ExtensionError> {
        let mut block = Block::default();
        block.origin(&MessageOrigin { node, epoch, position: 0, unix_ns: 0, topic })?;
        let name = MessageOrigin::source_name(node, epoch);
        let sequence_at = BLOCK_HEADER_BYTES + FIELD_HEADER_BYTES + name.len() + FIELD_HEADER_BYTES;
        let unix_ns_at = sequence_at + size_of::<u64>() + FIELD_HEADER_BYTES;
        Ok(Self { bytes: block.finish(payload_align).into(), sequence_at, unix_ns_at })
    }

    /// The block of the message at `position` there, published at `unix_ns`.
    #[inline]
    pub fn with(&mut self, position: u64, unix_ns: u64) -> &[u8] {
        self.bytes[self.sequence_at..][..8].copy_from_slice(&(position + 1).to_le_bytes());
        self.bytes[self.unix_ns_at..][..8].copy_from_slice(&unix_ns.to_le_bytes());
        &self.bytes
    }

    /// Adds the fields of a message that has come from there to `block`: those that say where it comes from, and its own, `fields`.
    ///
    /// Errors: [`ExtensionError::TooLong`]; [`ExtensionError::Malformed`] if `fields` can't be read.
    pub fn put_with(&self, block: &mut Block, fields: Fields<'_>) -> Result<(), ExtensionError> {
        block.clear();
        for field in (Fields { rest: &self.bytes[BLOCK_HEADER_BYTES..] }).chain(fields.map(|field| field.map(moved))) {
            let field = field.map_err(|Malformed| ExtensionError::Malformed)?;
            block.field(field.tag, &[field.value])?;
        }
        Ok(())
    }
}

/// A field as it is where its message came over a bridge: what was a source was given by the publisher.
fn moved(field: super::Field<'_>) -> super::Field<'_> {
    let tag = match field.tag {
        TAG_SOURCE => TAG_ORIGINAL_SOURCE,
        TAG_SOURCE_SEQUENCE => TAG_ORIGINAL_SEQUENCE,
        other => other,
    };
    super::Field { tag, ..field }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(block: &[u8]) -> Fields<'_> {
        Fields { rest: &block[BLOCK_HEADER_BYTES..] }
    }

    #[test]
    fn a_message_says_where_it_comes_from_and_what_its_publisher_gave_it() {
        for topic in [None, Some("md.trades")] {
            let mut origins = OriginBlock::new("tokyo", 0xc0ffee, topic, 16).unwrap();
            let origin = MessageOrigin { node: "tokyo", epoch: 0xc0ffee, position: 640, unix_ns: 77, topic };
            let alone = fields(origins.with(640, 77)).clone();
            assert_eq!((alone.origin(), alone.publishers_source()), (Ok(Some(origin)), Ok(None)));
            assert_eq!(alone.source(), Ok(Some(Source { name: "tokyo:0000000000c0ffee", sequence: 641 })));

            let mut given = Block::default();
            let source = Source { name: "venue.a", sequence: 9 };
            given.user_header("a", b"1").unwrap();
            given.source(source).unwrap();
            given.user_header("a", b"2").unwrap();
            let mut block = Block::default();
            origins.put_with(&mut block, fields(given.finish(8))).unwrap();
            let all = fields(block.finish(8));
            assert_eq!((all.origin(), all.publishers_source()), (Ok(Some(origin)), Ok(Some(source))));
            let headers: Vec<_> = all.map_while(Result::ok).filter_map(super::super::Field::user_header).collect();
            assert_eq!(headers, [("a", &b"1"[..]), ("a", b"2")]);
        }
    }

    #[test]
    fn names_of_origins_are_told_from_others() {
        let name = MessageOrigin::source_name("a-b_9", 7);
        assert_eq!(MessageOrigin::parse_source(&name), Some(("a-b_9", 7)));
        for other in ["venue.a", ":0000000000000007", "a:7", "a:00000000000000zz", "a:00000000000000007", ""] {
            assert_eq!(MessageOrigin::parse_source(other), None, "{other}");
        }
    }

    #[test]
    fn an_origin_that_cannot_be_is_malformed_and_the_rest_is_there() {
        for (source, sequence, origin) in [
            ("venue.a", 1, &[0; 8][..]),
            ("t:0000000000000007", 0, &[0; 8]),
            ("t:0000000000000007", 1, &[0; 7]),
            ("t:0000000000000007", 1, &[0xff; 9]),
        ] {
            let mut block = Block::default();
            block.key(b"k").unwrap();
            block.source(Source { name: source, sequence }).unwrap();
            block.field(TAG_ORIGIN, &[origin]).unwrap();
            let found = fields(block.finish(8));
            assert_eq!(found.origin(), Err(Malformed), "{source} {sequence} {origin:?}");
            assert_eq!(found.key(), Ok(Some(&b"k"[..])));
        }
    }
}
