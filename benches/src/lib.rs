//! Benchmarks within one process: `benches/exchange.rs` (publishing and receiving, with criterion), `benches/opening.rs`
//! (until a process can do so), and the program whose instructions `cargo xtask instructions` counts, in `src/bin/`.
//!
//! What crosses between processes is measured by `memlane bench`, beside the machine's own references.

#![forbid(unsafe_code)]

use memlane::Message;
use rkyv::{Archive, Serialize};

/// A message of 48 bytes.
#[derive(Archive, Serialize, Message)]
pub struct Quote {
    /// Best price to sell at.
    pub bid: i64,
    /// Best price to buy at.
    pub ask: i64,
    /// How much is wanted there.
    pub bid_size: u64,
    /// How much is offered there.
    pub ask_size: u64,
    /// When, in nanoseconds.
    pub time: u64,
    /// Of what.
    pub symbol: [u8; 8],
}
