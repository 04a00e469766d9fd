//! The examples run to their ends, and what they say of themselves holds. `order_gateway` has a test of its own; `publish` and `subscribe` are
//! for two terminals, and are compiled with the tests.

#![forbid(unsafe_code)]

#[path = "../examples/many_topics.rs"]
mod many_topics;
#[path = "../examples/notification.rs"]
mod notification;
#[path = "../examples/state_transfer.rs"]
mod state_transfer;

#[test]
fn the_example_of_many_topics_runs() {
    many_topics::main().unwrap();
}

#[test]
fn the_example_of_notification_runs() {
    notification::main().unwrap();
}

#[test]
fn the_example_of_state_transfer_runs() {
    state_transfer::main().unwrap();
}
