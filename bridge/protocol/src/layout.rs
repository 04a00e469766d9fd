//! Every number on the wire. Versions: [`VERSION_MIN`] to [`VERSION_MAX`]. All numbers are little-endian.
//!
//! ```text
//!  control stream, both ways                     stream of a flow, from who has the topic to who wants it
//!  0        4      6      8                      0       4       8
//!  +--------+------+------+---------- - -+       +-------+-------+------- - -
//!  | bytes  | kind | zeros| fields       | …     | magic | flow  | batches, gaps
//!  | u32    | u16  | u16  |              |       | u32   | u32   |
//!  +--------+------+------+---------- - -+       +-------+-------+------- - -
//!
//!  head of a batch or a gap
//!  0      1             2        4        8          16      24      28       32
//!  +------+-------------+--------+--------+----------+-------+-------+--------+------------- - -
//!  | kind | compression | reason | frames | position | end   | raw   | stored | `stored` bytes
//!  | u8   | u8          | u16    | u32    | u64      | u64   | u32   | u32    |
//!  +------+-------------+--------+--------+----------+-------+-------+--------+------------- - -
//!
//!  a frame in it, padded to 8 bytes
//!  0        4       5       8
//!  +--------+-------+-------+-------------------------------------+
//!  | length | flags | zeros | stamp (ns since 1970, if the topic   |
//!  | u32    | u8    |       | has stamps), extensions, payload    |
//!  +--------+-------+-------+-------------------------------------+
//! ```

/// First bytes of a `Hello`.
pub const HELLO_MAGIC: u64 = u64::from_le_bytes(*b"MEMLBRDG");
/// First bytes of a flow's stream.
pub const FLOW_MAGIC: u32 = u32::from_le_bytes(*b"MLFL");
/// The oldest version that is spoken here.
pub const VERSION_MIN: u16 = 1;
/// The newest.
pub const VERSION_MAX: u16 = 1;

/// Bytes before a control message's fields.
pub const CONTROL_HEAD_BYTES: usize = 8;
/// Most bytes of a control message's fields: whoever announces more is cut off before there is memory for it.
pub const CONTROL_BYTES_MAX: usize = 64 << 10;
/// Bytes of what a flow's stream begins with.
pub const FLOW_HEAD_BYTES: usize = 8;
/// Bytes of a head of a batch or a gap.
pub const BATCH_HEAD_BYTES: usize = 32;
/// Most bytes of a batch, packed and not compressed.
pub const BATCH_BYTES_MAX: usize = 4 << 20;
/// Bytes before a frame's body.
pub const FRAME_HEAD_BYTES: usize = 8;
/// Frames are padded to so many bytes.
pub const FRAME_ALIGN: usize = 8;
/// Most bytes of a text.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Most marks in a message.
pub const MARKS_MAX: usize = 1024;

/// Kinds of control messages.
pub(crate) mod kind {
    pub(crate) const HELLO: u16 = 1;
    pub(crate) const WELCOME: u16 = 2;
    pub(crate) const OPEN: u16 = 3;
    pub(crate) const ACCEPT: u16 = 4;
    pub(crate) const CREDIT: u16 = 5;
    pub(crate) const PROGRESS: u16 = 6;
    pub(crate) const PING: u16 = 7;
    pub(crate) const PONG: u16 = 8;
    pub(crate) const END_FLOW: u16 = 9;
    pub(crate) const GOODBYE: u16 = 10;
}

/// Kinds of what comes on a flow's stream.
pub(crate) mod flow {
    pub(crate) const BATCH: u8 = 1;
    pub(crate) const GAP: u8 = 2;
}

/// Flags of a packed frame.
pub(crate) mod flag {
    /// It has extensions.
    pub(crate) const EXTENSIONS: u8 = 1;
    /// It is padding: its length is how far it reaches, and no body follows.
    pub(crate) const PADDING: u8 = 2;
}

const _: () = {
    assert!(BATCH_HEAD_BYTES == 1 + 1 + 2 + 4 + 8 + 8 + 4 + 4);
    assert!(FRAME_HEAD_BYTES.is_multiple_of(FRAME_ALIGN));
    // The largest message: a name and the marks of as many sources as there may be.
    assert!(MARKS_MAX * (2 + 120 + 8) > CONTROL_BYTES_MAX, "the length says stop before the count does");
};
