//! Why a capture can't be opened or read on, and why one packet or line of it was refused.

use std::io;
use std::path::PathBuf;

/// Why a capture can't be opened, or can't be read any further. Byte numbers count from 0 in the unpacked file.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file can't be opened: check the path and the permissions.
    #[error("can't open {}: {source}", path.display())]
    Open {
        /// The path that was given.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Reading failed, or the gzip data is cut or damaged: fetch or pack the file again.
    #[error(
        "reading failed at byte {offset_bytes} of the unpacked capture: {source}; \
         if the file is gzip, it is cut or damaged: fetch or pack it again"
    )]
    Read {
        /// How far reading came.
        offset_bytes: u64,
        /// What the operating system or the decoder says.
        source: io::Error,
    },
    /// The file is neither of the formats: convert it to one of them.
    #[error(
        "not a capture that can be read: it begins with \"{}\"; give a pcap file of IEX DEEP packets, or \
         lines of `<receive time in ns> <raw JSON>`, either of them as it is or packed with gzip",
        first_bytes.escape_ascii()
    )]
    Unrecognized {
        /// The first bytes of the unpacked file, at most 32.
        first_bytes: Vec<u8>,
    },
    /// The file is pcapng: convert it.
    #[error("pcapng is not supported: convert with `editcap -F pcap <file> <converted file>`")]
    Pcapng,
    /// The pcap file ends within its header: fetch it again.
    #[error("the file ends after {found_bytes} of the 24 bytes of the pcap header: fetch it again")]
    PcapHeaderCut {
        /// How many bytes there are.
        found_bytes: usize,
    },
    /// A pcap version that nobody writes, so the file is damaged or not a pcap file.
    #[error("pcap version {major} at byte 4, where 2 is expected: the file is damaged")]
    PcapVersion {
        /// The major version found.
        major: u16,
    },
    /// The packets were not captured on Ethernet: capture on an Ethernet interface.
    #[error("link type {link_type} at byte 20, where only 1 (Ethernet) is supported: capture on an Ethernet interface")]
    LinkType {
        /// The link type found, as numbered by tcpdump.org.
        link_type: u16,
    },
    /// The length of a pcap record can't be right, so nobody can say where the next begins.
    #[error(
        "packet {packet} at byte {offset_bytes} claims {length_bytes} bytes, more than the {} that a packet can \
         have: the file is damaged from there on; what came before was read",
        super::pcap::PACKET_BYTES_MAX
    )]
    PacketTooLong {
        /// Number of the packet in the file, from 1.
        packet: u64,
        /// Where its record begins.
        offset_bytes: u64,
        /// The length that it claims.
        length_bytes: u32,
    },
    /// A line is longer than [`LINE_BYTES_MAX`](super::LINE_BYTES_MAX): split the message, or check that the
    /// file is text.
    #[error(
        "line {line} at byte {offset_bytes} is longer than {} bytes: not a line of a capture",
        super::LINE_BYTES_MAX
    )]
    LineTooLong {
        /// Number of the line, from 1.
        line: u64,
        /// Where it begins.
        offset_bytes: u64,
    },
}

/// Why a packet was refused. Its messages are not delivered; reading goes on with the next packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PacketError {
    /// The capture was cut, by the recorder's death or by copying.
    #[error("the file ends {missing_bytes} bytes before the packet does")]
    FileEnds { missing_bytes: usize },
    #[error("its stamp has {fraction} fractions of a second, but a second has {fractions_per_second}")]
    Stamp { fraction: u32, fractions_per_second: u32 },
    #[error("the frame ends within its {0} header")]
    FrameEnds(&'static str),
    #[error("its EtherType is IPv4 but its IP version is {0}")]
    IpVersion(u8),
    #[error("its IPv4 header claims {0} bytes, but the least is 20")]
    IpHeaderLength(usize),
    #[error("its IPv4 header claims {claimed_bytes} bytes, but {found_bytes} were captured")]
    IpLength { claimed_bytes: usize, found_bytes: usize },
    #[error("it is a fragment of an IPv4 packet")]
    Fragment,
    #[error("its UDP header claims {claimed_bytes} bytes, but IPv4 carries {found_bytes}")]
    UdpLength { claimed_bytes: usize, found_bytes: usize },
    #[error("its UDP payload of {0} bytes has no room for the 40 of an IEX-TP header")]
    TransportHeader(usize),
    #[error("its IEX-TP version is {0}, but only 1 is known")]
    TransportVersion(u8),
    #[error("its IEX-TP protocol is {0:#06x}, but DEEP 1.0 is 0x8004")]
    TransportProtocol(u16),
    #[error("its IEX-TP header claims {claimed_bytes} bytes of messages, but UDP carries {found_bytes}")]
    TransportLength { claimed_bytes: usize, found_bytes: usize },
    #[error("its first sequence number is {0}, below 0")]
    Sequence(i64),
    #[error("its message {index} of {count} goes beyond the end")]
    MessageLength { index: u16, count: u16 },
    #[error("its message {index} of {count} is empty")]
    MessageEmpty { index: u16, count: u16 },
    #[error("{surplus_bytes} bytes follow its {count} messages")]
    Surplus { surplus_bytes: usize, count: u16 },
}

/// Why a line was refused; reading goes on with the next line.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("it does not begin with a receive time in ns and a space")]
    Time,
    #[error("its receive time does not fit 64 bits")]
    TimeTooLarge,
    #[error("its JSON is not UTF-8: {0}")]
    Utf8(#[from] std::str::Utf8Error),
    #[error("its JSON is invalid: {0}")]
    Json(#[from] serde_json::Error),
}
