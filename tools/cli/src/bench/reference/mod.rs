//! The machine's own limits, against which memlane is held: bare words, a bare ring and a bare futex in shared memory.
//!
//! | module | limit | of |
//! |---|---|---|
//! | [`handoff`] | a word on a line of its own, passed to and fro | latency |
//! | [`ring`] | a flag and a payload per slot, one writer and one reader | throughput |
//! | [`wake`] | a futex wait on one core, a wake on the other | waking up |
//!
//! All of them lie in one file. Both processes take the same lanes from [`References`] in the same order, and
//! so find each at the same place.

pub mod handoff;
pub mod payload;
pub mod ring;
pub mod wake;

use std::path::Path;

use memlane_shm::{Access, MapOptions, Region, Segment, SegmentError, SegmentOptions};

use super::lane::Lane;
use super::open_loop::OpenLoop;
use handoff::{ByHop, Handoff};
use ring::{LargeRing, LargeWideRing, PAUSES_PATIENT, PAUSES_USUAL, SmallRing, SmallWideRing};
use wake::FutexWake;

/// Name of the file in the directory of a measurement.
const FILE: &str = "references";

/// Size of the file: room for one of each with some to spare.
const FILE_BYTES: usize = 24 << 20;

/// Each lane starts on a page.
const PAGE_BYTES: usize = 4096;

/// How large a raw ring is: rings are compared at the same size, see [`ring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingSize {
    /// About 1 MiB: fits the second-level cache of a current server core.
    OneMib,
    /// About 4 MiB: does not.
    FourMib,
}

/// The file that the references lie in, given out part by part.
#[derive(Debug)]
pub struct References {
    segment: Segment,
    used_bytes: usize,
}

impl References {
    /// Makes the file: for the conductor.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn create(directory: &Path) -> Result<Self, SegmentError> {
        let options = SegmentOptions { map: prefaulted(), ..SegmentOptions::default() };
        let segment = Segment::create(&directory.join(FILE), FILE_BYTES as u64, &options)?;
        Ok(Self { segment, used_bytes: 0 })
    }

    /// Maps the file: for its peer.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn open(directory: &Path) -> Result<Self, SegmentError> {
        let segment = Segment::open(&directory.join(FILE), Access::ReadWrite, &prefaulted())?;
        Ok(Self { segment, used_bytes: 0 })
    }

    /// The limit of latency as the mean of a batch: two words on two lines, polled without a pause. Every measurement
    /// has it as its first lane.
    pub fn handoff(&mut self) -> Box<dyn Lane> {
        Box::new(Handoff::<0>::new(self.take(handoff::BYTES)))
    }

    /// As [`References::handoff`], with one pause per poll.
    pub fn handoff_with_pause(&mut self) -> Box<dyn Lane> {
        Box::new(Handoff::<1>::new(self.take(handoff::BYTES)))
    }

    /// As [`References::handoff`], with a clock read per round trip and so with percentiles.
    pub fn handoff_by_hop(&mut self) -> Box<dyn Lane> {
        Box::new(ByHop::<0>::new(self.take(handoff::BYTES)))
    }

    /// As [`References::handoff_by_hop`], with one pause per poll.
    pub fn handoff_by_hop_with_pause(&mut self) -> Box<dyn Lane> {
        Box::new(ByHop::<1>::new(self.take(handoff::BYTES)))
    }

    /// The limit of throughput with payloads of 64 bytes.
    pub fn ring_of_64_bytes(&mut self, size: RingSize) -> Box<dyn Lane> {
        self.small_ring::<PAUSES_USUAL>(size)
    }

    /// The limit of throughput with payloads of 1 KiB.
    pub fn ring_of_1_kib(&mut self, size: RingSize) -> Box<dyn Lane> {
        self.large_ring::<PAUSES_USUAL>(size)
    }

    /// As [`References::ring_of_64_bytes`], with a reader that is as patient as memlane's in its streams.
    pub fn patient_ring_of_64_bytes(&mut self, size: RingSize) -> Box<dyn Lane> {
        self.small_ring::<PAUSES_PATIENT>(size)
    }

    /// As [`References::ring_of_1_kib`], with a reader that is as patient as memlane's in its streams.
    pub fn patient_ring_of_1_kib(&mut self, size: RingSize) -> Box<dyn Lane> {
        self.large_ring::<PAUSES_PATIENT>(size)
    }

    fn small_ring<const PAUSES: usize>(&mut self, size: RingSize) -> Box<dyn Lane> {
        match size {
            RingSize::OneMib => Box::new(SmallRing::<PAUSES>::new(self.take(SmallRing::<PAUSES>::BYTES))),
            RingSize::FourMib => Box::new(SmallWideRing::<PAUSES>::new(self.take(SmallWideRing::<PAUSES>::BYTES))),
        }
    }

    fn large_ring<const PAUSES: usize>(&mut self, size: RingSize) -> Box<dyn Lane> {
        match size {
            RingSize::OneMib => Box::new(LargeRing::<PAUSES>::new(self.take(LargeRing::<PAUSES>::BYTES))),
            RingSize::FourMib => Box::new(LargeWideRing::<PAUSES>::new(self.take(LargeWideRing::<PAUSES>::BYTES))),
        }
    }

    /// As [`References::ring_of_64_bytes`] of 1 MiB, at a fixed rate and one by one.
    pub fn open_loop_of_64_bytes(&mut self, messages_per_s: f64) -> Box<dyn Lane> {
        let ring: SmallRing = SmallRing::new(self.take(<SmallRing>::BYTES));
        Box::new(OpenLoop::new(ring, messages_per_s))
    }

    /// The limit of waking up a sleeping process on the other core.
    pub fn futex_wake(&mut self) -> Box<dyn Lane> {
        Box::new(FutexWake::new(self.take(wake::BYTES)))
    }

    /// The next free part of the file, `bytes` long.
    ///
    /// # Panics
    /// If the file is used up: then `FILE_BYTES` is too small for the list of lanes.
    pub fn take(&mut self, bytes: usize) -> Region {
        let part = self.segment.region().part(self.used_bytes, bytes);
        self.used_bytes += bytes.next_multiple_of(PAGE_BYTES);
        part
    }
}

fn prefaulted() -> MapOptions {
    MapOptions { prefault: true, ..MapOptions::default() }
}
