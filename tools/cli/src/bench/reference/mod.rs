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
use payload::Messages;
use ring::{PAUSES_PATIENT, PAUSES_USUAL, Ring};
use wake::FutexWake;

/// Name of the file in the directory of a measurement.
const FILE: &str = "references";

/// Size of the file: room for one of each with some to spare, if payloads have 64 KiB at most.
const FILE_BYTES: usize = 24 << 20;

/// How much more there is for longer payloads: their rings have four slots at least.
const FILE_BYTES_MORE: usize = 32 << 20;

/// The longest payload for which [`FILE_BYTES`] are enough.
const PAYLOAD_USUAL_MAX: usize = 64 << 10;

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
    /// Makes the file: for the conductor. Payloads have up to `payload_bytes_max` bytes.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn create(directory: &Path, payload_bytes_max: usize) -> Result<Self, SegmentError> {
        let options = SegmentOptions { map: prefaulted(), ..SegmentOptions::default() };
        let more = if payload_bytes_max > PAYLOAD_USUAL_MAX { FILE_BYTES_MORE } else { 0 };
        let segment = Segment::create(&directory.join(FILE), (FILE_BYTES + more) as u64, &options)?;
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

    /// The limit of throughput with these messages.
    pub fn ring<M: Messages + 'static>(&mut self, size: RingSize, messages: M) -> Box<dyn Lane> {
        self.ring_with::<M, PAUSES_USUAL>(size, messages)
    }

    /// As [`References::ring`], with a reader that is as patient as memlane's in its streams.
    pub fn patient_ring<M: Messages + 'static>(&mut self, size: RingSize, messages: M) -> Box<dyn Lane> {
        self.ring_with::<M, PAUSES_PATIENT>(size, messages)
    }

    fn ring_with<M: Messages + 'static, const PAUSES: usize>(&mut self, size: RingSize, messages: M) -> Box<dyn Lane> {
        match size {
            RingSize::OneMib => Box::new(self.sized_ring::<M, { 1 << 20 }, PAUSES>(messages)),
            RingSize::FourMib => Box::new(self.sized_ring::<M, { 4 << 20 }, PAUSES>(messages)),
        }
    }

    fn sized_ring<M: Messages, const SIZE: usize, const PAUSES: usize>(
        &mut self,
        messages: M,
    ) -> Ring<M, SIZE, PAUSES> {
        let region = self.take(Ring::<M, SIZE, PAUSES>::bytes(messages.bytes()));
        Ring::new(region, messages)
    }

    /// As [`References::ring`] of 1 MiB, at a fixed rate and one by one.
    pub fn open_loop<M: Messages + 'static>(&mut self, messages: M, messages_per_s: f64) -> Box<dyn Lane> {
        let ring = self.sized_ring::<M, { 1 << 20 }, PAUSES_USUAL>(messages);
        Box::new(OpenLoop::new(ring, messages_per_s))
    }

    /// The limit of waking up a sleeping process on the other core.
    pub fn futex_wake(&mut self) -> Box<dyn Lane> {
        Box::new(FutexWake::new(self.take(wake::BYTES)))
    }

    /// The limit where a second thread on the sleeper's core is woken first, and wakes the sleeper.
    pub fn futex_wake_by_two(&mut self) -> Box<dyn Lane> {
        Box::new(FutexWake::new(self.take(wake::BYTES)).through_a_second_thread())
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
