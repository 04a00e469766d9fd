//! What is done: a topic's options, and the steps that publishers and subscribers take.

use crate::model::Model;
use memlane_ring::{Publishers, TopicOptions};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// How long a payload is. Most are short, since a long one says less per lap; many end near the end of a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Length {
    Bytes(u64),
    /// So many cells, and so many bytes less or more.
    Cells(u64, i64),
    /// So many 256ths of the longest.
    Part(u64),
    Longest,
    TooLong,
}

impl Length {
    /// In bytes, of a payload behind so many bytes of extensions.
    pub(crate) fn bytes(self, model: &Model, extension_bytes: u64) -> u64 {
        let longest = model.payload_bytes_max - extension_bytes;
        match self {
            Self::Bytes(bytes) => bytes.min(longest),
            Self::Cells(cells, more) => {
                let bytes = (cells * model.cell) as i64 - (model.payload_at + extension_bytes) as i64 + more;
                bytes.clamp(0, longest as i64) as u64
            }
            Self::Part(part) => longest * part / 256,
            Self::Longest => longest,
            Self::TooLong => longest + 1,
        }
    }
}

fn length() -> impl Strategy<Value = Length> {
    prop_oneof![
        8 => (0..100_u64).prop_map(Length::Bytes),
        8 => (1..5_u64, -9..10_i64).prop_map(|(cells, more)| Length::Cells(cells, more)),
        3 => (0..256_u64).prop_map(Length::Part),
        1 => Just(Length::Longest),
        1 => Just(Length::TooLong),
    ]
}

/// A message: its payload, and the value of a header if it has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) length: Length,
    pub(crate) header_bytes: Option<usize>,
}

fn shape() -> impl Strategy<Value = Shape> {
    let header_bytes = prop_oneof![3 => Just(None), 1 => option::of(0..60_usize)];
    (length(), header_bytes).prop_map(|(length, header_bytes)| Shape { length, header_bytes })
}

/// What becomes of a claim.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Whole,
    /// So many 256ths of it.
    Shorter(u64),
    Abort,
    /// Forgotten; its publisher leaves and another takes its place.
    Forget,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Whole),
        4 => (0..256_u64).prop_map(Outcome::Shorter),
        3 => Just(Outcome::Abort),
        1 => Just(Outcome::Forget),
    ]
}

/// Where a log begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    Zero,
    /// So many cells further on.
    Cells(u64),
    /// So many cells behind the first of a lap whose number has more bits than a frame has room for.
    Far(u64),
    /// So many cells before a lap of whose number frames have none but zeros.
    BeforeTurn(u64),
}

impl Begin {
    pub(crate) fn position(self, options: &TopicOptions) -> u64 {
        match self {
            Self::Zero => 0,
            Self::Cells(cells) => cells * options.cell,
            Self::Far(cells) => 0x1_2345 * options.capacity + cells * options.cell,
            Self::BeforeTurn(cells) => 0x1_0000 * options.capacity - cells * options.cell,
        }
    }
}

pub(crate) fn begin() -> impl Strategy<Value = Begin> {
    prop_oneof![
        3 => Just(Begin::Zero),
        3 => (1..400_u64).prop_map(Begin::Cells),
        1 => (0..200_u64).prop_map(Begin::Far),
        1 => (1..200_u64).prop_map(Begin::BeforeTurn),
    ]
}

/// How a subscriber reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Gated,
    Lossy,
    Latest,
}

/// Where a subscriber begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    Live,
    Latest,
    Earliest,
    /// Where the message begins that so many others follow.
    Message(usize),
    /// So many bytes before the end, wherever that is.
    Before(u64),
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        2 => Just(From::Live),
        1 => Just(From::Latest),
        3 => Just(From::Earliest),
        2 => (0..40_usize).prop_map(From::Message),
        1 => (0..200_u64).prop_map(|cells| From::Before(cells * 32)),
    ]
}

/// One step. Writers and readers are chosen by a number, of as many as there are.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Publish {
        writer: usize,
        shape: Shape,
    },
    Batch {
        writer: usize,
        lengths: Vec<Length>,
    },
    /// Opens a claim, and leaves it open.
    Claim {
        writer: usize,
        shape: Shape,
    },
    /// Ends the claim, if there is one.
    Finish {
        writer: usize,
        outcome: Outcome,
    },
    /// The publisher leaves, and another takes its place.
    Replace {
        writer: usize,
    },
    Join {
        kind: Kind,
        from: From,
    },
    Leave {
        reader: usize,
    },
    /// One by one.
    Read {
        reader: usize,
        messages_max: usize,
    },
    ReadBatch {
        reader: usize,
        messages_max: usize,
    },
    /// Everybody reads to the end.
    Drain,
    /// Reads one message and looks at it again after others were published.
    Hold {
        reader: usize,
        writer: usize,
        shapes: Vec<Shape>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..12_usize;
    let kind = prop_oneof![2 => Just(Kind::Gated), 2 => Just(Kind::Lossy), 1 => Just(Kind::Latest)];
    prop_oneof![
        24 => (who(), shape()).prop_map(|(writer, shape)| Step::Publish { writer, shape }),
        6 => (who(), vec(length(), 1..20)).prop_map(|(writer, lengths)| Step::Batch { writer, lengths }),
        8 => (who(), shape()).prop_map(|(writer, shape)| Step::Claim { writer, shape }),
        12 => (who(), outcome()).prop_map(|(writer, outcome)| Step::Finish { writer, outcome }),
        1 => who().prop_map(|writer| Step::Replace { writer }),
        3 => (kind, from()).prop_map(|(kind, from)| Step::Join { kind, from }),
        2 => who().prop_map(|reader| Step::Leave { reader }),
        10 => (who(), 1..6_usize).prop_map(|(reader, messages_max)| Step::Read { reader, messages_max }),
        8 => (who(), 1..40_usize).prop_map(|(reader, messages_max)| Step::ReadBatch { reader, messages_max }),
        6 => Just(Step::Drain),
        2 => (who(), who(), vec(shape(), 1..8))
            .prop_map(|(reader, writer, shapes)| Step::Hold { reader, writer, shapes }),
    ]
}

/// Some hundred steps: laps of a small ring.
pub(crate) fn script() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..600)
}

/// A topic's options, with a ring that is small for its cells.
pub(crate) fn setup(publishers: impl Strategy<Value = Publishers>) -> impl Strategy<Value = TopicOptions> {
    let sizes = prop_oneof![
        3 => Just((4 << 10, 32)),
        3 => Just((4 << 10, 64)),
        2 => Just((16 << 10, 32)),
        2 => Just((16 << 10, 64)),
        1 => Just((64 << 10, 64)),
        1 => Just((64 << 10, 1024)),
        1 => Just((256 << 10, 4096)),
    ];
    let align = prop_oneof![2 => Just(8), 1 => Just(16), 1 => Just(32)];
    (sizes, align, any::<bool>(), publishers).prop_map(|((capacity, cell), payload_align, stamps, publishers)| {
        TopicOptions {
            capacity,
            cell,
            payload_align,
            stamps,
            publishers,
            subscribers_max: 8,
            ..TopicOptions::default()
        }
    })
}
