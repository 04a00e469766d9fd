//! The `memlane` command as a library, so that tests and benches can use its parts too.
//!
//! - [`commands`]: what the command takes, does and prints.
//! - [`mod@bench`]: memlane beside the limits of the machine.
//! - [`capture`]: recorded market data (IEX DEEP in pcap files, JSON lines), message by message.
//! - [`feed`]: a generated market feed that stands in where no recording is at hand.

#![forbid(unsafe_code)]

pub mod bench;
pub mod capture;
pub mod commands;
pub mod feed;
