//! `memlane config init`, and what `memlane node --check` says of configurations.

use std::path::Path;

use crate::sandbox::Sandbox;

fn check(sandbox: &Sandbox, path: &Path, more: &[&str]) -> crate::sandbox::Ended {
    sandbox.run(["node", "--config", path.to_str().unwrap(), "--check"].iter().chain(more))
}

#[test]
fn the_configuration_to_begin_with_passes_the_check_and_takes_no_files_place() {
    let sandbox = Sandbox::new();
    let path = sandbox.path().join("memlane.toml");
    let arguments = ["config", "init", path.to_str().unwrap()];
    assert_eq!(sandbox.run(arguments).code, 0);
    let text = std::fs::read_to_string(&path).unwrap();
    let ended = check(&sandbox, &path, &[]);
    assert!(ended.code == 0 && ended.stderr.contains("nothing is wrong"), "{}", ended.stderr);
    assert_eq!(String::from_utf8(sandbox.output(["config", "init", "-"])).unwrap(), text);

    std::fs::write(&path, "mine").unwrap();
    let ended = sandbox.run(arguments);
    assert!(ended.code == 1 && ended.stderr.contains("give another path, or --overwrite"), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    assert_eq!(sandbox.run(arguments.iter().chain(&["--overwrite"])).code, 0);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn each_problem_of_a_configuration_is_told_with_its_line() {
    let sandbox = Sandbox::new();
    let cases: [(&str, &[&str]); 7] = [
        ("[node]\nname = \"a b\"\n", &["2:8: `name` can't be \"a b\""]),
        ("[node\nname = \"a\"\n", &["1:6: unclosed table"]),
        ("[node]\nname = \"a\"\n\nbuss = \"x\"\n", &["4:1: there is no key `buss` in [node]"]),
        ("[node]\nname = \"a\"\n[[journal]]\ndirectory = 5\nmarked = true\n", &["4:13: `directory` is a number"]),
        (
            "[node]\nname = \"a\"\n[[journal]]\ndirectory = \"d\"\ntopics = [\"a.>.b\"]\n",
            &["5:11: `topics` can't have"],
        ),
        (
            "[node]\nname = \"a\"\nwait = 1\n[log]\nlevel = \"loud\"\n[[journal]]\nsegment = \"1KiB\"\n",
            &["3:8: ", "5:9: ", "6:1: [[journal]] has no `directory`", "6:1: [[journal]] doesn't say", "7:11: "],
        ),
        (
            "[node]\nname = \"a\"\n[[journal]]\ndirectory = \"d\"\nmarked = true\n[[journal]]\ndirectory = \"./d\"\nmarked = true\n",
            &["7:13: this directory is that of another journal"],
        ),
    ];
    for (text, expected) in cases {
        let path = sandbox.file("memlane.toml", text.as_bytes());
        let ended = check(&sandbox, &path, &[]);
        assert_eq!(ended.code, 3, "{text}\n{}", ended.stderr);
        let shown = path.display().to_string();
        let heads: Vec<&str> = ended.stderr.lines().filter_map(|line| line.strip_prefix(&shown)).collect();
        assert_eq!(heads.len(), expected.len(), "{text}\n{}", ended.stderr);
        for (head, words) in heads.iter().zip(expected) {
            assert!(head.starts_with(&format!(":{words}")), "{head} is not {words}");
        }
        // As JSON too.
        let ended = check(&sandbox, &path, &["--json"]);
        let found = &ended.json_lines()[0];
        assert_eq!((ended.code, found["is_sound"].as_bool(), ended.stderr.as_str()), (3, Some(false), ""));
        let lines = found["problems"].as_array().unwrap().iter().map(|problem| problem["line"].as_u64().unwrap());
        let wanted = expected.iter().map(|words| words.split(':').next().unwrap().parse::<u64>().unwrap());
        assert!(lines.eq(wanted), "{found}");
    }
}

#[test]
fn a_problem_is_shown_with_its_line_a_marker_and_what_would_be_right() {
    let sandbox = Sandbox::new();
    let path = sandbox.file("memlane.toml", b"[node]\nname = \"a\"\nwiat = \"park\"\n");
    let ended = check(&sandbox, &path, &[]);
    let expected = format!(
        "{}:3:1: there is no key `wiat` in [node]\n  3 | wiat = \"park\"\n    | ^^^^\n    = `wait` was meant?\nmemlane: 1 problem in the configuration\n",
        path.display()
    );
    assert_eq!(ended.stderr, expected);
}

#[test]
fn a_node_that_cannot_follow_its_configuration_begins_nothing() {
    let sandbox = Sandbox::new();
    let run = |text: &str| {
        let path = sandbox.file("memlane.toml", text.as_bytes());
        sandbox.run(["node", "--config", path.to_str().unwrap()])
    };
    let ended = run("[node]\nname = \"a\"\nx = 1\n");
    assert!(
        ended.code == 1 && ended.stderr.contains("1 problem in the configuration: nothing was begun"),
        "{}",
        ended.stderr
    );
    let path = sandbox.file("memlane.toml", b"[node]\nname = \"a\"\n");
    assert_eq!(check(&sandbox, &path, &[]).code, 0);
    let ended = sandbox.run(["node", "--config", "/nowhere/memlane.toml"]);
    assert!(ended.code == 1 && ended.stderr.contains("memlane config init"), "{}", ended.stderr);
}
