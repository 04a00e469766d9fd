//! Sleeping on a word of shared memory, across processes.
//!
//! A futex word is the low half of a 64-bit word of a [`Region`]. The kernel compares it with what the sleeper last saw
//! before it lets it sleep, so a change between the look and the call is never missed. Waiting and waking need a mapping
//! that can be read; neither needs one that can be written.

use crate::sync::Region;
use std::time::Duration;

/// Why a wait ended. Whatever it says, look at the memory again: a wake-up may be spurious.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Somebody woke it, a signal came, or the word no longer had the expected value.
    Maybe,
    /// The time was up.
    TimedOut,
}

/// Most words that [`wait_any`] takes in one call (`FUTEX_WAITV_MAX`).
pub const WAIT_ANY_MAX: usize = 128;

#[cfg(not(loom))]
pub use real::{wait, wait_any, wake};

#[cfg(loom)]
pub use model::{let_time_pass, wait, wait_any, wake};

#[cfg(not(loom))]
mod real {
    use super::*;
    use std::io;

    /// Sleeps as long as the word at `offset` has `expected` in its low half, at most for `timeout`.
    ///
    /// Cost: one system call.
    pub fn wait(region: &Region, offset: usize, expected: u32, timeout: Option<Duration>) -> Woken {
        let time = timeout.map(timespec);
        let time_pointer = time.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        // SAFETY:
        // - The address is inside the mapping, which `region` keeps alive over the call.
        // - `time_pointer` is null or points to `time`, which outlives the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_futex,
                region.word(offset).as_ptr(),
                libc::FUTEX_WAIT,
                expected,
                time_pointer,
                core::ptr::null::<u32>(),
                0,
            )
        };
        woken(result)
    }

    /// Wakes at most `count` sleepers on the word at `offset`; returns how many there were.
    ///
    /// Cost: one system call, and about a microsecond for each sleeper.
    pub fn wake(region: &Region, offset: usize, count: u32) -> u32 {
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        // SAFETY: the address is inside the mapping, which `region` keeps alive over the call.
        let result =
            unsafe { libc::syscall(libc::SYS_futex, region.word(offset).as_ptr(), libc::FUTEX_WAKE, count, 0, 0, 0) };
        u32::try_from(result).unwrap_or(0)
    }

    /// Sleeps as long as each `(region, offset, expected)` has its expected value, at most for `timeout`.
    ///
    /// Errors: `InvalidInput` for none or more than [`WAIT_ANY_MAX`] words; `Unsupported` on a kernel before 5.16, or where a filter
    /// refuses the call (`EPERM`).
    pub fn wait_any(words: &[(&Region, usize, u32)], timeout: Option<Duration>) -> io::Result<Woken> {
        const FUTEX2_SIZE_U32: u32 = 2;
        #[repr(C)]
        struct Waiter {
            value: u64,
            address: u64,
            flags: u32,
            reserved: u32,
        }
        if words.is_empty() || words.len() > WAIT_ANY_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "between 1 and 128 words can be waited on at once",
            ));
        }
        let waiters: Vec<Waiter> = words
            .iter()
            .map(|(region, offset, expected)| Waiter {
                value: u64::from(*expected),
                address: region.word(*offset).as_ptr() as u64,
                flags: FUTEX2_SIZE_U32,
                reserved: 0,
            })
            .collect();
        // This call takes an instant, not a duration.
        let until = timeout.map(|timeout| timespec(monotonic_now().saturating_add(timeout)));
        let until_pointer = until.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        // SAFETY:
        // - `waiters` has as many entries as said; each address lies in a mapping that its region keeps alive.
        // - `until_pointer` is null or points to `until`, which outlives the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_futex_waitv,
                waiters.as_ptr(),
                waiters.len(),
                0,
                until_pointer,
                libc::CLOCK_MONOTONIC,
            )
        };
        if result < 0 && matches!(io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
            let text = "futex_waitv needs Linux 5.16 or later, and no filter that refuses it";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        Ok(woken(result))
    }

    fn woken(result: libc::c_long) -> Woken {
        if result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ETIMEDOUT) {
            Woken::TimedOut
        } else {
            Woken::Maybe
        }
    }

    fn monotonic_now() -> Duration {
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
    }

    fn timespec(duration: Duration) -> libc::timespec {
        libc::timespec {
            tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(duration.subsec_nanos() as i32),
        }
    }
}

#[cfg(loom)]
mod model {
    //! A futex for models: one lock and one condition variable for all words, and a list of who sleeps on which. A sleeper that nobody
    //! wakes is a deadlock, which loom reports.

    use super::*;
    use crate::sync::Ordering;
    use loom::sync::{Condvar, Mutex};
    use std::cell::Cell;
    use std::io;

    loom::lazy_static! {
        static ref QUEUE: (Mutex<Vec<Sleeper>>, Condvar) = (Mutex::new(Vec::new()), Condvar::new());
    }

    thread_local! {
        // loom runs all threads of a model on one of the system's.
        static TIME_PASSES: Cell<bool> = const { Cell::new(true) };
    }

    /// One that sleeps, or was woken and hasn't noticed.
    struct Sleeper {
        /// The addresses of its words: whoever wakes on others doesn't wake it.
        words: Vec<usize>,
        is_woken: bool,
    }

    /// Whether a sleep with a time-out ends by it. Where it doesn't, a model shows that nobody relies on time-outs.
    pub fn let_time_pass(passes: bool) {
        TIME_PASSES.set(passes);
    }

    /// Sleeps as long as the word at `offset` has `expected` in its low half.
    pub fn wait(region: &Region, offset: usize, expected: u32, timeout: Option<Duration>) -> Woken {
        wait_any(&[(region, offset, expected)], timeout).expect("a model has one word")
    }

    /// Sleeps as long as each of the words has its expected value.
    pub fn wait_any(words: &[(&Region, usize, u32)], timeout: Option<Duration>) -> io::Result<Woken> {
        if timeout.is_some() && TIME_PASSES.get() {
            loom::thread::yield_now();
            return Ok(Woken::TimedOut);
        }
        let mut sleepers = QUEUE.0.lock().unwrap();
        let are_as_expected = words
            .iter()
            .all(|(region, offset, expected)| region.word(*offset).load(Ordering::SeqCst) as u32 == *expected);
        if are_as_expected {
            let words: Vec<usize> = words.iter().map(|(region, offset, _)| address(region, *offset)).collect();
            sleepers.push(Sleeper { words: words.clone(), is_woken: false });
            loop {
                sleepers = QUEUE.1.wait(sleepers).unwrap();
                let mine = |sleeper: &Sleeper| sleeper.is_woken && sleeper.words == words;
                if let Some(index) = sleepers.iter().position(mine) {
                    sleepers.swap_remove(index);
                    break;
                }
            }
        }
        Ok(Woken::Maybe)
    }

    /// Wakes every sleeper on this word.
    pub fn wake(region: &Region, offset: usize, _count: u32) -> u32 {
        let mut sleepers = QUEUE.0.lock().unwrap();
        let word = address(region, offset);
        for sleeper in sleepers.iter_mut().filter(|sleeper| sleeper.words.contains(&word)) {
            sleeper.is_woken = true;
        }
        QUEUE.1.notify_all();
        0
    }

    fn address(region: &Region, offset: usize) -> usize {
        core::ptr::from_ref(region.word(offset)).addr()
    }
}
