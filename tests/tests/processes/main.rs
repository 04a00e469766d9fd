//! memlane between real processes, that are killed, stopped, damaged, shut out and raced.
//!
//! All in one program, so that the tests that wait run beside those that work. `--nocapture` shows what was measured.

#![forbid(unsafe_code)]

mod damage;
mod disks;
mod flow;
mod journal;
mod last_values;
mod named;
mod namespaces;
#[path = "../../shared/on_named_segments.rs"]
mod on_named_segments;
mod permissions;
mod publisher_killed;
mod races;
mod random_kills;
mod refusals;
mod request_kills;
mod request_reply;
mod scale;
mod schedules;
mod security_page;
mod selection;
mod sources;
mod stopped;
mod subscriber_killed;
mod succession;
mod surroundings;
mod transform;
mod waiting;

use memlane_tests::stage::Stage;

/// A bus of its own for one test.
fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

/// Shows what was measured. Times are never asserted closely: other work on the machine stretches them.
fn print_time(what: &str, time: std::time::Duration) {
    println!("{what:>60}: {:9.3} ms", time.as_secs_f64() * 1e3);
}

#[test]
fn somebody_is_killed_at_every_place_that_has_a_name() {
    let sources = [
        include_str!("publisher_killed.rs"),
        include_str!("last_values.rs"),
        include_str!("subscriber_killed.rs"),
        include_str!("waiting.rs"),
        include_str!("selection.rs"),
        include_str!("sources.rs"),
        include_str!("named.rs"),
        include_str!("journal.rs"),
    ]
    .concat();
    for point in memlane_shm::crash::POINTS {
        assert!(sources.contains(&format!("\"{point}")), "{point}");
    }
}
