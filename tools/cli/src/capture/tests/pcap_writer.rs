//! Writes pcap files of IEX DEEP packets, good ones and any kind of bad ones.

/// The UDP payload of one packet. Its fields can be made to lie.
#[derive(Clone, Debug)]
pub(super) struct SegmentWriter {
    pub(super) version: u8,
    pub(super) protocol: u16,
    pub(super) channel: u32,
    pub(super) session: u32,
    pub(super) payload_bytes: u16,
    pub(super) message_count: u16,
    pub(super) first_sequence: i64,
    pub(super) messages: Vec<u8>,
}

impl SegmentWriter {
    /// A good segment.
    pub(super) fn new(first_sequence: i64, messages: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        for message in messages {
            bytes.extend((message.len() as u16).to_le_bytes());
            bytes.extend(*message);
        }
        Self {
            version: 1,
            protocol: 0x8004,
            channel: 1,
            session: 7,
            payload_bytes: bytes.len() as u16,
            message_count: messages.len() as u16,
            first_sequence,
            messages: bytes,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.version, 0];
        bytes.extend(self.protocol.to_le_bytes());
        bytes.extend(self.channel.to_le_bytes());
        bytes.extend(self.session.to_le_bytes());
        bytes.extend(self.payload_bytes.to_le_bytes());
        bytes.extend(self.message_count.to_le_bytes());
        bytes.extend(0_i64.to_le_bytes());
        bytes.extend(self.first_sequence.to_le_bytes());
        bytes.extend(0_i64.to_le_bytes());
        bytes.extend(&self.messages);
        bytes
    }

    pub(super) fn to_frame(&self) -> Vec<u8> {
        ethernet(&[], &ipv4(&[], &udp(&self.to_bytes())))
    }
}

/// A UDP datagram.
pub(super) fn udp(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x41, 0x08, 0x41, 0x08];
    bytes.extend((8 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

/// An IPv4 packet that carries UDP. Options come in words of 4 bytes.
pub(super) fn ipv4(options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_bytes = 20 + options.len();
    let mut bytes = vec![0x40 | (header_bytes / 4) as u8, 0];
    bytes.extend(((header_bytes + payload.len()) as u16).to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 1, 17, 0, 0, 10, 0, 0, 1, 224, 0, 0, 1]);
    bytes.extend(options);
    bytes.extend(payload);
    bytes
}

/// An Ethernet frame that carries IPv4 behind VLAN tags of these types.
pub(super) fn ethernet(vlan_types: &[u16], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x01, 0, 0x5e, 0, 0, 1, 2, 0, 0, 0, 0, 1];
    for vlan_type in vlan_types {
        bytes.extend(vlan_type.to_be_bytes());
        bytes.extend([0x00, 0x2a]);
    }
    bytes.extend([0x08, 0x00]);
    bytes.extend(payload);
    bytes
}

/// A pcap file in memory.
#[derive(Clone, Debug)]
pub(super) struct PcapWriter {
    is_big_endian: bool,
    is_nanosecond: bool,
    pub(super) bytes: Vec<u8>,
}

impl PcapWriter {
    /// A file with no packets yet.
    pub(super) fn new(is_big_endian: bool, is_nanosecond: bool) -> Self {
        let mut writer = Self { is_big_endian, is_nanosecond, bytes: Vec::new() };
        writer.u32(if is_nanosecond { 0xa1b2_3c4d } else { 0xa1b2_c3d4 });
        writer.u16(2);
        writer.u16(4);
        for field in [0, 0, 65_535, 1] {
            writer.u32(field);
        }
        writer
    }

    /// As tcpdump writes it on common machines: little-endian, with stamps in microseconds.
    pub(super) fn common() -> Self {
        Self::new(false, false)
    }

    pub(super) fn u16(&mut self, value: u16) {
        let bytes = if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.bytes.extend(bytes);
    }

    pub(super) fn u32(&mut self, value: u32) {
        let bytes = if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        self.bytes.extend(bytes);
    }

    /// The header of one record, which may lie.
    pub(super) fn record_header(&mut self, received_ns: u64, captured_bytes: u32) {
        let fraction_ns = if self.is_nanosecond { 1 } else { 1_000 };
        self.u32((received_ns / 1_000_000_000) as u32);
        self.u32((received_ns % 1_000_000_000 / fraction_ns) as u32);
        self.u32(captured_bytes);
        self.u32(captured_bytes);
    }

    pub(super) fn frame(&mut self, received_ns: u64, frame: &[u8]) {
        self.record_header(received_ns, frame.len() as u32);
        self.bytes.extend(frame);
    }

    pub(super) fn segment(&mut self, received_ns: u64, segment: &SegmentWriter) {
        self.frame(received_ns, &segment.to_frame());
    }
}
