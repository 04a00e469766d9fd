//! What a topic can be made with, and what it is like then.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Group, Uid, chown, getegid, geteuid};
use serde_json::json;

use crate::sandbox::{Ended, Running, Sandbox};

/// A user that has nothing, and its group.
const NOBODY: u32 = 65_534;

fn file(sandbox: &Sandbox, name: &str) -> std::fs::Metadata {
    sandbox.path().join("default/t").join(name).metadata().unwrap()
}

#[test]
fn files_have_the_permissions_and_the_group_asked_for() {
    let sandbox = Sandbox::new();
    let group = getegid();
    let number = group.to_string();
    sandbox.output(["pub", "t", "x", "--log-mode", "644", "--subscribers-mode", "660", "--group", &number]);
    assert_eq!((file(&sandbox, "log").mode() & 0o777, file(&sandbox, "subs").mode() & 0o777), (0o644, 0o660));
    assert_eq!(file(&sandbox, "log").gid(), group.as_raw());
    if let Ok(Some(own)) = Group::from_gid(group) {
        sandbox.output(["rm", "t"]);
        sandbox.output(["pub", "t", "x", "--group", &own.name]);
        assert_eq!(file(&sandbox, "subs").gid(), group.as_raw());
    }
    if geteuid().is_root() {
        sandbox.output(["rm", "t"]);
        sandbox.output(["pub", "t", "x", "--group", &NOBODY.to_string()]);
        assert_eq!((file(&sandbox, "log").gid(), file(&sandbox, "subs").gid()), (NOBODY, NOBODY));
    }
    let ended = sandbox.run(["pub", "t", "x", "--group", "no such group"]);
    assert!(ended.code == 2 && ended.stderr.contains("there is no such group"), "{}", ended.stderr);
    let ended = sandbox.run(["pub", "t", "x", "--log-mode", "9"]);
    assert!(ended.code == 2 && ended.stderr.contains("octal"), "{}", ended.stderr);
}

#[test]
fn who_may_do_what_is_said_in_words_and_a_barred_way_is_named() {
    let sandbox = Sandbox::new();
    let modes = || (file(&sandbox, "log").mode() & 0o777, file(&sandbox, "subs").mode() & 0o777);
    let ended = sandbox.run(["pub", "t", "x", "--may-publish", "group", "--may-observe", "everyone"]);
    assert_eq!((ended.code, modes()), (0, (0o664, 0o660)), "{}", ended.stderr);
    let bus = sandbox.path().join("default");
    let (barred, mend) = (format!("{} is closed to everyone", bus.display()), format!("chmod a+x {}", bus.display()));
    assert!(ended.stderr.contains(&barred) && ended.stderr.contains(&mend), "{}", ended.stderr);
    sandbox.output(["rm", "t"]);
    for directory in [sandbox.path(), &bus] {
        std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let ended = sandbox.run(["pub", "t", "x", "--may-subscribe", "everyone"]);
    assert_eq!((ended.code, modes()), (0, (0o644, 0o666)), "{}", ended.stderr);
    assert!(!ended.stderr.contains("is closed"), "{}", ended.stderr);
    // One that is there is taken as it is.
    let ended = sandbox.run(["pub", "t", "x", "--may-publish", "group", "--may-observe", "everyone", "--owner", "7"]);
    let found = "with mode 644 of its log and 666 of its subscriber table: --may-publish has no effect";
    assert!(ended.stderr.contains(found) && ended.stderr.contains("--owner has no effect"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("--may-observe"), "{}", ended.stderr);
    let same = ["pub", "t", "x", "--may-subscribe", "everyone", "--log-mode", "644", "--subscribers-mode", "666"];
    let ended = sandbox.run(same);
    assert!(!ended.stderr.contains("has no effect"), "{}", ended.stderr);
    let ended = sandbox.run(["pub", "t", "x", "--log-mode", "640"]);
    assert!(ended.stderr.contains("--log-mode has no effect"), "{}", ended.stderr);
    let ended = sandbox.run(["pub", "other", "x", "--may-publish", "friends"]);
    assert!(ended.code == 2 && ended.stderr.contains("everyone"), "{}", ended.stderr);
}

#[test]
fn a_topic_is_given_away_by_root_alone() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(["pub", "t", "x", "--owner", &NOBODY.to_string()]);
    if geteuid().is_root() {
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert_eq!(
            (file(&sandbox, "").uid(), file(&sandbox, "log").uid(), file(&sandbox, "subs").uid()),
            (NOBODY, NOBODY, NOBODY)
        );
    } else {
        assert!(ended.code == 1 && ended.stderr.contains("which only root can"), "{}", ended.stderr);
        assert!(sandbox.run(["info", "t"]).stderr.contains("no such topic"));
    }
    let ended = sandbox.run(["pub", "t", "x", "--owner", "no such user"]);
    assert!(ended.code == 2 && ended.stderr.contains("there is no such user"), "{}", ended.stderr);
}

#[test]
fn the_longest_message_and_the_alignment_are_those_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.output(["pub", "t", "x", "--payload-max", "1000", "--payload-align", "64"]);
    let options = sandbox.json(["info", "t", "--json"])["options"].clone();
    assert_eq!((&options["payload_bytes_max"], &options["payload_align"]), (&json!(1000), &json!(64)));
    assert_eq!(sandbox.run(["pub", "t", "--size", "1000", "--count", "1"]).code, 0);
    let ended = sandbox.run(["pub", "t", "--size", "1001", "--count", "1"]);
    assert!(ended.code == 1 && ended.stderr.contains("1000"), "{}", ended.stderr);
    let ended = sandbox.run(["pub", "t", "x", "--payload-align", "8"]);
    assert!(ended.stderr.contains("--payload-align has no effect"), "{}", ended.stderr);
    let ended = sandbox.run(["pub", "other", "x", "--payload-align", "48"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
}

#[test]
fn a_topic_with_last_values_gives_them_first_and_then_what_comes() {
    let sandbox = Sandbox::new();
    let publish = |key: &str, text: &str| sandbox.output(["pub", "quotes", "--key", key, text]);
    sandbox.output(["pub", "quotes", "without a key", "--last-values", "100:512", "--capacity", "4KiB"]);
    for round in 0..50 {
        publish("a", &format!("a{round}"));
        publish("b", &format!("b{round}"));
    }
    let text = sandbox.output(["sub", "quotes", "--last-values", "--keys", "--drain"]);
    assert_eq!(text, b"a\ta49\nb\tb49\n");
    let lines = String::from_utf8(sandbox.output(["sub", "quotes", "--last-values", "--json", "--drain"])).unwrap();
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["event"], json!("last_value"));
    assert_eq!((&lines[0]["key"], &lines[0]["text"]), (&json!("a"), &json!("a49")));
    assert_eq!((&lines[1]["key"], &lines[1]["text"]), (&json!("b"), &json!("b49")));
    let info = sandbox.json(["info", "quotes", "--json"]);
    assert_eq!((&lines[2]["event"], &lines[2]["keys"]), (&json!("live"), &json!(2)));
    assert_eq!(lines[2]["position"], info["log"]["tail"]);
    assert_eq!(info["options"]["last_values"], json!({ "keys_max": 100, "message_bytes_max": 512 }));
    // What comes then, of one who is there.
    let ended = std::thread::scope(|scope| {
        let joined = scope.spawn(|| sandbox.output(["sub", "quotes", "--last-values", "--count", "1", "--keys"]));
        sandbox.wait_for("quotes", 1, 0);
        publish("c", "new");
        joined.join().unwrap()
    });
    assert_eq!(ended, b"a\ta49\nb\tb49\nc\tnew\n");
    let ended = sandbox.run(["pub", "quotes", "x", "--last-values", "7:64"]);
    assert!(
        ended.stderr.contains("100 keys") && ended.stderr.contains("--last-values has no effect"),
        "{}",
        ended.stderr
    );
    let ended = sandbox.run(["pub", "quotes", "--key", "d", "--size", "513", "--count", "1"]);
    assert!(ended.code == 1 && ended.stderr.contains("last_values"), "{}", ended.stderr);
    sandbox.output(["pub", "plain", "x"]);
    let ended = sandbox.run(["sub", "plain", "--last-values"]);
    assert!(ended.code == 1 && ended.stderr.contains("no last values"), "{}", ended.stderr);
    assert_eq!(sandbox.run(["pub", "other", "x", "--last-values", "many"]).code, 2);
}

#[test]
fn memory_options_change_nothing_about_what_arrives() {
    let sandbox = Sandbox::new();
    let options =
        [&["--huge-pages"][..], &["--no-prefault"], &["--prefault"], &["--no-prefault", "--prefault", "--huge-pages"]];
    for (index, options) in options.into_iter().enumerate() {
        let topic = format!("t{index}");
        sandbox.output([&["pub", &topic, "a", "b"][..], options].concat());
        assert_eq!(sandbox.output(["sub", &topic, "--from", "earliest", "--drain"]), b"a\nb\n");
    }
}

#[test]
fn without_prefault_memory_comes_as_it_is_used() {
    let sandbox = Sandbox::new();
    let resident_kib = |topic: &str, option: &str| {
        let arguments = ["pub", topic, "--size", "1", "--rate", "0.001", "--capacity", "64MiB", option];
        let mut publisher = sandbox.start(arguments);
        sandbox.wait_for(topic, 0, 1);
        status_kib(&mut publisher, "RssShmem:")
    };
    let (sparse, full) = (resident_kib("sparse", "--no-prefault"), resident_kib("full", "--prefault"));
    assert!(sparse < 32 << 10 && full >= 64 << 10, "{sparse} and {full} KiB");
}

/// A figure of `/proc/<pid>/status`, KiB.
fn status_kib(process: &mut Running, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0 kB");
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn memory_is_locked_if_asked_for_and_allowed() {
    let sandbox = Sandbox::new();
    let arguments = [
        "pub",
        "t",
        "--size",
        "1",
        "--rate",
        "0.001",
        "--capacity",
        "64KiB",
        "--subscribers-max",
        "4",
        "--lock-memory",
    ];
    let mut command = sandbox.command(["pub", "allowed", "x"]);
    command.args(&arguments[6..]);
    let output = command.output().unwrap();
    if !output.status.success() {
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("ulimit -l"), "{stderr}");
        eprintln!("memory can't be locked here: only the refusal was seen");
        return;
    }
    let mut publisher = sandbox.start(arguments);
    sandbox.wait_for("t", 0, 1);
    assert!(status_kib(&mut publisher, "VmLck:") >= 64);
}

/// Runs the command with at most 64 KiB of locked memory, as nobody if this is root, who may lock what it likes. `None` if
/// nobody may not run the command.
fn run_with_little_to_lock(sandbox: &Sandbox, arguments: &[&str]) -> Option<Ended> {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_memlane"));
    let shell = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(&binary).env("MEMLANE_ROOT", sandbox.path()).env_remove("MEMLANE_BUS");
        if geteuid().is_root() {
            shell.uid(NOBODY).gid(NOBODY).current_dir("/");
        }
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        shell
    };
    if geteuid().is_root() {
        chown(sandbox.path(), Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY))).unwrap();
    }
    if !shell("exec \"$0\" --version").status().is_ok_and(|status| status.success()) {
        return None;
    }
    let mut command = shell("ulimit -l 64 && exec \"$0\" \"$@\"");
    Some(Running::from(command.args(arguments).spawn().unwrap()).end())
}

#[test]
fn memory_that_may_not_be_locked_is_refused_with_the_way_out() {
    let sandbox = Sandbox::new();
    let Some(ended) = run_with_little_to_lock(&sandbox, &["pub", "t", "x", "--lock-memory"]) else {
        eprintln!("nobody may not run the command here: the refusal was not tried");
        return;
    };
    assert_eq!((ended.code, ended.stderr.lines().count()), (1, 1), "{}", ended.stderr);
    for part in ["memlane: ", "can't be locked in memory", "ulimit -l"] {
        assert!(ended.stderr.contains(part), "{part} in {}", ended.stderr);
    }
    assert!(run_with_little_to_lock(&sandbox, &["pub", "t", "x"]).is_some_and(|ended| ended.code == 0));
}

#[test]
fn limits_are_shown_kept_and_waited_for() {
    let sandbox = Sandbox::new();
    let options = ["--rate-limit", "1/s:3", "--rate-limit", "1MiB/s:64KiB", "--publishers", "many", "--quiet"];
    sandbox.output([&["pub", "limited", "a", "b", "c"][..], &options].concat());
    let info = sandbox.json(["info", "limited", "--json"]);
    let messages = json!({ "per_second": 1, "burst": 3 });
    let bytes = json!({ "per_second": 1 << 20, "burst": 1 << 16 });
    assert_eq!(info["options"]["rate_limit"], json!({ "messages": messages, "bytes": bytes }));
    let text = String::from_utf8(sandbox.output(["info", "limited"])).unwrap();
    assert!(text.contains("1 messages/s, 3 at once; 1 MiB/s, 64 KiB at once"), "{text}");
    // What is over it waits; each gets through in the end, also with a key.
    sandbox.output(["pub", "limited", "d", "--key", "k", "--quiet"]);
    assert_eq!(sandbox.output(["sub", "limited", "--from", "earliest", "--drain"]), b"a\nb\nc\nd\n");
    let ended = sandbox.run(["pub", "limited", "--size", "70000", "--count", "1"]);
    assert!(ended.code == 1 && ended.stderr.contains("burst"), "{}", ended.stderr);
    let ended = sandbox.run(["pub", "limited", "e", "--rate-limit", "5/s"]);
    assert!(ended.stderr.contains("--rate-limit has no effect"), "{}", ended.stderr);
    // A publisher's own limit is gone with it.
    let ended = sandbox.run(["pub", "own", "a", "b", "--own-rate-limit", "1/s:1", "--timeout", "0"]);
    assert!(ended.code == 124 && ended.stderr.contains("rate limit"), "{}", ended.stderr);
    assert_eq!(sandbox.output(["sub", "own", "--from", "earliest", "--drain"]), b"a\n");
    assert!(sandbox.json(["info", "own", "--json"])["options"].get("rate_limit").is_none());
    assert_eq!(sandbox.run(["pub", "other", "x", "--rate-limit", "many"]).code, 2);
}

#[test]
fn a_lossy_only_topic_refuses_who_would_hold_it_up() {
    let sandbox = Sandbox::new();
    sandbox.output(["pub", "t", "x", "--lossy-only", "--drop-oldest", "--quiet"]);
    assert_eq!(sandbox.json(["info", "t", "--json"])["options"]["lossy_only"], json!(true));
    assert!(String::from_utf8(sandbox.output(["info", "t"])).unwrap().contains("lossy ones only"));
    let ended = sandbox.run(["sub", "t", "--drain"]);
    assert!(ended.code == 1 && ended.stderr.contains("lossy"), "{}", ended.stderr);
    assert_eq!(sandbox.output(["sub", "t", "--lossy", "--from", "earliest", "--drain"]), b"x\n");
    let ended = sandbox.run(["pub", "gated", "x", "--drop-oldest"]);
    assert!(ended.code == 1 && ended.stderr.contains("lossy_only"), "{}", ended.stderr);
}
