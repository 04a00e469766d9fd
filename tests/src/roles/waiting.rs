//! Waiting on many topics, by everything that there is to wait by.

use super::{say, say_ready};
use crate::role::{Place, Report, Waiting};
use memlane::{Notifier, Selectable, Selector, Start, Subscriber, Wait};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use tokio::task::LocalSet;

pub(super) fn play(places: &[Place], waiting: Waiting, messages: u64) -> anyhow::Result<()> {
    match waiting {
        Waiting::Blocked => {
            let mut subscriber = open(&places[0])?;
            say_ready()?;
            (0..messages).try_for_each(|_| subscriber.receive().map(drop))?;
        }
        Waiting::Pattern => {
            let all = places[0].bus()?.subscribe::<[u8]>(">".parse()?);
            let mut all = all.start(Start::Earliest).wait(Wait::Block { spins: 0 }).open()?;
            say_ready()?;
            (0..messages).try_for_each(|_| all.receive().map(drop))?;
        }
        Waiting::Selector => select(places, open_all(places)?, messages)?,
        Waiting::Tasks => run_tasks(open_all(places)?, messages)?,
        Waiting::BlockOn => memlane::block_on(receive_from_all(open_all(places)?, messages))?,
        Waiting::Notifier => notify(open_all(places)?, messages)?,
    }
    say(&Report::Answer(Ok(messages)))
}

fn open(place: &Place) -> anyhow::Result<Subscriber<[u8]>> {
    Ok(place.open()?.subscriber().start(Start::Earliest).wait(Wait::Block { spins: 0 }).open()?)
}

/// Opens all of them, and says so.
fn open_all(places: &[Place]) -> anyhow::Result<Vec<Subscriber<[u8]>>> {
    let subscribers = places.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    say_ready()?;
    Ok(subscribers)
}

fn select(places: &[Place], mut subscribers: Vec<Subscriber<[u8]>>, messages: u64) -> anyhow::Result<()> {
    let mut selector = Selector::new(&places[0].bus()?).wait(Wait::Block { spins: 0 });
    let mut received = 0;
    while received < messages {
        let mut all: Vec<&mut dyn Selectable> = subscribers.iter_mut().map(|one| one as _).collect();
        let found = selector.select(&mut all, None).expect("there is no deadline");
        received += u64::from(subscribers[found].try_receive()?.is_some());
    }
    Ok(())
}

fn run_tasks(subscribers: Vec<Subscriber<[u8]>>, messages: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let received = Rc::new(Cell::new(0));
    let (last, end) = tokio::sync::oneshot::channel::<()>();
    let last = Rc::new(Cell::new(Some(last)));
    let tasks = LocalSet::new();
    for mut subscriber in subscribers {
        let (received, last) = (Rc::clone(&received), Rc::clone(&last));
        tasks.spawn_local(async move {
            while subscriber.receive_async().await.is_ok() {
                received.set(received.get() + 1);
                if received.get() == messages {
                    drop(last.take());
                }
            }
        });
    }
    // The sender that is dropped is what ends it.
    let _ = runtime.block_on(tasks.run_until(end));
    Ok(())
}

async fn receive_from_all(mut subscribers: Vec<Subscriber<[u8]>>, messages: u64) -> anyhow::Result<()> {
    for _ in 0..messages {
        let mut all: Vec<_> = subscribers.iter_mut().map(|one| Box::pin(one.receive_async())).collect();
        let first = poll_fn(|context| {
            let ready = all.iter_mut().map(|one| one.as_mut().poll(context)).find(Poll::is_ready);
            ready.unwrap_or(Poll::Pending)
        });
        first.await?;
    }
    Ok(())
}

fn notify(mut subscribers: Vec<Subscriber<[u8]>>, messages: u64) -> anyhow::Result<()> {
    let notifier = Notifier::new()?;
    let mut received = 0;
    loop {
        for subscriber in &mut subscribers {
            while !subscriber.arm(&notifier) {
                received += u64::from(subscriber.try_receive()?.is_some());
            }
        }
        if received >= messages {
            return Ok(());
        }
        notifier.wait(None)?;
        notifier.clear()?;
    }
}
