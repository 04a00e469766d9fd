//! The limit of throughput: a ring of fixed slots, each a payload and a flag, for one writer and one reader.
//!
//! ```text
//!   offset 0      READ: how many messages the reader has done with
//!   offset 128    slot 0: | payload, whole lines | flag | up to the next line |  slot 1: …
//! ```
//!
//! The flag of a slot is the number of the message in it, counted from 1, so it needs no clearing. FLAG (release) pairs with
//! the load (acquire) of the reader; READ (release) with that of the writer, which looks only when the room that it
//! knows of is used up.
//!
//! What was tried, in M messages/s between near cores (medians of some 150 batches of 2 ms, several runs; two virtual cores,
//! Zen, KVM):
//!
//! | layout; pauses after an empty poll | 64 bytes, 1 MiB | 4 MiB | 1 KiB, 1 MiB | 4 MiB |
//! |---|---|---|---|---|
//! | flag before the payload, on its first line; 1 | 30 | 115–130 | 6 | 13–21 |
//! | flag after the payload, on another line; 1 | 54–69 | 74–233 | 7 | 10–22 |
//! | **the same; 32** | 63–75 | 120–230 | 8–9 | 22–27 |
//! | the same; 256 | 92–101 | | 10–13 | 35–41 |
//! | slots of 72 bytes, flag after the payload; 1 | 39–49 | 39 | | |
//!
//! The polled line must not be written twice (so the flag is last), and a reader must not follow on the writer's heels: then
//! each line crosses on its own, and a faster reader makes a slower ring. Hence the pauses, which a measure of
//! throughput may take. 32 of them are the yardstick; 256 are some microseconds, which memlane's subscriber takes in its
//! streams too, so it is held against a ring with as patient a reader as well. A ring of 4 MiB outgrows the
//! reader's own cache, which pays, though how much changes from batch to batch: hold a log against the ring of its own size.
//! Checked access costs nothing here: unchecked loads are as fast, and vector loads no faster.

use memlane_shm::Region;
use memlane_shm::sync::Ordering::{Acquire, Relaxed, Release};
use memlane_shm::sync::{LINE_PAIR_BYTES, WORD_BYTES};

use super::payload::Payloads;
use crate::bench::lane::{Kind, Lane, Watch};
use crate::bench::latencies::Recorded;
use crate::bench::open_loop::OneWay;

/// Payloads of 64 bytes in slots of two lines, 1 MiB.
pub type SmallRing<const PAUSES: usize = PAUSES_USUAL> = Ring<64, 128, 8_192, PAUSES>;

/// Payloads of 64 bytes in slots of two lines, 4 MiB.
pub type SmallWideRing<const PAUSES: usize = PAUSES_USUAL> = Ring<64, 128, 32_768, PAUSES>;

/// Payloads of 1 KiB in slots of 17 lines, 1 MiB.
pub type LargeRing<const PAUSES: usize = PAUSES_USUAL> = Ring<1024, 1088, 1_024, PAUSES>;

/// Payloads of 1 KiB in slots of 17 lines, 4 MiB.
pub type LargeWideRing<const PAUSES: usize = PAUSES_USUAL> = Ring<1024, 1088, 4_096, PAUSES>;

/// Pauses after a poll that found nothing: about a third of a microsecond, in which the writer gets ahead.
pub const PAUSES_USUAL: usize = 32;

/// As many as memlane's subscriber takes in its streams: some microseconds. Such a reader is called patient.
pub const PAUSES_PATIENT: usize = 256;

/// Where the reader says how far it has got.
const READ: usize = 0;

/// Where the first slot lies.
const FIRST_SLOT: usize = LINE_PAIR_BYTES;

/// Sums that are kept side by side, so that an addition needn't wait for the one before.
const SUMS: usize = 8;

/// A ring of `SLOTS` slots (a power of two) of `STRIDE` bytes for payloads of `PAYLOAD` bytes (a multiple of 64), as
/// either side of it sees it. Its reader pauses `PAUSES` times after a poll that found nothing.
#[derive(Debug)]
pub struct Ring<const PAYLOAD: usize, const STRIDE: usize, const SLOTS: usize, const PAUSES: usize> {
    region: Region,
    payloads: Payloads<PAYLOAD>,
    /// Messages that this side has sent or received.
    done: u64,
    /// Messages that the writer knows the reader to have done with.
    known_read: u64,
}

impl<const PAYLOAD: usize, const STRIDE: usize, const SLOTS: usize, const PAUSES: usize>
    Ring<PAYLOAD, STRIDE, SLOTS, PAUSES>
{
    /// What it needs of the file.
    pub const BYTES: usize = FIRST_SLOT + SLOTS * STRIDE;

    /// Over [`Ring::BYTES`] zeroed bytes.
    ///
    /// # Panics
    /// If the region has another size.
    #[must_use]
    pub fn new(region: Region) -> Self {
        const {
            assert!(SLOTS.is_power_of_two());
            assert!(PAYLOAD.is_multiple_of(SUMS * WORD_BYTES));
            assert!(STRIDE >= PAYLOAD + WORD_BYTES && STRIDE.is_multiple_of(WORD_BYTES));
        }
        assert_eq!(region.len(), Self::BYTES, "the region of a ring fits it");
        Self { region, payloads: Payloads::default(), done: 0, known_read: 0 }
    }

    /// Where the slot of message `sequence` (from 0) lies.
    #[inline(always)]
    fn slot(sequence: u64) -> usize {
        FIRST_SLOT + (sequence as usize % SLOTS) * STRIDE
    }

    /// Whether there is a free slot, as far as the writer knows or can find out now.
    #[inline(always)]
    fn has_room(&mut self) -> bool {
        if self.done - self.known_read < SLOTS as u64 {
            return true;
        }
        self.known_read = self.region.word(READ).load(Acquire);
        self.done - self.known_read < SLOTS as u64
    }

    /// Writes the next message into its slot, which is free.
    #[inline(always)]
    fn write(&mut self, payload: &[u8; PAYLOAD]) {
        let slot = Self::slot(self.done);
        self.region.copy_in(slot, payload);
        self.done += 1;
        self.region.word(slot + PAYLOAD).store(self.done, Release);
    }

    /// Whether message `sequence` is there.
    #[inline(always)]
    fn is_there(region: &Region, sequence: u64) -> bool {
        region.word(Self::slot(sequence) + PAYLOAD).load(Acquire) == sequence + 1
    }

    /// Adds up every word of message `sequence`, which is there.
    #[inline(always)]
    fn add_up(region: &Region, sequence: u64, sums: &mut [u64; SUMS]) {
        let payload = Self::slot(sequence);
        for group in 0..PAYLOAD / (SUMS * WORD_BYTES) {
            for (index, sum) in sums.iter_mut().enumerate() {
                let word = payload + (group * SUMS + index) * WORD_BYTES;
                *sum = sum.wrapping_add(region.word(word).load(Relaxed));
            }
        }
    }

    /// Reads `count` messages from `first` on, and gives each slot back to the writer; returns the sum of their words.
    ///
    /// A function of its own over a borrowed region: there the compiler knows that the length of the region stays what it
    /// is, and drops the checks of every word.
    #[inline(never)]
    fn drain(region: &Region, first: u64, count: u64, watch: &Watch<'_>) -> anyhow::Result<u64> {
        assert_eq!(region.len(), Self::BYTES, "the region of a ring fits it");
        let mut sums = [0; SUMS];
        for sequence in first..first + count {
            watch.poll::<PAUSES>(|| Self::is_there(region, sequence))?;
            Self::add_up(region, sequence, &mut sums);
            region.word(READ).store(sequence + 1, Release);
        }
        Ok(sums.iter().fold(0, |all: u64, one| all.wrapping_add(*one)))
    }
}

impl<const PAYLOAD: usize, const STRIDE: usize, const SLOTS: usize, const PAUSES: usize> Lane
    for Ring<PAYLOAD, STRIDE, SLOTS, PAUSES>
{
    fn name(&self) -> String {
        let size = if PAYLOAD < 1024 { format!("{PAYLOAD} B") } else { format!("{} KiB", PAYLOAD / 1024) };
        let patient = if PAUSES == PAUSES_PATIENT { ", patient" } else { "" };
        format!("raw {size} ring, {} MiB{patient}", (SLOTS * STRIDE) >> 20)
    }

    fn kind(&self) -> Kind {
        Kind::Stream
    }

    fn initiator(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let payloads = self.payloads.clone();
        for _ in 0..count {
            if !self.has_room() {
                watch.until(|| self.has_room())?;
            }
            self.write(payloads.message(self.done));
        }
        Ok(None)
    }

    fn responder(&mut self, count: u64, watch: &Watch<'_>) -> anyhow::Result<Option<Recorded>> {
        let sum = Self::drain(&self.region, self.done, count, watch)?;
        let expected = self.payloads.sum(self.done, count);
        anyhow::ensure!(sum == expected, "{}: what was read is not what was sent", self.title());
        self.done += count;
        Ok(None)
    }
}

impl<const PAYLOAD: usize, const STRIDE: usize, const SLOTS: usize, const PAUSES: usize> OneWay
    for Ring<PAYLOAD, STRIDE, SLOTS, PAUSES>
{
    fn title(&self) -> String {
        self.name()
    }

    fn send(&mut self, sequence: u64, scheduled_ticks: u64) -> anyhow::Result<bool> {
        if !self.has_room() {
            return Ok(false);
        }
        let mut message = *self.payloads.message(sequence);
        message[..WORD_BYTES].copy_from_slice(&scheduled_ticks.to_le_bytes());
        self.write(&message);
        Ok(true)
    }

    fn receive(&mut self) -> anyhow::Result<Option<u64>> {
        if !Self::is_there(&self.region, self.done) {
            return Ok(None);
        }
        let scheduled_ticks = self.region.word(Self::slot(self.done)).load(Relaxed);
        let mut sums = [0; SUMS];
        Self::add_up(&self.region, self.done, &mut sums);
        std::hint::black_box(sums);
        self.done += 1;
        self.region.word(READ).store(self.done, Release);
        Ok(Some(scheduled_ticks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for four messages.
    type TinyRing = Ring<64, 128, 4, PAUSES_USUAL>;

    fn both_sides() -> (TinyRing, TinyRing) {
        let region = Region::private(TinyRing::BYTES);
        (TinyRing::new(region.clone()), TinyRing::new(region))
    }

    #[test]
    fn a_full_ring_takes_no_message_until_one_is_read() {
        let (mut writer, mut reader) = both_sides();
        for sequence in 0..4 {
            assert!(writer.send(sequence, sequence).unwrap());
        }
        assert!(!writer.send(4, 4).unwrap());
        assert_eq!(reader.receive().unwrap(), Some(0));
        assert!(writer.send(4, 4).unwrap());
        let rest: Vec<u64> = std::iter::from_fn(|| reader.receive().unwrap()).collect();
        assert_eq!(rest, [1, 2, 3, 4]);
    }

    #[test]
    fn a_reader_that_finds_other_bytes_than_were_sent_says_so() {
        let watch = Watch::new(None, std::time::Duration::from_secs(60));
        let (mut writer, mut reader) = both_sides();
        writer.initiator(3, &watch).unwrap();
        reader.responder(3, &watch).unwrap();
        writer.initiator(4, &watch).unwrap();
        writer.region.word(TinyRing::slot(4)).store(0, Relaxed);
        assert!(reader.responder(4, &watch).is_err());
    }
}
