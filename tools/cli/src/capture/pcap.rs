//! Reads the records of a pcap file and takes the messages out of their packets.
//!
//! ```text
//!  0       4           6           8          16         20          24
//!  +-------+-----------+-----------+----------+----------+-----------+
//!  | magic | major u16 | minor u16 | (unused) | snaplen  | link type |  file header
//!  +-------+-----------+-----------+----------+----------+-----------+
//!  | seconds u32 | fraction u32 | captured u32 | original u32 | captured bytes ...   each record
//!  +-------------+--------------+--------------+--------------+----------------
//!  0             4              8              12             16
//! ```
//!
//! The magic says the byte order of these fields, and whether a fraction is a micro- or a nanosecond. The
//! original length is not used: what a packet ought to hold is asked of its own headers.
//!
//! A record that claims more than [`PACKET_BYTES_MAX`] ends the reading, since nobody can say where the next one
//! begins. A record that the file cuts short is a bad packet, and the last one. It happens wherever a recorder
//! was stopped before it wrote its last buffer: IEX's own sample ends so, 1,030 bytes before its last packet does.

use std::io::Read;
use std::ops::Range;

use super::error::{CaptureError, PacketError};
use super::ledger::{Ledger, Place, ProblemKind};
use super::open::read_full;
use super::{Message, frame, iex_tp};

/// No pcap record is longer; tcpdump's own limit.
pub(super) const PACKET_BYTES_MAX: u32 = 256 * 1024;

const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
const LINK_TYPE_ETHERNET: u16 = 1;

/// What the magic of a pcap file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PcapVariant {
    pub(super) is_big_endian: bool,
    pub(super) fractions_per_second: u32,
}

impl PcapVariant {
    /// `None` if these are not the first bytes of a pcap file.
    pub(super) fn from_head(head: &[u8]) -> Option<Self> {
        const MICROSECONDS: u32 = 0xa1b2_c3d4;
        const NANOSECONDS: u32 = 0xa1b2_3c4d;
        let magic = u32::from_be_bytes(*head.first_chunk()?);
        let (is_big_endian, magic) = match magic {
            MICROSECONDS | NANOSECONDS => (true, magic),
            _ => (false, magic.swap_bytes()),
        };
        let fractions_per_second = match magic {
            MICROSECONDS => 1_000_000,
            NANOSECONDS => 1_000_000_000,
            _ => return None,
        };
        Some(Self { is_big_endian, fractions_per_second })
    }

    fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    /// Nanoseconds since the Unix epoch. They fit: 2^32 seconds are 4.3e18 ns.
    fn received_ns(self, seconds: u32, fraction: u32) -> Result<u64, PacketError> {
        let fractions_per_second = self.fractions_per_second;
        if fraction >= fractions_per_second {
            return Err(PacketError::Stamp { fraction, fractions_per_second });
        }
        let fraction_ns = u64::from(1_000_000_000 / fractions_per_second);
        Ok(u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * fraction_ns)
    }
}

/// One record's header.
struct RecordHeader {
    seconds: u32,
    fraction: u32,
    captured_bytes: u32,
}

/// Reads a pcap file from its begin.
pub(super) struct PcapReader {
    variant: PcapVariant,
    input: Box<dyn Read + Send>,
    /// How far the file was read.
    offset_bytes: u64,
    /// The record at hand.
    place: Place,
    packet: Vec<u8>,
    received_ns: u64,
    /// The bytes of `packet` that hold messages not yet lent: always whole ones.
    unread: Range<usize>,
    /// The bytes of `packet` that hold the message at hand.
    message: Range<usize>,
    sequences: iex_tp::Sequences,
}

impl PcapReader {
    /// Reads and checks the file header. `variant` was read from its magic.
    pub(super) fn new(variant: PcapVariant, mut input: Box<dyn Read + Send>) -> Result<Self, CaptureError> {
        let mut header = [0; FILE_HEADER_BYTES];
        let found_bytes =
            read_full(&mut input, &mut header).map_err(|source| CaptureError::Read { offset_bytes: 0, source })?;
        if found_bytes < FILE_HEADER_BYTES {
            return Err(CaptureError::PcapHeaderCut { found_bytes });
        }
        let major = variant.u16([header[4], header[5]]);
        if major != 2 {
            return Err(CaptureError::PcapVersion { major });
        }
        // The upper half of the field tells of checksums at the ends of frames, which the IP length cuts off.
        let link_type = variant.u32([header[20], header[21], header[22], header[23]]) as u16;
        if link_type != LINK_TYPE_ETHERNET {
            return Err(CaptureError::LinkType { link_type });
        }
        Ok(Self {
            variant,
            input,
            offset_bytes: FILE_HEADER_BYTES as u64,
            place: Place::default(),
            packet: Vec::new(),
            received_ns: 0,
            unread: 0..0,
            message: 0..0,
            sequences: iex_tp::Sequences::default(),
        })
    }

    /// Goes to the next message; false at the end.
    pub(super) fn advance(&mut self, ledger: &mut Ledger) -> Result<bool, CaptureError> {
        while self.unread.is_empty() {
            match self.read_record(ledger)? {
                Some(header) => self.accept(&header, ledger),
                None => return Ok(false),
            }
        }
        self.message = iex_tp::message_at(&self.packet[..self.unread.end], self.unread.start)
            .expect("a packet was accepted only after all of its messages were found");
        self.unread.start = self.message.end;
        Ok(true)
    }

    /// The message that [`advance`](Self::advance) went to.
    pub(super) fn message(&self) -> Message<'_> {
        Message { received_ns: self.received_ns, bytes: &self.packet[self.message.clone()] }
    }

    /// Reads a record into `packet`. `None` at the end, and where the file cuts a record short.
    fn read_record(&mut self, ledger: &mut Ledger) -> Result<Option<RecordHeader>, CaptureError> {
        let offset_bytes = self.offset_bytes;
        let mut bytes = [0; RECORD_HEADER_BYTES];
        let found_bytes = self.read(|input| read_full(input, &mut bytes))?;
        if found_bytes == 0 {
            return Ok(None);
        }
        self.place = Place { number: self.place.number + 1, offset_bytes };
        let mut missing_bytes = RECORD_HEADER_BYTES - found_bytes;
        if missing_bytes == 0 {
            let header = self.record_header(&bytes)?;
            let mut packet = std::mem::take(&mut self.packet);
            packet.resize(header.captured_bytes as usize, 0);
            let found_bytes = self.read(|input| read_full(input, &mut packet));
            self.packet = packet;
            missing_bytes = self.packet.len() - found_bytes?;
            if missing_bytes == 0 {
                return Ok(Some(header));
            }
        }
        ledger.bad(ProblemKind::BadPacket, self.place, &PacketError::FileEnds { missing_bytes });
        Ok(None)
    }

    fn record_header(&self, bytes: &[u8; RECORD_HEADER_BYTES]) -> Result<RecordHeader, CaptureError> {
        let field = |at: usize| self.variant.u32([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let header = RecordHeader { seconds: field(0), fraction: field(4), captured_bytes: field(8) };
        if header.captured_bytes > PACKET_BYTES_MAX {
            return Err(CaptureError::PacketTooLong {
                packet: self.place.number,
                offset_bytes: self.place.offset_bytes,
                length_bytes: header.captured_bytes,
            });
        }
        Ok(header)
    }

    fn read(&mut self, read: impl FnOnce(&mut dyn Read) -> std::io::Result<usize>) -> Result<usize, CaptureError> {
        let offset_bytes = self.offset_bytes;
        let found = read(&mut self.input).map_err(|source| CaptureError::Read { offset_bytes, source })?;
        self.offset_bytes += found as u64;
        Ok(found)
    }

    /// Takes in the packet at hand, if it is good: its messages become `unread`.
    fn accept(&mut self, header: &RecordHeader, ledger: &mut Ledger) {
        match self.check(header) {
            Ok(Some(accepted)) => {
                ledger.packet();
                if let Some(jump) = self.sequences.observe(&accepted.segment) {
                    ledger.discontinuity(self.place, jump);
                }
                self.received_ns = accepted.received_ns;
                self.unread = accepted.messages;
            }
            Ok(None) => ledger.skipped_frame(),
            Err(error) => ledger.bad(ProblemKind::BadPacket, self.place, &error),
        }
    }

    /// `None` if the frame is not UDP over IPv4.
    fn check(&self, header: &RecordHeader) -> Result<Option<Accepted>, PacketError> {
        let received_ns = self.variant.received_ns(header.seconds, header.fraction)?;
        let Some(payload) = frame::udp_payload(&self.packet)? else {
            return Ok(None);
        };
        let segment = iex_tp::Segment::parse(&self.packet[payload.clone()])?;
        let messages = payload.start + iex_tp::HEADER_BYTES..payload.end;
        Ok(Some(Accepted { received_ns, segment, messages }))
    }
}

/// A packet that was found good.
struct Accepted {
    received_ns: u64,
    segment: iex_tp::Segment,
    messages: Range<usize>,
}
