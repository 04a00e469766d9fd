//! The fields of request–reply: which request, what a message of the connection is, until when an answer is awaited.
//!
//! A request and a final reply have a correlation id and nothing more. Any other message of a connection says in its call
//! status what it is:
//!
//! | kind (u8) | from | what it is | then |
//! |---|---|---|---|
//! | 1 | server | a reply, and there is more to come | |
//! | 2 | server | the end of a reply; no payload | |
//! | 3 | server | refused; no payload | code (u32), text |
//! | 4 | server | the request was dropped without an answer; no payload | |
//! | 5 | client | the request is cancelled; no payload | |

use crate::layout::{FLAG_EXTENSIONS, FRAME_HEADER_BYTES, Geometry, StateWord};

use super::{
    BLOCK_HEADER_BYTES, Block, ExtensionError, FIELD_HEADER_BYTES, Fields, Malformed, TAG_CALL_STATUS,
    TAG_CORRELATION_ID, TAG_DEADLINE,
};

/// What a message of a request–reply connection is, if it is neither a request nor a final reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStatus<'a> {
    /// A part of a reply, behind which others come.
    More,
    /// The end of a reply of which all parts were sent.
    End,
    /// The server refuses the request.
    Refused {
        /// The application's number for the reason.
        code: u32,
        /// The reason in words.
        text: &'a str,
    },
    /// The server had the request and will not answer it.
    Unanswered,
    /// The client doesn't want an answer any more.
    Cancel,
}

impl<'a> CallStatus<'a> {
    fn of(value: &'a [u8]) -> Result<Self, Malformed> {
        let (kind, rest) = value.split_first().ok_or(Malformed)?;
        match kind {
            1 => Ok(Self::More),
            2 => Ok(Self::End),
            3 => {
                let (code, text) = rest.split_first_chunk().ok_or(Malformed)?;
                let text = core::str::from_utf8(text).map_err(|_| Malformed)?;
                Ok(Self::Refused { code: u32::from_le_bytes(*code), text })
            }
            4 => Ok(Self::Unanswered),
            5 => Ok(Self::Cancel),
            _ => Err(Malformed),
        }
    }
}

/// Each adds a field, once for each message.
///
/// Errors: [`ExtensionError::Twice`] and [`ExtensionError::TooLong`]; the block is unchanged.
impl Block {
    /// Adds what the message is. Errors: see above.
    pub fn call_status(&mut self, status: CallStatus<'_>) -> Result<(), ExtensionError> {
        match status {
            CallStatus::More => self.once(TAG_CALL_STATUS, &[&[1]]),
            CallStatus::End => self.once(TAG_CALL_STATUS, &[&[2]]),
            CallStatus::Refused { code, text } => {
                self.once(TAG_CALL_STATUS, &[&[3], &code.to_le_bytes(), text.as_bytes()])
            }
            CallStatus::Unanswered => self.once(TAG_CALL_STATUS, &[&[4]]),
            CallStatus::Cancel => self.once(TAG_CALL_STATUS, &[&[5]]),
        }
    }

    /// Adds until when an answer is awaited, in nanoseconds since 1970. Errors: see above.
    pub fn deadline(&mut self, unix_ns: u64) -> Result<(), ExtensionError> {
        self.once(TAG_DEADLINE, &[&unix_ns.to_le_bytes()])
    }
}

/// What request–reply asks of a message, found in one walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallFields<'a> {
    /// Which request it belongs to.
    pub correlation_id: Option<u128>,
    /// What it is.
    pub status: Option<CallStatus<'a>>,
    /// Until when an answer is awaited, in nanoseconds since 1970.
    pub deadline_unix_ns: Option<u64>,
}

impl<'a> CallFields<'a> {
    /// Looks for them. Errors: [`Malformed`] if one of them, or a length, is.
    #[inline]
    pub fn of(fields: Fields<'a>) -> Result<Self, Malformed> {
        let mut found = Self::default();
        for field in fields {
            let field = field?;
            match field.tag {
                TAG_CORRELATION_ID if found.correlation_id.is_none() => {
                    let bytes = field.value.try_into().map_err(|_| Malformed)?;
                    found.correlation_id = Some(u128::from_le_bytes(bytes));
                }
                TAG_CALL_STATUS if found.status.is_none() => found.status = Some(CallStatus::of(field.value)?),
                TAG_DEADLINE if found.deadline_unix_ns.is_none() => {
                    let bytes = field.value.try_into().map_err(|_| Malformed)?;
                    found.deadline_unix_ns = Some(u64::from_le_bytes(bytes));
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// A block with nothing but a correlation id, encoded once and used for many messages; what it looks like is also the quickest way to tell one.
#[derive(Clone, Debug)]
pub struct IdBlock {
    bytes: Box<[u8]>,
    /// The id that is in it.
    id: u128,
    /// Of what comes before the extensions of a frame, in bytes from its header's end.
    at: usize,
    /// The lengths and the tag that stand before the id.
    begin: [u8; ID_AT],
}

/// Where the id begins in a block with nothing else.
const ID_AT: usize = BLOCK_HEADER_BYTES + FIELD_HEADER_BYTES;
const ID_BYTES: usize = size_of::<u128>();

impl IdBlock {
    /// For messages of a topic with these sizes and places.
    #[must_use]
    pub fn new(geometry: &Geometry) -> Self {
        let mut block = Block::default();
        // An empty block has room for its first field.
        let _ = block.correlation_id(0);
        let bytes: Box<[u8]> = block.finish(geometry.payload_align).into();
        let begin = *bytes.first_chunk().expect("a block with an id is longer than what stands before it");
        Self { bytes, id: 0, at: (geometry.payload_at - FRAME_HEADER_BYTES) as usize, begin }
    }

    /// The block with this id.
    #[inline(always)]
    pub fn with(&mut self, id: u128) -> &[u8] {
        self.expect(id);
        &self.bytes
    }

    /// Puts this id in, ahead of [`IdBlock::with`]: a copy that follows right upon the store waits for it.
    #[inline(always)]
    pub fn expect(&mut self, id: u128) {
        // By halves: one that has just been stored in two registers can't be loaded as one before it has reached the cache.
        let halves = |id: u128| (id as u64, (id >> 64) as u64);
        let (is, wanted) = (halves(self.id), halves(id));
        if (is.0 ^ wanted.0) | (is.1 ^ wanted.1) != 0 {
            self.id = id;
            self.bytes[ID_AT..ID_AT + ID_BYTES].copy_from_slice(&id.to_le_bytes());
        }
    }

    /// The id of a frame with the state word `word` whose extensions are exactly such a block, and where its payload begins in its body.
    /// `None` for any other, which may have an id too.
    #[inline(always)]
    #[must_use]
    pub fn split(&self, word: StateWord, body: &[u8]) -> Option<(u128, usize)> {
        let end = self.at + self.bytes.len();
        let block = body.get(self.at..end)?;
        let (begin, rest) = block.split_first_chunk::<ID_AT>()?;
        let (id, rest) = rest.split_first_chunk::<ID_BYTES>()?;
        // Behind the id there may be zeros up to the payload's alignment, or another field in their place.
        let is_alone = *begin == self.begin && rest.iter().all(|byte| *byte == 0);
        (is_alone && word.flags() & FLAG_EXTENSIONS != 0).then(|| (u128::from_le_bytes(*id), end))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Parts, TAG_USER_HEADER};
    use super::*;
    use crate::header::TopicOptions;
    use crate::layout::{FLAG_EXTENSIONS, Phase, StateWord};

    /// What a reader finds in a block.
    fn found(block: &[u8]) -> Result<CallFields<'_>, Malformed> {
        let geometry = TopicOptions::default().geometry().unwrap();
        let word = StateWord::new(0, Phase::Committed, FLAG_EXTENSIONS, 0, block.len() as u64);
        CallFields::of(Parts::of(&geometry, word, block)?.fields)
    }

    #[test]
    fn an_id_block_carries_whatever_id_it_is_given_and_nothing_else() {
        for (payload_align, stamps) in [(8, false), (8, true), (16, false), (64, true)] {
            let geometry = TopicOptions { payload_align, stamps, ..TopicOptions::default() }.geometry().unwrap();
            let mut ids = IdBlock::new(&geometry);
            let before = vec![0; (geometry.payload_at - FRAME_HEADER_BYTES) as usize];
            let word = |body: &[u8]| StateWord::new(0, Phase::Committed, FLAG_EXTENSIONS, 0, body.len() as u64);
            for id in [0, 7, u128::MAX, 1 << 64] {
                let body = [&before, ids.with(id), b"payload"].concat();
                let parts = Parts::of(&geometry, word(&body), &body).unwrap();
                let expected = CallFields { correlation_id: Some(id), ..CallFields::default() };
                assert_eq!((CallFields::of(parts.fields), parts.payload), (Ok(expected), &b"payload"[..]));
                let (found, payload_at) = ids.split(word(&body), &body).unwrap();
                assert_eq!((found, &body[payload_at..]), (id, &b"payload"[..]));
                assert_eq!(
                    ids.split(
                        StateWord(word(&body).0 & !StateWord::new(0, Phase::Free, FLAG_EXTENSIONS, 0, 0).0),
                        &body
                    ),
                    None
                );
                for length in 0..payload_at {
                    assert_eq!(ids.split(word(&body), &body[..length]), None);
                }
            }
            let mut other = Block::default();
            other.correlation_id(5).unwrap();
            other.call_status(CallStatus::More).unwrap();
            let body = [&before, other.finish(payload_align), b"payload"].concat();
            assert_eq!(ids.split(word(&body), &body), None, "there is another field");
        }
    }

    #[test]
    fn every_status_and_a_deadline_come_back() {
        let refused = CallStatus::Refused { code: 404, text: "no such order" };
        for status in [CallStatus::More, CallStatus::End, refused, CallStatus::Unanswered, CallStatus::Cancel] {
            let mut block = Block::default();
            block.user_header("a", b"1").unwrap();
            block.correlation_id(9).unwrap();
            block.call_status(status).unwrap();
            block.deadline(77).unwrap();
            assert_eq!(block.call_status(CallStatus::End), Err(ExtensionError::Twice));
            assert_eq!(block.deadline(78), Err(ExtensionError::Twice));
            let fields = found(block.finish(8)).unwrap();
            let expected = CallFields { correlation_id: Some(9), status: Some(status), deadline_unix_ns: Some(77) };
            assert_eq!(fields, expected);
        }
    }

    #[test]
    fn a_message_without_them_has_none_and_values_that_make_no_sense_are_malformed() {
        let mut block = Block::default();
        block.field(TAG_USER_HEADER, &[b"\x01ab"]).unwrap();
        assert_eq!(found(block.finish(8)), Ok(CallFields::default()));
        let wrong: [(u16, &[u8]); 8] = [
            (TAG_CALL_STATUS, b""),
            (TAG_CALL_STATUS, b"\x00"),
            (TAG_CALL_STATUS, b"\x06"),
            (TAG_CALL_STATUS, b"\x03\x01\x00\x00"),
            (TAG_CALL_STATUS, b"\x03\x01\x00\x00\x00\xff"),
            (TAG_DEADLINE, b"1234567"),
            (TAG_CORRELATION_ID, b"short"),
            (TAG_CORRELATION_ID, b""),
        ];
        for (tag, value) in wrong {
            let mut block = Block::default();
            block.field(tag, &[value]).unwrap();
            assert_eq!(found(block.finish(8)), Err(Malformed), "{tag} {value:?}");
        }
    }
}
