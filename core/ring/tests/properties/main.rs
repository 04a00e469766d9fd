//! The log against a model that is a list: whatever publishers and subscribers do, in whatever order, everybody sees the
//! same messages at the same positions, a publisher is refused only for want of room, and a loss is told exactly.
//!
//! `script.rs` makes up what is done, `model.rs` says what must come of it, `run.rs` and
//! `reader.rs` do it and compare.

#![cfg(not(loom))]

mod model;
mod reader;
mod run;
#[path = "../../../../tests/shared/scratch.rs"]
mod scratch;
mod script;
mod writer;

use memlane_ring::Publishers;
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use scratch::scratch;
use script::{begin, script, setup};

/// Has so many scripts run on topics for `publishers`, each of them on a topic of its own.
fn run_scripts(cases: u32, publishers: impl Strategy<Value = Publishers>) {
    let root = scratch();
    // A failure prints the script that remains after a while of shortening: enough to write a test of its own.
    let config =
        ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&(setup(publishers), begin(), script()), |(setup, begin, steps)| {
        run::run(root.path(), &setup, begin, &steps);
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, script)) => panic!("{reason}, with {script:?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

#[test]
fn with_one_publisher_everybody_sees_what_the_model_says() {
    run_scripts(200, Just(Publishers::One));
}

#[test]
fn with_many_publishers_everybody_sees_what_the_model_says() {
    run_scripts(200, (1..=3_u32).prop_map(Publishers::Many));
}
