//! A node: one process that runs what belongs to a host's bus beside its services, as `memlane node` does.
//!
//! ```text
//!   memlane.toml ──> Config ──> modules ──> Supervisor ──> a thread for each
//!   SIGHUP, SIGTERM ──> Node's loop <── what happens to them    │
//!   systemd <── Notifier          Health <── how they are ──────┘
//! ```
//!
//! Read in this order: `module.rs`, what a module is and is told; `health.rs`; `supervise.rs` with `backoff.rs`, how modules are kept running; `node.rs`, the
//! loop, with `notify.rs`, `logging.rs` and `reload.rs`; `journal.rs` and `bridge.rs`, the modules that record and carry topics;
//! `config/`.
//!
//! One module's failure is none of the others' business: it is begun again after a while, and they go on.

#![forbid(unsafe_code)]

mod backoff;
mod bridge;
pub mod config;
mod health;
mod journal;
mod logging;
mod module;
mod node;
mod notify;
mod place;
mod reload;
mod supervise;
#[cfg(test)]
mod supervise_tests;
pub mod units;

pub use backoff::BackoffPolicy;
pub use bridge::{BridgeModule, BridgeModuleError};
pub use health::{Health, ModuleHealth, State};
pub use journal::{JournalModule, JournalModuleError};
pub use module::{Context, Module, ModuleError, Order};
pub use node::{Ended, NodeError, Options, run};
pub use place::Place;
pub use reload::{Refusal, refusals};
pub use supervise::{Event, Supervisor};
