//! Very many topics, subscribers and descriptors: what they take, and what is said where they are too many.

use crate::stage;
use memlane_shm::named::memory_path;
use memlane_tests::role::Role;
use memlane_tests::roles::scale::descriptors_each;
use memlane_tests::stage::Actor;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;

#[test]
fn ten_thousand_topics_are_made_listed_watched_read_and_removed() {
    const TOPICS: usize = 10_000;
    let stage = stage();
    let (_, files_max) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let room = statvfs(stage.root()).unwrap();
    let room = room.blocks_available() * room.fragment_size();
    // Each takes a descriptor or two, and 20 KiB. Fewer where that isn't to be had, and that is said.
    let topics =
        TOPICS.min((files_max as usize - 200) / descriptors_each().unwrap()).min(room as usize / 2 / (20 << 10));
    println!("{topics} topics; descriptors up to {files_max}, {} MiB of room", room >> 20);
    let bytes = stage.start(&Role::ManyTopics { root: stage.root().to_owned(), count: topics }).answer().unwrap();
    assert_eq!(bytes, 20 << 10, "of shared memory for each");
    assert_eq!((stage.bus().topics().unwrap(), stage.leftovers()), (vec![], vec![]));
}

#[test]
fn a_thousand_subscribers_of_four_processes_read_every_message_of_one_topic_and_one_more_is_refused() {
    const SUBSCRIBERS: usize = 1_000;
    const MESSAGES: usize = 100;
    let stage = stage();
    let (topic, place) = stage.topic("t", |topic| topic.capacity_bytes(65536).subscribers_max(SUBSCRIBERS as u32));
    assert_eq!(
        memory_path(&topic.directory().join("subs")).unwrap().metadata().unwrap().len(),
        (SUBSCRIBERS as u64 * 512 + 5120).next_multiple_of(4096)
    );
    let crowd = || Role::ManySubscribers { place: place.clone(), count: SUBSCRIBERS / 4, messages: MESSAGES };
    let mut crowds: Vec<Actor> = (0..4).map(|_| stage.start(&crowd())).collect();
    for crowd in &crowds {
        crowd.await_ready();
    }
    let refused = topic.subscriber::<[u8]>().open().map(drop).unwrap_err().to_string();
    assert!(refused.contains("all 1000 subscriber slots are taken"), "{refused}");
    assert_eq!(topic.snapshot().unwrap().subscribers.len(), SUBSCRIBERS);
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    for number in 0..MESSAGES as u64 {
        publisher.publish(&number.to_le_bytes()).unwrap();
    }
    crowds.iter_mut().for_each(Actor::go);
    let read: u64 = crowds.iter().map(|crowd| crowd.answer().unwrap()).sum();
    assert_eq!(read, (SUBSCRIBERS * MESSAGES) as u64);
    crowds.iter_mut().for_each(Actor::await_success);
    assert!(topic.snapshot().unwrap().subscribers.is_empty());
}

#[test]
fn whoever_runs_out_of_descriptors_is_told_what_to_do() {
    let stage = stage();
    for index in 0..64 {
        let _ = stage.topic(&format!("t.{index}"), |topic| topic.capacity_bytes(4096).subscribers_max(1));
    }
    let role = Role::RunOutOfFiles { root: stage.root().to_owned(), limit: 40 };
    let error = stage.start(&role).answer().unwrap_err();
    assert!(error.contains("ulimit -n") && error.contains("t."), "{error}");
    assert!(stage.bus().snapshot(&">".parse().unwrap()).unwrap().values().all(|topic| topic.is_ok()));
}
