//! Waiting without blocking a thread: in tasks of any executor, and in event loops that wait for file descriptors.

use crate::error::{PublishError, ReceiveError};
use crate::payload::Payload;
use crate::publisher::Publisher;
use crate::raw::Trusted;
use crate::received::Sample;
use crate::subscriber::{Subscriber, Taken};
use crate::waiter::Listener;
use core::pin::Pin;
use core::task::{Context, Poll};
use futures_core::Stream;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::{Wake, Waker};

impl<P: ?Sized + Trusted> Subscriber<P> {
    /// The next message; the task waits for it, the thread doesn't. Works in any executor.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let root = memlane::doc_root();
    /// # let topic = memlane::Bus::builder("async").root(&root).open()?.topic("t")?.open_or_create()?;
    /// let (mut publisher, mut subscriber) = (topic.publisher::<[u8]>().open()?, topic.subscriber::<[u8]>().open()?);
    /// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// let task = async {
    ///     publisher.publish_async(b"hello").await?;
    ///     assert_eq!(&*subscriber.receive_async().await?, b"hello");
    ///     Ok::<_, Box<dyn std::error::Error>>(())
    /// };
    /// runtime.block_on(task)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It may be dropped at any time, as by `select!` or a timeout: no message is lost by that.
    /// Cost: where there is a message, that of [`Subscriber::try_receive`]. Where there is none, the process's one waiting thread sleeps
    /// for all tasks, and wakes this one: a thread's wake-up more than [`Subscriber::receive`] takes, unless both run on one core.
    /// Errors: [`ReceiveError`]; go on receiving after it.
    pub async fn receive_async(&mut self) -> Result<Sample<'_, P>, ReceiveError> {
        let taken = poll_fn(|context| self.poll_taken(context)).await?;
        self.sample(taken)
    }

    /// Turns it into a stream of what `read` makes of each message. A gated subscriber holds publishers back as long as nobody asks
    /// the stream for more.
    pub fn into_stream<T, F: FnMut(Sample<'_, P>) -> T>(self, read: F) -> MessageStream<P, F> {
        MessageStream { subscriber: self, read }
    }

    /// Has `notifier` notified, once, when there may be something to receive; `false` if there is already, and nothing was armed.
    ///
    /// Cost: a look; a system call if there is nothing.
    pub fn arm(&mut self, notifier: &Notifier) -> bool {
        let is_nothing = !self.has_news();
        if is_nothing {
            self.listen(&notifier.waker);
        }
        is_nothing
    }

    fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<Result<Taken, ReceiveError>> {
        let taken = self.take().transpose();
        if taken.is_none() {
            self.listen(context.waker());
        }
        taken.map_or(Poll::Pending, Poll::Ready)
    }

    fn listen(&mut self, waker: &Waker) {
        let position = self.position();
        self.listener().arm(position, waker);
    }
}

/// The messages of a subscriber, each as `F` makes of it. Made by [`Subscriber::into_stream`]. It ends when the topic is removed.
#[derive(Debug)]
pub struct MessageStream<P: ?Sized, F> {
    subscriber: Subscriber<P>,
    read: F,
}

// Neither is pinned.
impl<P: ?Sized, F> Unpin for MessageStream<P, F> {}

impl<P: ?Sized + Trusted, T, F: FnMut(Sample<'_, P>) -> T> Stream for MessageStream<P, F> {
    type Item = Result<T, ReceiveError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { subscriber, read } = &mut *self;
        let taken = core::task::ready!(subscriber.poll_taken(context));
        Poll::Ready(match taken.and_then(|taken| subscriber.sample(taken)) {
            Ok(sample) => Some(Ok(read(sample))),
            Err(ReceiveError::Removed) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

impl<P: ?Sized + Payload> Publisher<P> {
    /// As [`Publisher::publish`], but where there is no room, or a rate limit is used up, the task waits for it, up to a millisecond at a time.
    ///
    /// Errors: [`PublishError`], but for `Full`.
    pub async fn publish_async(&mut self, message: &P) -> Result<u64, PublishError> {
        // Counted as held up until it is dropped.
        let mut held = None;
        loop {
            match self.publish(message) {
                Err(error) if error.is_full() => {
                    held.get_or_insert_with(|| self.log.hold_up());
                    nap().await;
                }
                Err(error) if error.is_rate_limited() => nap().await,
                other => return other,
            }
        }
    }
}

/// Waits for a millisecond at most.
pub(crate) async fn nap() {
    let listener = Listener::for_nap();
    let mut is_over = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        listener.arm(0, context.waker());
        Poll::Pending
    })
    .await;
}

/// A file descriptor that becomes readable when a subscriber that was armed with it may have something: for event loops of other libraries and
/// languages (`epoll`, `poll`, libuv).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let root = memlane::doc_root();
/// # let topic = memlane::Bus::builder("notifier").root(&root).open()?.topic("t")?.open_or_create()?;
/// # let (mut publisher, mut subscriber) = (topic.publisher::<[u8]>().open()?, topic.subscriber::<[u8]>().open()?);
/// let notifier = memlane::Notifier::new()?;
/// assert!(subscriber.arm(&notifier), "there is nothing yet");
/// publisher.publish(b"hello")?;
/// // … the event loop finds `notifier` readable …
/// # notifier.wait(None)?;
/// notifier.clear()?;
/// while !subscriber.arm(&notifier) {
///     assert_eq!(subscriber.try_receive()?.as_deref(), Some(&b"hello"[..]));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Notifier {
    descriptor: Arc<Descriptor>,
    waker: Waker,
}

#[derive(Debug)]
struct Descriptor(EventFd);

impl Wake for Descriptor {
    fn wake(self: Arc<Self>) {
        // Only a counter near 2^64 refuses, and that is readable.
        let _ = self.0.write(1);
    }
}

impl Notifier {
    /// A notifier for one subscriber or for several.
    ///
    /// Cost: a system call. Errors: those of `eventfd`, most often for want of descriptors.
    pub fn new() -> io::Result<Self> {
        let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let descriptor = Arc::new(Descriptor(event));
        let waker = Waker::from(Arc::clone(&descriptor));
        Ok(Self { descriptor, waker })
    }

    /// Makes it unreadable until the next notification. Call it before [`Subscriber::arm`].
    ///
    /// Errors: those of `read`.
    pub fn clear(&self) -> io::Result<()> {
        match self.descriptor.0.read() {
            Ok(_) | Err(nix::Error::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it is readable, at most for `timeout_ms` milliseconds if given; whether it is. For where there is no event loop.
    ///
    /// Errors: those of `poll`.
    pub fn wait(&self, timeout_ms: Option<u16>) -> io::Result<bool> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let timeout = timeout_ms.map_or(PollTimeout::NONE, PollTimeout::from);
        loop {
            match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], timeout) {
                Err(nix::Error::EINTR) => {}
                other => return Ok(other? > 0),
            }
        }
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.0.as_fd()
    }
}
