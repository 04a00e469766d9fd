//! Takes the UDP payload out of an Ethernet frame: VLAN tags and IPv4 options are stepped over.
//!
//! ```text
//!  0             12     14          +4 per VLAN tag
//!  +-------------+------+-----------------------------+-----------------+
//!  | two MACs    | type | IPv4: 20 bytes and options  | UDP: 8, payload | padding or frame check, if any
//!  +-------------+------+-----------------------------+-----------------+
//!                       |<------- total length ------------------------>|
//! ```
//!
//! The IPv4 total length says where the packet ends; what Ethernet adds behind it is no garbage. Checksums are
//! not verified: network cards fill them in after a sending host's recorder has seen the frame.

use std::ops::Range;

use super::error::PacketError;

const ETHER_TYPE: usize = 12;
const VLAN_TAG_BYTES: usize = 4;
const ETHER_TYPE_IPV4: u16 = 0x0800;
const ETHER_TYPES_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];

const IPV4_HEADER_BYTES_MIN: usize = 20;
const IPV4_TOTAL_LENGTH: usize = 2;
const IPV4_FRAGMENT: usize = 6;
const IPV4_PROTOCOL: usize = 9;
/// More fragments follow (1 bit), or the offset of this one is not 0 (13 bits).
const IPV4_FRAGMENT_MASK: u16 = 0x3fff;
const PROTOCOL_UDP: u8 = 17;

const UDP_LENGTH: usize = 4;
const UDP_HEADER_BYTES: usize = 8;

/// Where in `frame` the UDP payload lies; `None` if the frame is not UDP over IPv4.
pub(super) fn udp_payload(frame: &[u8]) -> Result<Option<Range<usize>>, PacketError> {
    let Some(ip_start) = ipv4_start(frame)? else {
        return Ok(None);
    };
    let ip = &frame[ip_start..];
    if ip.len() < IPV4_HEADER_BYTES_MIN {
        return Err(PacketError::FrameEnds("IPv4"));
    }
    let version = ip[0] >> 4;
    if version != 4 {
        return Err(PacketError::IpVersion(version));
    }
    if ip[IPV4_PROTOCOL] != PROTOCOL_UDP {
        return Ok(None);
    }
    let header_bytes = usize::from(ip[0] & 0x0f) * 4;
    if header_bytes < IPV4_HEADER_BYTES_MIN {
        return Err(PacketError::IpHeaderLength(header_bytes));
    }
    let total_bytes = usize::from(u16_at(ip, IPV4_TOTAL_LENGTH));
    if total_bytes > ip.len() || total_bytes < header_bytes + UDP_HEADER_BYTES {
        return Err(PacketError::IpLength { claimed_bytes: total_bytes, found_bytes: ip.len() });
    }
    if u16_at(ip, IPV4_FRAGMENT) & IPV4_FRAGMENT_MASK != 0 {
        return Err(PacketError::Fragment);
    }
    let udp = &ip[header_bytes..total_bytes];
    let udp_bytes = usize::from(u16_at(udp, UDP_LENGTH));
    if udp_bytes != udp.len() {
        return Err(PacketError::UdpLength { claimed_bytes: udp_bytes, found_bytes: udp.len() });
    }
    Ok(Some(ip_start + header_bytes + UDP_HEADER_BYTES..ip_start + total_bytes))
}

/// Where the IPv4 header begins, behind any VLAN tags; `None` if the frame carries something else.
fn ipv4_start(frame: &[u8]) -> Result<Option<usize>, PacketError> {
    let mut at = ETHER_TYPE;
    loop {
        let Some(&ether_type) = frame.get(at..).and_then(<[u8]>::first_chunk) else {
            return Err(PacketError::FrameEnds("Ethernet"));
        };
        match u16::from_be_bytes(ether_type) {
            ETHER_TYPE_IPV4 => return Ok(Some(at + size_of_val(&ether_type))),
            tag if ETHER_TYPES_VLAN.contains(&tag) => at += VLAN_TAG_BYTES,
            _ => return Ok(None),
        }
    }
}

/// A field in network order. The caller has checked that it is there.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
