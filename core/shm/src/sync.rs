//! The one door to atomics, so that loom can stand in for the hardware and run the real algorithm.
//!
//! [`Region`] is a range of shared memory seen as 64-bit words. Built normally it is a pointer into a mapping; built
//! with `--cfg loom` it is an array of loom's atomics, and the same code above it becomes a model.
//!
//! Rule of the house: bytes that a live peer may overwrite are never behind a Rust reference. They are read word by word
//! with relaxed atomics ([`Region::copy_out`]) and checked afterwards, or read in place while something holds the peer off.

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(not(loom))]
pub use mapped::Region;
#[cfg(loom)]
pub use modelled::Region;

/// Bytes of a cache line, and of what two neighbours must keep apart so that the adjacent-line prefetcher of
/// current x86 parts doesn't couple them (as crossbeam's `CachePadded` does).
pub const LINE_PAIR_BYTES: usize = 128;

/// Bytes of a word, the unit in which shared memory is read and written.
pub const WORD_BYTES: usize = 8;

/// Tells the core that this is a spin loop: one `pause` on x86.
#[inline(always)]
pub fn spin_hint() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// Passes the time that `turns` turns of a short loop take: about a cycle each, and a store to the stack, which makes it as steady
/// as the messages are that it waits for. (Measured: a loop in registers alone is worse, 0.86 against 0.79 of a far handoff.)
#[inline(always)]
pub fn idle(turns: u32) {
    for turn in 0..if cfg!(loom) { 0 } else { turns } {
        core::hint::black_box(turn);
    }
}

#[cfg(not(loom))]
mod mapped {
    use super::{AtomicU64, Ordering, WORD_BYTES};
    use core::any::Any;
    use core::ptr::NonNull;
    use std::sync::Arc;

    /// A range of mapped shared memory, seen as words. Cloning it keeps the mapping alive.
    #[derive(Clone)]
    pub struct Region {
        base: NonNull<u8>,
        bytes: usize,
        _mapping: Arc<dyn Any + Send + Sync>,
    }

    // SAFETY:
    // - The memory is shared with other processes anyway; every access goes through atomics or through the unsafe
    //   methods below, whose callers state what keeps others away.
    // - The mapping itself is `Send + Sync` and outlives the pointer.
    unsafe impl Send for Region {}
    // SAFETY: as above.
    unsafe impl Sync for Region {}

    impl core::fmt::Debug for Region {
        fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            formatter.debug_struct("Region").field("bytes", &self.bytes).finish_non_exhaustive()
        }
    }

    impl Region {
        /// A region over `bytes` bytes at `base`, kept alive by `mapping`.
        ///
        /// # Safety
        /// - `base` is aligned to 8 and valid for reads of `bytes` bytes as long as `mapping` lives.
        /// - It is valid for writes too, or nobody calls a method that writes.
        pub(crate) unsafe fn new(base: NonNull<u8>, bytes: usize, mapping: Arc<dyn Any + Send + Sync>) -> Self {
            assert!(base.as_ptr().addr().is_multiple_of(WORD_BYTES), "a mapping starts on a page");
            Self { base, bytes, _mapping: mapping }
        }

        /// Zeroed private memory of this process: for tests, and for a log that never leaves its process.
        ///
        /// `bytes` is rounded up to whole words.
        #[must_use]
        pub fn private(bytes: usize) -> Self {
            let words: Arc<[AtomicU64]> = (0..bytes.div_ceil(WORD_BYTES)).map(|_| AtomicU64::new(0)).collect();
            let bytes = words.len() * WORD_BYTES;
            let base = NonNull::from(&*words).cast::<u8>();
            // SAFETY:
            // - Atomics may be written through a shared pointer, and they are aligned to 8.
            // - The `Arc` that is kept owns them.
            unsafe { Self::new(base, bytes, Arc::new(words)) }
        }

        /// Length in bytes.
        #[must_use]
        pub fn len(&self) -> usize {
            self.bytes
        }

        /// Whether the region has no bytes.
        #[must_use]
        pub fn is_empty(&self) -> bool {
            self.bytes == 0
        }

        /// The part `[offset, offset + bytes)` as a region of its own.
        ///
        /// # Panics
        /// If the part isn't inside, or doesn't start on a word.
        #[must_use]
        pub fn part(&self, offset: usize, bytes: usize) -> Self {
            self.check(offset, bytes);
            assert!(offset.is_multiple_of(WORD_BYTES), "a region starts on a word");
            // SAFETY: `check` found `offset` inside the allocation.
            let base = unsafe { self.base.add(offset) };
            Self { base, bytes, _mapping: Arc::clone(&self._mapping) }
        }

        /// The word at `offset` (bytes).
        ///
        /// # Panics
        /// If it isn't inside, or isn't aligned to 8.
        #[inline]
        #[must_use]
        pub fn word(&self, offset: usize) -> &AtomicU64 {
            self.check(offset, WORD_BYTES);
            assert!(offset.is_multiple_of(WORD_BYTES), "words are aligned");
            // SAFETY: in bounds and aligned, as just checked.
            unsafe { self.word_unchecked(offset) }
        }

        /// The word at `offset`, unchecked: for the hot path.
        ///
        /// # Safety
        /// `offset` is a multiple of 8 and `offset + 8 <= self.len()`.
        #[inline(always)]
        #[must_use]
        pub unsafe fn word_unchecked(&self, offset: usize) -> &AtomicU64 {
            debug_assert!(offset.is_multiple_of(WORD_BYTES) && offset + WORD_BYTES <= self.bytes);
            // SAFETY: in bounds by this function's contract.
            let word = unsafe { self.base.add(offset) }.cast::<AtomicU64>();
            // SAFETY:
            // - Aligned to 8 by contract, valid as long as the region lives.
            // - Every access to these bytes while others may write is atomic.
            unsafe { word.as_ref() }
        }

        /// Copies `source` to `offset` with plain stores.
        ///
        /// # Panics
        /// If it doesn't fit.
        #[inline]
        pub fn copy_in(&self, offset: usize, source: &[u8]) {
            self.check(offset, source.len());
            // SAFETY: in bounds, as just checked; racing readers copy and check.
            unsafe { self.copy_in_unchecked(offset, source) }
        }

        /// Copies `source` to `offset` with plain stores, unchecked.
        ///
        /// Lossy readers may race with it; they read with relaxed atomics and throw away what they find overtaken.
        ///
        /// # Safety
        /// `offset + source.len() <= self.len()`, and the mapping is writable.
        #[inline(always)]
        pub unsafe fn copy_in_unchecked(&self, offset: usize, source: &[u8]) {
            debug_assert!(offset + source.len() <= self.bytes);
            // SAFETY: in bounds by contract.
            let target = unsafe { self.base.add(offset) };
            // SAFETY:
            // - In bounds by contract; `source` is a Rust slice, which never overlaps a claimed part of the ring.
            // - Only the owner of a claim writes here, see `memlane-ring`.
            unsafe { super::copy_small(source.as_ptr(), target.as_ptr(), source.len()) }
        }

        /// Copies the bytes at `offset` into `target`, word by word with relaxed atomics, so that it may race with a
        /// writer. What was copied means nothing until the caller has checked that no writer came by.
        ///
        /// # Panics
        /// If `offset` isn't aligned to 8 or the bytes, rounded up to whole words, are not inside.
        pub fn copy_out(&self, offset: usize, target: &mut [u8]) {
            assert!(offset.is_multiple_of(WORD_BYTES), "words are aligned");
            self.check(offset, target.len().next_multiple_of(WORD_BYTES));
            let mut at = offset;
            let mut chunks = target.chunks_exact_mut(WORD_BYTES);
            for chunk in &mut chunks {
                // SAFETY: in bounds and aligned, as checked above.
                let word = unsafe { self.word_unchecked(at) };
                chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
                at += WORD_BYTES;
            }
            let rest = chunks.into_remainder();
            if !rest.is_empty() {
                // SAFETY: as above.
                let word = unsafe { self.word_unchecked(at) };
                rest.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes()[..rest.len()]);
            }
        }

        /// Sets `bytes` bytes at `offset` to zero.
        ///
        /// # Panics
        /// If they aren't whole words inside.
        pub fn clear(&self, offset: usize, bytes: usize) {
            for at in (offset..offset + bytes).step_by(WORD_BYTES) {
                self.word(at).store(0, Ordering::Relaxed);
            }
        }

        /// Asks for the cache line at `offset` in order to read it soon. A hint: any offset will do.
        #[inline(always)]
        pub fn prefetch_for_read(&self, offset: usize) {
            let _line = self.base.as_ptr().wrapping_add(offset);
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a prefetch changes no memory and faults at no address.
            unsafe {
                core::arch::asm!("prefetcht0 [{}]", in(reg) _line, options(nostack, preserves_flags));
            }
            #[cfg(target_arch = "aarch64")]
            // SAFETY: a prefetch changes no memory and faults at no address.
            unsafe {
                core::arch::asm!("prfm pldl1keep, [{}]", in(reg) _line, options(nostack, preserves_flags));
            }
        }

        /// The address of the byte at `offset`, for reading or writing in place.
        ///
        /// # Panics
        /// If `[offset, offset + bytes)` isn't inside.
        #[inline(always)]
        #[must_use]
        pub fn pointer(&self, offset: usize, bytes: usize) -> NonNull<u8> {
            self.check(offset, bytes);
            // SAFETY: in bounds, as just checked.
            unsafe { self.pointer_unchecked(offset, bytes) }
        }

        /// The address of the byte at `offset`, unchecked: for the hot path.
        ///
        /// # Safety
        /// `offset + bytes <= self.len()`.
        #[inline(always)]
        #[must_use]
        pub unsafe fn pointer_unchecked(&self, offset: usize, bytes: usize) -> NonNull<u8> {
            debug_assert!(offset + bytes <= self.bytes);
            // SAFETY: in bounds by contract.
            unsafe { self.base.add(offset) }
        }

        #[inline(always)]
        fn check(&self, offset: usize, bytes: usize) {
            assert!(
                offset <= self.bytes && bytes <= self.bytes - offset,
                "the range is outside of its region: a broken invariant of the caller"
            );
        }
    }
}

/// What one move carries.
#[cfg(all(not(loom), target_arch = "x86_64"))]
type Chunk = core::arch::x86_64::__m128i;
#[cfg(all(not(loom), not(target_arch = "x86_64")))]
type Chunk = u128;

/// Copies `bytes` bytes; 8 to 128 of them without a call or a loop, which costs more than the moves themselves do: the
/// first half in steps from the front, the second in steps from the back, overlapping in the middle.
///
/// The last bytes are written first, so that a frame of two lines writes the line that is polled last, all at once.
///
/// # Safety
/// `source` is valid for reads and `target` for writes of `bytes` bytes; they don't overlap.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn copy_small(source: *const u8, target: *mut u8, bytes: usize) {
    match bytes {
        // SAFETY: each arm copies at most `bytes` bytes from either end, by its range.
        33..=64 => unsafe { copy_ends::<Chunk, 2>(source, target, bytes) },
        // SAFETY: as above.
        17..=32 => unsafe { copy_ends::<Chunk, 1>(source, target, bytes) },
        // SAFETY: as above.
        65..=128 => unsafe { copy_ends::<Chunk, 4>(source, target, bytes) },
        // SAFETY: as above.
        8..=16 => unsafe { copy_ends::<u64, 1>(source, target, bytes) },
        // SAFETY: by this function's contract.
        _ => unsafe { core::ptr::copy_nonoverlapping(source, target, bytes) },
    }
}

/// Copies the first and the last `MOVES` times the size of `T` of `bytes` bytes, from the last to the first.
///
/// # Safety
/// As for [`copy_small`], and `bytes` is at least so many and at most twice as many.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn copy_ends<T: Copy, const MOVES: usize>(source: *const u8, target: *mut u8, bytes: usize) {
    let end = size_of::<T>() * MOVES;
    // SAFETY: `bytes - end` is inside, and `end` bytes follow.
    let source_back = unsafe { source.add(bytes - end) };
    // SAFETY: as just said.
    let target_back = unsafe { target.add(bytes - end) };
    for index in (0..MOVES).rev() {
        // SAFETY: `end` bytes are valid at both.
        unsafe { copy_one::<T>(source_back, target_back, index) };
    }
    for index in (0..MOVES).rev() {
        // SAFETY: as above.
        unsafe { copy_one::<T>(source, target, index) };
    }
}

/// Copies the `index`th `T` from `source` on.
///
/// # Safety
/// It is valid for reads at `source` and for writes at `target`; it may stand anywhere.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn copy_one<T: Copy>(source: *const u8, target: *mut u8, index: usize) {
    // SAFETY: by contract.
    let from = unsafe { source.add(index * size_of::<T>()) };
    // SAFETY: by contract.
    let to = unsafe { target.add(index * size_of::<T>()) };
    // SAFETY: by contract.
    let value = unsafe { from.cast::<T>().read_unaligned() };
    // SAFETY: by contract.
    unsafe { to.cast::<T>().write_unaligned(value) };
}

#[cfg(loom)]
mod modelled {
    use super::{AtomicU64, Ordering, WORD_BYTES};
    use std::sync::{Arc, OnceLock};

    /// Shared memory as loom sees it: an array of its atomics, each made when it is first touched, since loom pays for each
    /// at every fence. A model touches those that its threads will share before it spawns them; loom reports the others.
    #[derive(Clone, Debug)]
    pub struct Region {
        words: Arc<[OnceLock<AtomicU64>]>,
        first: usize,
        count: usize,
    }

    impl Region {
        /// Zeroed memory of the model.
        #[must_use]
        pub fn private(bytes: usize) -> Self {
            let words: Arc<[OnceLock<AtomicU64>]> = (0..bytes.div_ceil(WORD_BYTES)).map(|_| OnceLock::new()).collect();
            let count = words.len();
            Self { words, first: 0, count }
        }

        /// Length in bytes.
        #[must_use]
        pub fn len(&self) -> usize {
            self.count * WORD_BYTES
        }

        /// Whether the region has no bytes.
        #[must_use]
        pub fn is_empty(&self) -> bool {
            self.count == 0
        }

        /// The part `[offset, offset + bytes)`.
        #[must_use]
        pub fn part(&self, offset: usize, bytes: usize) -> Self {
            assert!(offset.is_multiple_of(WORD_BYTES) && offset + bytes <= self.len());
            Self { words: Arc::clone(&self.words), first: self.first + offset / WORD_BYTES, count: bytes / WORD_BYTES }
        }

        /// The word at `offset`.
        #[must_use]
        pub fn word(&self, offset: usize) -> &AtomicU64 {
            assert!(offset.is_multiple_of(WORD_BYTES) && offset + WORD_BYTES <= self.len());
            self.words[self.first + offset / WORD_BYTES].get_or_init(|| AtomicU64::new(0))
        }

        /// The word at `offset`.
        ///
        /// # Safety
        /// None needed in a model; the signature is that of the mapped region.
        #[must_use]
        pub unsafe fn word_unchecked(&self, offset: usize) -> &AtomicU64 {
            self.word(offset)
        }

        /// Copies `source` to `offset`, whole words only.
        pub fn copy_in(&self, offset: usize, source: &[u8]) {
            for (index, chunk) in source.chunks(WORD_BYTES).enumerate() {
                let mut word = [0; WORD_BYTES];
                word[..chunk.len()].copy_from_slice(chunk);
                self.word(offset + index * WORD_BYTES).store(u64::from_le_bytes(word), Ordering::Relaxed);
            }
        }

        /// Copies `source` to `offset`.
        ///
        /// # Safety
        /// None needed in a model; the signature is that of the mapped region.
        pub unsafe fn copy_in_unchecked(&self, offset: usize, source: &[u8]) {
            self.copy_in(offset, source);
        }

        /// Copies the bytes at `offset` into `target`.
        pub fn copy_out(&self, offset: usize, target: &mut [u8]) {
            for (index, chunk) in target.chunks_mut(WORD_BYTES).enumerate() {
                let word = self.word(offset + index * WORD_BYTES).load(Ordering::Relaxed).to_le_bytes();
                chunk.copy_from_slice(&word[..chunk.len()]);
            }
        }

        /// A model has no caches.
        pub fn prefetch_for_read(&self, _offset: usize) {}

        /// Sets `bytes` bytes at `offset` to zero.
        pub fn clear(&self, offset: usize, bytes: usize) {
            for at in (offset..offset + bytes).step_by(WORD_BYTES) {
                self.word(at).store(0, Ordering::Relaxed);
            }
        }
    }
}
