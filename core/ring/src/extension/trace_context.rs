//! A trace context, as W3C's Trace Context has it: in a frame as bytes, elsewhere as the text of a `traceparent` header.
//!
//! ```text
//!  0         1                 17               25      26
//!  +---------+-----------------+----------------+-------+
//!  | version | trace id        | parent id      | flags |
//!  +---------+-----------------+----------------+-------+
//!  00       -0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
//! ```

use super::Malformed;
use core::fmt;
use core::str::FromStr;

/// Bytes of a trace context in a frame.
pub(super) const TRACE_CONTEXT_BYTES: usize = 26;
/// Characters of a `traceparent`.
const TRACE_PARENT_CHARACTERS: usize = 55;
/// The version that is written. Of later ones what this one has is read.
const VERSION: u8 = 0;
/// What no version is called.
const VERSION_INVALID: u8 = 0xff;

/// Which trace a message belongs to, and below which of its spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace. Not all zero.
    pub trace_id: [u8; 16],
    /// The span of whoever sent the message. Not all zero.
    pub parent_id: [u8; 8],
    /// The flags of W3C's version 00.
    pub flags: u8,
}

/// The text is no `traceparent`: leave it out, and begin a trace of your own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no traceparent: it is like 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
pub struct InvalidTraceParent;

impl TraceContext {
    /// The flag that says that the sender records the trace.
    pub const FLAG_SAMPLED: u8 = 1;

    /// Whether the sender records the trace.
    #[must_use]
    pub fn is_sampled(self) -> bool {
        self.flags & Self::FLAG_SAMPLED != 0
    }

    /// Whether both of its ids are some.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.trace_id != [0; 16] && self.parent_id != [0; 8]
    }

    /// As it stands in a frame.
    pub(super) fn to_bytes(self) -> [u8; TRACE_CONTEXT_BYTES] {
        let mut bytes = [VERSION; TRACE_CONTEXT_BYTES];
        bytes[1..17].copy_from_slice(&self.trace_id);
        bytes[17..25].copy_from_slice(&self.parent_id);
        bytes[25] = self.flags;
        bytes
    }

    /// From a frame.
    pub(super) fn of_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let (known, rest) = bytes.split_first_chunk::<TRACE_CONTEXT_BYTES>().ok_or(Malformed)?;
        Self::of_parts(known, rest.is_empty()).ok_or(Malformed)
    }

    /// `known` is what version 00 has, `is_whole` whether that is all.
    fn of_parts(known: &[u8; TRACE_CONTEXT_BYTES], is_whole: bool) -> Option<Self> {
        let (version, known) = known.split_first()?;
        let (trace_id, known) = known.split_first_chunk()?;
        let (parent_id, flags) = known.split_first_chunk()?;
        // Of a later version's flags only this one is sure to mean the same.
        let mask = if *version == VERSION { u8::MAX } else { Self::FLAG_SAMPLED };
        let context = Self { trace_id: *trace_id, parent_id: *parent_id, flags: flags.first()? & mask };
        let fits = if *version == VERSION { is_whole } else { *version != VERSION_INVALID };
        (fits && context.is_valid()).then_some(context)
    }
}

/// The text of a `traceparent` header.
impl fmt::Display for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{VERSION:02x}-")?;
        self.trace_id.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))?;
        formatter.write_str("-")?;
        self.parent_id.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))?;
        write!(formatter, "-{:02x}", self.flags)
    }
}

/// From the text of a `traceparent` header, without space around it. No allocation.
impl FromStr for TraceContext {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let characters = text.as_bytes().split_first_chunk::<TRACE_PARENT_CHARACTERS>();
        let (known, rest) = characters.ok_or(InvalidTraceParent)?;
        let mut bytes = [0; TRACE_CONTEXT_BYTES];
        let (mut at, mut dashes_fit) = (0, true);
        for (index, byte) in bytes.iter_mut().enumerate() {
            // Before the trace id, the parent id and the flags.
            if [1, 17, 25].contains(&index) {
                dashes_fit &= known[at] == b'-';
                at += 1;
            }
            let (high, low) = (digit(known[at]), digit(known[at + 1]));
            *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or(InvalidTraceParent)?;
            at += 2;
        }
        // What a later version adds stands behind another dash.
        dashes_fit &= rest.first().is_none_or(|character| *character == b'-');
        Self::of_parts(&bytes, rest.is_empty()).filter(|_| dashes_fit).ok_or(InvalidTraceParent)
    }
}

/// The value of a hexadecimal digit; capitals are none.
fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_example_of_the_standard_goes_there_and_back() {
        let context: TraceContext = TEXT.parse().unwrap();
        assert_eq!(context.trace_id[..2], [0x0a, 0xf7]);
        assert_eq!(context.parent_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert!(context.is_sampled());
        assert_eq!(context.to_string(), TEXT);
        assert_eq!(TraceContext::of_bytes(&context.to_bytes()), Ok(context));
    }

    #[test]
    fn text_that_the_standard_refuses_is_refused() {
        let zero_trace = TEXT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32));
        let zero_parent = TEXT.replace("b7ad6b7169203331", &"0".repeat(16));
        let longer = format!("{TEXT}-00");
        let later_without_dash = format!("{}0", TEXT.replacen("00-", "01-", 1));
        let invalid_version = TEXT.replacen("00-", "ff-", 1);
        let capitals = TEXT.to_uppercase();
        let spaced = TEXT.replace('-', " ");
        let wide = TEXT.replace("0a", "ä");
        for text in ["", "00", &TEXT[..54], &zero_trace, &zero_parent, &longer, &later_without_dash, &invalid_version]
            .into_iter()
            .chain([&*capitals, &spaced, &wide])
        {
            assert_eq!(text.parse::<TraceContext>(), Err(InvalidTraceParent), "{text:?}");
        }
    }

    #[test]
    fn of_a_later_version_what_is_known_is_read() {
        let later = TEXT.replacen("00-", "cc-", 1).replace("-01", "-ff");
        for text in [later.clone(), format!("{later}-what the future is like")] {
            let context: TraceContext = text.parse().unwrap();
            assert_eq!(context.to_string(), TEXT);
        }
        let mut bytes = TEXT.parse::<TraceContext>().unwrap().to_bytes().to_vec();
        bytes.push(7);
        assert_eq!(TraceContext::of_bytes(&bytes), Err(Malformed), "version 00 ends with its flags");
        bytes[0] = 1;
        assert_eq!(TraceContext::of_bytes(&bytes).unwrap().to_string(), TEXT);
        bytes[0] = 0xff;
        assert_eq!(TraceContext::of_bytes(&bytes), Err(Malformed));
    }
}
