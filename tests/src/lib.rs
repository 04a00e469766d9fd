//! A kit for tests with real processes: a supervisor that starts actors, kills and stops them, and checks what came through.
//!
//! ```text
//!   test (stage.rs)                            actor process (bin/actor.rs → roles/)
//!   makes topics, starts actors  -- role, as JSON argument; MEMLANE_CRASH -->
//!                                -- "go", "stop" on standard input -------->
//!                                <- reports, a line of JSON each -----------
//!   kills, stops, continues, waits             publishes or subscribes, with marked payloads (payload.rs)
//!   compares the ledger (ledger.rs)            writes down what it published, call by call
//!   with the tally (tally.rs)                  counts what came, in which order, whole or not
//! ```
//!
//! An actor dies with the thread that started it (PDEATHSIG), and is killed and reaped when its handle is dropped.
//! Every wait has an end: [`stage::PATIENCE`].

#![forbid(unsafe_code)]

pub mod clock;
pub mod files;
pub mod ledger;
pub mod payload;
pub mod plan;
pub mod random;
pub mod role;
pub mod roles;
pub mod stage;
pub mod tally;
