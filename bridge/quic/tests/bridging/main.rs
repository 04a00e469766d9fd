//! Topics that go from one node to another over QUIC on loopback: all of them, once each and in order, whatever happens between; and what may not be is refused.

#![forbid(unsafe_code)]

mod adversaries;
mod carrying;
mod identities;
mod liar;
mod line;
mod lines;
mod scene;
mod world;
