//! Messages of a type that this program doesn't have: read by the description that their topic keeps.
//!
//! | module | what it does |
//! |---|---|
//! | `parse` | a description, as the grammar in the head of `layout.rs` has it, into a [`Shape`] |
//! | `read` | a payload into a [`Value`], by its shape |
//! | `table` | the same for rkyv's hash tables and B-trees |
//!
//! Both the description and the payload are foreign bytes. Every offset, length and count is checked before it is used, nesting and the
//! number of values are bounded: what makes no sense is an error, and never a panic or an endless walk.

mod parse;
mod read;
mod table;

use crate::description::DESCRIPTION_BYTES_MAX;

/// Types in one another in a description, at most.
const NESTING_MAX: usize = 100;

/// Values in one another in a message, at most: what fits the stack of a small thread by far.
const DEPTH_MAX: usize = 200;

/// Values in one message, at most.
const VALUES_MAX: usize = 1 << 18;

/// How messages of some type are laid out.
///
/// ```
/// use memlane::{Message, Payload, Scratch, Shape, TypeInfo, Value};
/// use rkyv::{Archive, Serialize};
///
/// #[derive(Archive, Serialize, Message)]
/// struct Trade {
///     price: i64,
///     venue: String,
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shape = Shape::parse(&TypeInfo::of::<Trade>().description)?;
/// let mut scratch = Scratch::new();
/// let trade = Trade { price: -5, venue: "xnas".into() };
/// let Value::Struct { name, fields } = shape.read(trade.encode(&mut scratch)?)? else { panic!() };
/// assert_eq!(name, "Trade");
/// assert_eq!(fields, [("price", Value::Signed(-5)), ("venue", Value::Text("xnas"))]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    kinds: Vec<Kind>,
    /// The structs and enums, in the order of their opening brackets, as indices into `kinds`.
    named: Vec<usize>,
    root: usize,
}

/// A type; others by their indices.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Unit,
    Bool,
    Char,
    Unsigned {
        bytes: usize,
    },
    Signed {
        bytes: usize,
    },
    Float {
        bytes: usize,
    },
    Array {
        of: usize,
        count: usize,
    },
    Tuple {
        slots: Vec<Slot>,
        extent: Extent,
    },
    Option {
        some: Slot,
        extent: Extent,
    },
    Result {
        ok: Slot,
        error: Slot,
        extent: Extent,
    },
    Text,
    /// `vec`, and a boxed slice.
    List {
        of: usize,
    },
    BoxedText,
    Boxed {
        of: usize,
    },
    HashTable {
        key: usize,
        value: Option<usize>,
    },
    Tree {
        key: usize,
        value: Option<usize>,
    },
    Struct {
        name: String,
        fields: Vec<(String, Slot)>,
        extent: Extent,
    },
    Enum {
        variants: Vec<Variant>,
        extent: Extent,
    },
    Opaque {
        wrapper: String,
        extent: Extent,
    },
    /// The n-th struct or enum.
    Again {
        number: usize,
    },
}

/// A type at a place, in bytes from the start of what holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    kind: usize,
    offset: usize,
}

/// Size and alignment in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    size: usize,
    align: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Variant {
    name: String,
    tag: u8,
    fields: Vec<(String, Slot)>,
}

/// A value in a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `()`, or a marker.
    Unit,
    /// True or false.
    Bool(bool),
    /// A character.
    Char(char),
    /// Of any width.
    Unsigned(u128),
    /// Of any width.
    Signed(i128),
    /// `f32`.
    Single(f32),
    /// `f64`.
    Double(f64),
    /// A string.
    Text(&'a str),
    /// An array, a tuple, a vector, a set.
    List(Vec<Value<'a>>),
    /// A map: keys and values, in the order in which they lie in the message.
    Map(Vec<(Value<'a>, Value<'a>)>),
    /// An option.
    Option(Option<Box<Value<'a>>>),
    /// A result.
    Result(Result<Box<Value<'a>>, Box<Value<'a>>>),
    /// A struct; the fields of one without names are called `0`, `1`, …
    Struct {
        /// Its name.
        name: &'a str,
        /// Names and values.
        fields: Vec<(&'a str, Value<'a>)>,
    },
    /// An enum.
    Variant {
        /// The name of the variant.
        name: &'a str,
        /// Names and values.
        fields: Vec<(&'a str, Value<'a>)>,
    },
    /// An array or a vector of `u8`.
    Bytes(&'a [u8]),
    /// What the description places without saying what is in it.
    Opaque {
        /// Whose business it is: the path of a wrapper for `#[rkyv(with = …)]`.
        wrapper: &'a str,
        /// The bytes there; what they point to is not among them.
        bytes: &'a [u8],
    },
}

/// Why a text describes no shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Longer than any topic keeps: it is none of ours.
    #[error("the description of the message type is longer than {DESCRIPTION_BYTES_MAX} bytes")]
    TooLong,
    /// It departs from the grammar: another version of memlane wrote it, or somebody else.
    #[error("the description of the message type makes no sense at byte {at}: {expected} was expected")]
    Grammar {
        /// Where, in bytes.
        at: usize,
        /// What should be there.
        expected: &'static str,
    },
}

/// Why bytes are no message of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// It leads out of the message: the message is broken, or of another type.
    #[error("the message ends before what its type has at byte {at}")]
    Outside {
        /// Where it should be.
        at: usize,
    },
    /// A value that the type doesn't have.
    #[error("the message has at byte {at} what is no {expected}")]
    NoSuchValue {
        /// Where.
        at: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// More values, or values nested more deeply, than is good to walk through; or two of them in the same bytes, which no message has.
    #[error(
        "the message has more than {VALUES_MAX} values, or they are nested more than {DEPTH_MAX} deep, or share bytes"
    )]
    TooLarge,
}
