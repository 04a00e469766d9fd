//! The log's bytes as they lie there: runs of whole frames.

#![cfg(not(loom))]

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane_ring::layout::{Phase, StateWord};
use memlane_ring::{Gated, Permissions, Publisher, Publishers, ReadError, Start, Topic, TopicOptions};
use memlane_shm::MapOptions;
use scratch::{Scratch, scratch};
use std::time::Duration;

const MAP: MapOptions = MapOptions { prefault: false, huge_pages: false, lock_memory: false };
const CAPACITY: u64 = 4096;

struct Place {
    _root: Scratch,
    topic: Topic,
    publisher: Publisher,
    subscriber: Gated,
}

fn place(publishers: Publishers) -> Place {
    let root = scratch();
    let options = TopicOptions { capacity: CAPACITY, publishers, ..TopicOptions::default() };
    let topic = Topic::create(&root.path().join("t"), &options, &Permissions::default(), &MAP).unwrap();
    let publisher = topic.publisher(&MAP, Duration::ZERO).unwrap();
    let subscriber = topic.gated(&MAP, Start::Earliest).unwrap();
    Place { _root: root, topic, publisher, subscriber }
}

/// The frames in `bytes`, which lie in the log from `position` on: the state word, and what comes after it.
fn frames(topic: &Topic, position: u64, bytes: &[u8]) -> Vec<(u64, StateWord, Vec<u8>)> {
    let (mut at, mut found) = (0, Vec::new());
    while at < bytes.len() {
        let word = StateWord(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()));
        let body = bytes[at + 8..at + 8 + word.length() as usize].to_vec();
        found.push((position + at as u64, word, body));
        at += topic.geometry().frame_bytes(word.length()) as usize;
    }
    assert_eq!(at, bytes.len(), "whole frames");
    found
}

#[test]
fn runs_one_after_the_other_are_the_whole_log() {
    for publishers in [Publishers::One, Publishers::Many(3)] {
        let Place { topic, mut publisher, mut subscriber, _root } = place(publishers);
        let (mut published, mut carried, mut handed) = (Vec::new(), Vec::new(), Vec::new());
        let mut next = 0;
        for round in 0..200_u64 {
            for _ in 0..round % 7 {
                let payload = vec![round as u8; (round * 37 % 300) as usize];
                published.push((publisher.publish(&[], &payload).unwrap(), payload));
            }
            while let Some(run) =
                subscriber.poll_run(512, |position, _, body| handed.push((position, body.to_vec()))).unwrap()
            {
                assert_eq!(run.position(), next);
                next = run.end();
                assert!(run.bytes().len() as u64 == run.end() - run.position());
                assert_eq!((run.position()) / CAPACITY, (run.end() - 1) / CAPACITY, "of one lap");
                let all = frames(&topic, run.position(), run.bytes());
                assert!(run.bytes().len() <= 512 || all.len() == 1, "no longer than asked, but for one frame");
                let messages = all.into_iter().filter(|(_, word, _)| word.phase() == Phase::Committed);
                let before = carried.len();
                carried.extend(messages.map(|(position, _, body)| (position, body)));
                assert_eq!(run.messages(), (carried.len() - before) as u64);
                run.release();
            }
        }
        assert!(published.len() > 500 && next > 10 * CAPACITY, "many laps");
        assert_eq!(carried, published);
        assert_eq!(handed, published);
    }
}

#[test]
fn a_run_that_is_dropped_comes_again_and_holds_publishers_back_meanwhile() {
    let Place { mut publisher, mut subscriber, .. } = place(Publishers::One);
    while publisher.publish(&[], &[7; 56]).is_ok() {}
    let all = subscriber.poll_run(u64::MAX, |_, _, _| ()).unwrap().unwrap().bytes().to_vec();
    assert!(publisher.publish(&[], b"x").is_err(), "dropped, not released");
    let run = subscriber.poll_run(u64::MAX, |_, _, _| ()).unwrap().unwrap();
    assert_eq!(run.bytes(), all);
    run.release();
    publisher.publish(&[], b"x").unwrap();
}

#[test]
fn a_claim_that_its_owner_aborts_is_carried_as_padding() {
    let Place { topic, mut publisher, mut subscriber, _root } = place(Publishers::Many(2));
    publisher.publish(&[], b"before").unwrap();
    drop(publisher.claim(&[], 1000).unwrap());
    publisher.publish(&[], b"after").unwrap();
    let run = subscriber.poll_run(u64::MAX, |_, _, _| ()).unwrap().unwrap();
    assert_eq!(run.messages(), 2);
    let phases: Vec<Phase> = frames(&topic, 0, run.bytes()).iter().map(|(_, word, _)| word.phase()).collect();
    assert_eq!(phases, [Phase::Committed, Phase::Padding, Phase::Committed]);
}

#[test]
fn after_the_last_run_of_a_removed_topic_its_removal_is_told() {
    let Place { topic, mut publisher, mut subscriber, _root } = place(Publishers::One);
    publisher.publish(&[], b"last").unwrap();
    Topic::remove(topic.path()).unwrap();
    subscriber.poll_run(u64::MAX, |_, _, _| ()).unwrap().unwrap().release();
    let told = (0..10_000).find_map(|_| subscriber.poll_run(u64::MAX, |_, _, _| ()).map(|run| run.map(|_| ())).err());
    assert_eq!(told, Some(ReadError::Removed));
}
