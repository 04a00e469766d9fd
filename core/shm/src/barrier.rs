//! An asymmetric fence: the side in a hurry pays nothing, the side that is about to sleep pays for both.
//!
//! A store-load race (`store A; load B` against `store B; load A`) needs a full fence on both sides. With
//! `membarrier(2)` the slow side has the kernel execute one on every core that runs a registered process, so that the fast
//! side needs only a compiler fence:
//!
//! ```text
//!   fast (publish)                     slow (go to sleep)
//!   store frame header                 store "somebody sleeps"
//!   light()   nothing                  heavy()   system call, 1–5 µs
//!   load "somebody sleeps"             load frame header
//! ```
//!
//! Where the call is refused (old kernels, strict seccomp filters) [`Light::for_this_process`] says so and the fast side
//! executes a real fence; a slow side without the call must not sleep without a deadline, see [`heavy`].

use crate::sync::{Ordering, fence};

/// What the fast side does between its store and its load. Copy it into the structure that owns the hot path.
#[derive(Clone, Copy, Debug)]
pub struct Light {
    needs_fence: bool,
}

impl Light {
    /// Registers this process with the kernel, once; later calls are cheap.
    ///
    /// Cost: a system call the first time; in a process with threads it waits for a grace period of the kernel, about 10 ms.
    #[must_use]
    pub fn for_this_process() -> Self {
        Self { needs_fence: !registered() }
    }

    /// A fence that is real in any case: for a peer that can't call `membarrier`.
    #[must_use]
    pub fn always_fencing() -> Self {
        Self { needs_fence: true }
    }

    /// Whether [`Light::fence`] executes a real fence because the kernel refuses `membarrier`.
    #[must_use]
    pub fn is_real_fence(self) -> bool {
        self.needs_fence
    }

    /// What [`Light::fence`] is where the kernel has registered this process: no instruction.
    #[inline(always)]
    pub fn compiler_fence() {
        core::sync::atomic::compiler_fence(Ordering::SeqCst);
    }

    /// Orders what stands before against what stands after, as seen by whoever calls [`heavy`]. No instruction, unless
    /// the kernel refused to register this process.
    #[inline(always)]
    pub fn fence(self) {
        #[cfg(not(loom))]
        if self.needs_fence {
            fence(Ordering::SeqCst);
        } else {
            Self::compiler_fence();
        }
        // loom knows no asymmetric fences. Two full ones are what the pair amounts to where somebody calls `heavy`; where
        // nobody does it is no fence at all, and one would hide from loom what is missing elsewhere.
        #[cfg(loom)]
        if self.needs_fence {
            fence(Ordering::SeqCst);
        }
    }
}

/// Executes a full fence on every core that runs a registered process, and on this one.
///
/// Returns `false` if the kernel refused: then only this core was fenced, and the caller must bound its sleep.
/// Cost: one system call, a few microseconds.
pub fn heavy() -> bool {
    fence(Ordering::SeqCst);
    #[cfg(loom)]
    return true;
    #[cfg(not(loom))]
    {
        // The caller needs no registration of its own.
        let reached = membarrier(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED);
        fence(Ordering::SeqCst);
        reached
    }
}

#[cfg(loom)]
fn registered() -> bool {
    true
}

#[cfg(not(loom))]
fn registered() -> bool {
    use std::sync::OnceLock;
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| membarrier(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED))
}

#[cfg(not(loom))]
fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call takes two integers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::AtomicU64;
    use std::sync::Arc;

    /// The classic store-load test, with the light side unfenced: both sides reading zero is the outcome that must not be.
    #[test]
    fn light_and_heavy_together_close_the_store_load_race() {
        let light = Light::for_this_process();
        let words = Arc::new([AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)]);
        const ROUNDS: u64 = 20_000;
        let fast = {
            let words = Arc::clone(&words);
            std::thread::spawn(move || {
                for round in 1..=ROUNDS {
                    while words[2].load(Ordering::Acquire) < round {
                        std::hint::spin_loop();
                    }
                    words[0].store(round, Ordering::Relaxed);
                    light.fence();
                    let seen = words[1].load(Ordering::Relaxed);
                    words[3].store(round << 32 | seen, Ordering::Release);
                }
            })
        };
        for round in 1..=ROUNDS {
            words[2].store(round, Ordering::Release);
            words[1].store(round, Ordering::Relaxed);
            heavy();
            let seen_by_slow = words[0].load(Ordering::Relaxed);
            let seen_by_fast = loop {
                let answer = words[3].load(Ordering::Acquire);
                if answer >> 32 == round {
                    break answer & 0xffff_ffff;
                }
                std::hint::spin_loop();
            };
            assert!(
                seen_by_slow == round || seen_by_fast == round,
                "round {round}: both sides missed the other's store"
            );
        }
        fast.join().unwrap();
    }
}
