//! The thread that waits for a process: it sleeps on everything that tasks and event loops wait for, and wakes them.
//!
//! ```text
//!   task: nothing there ──> arm(position, waker) ──> OWN word changes, the thread looks anew
//!   thread: sleeps on the doorbells of the topics, or the bells of their buses, and its OWN word
//!   publisher: rings ──> thread: who has something? ──> its waker
//! ```
//!
//! One for a process, begun with the first wait; a forked child begins its own. A waker is used once: whoever is woken looks, and arms again.

use crate::selector::DOORBELLS_MAX;
use memlane_ring::{BusBell, OnBell, Watch, sleep_for_any};
use memlane_shm::sync::Ordering;
use memlane_shm::{Region, fork, futex};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
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
    /// Whether the thread has it on its list, or in its inbox.
    is_listed: bool,
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
        let Some(waiter) = Waiter::of_this_process() else {
            // There is no thread to be had: poll.
            return waker.wake_by_ref();
        };
        let mut armed = lock(&self.0.armed);
        armed.position = position;
        armed.waker = Some(waker.clone());
        armed.nap_end = Instant::now().checked_add(NAP);
        let is_new = !std::mem::replace(&mut armed.is_listed, true);
        drop(armed);
        waiter.look_anew(is_new.then(|| Arc::clone(&self.0)));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        lock(&self.0.armed).waker = None;
    }
}

/// The thread, as others see it.
#[derive(Debug)]
struct Waiter {
    generation: u64,
    /// Ears that were armed and aren't on the thread's list.
    inbox: Mutex<Vec<Arc<Ear>>>,
    /// A futex word that changes with each call of `look_anew`.
    own: Region,
}

static WAITER: Mutex<Option<Arc<Waiter>>> = Mutex::new(None);

/// A panic while one of these was held left nothing half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiter {
    /// The one of this process, which is begun if it isn't there; `None` if the system has no thread to give.
    fn of_this_process() -> Option<Arc<Self>> {
        let mut place = lock(&WAITER);
        let generation = fork::generation();
        if let Some(waiter) = place.as_ref().filter(|waiter| waiter.generation == generation) {
            return Some(Arc::clone(waiter));
        }
        let waiter = Arc::new(Self { generation, inbox: Mutex::default(), own: Region::private(64) });
        let its = Arc::clone(&waiter);
        std::thread::Builder::new().name("memlane-waiter".to_owned()).spawn(move || its.run()).ok()?;
        *place = Some(Arc::clone(&waiter));
        Some(waiter)
    }

    fn look_anew(&self, ear: Option<Arc<Ear>>) {
        lock(&self.inbox).extend(ear);
        self.own.word(0).fetch_add(1, Ordering::AcqRel);
        futex::wake(&self.own, 0, 1);
    }

    fn run(&self) {
        let mut ears: Vec<Arc<Ear>> = Vec::new();
        let mut bells: HashMap<PathBuf, Option<BusBell>> = HashMap::new();
        loop {
            let own = self.own.word(0).load(Ordering::Acquire) as u32;
            ears.append(&mut lock(&self.inbox));
            ears.retain(|ear| ear.goes_on());
            if ears.is_empty() {
                bells.clear();
                futex::wait(&self.own, 0, own, None);
            } else {
                self.sleep(&ears, &mut bells, own);
            }
        }
    }

    fn sleep(&self, ears: &[Arc<Ear>], bells: &mut HashMap<PathBuf, Option<BusBell>>, own: u32) {
        let (mut awaited, mut naps) = (Vec::with_capacity(ears.len()), false);
        for ear in ears {
            match &ear.waits_for {
                WaitsFor::Nap => naps = true,
                WaitsFor::News(news) => {
                    let News { watch, directory } = &**news;
                    awaited.push(watch.awaited(lock(&ear.armed).position));
                    if ears.len() > DOORBELLS_MAX && !bells.contains_key(directory) {
                        bells.insert(directory.clone(), BusBell::open_to_sleep(directory));
                    }
                }
            }
        }
        let rings_for_all =
            ears.len() > DOORBELLS_MAX && bells.len() < futex::WAIT_ANY_MAX && bells.values().all(Option::is_some);
        let on_bells: Vec<OnBell<'_>> =
            bells.values().flatten().filter(|_| rings_for_all).map(|bell| OnBell { bell, changes: None }).collect();
        sleep_for_any(&awaited, &on_bells, Some((&self.own, 0, own)), naps.then_some(NAP));
    }
}

impl Ear {
    /// Wakes it if there is something for it; whether it still waits.
    fn goes_on(&self) -> bool {
        let mut armed = lock(&self.armed);
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
        armed.is_listed = goes_on;
        drop(armed);
        if let Some(waker) = waker {
            waker.wake();
        }
        goes_on
    }
}
