//! The journal as its users meet it: what was recorded comes back, once each and in order, whatever happened in between.

#![forbid(unsafe_code)]

mod compressing;
mod damage;
mod hostile;
mod log;
mod offsets;
mod power;
mod recovering;
mod repairing;
mod retention;
mod snapshots;
mod writing;
