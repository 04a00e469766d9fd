//! Subscribers that want some frames only, while the publisher writes on: it does so whenever they ask whether a frame is wanted,
//! which is when a look at a frame has begun and has not ended.

#![cfg(not(loom))]

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane_ring::extension::{Block, Fields, Malformed};
use memlane_ring::{Permissions, Publisher, ReadError, Start, Topic, TopicOptions, Wait};
use memlane_shm::MapOptions;
use scratch::{Scratch, scratch};
use std::time::{Duration, Instant};

struct Place {
    _root: Scratch,
    topic: Topic,
    publisher: Publisher,
}

const MAP: MapOptions = MapOptions { prefault: false, huge_pages: false, lock_memory: false };

impl Place {
    /// A ring of 64 frames.
    fn new() -> Self {
        let root = scratch();
        let options = TopicOptions { capacity: 4096, ..TopicOptions::default() };
        let topic = Topic::create(&root.path().join("t"), &options, &Permissions::default(), &MAP).unwrap();
        let publisher = topic.publisher(&MAP, Duration::ZERO).unwrap();
        Self { _root: root, topic, publisher }
    }
}

/// Publishes frames with this key.
fn publish(publisher: &mut Publisher, key: &str, count: usize) {
    let mut block = Block::default();
    block.key(key.as_bytes()).unwrap();
    for _ in 0..count {
        publisher.publish(block.finish(8), key.as_bytes()).unwrap();
    }
}

fn is(fields: &Fields<'_>, key: &str) -> Result<bool, Malformed> {
    Ok(fields.key()? == Some(key.as_bytes()))
}

#[test]
fn a_frame_that_is_overwritten_while_it_is_judged_is_lost_whatever_the_verdict() {
    let Place { topic, mut publisher, _root } = Place::new();
    for verdict in [Ok(true), Ok(false), Err(Malformed)] {
        let mut lossy = topic.lossy(&MAP, Start::Live).unwrap();
        publish(&mut publisher, "a", 2);
        let from = lossy.position();
        let found = lossy.poll_wanted(|_: &Fields<'_>| {
            publish(&mut publisher, "b", 200);
            verdict
        });
        let Err(ReadError::Lost { from: lost_from, to }) = found else { panic!("{found:?}, though {verdict:?}") };
        assert_eq!((lost_from, lossy.position()), (from, to));
        assert!(lossy.poll_wanted(|fields: &Fields<'_>| is(fields, "b")).unwrap().is_some());
    }
}

#[test]
fn a_latest_frame_that_is_overwritten_while_the_rest_is_looked_at_is_left_out() {
    let Place { topic, mut publisher, _root } = Place::new();
    let mut lossy = topic.lossy(&MAP, Start::Live).unwrap();
    publish(&mut publisher, "a", 1);
    publish(&mut publisher, "b", 1);
    let mut has_published = false;
    let found = lossy.poll_latest_wanted(|fields: &Fields<'_>| {
        if is(fields, "b")? && !has_published {
            publish(&mut publisher, "c", 200);
            has_published = true;
        }
        is(fields, "a")
    });
    assert_eq!(found, Ok(None));
    publish(&mut publisher, "a", 1);
    let found = lossy.poll_latest_wanted(|fields: &Fields<'_>| is(fields, "a")).unwrap().expect("it is there");
    assert!(lossy.body(&found).ends_with(b"a"));
}

#[test]
fn who_never_gets_to_the_end_of_the_log_still_keeps_the_deadline() {
    let Place { topic, mut publisher, _root } = Place::new();
    let mut gated = topic.gated(&MAP, Start::Live).unwrap();
    let (wait, timeout) = (Wait::BusySpin, Some(Duration::from_millis(5)));
    publish(&mut publisher, "b", 1);
    let start = Instant::now();
    // A frame more for each that is passed over. What ends a wait without a deadline is no end that is waited for here.
    let mut flood = |fields: &Fields<'_>| {
        publish(&mut publisher, "b", 1);
        Ok(is(fields, "a")? || start.elapsed() > Duration::from_secs(30))
    };
    assert!(gated.wait_wanted(&mut flood, wait, timeout).unwrap().is_none());
    // A poll, which has no deadline, is over when it has seen what was there.
    assert!(gated.poll_wanted(&mut flood).unwrap().is_none());
    assert_eq!(gated.poll_batch_wanted(10, &mut flood, |_| ()), Ok(0));
    drop(gated);
    // It begins at the newest frame, so that it stays one behind.
    let mut lossy = topic.lossy(&MAP, Start::Latest).unwrap();
    assert_eq!(lossy.wait_wanted(&mut flood, wait, timeout), Ok(None));
    assert_eq!(lossy.poll_wanted(&mut flood), Ok(None));
    assert_eq!(lossy.poll_latest_wanted(&mut flood), Ok(None));
    assert_eq!(lossy.wait_latest_wanted(&mut flood, wait, timeout), Ok(None));
}

#[test]
fn corrupt_bytes_behind_the_latest_are_told_after_it() {
    use std::os::unix::fs::FileExt;
    let Place { topic, mut publisher, _root } = Place::new();
    let mut lossy = topic.lossy(&MAP, Start::Live).unwrap();
    let mut gated = topic.gated(&MAP, Start::Live).unwrap();
    publish(&mut publisher, "a", 1);
    let log = memlane_shm::named::memory_path(&topic.path().join(memlane_ring::topic::LOG_FILE)).unwrap();
    let log = std::fs::OpenOptions::new().write(true).open(log).unwrap();
    let next_frame = topic.geometry().log_bytes() as u64 - topic.geometry().capacity + 64;
    log.write_all_at(&[0xff; 8], next_frame).unwrap();
    assert!(lossy.poll_latest_wanted(|_: &Fields<'_>| Ok(true)).unwrap().is_some());
    assert!(gated.poll_wanted(|_: &Fields<'_>| Ok(true)).unwrap().is_some());
    let corrupt = ReadError::Corrupt { position: 64 };
    assert_eq!(lossy.poll_latest_wanted(|_: &Fields<'_>| Ok(true)), Err(corrupt));
    assert_eq!(lossy.poll_wanted(|_: &Fields<'_>| Ok(true)), Err(corrupt));
    assert_eq!(gated.poll_wanted(|_: &Fields<'_>| Ok(true)).unwrap_err(), corrupt);
    assert_eq!(gated.poll_batch_wanted(5, |_: &Fields<'_>| Ok(true), |_| ()), Err(corrupt));
}
