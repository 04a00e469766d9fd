//! Waiting on many topics at once.

use crate::bus::Bus;
use crate::raw::Trusted;
use crate::subscriber::Subscriber;
use memlane_ring::{Awaited, BusBell, OnBell, Wait, sleep_for_any};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Up to so many topics a sleeper sleeps on their own doorbells; the kernel takes time for each when it wakes up.
pub(crate) const DOORBELLS_MAX: usize = 8;
/// Polls between two looks at the clock, and at deaths and removals.
const POLLS_PER_ROUND: u32 = 128;

/// A subscriber that a [`Selector`] can wait for: any [`Subscriber`], whatever it receives.
///
/// Sealed: it is implemented for `Subscriber<P>`.
pub trait Selectable: sealed::Sealed {
    /// What it waits for.
    #[doc(hidden)]
    fn awaited(&self) -> Awaited<'_>;

    /// A thorough look, also at deaths and removals.
    #[doc(hidden)]
    fn has_news(&mut self) -> bool;

    /// The directory of its bus.
    #[doc(hidden)]
    fn bus_directory(&self) -> &Path;

    /// The epoch of its topic.
    #[doc(hidden)]
    fn epoch(&self) -> u64;
}

mod sealed {
    pub trait Sealed {}
    impl<P: ?Sized> Sealed for crate::subscriber::Subscriber<P> {}
}

impl<P: ?Sized + Trusted> Selectable for Subscriber<P> {
    fn awaited(&self) -> Awaited<'_> {
        self.awaited()
    }

    fn has_news(&mut self) -> bool {
        self.has_news()
    }

    fn bus_directory(&self) -> &Path {
        self.bus_directory()
    }

    fn epoch(&self) -> u64 {
        self.epoch()
    }
}

/// Waits for whichever of several subscribers has something first, of any kinds and types.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let root = memlane::doc_root();
/// use memlane::{Bus, Selector};
///
/// let bus = Bus::builder("selector").root(&root).open()?;
/// let (trades, quotes) = (bus.topic("trades")?.open_or_create()?, bus.topic("quotes")?.open_or_create()?);
/// let (mut trade, mut quote) = (trades.subscriber::<[u8]>().open()?, quotes.subscriber::<[u8]>().latest().open()?);
/// quotes.publisher::<[u8]>().open()?.publish(b"99 101")?;
///
/// let mut selector = Selector::new(&bus);
/// match selector.select(&mut [&mut trade, &mut quote], None) {
///     Some(0) => println!("{:?}", trade.try_receive()?),
///     Some(_) => assert_eq!(quote.try_receive()?.as_deref(), Some(&b"99 101"[..])),
///     None => unreachable!("only with a timeout"),
/// }
/// # Ok(())
/// # }
/// ```
///
/// It is fair: whoever was served last is looked at last. While it sleeps, publishers wake it as they wake a blocked subscriber. More than 128
/// subscribers must all be of the bus that it was made for, or it naps for a millisecond at a time.
#[derive(Debug)]
pub struct Selector {
    directory: PathBuf,
    bell: Option<BusBell>,
    wait: Wait,
    next: usize,
    /// Where subscribers to topics with these epochs were: hints.
    places: HashMap<u64, usize>,
}

impl Selector {
    /// A selector for subscribers to topics of `bus`.
    ///
    /// Cost: four system calls.
    #[must_use]
    pub fn new(bus: &Bus) -> Self {
        let directory = bus.directory().to_owned();
        Self {
            bell: BusBell::open_to_sleep(&directory),
            directory,
            wait: Wait::default(),
            next: 0,
            places: HashMap::new(),
        }
    }

    /// How to wait. Default [`Wait::default`].
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// The first of `subscribers`, from the one after the last chosen, that has a message. Never waits.
    ///
    /// Cost: a look at a cache line of each.
    pub fn try_select(&mut self, subscribers: &mut [&mut dyn Selectable]) -> Option<usize> {
        let found = find(subscribers, self.next, |subscriber| subscriber.awaited().is_there())?;
        self.next = found + 1;
        Some(found)
    }

    /// Waits until one of `subscribers` has a message, or an error to tell (its topic was removed), at most for `timeout` if there is one; gives
    /// its index, or `None` if the time was up. Now and then there turns out to be nothing: [`Subscriber::try_receive`] tells.
    ///
    /// Cost: as [`Selector::try_select`] for each look; to sleep, a locked instruction and a look for each besides.
    pub fn select(&mut self, subscribers: &mut [&mut dyn Selectable], timeout: Option<Duration>) -> Option<usize> {
        self.select_or_change(subscribers, None, timeout).map(|found| found.expect("no change was asked for"))
    }

    /// As [`Selector::select`]; also ends, with `Some(None)`, if the bus's bell counts other changes than `changes`.
    pub(crate) fn select_or_change(
        &mut self,
        subscribers: &mut [&mut dyn Selectable],
        changes: Option<u64>,
        timeout: Option<Duration>,
    ) -> Option<Option<usize>> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut polls = 0_u32;
        loop {
            if let Some(found) = self.try_select(subscribers) {
                return Some(Some(found));
            }
            polls = polls.saturating_add(1);
            let spins = match self.wait {
                Wait::BusySpin => u32::MAX,
                Wait::SpinThenYield { spins } | Wait::Block { spins } => spins,
            };
            let is_slow = polls > spins;
            if !is_slow && !polls.is_multiple_of(POLLS_PER_ROUND) && timeout != Some(Duration::ZERO) {
                core::hint::spin_loop();
                continue;
            }
            if let Some(found) = find(subscribers, self.next, |subscriber| subscriber.has_news()) {
                self.next = found + 1;
                return Some(Some(found));
            }
            if changes.is_some_and(|changes| self.changes() != changes) {
                return Some(None);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            match self.wait {
                Wait::SpinThenYield { .. } if is_slow => std::thread::yield_now(),
                Wait::Block { .. } if is_slow => {
                    if let Some(found) = self.sleep(subscribers, changes, left) {
                        return Some(Some(found));
                    }
                }
                _ => core::hint::spin_loop(),
            }
        }
    }

    /// How many topics of the bus came or went, as far as its bell counts them.
    pub(crate) fn changes(&self) -> u64 {
        self.bell.as_ref().map_or(0, BusBell::changes)
    }

    /// Whether the bus has a bell, so that changes are counted.
    pub(crate) fn counts_changes(&self) -> bool {
        self.bell.is_some()
    }

    /// Sleeps; gives the subscriber for whose topic the bell rang, if it has something.
    #[cold]
    fn sleep(
        &mut self,
        subscribers: &[&mut dyn Selectable],
        changes: Option<u64>,
        left: Option<Duration>,
    ) -> Option<usize> {
        let awaited: Vec<Awaited<'_>> = subscribers.iter().map(|subscriber| subscriber.awaited()).collect();
        let rings_for_all = || subscribers.iter().all(|subscriber| subscriber.bus_directory() == self.directory);
        let uses_bell = changes.is_some() || awaited.len() > DOORBELLS_MAX && rings_for_all();
        let Some(bell) = self.bell.as_ref().filter(|_| uses_bell) else {
            sleep_for_any(&awaited, &[], None, left);
            return None;
        };
        sleep_for_any(&awaited, &[OnBell { bell, changes }], None, left);
        let epoch = bell.last_rung();
        let is_it = |index: &usize| subscribers.get(*index).is_some_and(|subscriber| subscriber.epoch() == epoch);
        let place = self.places.get(&epoch).copied().filter(is_it).or_else(|| (0..subscribers.len()).find(is_it))?;
        if self.places.len() > 2 * subscribers.len() {
            self.places.clear();
        }
        self.places.insert(epoch, place);
        awaited[place].is_there().then(|| {
            self.next = place + 1;
            place
        })
    }
}

/// The first of `subscribers` from `start` on, and round to it, for which `is_it`.
fn find(
    subscribers: &mut [&mut dyn Selectable],
    start: usize,
    mut is_it: impl FnMut(&mut dyn Selectable) -> bool,
) -> Option<usize> {
    let start = if start < subscribers.len() { start } else { 0 };
    (start..subscribers.len()).chain(0..start).find(|index| is_it(&mut *subscribers[*index]))
}
