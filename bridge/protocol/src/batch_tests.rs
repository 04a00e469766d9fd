//! Batches come out as they were packed, and nothing of one that isn't whole is handed out.

use super::*;
use memlane_ring::TopicOptions;
use memlane_ring::layout::Phase;
use proptest::collection::vec;
use proptest::prelude::*;

fn shape(stamps: bool) -> FrameShape {
    FrameShape::of(&TopicOptions { capacity: 4096, cell: 64, stamps, ..TopicOptions::default() }).unwrap()
}

/// A log of messages, from `position` on: bodies without their stamps, and whether they have extensions.
fn log(shape: &FrameShape, position: u64, bodies: &[(Vec<u8>, bool)]) -> (Vec<u8>, Vec<u64>) {
    let (mut bytes, mut positions) = (Vec::new(), Vec::new());
    let put = |bytes: &mut Vec<u8>, phase, flags, body: &[u8], length: u64| {
        let at = position + bytes.len() as u64;
        let begin = bytes.len();
        bytes.extend(StateWord::new(at / shape.capacity, phase, flags, 0, length).0.to_le_bytes());
        bytes.extend(body);
        bytes.resize(begin + (8 + length).next_multiple_of(shape.cell) as usize, 0xee);
        at
    };
    for (number, (body, has_extensions)) in bodies.iter().enumerate() {
        let stamp = if shape.stamps { (number as u64).to_le_bytes().to_vec() } else { Vec::new() };
        let body = [&stamp[..], body].concat();
        let at = position + bytes.len() as u64;
        let frame = (8 + body.len() as u64).next_multiple_of(shape.cell);
        if frame > shape.lap_end(at) - at {
            put(&mut bytes, Phase::Padding, 0, &[], shape.lap_end(at) - at - 8);
        }
        let flags = if *has_extensions { FLAG_EXTENSIONS } else { 0 };
        positions.push(put(&mut bytes, Phase::Committed, flags, &body, body.len() as u64));
    }
    (bytes, positions)
}

fn packed(shape: FrameShape, position: u64, log: &[u8]) -> (Batch, Vec<u8>) {
    let mut packer = Packer::new(shape);
    let end = packer.pack(position, log, |ticks| ticks + 1_000).unwrap();
    assert_eq!(end, position + log.len() as u64);
    let bytes = packer.bytes().to_vec();
    let length = bytes.len() as u32;
    let frames = packer.frames();
    (Batch { compression: 0, frames, position, end, raw_bytes: length, stored_bytes: length }, bytes)
}

#[test]
fn a_message_of_64_bytes_takes_72_or_with_its_time_80() {
    for (stamps, bytes) in [(false, 72), (true, 80)] {
        let shape = shape(stamps);
        let (log, _) = log(&shape, 0, &[(vec![7; 64], false)]);
        assert_eq!(log.len(), 128);
        assert_eq!(packed(shape, 0, &log).1.len(), bytes);
    }
}

#[test]
fn a_batch_ends_before_it_is_too_long_and_goes_on_there() {
    let options = TopicOptions { capacity: 64 << 20, cell: 64, payload_max: Some(8 << 20), ..TopicOptions::default() };
    let shape = FrameShape::of(&options).unwrap();
    // The second is longer than a batch may be, and is one by itself.
    let lengths = [3 << 20, 5 << 20, 100, 4 << 20];
    let bodies: Vec<_> = lengths.iter().map(|length| (vec![1; *length], false)).collect();
    let (log, positions) = log(&shape, 0, &bodies);
    let mut packer = Packer::new(shape);
    let mut at = 0;
    for next in [positions[1], positions[2], positions[3], log.len() as u64] {
        at = packer.pack(at, &log[at as usize..], |ticks| ticks).unwrap();
        assert_eq!(at, next);
        assert_eq!(packer.frames(), 1);
    }
}

#[test]
fn bytes_that_are_no_frames_are_not_packed() {
    let shape = shape(false);
    let (mut log, positions) = log(&shape, 64, &[(vec![1; 10], false), (vec![2; 10], false)]);
    log[positions[1] as usize - 64 + 7] ^= 0x80;
    let error = Packer::new(shape).pack(64, &log, |ticks| ticks).unwrap_err();
    assert_eq!(error.at as u64, positions[1] - 64);
}

#[test]
fn a_head_gives_back_what_it_was_made_of_and_what_cannot_be_is_refused() {
    let batch = Batch { compression: 1, frames: 2, position: 64, end: 640, raw_bytes: 6, stored_bytes: 5 };
    let gap = BatchHead::Gap { position: 1 << 40, end: 1 << 41 };
    for head in [BatchHead::Batch(batch), gap] {
        assert_eq!(BatchHead::decode(&head.encode(), &shape(false)), Ok(head));
    }
    let too_long = BATCH_BYTES_MAX as u32 + 1;
    for batch in
        [Batch { end: 64, ..batch }, Batch { raw_bytes: too_long, ..batch }, Batch { stored_bytes: too_long, ..batch }]
    {
        assert!(BatchHead::decode(&BatchHead::Batch(batch).encode(), &shape(false)).is_err(), "{batch:?}");
    }
    let mut bytes = gap.encode();
    bytes[0] = 9;
    assert!(BatchHead::decode(&bytes, &shape(false)).is_err());
    // One frame may be longer than a batch, where the topic has such.
    let long = FrameShape { body_max: 8 << 20, ..shape(false) };
    let batch = BatchHead::Batch(Batch { raw_bytes: 8 << 20, ..batch });
    assert_eq!(BatchHead::decode(&batch.encode(), &long), Ok(batch));
}

proptest! {
    #[test]
    fn what_was_packed_comes_out_as_it_was(
        stamps: bool,
        cell in 0..200_u64,
        bodies in vec((vec(any::<u8>(), 0..900), any::<bool>()), 1..60),
    ) {
        let (shape, position) = (shape(stamps), cell * 64);
        let (log, positions) = log(&shape, position, &bodies);
        let (batch, bytes) = packed(shape, position, &log);
        let mut all = Vec::new();
        batch.unpack(&shape, &bytes, |message| all.push(message)).unwrap();
        prop_assert_eq!(all.len(), bodies.len());
        for (number, message) in all.iter().enumerate() {
            let (body, has_extensions) = &bodies[number];
            let unix_ns = if stamps { 1_000 + number as u64 } else { 0 };
            let expected =
                Unpacked { position: positions[number], unix_ns, has_extensions: *has_extensions, content: body };
            prop_assert_eq!(*message, expected);
        }
    }

    #[test]
    fn any_bytes_are_unpacked_or_refused_and_then_nothing_is_handed_out(
        stamps: bool,
        frames in 0..4_u32,
        cells in 1..70_u64,
        mut bytes in vec(any::<u8>(), 0..400),
        lengths in vec(0..200_u32, 0..4),
    ) {
        // Some with lengths that may be.
        let mut at = 0;
        for length in lengths {
            if at + 8 > bytes.len() {
                break;
            }
            bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
            bytes[at + 4] &= 3;
            at += 8 + if bytes[at + 4] & 2 == 0 { length.next_multiple_of(8) as usize } else { 0 };
        }
        bytes.truncate(at.min(bytes.len()));
        let length = bytes.len() as u32;
        let batch =
            Batch { compression: 0, frames, position: 0, end: cells * 64, raw_bytes: length, stored_bytes: length };
        let mut all = Vec::new();
        let unpacked = batch.unpack(&shape(stamps), &bytes, |message| all.push(message));
        prop_assert!(unpacked.is_ok() || all.is_empty());
        prop_assert!(all.is_sorted_by(|one, next| one.position < next.position));
    }
}
