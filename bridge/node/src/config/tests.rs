//! What is wrong with configurations, and what is said of it.

use std::path::Path;
use std::time::Duration;

use memlane::journal::{Compaction, Compression, OnFailure, RecordedTopics, Retention, SyncPolicy};
use proptest::prelude::*;
use tracing::level_filters::LevelFilter;

use super::{Config, ConfigError, FlowMode, FlowStart, LogFormat, Problems, Waiting};

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(text, Path::new("/etc/memlane/memlane.toml"))
}

/// Each problem as `line:column what`, without what would be right.
fn problems(text: &str) -> Vec<(usize, usize, String)> {
    let problems = parse(text).expect_err(text).problems;
    problems
        .into_iter()
        .map(|problem| (problem.line, problem.column, format!("{} | {}", problem.what, problem.help)))
        .collect()
}

const NODE: &str = "[node]\nname = \"a\"\n";
const BRIDGE: &str =
    "[node]\nname = \"a\"\n[bridge]\ncertificate = \"c\"\nkey = \"k\"\nauthorities = \"x\"\nlisten = \"h:1\"\n";

/// A configuration, and for each problem in it line, column, and words that are said.
type Case<'a> = (&'a str, &'a [(usize, usize, &'a str)]);

fn check(cases: &[Case<'_>]) {
    for (text, expected) in cases {
        let found = problems(text);
        let places = |found: &[(usize, usize, String)]| {
            found.iter().map(|(line, column, _)| (*line, *column)).collect::<Vec<_>>()
        };
        let wanted: Vec<_> = expected.iter().map(|(line, column, _)| (*line, *column)).collect();
        assert_eq!(places(&found), wanted, "{text}\n{found:#?}");
        for ((_, _, said), (_, _, words)) in found.iter().zip(*expected) {
            assert!(said.contains(words), "{said:?} has no {words:?} in\n{text}");
        }
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    check(&[
        ("", &[(1, 1, "there is no section [node]")]),
        ("[node]\nname = \"a\nbus = \"b\"\n", &[(2, 10, "string")]),
        ("[node]\nname = \"a\"\nname = \"b\"\n", &[(3, 1, "duplicate key")]),
        ("[node]\nname = \"a\"\n[log]\nlevel = \n[node]\n", &[(4, 9, ""), (5, 2, "duplicate key")]),
        // What is broken hides nothing that is wrong elsewhere.
        ("[node]\nname = \"a\"\nbsu = 1\nwait = = 2\n", &[(3, 1, "`bus` was meant?"), (4, 8, "`=`")]),
    ]);
}

#[test]
fn keys_and_sections_that_are_not_known_are_told_with_the_nearest() {
    check(&[
        ("[node]\nname = \"a\"\nbsu = \"b\"\n", &[(3, 1, "`bus` was meant?")]),
        ("[node]\nname = \"a\"\nport = 1\n", &[(3, 1, "there are: name, bus, root, wait, drain")]),
        ("[node]\nname = \"a\"\n[jurnal]\n", &[(3, 2, "`journal` was meant?")]),
        ("[nod]\nname = \"a\"\n", &[(1, 1, "there is no section [node]"), (1, 2, "`node` was meant?")]),
        (
            "[node]\nname = \"a\"\n[[journal]]\ndirectory = \"d\"\nmarked = true\nkeep-bytes = 1\n",
            &[(6, 1, "`keep_bytes` was meant?")],
        ),
        ("[node]\nname = \"a\"\n[journal]\ndirectory = \"d\"\n", &[(3, 1, "write [[journal]]")]),
        ("node = 1\n", &[(1, 8, "write [node]")]),
    ]);
}

#[test]
fn values_of_the_wrong_kind_are_told_with_the_right_one() {
    check(&[
        ("[node]\nname = 7\n", &[(2, 8, "is a number, and must be text | put it in quotes")]),
        ("[node]\nname = \"a\"\n[log]\nlevel = true\n", &[(4, 9, "put it in quotes")]),
        (
            "[node]\nname = \"a\"\n[[journal]]\ndirectory = \"d\"\nmarked = \"true\"\nkeep_bytes = []\ncompress = \"yes\"\n",
            &[(5, 10, "leave the quotes out"), (6, 14, "must be a number"), (7, 12, "true, false or a number")],
        ),
        (
            "[node]\nname = \"a\"\n[[journal]]\ndirectory = \"d\"\ntopics = \"md.>\"\n",
            &[(5, 10, "must be a list, such as [\"md.>\"]")],
        ),
        (
            "[node]\nname = \"a\"\n[[journal]]\ndirectory = \"d\"\ntopics = [\"a\",\n  7]\n",
            &[(6, 3, "an entry of `topics` is a number")],
        ),
    ]);
}

#[test]
fn values_that_cannot_be_are_told_with_what_could() {
    let long = format!("[node]\nname = \"{}\"\n", "x".repeat(41));
    let journal = format!("{NODE}[[journal]]\ndirectory = \"d\"\nmarked = true\n");
    let with = |line: &str| format!("{journal}{line}\n");
    check(&[
        ("[node]\nname = \"\"\n", &[(2, 8, "1 to 40 of A-Z a-z 0-9 _ -")]),
        ("[node]\nname = \"a.b\"\n", &[(2, 8, "1 to 40")]),
        (&long, &[(2, 8, "1 to 40")]),
        (
            "[node]\nname = \"a\"\nbus = \"a/b\"\nwait = \"prak\"\n",
            &[(3, 7, "a bus has a name"), (4, 8, "\"park\" was meant?")],
        ),
        ("[node]\nname = \"a\"\ndrain = \"soon\"\nroot = \"\"\n", &[(3, 9, "not a span of time"), (4, 8, "no path")]),
        ("[node]\nname = \"a\"\n[log]\nlevel = \"loud\"\n", &[(4, 9, "\"error\", \"warn\", \"info\"")]),
        (&with("sync = \"0s\""), &[(6, 8, "never at rest")]),
        (&with("sync = \"often\""), &[(6, 8, "give batch, none, or a span of time")]),
        (&with("segment = \"100KiB\""), &[(6, 11, "a multiple of 64KiB")]),
        (&with("segment = 0"), &[(6, 11, "a multiple of 64KiB")]),
        (&with("segment = \"much\""), &[(6, 11, "not a size")]),
        (&with("keep_bytes = -1"), &[(6, 14, "less than nothing")]),
        (&with("keep_age = \"2000days\""), &[(6, 12, "longer than a year")]),
        (&with("keep_messages = \"1.5\""), &[(6, 17, "not a number")]),
        (&with("compress = 23"), &[(6, 12, "1, the quickest, to 22")]),
        (&with("on_failure = \"go_on\""), &[(6, 14, "\"go-on\" was meant?")]),
        (
            &format!("{NODE}[[journal]]\ndirectory = \"d\"\ntopics = [\"a..b\", \"ok\", \">.x\"]\n"),
            &[(5, 11, "empty token"), (5, 25, "only at the end")],
        ),
    ]);
}

#[test]
fn what_does_not_go_together_is_told() {
    let journal = |more: &str| format!("{NODE}[[journal]]\ndirectory = \"d\"\n{more}\n");
    check(&[
        (&journal(""), &[(3, 1, "doesn't say what to record")]),
        (&format!("{NODE}[[journal]]\nmarked = true\n"), &[(3, 1, "has no `directory`")]),
        (&journal("marked = true\ntopics = [\"a\"]"), &[(5, 10, "both `topics` and `marked`")]),
        (&journal("marked = false"), &[(5, 10, "nothing is to be recorded")]),
        (&journal("topics = []"), &[(5, 10, "nothing in it")]),
        (&journal("topics = [\"a\", \"b\", \"a\"]"), &[(5, 21, "it stands in line 5 already")]),
        (&journal("marked = true\npast_offsets = true"), &[(6, 16, "of no use")]),
        (&journal("marked = true\nkeep_deletions = \"1h\""), &[(6, 18, "without compact = true")]),
        (
            &journal("marked = true\n[[journal]]\ndirectory = \"x/../d/\"\nmarked = true"),
            &[(7, 13, "the journal in line 4 has it")],
        ),
        (
            &journal("marked = true\n[[journal]]\ndirectory = \"d/e\"\nmarked = true"),
            &[(7, 13, "one lies in the other")],
        ),
    ]);
}

#[test]
fn bridges_are_checked_too() {
    let with = |more: &str| format!("{BRIDGE}{more}\n");
    check(&[
        (
            &format!("{NODE}[bridge]\nlisten = \"h\"\n"),
            &[
                (3, 1, "has no `certificate`"),
                (3, 1, "has no `key`"),
                (3, 1, "has no `authorities`"),
                (4, 10, "no port"),
            ],
        ),
        (&with("[[bridge.peer]]\naddress = \"h:x\""), &[(8, 1, "has no `name`"), (9, 11, "up to 65535")]),
        (&with("[[bridge.peer]]\nname = \"a\""), &[(9, 8, "this node itself")]),
        (
            &with("[[bridge.peer]]\nname = \"b\"\n[[bridge.peer]]\nname = \"b\""),
            &[(11, 8, "the peer in line 9 has it")],
        ),
        (&BRIDGE.replace("listen = \"h:1\"", "[[bridge.peer]]\nname = \"b\""), &[(7, 1, "nobody would connect")]),
        (
            &with(
                "[[bridge.peer]]\nname = \"b\"\nmay_pull = [\"a.>.b\"]\n[[bridge.peer.pull]]\nmode = \"latest\"\nfrom = \"earliest\"\ncompression = \"lz4\"\nprefix = \"n.\"\ntopic = []",
            ),
            &[
                (10, 13, "only at the end"),
                (11, 1, "has no `topics`"),
                (13, 8, "begins with the newest"),
                (14, 15, "no batches"),
                (15, 10, "empty token"),
                (16, 1, "`topics` was meant?"),
            ],
        ),
        (
            &BRIDGE
                .replace("listen = \"h:1\"", "listen = \"h:1\"\npacket = 100\ncongestion = \"reno\"\nsilence = \"1s\""),
            &[(8, 10, "1200 to 65500"), (9, 14, "\"cubic\""), (10, 11, "isn't longer than")],
        ),
        (
            &with("[[bridge.peer]]\nname = \"b\"\n[[bridge.peer.push]]\ntopics = [\"a\"]\nprefix = \"p\""),
            &[(12, 1, "`prefix`")],
        ),
        (
            &with("[[bridge.peer]]\nname = \"b\"\n[[bridge.peer.push]]\ntopics = [\"a\"]\nmode = \"reliabel\""),
            &[(12, 8, "\"reliable\" was meant?")],
        ),
    ]);
}

#[test]
fn what_is_said_is_taken_and_what_is_not_is_as_usual() {
    let config = parse(NODE).unwrap();
    assert_eq!((config.node.name.as_str(), config.node.bus, config.node.root), ("a", None, None));
    assert_eq!((config.node.wait, config.node.drain), (Waiting::Park, Duration::from_secs(10)));
    assert_eq!((config.log.level, config.log.format), (LevelFilter::INFO, LogFormat::Auto));
    assert!(config.journals.is_empty() && config.bridge.is_none());

    let text = "[node]\nname = \"a\"\nbus = \"md\"\nroot = \"buses\"\nwait = \"poll\"\ndrain = 2\n[log]\nlevel = \"warn\"\nformat = \"json\"\n\
        [[journal]]\ndirectory = \"j\"\ntopics = [\"md.>\", \"x\"]\nsync = \"batch\"\non_failure = \"go-on\"\nsegment = \"1MiB\"\nkeep_bytes = \"1GiB\"\n\
        keep_age = \"7days\"\nkeep_messages = 1_000\npast_offsets = true\ncompress = 3\ncompact = true\nkeep_deletions = \"1h\"\nrestore = true\n";
    let config = parse(text).unwrap();
    assert_eq!(config.node.root.as_deref(), Some(Path::new("/etc/memlane/buses")));
    assert_eq!((config.node.wait, config.node.drain), (Waiting::Poll, Duration::from_secs(2)));
    assert_eq!((config.log.level, config.log.format), (LevelFilter::WARN, LogFormat::Json));
    let journal = &config.journals[0];
    assert_eq!((journal.directory.as_path(), journal.restore), (Path::new("/etc/memlane/j"), true));
    let patterns = ["md.>", "x"].map(|pattern| pattern.parse().unwrap()).to_vec();
    assert_eq!(journal.topics, RecordedTopics::Matching(patterns));
    let options = journal.options;
    assert_eq!(
        (options.sync, options.on_failure, options.segment_bytes),
        (SyncPolicy::Batch, OnFailure::GoOn, 1 << 20)
    );
    let age = Some(Duration::from_secs(7 * 24 * 3600));
    assert_eq!(options.retention, Retention { bytes: Some(1 << 30), age, messages: Some(1000), past_offsets: true });
    assert_eq!(options.compression, Some(Compression { level: 3 }));
    assert_eq!(options.compaction, Some(Compaction { deletions_kept: Duration::from_secs(3600) }));
    assert_eq!((config.line_of("journal[0]", "sync"), config.line_of("node", "drain")), (13, 6));
}

#[test]
fn a_bridge_is_taken_with_its_peers_and_flows() {
    let text = format!(
        "{BRIDGE}[[bridge.peer]]\nname = \"b\"\naddress = \"[::1]:7400\"\nmay_push = [\"o.*\"]\n[[bridge.peer.pull]]\ntopics = [\"md.>\"]\nprefix = \"ny\"\n[[bridge.peer.pull]]\ntopics = [\"q\"]\nmode = \"latest\"\n"
    );
    let bridge = parse(&text).unwrap().bridge.unwrap();
    assert_eq!((bridge.listen.as_deref(), bridge.certificate.as_path()), (Some("h:1"), Path::new("/etc/memlane/c")));
    let peer = &bridge.peers[0];
    assert_eq!((peer.name.as_str(), peer.address.as_deref(), peer.may_push.len()), ("b", Some("[::1]:7400"), 1));
    assert_eq!((peer.pull.len(), peer.push.len(), peer.pull[0].prefix.as_deref()), (2, 0, Some("ny")));
    let flows: Vec<_> = peer.pull.iter().map(|flow| (flow.mode, flow.from)).collect();
    assert_eq!(flows, [(FlowMode::Reliable, FlowStart::Earliest), (FlowMode::Latest, FlowStart::Live)]);
}

#[test]
fn a_file_that_cannot_be_read_or_is_no_text_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("memlane.toml");
    let error = Config::read(&path).unwrap_err();
    assert!(error.to_string().contains("memlane config init"), "{error}");
    std::fs::write(&path, b"[node]\nname = \"\xff\"\n").unwrap();
    let Err(ConfigError::Unsound(unsound)) = Config::read(&path) else { panic!("it is no text") };
    assert_eq!((unsound.problems[0].line, unsound.problems[0].column), (2, 9));
    std::fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
    assert!(matches!(Config::read(&path), Err(ConfigError::TooLong { .. })));
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_has_problems_in_its_lines(
        edits in prop::collection::vec((0..6_000_usize, 0..40_usize, "[\\[\\]=#\"\n a-z0-9.>é]{0,6}"), 0..6),
        takes_all in any::<bool>(),
    ) {
        let mut text = super::template();
        if takes_all {
            text = text.lines().map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)).collect::<Vec<_>>().join("\n");
        }
        for (at, length, new) in edits {
            let mut place = at.min(text.len())..(at + length).min(text.len());
            while !text.is_char_boundary(place.start) { place.start -= 1; }
            while !text.is_char_boundary(place.end) { place.end += 1; }
            text.replace_range(place, &new);
        }
        if let Err(problems) = parse(&text) {
            let lines = text.split('\n').count();
            prop_assert!(!problems.problems.is_empty());
            for problem in &problems.problems {
                prop_assert!((1..=lines).contains(&problem.line) && problem.column >= 1 && problem.width >= 1);
            }
            prop_assert!(!problems.to_string().is_empty());
        }
    }
}
