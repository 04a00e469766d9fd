//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz batch`: a stream of batches of any bytes.

#![no_main]

#[path = "../src/bridge.rs"]
#[allow(dead_code, reason = "the other targets use the rest")]
mod bridge;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bridge::batch(bytes));
