//! The example of the command pattern runs to its end, and its books are right.

#![forbid(unsafe_code)]

#[path = "../examples/order_gateway.rs"]
mod example;

#[test]
fn every_order_of_the_example_is_accepted_or_rejected_and_none_is_left() {
    example::main().unwrap();
}
