//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz index`: a journal's index of any bytes, with its sums put right.

#![no_main]

#[path = "../src/journal.rs"]
#[allow(dead_code, reason = "the other targets use the rest")]
mod journal;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| journal::index(bytes));
