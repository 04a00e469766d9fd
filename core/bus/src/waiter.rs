//! The thread that waits for a process: it sleeps on everything that tasks and event loops wait for, and wakes them.
//!
//! ```text
//!   task: nothing there ──> arm(position, waker) ──> OWN word changes, the thread looks anew
//!   thread: sleeps on the doorbells of the topics, or the bells of their buses, and its OWN word
//!   publisher: rings ──> thread: who has something? ──> its waker
//! ```
//!
//! One for a process, begun with the first wait; a forked child begins its own. A waker is used once: whoever is woken looks, and arms again.
//! A thread in [`block_on`](crate::block_on) waits in the same way for what its own future waits for, and for nothing else: block_on.rs.

use crate::block_on::Here;
use crate::selector::DOORBELLS_MAX;
use memlane_ring::{BusBell, OnBell, Watch, sleep_for_any};
use memlane_shm::{Region, fork, futex};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// How long a wait lasts that nobody would end.
const NAP: Duration = Duration::from_millis(1);

/// What a subscriber, or a publisher without room, waits by.
#[derive(Debug)]
pub(crate) struct Ear {
    waits_for: WaitsFor,
    armed: Mutex<Armed>,
}

#[derive(Debug)]
enum WaitsFor {
    /// News of a topic, which belongs to the bus in this directory.
    News(Box<News>),
    /// That a millisecond has passed.
    Nap,
}

#[derive(Debug)]
struct News {
    watch: Watch,
    directory: PathBuf,
}

#[derive(Debug, Default)]
struct Armed {
    position: u64,
    waker: Option<Waker>,
    /// When a nap is over; of an unfinished message, when it is time to ask whether its publisher died.
    nap_end: Option<Instant>,
    /// Which waiter has it on its list, or in its inbox.
    listed_by: Option<WaiterId>,
}

/// An [`Ear`] whose drop keeps it from being woken.
#[derive(Debug)]
pub(crate) struct Listener(Arc<Ear>);

impl Listener {
    /// For news of the topic that `watch` looks at, of the bus in `directory`.
    pub(crate) fn for_news(watch: Watch, directory: &Path) -> Self {
        Self::new(WaitsFor::News(Box::new(News { watch, directory: directory.to_owned() })))
    }

    /// For the end of a nap.
    pub(crate) fn for_nap() -> Self {
        Self::new(WaitsFor::Nap)
    }

    fn new(waits_for: WaitsFor) -> Self {
        Self(Arc::new(Ear { waits_for, armed: Mutex::default() }))
    }

    /// Has `waker` woken, once, when there may be something at `position`, or the topic is gone. Looks first, so nothing is missed that came
    /// before. In the place of the waker before, if that is still armed.
    ///
    /// Cost: some locks and a system call, and the thread's look.
    pub(crate) fn arm(&self, position: u64, waker: &Waker) {
        let Some(waiter) = Here::waiter_of(waker).or_else(Waiter::of_this_process) else {
            // There is no thread to be had: poll.
            return waker.wake_by_ref();
        };
        let mut armed = lock(&self.0.armed);
        armed.position = position;
        armed.waker = Some(waker.clone());
        armed.nap_end = Instant::now().checked_add(NAP);
        let is_new = armed.listed_by.replace(waiter.id) != Some(waiter.id);
        drop(armed);
        if is_new {
            lock(&waiter.inbox).push(Arc::clone(&self.0));
        }
        // This thread itself looks before it sleeps.
        if waiter.thread.is_none() {
            waiter.look_anew();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        lock(&self.0.armed).waker = None;
    }
}

/// Tells a waiter from those before and beside it.
type WaiterId = u64;

/// A thread that waits, as others see it.
#[derive(Debug)]
pub(crate) struct Waiter {
    id: WaiterId,
    /// Ears that were armed and aren't on the thread's list.
    inbox: Mutex<Vec<Arc<Ear>>>,
    /// A futex word that changes with each call of `look_anew`.
    own: Region,
    /// The thread, where it is one that runs a future: what that does itself need not wake it.
    thread: Option<ThreadId>,
}

/// The one of the process, and the fork it was begun in.
static WAITER: Mutex<Option<(u64, Arc<Waiter>)>> = Mutex::new(None);

/// A panic while one of these was held left nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiter {
    fn new(thread: Option<ThreadId>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { id, inbox: Mutex::default(), own: Region::private(64), thread }
    }

    /// One for this thread, which takes its turns itself.
    pub(crate) fn of_this_thread() -> Self {
        Self::new(Some(thread::current().id()))
    }

    /// The one of this process, which is begun if it isn't there; `None` if the system has no thread to give.
    fn of_this_process() -> Option<Arc<Self>> {
        let mut place = lock(&WAITER);
        let generation = fork::generation();
        if let Some((_, waiter)) = place.as_ref().filter(|(begun_in, _)| *begun_in == generation) {
            return Some(Arc::clone(waiter));
        }
        let waiter = Arc::new(Self::new(None));
        let its = Arc::clone(&waiter);
        let run = move || {
            let mut ears = Ears::default();
            loop {
                its.turn(&mut ears, its.changes());
            }
        };
        thread::Builder::new().name("memlane-waiter".to_owned()).spawn(run).ok()?;
        *place = Some((generation, Arc::clone(&waiter)));
        Some(waiter)
    }

    /// How often it was told to look anew, modulo 2^32.
    pub(crate) fn changes(&self) -> u32 {
        self.own.word(0).load(Ordering::Acquire) as u32
    }

    /// Ends its sleep, or keeps it from the next one.
    fn look_anew(&self) {
        self.own.word(0).fetch_add(1, Ordering::AcqRel);
        if self.thread != Some(thread::current().id()) {
            futex::wake(&self.own, 0, 1);
        }
    }

    /// Wakes whoever there is something for; then sleeps until there may be more, or until it was told to look anew since there were
    /// so many `changes`.
    pub(crate) fn turn(&self, ears: &mut Ears, changes: u32) {
        ears.list.append(&mut lock(&self.inbox));
        ears.list.retain(|ear| ear.goes_on(self.id));
        if self.changes() != changes {
            return;
        }
        if ears.list.is_empty() {
            ears.bells.clear();
            futex::wait(&self.own, 0, changes, None);
        } else {
            ears.sleep(&self.own, changes);
        }
    }
}

/// A waker for what the thread runs.
impl Wake for Waiter {
    fn wake(self: Arc<Self>) {
        self.look_anew();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.look_anew();
    }
}

/// What one waiter waits for.
#[derive(Debug, Default)]
pub(crate) struct Ears {
    list: Vec<Arc<Ear>>,
    /// The bells of their buses, opened when they are needed; `None` where there is none.
    bells: HashMap<PathBuf, Option<BusBell>>,
}

impl Ears {
    fn sleep(&mut self, own: &Region, changes: u32) {
        let Self { list, bells } = self;
        let (mut awaited, mut naps) = (Vec::with_capacity(list.len()), false);
        for ear in &*list {
            match &ear.waits_for {
                WaitsFor::Nap => naps = true,
                WaitsFor::News(news) => {
                    let News { watch, directory } = &**news;
                    awaited.push(watch.awaited(lock(&ear.armed).position));
                    if list.len() > DOORBELLS_MAX && !bells.contains_key(directory) {
                        bells.insert(directory.clone(), BusBell::open_to_sleep(directory));
                    }
                }
            }
        }
        let rings_for_all =
            list.len() > DOORBELLS_MAX && bells.len() < futex::WAIT_ANY_MAX && bells.values().all(Option::is_some);
        let on_bells: Vec<OnBell<'_>> =
            bells.values().flatten().filter(|_| rings_for_all).map(|bell| OnBell { bell, changes: None }).collect();
        sleep_for_any(&awaited, &on_bells, Some((own, 0, changes)), naps.then_some(NAP));
    }
}

impl Ear {
    /// Wakes it if there is something for it; whether it still waits, and `waiter` is to go on looking for it.
    fn goes_on(&self, waiter: WaiterId) -> bool {
        let mut armed = lock(&self.armed);
        if armed.listed_by != Some(waiter) {
            return false;
        }
        let nap_is_over = || armed.nap_end.is_none_or(|end| end <= Instant::now());
        let is_due = match &self.waits_for {
            WaitsFor::Nap => nap_is_over(),
            WaitsFor::News(news) => {
                let awaited = news.watch.awaited(armed.position);
                // An unfinished message: its publisher may have died, which the subscriber finds out.
                awaited.is_there() || !awaited.is_live() || awaited.is_claimed() && nap_is_over()
            }
        };
        let waker = if is_due { armed.waker.take() } else { None };
        let goes_on = armed.waker.is_some();
        if !goes_on {
            armed.listed_by = None;
        }
        drop(armed);
        if let Some(waker) = waker {
            waker.wake();
        }
        goes_on
    }
}
