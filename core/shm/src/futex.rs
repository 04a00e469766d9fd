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
pub use model::{let_time_pass, wait, wake};

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
    //! A futex for models: one lock and one condition variable for all words. A sleeper that nobody wakes is a deadlock,
    //! which loom reports.

    use super::*;
    use crate::sync::Ordering;
    use loom::sync::{Condvar, Mutex};
    use std::cell::Cell;

    loom::lazy_static! {
        static ref QUEUE: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    thread_local! {
        // loom runs all threads of a model on one of the system's.
        static TIME_PASSES: Cell<bool> = const { Cell::new(true) };
    }

    /// Whether a sleep with a time-out ends by it. Where it doesn't, a model shows that nobody relies on time-outs.
    pub fn let_time_pass(passes: bool) {
        TIME_PASSES.set(passes);
    }

    /// Sleeps as long as the word at `offset` has `expected` in its low half.
    pub fn wait(region: &Region, offset: usize, expected: u32, timeout: Option<Duration>) -> Woken {
        if timeout.is_some() && TIME_PASSES.get() {
            loom::thread::yield_now();
            return Woken::TimedOut;
        }
        let guard = QUEUE.0.lock().unwrap();
        if region.word(offset).load(Ordering::SeqCst) as u32 == expected {
            drop(QUEUE.1.wait(guard).unwrap());
        }
        Woken::Maybe
    }

    /// Wakes every sleeper of the model.
    pub fn wake(_region: &Region, _offset: usize, _count: u32) -> u32 {
        let _guard = QUEUE.0.lock().unwrap();
        QUEUE.1.notify_all();
        0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Ordering;

    const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

    #[test]
    fn a_wait_on_a_word_that_has_changed_returns_at_once() {
        let region = Region::private(64);
        region.word(8).store(7, Ordering::SeqCst);
        assert_eq!(wait(&region, 8, 6, PATIENCE), Woken::Maybe);
    }

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let region = Region::private(64);
        assert_eq!(wait(&region, 0, 0, Some(Duration::from_millis(1))), Woken::TimedOut);
        assert_eq!(wait_any(&[(&region, 0, 0)], Some(Duration::from_millis(1))).unwrap(), Woken::TimedOut);
    }

    #[test]
    fn a_waker_ends_the_wait_of_a_sleeper_on_any_of_several_words() {
        let region = Region::private(64);
        let sleeper = {
            let region = region.clone();
            std::thread::spawn(move || {
                while region.word(16).load(Ordering::SeqCst) == 0 {
                    wait_any(&[(&region, 0, 0), (&region, 16, 0)], PATIENCE).unwrap();
                }
            })
        };
        std::thread::sleep(Duration::from_millis(5));
        region.word(16).store(1, Ordering::SeqCst);
        wake(&region, 16, u32::MAX);
        sleeper.join().unwrap();
    }

    #[test]
    fn the_longest_time_is_no_error_and_ends_with_a_wake_up() {
        let region = Region::private(64);
        for longest in [Duration::MAX, Duration::from_secs(i64::MAX as u64)] {
            let sleeper = {
                let region = region.clone();
                std::thread::spawn(move || {
                    while region.word(8).load(Ordering::SeqCst) == 0 {
                        wait(&region, 8, 0, Some(longest));
                        wait_any(&[(&region, 8, 0)], Some(longest)).unwrap();
                    }
                })
            };
            std::thread::sleep(Duration::from_millis(5));
            region.word(8).store(1, Ordering::SeqCst);
            wake(&region, 8, u32::MAX);
            sleeper.join().unwrap();
            region.word(8).store(0, Ordering::SeqCst);
        }
    }

    #[test]
    fn waiting_on_no_word_or_too_many_is_an_error() {
        let region = Region::private(64);
        assert_eq!(wait_any(&[], None).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        let many = vec![(&region, 0, 0); WAIT_ANY_MAX + 1];
        assert_eq!(wait_any(&many, None).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    }
}
