//! Tasks and event loops that wait for messages without blocking a thread.

#![forbid(unsafe_code)]

mod place;

use futures_core::Stream;
use memlane::{Filter, Kind, Notifier, Publisher, Publishers, Start, Subscriber, Topic};
use place::Place;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::timeout;

/// Longer than anything here takes; who is woken too late fails by it.
const PATIENCE: Duration = Duration::from_secs(20);

fn ends(topic: &Topic) -> (Publisher<[u8]>, Subscriber<[u8]>) {
    (topic.publisher().open().unwrap(), topic.subscriber().open().unwrap())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(async { timeout(PATIENCE, future).await.expect("a wake-up was lost") }))
}

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

#[test]
fn a_task_is_woken_for_each_message_of_another_thread() {
    let place = Place::new();
    for kind in [Kind::Gated, Kind::Lossy, Kind::Latest] {
        let topic = place.topic("t");
        let mut subscriber = topic.subscriber::<[u8]>().kind(kind).open().unwrap();
        let (received, next) = std::sync::mpsc::channel::<u64>();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut publisher = topic.publisher::<[u8]>().open().unwrap();
                for round in next {
                    publisher.publish(&round.to_le_bytes()).unwrap();
                }
            });
            run(async {
                for round in 0..1_000_u64 {
                    received.send(round).unwrap();
                    assert_eq!(&*subscriber.receive_async().await.unwrap(), &round.to_le_bytes());
                }
            });
            drop(received);
        });
    }
}

#[test]
fn hundreds_of_tasks_of_one_thread_wait_for_a_topic_each() {
    const TASKS: usize = 200;
    const MESSAGES: u64 = 20;
    let place = Place::new();
    let topics: Vec<_> = (0..TASKS).map(|index| place.topic(&format!("t.{index}"))).collect();
    let mut subscribers: Vec<_> = topics.iter().map(|topic| topic.subscriber::<[u8]>().open().unwrap()).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publishers: Vec<_> = topics.iter().map(|topic| topic.publisher::<[u8]>().open().unwrap()).collect();
            for number in 0..MESSAGES {
                for index in 0..TASKS {
                    publishers[index * 7 % TASKS].publish(&number.to_le_bytes()).unwrap();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        run(async {
            let mut tasks = Vec::new();
            for mut subscriber in subscribers.drain(..) {
                tasks.push(tokio::task::spawn_local(async move {
                    for number in 0..MESSAGES {
                        assert_eq!(&*subscriber.receive_async().await.unwrap(), &number.to_le_bytes());
                    }
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
    let waiters = std::fs::read_dir("/proc/self/task").unwrap().filter(|task| {
        let name = std::fs::read_to_string(task.as_ref().unwrap().path().join("comm"));
        name.is_ok_and(|name| name.trim() == "memlane-waiter")
    });
    assert_eq!(waiters.count(), 1, "one thread waits for all");
}

#[test]
fn a_wait_that_was_given_up_loses_nothing() {
    let place = Place::new();
    let (mut publisher, mut subscriber) = ends(&place.topic("t"));
    run(async {
        for number in 0..20_u64 {
            for _ in 0..3 {
                assert!(timeout(Duration::from_micros(300), subscriber.receive_async()).await.is_err());
            }
            publisher.publish(&number.to_le_bytes()).unwrap();
            assert_eq!(&*subscriber.receive_async().await.unwrap(), &number.to_le_bytes());
        }
    });
}

#[test]
fn a_publisher_that_finds_no_room_waits_for_it_and_loses_nothing() {
    let place = Place::new();
    let (mut publisher, subscriber) = ends(&place.topic("t"));
    run(async {
        let publishing = tokio::task::spawn_local(async move {
            for number in 0..300_u64 {
                publisher.publish_async(&number.to_le_bytes()).await.unwrap();
            }
        });
        let mut stream = subscriber.into_stream(|sample| sample.to_vec());
        for number in 0..300_u64 {
            assert_eq!(next(&mut stream).await.unwrap().unwrap(), number.to_le_bytes());
            if number % 50 == 0 {
                // The ring holds 64: it fills up meanwhile.
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        publishing.await.unwrap();
    });
}

#[test]
fn a_stream_ends_with_its_topic_after_the_last_message() {
    let place = Place::new();
    for publishers in [Publishers::One, Publishers::Many(4)] {
        let topic = place.bus.topic("t").unwrap().publishers(publishers).capacity_bytes(4096).create().unwrap();
        let (mut publisher, subscriber) = ends(&topic);
        let mut stream = subscriber.into_stream(|sample| sample.len());
        run(async {
            publisher.publish(b"last").unwrap();
            let removing = tokio::task::spawn_local({
                let bus = place.bus.clone();
                async move {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    bus.remove("t").unwrap();
                }
            });
            assert_eq!(next(&mut stream).await.unwrap().unwrap(), 4);
            assert!(next(&mut stream).await.is_none());
            removing.await.unwrap();
        });
    }
}

#[test]
fn a_descriptor_becomes_readable_for_each_of_several_subscribers() {
    let place = Place::new();
    let notifier = Notifier::new().unwrap();
    let topics: Vec<_> = (0..20).map(|index| place.topic(&format!("t.{index}"))).collect();
    let (mut publishers, mut subscribers): (Vec<_>, Vec<_>) = topics.iter().map(ends).unzip();
    assert!(subscribers.iter_mut().all(|subscriber| subscriber.arm(&notifier)));
    assert!(!notifier.wait(Some(1)).unwrap());
    for round in 0..100_usize {
        let index = round * 7 % publishers.len();
        publishers[index].publish(b"x").unwrap();
        assert!(notifier.wait(Some(20_000)).unwrap(), "a wake-up was lost");
        notifier.clear().unwrap();
        let found: Vec<usize> = (0..subscribers.len()).filter(|index| !subscribers[*index].arm(&notifier)).collect();
        assert_eq!(found, [index]);
        assert!(subscribers[index].try_receive().unwrap().is_some());
        assert!(subscribers[index].arm(&notifier));
        notifier.clear().unwrap();
    }
}

#[test]
fn a_subscriber_that_is_gone_is_not_waited_for() {
    let place = Place::new();
    let topic = place.topic("t");
    let notifier = Notifier::new().unwrap();
    let (mut publisher, mut subscriber) = ends(&topic);
    assert!(subscriber.arm(&notifier));
    drop(subscriber);
    publisher.publish(b"x").unwrap();
    assert!(!notifier.wait(Some(20)).unwrap());
}

#[test]
fn block_on_runs_what_brings_a_waker_of_its_own_and_what_belongs_to_tokio() {
    let place = Place::new();
    let topics: Vec<_> = (0..3).map(|index| place.topic(&format!("t.{index}"))).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let _inside = runtime.enter();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publishers: Vec<_> = topics.iter().map(|topic| topic.publisher::<[u8]>().open().unwrap()).collect();
            for number in 0..300_u64 {
                publishers[number as usize % 3].publish(&number.to_le_bytes()).unwrap();
                std::thread::sleep(Duration::from_micros(300));
            }
        });
        let mut subscribers =
            topics.iter().map(|topic| topic.subscriber::<[u8]>().start(Start::Earliest).open().unwrap());
        let mut with_its_own_waker = subscribers.next().unwrap();
        memlane::block_on(LocalSet::new().run_until(async {
            let mut tasks = Vec::new();
            for (index, mut subscriber) in (1..).zip(subscribers) {
                tasks.push(tokio::task::spawn_local(async move {
                    for number in (index..300_u64).step_by(3) {
                        let received = timeout(PATIENCE, subscriber.receive_async()).await.expect("a wake-up was lost");
                        assert_eq!(&*received.unwrap(), &number.to_le_bytes());
                    }
                }));
            }
            for number in (0..300_u64).step_by(3) {
                assert_eq!(&*with_its_own_waker.receive_async().await.unwrap(), &number.to_le_bytes());
            }
            for task in tasks {
                task.await.unwrap();
            }
            assert!(timeout(Duration::from_millis(3), with_its_own_waker.receive_async()).await.is_err());
        }));
    });
}

#[test]
fn another_executor_inside_block_on_is_woken() {
    let place = Place::new();
    let topic = place.topic("t");
    let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(5));
            topic.publisher::<[u8]>().open().unwrap().publish(b"x").unwrap();
        });
        // Its waker leads to the runtime within, so the thread in `block_on`, which doesn't look, isn't the one to wait.
        memlane::block_on(async { run(async { subscriber.receive_async().await.unwrap().len() }) });
    });
}

#[test]
fn a_filter_wakes_a_task_for_what_it_wants_alone() {
    let place = Place::new();
    for kind in [Kind::Gated, Kind::Lossy, Kind::Latest] {
        let topic = place.bus.topic("t").unwrap().capacity_bytes(1 << 16).open_or_create().unwrap();
        let mut publisher = topic.publisher::<[u8]>().open().unwrap();
        let wanted = topic.subscriber::<[u8]>().kind(kind).filter(Filter::key("wanted"));
        let mut subscriber = wanted.open().unwrap();
        run(async {
            for number in 0..50_u64 {
                publisher.publish(b"no key").unwrap();
                publisher.message().key(b"other").unwrap().publish(b"another key").unwrap();
                assert!(timeout(Duration::from_micros(200), subscriber.receive_async()).await.is_err());
                publisher.message().key(b"wanted").unwrap().publish(&number.to_le_bytes()).unwrap();
                publisher.publish(b"behind it").unwrap();
                assert_eq!(&*subscriber.receive_async().await.unwrap(), &number.to_le_bytes());
            }
        });
    }
}
