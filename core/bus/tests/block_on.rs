//! Futures that run on the thread which waits for them. Nothing here may begin the process's waiting thread.

#![forbid(unsafe_code)]

mod place;

use memlane::{ReceiveError, block_on};
use place::Place;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

/// Counts how often it is polled.
async fn counting<T>(future: impl Future<Output = T>, polls: &Cell<u64>) -> T {
    let mut future = pin!(future);
    poll_fn(|context| {
        polls.set(polls.get() + 1);
        future.as_mut().poll(context)
    })
    .await
}

fn has_waiting_thread() -> bool {
    std::fs::read_dir("/proc/self/task").unwrap().any(|task| {
        let name = std::fs::read_to_string(task.unwrap().path().join("comm"));
        name.is_ok_and(|name| name.trim() == "memlane-waiter")
    })
}

#[test]
fn a_message_wakes_it_once_and_no_second_thread_is_there() {
    const MESSAGES: u64 = 500;
    let place = Place::new();
    let topic = place.topic("t");
    let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
    let (received, next) = mpsc::channel::<u64>();
    let polls = Cell::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publisher = topic.publisher::<[u8]>().open().unwrap();
            for number in next {
                // Long enough for a sleep, mostly.
                std::thread::sleep(Duration::from_micros(number % 5 * 50));
                publisher.publish(&number.to_le_bytes()).unwrap();
            }
        });
        block_on(counting(
            async {
                for number in 0..MESSAGES {
                    received.send(number).unwrap();
                    assert_eq!(&*subscriber.receive_async().await.unwrap(), &number.to_le_bytes());
                }
            },
            &polls,
        ));
        drop(received);
    });
    // Now and then a claim shows before its message does.
    assert!((1..=2 * MESSAGES).contains(&polls.get()), "{} polls for {MESSAGES} messages", polls.get());
    assert!(!has_waiting_thread());
}

#[test]
fn all_that_is_polled_with_its_waker_is_waited_for() {
    const TOPICS: usize = 20;
    const MESSAGES: usize = 400;
    let place = Place::new();
    let topics: Vec<_> = (0..TOPICS).map(|index| place.topic(&format!("t.{index}"))).collect();
    let mut subscribers: Vec<_> = topics.iter().map(|topic| topic.subscriber::<[u8]>().open().unwrap()).collect();
    let (received, next) = mpsc::channel::<usize>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut publishers: Vec<_> = topics.iter().map(|topic| topic.publisher::<[u8]>().open().unwrap()).collect();
            for number in next {
                publishers[number * 7 % TOPICS].publish(&number.to_le_bytes()).unwrap();
            }
        });
        for number in 0..MESSAGES {
            received.send(number).unwrap();
            let mut all: Vec<_> = subscribers.iter_mut().map(|one| Box::pin(one.receive_async())).collect();
            let any = poll_fn(|context| {
                let mut polled = all.iter_mut().map(|one| one.as_mut().poll(context).map(Result::unwrap));
                polled.position(|one| one.is_ready()).map_or(Poll::Pending, Poll::Ready)
            });
            assert_eq!(block_on(any), number * 7 % TOPICS);
        }
        drop(received);
    });
    assert!(!has_waiting_thread());
}

#[test]
fn a_thread_that_is_done_with_one_runs_the_next_and_one_inside_another() {
    let place = Place::new();
    let topic = place.topic("t");
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
    for number in 0..100_u64 {
        block_on(async {
            publisher.publish_async(&number.to_le_bytes()).await.unwrap();
            let inner = block_on(async { subscriber.receive_async().await.map(|message| message.to_vec()) });
            assert_eq!(inner.unwrap(), number.to_le_bytes());
            // The outer one's waker is known again.
            publisher.publish_async(b"second").await.unwrap();
            assert_eq!(&*subscriber.receive_async().await.unwrap(), b"second");
        });
    }
    assert!(!has_waiting_thread());
}

#[test]
fn a_topic_that_is_removed_ends_the_wait() {
    let place = Place::new();
    let topic = place.topic("t");
    let mut subscriber = topic.subscriber::<[u8]>().open().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(5));
            place.bus.remove("t").unwrap();
        });
        let received = block_on(async { subscriber.receive_async().await.map(drop) });
        assert!(matches!(received, Err(ReceiveError::Removed)), "{received:?}");
    });
    assert!(!has_waiting_thread());
}
