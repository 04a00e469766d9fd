//! Messages read by the description of their type alone, and descriptions and messages that make no sense.

#![forbid(unsafe_code)]

mod place;

use memlane::{
    Description, DescriptionError, Layout, Message, Payload, Scratch, Shape, ShapeError, TypeInfo, Value, ValueError,
};
use place::Place;
use proptest::prelude::*;
use rkyv::ser::{Allocator, Writer};
use rkyv::validation::ArchiveContext;
use rkyv::{Archive, Serialize, rancor};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::marker::PhantomData;
use std::num::NonZeroU16;
use std::time::{Duration, SystemTime};

#[derive(Archive, Serialize, Layout, Clone, Copy)]
enum Side {
    Buy,
    Sell,
}

#[derive(Archive, Serialize, Layout)]
#[repr(u8)]
enum Order {
    New { id: u64, side: Side },
    Cancel(u16, u64),
    Flush = 9,
}

#[derive(Archive, Serialize, Layout)]
struct Pair(u8, i16);

#[derive(Archive, Serialize, Layout)]
#[rkyv(
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

/// Everything that can be described.
#[derive(Archive, Serialize, Message)]
struct All {
    unit: (),
    marker: PhantomData<String>,
    live: bool,
    letter: char,
    small: i8,
    large: u128,
    least: i128,
    single: f32,
    double: f64,
    count: NonZeroU16,
    symbol: [u8; 4],
    grid: [[i16; 2]; 2],
    tuple: (u8, u32),
    pair: Pair,
    none: Option<u32>,
    some: Option<u32>,
    fine: Result<u8, u16>,
    refused: Result<u8, String>,
    short: String,
    empty: String,
    long: String,
    note: Box<str>,
    boxed: Box<u64>,
    prices: Box<[f64]>,
    nothing: Vec<u32>,
    fills: Vec<(u64, String)>,
    raw: Vec<u8>,
    side: Side,
    orders: Vec<Order>,
    by_id: HashMap<u32, String>,
    ids: HashSet<u64>,
    by_name: BTreeMap<String, u16>,
    names: BTreeSet<u8>,
    no_names: BTreeSet<u8>,
    tree: Node,
    #[rkyv(with = rkyv::with::AsUnixTime)]
    at: SystemTime,
}

fn leaf(value: u16) -> Node {
    Node { value, left: None, right: Vec::new() }
}

fn all() -> All {
    All {
        unit: (),
        marker: PhantomData,
        live: true,
        letter: 'ß',
        small: -3,
        large: u128::MAX,
        least: i128::MIN,
        single: 1.5,
        double: -0.25,
        count: NonZeroU16::new(7).unwrap(),
        symbol: *b"ZIEX",
        grid: [[1, -2], [3, -4]],
        tuple: (5, 6),
        pair: Pair(7, -8),
        none: None,
        some: Some(9),
        fine: Ok(10),
        refused: Err("refused by the exchange".into()),
        short: "short".into(),
        empty: String::new(),
        long: "long enough to lie out of line".repeat(10),
        note: "a note".into(),
        boxed: Box::new(11),
        prices: vec![1.5, -2.5].into(),
        nothing: Vec::new(),
        fills: vec![(1, "one".into()), (2, "the second of the fills".into())],
        raw: vec![0, 255],
        side: Side::Sell,
        orders: vec![Order::New { id: 12, side: Side::Buy }, Order::Cancel(13, 14), Order::Flush],
        by_id: (0..100).map(|id| (id, format!("instrument {id}"))).collect(),
        ids: (0..50).collect(),
        by_name: (0..1000).map(|id| (format!("instrument {id:03}"), id)).collect(),
        names: (0..7).collect(),
        no_names: BTreeSet::new(),
        tree: Node { value: 1, left: Some(Box::new(leaf(2))), right: vec![leaf(3), leaf(4)] },
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(5),
    }
}

fn encoded<T: Message>(value: &T) -> Vec<u8> {
    value.encode(&mut Scratch::new()).unwrap().to_vec()
}

fn fields<'a>(value: &Value<'a>) -> BTreeMap<&'a str, Value<'a>> {
    let (Value::Struct { fields, .. } | Value::Variant { fields, .. }) = value else { panic!("{value:?}") };
    fields.iter().cloned().collect()
}

fn unsigned(numbers: impl IntoIterator<Item = u128>) -> Vec<Value<'static>> {
    numbers.into_iter().map(Value::Unsigned).collect()
}

#[test]
fn every_kind_of_value_is_read_by_its_description_alone() {
    use Value::{Bytes, List, Option, Signed, Text, Unsigned};
    let shape = Shape::parse(&TypeInfo::of::<All>().description).unwrap();
    let (bytes, value) = (encoded(&all()), all());
    let read = shape.read(&bytes).unwrap();
    let found = fields(&read);
    let some = |value| Option(Some(Box::new(value)));
    let expected = [
        ("unit", Value::Unit),
        ("marker", Value::Unit),
        ("live", Value::Bool(true)),
        ("letter", Value::Char('ß')),
        ("small", Signed(-3)),
        ("large", Unsigned(u128::MAX)),
        ("least", Signed(i128::MIN)),
        ("single", Value::Single(1.5)),
        ("double", Value::Double(-0.25)),
        ("count", Unsigned(7)),
        ("symbol", Bytes(b"ZIEX")),
        ("grid", List(vec![List(vec![Signed(1), Signed(-2)]), List(vec![Signed(3), Signed(-4)])])),
        ("tuple", List(unsigned([5, 6]))),
        ("pair", Value::Struct { name: "Pair", fields: vec![("0", Unsigned(7)), ("1", Signed(-8))] }),
        ("none", Option(None)),
        ("some", some(Unsigned(9))),
        ("fine", Value::Result(Ok(Box::new(Unsigned(10))))),
        ("refused", Value::Result(Err(Box::new(Text("refused by the exchange"))))),
        ("short", Text("short")),
        ("empty", Text("")),
        ("long", Text(&value.long)),
        ("note", Text("a note")),
        ("boxed", Unsigned(11)),
        ("prices", List(vec![Value::Double(1.5), Value::Double(-2.5)])),
        ("nothing", List(vec![])),
        (
            "fills",
            List(vec![List(vec![Unsigned(1), Text("one")]), List(vec![Unsigned(2), Text("the second of the fills")])]),
        ),
        ("raw", Bytes(&[0, 255])),
        ("side", Value::Variant { name: "Sell", fields: vec![] }),
        ("names", List(unsigned(0..7))),
        ("no_names", List(vec![])),
    ];
    for (name, expected) in expected {
        assert_eq!(found[name], expected, "{name}");
    }
    let List(orders) = &found["orders"] else { panic!() };
    let buy = Value::Variant { name: "Buy", fields: vec![] };
    assert_eq!(orders[0], Value::Variant { name: "New", fields: vec![("id", Unsigned(12)), ("side", buy)] });
    assert_eq!(orders[1], Value::Variant { name: "Cancel", fields: vec![("0", Unsigned(13)), ("1", Unsigned(14))] });
    assert_eq!(orders[2], Value::Variant { name: "Flush", fields: vec![] });
    let Value::Opaque { wrapper, bytes } = &found["at"] else { panic!() };
    assert_eq!((*wrapper, bytes.len(), bytes[0]), ("rkyv::with::AsUnixTime", 16, 5));
}

#[test]
fn maps_sets_and_trees_are_read_whole() {
    let shape = Shape::parse(&TypeInfo::of::<All>().description).unwrap();
    let (bytes, value) = (encoded(&all()), all());
    let read = shape.read(&bytes).unwrap();
    let found = fields(&read);
    let Value::Map(by_id) = &found["by_id"] else { panic!() };
    let by_id: HashMap<u32, String> = by_id
        .iter()
        .map(|entry| {
            let (Value::Unsigned(id), Value::Text(name)) = entry else { panic!("{entry:?}") };
            (*id as u32, (*name).to_owned())
        })
        .collect();
    assert_eq!(by_id, value.by_id);
    let Value::List(ids) = &found["ids"] else { panic!() };
    assert_eq!((ids.len(), (0..50).all(|id| ids.contains(&Value::Unsigned(id)))), (50, true));
    let Value::Map(by_name) = &found["by_name"] else { panic!() };
    let by_name: Vec<_> = by_name.iter().map(|(name, id)| (name.clone(), id.clone())).collect();
    let expected = value.by_name.iter().map(|(name, id)| (Value::Text(name), Value::Unsigned((*id).into())));
    assert_eq!(by_name, expected.collect::<Vec<_>>(), "in the order of the keys");
    let tree = fields(&found["tree"]);
    let Value::Option(Some(left)) = &tree["left"] else { panic!() };
    assert_eq!(fields(left)["value"], Value::Unsigned(2));
    let Value::List(right) = &tree["right"] else { panic!() };
    assert_eq!(fields(&right[1])["value"], Value::Unsigned(4));
}

#[test]
fn trees_of_every_size_are_read_whole() {
    #[derive(Archive, Serialize, Message)]
    struct Tree {
        entries: BTreeMap<u32, u8>,
    }

    let shape = Shape::parse(&TypeInfo::of::<Tree>().description).unwrap();
    for size in 0..300 {
        let bytes = encoded(&Tree { entries: (0..size).map(|key| (key, key as u8)).collect() });
        let read = shape.read(&bytes).unwrap();
        let Value::Map(entries) = &fields(&read)["entries"] else { panic!() };
        let keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(keys, unsigned((0..size).map(Into::into)), "{size}");
    }
}

#[test]
fn a_topic_keeps_the_description_of_its_type() {
    let place = Place::new();
    let bus = &place.bus;
    let topic = bus.topic("all").unwrap().message::<All>().open_or_create().unwrap();
    let kept = bus.topic("all").unwrap().open().unwrap().description().unwrap();
    assert_eq!(kept, Some(Description::of::<All>()));
    topic.publisher::<All>().open().unwrap().publish(&all()).unwrap();
    assert_eq!(place.topic("raw").description().unwrap(), None);

    // Somebody changes it, or puts something else there.
    let file = topic.directory().join("type");
    let text = std::fs::read(&file).unwrap();
    for wrong in [&text[1..], b"", b"\xff\xfe", &[b'x'; 100_000]] {
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, wrong).unwrap();
        assert!(matches!(topic.description(), Err(DescriptionError::NotOfThisType { .. })));
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(topic.description().is_err());
    bus.remove("all").unwrap();
}

#[test]
fn descriptions_that_make_no_sense_are_refused_with_the_place() {
    let wrong = [
        "",
        "x",
        "u9",
        "vec<u8",
        "vec<u8>>",
        "[u8;]",
        "[u8;99999999999]",
        "option<u8>2/1",
        "A{",
        "A{x:u8}",
        "A{x:u8@0}1",
        "A{x:u8@0}1/3",
        "^0",
        "A{x:^1@0}1/1",
        "E[A=256]1/1",
        "E[A]1/1",
        "opaque\"",
        "(u8@0",
        "box<[u8;2>",
        "nonzero f32",
        "list<u8>",
        "box<[u8>",
    ];
    for text in wrong {
        assert!(matches!(Shape::parse(text), Err(ShapeError::Grammar { .. })), "{text}");
    }
    assert_eq!(Shape::parse("A{x:u7@0}1/1"), Err(ShapeError::Grammar { at: 6, expected: "a type" }));
    // Each level tells a slice from an array at its end: that must not double the work.
    assert!(Shape::parse(&("box<[".repeat(40) + "u8" + &";1]>".repeat(40))).is_ok());
    assert_eq!(Shape::parse(&"[".repeat(1 << 17)), Err(ShapeError::TooLong));
    for deep in ["[", "vec<", "box<[", "A{a:", "(", "E[A=0{a:"] {
        assert!(Shape::parse(&deep.repeat(5_000)).is_err());
    }
}

#[test]
fn messages_without_end_are_an_error_and_neither_a_walk_nor_a_fall_without_end() {
    // A struct in itself, and pointers to themselves.
    let holds_itself = Shape::parse("A{x:^0@0}4/4").unwrap();
    assert_eq!(holds_itself.read(&[0; 4]), Err(ValueError::TooLarge));
    let points_to_itself = Shape::parse("A{x:box<^0>@0}4/4").unwrap();
    assert_eq!(points_to_itself.read(&[0; 4]), Err(ValueError::TooLarge));
    // Many values in no bytes at all, and many values in few types.
    let bytes = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(Shape::parse("vec<()>").unwrap().read(&bytes), Err(ValueError::TooLarge));
    assert_eq!(Shape::parse("[[[[();4000];4000];4000];4000]").unwrap().read(&[]), Err(ValueError::TooLarge));
    let huge = Shape::parse("[[[[[u64;4000000000];4000000000];4000000000];4000000000];4000000000]").unwrap();
    assert!(huge.read(&[]).is_err());
    // Sizes at the end of the numbers: 2^64 - 1.
    for table in ["hashmap", "btreemap"] {
        let shape = format!("{table}<[[[u8;4294967295];641];6700417],(u8@0)4294967295/2147483648>");
        assert!(Shape::parse(&shape).unwrap().read(&[1; 64]).is_err());
    }
    // One text, again and again: short to write, and long to read.
    let mut bytes = b"the same text for all of them".to_vec();
    let length = bytes.len() as u32;
    for index in 0..100_i32 {
        bytes.extend((-(length as i32) - 8 * index).to_le_bytes());
        bytes.extend(length.to_le_bytes());
    }
    assert_eq!(Shape::parse("[box<str>;100]").unwrap().read(&bytes), Err(ValueError::TooLarge));
}

/// Descriptions of every kind, some of which make sense.
fn any_description() -> impl Strategy<Value = String> {
    const SCALARS: [&str; 14] = [
        "()",
        "bool",
        "char",
        "u8",
        "u16",
        "u64",
        "i128",
        "f32",
        "f64",
        "nonzero u16",
        "string",
        "box<str>",
        "^0",
        "^1",
    ];
    let leaf = prop::sample::select(&SCALARS[..]).prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let number = prop_oneof![0_u32..20, Just(u32::MAX)];
        let align = prop::sample::select(&[1, 2, 4, 8, 16][..]);
        let offset = || prop_oneof![0_u32..24, Just(u32::MAX)];
        let part = (inner.clone(), inner, number, align, offset(), offset());
        (0..13, part).prop_map(|(which, (a, b, number, align, here, there))| match which {
            0 => format!("[{a};{number}]"),
            1 => format!("vec<{a}>"),
            2 => format!("box<{a}>"),
            3 => format!("box<[{a}]>"),
            4 => format!("option<{a}@{here}>{number}/{align}"),
            5 => format!("result<{a}@{here},{b}@{there}>{number}/{align}"),
            6 => format!("({a}@{here},{b}@{there}){number}/{align}"),
            7 => format!("hashmap<{a},{b}>"),
            8 => format!("btreemap<{a},{b}>"),
            9 => format!("hashset<{a}>"),
            10 => format!("btreeset<{a}>"),
            11 => format!("S{{x:{a}@{here},y:{b}@{there}}}{number}/{align}"),
            _ => format!("E[A=0{{x:{a}@{here}}}|B=1{{y:{b}@{there}}}|C=2]{number}/{align}"),
        })
    })
}

/// Small numbers, which lead somewhere, among others.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => 0_u8..4, 2 => any::<u8>(), 1 => Just(0xff), 1 => 0xf0_u8..0xff];
    prop::collection::vec(byte, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_under_any_description_are_a_value_or_an_error(description in any_description(), bytes in any_bytes()) {
        if let Ok(shape) = Shape::parse(&description) {
            drop(shape.read(&bytes));
        }
    }

    #[test]
    fn any_text_is_a_shape_or_an_error(text in "[a-z0-9(){}<>\\[\\];,:@^/|=\" ]{0,60}") {
        drop(Shape::parse(&text));
    }

    #[test]
    fn a_message_that_was_changed_anywhere_is_a_value_or_an_error(changes in prop::collection::vec((any::<u16>(), any::<u8>()), 1..8)) {
        let shape = Shape::parse(&TypeInfo::of::<All>().description).unwrap();
        let mut bytes = encoded(&all());
        let length = bytes.len();
        for (at, byte) in changes {
            // Near the end is what points elsewhere.
            bytes[length - 1 - usize::from(at) % length.min(1_000)] = byte;
        }
        drop(shape.read(&bytes));
    }
}
