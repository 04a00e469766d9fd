//! Becoming a publisher: take a slot's lock, and go on where the last owner stopped.

use crate::lap::Lap;
use crate::layout::{control, slot};
use crate::many::ManyPublisher;
use crate::memory::{Log, Subs};
use crate::one::OnePublisher;
use crate::reclaim::Marks;
use crate::recover::{self, Peers};
use crate::wake;
use memlane_shm::LockFile;
use memlane_shm::barrier::Light;
use memlane_shm::clock::Ticker;
use memlane_shm::crash_point;
use memlane_shm::sync::{Ordering, fence};

impl OnePublisher {
    /// Goes on at the end of the log, whose lock the caller holds through `publishers`. `None` if the log is corrupt.
    ///
    /// Cost: a look at each frame of the newest 64th of a lap.
    pub(crate) fn attach(
        log: Log,
        subs: Subs,
        ticker: Option<Ticker>,
        publishers: LockFile,
        subscribers: LockFile,
    ) -> Option<Self> {
        let head = log.head();
        // A mark is a boundary, and the walk from it proves it; without a mark that can be used, walk from the head.
        let marks = Marks::from_shared(&log, head.saturating_add(log.geometry.capacity));
        let mark = marks.at_or_before(u64::MAX, head.saturating_add(log.geometry.capacity));
        let from_mark = mark.filter(|mark| *mark >= head).and_then(|mark| log.newest(mark));
        let (last, tail) = from_mark.or_else(|| log.newest(head))?;
        let mut marks = Marks::from_shared(&log, mark.unwrap_or(head).min(tail));
        // Every boundary that the predecessor had no time to note lies between the mark and the tail.
        log.each_boundary(mark.filter(|mark| *mark >= head).unwrap_or(head), tail, |position| {
            marks.note(&log, position)
        });
        if let Some(last) = last {
            log.control(control::LAST).store(last, Ordering::Release);
        }
        crash_point!("attach.locked");
        // The predecessor may have moved the head and died before it looked who still reads below: look again.
        // JOIN pairs with the fence in join.rs.
        fence(Ordering::SeqCst);
        let reclaimed = log.geometry.cell_of(head.min(subs.gate()));
        let light = Light::for_this_process();
        let does_more = ticker.is_some() || light.is_real_fence();
        let mut publisher = Self {
            lap: Lap::of(&log, tail, 0),
            at: log.geometry.offset(tail) as u64,
            bound: 0,
            bound_max: log.geometry.capacity - log.geometry.cell,
            meter: None,
            patience: None,
            stamped: 0,
            // The first commit looks after marks and room.
            turn_at: 0,
            straight_end: 0,
            reclaimed,
            marks,
            plain_payload_end: if does_more { 0 } else { log.geometry.payload_bytes_max() + 1 },
            light,
            ticker,
            peers: Peers::new(0, publishers, subscribers),
            #[cfg(not(loom))]
            sources: Default::default(),
            log,
            subs,
        };
        publisher.set_bound();
        arrive(&publisher.log, 0, tail);
        // The predecessor may have died between its last commit and the bell.
        wake::ring_for_good(&publisher.log, &publisher.subs);
        Some(publisher)
    }
}

impl ManyPublisher {
    /// Takes over slot `me`, whose lock the caller holds through `publishers`.
    ///
    /// Cost: a look at each claim in the log.
    pub(crate) fn attach(
        log: Log,
        subs: Subs,
        me: u32,
        ticker: Option<Ticker>,
        publishers: LockFile,
        subscribers: LockFile,
    ) -> Self {
        recover::take_down(&log, me);
        crash_point!("attach.locked");
        // Also after a clean leave: it may have leaked a claim (`mem::forget`), which would now seem to be ours.
        recover::pad_all_of(&log, me);
        let bytes = log.slot(me).get(slot::BYTES);
        arrive(&log, me, bytes);
        crash_point!("attach.announced");
        // As with one publisher.
        wake::ring_for_good(&log, &subs);
        Self::new(log, subs, me, ticker, Peers::new(me, publishers, subscribers))
    }
}

fn arrive(log: &Log, publisher: u32, bytes: u64) {
    crate::label::clear(&log.region, log.geometry.publisher_label_at(publisher));
    log.slot(publisher).arrive(log.messages(publisher).load(Ordering::Relaxed), bytes);
}

fn leave(log: &Log, publisher: u32) {
    crash_point!("leave.before");
    log.slot(publisher).leave();
    // Its lock still is taken.
    crash_point!("leave.marked");
}

// The lock goes with its file, after this.
impl Drop for OnePublisher {
    fn drop(&mut self) {
        leave(&self.log, 0);
    }
}

impl Drop for ManyPublisher {
    fn drop(&mut self) {
        leave(&self.log, self.me);
    }
}
