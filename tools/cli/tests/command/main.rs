//! The command as its users meet it: the real program, on directories of its own.

#![forbid(unsafe_code)]

mod bad_input;
mod certs;
mod demo;
mod doctor;
mod endings;
mod export;
mod ingest;
mod journal;
mod manual;
mod node;
mod node_config;
#[path = "../../examples/order_book.rs"]
#[allow(dead_code, reason = "its `main`")]
mod order_book;
#[path = "../../src/capture/tests/pcap_writer.rs"]
mod pcap_writer;
mod replay;
mod round_trips;
mod sandbox;
mod services;
mod stat;
mod top;
mod topic_options;
mod topics;
mod typed;
