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

use super::payload::Messages;
use crate::bench::lane::{Kind, Lane, Watch};
use crate::bench::latencies::Recorded;
use crate::bench::log::size_text;
use crate::bench::open_loop::OneWay;

/// Pauses after a poll that found nothing: about a third of a microsecond, in which the writer gets ahead.
pub const PAUSES_USUAL: usize = 32;

/// As many as memlane's subscriber takes in its streams: some microseconds. Such a reader is called patient.
pub const PAUSES_PATIENT: usize = 256;

/// Where the reader says how far it has got.
const READ: usize = 0;

/// Where the first slot lies.
const FIRST_SLOT: usize = LINE_PAIR_BYTES;

/// A cache line.
const LINE_BYTES: usize = 64;

/// Sums that are kept side by side, so that an addition needn't wait for the one before.
const SUMS: usize = 8;

/// Where the slots of a ring lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Geometry {
    payload: usize,
    /// From one slot to the next: the payload in whole lines, and one for the flag.
    stride: usize,
    /// A power of two.
    slots: usize,
}

impl Geometry {
    /// For payloads of `payload` bytes, about `size` bytes in all.
    #[inline(always)]
    const fn of(payload: usize, size: usize) -> Self {
        // Large payloads: so many at least that either side can be ahead of the other, and more in a larger ring.
        let slots_min = if size > 1 << 20 { 8 } else { 4 };
        let stride = Self::flag_at(payload) + LINE_BYTES;
        let slots = (size / stride).next_power_of_two();
        Self { payload, stride, slots: if slots < slots_min { slots_min } else { slots } }
    }

    /// Where the flag lies in its slot.
    #[inline(always)]
    const fn flag_at(payload: usize) -> usize {
        payload.next_multiple_of(LINE_BYTES)
    }

    /// Where the slot of message `sequence` (from 0) lies.
    #[inline(always)]
    fn slot(self, sequence: u64) -> usize {
        FIRST_SLOT + (sequence as usize & (self.slots - 1)) * self.stride
    }

    /// Where the flag of message `sequence` lies.
    #[inline(always)]
    fn flag(self, sequence: u64) -> usize {
        self.slot(sequence) + Self::flag_at(self.payload)
    }

    /// What it needs of the file.
    #[inline(always)]
    const fn bytes(self) -> usize {
        FIRST_SLOT + self.slots * self.stride
    }
}

/// A ring of about `SIZE` bytes for messages `M`, as either side of it sees it. Its reader pauses `PAUSES` times after a
/// poll that found nothing.
#[derive(Debug)]
pub struct Ring<M, const SIZE: usize, const PAUSES: usize> {
    region: Region,
    payloads: M,
    /// What is sent at a fixed rate: a message with its time in front.
    stamped: Vec<u8>,
    /// Messages that this side has sent or received.
    done: u64,
    /// Messages that the writer knows the reader to have done with.
    known_read: u64,
}

impl<M: Messages, const SIZE: usize, const PAUSES: usize> Ring<M, SIZE, PAUSES> {
    /// What a ring for messages of `payload` bytes needs of the file.
    #[must_use]
    pub fn bytes(payload: usize) -> usize {
        Geometry::of(payload, SIZE).bytes()
    }

    /// Over [`Ring::bytes`] zeroed bytes.
    ///
    /// # Panics
    /// If the region has another size.
    #[must_use]
    pub fn new(region: Region, payloads: M) -> Self {
        assert_eq!(region.len(), Self::bytes(payloads.bytes()), "the region of a ring fits it");
        let stamped = vec![0; payloads.bytes().max(WORD_BYTES)];
        Self { region, payloads, stamped, done: 0, known_read: 0 }
    }

    /// Constants where the size of the messages is one.
    #[inline(always)]
    fn geometry(&self) -> Geometry {
        Self::geometry_for(self.payloads.bytes())
    }

    #[inline(always)]
    fn geometry_for(payload: usize) -> Geometry {
        match M::FIXED_BYTES {
            Some(payload) => Geometry::of(payload, SIZE),
            None => Geometry::of(payload, SIZE),
        }
    }

    /// Whether there is a free slot, as far as the writer knows or can find out now.
    #[inline(always)]
    fn has_room(&mut self) -> bool {
        if self.done - self.known_read < self.geometry().slots as u64 {
            return true;
        }
        self.known_read = self.region.word(READ).load(Acquire);
        self.done - self.known_read < self.geometry().slots as u64
    }

    /// Writes the next message into its slot, which is free.
    #[inline(always)]
    fn write(&mut self, payload: &[u8]) {
        let geometry = self.geometry();
        let flag = geometry.flag(self.done);
        self.region.copy_in(geometry.slot(self.done), payload);
        self.done += 1;
        self.region.word(flag).store(self.done, Release);
    }

    /// Whether message `sequence` is there.
    #[inline(always)]
    fn is_there(region: &Region, geometry: Geometry, sequence: u64) -> bool {
        region.word(geometry.flag(sequence)).load(Acquire) == sequence + 1
    }

    /// Adds up every word of message `sequence`, which is there. A part of a word counts as a whole one: the rest is zero.
    #[inline(always)]
    fn add_up(region: &Region, geometry: Geometry, sequence: u64, sums: &mut [u64; SUMS]) {
        let payload = geometry.slot(sequence);
        let words = geometry.payload.div_ceil(WORD_BYTES);
        for group in 0..words / SUMS {
            for (index, sum) in sums.iter_mut().enumerate() {
                let word = payload + (group * SUMS + index) * WORD_BYTES;
                *sum = sum.wrapping_add(region.word(word).load(Relaxed));
            }
        }
        for word in words / SUMS * SUMS..words {
            let sum = &mut sums[word % SUMS];
            *sum = sum.wrapping_add(region.word(payload + word * WORD_BYTES).load(Relaxed));
        }
    }

    /// Reads `count` messages from `first` on, and gives each slot back to the writer; returns the sum of their words.
    ///
    /// A function of its own over a borrowed region: there the compiler knows that the length of the region stays what it
    /// is, and drops the checks of every word.
    #[inline(never)]
    fn drain(region: &Region, payload: usize, first: u64, count: u64, watch: &Watch<'_>) -> anyhow::Result<u64> {
        let geometry = Self::geometry_for(payload);
        assert_eq!(region.len(), geometry.bytes(), "the region of a ring fits it");
        let mut sums = [0; SUMS];
        for sequence in first..first + count {
            watch.poll::<PAUSES>(|| Self::is_there(region, geometry, sequence))?;
            Self::add_up(region, geometry, sequence, &mut sums);
            region.word(READ).store(sequence + 1, Release);
        }
        Ok(sums.iter().fold(0, |all: u64, one| all.wrapping_add(*one)))
    }
}

impl<M: Messages, const SIZE: usize, const PAUSES: usize> Lane for Ring<M, SIZE, PAUSES> {
    fn name(&self) -> String {
        let Geometry { payload, stride, slots } = self.geometry();
        let patient = if PAUSES == PAUSES_PATIENT { ", patient" } else { "" };
        format!("raw {} ring, {} MiB{patient}", size_text(payload), (slots * stride) >> 20)
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
        let sum = Self::drain(&self.region, self.payloads.bytes(), self.done, count, watch)?;
        let expected = self.payloads.sum(self.done, count);
        anyhow::ensure!(sum == expected, "{}: what was read is not what was sent", self.title());
        self.done += count;
        Ok(None)
    }
}

impl<M: Messages, const SIZE: usize, const PAUSES: usize> OneWay for Ring<M, SIZE, PAUSES> {
    fn title(&self) -> String {
        self.name()
    }

    fn send(&mut self, sequence: u64, scheduled_ticks: u64) -> anyhow::Result<bool> {
        if !self.has_room() {
            return Ok(false);
        }
        let bytes = self.payloads.bytes();
        let mut stamped = std::mem::take(&mut self.stamped);
        let message = &mut stamped[..bytes];
        message.copy_from_slice(self.payloads.message(sequence));
        message[..WORD_BYTES].copy_from_slice(&scheduled_ticks.to_le_bytes());
        self.write(message);
        self.stamped = stamped;
        Ok(true)
    }

    fn receive(&mut self) -> anyhow::Result<Option<u64>> {
        let geometry = self.geometry();
        if !Self::is_there(&self.region, geometry, self.done) {
            return Ok(None);
        }
        let scheduled_ticks = self.region.word(geometry.slot(self.done)).load(Relaxed);
        let mut sums = [0; SUMS];
        Self::add_up(&self.region, geometry, self.done, &mut sums);
        std::hint::black_box(sums);
        self.done += 1;
        self.region.word(READ).store(self.done, Release);
        Ok(Some(scheduled_ticks))
    }
}

#[cfg(test)]
mod tests {
    use super::super::payload::{AnyPayloads, Payloads};
    use super::*;

    /// Room for four messages.
    type TinyRing = Ring<Payloads<64>, 512, PAUSES_USUAL>;

    fn both_sides() -> (TinyRing, TinyRing) {
        let region = Region::private(TinyRing::bytes(64));
        (TinyRing::new(region.clone(), Payloads::default()), TinyRing::new(region, Payloads::default()))
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
    fn messages_of_any_size_cross_whole() {
        let watch = Watch::new(None, std::time::Duration::from_secs(60));
        for bytes in [8, 100, 4096] {
            type AnyRing = Ring<AnyPayloads, { 64 << 10 }, PAUSES_USUAL>;
            let region = Region::private(AnyRing::bytes(bytes));
            let mut writer = AnyRing::new(region.clone(), AnyPayloads::new(bytes));
            let mut reader = AnyRing::new(region, AnyPayloads::new(bytes));
            for count in [3, 11, 1] {
                writer.initiator(count, &watch).unwrap();
                reader.responder(count, &watch).unwrap();
            }
        }
    }

    #[test]
    fn a_reader_that_finds_other_bytes_than_were_sent_says_so() {
        let watch = Watch::new(None, std::time::Duration::from_secs(60));
        let (mut writer, mut reader) = both_sides();
        writer.initiator(3, &watch).unwrap();
        reader.responder(3, &watch).unwrap();
        writer.initiator(4, &watch).unwrap();
        writer.region.word(writer.geometry().slot(4)).store(0, Relaxed);
        assert!(reader.responder(4, &watch).is_err());
    }
}
