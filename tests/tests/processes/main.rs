//! memlane between real processes, that are killed, stopped, damaged, shut out and raced.
//!
//! All in one program, so that the tests that wait run beside those that work. `--nocapture` shows what was measured.

#![forbid(unsafe_code)]

mod publisher_killed;

use memlane_tests::stage::Stage;

/// A bus of its own for one test.
fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}
