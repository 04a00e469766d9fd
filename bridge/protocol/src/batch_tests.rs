//! Batches come out as they were packed, and nothing of one that isn't whole is handed out.

use super::*;
use memlane_ring::TopicOptions;
use proptest::collection::vec;
use proptest::prelude::*;

fn shape(stamps: bool) -> FrameShape {
    FrameShape::of(&TopicOptions { capacity: 4096, cell: 64, stamps, ..TopicOptions::default() }).unwrap()
}

/// Messages as they lie in a log, from `position` on: each where the one before it ended, and so many cells further, or in the next lap if it doesn't fit in this one.
fn log<'a>(shape: &FrameShape, mut position: u64, contents: &'a [(Vec<u8>, bool, u64)]) -> (Vec<Message<'a>>, u64) {
    let mut messages = Vec::new();
    for (number, (content, has_extensions, skipped)) in contents.iter().enumerate() {
        position += skipped * shape.cell;
        let frame = frame_bytes(shape, content.len() as u64);
        if frame > shape.lap_end(position) - position {
            position = shape.lap_end(position);
        }
        let unix_ns = if shape.stamps { 1_700_000_000_000_000_000 + number as u64 * 700 } else { 0 };
        messages.push(Message { position, unix_ns, has_extensions: *has_extensions, content });
        position += frame;
    }
    (messages, position)
}

fn packed(shape: FrameShape, position: u64, messages: &[Message<'_>], end: u64) -> (Batch, Vec<u8>) {
    let mut packer = Packer::new(shape);
    packer.begin(position);
    assert!(messages.iter().all(|message| packer.push(message)));
    assert_eq!(packer.messages() as usize, messages.len());
    packer.finish(end)
}

#[test]
fn a_message_takes_its_own_bytes_and_its_time_two_more() {
    for (stamps, bytes_max) in [(false, 64_000 + 20), (true, 66_000 + 30)] {
        let shape = shape(stamps);
        let contents = vec![(vec![7; 64], false, 0); 1_000];
        let (messages, end) = log(&shape, 0, &contents);
        let (_, bytes) = packed(shape, 0, &messages, end);
        // Where a lap ends the run does, too.
        let laps = (end / shape.capacity) as usize * 8;
        assert!(bytes.len() <= bytes_max + laps, "{} bytes", bytes.len());
    }
}

#[test]
fn a_batch_takes_no_more_than_it_may_and_one_message_in_any_case() {
    let options = TopicOptions { capacity: 64 << 20, cell: 64, payload_max: Some(8 << 20), ..TopicOptions::default() };
    let shape = FrameShape::of(&options).unwrap();
    let contents: Vec<_> = [5 << 20, 3 << 20, 100, 1 << 20].iter().map(|length| (vec![1; *length], false, 0)).collect();
    let (messages, end) = log(&shape, 0, &contents);
    let mut packer = Packer::new(shape);
    packer.begin(0);
    assert!(packer.push(&messages[0]) && !packer.push(&messages[1]));
    let (batch, bytes) = packer.finish(messages[1].position);
    assert_eq!(batch.messages(&shape, &bytes).unwrap().count(), 1);
    assert_eq!(BatchHead::decode(&BatchHead::Batch(batch).encode(), &shape), Ok(BatchHead::Batch(batch)));
    assert!(packer.push(&messages[1]) && packer.push(&messages[2]) && !packer.push(&messages[3]));
    packer.finish(messages[3].position);
    assert!(packer.push(&messages[3]));
    assert_eq!(packer.finish(end).0.position, messages[3].position);
}

#[test]
fn many_empty_messages_are_several_batches() {
    let shape = shape(false);
    let mut packer = Packer::new(shape);
    packer.begin(0);
    let taken = (0..).take_while(|number| {
        packer.push(&Message { position: number * 64, unix_ns: 0, has_extensions: false, content: b"" })
    });
    assert_eq!(taken.count(), BATCH_MESSAGES_MAX as usize);
}

#[test]
fn a_head_gives_back_what_it_was_made_of_and_what_cannot_be_is_refused() {
    let batch = Batch { compression: 1, messages: 2, position: 64, end: 640, raw_bytes: 6, stored_bytes: 5 };
    let gap = BatchHead::Gap { position: 1 << 40, end: 1 << 41 };
    for head in [BatchHead::Batch(batch), gap] {
        assert_eq!(BatchHead::decode(&head.encode(), &shape(false)), Ok(head));
    }
    let too_long = BATCH_BYTES_MAX as u32 + 1;
    for batch in [
        Batch { end: 64, ..batch },
        Batch { raw_bytes: too_long, ..batch },
        Batch { stored_bytes: too_long, ..batch },
        Batch { stored_bytes: 7, ..batch },
        Batch { compression: 0, ..batch },
        Batch { messages: BATCH_MESSAGES_MAX + 1, ..batch },
    ] {
        assert!(BatchHead::decode(&BatchHead::Batch(batch).encode(), &shape(false)).is_err(), "{batch:?}");
    }
    let mut bytes = gap.encode();
    bytes[0] = 9;
    assert!(BatchHead::decode(&bytes, &shape(false)).is_err());
    // One message may be longer than a batch, where the topic has such.
    let long = FrameShape { body_max: 8 << 20, ..shape(false) };
    let batch = BatchHead::Batch(Batch { raw_bytes: 8 << 20, ..batch });
    assert_eq!(BatchHead::decode(&batch.encode(), &long), Ok(batch));
}

#[test]
fn numbers_that_lead_out_of_a_batch_are_refused() {
    let shape = shape(false);
    let end_of = |runs: &[u8], content: usize| {
        let mut bytes = vec![1; content];
        bytes.extend_from_slice(runs);
        bytes.extend_from_slice(&(runs.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes
    };
    let run = |count, length: u64, flags: u64| {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, count);
        put_varint(&mut bytes, (length << 2) | flags);
        bytes
    };
    for (what, runs, content, messages, end, fits) in [
        ("as it should be", run(3, 10, 0), 30, 3, 192, true),
        ("with padding", [run(3, 10, 0), run(2, 0, 2)].concat(), 30, 3, 320, true),
        ("a content too few", run(3, 10, 0), 29, 3, 192, false),
        ("a content too many", run(3, 10, 0), 31, 3, 192, false),
        ("another number of messages", run(3, 10, 0), 30, 4, 192, false),
        ("an end before the last", run(3, 10, 0), 30, 3, 128, false),
        ("an end behind the last", run(3, 10, 0), 30, 3, 256, false),
        ("padding that leads out", [run(3, 10, 0), run(3, 0, 2)].concat(), 30, 3, 320, false),
        ("padding with a length", [run(3, 10, 0), run(2, 1, 2)].concat(), 30, 3, 320, false),
        ("padding without end", [run(3, 10, 0), run(u64::MAX, 0, 2)].concat(), 30, 3, 320, false),
        ("no padding at all", [run(3, 10, 0), run(0, 0, 2)].concat(), 30, 3, 192, false),
        ("a run of nothing", [run(3, 10, 0), run(0, 10, 0)].concat(), 30, 3, 192, false),
        ("messages without end", run(u64::MAX, 0, 0), 0, 3, 192, false),
        ("a length without end", run(2, u64::MAX >> 2, 0), 30, 2, 192, false),
        ("across the lap's end", [run(62, 1, 0), run(1, 100, 0)].concat(), 162, 63, 64 * 64 + 64, false),
    ] {
        let bytes = end_of(&runs, content);
        let length = bytes.len() as u32;
        let batch = Batch { compression: 0, messages, position: 0, end, raw_bytes: length, stored_bytes: length };
        assert_eq!(batch.messages(&shape, &bytes).is_ok(), fits, "{what}");
    }
}

proptest! {
    #[test]
    fn what_was_packed_comes_out_as_it_was(
        stamps: bool,
        cell in 0..200_u64,
        contents in vec((vec(any::<u8>(), 0..900), any::<bool>(), 0..3_u64), 0..60),
        padding in 0..3_u64,
    ) {
        let (shape, position) = (shape(stamps), cell * 64);
        let (messages, end) = log(&shape, position, &contents);
        let end = end + padding * 64;
        let (batch, bytes) = packed(shape, position, &messages, end);
        if end > position {
            prop_assert_eq!(BatchHead::decode(&BatchHead::Batch(batch).encode(), &shape), Ok(BatchHead::Batch(batch)));
        }
        let all: Vec<_> = batch.messages(&shape, &bytes).unwrap().collect();
        prop_assert_eq!(all, messages);
    }

    #[test]
    fn a_changed_byte_is_refused_or_changes_messages_and_no_place(
        stamps: bool,
        contents in vec((vec(any::<u8>(), 0..40), any::<bool>(), 0..3_u64), 1..20),
        at: prop::sample::Index,
        bits in 1..=255_u8,
    ) {
        let shape = shape(stamps);
        let (messages, end) = log(&shape, 0, &contents);
        let (batch, mut bytes) = packed(shape, 0, &messages, end);
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        if let Ok(found) = batch.messages(&shape, &bytes) {
            let found: Vec<_> = found.collect();
            prop_assert_eq!(found.len(), messages.len());
            prop_assert!(found.iter().all(|message| message.position < batch.end));
            prop_assert!(found.is_sorted_by(|one, next| one.position < next.position));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(stamps: bool, messages in 0..9_u32, cells in 1..70_u64, mut bytes in vec(any::<u8>(), 0..100), runs in 0..60_u32) {
        bytes.extend_from_slice(&runs.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let length = bytes.len() as u32;
        let batch =
            Batch { compression: 0, messages, position: 0, end: cells * 64, raw_bytes: length, stored_bytes: length };
        if let Ok(found) = batch.messages(&shape(stamps), &bytes) {
            prop_assert_eq!(found.count() as u32, messages);
        }
    }
}
