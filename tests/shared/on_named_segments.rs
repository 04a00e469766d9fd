//! For programs of tests with topics: all that they show of topics in files they show once more of topics in named segments.

use std::process::Command;

/// What can't be so there, and why.
///
/// - Containers have a `/dev/shm` of their own, and so none of the host's named segments, with whatever directories they share.
const NOT_THERE: [&str; 1] = ["namespaces::"];

#[test]
fn all_of_this_holds_on_named_segments_too() {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.env("MEMLANE_BACKING", "named").args(["--skip", "all_of_this_holds_on_named_segments_too"]);
    for name in NOT_THERE {
        again.args(["--skip", name]);
    }
    let output = again.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}:\n{said}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains("\nrunning 0 tests"), "{said}");
}
