//! What a bridge may be sent: control messages and batches of any bytes.

use memlane_bridge_protocol::layout::BATCH_HEAD_BYTES;
use memlane_bridge_protocol::{Batch, BatchHead, Control, FrameShape};
use memlane_ring::TopicOptions;

/// Takes `bytes` as a control stream.
///
/// # Panics
/// If what comes of it can't be: that is what is looked for, here as below.
pub(crate) fn control(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((message, length))) = Control::decode(rest) {
        if let Some(message) = message {
            let again = message.encode();
            assert_eq!(Control::decode(&again), Ok(Some((Some(message), again.len()))));
        }
        rest = &rest[length..];
    }
}

/// Takes `bytes` as how a topic's frames look, a byte, and as what comes on the stream of a flow of it.
pub(crate) fn batch(bytes: &[u8]) {
    let Some((look, mut rest)) = bytes.split_first() else { return };
    let cell = if look & 2 == 0 { 32 } else { 64 };
    let options = TopicOptions { capacity: 4096, cell, stamps: look & 1 != 0, ..TopicOptions::default() };
    let Some(shape) = FrameShape::of(&options) else { return };
    while let Some((head, behind)) = rest.split_first_chunk::<BATCH_HEAD_BYTES>() {
        let Ok(head) = BatchHead::decode(head, &shape) else { return };
        assert_eq!(BatchHead::decode(&head.encode(), &shape), Ok(head));
        let BatchHead::Batch(batch @ Batch { stored_bytes, .. }) = head else {
            rest = behind;
            continue;
        };
        let Some((packed, next)) = behind.split_at_checked(stored_bytes as usize) else { return };
        let mut messages = 0;
        let unpacked = batch.unpack(&shape, packed, |message| {
            assert!((batch.position..batch.end).contains(&message.position));
            messages += 1;
        });
        assert!(messages <= batch.frames && (unpacked.is_ok() || messages == 0));
        rest = next;
    }
}
