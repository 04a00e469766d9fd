//! A topic with real files, within one process.

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane_ring::{Permissions, Publishers, ReadError, Start, Topic, TopicOptions};
use memlane_shm::MapOptions;
use scratch::scratch;
use std::time::Duration;

fn topic(directory: &std::path::Path, options: &TopicOptions) -> Topic {
    Topic::create(&directory.join("topic"), options, &Permissions::default(), &MapOptions::default()).unwrap()
}

fn go(publishers: Publishers) {
    let directory = scratch();
    let options = TopicOptions { capacity: 4096, publishers, ..TopicOptions::default() };
    let topic = topic(directory.path(), &options);
    let map = MapOptions::default();
    let mut publisher = topic.publisher(&map, Duration::ZERO).unwrap();
    let mut gated = topic.gated(&map, Start::Live).unwrap();
    let mut lossy = topic.lossy(&map, Start::Live).unwrap();
    let mut lost = 0;
    for round in 0..10_000_u64 {
        let payload = vec![round as u8; (round % 700) as usize];
        publisher.publish(&[], &payload).unwrap();
        let frame = gated.poll().unwrap().expect("it was published");
        assert_eq!(frame.body(), payload);
        drop(frame);
        assert!(gated.poll().unwrap().is_none());
        if round % 100 < 50 {
            loop {
                match lossy.poll() {
                    Ok(Some(copied)) => {
                        let body = lossy.body(&copied);
                        assert!(body.iter().all(|byte| *byte == body[0]));
                    }
                    Ok(None) => break,
                    Err(ReadError::Lost { from, to }) => {
                        assert!(from < to);
                        lost += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    assert!(lost > 50);
    // Full, and then not.
    let mut count = 0;
    while publisher.publish(&[], &[1; 40]).is_ok() {
        count += 1;
    }
    assert!((40..=64).contains(&count), "{count}");
    let n = gated.poll_batch(1000, |_, _, body| assert_eq!(body, [1; 40])).unwrap();
    assert_eq!(n, count);
    publisher.publish(&[], &[2; 40]).unwrap();
}

#[test]
fn one() {
    go(Publishers::One);
}

#[test]
fn many() {
    go(Publishers::Many(4));
}
