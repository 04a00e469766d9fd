//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz extensions`: frames whose extensions are any bytes.

#![no_main]

#[path = "../src/extensions.rs"]
mod extensions;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| extensions::look_at(bytes));
