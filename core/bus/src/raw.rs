//! The one module of this crate with `unsafe` code: values that are looked at where they lie, and stay there meanwhile.

use crate::error::ReceiveError;
use crate::message::Message;
use crate::payload::Payload;
use crate::received::Received;
use crate::subscriber::SubscriberBuilder;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::ptr::NonNull;
use memlane_journal::{Located, Reader as Journal};
use memlane_ring::layout::{FRAME_HEADER_BYTES, Geometry, StateWord};
use memlane_ring::{Claim, ClaimError, Copied, Frame, Gated, Lossy, Publisher as Log, Wait};
use rkyv::Portable;
use rkyv::util::AlignedVec;
use std::time::Duration;

/// Payloads that can be looked at unchecked. Every [`Payload`] is one.
pub trait Trusted: Payload {
    /// The value in `bytes`, unchecked.
    ///
    /// # Safety
    /// [`Payload::view`] accepts these bytes.
    unsafe fn view_unchecked(bytes: &[u8]) -> &Self::View;
}

impl Trusted for [u8] {
    unsafe fn view_unchecked(bytes: &[u8]) -> &[u8] {
        bytes
    }
}

impl<T: Message> Trusted for T
where
    T::Archived: Portable,
{
    unsafe fn view_unchecked(bytes: &[u8]) -> &T::Archived {
        // SAFETY: by this function's contract the bytes were checked, or come from a publisher that is trusted.
        unsafe { rkyv::access_unchecked::<T::Archived>(bytes) }
    }
}

/// The bytes of a claim as an archived value that is not there yet.
///
/// # Panics
/// If the bytes aren't exactly as long, and aligned, as the archived value.
pub(crate) fn as_uninit<A: Portable>(bytes: &mut [u8]) -> &mut MaybeUninit<A> {
    let pointer = bytes.as_mut_ptr().cast::<MaybeUninit<A>>();
    assert!(bytes.len() == size_of::<A>() && pointer.is_aligned(), "a claim is made for the type's size and alignment");
    // SAFETY:
    // - In bounds and aligned, as just checked; the borrow of the bytes is passed on, so nobody else has them.
    // - Any bytes are a valid `MaybeUninit`. What is written may have padding: nobody reads the bytes before [`settle`].
    unsafe { &mut *pointer }
}

/// Makes bytes of what was written through [`as_uninit`], padding and all: from here on they may be read and copied.
pub(crate) fn settle(bytes: &mut [u8]) {
    let pointer = bytes.as_mut_ptr();
    // To the compiler this is code that may have written every byte behind the pointer, so none of them is undefined.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64"))]
    // SAFETY: no instruction at all.
    unsafe {
        core::arch::asm!("/* {0} */", in(reg) pointer, options(nostack, preserves_flags));
    }
    #[cfg(not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "loongarch64"
    )))]
    core::hint::black_box(pointer);
}

/// As [`Log::claim`], but waits for room for at most `timeout`.
pub(crate) fn claim_within<'a>(
    log: &'a mut Log,
    bytes: usize,
    wait: Wait,
    timeout: Duration,
) -> Result<Claim<'a>, ClaimError> {
    log.waiting(bytes, wait, Some(timeout), |log| {
        let claim = log.claim(&[], bytes)?;
        // SAFETY:
        // - What it borrows is borrowed for `'a` from this function's caller; the compiler only can't know that a closure that
        //   may be called many times is never called again after it has given a claim.
        // - It isn't, and the publisher is not touched again: `publish_waiting` (wait.rs) returns with the first claim, at once.
        Ok(unsafe { core::mem::transmute::<Claim<'_>, Claim<'a>>(claim) })
    })
}

/// What keeps a message's bytes where they are.
#[derive(Debug)]
pub(crate) enum Held<'a> {
    /// A gated subscriber's: in the ring, until it is dropped.
    InPlace(Frame<'a>),
    /// A lossy subscriber's: in its buffer, until it receives again.
    Copied(&'a Lossy, Copied),
    /// One that reads a journal: in its window, until it receives again.
    InJournal(&'a Journal, Located),
}

impl Held<'_> {
    #[inline(always)]
    fn parts(&self) -> ((u64, StateWord), &[u8]) {
        match self {
            Held::InPlace(frame) => ((frame.position(), frame.word()), frame.body()),
            Held::Copied(lossy, copied) => ((copied.position, copied.word), lossy.body(copied)),
            Held::InJournal(journal, located) => ((located.position, located.word), journal.body(located)),
        }
    }
}

/// A subscriber with at most one message in hand, which was checked and stays where it lies until it is let go.
///
/// What is held lies here and not in what is given out, which is a reference and crosses calls in a register. A structure of several words
/// would be moved, by loads wider than the stores before them: such a load waits until all stores before it have reached the cache, and among those are
/// the ones that fetch lines from the other side.
#[derive(Debug)]
pub(crate) struct Hand<P: ?Sized> {
    gated: Gated,
    geometry: Geometry,
    message: Option<Place>,
    checked_as: PhantomData<fn() -> P>,
}

/// Where a message lies, for whoever knows how long that holds: its payload, the body that this is the end of, and the state word as it was checked.
#[derive(Clone, Copy, Debug)]
struct Place {
    payload: NonNull<[u8]>,
    body: NonNull<[u8]>,
    word: StateWord,
}

// SAFETY: it is nothing but numbers; what is read there, and when, `Hand` answers for.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl<P: ?Sized + Trusted> Hand<P> {
    pub(crate) fn new(gated: Gated, geometry: Geometry) -> Self {
        Self { gated, geometry, message: None, checked_as: PhantomData }
    }

    /// Takes the next message in hand, if it is there, `find` says where its payload begins in its body, and [`Payload::view`] accepts that; whether
    /// it does.
    #[inline(always)]
    pub(crate) fn hold_if(&mut self, find: impl FnOnce(StateWord, &[u8]) -> Option<usize>) -> bool {
        self.message = None;
        let Ok(Some((word, body))) = self.gated.peek() else { return false };
        let Some(payload) = find(word, body).and_then(|at| body.get(at..)) else { return false };
        if P::view(payload).is_err() {
            return false;
        }
        self.message = Some(Place { payload: payload.into(), body: body.into(), word });
        true
    }

    /// The message in hand.
    ///
    /// # Panics
    /// If there is none.
    #[inline(always)]
    pub(crate) fn view(&self) -> &P::View {
        let place = self.message.expect("a message is in hand");
        // SAFETY: the bytes lie in the ring, before whose release nobody writes there; and that needs `&mut self`, which also takes it out of hand.
        let payload = unsafe { place.payload.as_ref() };
        // SAFETY: it was checked when it was taken. That it doesn't change from then on is what publishers are trusted for, as everywhere.
        unsafe { P::view_unchecked(payload) }
    }

    /// The same with its fields.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn received(&self) -> Received<'_, P> {
        let place = self.message.expect("a message is in hand");
        // SAFETY: as for `view`.
        let body = unsafe { place.body.as_ref() };
        Received::with_view(&self.geometry, (self.gated.position(), place.word), body, self.view())
    }
}

impl<P: ?Sized> Hand<P> {
    /// Lets the message in hand go, if there is one.
    #[inline(always)]
    pub(crate) fn let_go(&mut self) {
        if self.message.take().is_some() {
            // What can't be passed over is told by the next look.
            let _ = self.gated.skip();
        }
    }

    /// The subscriber, with nothing in hand any more: the message is next again.
    #[inline(always)]
    pub(crate) fn gated(&mut self) -> &mut Gated {
        self.message = None;
        &mut self.gated
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }
}

impl<P: ?Sized> Deref for Hand<P> {
    type Target = Gated;

    #[inline(always)]
    fn deref(&self) -> &Gated {
        &self.gated
    }
}

/// A message that was copied into memory of this process, aligned as in the ring, and checked there.
#[derive(Debug)]
pub(crate) struct Stored {
    geometry: Geometry,
    identity: (u64, StateWord),
    /// A header's length, then the body.
    bytes: AlignedVec<64>,
    /// Where the payload begins in it.
    payload_at: usize,
}

impl Stored {
    /// Copies a body whose payload begins at `payload_at`.
    pub(crate) fn new(geometry: &Geometry, identity: (u64, StateWord), body: &[u8], payload_at: usize) -> Self {
        let header_bytes = FRAME_HEADER_BYTES as usize;
        let mut bytes = AlignedVec::with_capacity(header_bytes + body.len());
        bytes.resize(header_bytes, 0);
        bytes.extend_from_slice(body);
        Self { geometry: *geometry, identity, bytes, payload_at: header_bytes + payload_at }
    }

    /// The payload.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[self.payload_at..]
    }

    /// The message with its fields; `view` is its payload.
    pub(crate) fn received<'a, P: ?Sized + Trusted>(&'a self, view: &'a P::View) -> Received<'a, P> {
        Received::with_view(&self.geometry, self.identity, &self.bytes[FRAME_HEADER_BYTES as usize..], view)
    }
}

/// A message that was checked once, with what holds it.
pub(crate) struct Checked<'a, P: ?Sized + Trusted> {
    // Points into what `held` holds: given out only with the life of a borrow of this structure.
    view: &'a P::View,
    held: Held<'a>,
    geometry: &'a Geometry,
}

impl<'a, P: ?Sized + Trusted> Checked<'a, P> {
    /// Checks the message, unless publishers are trusted.
    #[inline(always)]
    pub(crate) fn new(held: Held<'a>, geometry: &'a Geometry, trust: bool) -> Result<Self, ReceiveError> {
        let (identity, body) = held.parts();
        // SAFETY:
        // - The bytes lie in the ring, in a boxed buffer or in a journal's window, so moving `held` leaves them where they are.
        // - They stay unchanged as long as `held` lives, which is as long as this structure does.
        let body: &'a [u8] = unsafe { core::slice::from_raw_parts(body.as_ptr(), body.len()) };
        let view = received::<P>(geometry, identity, body, trust)?.view;
        Ok(Self { view, held, geometry })
    }

    #[inline(always)]
    pub(crate) fn view(&self) -> &P::View {
        self.view
    }

    /// Lets go of it without going past it.
    pub(crate) fn leave(self) {
        if let Held::InPlace(frame) = self.held {
            core::mem::forget(frame);
        }
    }

    #[inline(always)]
    pub(crate) fn received(&self) -> Received<'_, P> {
        let (identity, body) = self.held.parts();
        Received::with_view(self.geometry, identity, body, self.view)
    }
}

/// A message in `body`, checked, unless publishers are trusted.
#[inline(always)]
pub(crate) fn received<'a, P: ?Sized + Trusted>(
    geometry: &'a Geometry,
    identity: (u64, StateWord),
    body: &'a [u8],
    trust: bool,
) -> Result<Received<'a, P>, ReceiveError> {
    Received::new(geometry, identity, body, |payload| {
        if trust {
            // SAFETY: whoever set `trust` promised it, see `trust_publishers`.
            return Ok(unsafe { P::view_unchecked(payload) });
        }
        P::view(payload)
    })
}

impl<P: ?Sized + Trusted> SubscriberBuilder<'_, P> {
    /// Does not check messages before they are looked at, which saves a walk over those with strings, vectors, enums and the
    /// like; messages of plain numbers gain nothing.
    ///
    /// # Safety
    /// Every publisher of the topic publishes valid messages of type `P`, through this library or one that is as careful, and
    /// nobody else writes to the topic's memory.
    #[must_use]
    pub unsafe fn trust_publishers(mut self) -> Self {
        self.trust = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::{Bus, Message};
    use rkyv::{Archive, Serialize};

    #[derive(Archive, Serialize, Message)]
    #[message(crate = crate)]
    struct Note {
        number: u64,
        text: String,
        is_last: bool,
    }

    #[test]
    fn a_subscriber_that_trusts_its_publishers_gets_the_same_values() {
        let root = tempfile::tempdir().unwrap();
        let bus = Bus::builder("trust").root(root.path()).open().unwrap();
        let topic = bus.topic("t").unwrap().capacity_bytes(16384).message::<Note>().create().unwrap();
        // SAFETY: the only publisher is the one below, and nobody else knows of the directory.
        let trusting = |lossy: bool| unsafe {
            let builder = topic.subscriber::<Note>();
            (if lossy { builder.lossy() } else { builder }).trust_publishers()
        };
        let mut subscribers = [trusting(false).open().unwrap(), trusting(true).open().unwrap()];
        let mut publisher = topic.publisher::<Note>().open().unwrap();
        for number in 0..500 {
            let note = Note { number, text: "n".repeat(number as usize % 90), is_last: number == 499 };
            publisher.publish(&note).unwrap();
            for subscriber in &mut subscribers {
                let read = subscriber.receive().unwrap();
                assert_eq!((read.number.to_native(), read.text.as_str()), (number, note.text.as_str()));
                assert_eq!(read.is_last, note.is_last);
            }
        }
    }
}
