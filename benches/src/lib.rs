//! Benchmarks within one process: `benches/exchange.rs` (publishing and receiving, with criterion), `benches/opening.rs`
//! (until a process can do so), and the program whose instructions `cargo xtask instructions` counts, in `src/bin/`.
//!
//! What crosses between processes is measured by `memlane bench`, beside the machine's own references.

#![forbid(unsafe_code)]
