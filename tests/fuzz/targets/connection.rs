//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz connection`: one end of a connection, to which anything happens.

#![no_main]

#[path = "../src/bridge.rs"]
#[allow(dead_code, reason = "the other targets use the rest")]
mod bridge;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bridge::connection(bytes));
