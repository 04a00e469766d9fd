//! Blocks as they are written and read, also by those who lie.

use super::*;
use crate::header::TopicOptions;
use crate::layout::Phase;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

fn geometry() -> Geometry {
    TopicOptions { stamps: true, payload_align: 16, ..TopicOptions::default() }.geometry().unwrap()
}

fn word(flags: u64, body: &[u8]) -> StateWord {
    StateWord::new(0, Phase::Committed, flags, 0, body.len() as u64)
}

#[test]
fn headers_come_back_and_unknown_tags_are_skipped() {
    let geometry = geometry();
    let mut block = Block::default();
    block.user_header("trace", b"abc").unwrap();
    block.field(999, &[b"from the future"]).unwrap();
    block.user_header("empty", b"").unwrap();
    let mut body = 77_u64.to_le_bytes().to_vec();
    body.extend_from_slice(block.finish(geometry.payload_align));
    let payload_at = body.len() + 8;
    assert_eq!(payload_at % 16, 0, "the payload stays aligned");
    body.extend_from_slice(b"payload");
    let parts = Parts::of(&geometry, word(FLAG_EXTENSIONS, &body), &body).unwrap();
    assert_eq!((parts.stamp, parts.payload), (Some(77), &b"payload"[..]));
    let headers: Vec<_> = parts.fields.filter_map(|field| field.unwrap().user_header()).collect();
    assert_eq!(headers, [("trace", &b"abc"[..]), ("empty", &b""[..])]);
}

#[test]
fn a_frame_without_the_flag_has_a_payload_only() {
    let geometry = geometry();
    let body = [0; 20];
    let parts = Parts::of(&geometry, word(0, &body), &body).unwrap();
    assert_eq!((parts.fields.count(), parts.payload.len()), (0, 12));
}

#[test]
fn lying_lengths_are_malformed_and_never_a_panic() {
    let geometry = geometry();
    let mut block = Block::default();
    block.user_header("key", b"value").unwrap();
    let mut body = 0_u64.to_le_bytes().to_vec();
    body.extend_from_slice(block.finish(16));
    for index in 8..body.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut lying = body.clone();
            lying[index] = value;
            if let Ok(parts) = Parts::of(&geometry, word(FLAG_EXTENSIONS, &lying), &lying) {
                assert!(parts.fields.count() <= 8);
            }
        }
    }
    for cut in 0..body.len() {
        let _ = Parts::of(&geometry, word(FLAG_EXTENSIONS, &body), &body[..cut]).map(|parts| parts.fields.count());
    }
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_the_block_as_it_was() {
    let mut block = Block::default();
    block.user_header("a", b"1").unwrap();
    let before = block.clone().finish(8).to_vec();
    assert_eq!(block.user_header("", b"").unwrap_err(), ExtensionError::Key);
    assert_eq!(block.user_header(&"k".repeat(256), b"").unwrap_err(), ExtensionError::Key);
    assert_eq!(block.user_header("b", &[0; 70_000]).unwrap_err(), ExtensionError::TooLong);
    assert_eq!(block.finish(8), before);
}

fn context() -> TraceContext {
    TraceContext { trace_id: [7; 16], parent_id: [9; 8], flags: TraceContext::FLAG_SAMPLED }
}

/// A block with every known field.
fn whole_block() -> Block {
    let mut block = Block::default();
    block.user_header("venue", b"xnas").unwrap();
    block.key(b"key\0").unwrap();
    block.correlation_id(u128::MAX - 1).unwrap();
    block.reply_topic("orders.replies").unwrap();
    block.trace_context(context()).unwrap();
    block.trace_state("a=b,c=d").unwrap();
    block.content_type("application/json").unwrap();
    block.schema_id(1 << 40).unwrap();
    block.source(Source { name: "desk-1", sequence: 99 }).unwrap();
    block
}

/// The fields of a finished block.
fn fields(block: &[u8]) -> Fields<'_> {
    Fields { rest: block.get(BLOCK_HEADER_BYTES..).unwrap_or_default() }
}

/// The fields of a block that holds one field with this value.
fn with_field<T>(tag: u16, value: &[u8], look: impl FnOnce(Fields<'_>) -> T) -> T {
    let mut block = Block::default();
    block.field(tag, &[value]).unwrap();
    look(fields(block.finish(8)))
}

/// Asks for everything; what is asked of hostile bytes must end, without a panic.
fn ask_for_everything(fields: &Fields<'_>) {
    let _ = (fields.key(), fields.correlation_id(), fields.reply_topic(), fields.trace_context());
    let _ = (fields.trace_state(), fields.content_type(), fields.schema_id(), fields.source());
    fields.clone().for_each(|field| {
        let _ = field.map(Field::user_header);
    });
}

#[test]
fn every_field_comes_back() {
    let mut block = whole_block();
    let fields = fields(block.finish(8));
    assert_eq!(fields.key(), Ok(Some(&b"key\0"[..])));
    assert_eq!(fields.correlation_id(), Ok(Some(u128::MAX - 1)));
    assert_eq!(fields.reply_topic(), Ok(Some("orders.replies")));
    assert_eq!(fields.trace_context(), Ok(Some(context())));
    assert_eq!(fields.trace_state(), Ok(Some("a=b,c=d")));
    assert_eq!(fields.content_type(), Ok(Some("application/json")));
    assert_eq!(fields.schema_id(), Ok(Some(1 << 40)));
    assert_eq!(fields.source(), Ok(Some(Source { name: "desk-1", sequence: 99 })));
}

#[test]
fn the_bytes_of_the_numbers_are_what_the_table_says() {
    let mut block = Block::default();
    block.correlation_id(0x0102).unwrap();
    block.schema_id(0x0304).unwrap();
    let expected = [
        &[40, 0, 0, 0][..],
        &[3, 0, 16, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[8, 0, 8, 0, 4, 3, 0, 0, 0, 0, 0, 0],
        &[0; 4],
    ];
    assert_eq!(block.finish(8), expected.concat());
}

#[test]
fn without_a_field_there_is_none() {
    let fields = Fields::default();
    assert_eq!((fields.key(), fields.correlation_id(), fields.reply_topic()), (Ok(None), Ok(None), Ok(None)));
    assert_eq!((fields.trace_context(), fields.trace_state()), (Ok(None), Ok(None)));
    assert_eq!((fields.content_type(), fields.schema_id(), fields.source()), (Ok(None), Ok(None), Ok(None)));
}

#[test]
fn a_value_that_is_none_of_its_field_is_malformed_to_whoever_asks_for_it_alone() {
    for bytes in [0, 7, 15, 17, 25, 300] {
        let value = vec![1; bytes];
        assert_eq!(with_field(TAG_CORRELATION_ID, &value, |fields| fields.correlation_id()), Err(Malformed));
        assert_eq!(with_field(TAG_SCHEMA_ID, &value, |fields| fields.schema_id()), Err(Malformed));
        // Version 1 may be longer.
        let context = with_field(TAG_TRACE_CONTEXT, &value, |fields| fields.trace_context());
        assert_eq!(context.is_err(), bytes < 26, "{bytes} bytes");
        assert_eq!(with_field(TAG_SCHEMA_ID, &value, |fields| fields.correlation_id()), Ok(None));
    }
    assert_eq!(with_field(TAG_TRACE_CONTEXT, &[0; 26], |fields| fields.trace_context()), Err(Malformed));
    let no_text = b"\xff\xfe";
    assert_eq!(with_field(TAG_REPLY_TOPIC, no_text, |fields| fields.reply_topic().map(|_| ())), Err(Malformed));
    assert_eq!(with_field(TAG_TRACE_STATE, no_text, |fields| fields.trace_state().map(|_| ())), Err(Malformed));
    assert_eq!(with_field(TAG_CONTENT_TYPE, no_text, |fields| fields.content_type().map(|_| ())), Err(Malformed));
    assert_eq!(with_field(TAG_KEY, no_text, |fields| fields.key().map(|key| key.map(<[u8]>::len))), Ok(Some(2)));
}

#[test]
fn a_source_is_a_name_and_a_sequence_or_nothing() {
    let source = |fields: Fields<'_>| fields.source().map(|source| source.map(|source| source.sequence));
    assert_eq!(with_field(TAG_SOURCE, b"desk", source), Err(Malformed));
    assert_eq!(with_field(TAG_SOURCE_SEQUENCE, &[0; 8], source), Err(Malformed));
    for (name, sequence) in [(&b"desk"[..], &[0; 7][..]), (b"\xff", &[0; 8])] {
        let mut block = Block::default();
        block.field(TAG_SOURCE_SEQUENCE, &[sequence]).unwrap();
        block.field(TAG_SOURCE, &[name]).unwrap();
        assert_eq!(source(fields(block.finish(8))), Err(Malformed));
    }
}

#[test]
fn a_field_is_given_once_and_of_several_the_first_counts() {
    let mut block = whole_block();
    let before = block.clone().finish(8).to_vec();
    assert_eq!(block.key(b"other"), Err(ExtensionError::Twice));
    assert_eq!(block.schema_id(1), Err(ExtensionError::Twice));
    assert_eq!(block.source(Source { name: "other", sequence: 1 }), Err(ExtensionError::Twice));
    assert_eq!(block.finish(8), before);
    block.clear();
    block.key(b"again").unwrap();
    block.field(TAG_KEY, &[b"by hand"]).unwrap();
    assert_eq!(fields(block.finish(8)).key(), Ok(Some(&b"again"[..])));
}

#[test]
fn a_source_that_does_not_fit_leaves_nothing_behind() {
    let source = Source { name: "desk", sequence: 1 };
    // Room for the name, and then for 3 bytes too few.
    for room in [8, 8 + 12 - 1] {
        let mut block = Block::default();
        block.key(&vec![0; BLOCK_BYTES_MAX - 64 - BLOCK_HEADER_BYTES - FIELD_HEADER_BYTES - room]).unwrap();
        let before = block.clone();
        assert_eq!(block.source(source), Err(ExtensionError::TooLong));
        assert_eq!((block.bytes.len(), block.given), (before.bytes.len(), before.given));
    }
    let mut block = Block::default();
    block.key(&vec![0; BLOCK_BYTES_MAX - 64 - BLOCK_HEADER_BYTES - FIELD_HEADER_BYTES - 20]).unwrap();
    block.source(source).unwrap();
    let block = block.finish(64);
    assert!(block.len() <= BLOCK_BYTES_MAX, "{} bytes", block.len());
    assert_eq!(fields(block).source(), Ok(Some(source)));
}

#[test]
fn a_trace_context_without_ids_is_refused() {
    let mut block = Block::default();
    for invalid in [TraceContext { trace_id: [0; 16], ..context() }, TraceContext { parent_id: [0; 8], ..context() }] {
        assert_eq!(block.trace_context(invalid), Err(ExtensionError::TraceContext));
    }
    assert_eq!(block.finish(8), b"");
}

#[test]
fn a_lying_length_is_malformed_to_whoever_looks_behind_it() {
    let mut block = Block::default();
    block.key(b"key").unwrap();
    block.field(999, &[b"unknown"]).unwrap();
    block.schema_id(1).unwrap();
    let mut bytes = block.finish(8).to_vec();
    // The length of the unknown field.
    let at = BLOCK_HEADER_BYTES + FIELD_HEADER_BYTES + 3 + 2;
    assert_eq!(bytes[at..at + 2], [7, 0]);
    bytes[at + 1] = 0xff;
    assert_eq!(fields(&bytes).key(), Ok(Some(&b"key"[..])));
    assert_eq!((fields(&bytes).schema_id(), fields(&bytes).source()), (Err(Malformed), Err(Malformed)));
}

proptest! {
    #[test]
    fn whatever_bytes_a_frame_has_nobody_panics(
        mut body in vec(any::<u8>(), 0..400),
        stamps in any::<bool>(),
        block_bytes in proptest::option::of(0..50_u32),
    ) {
        let geometry = TopicOptions { stamps, ..TopicOptions::default() }.geometry().unwrap();
        let block_at = (geometry.payload_at - FRAME_HEADER_BYTES) as usize;
        // Mostly a length that can be, so that the fields are reached.
        if let Some((words, length)) = block_bytes.zip(body.get_mut(block_at..block_at + 4)) {
            length.copy_from_slice(&(words * 8).to_le_bytes());
        }
        if let Ok(parts) = Parts::of(&geometry, word(FLAG_EXTENSIONS, &body), &body) {
            ask_for_everything(&parts.fields);
        }
    }

    #[test]
    fn a_good_block_with_a_few_bytes_changed_or_cut_off_never_makes_anybody_panic(
        changes in vec((any::<Index>(), any::<u8>()), 0..4),
        cut in any::<Index>(),
    ) {
        let mut block = whole_block();
        let mut bytes = block.finish(8).to_vec();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let geometry = TopicOptions::default().geometry().unwrap();
        for body in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(parts) = Parts::of(&geometry, word(FLAG_EXTENSIONS, body), body) {
                ask_for_everything(&parts.fields);
            }
            ask_for_everything(&fields(body));
        }
    }
}
