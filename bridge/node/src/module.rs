//! What a node runs: modules, each on a thread of its own, each told by the same few words.
//!
//! ```text
//!   supervisor ── Stop, Reload ──> Context ──> module
//!   health     <── Running, Impaired, .. ────┘
//! ```
//!
//! Whatever a module begins beside its thread (threads, a runtime for tasks) it ends before it returns.

use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tracing::info;

use crate::config::Config;
use crate::health::{Health, State};
use crate::supervise::Event;

/// A part of a node. It is run again, after a while, when it fails, so `run` begins anew each time.
pub trait Module: Send + Sync {
    /// What people know it by; no two modules of a node have the same name, and it is the same after a reload.
    fn name(&self) -> &str;

    /// Does its work until `context` says stop; then finishes what it has begun, and returns. Says when it runs.
    ///
    /// Errors: whatever keeps it from going on. A return without an order to stop is taken as one, and so is a panic.
    fn run(&self, context: &Context) -> Result<(), ModuleError>;
}

/// Why a module can't go on.
pub type ModuleError = Box<dyn Error + Send + Sync>;

/// What a module is told.
#[derive(Clone, Debug)]
pub enum Order {
    /// Finish what is begun, and return. It is said again, however often it is asked for.
    Stop,
    /// The configuration is this now, and the module goes on by it. It was checked, and so was that this module can follow while it runs.
    Reload(Arc<Config>),
}

/// What a module has of its node. Clones are the same.
#[derive(Clone, Debug)]
pub struct Context {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    orders: Mutex<Orders>,
    changed: Condvar,
    /// Under which number it stands in `health`.
    id: u64,
    name: String,
    health: Health,
    events: Sender<Event>,
}

#[derive(Debug, Default)]
struct Orders {
    stops: bool,
    reloads: VecDeque<Arc<Config>>,
    is_woken: bool,
    wakers: Vec<Waker>,
}

impl Orders {
    fn next(&mut self) -> Option<Order> {
        if self.stops { Some(Order::Stop) } else { self.reloads.pop_front().map(Order::Reload) }
    }
}

impl Context {
    pub(crate) fn new(id: u64, name: &str, health: Health, events: Sender<Event>) -> Self {
        let (orders, changed, name) = (Mutex::default(), Condvar::new(), name.to_owned());
        Self { shared: Arc::new(Shared { orders, changed, id, name, health, events }) }
    }

    /// The next order; waits for it. `None` after [`Context::wake`].
    pub fn order(&self) -> Option<Order> {
        let mut orders = self.orders();
        loop {
            if let Some(order) = orders.next() {
                return Some(order);
            }
            if std::mem::take(&mut orders.is_woken) {
                return None;
            }
            orders = self.shared.changed.wait(orders).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next order, for a task of any executor; dropped before it is there, it takes none.
    pub fn order_async(&self) -> impl Future<Output = Order> + Send + '_ {
        std::future::poll_fn(|task| {
            let mut orders = self.orders();
            if let Some(order) = orders.next() {
                return Poll::Ready(order);
            }
            if !orders.wakers.iter().any(|waker| waker.will_wake(task.waker())) {
                orders.wakers.push(task.waker().clone());
            }
            Poll::Pending
        })
    }

    /// Whether it is to stop. Cost: a lock.
    #[must_use]
    pub fn stops(&self) -> bool {
        self.orders().stops
    }

    /// Ends the wait in [`Context::order`], or the next one: for what the module runs beside, when that has something to tell.
    pub fn wake(&self) {
        self.orders().is_woken = true;
        self.shared.changed.notify_all();
    }

    /// How all modules of the node are, for a module that tells others.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.shared.health
    }

    /// Says that it does all that it is there for.
    pub fn say_running(&self) {
        self.say(State::Running);
    }

    /// Says that it runs, but can't do a part of what it is there for, and why; it goes on trying.
    pub fn say_impaired(&self, why: impl Into<String>) {
        self.say(State::Impaired { why: why.into() });
    }

    pub(crate) fn tell_stop(&self) {
        self.shared.health.set(self.shared.id, State::Draining);
        self.change(|orders| orders.stops = true);
    }

    pub(crate) fn tell_reload(&self, config: Arc<Config>) {
        self.change(|orders| orders.reloads.push_back(config));
    }

    fn change(&self, change: impl FnOnce(&mut Orders)) {
        let mut orders = self.orders();
        change(&mut orders);
        let wakers = std::mem::take(&mut orders.wakers);
        drop(orders);
        self.shared.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn say(&self, state: State) {
        // What is draining stays so to its end.
        let runs = state == State::Running;
        if !self.stops() && self.shared.health.set(self.shared.id, state) {
            if runs {
                info!(module = self.shared.name, "runs");
            }
            // Without a supervisor there is nobody to tell.
            let _ = self.shared.events.send(Event::News);
        }
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        // A panic while it was held left nothing half-done.
        self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::mpsc::channel;

    fn context() -> Context {
        Context::new(0, "m", Health::default(), channel().0)
    }

    fn config() -> Arc<Config> {
        Arc::new(Config::parse("[node]\nname = \"n\"\n", Path::new("x.toml")).unwrap())
    }

    #[test]
    fn orders_come_in_their_order_and_stop_stays() {
        let context = context();
        context.tell_reload(config());
        assert!(matches!(context.order(), Some(Order::Reload(_))) && !context.stops());
        context.wake();
        assert!(context.order().is_none());
        context.tell_stop();
        for _ in 0..2 {
            assert!(matches!(context.order(), Some(Order::Stop)) && context.stops());
        }
    }

    #[test]
    fn a_wait_is_ended_by_an_order_of_another_thread() {
        let context = context();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| context.order());
            context.tell_stop();
            assert!(matches!(waiting.join().unwrap(), Some(Order::Stop)));
        });
    }

    #[test]
    fn a_task_is_woken_by_an_order() {
        let context = context();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| memlane::block_on(context.order_async()));
            context.tell_reload(config());
            assert!(matches!(waiting.join().unwrap(), Order::Reload(_)));
        });
    }
}
