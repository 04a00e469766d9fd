//! Claims that are written in place and then given up, or used in part, leave no trace.

#![cfg(not(loom))]

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane_ring::{Permissions, Publishers, Start, Topic, TopicOptions};
use memlane_shm::MapOptions;
use scratch::scratch;
use std::time::Duration;

#[test]
fn what_was_written_into_a_claim_that_is_given_up_or_used_in_part_is_never_seen() {
    let directory = scratch();
    let map = MapOptions::default();
    for publishers in [Publishers::One, Publishers::Many(2)] {
        let options = TopicOptions { capacity: 1 << 16, publishers, ..TopicOptions::default() };
        let path = directory.path().join(format!("{publishers:?}"));
        let topic = Topic::create(&path, &options, &Permissions::default(), &map).unwrap();
        let mut publisher = topic.publisher(&map, Duration::ZERO).unwrap();
        let mut gated = topic.gated(&map, Start::Live).unwrap();
        for round in 0..200 {
            let length = [2000, 1040, 3000, 2500][round / 2 % 4];
            // A frame as long as one before it ends where a header may have been stamped ahead of time.
            publisher.publish(&[], &vec![1; length]).unwrap();
            let mut claim = publisher.claim(&[], 3000).unwrap();
            claim.payload().fill(0xee);
            claim.payload()[..length].fill(2);
            if round % 2 == 0 {
                claim.commit(length).unwrap();
            } else {
                drop(claim);
                publisher.publish(&[], &vec![2; length]).unwrap();
            }
            for expected in [1, 2] {
                let frame = gated.poll().unwrap().expect("it was published");
                assert!(frame.body().len() == length && frame.body().iter().all(|byte| *byte == expected));
            }
            assert!(gated.poll().unwrap().is_none());
        }
    }
}
