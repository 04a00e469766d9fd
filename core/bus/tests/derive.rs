//! Typed messages: what `derive(Message)` says about a type, and values to bytes and back.

#![forbid(unsafe_code)]

use memlane::{Description, EncodeError, InvalidPayload, Layout, Message, Payload, Scratch, TypeInfo};
use rkyv::ser::{Allocator, Writer};
use rkyv::util::AlignedVec;
use rkyv::validation::ArchiveContext;
use rkyv::{Archive, Serialize, rancor};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::marker::PhantomData;
use std::num::{NonZeroI128, NonZeroU16};
use std::time::{Duration, SystemTime};

#[derive(Archive, Serialize, Message)]
#[message(name = "md.trade", version = 3)]
struct Trade {
    price: i64,
    size: u32,
    symbol: [u8; 8],
}

#[derive(Archive, Serialize, Layout, Clone, Copy)]
#[rkyv(derive(Debug))]
enum Side {
    Buy,
    Sell,
}

#[derive(Archive, Serialize, Message)]
#[rkyv(derive(Debug))]
#[repr(u8)]
enum Order {
    New { id: u64, side: Side, price: Option<u32> },
    Cancel(u16, u64),
    Flush = 9,
    After(Side),
}

/// Everything that bytes can be wrong about.
#[derive(Archive, Serialize, Message)]
#[rkyv(derive(Debug))]
struct Report {
    live: bool,
    side: Side,
    letter: char,
    count: NonZeroU16,
    limit: Option<u64>,
    name: String,
    note: Box<str>,
    fills: Vec<(u64, String)>,
    prices: Box<[f64]>,
    outcome: Result<u32, String>,
    by_id: HashMap<u32, String>,
    by_name: BTreeMap<String, u16>,
    tree: Node,
}

#[derive(Archive, Serialize, Message)]
#[rkyv(
    derive(Debug),
    serialize_bounds(__S: Writer + Allocator, __S::Error: rancor::Source),
    bytecheck(bounds(__C: ArchiveContext, __C::Error: rancor::Source))
)]
struct Node {
    value: u16,
    #[rkyv(omit_bounds)]
    left: Option<Box<Node>>,
    #[rkyv(omit_bounds)]
    right: Vec<Node>,
}

fn leaf(value: u16) -> Node {
    Node { value, left: None, right: Vec::new() }
}

fn report() -> Report {
    Report {
        live: true,
        side: Side::Sell,
        letter: 'ß',
        count: NonZeroU16::new(7).unwrap(),
        limit: Some(1 << 40),
        name: "long enough to lie out of line".into(),
        note: "short".into(),
        fills: vec![(1, "one".into()), (2, "the second of the fills".into())],
        prices: vec![1.5, -2.5].into(),
        outcome: Err("refused by the exchange".into()),
        by_id: (0..20).map(|id| (id, format!("instrument {id}"))).collect(),
        by_name: (0..20).map(|id| (format!("instrument {id}"), id)).collect(),
        tree: Node { value: 1, left: Some(Box::new(leaf(2))), right: vec![leaf(3), leaf(4)] },
    }
}

/// The bytes of a message as a frame holds them: aligned, and nothing behind them.
fn encoded<T: Message>(value: &T) -> AlignedVec<16> {
    let mut bytes = AlignedVec::new();
    bytes.extend_from_slice(value.encode(&mut Scratch::new()).unwrap());
    bytes
}

// Names and versions

#[test]
fn type_info_shows_name_version_and_fingerprint() {
    let info = TypeInfo::of::<Trade>();
    assert_eq!((info.name.as_str(), info.version), ("md.trade", 3));
    assert_eq!((info.archived_bytes, info.align), (Some(24), 8));
    assert_eq!(info.description, "Trade{price:i64@0,size:u32@8,symbol:[u8;8]@12}24/8");
    // Pinned: topics on disk remember it.
    assert_eq!(info.to_string(), "md.trade v3 (layout 89c733507c94094e)");
}

#[test]
fn name_and_version_default_to_the_identifier_and_one() {
    #[derive(Archive, Serialize, Message)]
    #[expect(non_camel_case_types)]
    struct r#struct;

    assert_eq!((<r#struct as Message>::NAME, <r#struct as Message>::VERSION), ("struct", 1));
    assert_eq!(TypeInfo::of::<r#struct>().description, "struct{}0/1");
}

#[test]
fn a_renamed_memlane_is_found_by_its_path() {
    use memlane as renamed;

    #[derive(Archive, Serialize, renamed::Message)]
    #[message(crate = renamed)]
    struct Ping {
        sent_ns: u64,
    }

    assert_eq!(TypeInfo::of::<Ping>().description, "Ping{sent_ns:u64@0}8/8");
}

#[test]
fn raw_bytes_have_no_type_and_cross_without_a_copy() {
    let bytes: &[u8] = b"anything";
    let mut scratch = Scratch::new();
    assert_eq!(<[u8]>::type_info(), None);
    assert_eq!(bytes.encode(&mut scratch).unwrap().as_ptr(), bytes.as_ptr());
    assert_eq!(<[u8]>::view(bytes).unwrap().as_ptr(), bytes.as_ptr());
    assert_eq!(scratch.capacity_bytes(), 0);
}

// Descriptions

#[test]
fn descriptions_of_types_that_come_with_rust() {
    let golden: [(String, &str); 22] = [
        (Description::of::<()>(), "()"),
        (Description::of::<PhantomData<String>>(), "()"),
        (Description::of::<bool>(), "bool"),
        (Description::of::<char>(), "char"),
        (Description::of::<f64>(), "f64"),
        (Description::of::<u128>(), "u128"),
        (Description::of::<NonZeroU16>(), "nonzero u16"),
        (Description::of::<NonZeroI128>(), "nonzero i128"),
        (Description::of::<[[i16; 3]; 2]>(), "[[i16;3];2]"),
        (Description::of::<(u8, u32, u16)>(), "(u8@0,u32@4,u16@8)12/4"),
        (Description::of::<Option<i64>>(), "option<i64@8>16/8"),
        (Description::of::<Option<u8>>(), "option<u8@1>2/1"),
        (Description::of::<Result<u8, u16>>(), "result<u8@1,u16@2>4/2"),
        (Description::of::<String>(), "string"),
        (Description::of::<Vec<String>>(), "vec<string>"),
        (Description::of::<VecDeque<u8>>(), "vec<u8>"),
        (Description::of::<Box<u64>>(), "box<u64>"),
        (Description::of::<Box<str>>(), "box<str>"),
        (Description::of::<Box<[char]>>(), "box<[char]>"),
        (Description::of::<HashMap<u32, String>>(), "hashmap<u32,string>"),
        (Description::of::<BTreeMap<u32, HashSet<u8>>>(), "btreemap<u32,hashset<u8>>"),
        (Description::of::<BTreeSet<String>>(), "btreeset<string>"),
    ];
    for (description, expected) in golden {
        assert_eq!(description, expected);
    }
}

#[test]
fn an_enum_lists_its_variants_with_tags_and_offsets() {
    assert_eq!(
        Description::of::<Order>(),
        "Order[New=0{id:u64@8,side:Side[Buy=0|Sell=1]1/1@16,price:option<u32@4>8/4@20}\
         |Cancel=1{0:u16@2,1:u64@8}|Flush=9|After=10{0:^1@1}]32/8"
    );
}

#[test]
fn a_type_is_written_out_once_and_then_referred_to() {
    #[derive(Archive, Serialize, Layout)]
    struct Level(i64, u64);

    #[derive(Archive, Serialize, Layout)]
    struct Book {
        bids: Vec<Level>,
        asks: Vec<Level>,
    }

    assert_eq!(Description::of::<Book>(), "Book{bids:vec<Level{0:i64@0,1:u64@8}16/8>@0,asks:vec<^1>@8}16/4");
}

#[test]
fn the_description_of_a_recursive_type_ends() {
    assert_eq!(Description::of::<Node>(), "Node{value:u16@0,left:option<box<^0>@4>8/4@4,right:vec<^0>@12}20/4");
}

#[test]
fn generic_types_are_described_for_each_argument() {
    #[derive(Archive, Serialize, Message)]
    struct Stamped<T, const N: usize> {
        at_ns: u64,
        values: [T; N],
        extra: Vec<T>,
    }

    assert_eq!(
        TypeInfo::of::<Stamped<u16, 3>>().description,
        "Stamped{at_ns:u64@0,values:[u16;3]@8,extra:vec<u16>@16}24/8"
    );
    assert_eq!(<Stamped<u128, 1> as Payload>::ALIGN, 16);
    let value = Stamped { at_ns: 1, values: [2_u16, 3], extra: vec![4] };
    let bytes = encoded(&value);
    assert_eq!(Stamped::<u16, 2>::view(&bytes).unwrap().extra[0], 4);
}

#[test]
fn a_wrapped_field_is_described_by_its_place_and_its_wrapper() {
    #[derive(Archive, Serialize, Message)]
    struct Event {
        id: u8,
        #[rkyv(with = rkyv::with::AsUnixTime)]
        at: SystemTime,
    }

    let info = TypeInfo::of::<Event>();
    assert_eq!(info.description, "Event{id:u8@0,at:opaque\"rkyv::with::AsUnixTime\"16/8@8}24/8");
    assert_eq!(info.archived_bytes, None, "what a wrapper puts out of line is not known");
    let bytes = encoded(&Event { id: 1, at: SystemTime::UNIX_EPOCH + Duration::from_secs(5) });
    assert_eq!(Event::view(&bytes).unwrap().at.as_secs(), 5);
}

#[test]
fn alignment_and_fixedness_look_through_pointers() {
    assert_eq!((<Vec<u128>>::ALIGN, <Option<Box<u64>>>::ALIGN, <[u16; 9]>::ALIGN), (16, 8, 2));
    assert_eq!((<Vec<u8>>::FIXED, <[Option<Side>; 3]>::FIXED, <(u8, String)>::FIXED), (false, true, false));
    assert_eq!(Trade::FIXED_BYTES, Some(24));
    assert_eq!(Report::FIXED_BYTES, None);
    assert_eq!((<[u8] as Payload>::ALIGN, <Trade as Payload>::ALIGN), (8, 8));
}

// Fingerprints

macro_rules! leg {
    ($name:ident $(, $part:item)? { $($fields:tt)* }) => {{
        $(#[allow(dead_code)] #[derive(Archive, Serialize, Layout)] $part)?
        #[derive(Archive, Serialize, Message)]
        struct $name { $($fields)* }
        TypeInfo::of::<$name>().fingerprint
    }};
}

#[test]
fn equal_definitions_in_two_places_have_equal_fingerprints() {
    let here = leg!(Leg, struct Part { x: u8 } { price: i64, size: u32, part: Part });
    let there = leg!(Leg, struct Part { x: u8 } { price: i64, size: u32, part: Part });
    assert_eq!(here, there);
}

#[test]
fn every_change_of_a_definition_changes_the_fingerprint() {
    let fingerprints = [
        leg!(Leg, struct Part { x: u8 } { price: i64, size: i64, part: Part }),
        leg!(Leg2, struct Part { x: u8 } { price: i64, size: i64, part: Part }),
        leg!(Leg, struct Part { x: u8 } { price: i64, quantity: i64, part: Part }),
        leg!(Leg, struct Part { x: u8 } { size: i64, price: i64, part: Part }),
        leg!(Leg, struct Part { x: u8 } { price: u64, size: i64, part: Part }),
        leg!(Leg, struct Part { x: u8 } { price: i64, size: i64 }),
        leg!(Leg, struct Part { x: i8 } { price: i64, size: i64, part: Part }),
        leg!(Leg, struct Part { y: u8 } { price: i64, size: i64, part: Part }),
        leg!(Leg, enum Part { A, B } { price: i64, size: i64, part: Part }),
        leg!(Leg, enum Part { B, A } { price: i64, size: i64, part: Part }),
        leg!(Leg, enum Part { A, B = 2 } { price: i64, size: i64, part: Part }),
    ];
    let different: HashSet<u64> = fingerprints.into_iter().collect();
    assert_eq!(different.len(), fingerprints.len());
}

// Bytes

#[test]
fn a_fixed_message_has_its_bytes_where_the_description_says() {
    let bytes = encoded(&Trade { price: -2, size: 0x0102_0304, symbol: *b"ABCDEFGH" });
    assert_eq!(&bytes[..8], &(-2_i64).to_le_bytes());
    assert_eq!(&bytes[8..12], &[4, 3, 2, 1]);
    assert_eq!(&bytes[12..], b"ABCDEFGH\0\0\0\0");
    let view = Trade::view(&bytes).unwrap();
    assert_eq!((view.price, view.size, view.symbol), ((-2).into(), 0x0102_0304.into(), *b"ABCDEFGH"));
}

#[test]
fn a_variant_has_its_bytes_where_the_description_says() {
    let bytes = encoded(&Order::New { id: 0x1122, side: Side::Sell, price: Some(0x33) });
    assert_eq!((bytes[0], bytes[8], bytes[9], bytes[16]), (0, 0x22, 0x11, 1));
    assert_eq!((bytes[20], bytes[24], bytes.len()), (1, 0x33, 32));
    let bytes = encoded(&Order::Cancel(0x1122, 0x33));
    assert_eq!((bytes[0], bytes[2], bytes[3], bytes[8]), (1, 0x22, 0x11, 0x33));
    assert_eq!(encoded(&Order::Flush)[0], 9);
    let bytes = encoded(&Order::After(Side::Buy));
    assert_eq!((bytes[0], bytes[1]), (10, 0));
    assert!(matches!(Order::view(&bytes).unwrap(), ArchivedOrder::After(ArchivedSide::Buy)));
}

#[test]
fn a_message_of_variable_length_comes_back_whole() {
    let bytes = encoded(&report());
    let view = Report::view(&bytes).unwrap();
    assert!(view.live);
    assert_eq!((view.letter.to_native(), view.count.get(), view.name.len()), ('ß', 7, 30));
    assert_eq!(view.note.as_ref(), "short");
    assert_eq!(view.fills[1].1, "the second of the fills");
    assert_eq!(view.by_id[&3.into()], "instrument 3");
    assert_eq!(view.by_name["instrument 4"], 4);
    assert_eq!(view.tree.left.as_ref().unwrap().value, 2);
    assert_eq!(view.tree.right[1].value, 4);
}

#[test]
fn encoding_into_a_claim_writes_the_same_bytes() {
    let mut claim: AlignedVec<16> = AlignedVec::new();
    claim.resize(8192, 0xee);
    let report = report();
    let length = report.encode_into(&mut claim).unwrap();
    assert_eq!(claim[..length], encoded(&report)[..]);
    assert!(claim[length..].iter().all(|byte| *byte == 0xee));

    let trade = Trade { price: 1, size: 2, symbol: [3; 8] };
    assert_eq!(trade.encode_into(&mut claim), Ok(24));
    assert_eq!(claim[..24], encoded(&trade)[..]);
}

#[test]
fn a_target_that_is_too_small_is_an_error_at_every_length() {
    let report = report();
    let length = encoded(&report).len();
    let mut target: AlignedVec<16> = AlignedVec::new();
    target.resize(length, 0);
    for room in 0..length {
        assert_eq!(report.encode_into(&mut target[..room]), Err(EncodeError::TooSmall));
    }
    assert_eq!(report.encode_into(&mut target), Ok(length));

    let trade = Trade { price: 1, size: 2, symbol: [3; 8] };
    assert_eq!(trade.encode_into(&mut target[..23]), Err(EncodeError::TooSmall));
    assert_eq!(b"four"[..].encode_into(&mut target[..3]), Err(EncodeError::TooSmall));
    assert_eq!(b"four"[..].encode_into(&mut target), Ok(4));
}

#[test]
fn a_scratch_that_has_seen_a_message_as_large_stays_where_it_is() {
    let mut scratch = Scratch::new();
    let report = report();
    let first = report.encode(&mut scratch).unwrap().as_ptr_range();
    let capacity = scratch.capacity_bytes();
    for _ in 0..100 {
        assert_eq!(report.encode(&mut scratch).unwrap().as_ptr_range(), first);
    }
    assert_eq!(scratch.capacity_bytes(), capacity);
}

#[test]
fn a_part_that_refuses_its_value_is_an_error() {
    #[derive(Archive, Serialize, Message)]
    struct Event {
        #[rkyv(with = rkyv::with::AsUnixTime)]
        at: SystemTime,
    }

    let before_the_epoch = Event { at: SystemTime::UNIX_EPOCH - Duration::from_secs(1) };
    let result = std::panic::catch_unwind(|| before_the_epoch.encode(&mut Scratch::new()).map(<[u8]>::len));
    assert_eq!(result.unwrap(), Err(EncodeError::Refused));
}

// Bytes that are wrong

#[test]
fn a_payload_of_another_length_is_an_error() {
    let mut bytes = encoded(&Trade { price: 1, size: 2, symbol: [3; 8] });
    let wrong = |found_bytes| InvalidPayload::Length { found_bytes, expected_bytes: 24 };
    assert_eq!(Trade::view(&bytes[..16]).err(), Some(wrong(16)));
    assert_eq!(Trade::view(&[]).err(), Some(wrong(0)));
    bytes.extend_from_slice(&[0; 8]);
    assert_eq!(Trade::view(&bytes).err(), Some(wrong(32)));
}

#[test]
fn a_misaligned_payload_is_an_error() {
    let mut shifted: AlignedVec<16> = AlignedVec::new();
    shifted.extend_from_slice(&[0; 4]);
    shifted.extend_from_slice(&encoded(&Trade { price: 1, size: 2, symbol: [3; 8] }));
    assert_eq!(Trade::view(&shifted[4..]).err(), Some(InvalidPayload::Misaligned { align: 8 }));
}

#[test]
fn misalignment_of_what_is_out_of_line_is_an_error_too() {
    #[derive(Archive, Serialize, Message)]
    struct Wide {
        values: Vec<u128>,
    }

    let bytes = encoded(&Wide { values: vec![1, 2] });
    assert_eq!((<Wide as Payload>::ALIGN, Wide::view(&bytes).unwrap().values.len()), (16, 2));
    let mut shifted: AlignedVec<16> = AlignedVec::new();
    shifted.extend_from_slice(&[0; 8]);
    shifted.extend_from_slice(&bytes);
    assert_eq!(Wide::view(&shifted[8..]).err(), Some(InvalidPayload::Misaligned { align: 16 }));
}

#[test]
fn a_variable_message_cut_short_or_shifted_never_panics() {
    let bytes = encoded(&report());
    for start in 0..bytes.len() {
        if let Ok(view) = Report::view(&bytes[start..]) {
            let _ = format!("{view:?}");
        }
        assert!(Report::view(&bytes[..start]).is_err() || start % 8 == 0);
    }
}

#[test]
fn flipping_any_bits_of_a_message_never_panics() {
    let mut bytes = encoded(&report());
    let mut refused = 0;
    for index in 0..bytes.len() {
        for mask in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
            bytes[index] ^= mask;
            match Report::view(&bytes) {
                // What was accepted can be walked to its ends.
                Ok(view) => drop(format!("{view:?}")),
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
            }
            bytes[index] ^= mask;
        }
    }
    assert!(refused > 1000, "only {refused} of the changes were noticed");
}

#[test]
fn an_unknown_tag_is_reported_with_its_place() {
    let mut bytes = encoded(&Order::Flush);
    bytes[0] = 77;
    let Err(InvalidPayload::Corrupt { reason }) = Order::view(&bytes) else { panic!("accepted") };
    assert!(reason.contains("77"), "{reason}");
}

#[test]
fn pointers_nested_without_end_are_an_error_not_a_stack_overflow() {
    #[derive(Archive, Serialize, Message)]
    #[rkyv(
        serialize_bounds(__S: Writer + Allocator, __S::Error: rancor::Source),
        bytecheck(bounds(__C: ArchiveContext, __C::Error: rancor::Source))
    )]
    struct Chain {
        #[rkyv(omit_bounds)]
        next: Option<Box<Chain>>,
    }

    // Chain{next:option<box<^0>@4>8/4@0}8/4: each link points to the one 8 bytes before it.
    let mut bytes: AlignedVec<16> = AlignedVec::new();
    bytes.extend_from_slice(&[0; 8]);
    for _ in 0..100 {
        bytes.extend_from_slice(&[1, 0, 0, 0]);
        bytes.extend_from_slice(&(-12_i32).to_le_bytes());
    }
    assert!(Chain::view(&bytes).is_ok());
    for _ in 0..100_000 {
        bytes.extend_from_slice(&[1, 0, 0, 0]);
        bytes.extend_from_slice(&(-12_i32).to_le_bytes());
    }
    assert!(matches!(Chain::view(&bytes), Err(InvalidPayload::Corrupt { .. })));
}
