//! Values to bytes and back: what publishers and subscribers are generic over.
//!
//! Two kinds of payload exist: raw bytes (`[u8]`, as they are) and messages (`T: Message`, archived by rkyv).
//! The archived value ends where the payload ends; what it points to lies before it.
//!
//! A type whose archived form is fixed in size is written by a few moves: its path has no arena and nothing
//! to grow. The other path keeps an arena and a buffer, so both allocate nothing once they are warm.

use crate::layout::{ALIGN_MAX, Layout};
use crate::message::{Message, TypeInfo};
use core::mem::size_of;
use core::num::NonZeroUsize;
use rkyv::api::low::{LowSerializer, LowValidator};
use rkyv::api::{access_with_context, serialize_using};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{BoxedError, Failure, Source, Trace};
use rkyv::ser::allocator::{Arena, ArenaHandle, SubAllocator};
use rkyv::ser::{Positional, Serializer, Writer};
use rkyv::util::{AlignedVec, with_arena};
use rkyv::validation::Validator;
use rkyv::validation::archive::ArchiveValidator;
use rkyv::{Archived, Portable, Serialize};
use std::fmt;

/// The longest message in bytes: rkyv's relative pointers reach 2 GiB.
const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;

/// How many pointers deep a message may be nested, counting the root. Checking recurses: without a limit, bytes
/// could exhaust the stack.
const DEPTH_MAX: NonZeroUsize = NonZeroUsize::new(128).unwrap();

/// What a publisher takes and a subscriber gives: raw bytes, or a type that derives [`Message`].
///
/// Sealed: it is implemented for `[u8]` and for every `T: Message`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can be neither published nor received",
    label = "neither `[u8]` nor a `memlane::Message`",
    note = "give the type `#[derive(rkyv::Archive, rkyv::Serialize, memlane::Message)]`"
)]
pub trait Payload: sealed::Sealed {
    /// What a subscriber sees: `[u8]`, or the archived value.
    type View: ?Sized;

    /// What the payload is aligned to in its frame, in bytes: 8 or 16.
    const ALIGN: usize;

    /// The length in bytes of every payload, if it is always the same.
    const FIXED_BYTES: Option<usize>;

    /// What the topic remembers about the type; `None` for raw bytes. Allocates.
    fn type_info() -> Option<TypeInfo>;

    /// Reads a payload in place.
    ///
    /// Every byte that the view can reach is checked, whoever wrote it. Cost: for a type without enums, `bool`,
    /// `char`, non-zero numbers and pointers, the comparison of length and alignment; no allocation.
    ///
    /// # Errors
    ///
    /// [`InvalidPayload`] if `bytes` is not a value of this type, or not aligned as its parts need it;
    /// [`ALIGN`](Self::ALIGN) always is enough. Values nested 128 pointers deep are refused too.
    fn view(bytes: &[u8]) -> Result<&Self::View, InvalidPayload>;

    /// The bytes to publish. Raw bytes are returned as they are; a message is written to `scratch`.
    ///
    /// Cost: no allocation once `scratch` has seen a message as large. Not aligned to more than 16.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] and [`EncodeError::Refused`].
    fn encode<'s>(&'s self, scratch: &'s mut Scratch) -> Result<&'s [u8], EncodeError>;

    /// Writes the payload to the start of `target`, which the reader finds aligned to
    /// [`ALIGN`](Self::ALIGN), and returns its length in bytes.
    ///
    /// Cost: no allocation once this thread has encoded a message as large. A publisher that dies in here has
    /// published nothing: its claim was never committed.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooSmall`] and [`EncodeError::Refused`]. The contents of `target` are unspecified then.
    fn encode_into(&self, target: &mut [u8]) -> Result<usize, EncodeError>;
}

/// Why a value was not turned into bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The target ends before the value does: claim more, or encode into a [`Scratch`] to learn the length.
    #[error("the message does not fit the room that it was given")]
    TooSmall,
    /// The value takes 2 GiB or more: split it.
    #[error("the message is longer than 2 GiB")]
    TooLong,
    /// A type in the message refused its own value, for example rkyv's `AsString` a path that is not UTF-8.
    #[error("a part of the message cannot be serialized")]
    Refused,
}

impl Trace for EncodeError {
    fn trace<R>(self, _: R) -> Self {
        self
    }
}

impl Source for EncodeError {
    fn new<T: std::error::Error + Send + Sync + 'static>(_: T) -> Self {
        Self::Refused
    }
}

/// Why bytes are not a payload of the type that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPayload {
    /// Cut short, or of another type. Nothing can be read from it.
    #[error("the payload has {found_bytes} bytes where the type takes {expected_bytes}")]
    Length {
        /// The length of the payload.
        found_bytes: usize,
        /// The length of the archived type: exactly if it is fixed, at least if it is not.
        expected_bytes: usize,
    },
    /// The bytes start at an address that the type can't be read at: copy them to an aligned buffer.
    #[error("the payload is not aligned to {align} bytes")]
    Misaligned {
        /// What the type asks for, in bytes.
        align: usize,
    },
    /// A value that the type doesn't have, or a pointer out of the payload: whoever wrote it is broken.
    #[error("the payload is corrupt: {reason}")]
    Corrupt {
        /// What bytecheck found, and where.
        reason: Box<str>,
    },
}

/// Buffers that one publisher reuses from message to message. Empty until the first message.
#[derive(Default)]
pub struct Scratch {
    /// As long as the longest message so far.
    bytes: AlignedVec<ALIGN_MAX>,
    /// For what rkyv keeps while it serializes vectors of strings, maps and the like.
    arena: Option<Arena>,
}

impl Scratch {
    /// Allocates nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The longest message that fits without allocating, in bytes.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Room for exactly `length` bytes.
    #[inline]
    fn room(&mut self, length: usize) -> &mut [u8] {
        if self.bytes.len() < length {
            self.grow_to(length);
        }
        &mut self.bytes[..length]
    }

    #[cold]
    fn grow_to(&mut self, length: usize) {
        self.bytes.resize(length, 0);
    }

    #[cold]
    fn grow(&mut self) -> Result<(), EncodeError> {
        const BYTES_FIRST: usize = 256;
        let length = self.bytes.len();
        if length >= MESSAGE_BYTES_MAX {
            return Err(EncodeError::TooLong);
        }
        self.grow_to((length * 2).clamp(BYTES_FIRST, MESSAGE_BYTES_MAX));
        Ok(())
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Scratch").field("capacity_bytes", &self.capacity_bytes()).finish_non_exhaustive()
    }
}

impl Payload for [u8] {
    type View = [u8];
    const ALIGN: usize = 8;
    const FIXED_BYTES: Option<usize> = None;

    fn type_info() -> Option<TypeInfo> {
        None
    }

    #[inline]
    fn view(bytes: &[u8]) -> Result<&[u8], InvalidPayload> {
        Ok(bytes)
    }

    #[inline]
    fn encode<'s>(&'s self, _: &'s mut Scratch) -> Result<&'s [u8], EncodeError> {
        Ok(self)
    }

    #[inline]
    fn encode_into(&self, target: &mut [u8]) -> Result<usize, EncodeError> {
        target.get_mut(..self.len()).ok_or(EncodeError::TooSmall)?.copy_from_slice(self);
        Ok(self.len())
    }
}

impl<T: Message> Payload for T {
    type View = Archived<T>;

    const ALIGN: usize = {
        assert!(T::ALIGN <= ALIGN_MAX, "a message cannot be aligned to more than 16 bytes");
        if T::ALIGN > 8 { T::ALIGN } else { 8 }
    };

    const FIXED_BYTES: Option<usize> = if T::FIXED { Some(size_of::<Archived<T>>()) } else { None };

    fn type_info() -> Option<TypeInfo> {
        Some(TypeInfo::of::<T>())
    }

    #[inline]
    fn view(bytes: &[u8]) -> Result<&Archived<T>, InvalidPayload> {
        let length_fits = match Self::FIXED_BYTES {
            Some(length) => bytes.len() == length,
            None => bytes.len() >= size_of::<Archived<T>>(),
        };
        if !length_fits {
            return Err(InvalidPayload::Length { found_bytes: bytes.len(), expected_bytes: size_of::<Archived<T>>() });
        }
        // `Failure` carries nothing, so the good case pays for no text.
        Archived::<T>::check(bytes, depth_max::<T>()).map_err(|Failure| explain::<T>(bytes))
    }

    #[inline]
    fn encode<'s>(&'s self, scratch: &'s mut Scratch) -> Result<&'s [u8], EncodeError> {
        if let Some(length) = Self::FIXED_BYTES {
            let target = scratch.room(length);
            self.write_fixed(target)?;
            return Ok(target);
        }
        loop {
            let arena = scratch.arena.get_or_insert_default();
            match self.write_variable(&mut scratch.bytes, arena) {
                Ok(length) => return Ok(&scratch.bytes[..length]),
                Err(EncodeError::TooSmall) => scratch.grow()?,
                Err(error) => return Err(error),
            }
        }
    }

    #[inline]
    fn encode_into(&self, target: &mut [u8]) -> Result<usize, EncodeError> {
        if T::FIXED { self.write_fixed(target) } else { with_arena(|arena| self.write_variable(target, arena)) }
    }
}

/// A fixed value has no pointers, and one comparison less.
const fn depth_max<T: Layout>() -> Option<NonZeroUsize> {
    if T::FIXED { None } else { Some(DEPTH_MAX) }
}

/// Checks again, this time with words.
#[cold]
fn explain<T: Message>(bytes: &[u8]) -> InvalidPayload {
    if !bytes.as_ptr().addr().is_multiple_of(T::ALIGN) {
        return InvalidPayload::Misaligned { align: T::ALIGN };
    }
    let reason = match Archived::<T>::check_with_words(bytes, depth_max::<T>()) {
        Ok(_) => "it changed while it was read".into(),
        Err(error) => error.to_string().into(),
    };
    InvalidPayload::Corrupt { reason }
}

/// The room for one message, filled from the start.
struct Output<'a> {
    target: &'a mut [u8],
    length: usize,
}

impl<'a> Output<'a> {
    #[inline]
    fn new(target: &'a mut [u8]) -> Self {
        let room = target.len().min(MESSAGE_BYTES_MAX);
        Self { target: &mut target[..room], length: 0 }
    }
}

impl Positional for Output<'_> {
    #[inline]
    fn pos(&self) -> usize {
        self.length
    }
}

impl Writer<EncodeError> for Output<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let room = self.target.get_mut(self.length..).and_then(|rest| rest.get_mut(..bytes.len()));
        room.ok_or(EncodeError::TooSmall)?.copy_from_slice(bytes);
        self.length += bytes.len();
        Ok(())
    }
}

type FixedEncoder<'a> = LowSerializer<Output<'a>, SubAllocator<'a>, EncodeError>;
type VariableEncoder<'a> = LowSerializer<Output<'a>, ArenaHandle<'a>, EncodeError>;

/// What `#[derive(rkyv::Serialize)]` makes possible. For the derive macros.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written into a message",
    label = "a message also derives `rkyv::Serialize`",
    note = "give the type `#[derive(rkyv::Archive, rkyv::Serialize, memlane::Message)]`, and its parts \
            `#[derive(rkyv::Archive, rkyv::Serialize, memlane::Layout)]`",
    note = "a recursive type needs rkyv's `serialize_bounds(__S: rkyv::ser::Writer + rkyv::ser::Allocator, \
            __S::Error: rkyv::rancor::Source)`"
)]
pub trait Encode {
    /// For types with nothing out of line: they never ask for memory.
    fn write_fixed(&self, target: &mut [u8]) -> Result<usize, EncodeError>;

    /// For all others.
    fn write_variable(&self, target: &mut [u8], arena: &mut Arena) -> Result<usize, EncodeError>;
}

#[diagnostic::do_not_recommend]
impl<T> Encode for T
where
    T: for<'a> Serialize<FixedEncoder<'a>> + for<'a> Serialize<VariableEncoder<'a>>,
{
    #[inline]
    fn write_fixed(&self, target: &mut [u8]) -> Result<usize, EncodeError> {
        let mut serializer = Serializer::new(Output::new(target), SubAllocator::empty(), ());
        serialize_using::<_, EncodeError>(self, &mut serializer)?;
        Ok(serializer.writer.length)
    }

    fn write_variable(&self, target: &mut [u8], arena: &mut Arena) -> Result<usize, EncodeError> {
        let mut serializer = Serializer::new(Output::new(target), arena.acquire(), ());
        serialize_using::<_, EncodeError>(self, &mut serializer)?;
        Ok(serializer.writer.length)
    }
}

/// What `#[derive(rkyv::Archive)]` makes possible for the archived type. For the derive macros.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the bytes of `{Self}` cannot be checked when they are received",
    label = "its archived type does not implement `rkyv::bytecheck::CheckBytes` as messages need it",
    note = "shared pointers (`Rc`, `Arc`) are not messages: use `Box` or `Vec`",
    note = "a recursive type needs rkyv's `bytecheck(bounds(__C: rkyv::validation::ArchiveContext, \
            __C::Error: rkyv::rancor::Source))`"
)]
pub trait Verify: Portable + Sized {
    /// The value at the end of `bytes`, if it and all that it points to is valid.
    fn check(bytes: &[u8], depth_max: Option<NonZeroUsize>) -> Result<&Self, Failure>;

    /// The same, with words for what is wrong. Slower.
    fn check_with_words(bytes: &[u8], depth_max: Option<NonZeroUsize>) -> Result<&Self, BoxedError>;
}

#[diagnostic::do_not_recommend]
impl<A> Verify for A
where
    A: Portable + for<'a> CheckBytes<LowValidator<'a, Failure>> + for<'a> CheckBytes<LowValidator<'a, BoxedError>>,
{
    #[inline]
    fn check(bytes: &[u8], depth_max: Option<NonZeroUsize>) -> Result<&Self, Failure> {
        let bounds = ArchiveValidator::with_max_depth(bytes, depth_max);
        access_with_context::<Self, _, Failure>(bytes, &mut Validator::new(bounds, ()))
    }

    #[cold]
    fn check_with_words(bytes: &[u8], depth_max: Option<NonZeroUsize>) -> Result<&Self, BoxedError> {
        let bounds = ArchiveValidator::with_max_depth(bytes, depth_max);
        access_with_context::<Self, _, BoxedError>(bytes, &mut Validator::new(bounds, ()))
    }
}

mod sealed {
    use crate::message::Message;

    pub trait Sealed {}
    impl Sealed for [u8] {}
    impl<T: Message> Sealed for T {}
}
