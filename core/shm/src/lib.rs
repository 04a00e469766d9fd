//! Layer 0 of memlane: every system call and every `unsafe` mapping that the layers above stand on.
//!
//! | module | what it gives |
//! |---|---|
//! | [`segment`] | shared memory, reserved in full and mapped: [`Segment`] |
//! | [`named`] | memory with a name in place of a file, and links to it |
//! | [`sync`] | the one door to atomics, and [`Region`]: mapped memory as 64-bit words |
//! | [`file_map`] | files that others write, mapped for reading |
//! | [`lock`] | locks that the kernel drops when their holder dies |
//! | [`futex`] | sleeping on a word of shared memory |
//! | [`barrier`] | an asymmetric fence: free for the side that is in a hurry |
//! | [`clock`] | stamps: raw counter ticks and their calibration |
//! | [`priority`] | how urgent a thread is |
//! | [`directory`] | directories that appear whole or not at all |
//! | [`fork`] | what a forked child must not inherit |
//! | [`crash`] | named places where a test kills the process |
//!
//! The crate knows nothing of topics, frames or subscribers.

#[cfg(not(all(target_os = "linux", target_endian = "little", target_pointer_width = "64")))]
compile_error!("memlane needs Linux on a 64-bit little-endian machine: its layouts are shared as they lie in memory");

pub mod barrier;
pub mod clock;
pub mod crash;
#[cfg(not(loom))]
pub mod directory;
#[cfg(not(loom))]
pub mod file_map;
#[cfg(not(loom))]
pub mod fork;
#[cfg(loom)]
pub mod fork {
    //! Models don't fork.

    /// Always the same process.
    pub fn generation() -> u64 {
        0
    }
}
pub mod futex;
pub mod lock;
#[cfg(not(loom))]
pub mod named;
#[cfg(not(loom))]
pub mod priority;
#[cfg(not(loom))]
pub mod segment;
pub mod sync;

pub use lock::LockFile;
#[cfg(not(loom))]
pub use named::Backing;
#[cfg(not(loom))]
pub use segment::{Access, MapOptions, Owner, Segment, SegmentError, SegmentOptions};
pub use sync::Region;

/// Models have no files.
#[cfg(loom)]
#[derive(Debug, thiserror::Error)]
#[error("models have no files")]
pub struct SegmentError;
