//! The messages of the control stream: they open, steer and end flows. What each field means stands here, where it lies in [`layout`](crate::layout).

use crate::codec::{Cursor, Fields, Malformed};
use crate::layout::{
    CONTROL_BYTES_MAX, CONTROL_HEAD_BYTES, DESCRIPTION_BYTES_MAX, HELLO_MAGIC, MARKS_MAX, VERSION_MAX, VERSION_MIN,
    kind as kinds,
};

/// A message of the control stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The first of who connects.
    Hello(Hello),
    /// The answer, and the first of who was connected to.
    Welcome(Welcome),
    /// Topics are wanted: who has them opens flows, now and when more come.
    Want(Want),
    /// They aren't any more, or can't be had.
    EndWant {
        /// Which.
        want: u32,
        /// Why.
        code: EndCode,
        /// The same in words.
        text: String,
    },
    /// A flow is offered, by who has the topic.
    Open(Open),
    /// It is taken.
    Accept {
        /// Which.
        flow: u32,
        /// Where to begin with origins that there is no mark of.
        start: StartAt,
        /// How far the receiver has got with each origin.
        marks: Vec<Mark>,
    },
    /// The sender may have sent so many bytes of packed frames in all since the flow was opened.
    Credit {
        /// Which.
        flow: u32,
        /// Never falls.
        bytes: u64,
    },
    /// How far the receiver is, in positions of the sender's log. None of them falls.
    Progress {
        /// Which.
        flow: u32,
        /// Everything before this position has come.
        received: u64,
        /// Everything before it is in the receiver's log.
        applied: u64,
        /// Everything before it survives a loss of power there; zero if nobody sees to that.
        durable: u64,
    },
    /// Asks for a sign of life, and the time.
    Ping {
        /// Which.
        number: u64,
        /// The sender's time, nanoseconds since 1970.
        sent_unix_ns: u64,
    },
    /// Answers a ping. With the time at which this comes back the four give the clocks' offset.
    Pong {
        /// Which.
        number: u64,
        /// When the ping was sent, by its sender's clock.
        sent_unix_ns: u64,
        /// When it came, by the clock of who answers.
        received_unix_ns: u64,
        /// When this was sent, by the same.
        answered_unix_ns: u64,
    },
    /// A flow ends, or is refused.
    EndFlow {
        /// Which.
        flow: u32,
        /// Why.
        code: EndCode,
        /// The same in words, for who reads the log.
        text: String,
    },
    /// The connection ends: nothing comes after it.
    Goodbye {
        /// Why.
        code: EndCode,
        /// The same in words.
        text: String,
    },
}

/// Who connects, and what it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The oldest version that it speaks, and the newest.
    pub versions: (u16, u16),
    /// What it can do beside.
    pub features: Features,
    /// The name of its node, which no other one has: what origins are called by.
    pub name: String,
    /// When it was sent, nanoseconds since 1970.
    pub sent_unix_ns: u64,
}

/// Who was connected to, and what is spoken from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The version.
    pub version: u16,
    /// What both can do.
    pub features: Features,
    /// The name of its node.
    pub name: String,
}

/// What not everybody can do: a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u32);

impl Features {
    /// Batches compressed with Zstandard (RFC 8878).
    pub const ZSTD: Self = Self(1);
    /// Batches compressed with LZ4's block format.
    pub const LZ4: Self = Self(2);

    /// What both can do.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Where a flow begins, of which its receiver has nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum StartAt {
    /// With the oldest message that its sender has.
    #[default]
    Earliest = 1,
    /// With the next one.
    Live = 2,
}

/// What a flow promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Each message once, in order.
    Reliable = 1,
    /// Each message at most once, in order; what comes while nobody is connected is lost.
    AtMostOnce = 2,
    /// The newest, in datagrams: what is late is dropped.
    Latest = 3,
}

/// Topics that are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Its number, which nothing else that was wanted on the connection has; not zero.
    pub want: u32,
    /// What its flows are to promise.
    pub mode: Mode,
    /// How they are to be compressed, if they can be.
    pub compression: Features,
    /// The topics: a name, or a pattern of names.
    pub pattern: String,
}

/// A flow that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its number: who connected takes odd ones, the other even ones, none twice.
    pub flow: u32,
    /// What it promises.
    pub mode: Mode,
    /// By which number it was wanted; zero if it wasn't asked for.
    pub want: u32,
    /// The topic.
    pub topic: Topic,
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The name of its messages' type; empty: raw bytes.
    pub type_name: String,
    /// The type's version.
    pub type_version: u32,
    /// The type's fingerprint.
    pub type_fingerprint: u64,
    /// The number of this very topic on the host that has it.
    pub epoch: u64,
    /// What its frames are padded to, in bytes, and the bytes of its ring: positions follow from these.
    pub cell: u32,
    /// See above.
    pub capacity: u64,
    /// Where the payload of a frame without extensions begins in it, in bytes.
    pub payload_at: u32,
    /// What payloads are aligned to, in bytes.
    pub payload_align: u32,
    /// Most bytes behind a frame's state word.
    pub body_max: u64,
    /// Whether its messages have stamps.
    pub stamps: bool,
    /// The description of the type, if its sender knows it; one of more than 32 KiB isn't sent.
    pub description: String,
}

/// How far a receiver has got with the messages of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The origin: a source's name.
    pub source: String,
    /// The last sequence of it that the receiver has.
    pub sequence: u64,
}

/// Why a flow or a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum EndCode {
    /// It is over: everything was done.
    Done = 1,
    /// No version is spoken by both.
    Version = 2,
    /// What came can't be read.
    Malformed = 3,
    /// What came is not what may come there.
    OutOfTurn = 4,
    /// The peer may not do that.
    NotAllowed = 5,
    /// There is no such topic.
    NoTopic = 6,
    /// The topic's messages are of another type.
    OtherType = 7,
    /// The topic was removed.
    Removed = 8,
    /// There are too many.
    TooMany = 9,
    /// More than there was credit for.
    NoCredit = 10,
    /// What the receiver lacks is not there any more.
    NotRetained = 11,
    /// Something failed here.
    Failed = 12,
    /// A reason that a later version has.
    Other = 0xffff,
}

impl EndCode {
    const ALL: [Self; 12] = [
        Self::Done,
        Self::Version,
        Self::Malformed,
        Self::OutOfTurn,
        Self::NotAllowed,
        Self::NoTopic,
        Self::OtherType,
        Self::Removed,
        Self::TooMany,
        Self::NoCredit,
        Self::NotRetained,
        Self::Failed,
    ];

    fn from_bits(bits: u16) -> Self {
        Self::ALL.into_iter().find(|code| *code as u16 == bits).unwrap_or(Self::Other)
    }
}

/// The newest version that is spoken here and by `hello`; `None` if there is none.
#[must_use]
pub fn common_version(hello: &Hello) -> Option<u16> {
    let newest = hello.versions.1.min(VERSION_MAX);
    (newest >= hello.versions.0.max(VERSION_MIN)).then_some(newest)
}

impl Control {
    /// Its bytes. Texts are cut to 1,024 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Fields { bytes: vec![0; CONTROL_HEAD_BYTES] };
        let kind = self.put(&mut fields);
        let mut bytes = fields.bytes;
        let length = (bytes.len() - CONTROL_HEAD_BYTES) as u32;
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..6].copy_from_slice(&kind.to_le_bytes());
        bytes
    }

    /// Puts its fields behind `fields`; which kind it is.
    fn put(&self, fields: &mut Fields) -> u16 {
        match self {
            Self::Hello(Hello { versions, features, name, sent_unix_ns }) => {
                fields.u64(HELLO_MAGIC).u16(versions.0).u16(versions.1).u32(features.0);
                fields.u64(*sent_unix_ns).text(name);
                kinds::HELLO
            }
            Self::Welcome(Welcome { version, features, name }) => {
                fields.u16(*version).u16(0).u32(features.0).text(name);
                kinds::WELCOME
            }
            Self::Want(Want { want, mode, compression, pattern }) => {
                fields.u32(*want).u8(*mode as u8).u8(0).u16(0).u32(compression.0).text(pattern);
                kinds::WANT
            }
            Self::EndWant { want, code, text } => {
                fields.u32(*want).u16(*code as u16).text(text);
                kinds::END_WANT
            }
            Self::Open(Open { flow, mode, want, topic }) => {
                fields.u32(*flow).u8(*mode as u8).u8(0).u16(0).u32(*want);
                put_topic(fields, topic);
                kinds::OPEN
            }
            Self::Accept { flow, start, marks } => {
                fields.u32(*flow).u8(*start as u8).u8(0).u16(0);
                put_marks(fields, marks);
                kinds::ACCEPT
            }
            Self::Credit { flow, bytes } => {
                fields.u32(*flow).u64(*bytes);
                kinds::CREDIT
            }
            Self::Progress { flow, received, applied, durable } => {
                fields.u32(*flow).u64(*received).u64(*applied).u64(*durable);
                kinds::PROGRESS
            }
            Self::Ping { number, sent_unix_ns } => {
                fields.u64(*number).u64(*sent_unix_ns);
                kinds::PING
            }
            Self::Pong { number, sent_unix_ns, received_unix_ns, answered_unix_ns } => {
                fields.u64(*number).u64(*sent_unix_ns).u64(*received_unix_ns).u64(*answered_unix_ns);
                kinds::PONG
            }
            Self::EndFlow { flow, code, text } => {
                fields.u32(*flow).u16(*code as u16).text(text);
                kinds::END_FLOW
            }
            Self::Goodbye { code, text } => {
                fields.u16(*code as u16).text(text);
                kinds::GOODBYE
            }
        }
    }

    /// The first message in `bytes`, and how many of them it has; `None` if more are needed. A message of a kind that isn't known is none, and is passed over.
    ///
    /// Errors: [`Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Option<(Option<Self>, usize)>, Malformed> {
        let mut head = Cursor::new(bytes);
        let (Ok(length), Ok(kind)) = (head.u32(), head.u16()) else { return Ok(None) };
        let length = length as usize;
        if length > CONTROL_BYTES_MAX {
            return Err(Malformed { at: 0, what: "a control message is too long" });
        }
        let Some(fields) = bytes.get(CONTROL_HEAD_BYTES..CONTROL_HEAD_BYTES + length) else { return Ok(None) };
        let message = Self::fields(kind, &mut Cursor::new(fields));
        let message = message.map_err(|error| Malformed { at: error.at + CONTROL_HEAD_BYTES, ..error })?;
        Ok(Some((message, CONTROL_HEAD_BYTES + length)))
    }

    /// What lies behind the fields that are known is of a later version, and means nothing here.
    fn fields(kind: u16, from: &mut Cursor<'_>) -> Result<Option<Self>, Malformed> {
        Ok(Some(match kind {
            kinds::HELLO => {
                if from.u64()? != HELLO_MAGIC {
                    return Err(Malformed { at: 0, what: "it isn't a bridge that greets" });
                }
                Self::Hello(Hello {
                    versions: (from.u16()?, from.u16()?),
                    features: Features(from.u32()?),
                    sent_unix_ns: from.u64()?,
                    name: from.text()?.to_owned(),
                })
            }
            kinds::WELCOME => {
                let version = from.u16()?;
                from.u16()?;
                let features = Features(from.u32()?);
                Self::Welcome(Welcome { version, features, name: from.text()?.to_owned() })
            }
            kinds::WANT => {
                let (want, mode, _) = (from.u32()?, mode(from)?, from.take(3)?);
                let compression = Features(from.u32()?);
                Self::Want(Want { want, mode, compression, pattern: from.text()?.to_owned() })
            }
            kinds::END_WANT => {
                let (want, code) = (from.u32()?, EndCode::from_bits(from.u16()?));
                Self::EndWant { want, code, text: from.text()?.to_owned() }
            }
            kinds::OPEN => {
                let (flow, mode, _) = (from.u32()?, mode(from)?, from.take(3)?);
                Self::Open(Open { flow, mode, want: from.u32()?, topic: topic(from)? })
            }
            kinds::ACCEPT => {
                let flow = from.u32()?;
                let start = match from.u8()? {
                    1 => StartAt::Earliest,
                    2 => StartAt::Live,
                    _ => return Err(from.malformed("a start that there isn't")),
                };
                from.take(3)?;
                Self::Accept { flow, start, marks: marks(from)? }
            }
            kinds::CREDIT => Self::Credit { flow: from.u32()?, bytes: from.u64()? },
            kinds::PROGRESS => {
                Self::Progress { flow: from.u32()?, received: from.u64()?, applied: from.u64()?, durable: from.u64()? }
            }
            kinds::PING => Self::Ping { number: from.u64()?, sent_unix_ns: from.u64()? },
            kinds::PONG => Self::Pong {
                number: from.u64()?,
                sent_unix_ns: from.u64()?,
                received_unix_ns: from.u64()?,
                answered_unix_ns: from.u64()?,
            },
            kinds::END_FLOW => {
                let (flow, code) = (from.u32()?, EndCode::from_bits(from.u16()?));
                Self::EndFlow { flow, code, text: from.text()?.to_owned() }
            }
            kinds::GOODBYE => Self::Goodbye { code: EndCode::from_bits(from.u16()?), text: from.text()?.to_owned() },
            _ => return Ok(None),
        }))
    }
}

fn mode(from: &mut Cursor<'_>) -> Result<Mode, Malformed> {
    match from.u8()? {
        1 => Ok(Mode::Reliable),
        2 => Ok(Mode::AtMostOnce),
        3 => Ok(Mode::Latest),
        _ => Err(from.malformed("a mode that there isn't")),
    }
}

fn put_topic(fields: &mut Fields, topic: &Topic) {
    fields.u64(topic.epoch).u64(topic.capacity).u32(topic.cell).u32(topic.payload_at).u32(topic.payload_align);
    fields.u64(topic.body_max);
    fields.u32(topic.type_version).u64(topic.type_fingerprint);
    fields.u8(topic.stamps.into()).text(&topic.name).text(&topic.type_name);
    let description = Some(&*topic.description).filter(|text| text.len() <= DESCRIPTION_BYTES_MAX).unwrap_or_default();
    fields.long_text(description);
}

fn topic(from: &mut Cursor<'_>) -> Result<Topic, Malformed> {
    Ok(Topic {
        epoch: from.u64()?,
        capacity: from.u64()?,
        cell: from.u32()?,
        payload_at: from.u32()?,
        payload_align: from.u32()?,
        body_max: from.u64()?,
        type_version: from.u32()?,
        type_fingerprint: from.u64()?,
        stamps: from.u8()? != 0,
        name: from.text()?.to_owned(),
        type_name: from.text()?.to_owned(),
        description: from.long_text(DESCRIPTION_BYTES_MAX)?.to_owned(),
    })
}

fn put_marks(fields: &mut Fields, marks: &[Mark]) {
    fields.u16(marks.len().min(MARKS_MAX) as u16);
    for mark in marks.iter().take(MARKS_MAX) {
        fields.text(&mark.source).u64(mark.sequence);
    }
}

fn marks(from: &mut Cursor<'_>) -> Result<Vec<Mark>, Malformed> {
    let count = usize::from(from.u16()?);
    if count > MARKS_MAX {
        return Err(from.malformed("there are too many marks"));
    }
    // Each is read before there is memory for the next.
    (0..count).map(|_| Ok(Mark { source: from.text()?.to_owned(), sequence: from.u64()? })).collect()
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
