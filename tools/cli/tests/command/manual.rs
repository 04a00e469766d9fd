//! What shells and readers get to know of the command: `completions` and `man`.

use crate::sandbox::Sandbox;

/// Of no interest to users.
const HIDDEN: [&str; 2] = ["bench-peer", "demo-participant"];

/// The subcommands that the help tells of, but for `help` itself.
fn subcommands(sandbox: &Sandbox) -> Vec<String> {
    let help = String::from_utf8(sandbox.output(["--help"])).unwrap();
    let list = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    // A line that goes on from the one before is indented further.
    let names =
        list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    let names: Vec<String> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    assert!(names.len() > 9 && names.contains(&"doctor".to_owned()), "{names:?}");
    names
}

#[test]
fn completions_of_every_shell_know_all_subcommands_and_no_hidden_ones() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = String::from_utf8(sandbox.output(["completions", shell])).unwrap();
        let words: Vec<&str> = script.split(|next: char| !next.is_alphanumeric() && !"-_".contains(next)).collect();
        for name in subcommands(&sandbox) {
            assert!(words.contains(&name.as_str()), "{name} for {shell}");
        }
        assert!(HIDDEN.iter().all(|name| !script.contains(name)), "{shell}");
    }
    assert_eq!(sandbox.run(["completions", "sh"]).code, 2);
}

#[test]
fn there_is_a_manual_page_for_the_command_and_one_for_each_subcommand() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path().join("share/man1");
    sandbox.output(["man", "--out", directory.to_str().unwrap()]);
    let main = String::from_utf8(sandbox.output(["man"])).unwrap();
    assert_eq!(std::fs::read_to_string(directory.join("memlane.1")).unwrap(), main);
    assert!(main.contains(".SH \"EXIT CODES\"") && main.contains(".SH EXAMPLES"), "{main}");
    for name in subcommands(&sandbox) {
        assert!(main.contains(&format!("memlane\\-{name}(1)")), "{name} in {main}");
        let page = std::fs::read_to_string(directory.join(format!("memlane-{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(&format!("memlane\\-{name} \\- ")), "{page}");
    }
    assert!(directory.join("memlane-bench-latency.1").exists());
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(HIDDEN.iter().all(|hidden| !name.contains(hidden)), "{name}");
    }
}

#[test]
fn pages_that_cannot_be_written_are_told_of() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("file", b"");
    let ended = sandbox.run(["man", "--out", file.to_str().unwrap()]);
    assert!(ended.code == 1 && ended.stderr.contains("can't write manual pages to"), "{}", ended.stderr);
}
