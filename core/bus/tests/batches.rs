//! Batches through the public interface.

#![forbid(unsafe_code)]

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane::{Bus, Publishers};
use scratch::scratch;

#[test]
fn a_batch_that_meets_the_end_of_a_lap_is_published_whole() {
    let root = scratch();
    let bus = Bus::builder("batches").root(root.path()).open().unwrap();
    for (name, publishers) in [("one", Publishers::One), ("many", Publishers::Many(2))] {
        // 64 messages a lap, and nothing that holds the publisher back.
        let topic = bus.topic(name).unwrap().capacity_bytes(4096).publishers(publishers).create().unwrap();
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        for batch in 0..100 {
            assert_eq!(publisher.publish_batch(&[&b"x"[..]; 40]).unwrap(), 40, "batch {batch}, topic {name}");
        }
    }
}
