//! What the models have in common.

use loom::sync::atomic::{AtomicU64, Ordering};
use memlane_ring::model::{self, CELL, Publish, Seen};
use memlane_ring::{ClaimError, Gated, Lossy, ReadError};

/// Runs `model` in every order with at most so many preemptions, or LOOM_MAX_PREEMPTIONS if that is less.
pub(crate) fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(builder.preemption_bound.unwrap_or(preemptions).min(preemptions));
    builder.max_branches = 20_000;
    let count = std::sync::Arc::new(std::sync::Mutex::new(0_u64));
    let counted = count.clone();
    let start = std::time::Instant::now();
    builder.check(move || {
        *counted.lock().unwrap() += 1;
        model();
    });
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    println!("{name}: {} orders in {:?}", count.lock().unwrap(), start.elapsed());
}

/// A place that threads of a model come by in every order, without learning anything of one another.
///
/// loom tries two orders of what two threads do to one word. But it knows of the last access to a word only, so a thread that
/// loads it before it swaps it hides from loom that another one loaded it just before.
#[derive(Default)]
pub(crate) struct Crossing(AtomicU64);

impl Crossing {
    pub(crate) fn pass(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Publishes a message of so many words, if there is room: gives where it is.
pub(crate) fn publish(publisher: &mut impl Publish, number: u64, words: usize) -> Option<Seen> {
    match publisher.publish_words(number, words) {
        Ok(position) => Some((position, number)),
        Err(ClaimError::Full) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Publishes the messages `number..` of so many words each, as long as there is room; gives where they are.
pub(crate) fn publish_all(publisher: &mut impl Publish, number: u64, words: &[usize]) -> Vec<Seen> {
    (number..).zip(words).map_while(|(number, words)| publish(publisher, number, *words)).collect()
}

/// A reader's side of a topic whose messages are numbered from zero, one a cell: what it must find next.
#[derive(Debug)]
pub(crate) struct Expected {
    position: u64,
}

impl Expected {
    pub(crate) fn from(position: u64) -> Self {
        Self { position }
    }

    /// The next message must be this one.
    pub(crate) fn seen(&mut self, (position, number): Seen) {
        assert_eq!(position, self.position, "out of order");
        assert_eq!(number, position / CELL, "another message's bytes");
        self.position += CELL;
    }

    pub(crate) fn next(&self) -> u64 {
        self.position
    }

    /// Polls a gated subscriber so many times.
    pub(crate) fn poll_gated(&mut self, subscriber: &mut Gated, polls: usize) {
        for _ in 0..polls {
            if let Some(seen) = model::read_gated(subscriber).unwrap() {
                self.seen(seen);
            }
        }
    }

    /// Polls a lossy subscriber so many times.
    pub(crate) fn poll_lossy(&mut self, subscriber: &mut Lossy, polls: usize) {
        for _ in 0..polls {
            match model::read_lossy(subscriber) {
                Ok(Some(seen)) => self.seen(seen),
                Ok(None) => {}
                Err(ReadError::Lost { from, to }) => {
                    assert!(from == self.position && to > from, "lost {from} to {to} at {}", self.position);
                    self.position = to;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}
