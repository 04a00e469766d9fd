//! Batches, smaller: as Zstandard frames (RFC 8878), or as blocks of LZ4 without a size before them, since the batch's head says it.

use crate::batch::Batch;
use crate::codec::Malformed;
use crate::control::Features;
use std::borrow::Cow;

/// Compresses batches.
pub struct Compressor {
    feature: Features,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl core::fmt::Debug for Compressor {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Compressor").field("feature", &self.feature).finish_non_exhaustive()
    }
}

impl Compressor {
    /// By `feature`, one of those that both ends have; without one nothing is compressed. `level` is Zstandard's, 1 to 19.
    #[must_use]
    pub fn new(feature: Features, level: i32) -> Self {
        // It fails only where there is no memory for its tables: then batches go as they are.
        let zstd = feature.has(Features::ZSTD).then(|| zstd::bulk::Compressor::new(level).ok()).flatten();
        Self { feature, zstd }
    }

    /// The batch, as it was packed, compressed if that makes it smaller.
    ///
    /// Cost: that of the compression, and a copy.
    #[must_use]
    pub fn compress(&mut self, batch: Batch, bytes: Vec<u8>) -> (Batch, Vec<u8>) {
        let smaller = match &mut self.zstd {
            Some(zstd) => zstd.compress(&bytes).ok(),
            None if self.feature == Features::LZ4 => Some(lz4_flex::block::compress(&bytes)),
            None => None,
        };
        match smaller.filter(|smaller| smaller.len() < bytes.len()) {
            Some(smaller) => {
                let (compression, stored_bytes) = (self.feature.0 as u8, smaller.len() as u32);
                (Batch { compression, stored_bytes, ..batch }, smaller)
            }
            None => (batch, bytes),
        }
    }
}

impl Batch {
    /// Its packed bytes, of those that came.
    ///
    /// Cost: nothing if it isn't compressed. Errors: [`Malformed`], also if they are more or fewer than its head says.
    pub fn decompress<'a>(&self, stored: &'a [u8]) -> Result<Cow<'a, [u8]>, Malformed> {
        let raw_bytes = self.raw_bytes as usize;
        let malformed = |what| Malformed { at: 0, what };
        let packed = match Features(self.compression.into()) {
            Features(0) => Cow::Borrowed(stored),
            Features::ZSTD => {
                let raw = zstd::bulk::decompress(stored, raw_bytes);
                Cow::Owned(raw.map_err(|_| malformed("a batch isn't compressed as it says"))?)
            }
            Features::LZ4 => {
                let raw = lz4_flex::block::decompress(stored, raw_bytes);
                Cow::Owned(raw.map_err(|_| malformed("a batch isn't compressed as it says"))?)
            }
            _ => return Err(malformed("a compression that there isn't")),
        };
        if packed.len() == raw_bytes { Ok(packed) } else { Err(malformed("a batch has another length than it says")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::BATCH_BYTES_MAX;

    fn batch(bytes: &[u8]) -> Batch {
        let length = bytes.len() as u32;
        Batch { compression: 0, messages: 1, position: 0, end: 64, raw_bytes: length, stored_bytes: length }
    }

    #[test]
    fn a_batch_comes_out_as_it_went_in_and_is_never_longer() {
        let noise: Vec<u8> = (0..5_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for bytes in [vec![7; 100_000], noise, Vec::new(), vec![1]] {
            for feature in [Features(0), Features::ZSTD, Features::LZ4] {
                let (small, stored) = Compressor::new(feature, 1).compress(batch(&bytes), bytes.clone());
                assert_eq!(small.stored_bytes as usize, stored.len());
                assert!(stored.len() <= bytes.len());
                assert_eq!(small.decompress(&stored).unwrap(), bytes);
                if bytes.len() == 100_000 && feature != Features(0) {
                    assert!(stored.len() < 1_000, "{feature:?}: {}", stored.len());
                }
            }
        }
    }

    #[test]
    fn bytes_that_decompress_to_more_or_less_or_to_nothing_are_refused() {
        for feature in [Features::ZSTD, Features::LZ4] {
            let bytes = vec![7; BATCH_BYTES_MAX];
            let (small, mut stored) = Compressor::new(feature, 1).compress(batch(&bytes), bytes);
            for raw_bytes in [0, 100, small.raw_bytes - 1, small.raw_bytes + 1] {
                assert!(Batch { raw_bytes, ..small }.decompress(&stored).is_err(), "{feature:?} {raw_bytes}");
            }
            stored.truncate(stored.len() / 2);
            assert!(small.decompress(&stored).is_err());
            assert!(small.decompress(&[]).is_err());
        }
        let other = Batch { compression: 4, ..batch(b"x") };
        assert!(other.decompress(b"x").is_err());
    }
}
