//! Layer 2 of memlane: the journal, which keeps topics on disk, byte for byte as they lie in the ring.
//!
//! Read in this order:
//!
//! 1. `storage.rs`, `disk.rs`: what the journal asks of a file system, and the one of the machine

#![forbid(unsafe_code)]

pub mod storage;
