//! Benchmarks within one process: criterion's in `benches/`, and programs whose instructions are counted in `src/bin/`.
//!
//! What crosses between processes is measured by `memlane bench`, beside the machine's own references.

#![forbid(unsafe_code)]
