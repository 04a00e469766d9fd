//! Checks an IEX-TP segment (the payload of one UDP packet) and follows the sequence of each channel.
//!
//! ```text
//!  0         1          2              4             8             12              14          16
//!  +---------+----------+--------------+-------------+-------------+---------------+-----------+
//!  | version | reserved | protocol u16 | channel u32 | session u32 | payload bytes | count u16 |
//!  +---------+----------+--------------+-------------+-------------+---------------+-----------+
//!  | stream offset i64  | first sequence i64         | send time i64, ns           | messages ...
//!  +--------------------+----------------------------+-----------------------------+------------
//!  16                   24                           32                            40
//!  message: length u16, then so many bytes. All little-endian.
//! ```
//!
//! A segment is good if its version and protocol are the known ones, its payload is as long as it says, and
//! `count` messages, none of them empty, fill that payload to the last byte. Otherwise it is bad as a whole, and
//! then its sequence numbers are not believed either: what it held shows as a gap at the channel's next good
//! segment, if there is one.
//!
//! A heartbeat is a segment of no messages; its first sequence number is the next that is due.
//! Source: the IEX Transport Specification, published by IEX.

use std::ops::Range;

use super::error::PacketError;
use super::ledger::Discontinuity;

pub(super) const HEADER_BYTES: usize = 40;

const VERSION: u8 = 1;
const PROTOCOL_DEEP: u16 = 0x8004;

/// What the header of a good segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    channel: u32,
    session: u32,
    message_count: u16,
    first_sequence: u64,
}

impl Segment {
    /// Checks a whole UDP payload, its messages included.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, PacketError> {
        let Some((header, messages)) = payload.split_first_chunk::<HEADER_BYTES>() else {
            return Err(PacketError::TransportHeader(payload.len()));
        };
        let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|index| header[at + index]));
        let i64_at = |at: usize| i64::from_le_bytes(std::array::from_fn(|index| header[at + index]));

        if header[0] != VERSION {
            return Err(PacketError::TransportVersion(header[0]));
        }
        let protocol = u16_at(2);
        if protocol != PROTOCOL_DEEP {
            return Err(PacketError::TransportProtocol(protocol));
        }
        let claimed_bytes = usize::from(u16_at(12));
        if claimed_bytes != messages.len() {
            return Err(PacketError::TransportLength { claimed_bytes, found_bytes: messages.len() });
        }
        let message_count = u16_at(14);
        check_messages(messages, message_count)?;
        let first_sequence = i64_at(24);
        Ok(Self {
            channel: u32_at(4),
            session: u32_at(8),
            message_count,
            first_sequence: u64::try_from(first_sequence).map_err(|_| PacketError::Sequence(first_sequence))?,
        })
    }
}

fn check_messages(messages: &[u8], count: u16) -> Result<(), PacketError> {
    let mut at = 0;
    for index in 1..=count {
        let message = message_at(messages, at).ok_or(PacketError::MessageLength { index, count })?;
        if message.is_empty() {
            return Err(PacketError::MessageEmpty { index, count });
        }
        at = message.end;
    }
    if at != messages.len() {
        return Err(PacketError::Surplus { surplus_bytes: messages.len() - at, count });
    }
    Ok(())
}

/// Where the message lies whose length field is at `at`; `None` if it goes beyond the end.
pub(super) fn message_at(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let (length, rest) = bytes.get(at..)?.split_first_chunk()?;
    let length_bytes = usize::from(u16::from_le_bytes(*length));
    let start = at + length.len();
    (length_bytes <= rest.len()).then_some(start..start + length_bytes)
}

/// The sequence number that is due next, for each channel and session.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    channels: Vec<Channel>,
    /// The channel of the last segment: usually that of the next, too.
    last: usize,
}

#[derive(Debug)]
struct Channel {
    channel: u32,
    session: u32,
    due: u64,
}

impl Sequences {
    /// How many channels are followed; a file with more is damaged, and the one before the newest is given up.
    const CHANNELS_MAX: usize = 1024;

    /// Takes in a segment; says so if it does not begin where the one before it ended.
    pub(super) fn observe(&mut self, segment: &Segment) -> Option<Discontinuity> {
        let Segment { channel, session, message_count, first_sequence: found } = *segment;
        let next = found + u64::from(message_count);
        let is_it = |known: &Channel| known.channel == channel && known.session == session;
        if !self.channels.get(self.last).is_some_and(is_it) {
            let Some(index) = self.channels.iter().position(is_it) else {
                self.channels.truncate(Self::CHANNELS_MAX - 1);
                self.last = self.channels.len();
                self.channels.push(Channel { channel, session, due: next });
                return None;
            };
            self.last = index;
        }
        let due = std::mem::replace(&mut self.channels[self.last].due, next);
        (found != due).then_some(Discontinuity { channel, session, due, found })
    }
}
