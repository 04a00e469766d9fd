//! Types that can be published: a name, a version and the layout of what goes into the log.

use crate::layout::{self, Description, Layout};
use crate::payload::{Encode, Verify};
use core::mem::{align_of, size_of};
use rkyv::Archived;
use std::fmt;

/// A type that is published and received whole.
///
/// Derive it beside rkyv's traits:
///
/// ```
/// use memlane::{Message, TypeInfo};
/// use rkyv::{Archive, Serialize};
///
/// #[derive(Archive, Serialize, Message)]
/// #[message(name = "md.trade", version = 3)]
/// struct Trade {
///     price: i64,
///     size: u32,
///     symbol: [u8; 8],
/// }
///
/// let info = TypeInfo::of::<Trade>();
/// assert_eq!(info.description, "Trade{price:i64@0,size:u32@8,symbol:[u8;8]@12}24/8");
/// assert_eq!(info.archived_bytes, Some(24));
/// ```
///
/// # Attributes
///
/// `#[message(...)]` on the type takes, all optional:
///
/// - `name = "..."`: 1 to 64 of `A-Z a-z 0-9 _ . : -`. Without it: the type's identifier, without its path.
///   All instances of a generic type share a name and differ by their fingerprint.
/// - `version = N`: a `u32`, 1 unless given. Count it up when the meaning changes and the layout doesn't.
/// - `crate = path`: where to find this crate, if it was renamed.
///
/// # What may be in a message
///
/// Whatever implements [`Layout`]: integers of a fixed width, floats, `bool`, `char`, arrays, tuples up to 8,
/// `Option`, `Result`, strings, boxes, vectors, maps, sets, and types that derive `memlane::Layout`. A
/// recursive type needs rkyv's `#[rkyv(omit_bounds)]` where it recurs; see rkyv's documentation. A union:
///
/// ```compile_fail
/// # use rkyv::{Archive, Serialize};
/// #[derive(Clone, Copy, memlane::Message)]
/// union Either {
///     integer: u64,
///     float: f64,
/// }
/// ```
///
/// a field of a type without a layout (`usize` differs between hosts; `u64` compiles):
///
/// ```compile_fail,E0277
/// # use rkyv::{Archive, Serialize};
/// #[derive(Archive, Serialize, memlane::Message)]
/// struct Depth {
///     levels: usize,
/// }
/// ```
///
/// a name that is too long (this one has 65 characters) or has other characters:
///
/// ```compile_fail
/// # use rkyv::{Archive, Serialize};
/// #[derive(Archive, Serialize, memlane::Message)]
/// #[message(name = "a2345678901234567890123456789012345678901234567890123456789012345")]
/// struct Ping;
/// ```
///
/// ```compile_fail
/// # use rkyv::{Archive, Serialize};
/// #[derive(Archive, Serialize, memlane::Message)]
/// #[message(name = "market data")]
/// struct Ping;
/// ```
///
/// and attributes that memlane doesn't know, or that stand in the wrong place, don't compile:
///
/// ```compile_fail
/// # use rkyv::{Archive, Serialize};
/// #[derive(Archive, Serialize, memlane::Message)]
/// #[message(topic = "trades")]
/// struct Ping;
/// ```
///
/// ```compile_fail
/// # use rkyv::{Archive, Serialize};
/// #[derive(Archive, Serialize, memlane::Layout)]
/// #[message(version = 2)]
/// struct Part {
///     price: i64,
/// }
/// ```
///
/// while the longest name does:
///
/// ```
/// # use rkyv::{Archive, Serialize};
/// #[derive(Archive, Serialize, memlane::Message)]
/// #[message(name = "a234567890123456789012345678901234567890123456789012345678901234")]
/// struct Ping;
/// # assert_eq!(<Ping as memlane::Message>::NAME.len(), 64);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a memlane message",
    label = "`{Self}` does not implement `memlane::Message`",
    note = "give the type `#[derive(rkyv::Archive, rkyv::Serialize, memlane::Message)]`"
)]
pub trait Message: Layout<Archived: Verify> + Encode {
    /// What topics and tools call the type: at most 64 bytes of `A-Z a-z 0-9 _ . : -`.
    const NAME: &'static str;

    /// Told apart even if the layouts are equal.
    const VERSION: u32;
}

/// What a topic remembers about the type of its messages.
///
/// Two types are the same to memlane if `name`, `version` and `fingerprint` are equal. `Display` gives
/// `md.trade v3 (layout 5c1de6f1a7b93a20)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TypeInfo {
    /// [`Message::NAME`].
    pub name: String,
    /// [`Message::VERSION`].
    pub version: u32,
    /// FNV-1a of `description`.
    pub fingerprint: u64,
    /// Places every byte of the archived type; the grammar is in the head of `layout.rs`.
    pub description: String,
    /// The length in bytes of an archived value, if it is always the same.
    pub archived_bytes: Option<u32>,
    /// What the payload must be aligned to, in bytes: the most that anything in it asks for.
    pub align: u32,
}

impl TypeInfo {
    /// Describes `T`. Cost: allocates; call it when a topic is opened, not for each message.
    #[must_use]
    pub fn of<T: Message>() -> Self {
        const { assert!(size_of::<Archived<T>>() <= i32::MAX as usize, "a message is at most 2 GiB") };
        const { assert!(align_of::<Archived<T>>() <= T::ALIGN) };
        let description = Description::of::<T>();
        Self {
            name: T::NAME.to_owned(),
            version: T::VERSION,
            fingerprint: layout::fingerprint(&description),
            description,
            archived_bytes: T::FIXED.then_some(size_of::<Archived<T>>() as u32),
            align: T::ALIGN as u32,
        }
    }
}

impl fmt::Display for TypeInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, fingerprint, .. } = self;
        write!(formatter, "{name} v{version} (layout {fingerprint:016x})")
    }
}
