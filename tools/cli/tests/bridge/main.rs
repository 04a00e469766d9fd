//! Topics between nodes that are real processes: `memlane node` on hosts that see nothing of each other but the network, killed, cut off and moved.

#![forbid(unsafe_code)]

mod hosts;
mod kills;
mod namespaces;
#[path = "../command/sandbox.rs"]
#[allow(dead_code, reason = "the command's own tests use the rest")]
mod sandbox;
