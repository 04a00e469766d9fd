//! What the archived form of a type looks like in memory: a text that places every byte, and a
//! fingerprint of that text.
//!
//! The text is the contract between processes. It is a function of the type alone (no addresses, paths or
//! compiler versions), so two programs agree about a message exactly if their texts are equal, and a
//! program in another language can read the bytes with nothing else in hand.
//!
//! # Grammar
//!
//! ```text
//! type     = scalar | array | tuple | option | result | pointer | table | struct | enum | opaque | again
//! scalar   = "()" | "bool" | "char" | integer | "f32" | "f64" | "nonzero " integer
//! integer  = ( "u" | "i" ) ( "8" | "16" | "32" | "64" | "128" )
//! array    = "[" type ";" count "]"
//! tuple    = "(" slot { "," slot } ")" extent
//! option   = "option<" slot ">" extent
//! result   = "result<" slot "," slot ">" extent
//! pointer  = "string" | "vec<" type ">" | "box<" ( "str" | "[" type "]" | type ) ">"
//! table    = "hashmap<" type "," type ">" | "hashset<" type ">"
//!          | "btreemap<" type "," type ">" | "btreeset<" type ">"
//! struct   = name "{" [ field { "," field } ] "}" extent
//! enum     = name "[" [ variant { "|" variant } ] "]" extent
//! variant  = name "=" tag [ "{" field { "," field } "}" ]
//! opaque   = "opaque" '"' wrapper '"' extent
//! again    = "^" number
//! field    = name ":" slot            slot   = type "@" offset
//! extent   = size "/" alignment       offset, size, alignment, count, tag, number = decimal
//! ```
//!
//! - Offsets, sizes and alignments are bytes. An offset counts from the start of the struct, enum, tuple,
//!   option or result that holds the slot; a size includes the padding at the end. Padding bytes are zero.
//! - Scalars are little-endian and as wide and as aligned as their name says (`u128`: 16). `bool` is one byte,
//!   0 or 1. `char` is a Unicode scalar value in 4 bytes. A `nonzero` is never 0. `()` takes no space.
//! - The fields of a tuple struct, and of a variant written with parentheses, are named `0`, `1`, …
//! - An enum, an option (0 none, 1 some) and a result (0 ok, 1 error) start with their tag, one byte.
//! - `^n` stands for the struct or enum that was written n-th in this text, counted from 0 in the order of
//!   the opening brackets: a type is written out once, so the text of a recursive type ends.
//! - `opaque` is a field with `#[rkyv(with = wrapper)]`: its place is known, its inside is not.
//!
//! Values that are out of line lie before what points to them. A relative pointer is an `i32`, counted in
//! bytes from its own address:
//!
//! | text | size/align | bytes |
//! |---|---|---|
//! | `box<T>` | 4/4 | relative pointer |
//! | `vec<T>`, `box<[T]>`, `box<str>` | 8/4 | relative pointer, then `u32` count of elements (UTF-8 bytes) |
//! | `string` | 8/4 | if `byte[0] & 0xC0 != 0x80`: up to 8 bytes of UTF-8, ended by 0xFF if fewer; otherwise a `u32` `w` with the length `(w & 0x3F) \| ((w & !0xFF) >> 2)`, then an `i32` offset from the start of the `string` |
//! | `hashmap`, `hashset` | 12/4 | rkyv's Swiss table: relative pointer, `u32` length, `u32` capacity |
//! | `btreemap`, `btreeset` | 8/4 | rkyv's B-tree: relative pointer to the root, `u32` length |
//!
//! For example `Trade{price:i64@0,side:Side[Buy=0|Sell=1]1/1@8,legs:vec<Leg{id:u32@0}4/4>@12}24/8`.

use core::any::TypeId;
use core::mem::{align_of, size_of};
use rkyv::{Archived, primitive, rend};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::hash::Hash;
use std::marker::PhantomData;
use std::num;

// The grammar promises rkyv's default format. These lines fail to compile if a crate somewhere in the build
// turns on rkyv's `big_endian`, `unaligned`, `pointer_width_16` or `pointer_width_64`.
const _: fn(primitive::ArchivedU64) -> rend::u64_le = core::convert::identity;
const _: fn(primitive::ArchivedUsize) -> rend::u32_le = core::convert::identity;
const _: () = assert!(size_of::<Archived<String>>() == 8 && align_of::<Archived<String>>() == 4);
const _: () = assert!(size_of::<Archived<Vec<u64>>>() == 8 && align_of::<Archived<Vec<u64>>>() == 4);
const _: () = assert!(size_of::<Archived<Box<[u64]>>>() == 8 && size_of::<Archived<Box<u64>>>() == 4);
const _: () = assert!(size_of::<Archived<HashMap<u64, u64>>>() == 12);
const _: () = assert!(size_of::<Archived<BTreeMap<u64, u64>>>() == 8);

/// The most that anything in a message may be aligned to, in bytes: what `u128` needs.
pub const ALIGN_MAX: usize = 16;

/// A type whose archived form can be described.
///
/// Derive it with `#[derive(memlane::Layout)]` for a part of a message; `#[derive(memlane::Message)]`
/// includes it. [`Description::of`] gives the text.
#[diagnostic::on_unimplemented(
    message = "memlane does not know how `{Self}` is laid out in a message",
    label = "`{Self}` does not implement `memlane::Layout`",
    note = "if `{Self}` is yours, give it `#[derive(rkyv::Archive, rkyv::Serialize, memlane::Layout)]`",
    note = "`usize` and `isize` differ between hosts: use `u64`, `u32` or `i64`",
    note = "shared pointers are not messages: use `Box` or `Vec`",
    note = "for any other type, `#[rkyv(with = ...)]` on the field describes it by its size alone"
)]
pub trait Layout: rkyv::Archive + 'static {
    /// Whether an archived value has nothing out of line, so that all of them are equally long.
    const FIXED: bool;

    /// The largest alignment in bytes of anything in an archived value, what is out of line included.
    const ALIGN: usize;

    /// Adds the layout of the archived form to `description`.
    fn describe(description: &mut Description);
}

/// The text that describes one type, while it is put together.
#[derive(Debug, Default)]
pub struct Description {
    text: String,
    /// The structs and enums written so far, in the order of their opening brackets.
    written: Vec<TypeId>,
}

impl Description {
    /// The text of the archived layout of `T`; see the grammar in this module's head.
    ///
    /// Cost: allocates; meant for the opening of a topic, not for each message.
    #[must_use]
    pub fn of<T: Layout>() -> String {
        let mut description = Self::default();
        T::describe(&mut description);
        description.text
    }

    /// A struct with its fields, at the offsets that the compiler gave to the archived struct.
    #[doc(hidden)]
    pub fn structure<T: Layout>(&mut self, name: &str, fields: &[Field]) {
        if self.refers_back::<T>() {
            return;
        }
        self.text.push_str(name);
        self.text.push('{');
        self.fields(fields);
        self.text.push('}');
        self.extent::<T::Archived>();
    }

    /// An enum with its variants. rkyv archives it as `#[repr(u8)]`.
    #[doc(hidden)]
    pub fn enumeration<T: Layout>(&mut self, name: &str, variants: &[Variant]) {
        if self.refers_back::<T>() {
            return;
        }
        let bytes = variants.iter().map(|variant| variant.bytes).max().unwrap_or(0);
        let size = bytes.next_multiple_of(align_of::<T::Archived>());
        assert_eq!(size, size_of::<T::Archived>(), "`{name}` is not archived as a `#[repr(u8)]` enum");

        self.text.push_str(name);
        self.text.push('[');
        for (index, variant) in variants.iter().enumerate() {
            let separator = if index == 0 { "" } else { "|" };
            self.format(format_args!("{separator}{}={}", variant.name, variant.tag));
            if !variant.fields.is_empty() {
                self.text.push('{');
                self.fields(&variant.fields);
                self.text.push('}');
            }
        }
        self.text.push(']');
        self.extent::<T::Archived>();
    }

    fn fields(&mut self, fields: &[Field]) {
        for (index, field) in fields.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            self.format(format_args!("{separator}{}:", field.name));
            match field.inside {
                Inside::Described(describe) => describe(self),
                Inside::Opaque(wrapper) => {
                    let Field { size, align, .. } = field;
                    self.format(format_args!("opaque\"{wrapper}\"{size}/{align}"));
                }
            }
            self.format(format_args!("@{}", field.offset));
        }
    }

    /// Writes `^n` if `T` is the n-th type in this text; otherwise notes that it is the next one.
    fn refers_back<T: 'static>(&mut self) -> bool {
        let this = TypeId::of::<T>();
        let earlier = self.written.iter().position(|written| *written == this);
        match earlier {
            Some(number) => self.format(format_args!("^{number}")),
            None => self.written.push(this),
        }
        earlier.is_some()
    }

    fn slot<T: Layout>(&mut self, offset: usize) {
        T::describe(self);
        self.format(format_args!("@{offset}"));
    }

    fn extent<A>(&mut self) {
        self.format(format_args!("{}/{}", size_of::<A>(), align_of::<A>()));
    }

    /// `name<type,type>`
    fn generic(&mut self, name: &str, types: &[fn(&mut Self)]) {
        self.text.push_str(name);
        for (index, describe) in types.iter().enumerate() {
            self.text.push(if index == 0 { '<' } else { ',' });
            describe(self);
        }
        self.text.push('>');
    }

    fn format(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.text.write_fmt(arguments).expect("writing to a String cannot fail");
    }
}

/// A field of an archived struct or of a variant of an archived enum. For the derive macros.
#[doc(hidden)]
#[derive(Debug)]
pub struct Field {
    name: &'static str,
    offset: usize,
    size: usize,
    align: usize,
    inside: Inside,
}

#[derive(Debug)]
enum Inside {
    Described(fn(&mut Description)),
    Opaque(&'static str),
}

impl Field {
    /// A field that is archived as `A`, with the `Layout::describe` of its type.
    #[must_use]
    pub fn described<A>(name: &'static str, offset: usize, describe: fn(&mut Description)) -> Self {
        Self::new::<A>(name, offset, Inside::Described(describe))
    }

    /// A field that `wrapper` archives as `A`.
    #[must_use]
    pub fn opaque<A>(name: &'static str, offset: usize, wrapper: &'static str) -> Self {
        Self::new::<A>(name, offset, Inside::Opaque(wrapper))
    }

    fn new<A>(name: &'static str, offset: usize, inside: Inside) -> Self {
        let (size, align) = (size_of::<A>(), align_of::<A>());
        Self { name, offset, size, align, inside }
    }
}

/// A variant of an archived enum. For the derive macros.
#[doc(hidden)]
#[derive(Debug)]
pub struct Variant {
    name: &'static str,
    tag: u8,
    fields: Vec<Field>,
    /// Up to the end of the last field.
    bytes: usize,
}

impl Variant {
    /// Places the fields behind the tag.
    ///
    /// A `#[repr(u8)]` enum is a union of `#[repr(C)]` structs, one for each variant, that start with the tag:
    /// <https://doc.rust-lang.org/reference/type-layout.html#primitive-representation-of-enums-with-fields>.
    #[must_use]
    pub fn new(name: &'static str, tag: u8, mut fields: Vec<Field>) -> Self {
        let mut bytes = size_of::<u8>();
        for field in &mut fields {
            field.offset = bytes.next_multiple_of(field.align);
            bytes = field.offset + field.size;
        }
        Self { name, tag, fields, bytes }
    }
}

/// The largest of `aligns`, in bytes. For the derive macros.
#[doc(hidden)]
#[must_use]
pub const fn align_max(aligns: &[usize]) -> usize {
    let mut largest = 1;
    let mut index = 0;
    while index < aligns.len() {
        if aligns[index] > largest {
            largest = aligns[index];
        }
        index += 1;
    }
    largest
}

/// 64-bit FNV-1a of a description.
///
/// Source: Fowler, Noll, Vo, Eastlake, "The FNV Non-Cryptographic Hash Algorithm",
/// draft-eastlake-fnv, <http://www.isthe.com/chongo/tech/comp/fnv/>.
#[must_use]
pub const fn fingerprint(description: &str) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = description.as_bytes();
    let mut hash = OFFSET_BASIS;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(PRIME);
        index += 1;
    }
    hash
}

macro_rules! scalars {
    ($($type:ty => $text:literal),* $(,)?) => {$(
        impl Layout for $type {
            const FIXED: bool = true;
            const ALIGN: usize = align_of::<Archived<Self>>();
            fn describe(description: &mut Description) {
                description.text.push_str($text);
            }
        }
    )*};
}

scalars! {
    () => "()", bool => "bool", char => "char", f32 => "f32", f64 => "f64",
    u8 => "u8", u16 => "u16", u32 => "u32", u64 => "u64", u128 => "u128",
    i8 => "i8", i16 => "i16", i32 => "i32", i64 => "i64", i128 => "i128",
    num::NonZeroU8 => "nonzero u8", num::NonZeroU16 => "nonzero u16", num::NonZeroU32 => "nonzero u32",
    num::NonZeroU64 => "nonzero u64", num::NonZeroU128 => "nonzero u128",
    num::NonZeroI8 => "nonzero i8", num::NonZeroI16 => "nonzero i16", num::NonZeroI32 => "nonzero i32",
    num::NonZeroI64 => "nonzero i64", num::NonZeroI128 => "nonzero i128",
}

impl<T: ?Sized + 'static> Layout for PhantomData<T> {
    const FIXED: bool = true;
    const ALIGN: usize = 1;
    fn describe(description: &mut Description) {
        description.text.push_str("()");
    }
}

impl<T: Layout, const N: usize> Layout for [T; N] {
    const FIXED: bool = T::FIXED;
    const ALIGN: usize = T::ALIGN;
    fn describe(description: &mut Description) {
        description.text.push('[');
        T::describe(description);
        description.format(format_args!(";{N}]"));
    }
}

impl<T: Layout> Layout for Option<T> {
    const FIXED: bool = T::FIXED;
    const ALIGN: usize = T::ALIGN;
    fn describe(description: &mut Description) {
        description.text.push_str("option<");
        // The tag is one byte; the value follows at its own alignment.
        description.slot::<T>(align_of::<Archived<T>>());
        description.text.push('>');
        description.extent::<Archived<Self>>();
    }
}

impl<T: Layout, E: Layout> Layout for Result<T, E> {
    const FIXED: bool = T::FIXED && E::FIXED;
    const ALIGN: usize = align_max(&[T::ALIGN, E::ALIGN]);
    fn describe(description: &mut Description) {
        description.text.push_str("result<");
        description.slot::<T>(align_of::<Archived<T>>());
        description.text.push(',');
        description.slot::<E>(align_of::<Archived<E>>());
        description.text.push('>');
        description.extent::<Archived<Self>>();
    }
}

macro_rules! tuples {
    ($(($($type:ident $index:tt),+))*) => {$(
        impl<$($type: Layout),+> Layout for ($($type,)+) {
            const FIXED: bool = $($type::FIXED)&&+;
            const ALIGN: usize = align_max(&[$($type::ALIGN),+]);
            fn describe(description: &mut Description) {
                $(
                    description.text.push(if $index == 0 { '(' } else { ',' });
                    description.slot::<$type>(core::mem::offset_of!(Archived<Self>, $index));
                )+
                description.text.push(')');
                description.extent::<Archived<Self>>();
            }
        }
    )*};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

/// Types with contents out of line: `impl … => "name" [types written between < and >], alignment inside`.
macro_rules! pointers {
    ($([$($parameters:tt)*] $type:ty $(where [$($bounds:tt)*])? =>
        $name:literal [$($part:ty),*], $align:expr;)*) => {$(
        impl<$($parameters)*> Layout for $type $(where $($bounds)*)? {
            const FIXED: bool = false;
            const ALIGN: usize = align_max(&[align_of::<Archived<Self>>(), $align]);
            fn describe(description: &mut Description) {
                description.generic($name, &[$(<$part as Layout>::describe),*]);
            }
        }
    )*};
}

pointers! {
    [T: Layout] Box<T> => "box" [T], T::ALIGN;
    [T: Layout] Vec<T> => "vec" [T], T::ALIGN;
    [T: Layout] VecDeque<T> => "vec" [T], T::ALIGN;
    [K: Layout + Hash + Eq, V: Layout, S: 'static] HashMap<K, V, S>
        where [Archived<K>: Hash + Eq] => "hashmap" [K, V], align_max(&[K::ALIGN, V::ALIGN]);
    [K: Layout + Hash + Eq, S: 'static] HashSet<K, S>
        where [Archived<K>: Hash + Eq] => "hashset" [K], K::ALIGN;
    [K: Layout + Ord, V: Layout] BTreeMap<K, V>
        where [Archived<K>: Ord] => "btreemap" [K, V], align_max(&[K::ALIGN, V::ALIGN]);
    [K: Layout + Ord] BTreeSet<K> where [Archived<K>: Ord] => "btreeset" [K], K::ALIGN;
}

impl Layout for String {
    const FIXED: bool = false;
    const ALIGN: usize = align_of::<Archived<Self>>();
    fn describe(description: &mut Description) {
        description.text.push_str("string");
    }
}

impl Layout for Box<str> {
    const FIXED: bool = false;
    const ALIGN: usize = align_of::<Archived<Self>>();
    fn describe(description: &mut Description) {
        description.text.push_str("box<str>");
    }
}

impl<T: Layout> Layout for Box<[T]> {
    const FIXED: bool = false;
    const ALIGN: usize = align_max(&[align_of::<Archived<Self>>(), T::ALIGN]);
    fn describe(description: &mut Description) {
        description.text.push_str("box<[");
        T::describe(description);
        description.text.push_str("]>");
    }
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    #[test]
    fn the_fingerprint_is_fnv_1a() {
        // Test vectors of draft-eastlake-fnv, appendix C.
        assert_eq!(fingerprint(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fingerprint("foobar"), 0x8594_4171_f739_67e8);
    }
}
