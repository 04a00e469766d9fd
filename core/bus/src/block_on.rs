//! Running a future on a thread that itself waits for what the future waits for: no second thread has to wake it.
//!
//! ```text
//!   poll ──> pending ──> turn: is there something for an ear? ──> sleep on its doorbells and OWN ──> turn … ──> woken: poll
//!                                                                                      ^
//!   any other waker's doing: a timer, a socket, a task that was spawned ──> OWN changes ┘
//! ```
//!
//! Which ears are its own is told by the waker: that of the future itself, which combinators such as `join!` and `select!` hand on. Whatever
//! brings a waker of its own (a spawned task, an executor within) is waited for by the process's thread, since nothing says who polls it.

use crate::waiter::{Ears, Waiter};
use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Runs `future` to its end on this thread, and sleeps by the topics that it waits for.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let root = memlane::doc_root();
/// # let topic = memlane::Bus::builder("block-on").root(&root).open()?.topic("t")?.open_or_create()?;
/// # let (mut publisher, mut subscriber) = (topic.publisher::<[u8]>().open()?, topic.subscriber::<[u8]>().open()?);
/// # publisher.publish(b"hello")?;
/// let length = memlane::block_on(async { subscriber.receive_async().await.map(|message| message.len()) })?;
/// assert_eq!(length, 5);
/// # Ok(())
/// # }
/// ```
///
/// For a service in which a message's way to its task counts: a task that waits is woken by the publish, as a thread in
/// [`Subscriber::receive`](crate::Subscriber::receive) is. In any other executor the process's one waiting thread hears of it first and
/// wakes the executor's, which takes a fifth longer. The two figures: `memlane bench async`.
///
/// It is that quick for all that is polled with the future's own waker, as `join!` and `select!` do, and works for everything else. What
/// belongs to tokio, its timers and sockets, works inside it too, where a runtime with threads of its own is entered first:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let root = memlane::doc_root();
/// # let topic = memlane::Bus::builder("block-on-tokio").root(&root).open()?.topic("t")?.open_or_create()?;
/// # let mut subscriber = topic.subscriber::<[u8]>().open()?;
/// use std::time::Duration;
///
/// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
/// let _inside = runtime.enter();
/// memlane::block_on(async {
///     let nothing = tokio::time::timeout(Duration::from_millis(5), subscriber.receive_async()).await;
///     assert!(nothing.is_err(), "nobody publishes");
/// });
/// # Ok(())
/// # }
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let waiter = Arc::new(Waiter::of_this_thread());
    let waker = Waker::from(Arc::clone(&waiter));
    let _here = Here::enter(Here { waker: waker.clone(), waiter: Arc::clone(&waiter) });
    let mut future = pin!(future);
    let mut ears = Ears::default();
    loop {
        let changes = waiter.changes();
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while waiter.changes() == changes {
            waiter.turn(&mut ears, changes);
        }
    }
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// The innermost [`block_on`] of this thread.
#[derive(Debug)]
pub(crate) struct Here {
    waker: Waker,
    waiter: Arc<Waiter>,
}

impl Here {
    /// Who waits for whatever is to wake `waker`, if it is this thread.
    pub(crate) fn waiter_of(waker: &Waker) -> Option<Arc<Waiter>> {
        let is_own = |here: &&Here| here.waker.will_wake(waker);
        // A thread that is ending has none.
        HERE.try_with(|here| here.borrow().as_ref().filter(is_own).map(|here| Arc::clone(&here.waiter))).ok().flatten()
    }

    fn enter(here: Here) -> Left {
        Left(HERE.replace(Some(here)))
    }
}

/// The one around it, which is the innermost again at the drop.
#[derive(Debug)]
struct Left(Option<Here>);

impl Drop for Left {
    fn drop(&mut self) {
        HERE.set(self.0.take());
    }
}
