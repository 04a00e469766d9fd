//! What a fork, an exec and an unburied death do to a publisher and its subscribers: the child has neither its parent's place
//! in the log nor its locks.

#![cfg(not(loom))]

#[path = "../../../tests/shared/scratch.rs"]
mod scratch;

use memlane_ring::{ClaimError, Permissions, Publisher, Publishers, ReadError, Start, Topic, TopicError, TopicOptions};
use memlane_shm::MapOptions;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pause};
use scratch::{Scratch, scratch};
use std::time::Duration;

const BOTH: [Publishers; 2] = [Publishers::One, Publishers::Many(2)];

fn topic(directory: &Scratch, publishers: Publishers) -> Topic {
    let options = TopicOptions { capacity: 16384, publishers, subscribers_max: 4, ..TopicOptions::default() };
    let path = directory.path().join(format!("{publishers:?}"));
    Topic::create(&path, &options, &Permissions::default(), &MapOptions::default()).unwrap()
}

fn publisher(topic: &Topic) -> Publisher {
    topic.publisher(&MapOptions::default(), Duration::ZERO).unwrap()
}

/// Starts a child that runs `child` and ends; its exit code says whether that came to its end without a panic.
fn start(child: impl FnOnce()) -> Pid {
    // SAFETY:
    // - The child runs on one thread, allocates (which glibc makes safe after a fork), and ends without unwinding into the test.
    // - It shares no lock with another thread of the parent but those of the library under test.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends the process; nothing of it is used afterwards.
            unsafe { libc::_exit(i32::from(outcome.is_err())) }
        }
    }
}

fn assert_ends_well(child: Pid) {
    assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
}

fn sleep_for_ever() {
    loop {
        pause();
    }
}

#[test]
fn a_forked_child_gets_errors_and_its_parent_notices_nothing() {
    let directory = scratch();
    for publishers in BOTH {
        let topic = topic(&directory, publishers);
        let mut publisher = publisher(&topic);
        let mut gated = topic.gated(&MapOptions::default(), Start::Live).unwrap();
        let mut lossy = topic.lossy(&MapOptions::default(), Start::Live).unwrap();
        publisher.publish(&[], b"before").unwrap();
        let before = topic.snapshot().unwrap();
        let (in_child, gated_in_child, lossy_in_child) = (&mut publisher, &mut gated, &mut lossy);
        assert_ends_well(start(move || {
            assert_eq!(in_child.publish(&[], b"child").unwrap_err(), ClaimError::Forked);
            assert_eq!(in_child.publish_batch(&[b"child", b"child"]).unwrap_err(), ClaimError::Forked);
            assert_eq!(in_child.claim(&[], 2000).and_then(|claim| claim.commit(2000)).unwrap_err(), ClaimError::Forked);
            in_child.sweep();
            // A poll that finds nothing looks around now and then.
            let gated_error = (0..5000).find_map(|_| gated_in_child.poll().map(drop).err());
            assert_eq!(gated_error, Some(ReadError::Forked));
            let lossy_error = (0..5000).find_map(|_| lossy_in_child.poll().err());
            assert_eq!(lossy_error, Some(ReadError::Forked));
            let latest_error = (0..5000).find_map(|_| lossy_in_child.poll_latest().err());
            assert_eq!(latest_error, Some(ReadError::Forked));
        }));
        assert_eq!(topic.snapshot().unwrap(), before);
        publisher.publish(&[], b"after").unwrap();
        for expected in [&b"before"[..], b"after"] {
            assert_eq!(gated.poll().unwrap().expect("it was published").body(), expected);
            let copied = lossy.poll().unwrap().expect("it was published");
            assert_eq!(lossy.body(&copied), expected);
        }
        assert!(gated.poll().unwrap().is_none());
    }
}

#[test]
fn a_child_that_drops_what_it_inherited_lets_go_of_nothing() {
    let directory = scratch();
    for publishers in BOTH {
        let topic = topic(&directory, publishers);
        let mut publisher = publisher(&topic);
        let mut gated = topic.gated(&MapOptions::default(), Start::Live).unwrap();
        let before = topic.snapshot().unwrap();
        // SAFETY: a copy that the child drops, and nobody in the parent: there it is forgotten with the closure.
        let publisher_in_child = core::mem::ManuallyDrop::new(unsafe { core::ptr::read(&raw const publisher) });
        // SAFETY: as above.
        let gated_in_child = core::mem::ManuallyDrop::new(unsafe { core::ptr::read(&raw const gated) });
        assert_ends_well(start(move || {
            drop(core::mem::ManuallyDrop::into_inner(publisher_in_child));
            drop(core::mem::ManuallyDrop::into_inner(gated_in_child));
        }));
        assert_eq!(topic.snapshot().unwrap(), before);
        publisher.publish(&[], b"x").unwrap();
        assert!(gated.poll().unwrap().is_some());
    }
}

#[test]
fn a_child_opens_its_own() {
    let directory = scratch();
    let topic = topic(&directory, Publishers::Many(2));
    let mut inherited = publisher(&topic);
    let mut gated = topic.gated(&MapOptions::default(), Start::Live).unwrap();
    assert_ends_well(start(|| {
        assert_eq!(inherited.publish(&[], b"child").unwrap_err(), ClaimError::Forked);
        let mut gated = topic.gated(&MapOptions::default(), Start::Live).unwrap();
        publisher(&topic).publish(&[], b"child").unwrap();
        assert_eq!(gated.poll().unwrap().expect("it was published").body(), b"child");
    }));
    assert_eq!(gated.poll().unwrap().expect("it was published").body(), b"child");
    inherited.publish(&[], b"parent").unwrap();
}

/// Waits until `look` gives true.
fn wait_for(mut look: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if look() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it doesn't come to pass");
}

#[test]
#[allow(clippy::zombie_processes, reason = "the process that spawns it is killed before it could wait for it")]
fn a_dead_publishers_lock_is_free_though_its_forked_and_its_spawned_children_live() {
    let directory = scratch();
    let topic = topic(&directory, Publishers::One);
    let pids = directory.path().join("pids");
    let parent = start(|| {
        let mut publisher = publisher(&topic);
        publisher.publish(&[], b"x").unwrap();
        let forked = start(sleep_for_ever);
        let spawned = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        std::fs::write(directory.path().join("new"), format!("{forked} {}", spawned.id())).unwrap();
        std::fs::rename(directory.path().join("new"), &pids).unwrap();
        sleep_for_ever();
    });
    wait_for(|| pids.exists());
    let refused = topic.publisher(&MapOptions::default(), Duration::ZERO).unwrap_err();
    assert!(matches!(refused, TopicError::PublisherExists { pid, .. } if pid == parent.as_raw() as u64), "{refused}");
    kill(parent, Signal::SIGKILL).unwrap();
    waitpid(parent, None).unwrap();
    let pids = std::fs::read_to_string(&pids).unwrap();
    let children = pids.split(' ').map(|pid| Pid::from_raw(pid.parse().unwrap()));
    let alive = children.clone().all(|child| kill(child, None).is_ok());
    let opened = topic.publisher(&MapOptions::default(), Duration::ZERO);
    for child in children {
        // They are this process's to end, though not to wait for.
        let _ = kill(child, Signal::SIGKILL);
    }
    assert!(alive, "the children outlive their parent");
    opened.unwrap().publish(&[], b"y").unwrap();
}

#[test]
fn a_zombies_slots_are_free_before_anybody_has_waited_for_it() {
    let directory = scratch();
    for publishers in BOTH {
        let topic = topic(&directory, publishers);
        let child = start(|| {
            let _publisher = publisher(&topic);
            let _gated = topic.gated(&MapOptions::default(), Start::Live).unwrap();
            kill(Pid::this(), Signal::SIGKILL).unwrap();
        });
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
        };
        wait_for(|| state() == 'Z');
        let snapshot = topic.snapshot().unwrap();
        assert!(snapshot.publishers.is_empty() && snapshot.subscribers.is_empty(), "{snapshot:?}");
        let mut publisher = publisher(&topic);
        // It left a slot that holds everything back; laps later it must be gone.
        for _ in 0..1000 {
            publisher
                .publish(&[], &[1; 100])
                .or_else(|_| {
                    std::thread::sleep(Duration::from_millis(1));
                    publisher.publish(&[], &[1; 100])
                })
                .unwrap();
        }
        assert_eq!(state(), 'Z');
        waitpid(child, None).unwrap();
    }
}
