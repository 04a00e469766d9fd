//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz compressed`: a block of a compressed segment, of any bytes, with the sums put right.

#![no_main]

#[path = "../src/journal.rs"]
#[allow(dead_code, reason = "the other targets use the rest")]
mod journal;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| journal::compressed(bytes));
