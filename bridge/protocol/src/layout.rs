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
//!  0      1             2        4          8          16      24      28       32
//!  +------+-------------+--------+----------+----------+-------+-------+--------+------------- - -
//!  | kind | compression | zeros  | messages | position | end   | raw   | stored | `stored` bytes
//!  | u8   | u8          | u16    | u32      | u64      | u64   | u32   | u32    |
//!  +------+-------------+--------+----------+----------+-------+-------+--------+------------- - -
//!
//!  a batch's bytes
//!  +---------- - --+----------- - --+--------------- - --+---------------+-----------------+
//!  | contents, one | runs of equal  | steps of stamps,   | bytes of runs | bytes of stamps |
//!  | behind the    | lengths, as    | as varints, if the | u32           | u32             |
//!  | other         | varints        | topic has stamps   |               |                 |
//!  +---------- - --+----------- - --+--------------- - --+---------------+-----------------+
//!
//!  a run: how many, then what
//!  | count: varint | length << 2, and flags: varint |    EXTENSIONS 1; PADDING 2: so many cells that hold no message, length 0
//!
//!  a message of a flow of the newest ones: a datagram, or what follows the magic of a stream of its own
//!  0      4       5       8          16      24
//!  +------+-------+-------+----------+-------+---------------- - -
//!  | flow | flags | zeros | position | stamp | content
//!  | u32  | u8    |       | u64      | u64   |
//!  +------+-------+-------+----------+-------+---------------- - -
//! ```

/// First bytes of a `Hello`.
pub const HELLO_MAGIC: u64 = u64::from_le_bytes(*b"MEMLBRDG");
/// First bytes of a flow's stream.
pub const FLOW_MAGIC: u32 = u32::from_le_bytes(*b"MLFL");
/// First bytes of a stream that has one message of a flow of the newest ones, too long for a datagram.
pub const LATEST_MAGIC: u32 = u32::from_le_bytes(*b"MLLT");
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
/// Bytes at the end of a batch's, which say where its parts are.
pub const BATCH_TRAILER_BYTES: usize = 8;
/// Most messages of a batch.
pub const BATCH_MESSAGES_MAX: u32 = 1 << 16;
/// Bytes before the content of a message in a datagram.
pub const LATEST_HEAD_BYTES: usize = 24;
/// Most bytes of such a message, with its head, where it comes on a stream.
pub const LATEST_BYTES_MAX: usize = BATCH_BYTES_MAX;
/// Most bytes of a description of a type.
pub const DESCRIPTION_BYTES_MAX: usize = 32 << 10;
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
    pub(crate) const WANT: u16 = 11;
    pub(crate) const END_WANT: u16 = 12;
}

/// Kinds of what comes on a flow's stream.
pub(crate) mod flow {
    pub(crate) const BATCH: u8 = 1;
    pub(crate) const GAP: u8 = 2;
}

/// Flags of a run, and of a message in a datagram.
pub(crate) mod flag {
    /// Extensions come before the payload.
    pub(crate) const EXTENSIONS: u8 = 1;
    /// It is padding: cells without a message.
    pub(crate) const PADDING: u8 = 2;
    /// A run's length stands behind so many bits of flags.
    pub(crate) const BITS: u32 = 2;
}

const _: () = {
    assert!(BATCH_HEAD_BYTES == 1 + 1 + 2 + 4 + 8 + 8 + 4 + 4);
    assert!(LATEST_HEAD_BYTES == 4 + 1 + 3 + 8 + 8);
    // The largest message: a name and the marks of as many sources as there may be.
    assert!(MARKS_MAX * (2 + 120 + 8) > CONTROL_BYTES_MAX, "the length says stop before the count does");
};
