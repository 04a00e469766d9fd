//! Topics onto disk with `memlane record`, and `memlane journal` on what is there.

use std::path::Path;

use memlane::journal::{RecorderOptions, SyncPolicy};
use memlane::{Bus, Message};
use nix::sys::signal::Signal;
use rkyv::{Archive, Serialize};

use crate::sandbox::Sandbox;

fn lines(count: u32) -> Vec<u8> {
    (1..=count).flat_map(|number| format!("message {number}\n").into_bytes()).collect()
}

fn publish(sandbox: &Sandbox, topic: &str, count: u32) {
    let ended = sandbox.run_with(&lines(count), ["pub", topic, "--stamps", "--quiet"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

fn at(directory: &Path, topic: &str) -> String {
    directory.join(topic).display().to_string()
}

#[test]
fn what_was_recorded_is_listed_checked_and_printed() {
    let sandbox = Sandbox::new();
    let journal = sandbox.path().join("journal");
    let to = journal.display().to_string();
    publish(&sandbox, "md.trades", 1000);
    publish(&sandbox, "md.quotes", 10);
    let ended = sandbox.run([
        "record",
        "md.trades",
        "md.quotes",
        "--to",
        &to,
        "--drain",
        "--sync",
        "batch",
        "--segment",
        "1MiB",
    ]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("topic md.trades: recorded up to position 64000, 1,000 messages in all"),
        "{}",
        ended.stderr
    );

    let listed = sandbox.json(["journal", "ls", &to, "--json"]);
    let rows = listed["journals"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[1]["topic"]), (2, &"md.trades".into()));
    assert_eq!((rows[1]["messages"].as_u64(), rows[1]["end"].as_u64()), (Some(1000), Some(64000)));

    let verified = sandbox.json(["journal", "verify", &to, "--json"]);
    assert_eq!(verified[0]["is_whole"], true);
    assert_eq!(verified[1]["messages"], 1000);

    let ended = sandbox.run(["journal", "dump", &to]);
    assert!(
        ended.stderr.contains("several journals are here, give one of them: md.quotes, md.trades"),
        "{}",
        ended.stderr
    );
    let trades = at(&journal, "md.trades");
    assert_eq!(sandbox.output(["journal", "dump", &trades]), lines(1000));
    assert_eq!(sandbox.output(["journal", "dump", &trades, "--last", "2"]), b"message 999\nmessage 1000\n");
    assert_eq!(
        sandbox.output(["journal", "dump", &trades, "--from", "64", "--count", "1", "--positions"]),
        b"64\tmessage 2\n"
    );
    let dumped = sandbox.run(["journal", "dump", &trades, "--json", "--count", "500"]).json_lines();
    let stamp = dumped[499]["stamp_unix_ns"].as_u64().unwrap();
    let time = humantime::format_rfc3339_nanos(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(stamp));
    let since = sandbox.output(["journal", "dump", &trades, "--since", &time.to_string(), "--count", "1"]);
    assert_eq!(since, b"message 500\n");
}

#[test]
fn a_journal_that_nobody_records_takes_the_room_that_it_needs() {
    use std::os::unix::fs::MetadataExt;
    let sandbox = Sandbox::new();
    let journal = sandbox.path().join("journal");
    publish(&sandbox, "t", 100);
    let to = journal.display().to_string();
    for _ in 0..3 {
        assert_eq!(sandbox.run(["record", "t", "--to", &to, "--drain", "--segment", "16MiB"]).code, 0);
        let files = std::fs::read_dir(journal.join("t")).unwrap();
        let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum();
        assert!(bytes < 1 << 20, "{bytes} bytes for 100 messages");
    }
    assert_eq!(sandbox.output(["journal", "dump", &at(&journal, "t")]), lines(100));
}

#[test]
fn a_recorder_goes_on_until_it_is_stopped_and_another_one_where_it_ended() {
    let sandbox = Sandbox::new();
    let journal = sandbox.path().join("journal");
    let to = journal.display().to_string();
    publish(&sandbox, "t", 3);
    let mut recorder = sandbox.start(["record", "t", "--to", &to, "--json", "--segment", "1MiB"]);
    sandbox.wait_for("t", 1, 0);
    publish(&sandbox, "t", 3);
    let second = sandbox.run(["record", "t", "--to", &to]);
    assert_eq!(second.code, 1);
    assert!(second.stderr.contains("another writer has this journal"), "{}", second.stderr);
    recorder.signal(Signal::SIGTERM);
    let ended = recorder.end();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let events = ended.json_lines();
    assert_eq!((&events[0]["event"], &events[1]["event"]), (&"recording".into(), &"recorded".into()));
    assert_eq!(events[1]["messages"], 6);

    publish(&sandbox, "t", 1);
    let ended = sandbox.run(["record", "t", "--to", &to, "--drain", "--segment", "1MiB"]);
    assert!(ended.stderr.contains("goes on, with 6 messages before"), "{}", ended.stderr);
    assert_eq!(sandbox.output(["journal", "dump", &at(&journal, "t")]), [lines(3), lines(3), lines(1)].concat());
}

#[derive(Archive, Serialize, Message)]
#[message(name = "md.tick", version = 1)]
struct Tick {
    price: i64,
}

#[test]
fn messages_with_a_type_are_printed_by_the_names_of_their_fields() {
    let sandbox = Sandbox::new();
    let bus = Bus::builder("default").root(sandbox.path()).open().unwrap();
    let topic = bus.topic("t").unwrap().message::<Tick>().create().unwrap();
    topic.publisher().open().unwrap().publish(&Tick { price: -7 }).unwrap();
    let directory = sandbox.path().join("journal");
    let options = RecorderOptions { sync: SyncPolicy::None, segment_bytes: 1 << 20, ..RecorderOptions::default() };
    topic.record(&directory, options).unwrap().0.turn().unwrap();
    let dumped = sandbox.json(["journal", "dump", &directory.display().to_string(), "--json"]);
    assert_eq!(dumped["message"]["price"], -7);
}

#[test]
fn damage_is_told_with_its_file_and_place_and_ends_with_3() {
    let sandbox = Sandbox::new();
    let journal = sandbox.path().join("journal");
    let to = journal.display().to_string();
    publish(&sandbox, "t", 100);
    assert_eq!(sandbox.run(["record", "t", "--to", &to, "--drain", "--segment", "1MiB"]).code, 0);
    let segment = journal.join("t/00000000000000000000.segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[4096 + 100] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let ended = sandbox.run(["journal", "verify", &to]);
    assert_eq!(ended.code, 3);
    let told = ended.text();
    assert!(told.contains("t: DAMAGED"), "{told}");
    let place =
        format!("damaged: {} at byte 4096, position 0: the data aren't what the record says", segment.display());
    assert!(told.contains(&place), "{told}");
    let dumped = sandbox.run(["journal", "dump", &at(&journal, "t")]);
    assert_eq!((dumped.code, &dumped.stdout[..]), (1, &b""[..]), "nothing of it is handed out");

    std::fs::remove_file(&segment).unwrap();
    let ended = sandbox.run(["journal", "verify", &to, "--json"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
}

#[test]
fn wrong_places_and_times_are_told_in_words() {
    let sandbox = Sandbox::new();
    let here = sandbox.path().display().to_string();
    for (arguments, words) in [
        (vec!["journal", "ls", &here], "no journal is here: `memlane record` makes them"),
        (vec!["journal", "dump", &here], "no journal is here: `memlane record` makes them"),
        (vec!["journal", "verify", "/no/such/place"], "/no/such/place"),
        (vec!["journal", "dump", &here, "--since", "yesterday"], "give one such as 2026-11-25T14:30:00Z"),
        (vec!["record", "t", "--to", &here, "--sync", "often"], "give batch, none, or a span of time"),
        (vec!["record", "t", "--to", &here], "there is no such bus"),
    ] {
        let ended = sandbox.run(&arguments);
        assert!(ended.code == 1 || ended.code == 2, "{arguments:?}");
        assert!(ended.stderr.contains(words), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn a_topic_that_is_gone_comes_back_where_its_journal_ends() {
    let sandbox = Sandbox::new();
    let to = sandbox.path().join("journal").display().to_string();
    let record = ["record", "t", "--to", &to, "--restore", "--drain", "--segment", "1MiB"];
    let ended = sandbox.run(record);
    assert_eq!(ended.code, 1);
    assert!(
        ended.stderr.contains("it isn't there, and") && ended.stderr.contains("has no journal"),
        "{}",
        ended.stderr
    );
    publish(&sandbox, "t", 10);
    assert_eq!(sandbox.run(record).code, 0);
    assert_eq!(sandbox.run(["rm", "t"]).code, 0);
    let ended = sandbox.run(record);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    publish(&sandbox, "t", 1);
    assert_eq!(sandbox.run(record).code, 0);
    let journal = at(&sandbox.path().join("journal"), "t");
    assert_eq!(sandbox.output(["journal", "dump", &journal, "--positions", "--last", "1"]), b"640\tmessage 1\n");
    assert_eq!(sandbox.json(["info", "t", "--json"])["log"]["messages"], 11);
}

#[test]
fn offsets_are_listed_moved_and_removed_and_read_from() {
    let sandbox = Sandbox::new();
    let to = sandbox.path().join("journal").display().to_string();
    publish(&sandbox, "t", 10);
    assert_eq!(sandbox.run(["record", "t", "--to", &to, "--drain", "--segment", "1MiB"]).code, 0);
    let journal = at(&sandbox.path().join("journal"), "t");
    assert_eq!(sandbox.json(["offsets", "ls", &journal, "--json"]), serde_json::json!([]));
    assert_eq!(sandbox.run(["offsets", "set", &journal, "billing", "512"]).code, 0);
    let rows = sandbox.json(["offsets", "ls", &journal, "--json"]);
    assert_eq!((rows[0]["position"].as_u64(), rows[0]["lag_bytes"].as_u64()), (Some(512), Some(128)));
    let dumped = sandbox.output(["journal", "dump", &journal, "--offset", "billing"]);
    assert_eq!(dumped, b"message 9\nmessage 10\n");
    assert_eq!(sandbox.run(["offsets", "set", &journal, "billing", "end"]).code, 0);
    assert_eq!(sandbox.output(["journal", "dump", &journal, "--offset", "billing"]), b"");
    for (arguments, words) in [
        (vec!["offsets", "set", &journal, "billing", "9999999"], "it has 0 to 640"),
        (vec!["offsets", "set", &journal, "../x", "0"], "can't be an offset's name"),
        (vec!["journal", "dump", &journal, "--offset", "nobody"], "there is no offset nobody"),
    ] {
        let ended = sandbox.run(&arguments);
        assert_eq!(ended.code, 1);
        assert!(ended.stderr.contains(words), "{arguments:?}: {}", ended.stderr);
    }
    assert_eq!(sandbox.run(["offsets", "rm", &journal, "billing"]).code, 0);
    assert_eq!(sandbox.run(["offsets", "rm", &journal, "billing"]).code, 1);
}

#[test]
fn what_isnt_to_be_kept_is_given_up_by_the_recorder_and_by_hand() {
    let sandbox = Sandbox::new();
    let to = sandbox.path().join("journal").display().to_string();
    let journal = at(&sandbox.path().join("journal"), "t");
    publish(&sandbox, "t", 20_000);
    let record = ["record", "t", "--to", &to, "--drain", "--segment", "64KiB"];
    let ended = sandbox.run([&record[..], &["--keep-bytes", "512KiB"]].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let size = || {
        let row = &sandbox.json(["journal", "ls", &to, "--json"])["journals"][0];
        row["end"].as_u64().unwrap() - row["begin"].as_u64().unwrap()
    };
    let kept = size();
    assert!((512 << 10..2 << 20).contains(&kept), "{kept}");
    assert_eq!(sandbox.output(["journal", "dump", &journal, "--last", "1"]), b"message 20000\n");
    let ended = sandbox.run(["journal", "prune", &to]);
    assert!(ended.code == 1 && ended.stderr.contains("nothing says what to keep"), "{}", ended.stderr);
    sandbox.output(["offsets", "set", &journal, "billing", "earliest"]);
    let ended = sandbox.run(["journal", "prune", &to, "--keep-messages", "1"]);
    assert!(ended.stderr.contains("the offset billing holds the rest"), "{}", ended.stderr);
    assert_eq!(size(), kept);
    let ended = sandbox.run(["journal", "prune", &to, "--keep-messages", "1", "--past-offsets"]);
    assert!(ended.code == 0 && size() < kept, "{}", ended.stderr);
    assert_eq!(sandbox.run(["journal", "verify", &to]).code, 0);
}

#[test]
fn an_order_book_is_the_same_live_replayed_and_from_a_snapshot() {
    let made_up = crate::order_book::compare(None).unwrap();
    assert!(made_up.starts_with("400000 messages"), "{made_up}");
    if let Some(capture) = crate::ingest::real("iex-deep-2017-04-25.pcap.gz") {
        let real = crate::order_book::compare(Some(&capture)).unwrap();
        assert!(real.starts_with("391999 messages"), "{real}");
    }
    let missing = crate::order_book::compare(Some("no/such/capture".as_ref())).unwrap_err();
    assert!(missing.to_string().contains("no/such/capture"), "{missing}");
}

#[test]
fn a_damaged_journal_is_repaired_and_recorded_to_again() {
    let sandbox = Sandbox::new();
    let journal = sandbox.path().join("journal");
    publish(&sandbox, "t", 1000);
    sandbox.output(["record", "t", "--to", &journal.display().to_string(), "--drain", "--segment", "1MiB"]);
    let (old, new) = (at(&journal, "t"), at(&journal, "t.repaired"));
    sandbox.output(["offsets", "set", &old, "billing", "6400"]);
    std::fs::remove_file(Path::new(&old).join("manifest")).unwrap();
    let ended = sandbox.run(["journal", "repair", &old, "--to", &new]);
    assert_eq!((ended.code, ended.text().contains("1,000 messages up to position 64000; nothing is lost")), (0, true));
    assert_eq!(sandbox.output(["journal", "dump", &new]), lines(1000));
    assert!(sandbox.run(["offsets", "ls", &new]).text().contains("billing"));

    // One byte of the first batch; the rest stays. The topic goes on in the new one, behind the gap.
    let segment = Path::new(&new).join("00000000000000000000.segment");
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"\xff", 4096 + 100).unwrap();
    let again = at(&journal, "t.again");
    let repaired = sandbox.run(["journal", "repair", &new, "--to", &again, "--json"]);
    let told = &repaired.json_lines()[0];
    assert_eq!((repaired.code, told["lost"][0][0].as_u64(), told["end"].as_u64()), (3, Some(0), Some(64000)));
    assert!(told["found"][0].as_str().unwrap().contains("position 0"), "{told}");
    let refused = sandbox.run(["journal", "repair", &new, "--to", &again]);
    assert!(refused.code != 0 && refused.stderr.contains("a journal is here already"), "{}", refused.stderr);
    std::fs::rename(&again, Path::new(&old).with_file_name("u")).unwrap();
    std::fs::remove_dir_all(&old).unwrap();
    std::fs::rename(at(&journal, "u"), &old).unwrap();
    publish(&sandbox, "t", 5);
    sandbox.output(["record", "t", "--to", &journal.display().to_string(), "--drain", "--segment", "1MiB"]);
    let dumped = sandbox.run(["journal", "dump", &old]);
    assert!(dumped.code == 3 && dumped.text().ends_with(std::str::from_utf8(&lines(5)).unwrap()), "{}", dumped.stderr);
    assert!(dumped.stderr.contains("left out by a repair"), "{}", dumped.stderr);
}

#[test]
fn what_is_marked_is_recorded_without_being_named() {
    let sandbox = Sandbox::new();
    let journal = sandbox.path().join("journal");
    let to = journal.display().to_string();
    let mut record = sandbox.start(["record", "--marked", "--to", &to, "--sync", "batch", "--segment", "1MiB"]);
    sandbox.output(["pub", "marked", "--journaled", "one"]);
    sandbox.output(["pub", "plain", "one"]);
    sandbox.wait_for("marked", 1, 0);
    assert_eq!(sandbox.json(["info", "marked", "--json"])["options"]["journaled"], true);
    sandbox.output(["pub", "marked", "two"]);
    record.signal(Signal::SIGINT);
    let ended = record.end();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("topic marked: recorded up to"), "{}", ended.stderr);
    assert_eq!(sandbox.output(["journal", "dump", &to]), b"one\ntwo\n");
    let refused = sandbox.run(["record", "--to", &to]);
    assert!(refused.code != 0 && refused.stderr.contains("TOPIC"), "{}", refused.stderr);
}

#[test]
fn a_subscriber_with_a_journal_gets_what_the_ring_has_let_go_and_then_what_comes() {
    let sandbox = Sandbox::new();
    let to = sandbox.path().join("journal").display().to_string();
    let at = format!("{to}/t");
    let mut record = sandbox.start({
        let ended = sandbox.run(["pub", "t", "--stamps", "--capacity", "16KiB", "message 1"]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ["record", "t", "--to", &to, "--sync", "none", "--segment", "1MiB"]
    });
    sandbox.wait_for("t", 1, 0);
    let rest: Vec<u8> = lines(2000).split_inclusive(|byte| *byte == b'\n').skip(1).flatten().copied().collect();
    assert_eq!(sandbox.run_with(&rest, ["pub", "t", "--quiet"]).code, 0);
    let all = ["sub", "t", "--journal", &at, "--from", "earliest", "--count", "2001"];
    let subscriber = sandbox.start(all);
    sandbox.output(["pub", "t", "last"]);
    let ended = subscriber.end();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout == [&lines(2000)[..], b"last\n"].concat(), "{} bytes", ended.stdout.len());
    // Without it the ring alone tells.
    let ring = sandbox.output(["sub", "t", "--from", "earliest", "--drain"]);
    assert!(ring.len() < ended.stdout.len() / 2);
    let refused = sandbox.run(["sub", "t", "--journal", "/nowhere"]);
    assert!(refused.code != 0 && refused.stderr.contains("/nowhere"), "{}", refused.stderr);
    record.signal(Signal::SIGINT);
    assert_eq!(record.end().code, 0);
}

#[test]
fn what_is_recorded_is_compressed_by_the_recorder_and_by_hand_and_reads_as_before() {
    let sandbox = Sandbox::new();
    let to = sandbox.path().join("journal").display().to_string();
    let journal = at(&sandbox.path().join("journal"), "t");
    publish(&sandbox, "t", 20_000);
    let on_disk = || sandbox.json(["journal", "ls", &to, "--json"])["journals"][0]["disk_bytes"].as_u64().unwrap();
    let record = ["record", "t", "--to", &to, "--segment", "64KiB"];
    assert_eq!(sandbox.run([&record[..], &["--drain"]].concat()).code, 0);
    let (before, dumped) = (on_disk(), sandbox.output(["journal", "dump", &journal]));
    let ended = sandbox.run(["journal", "compress", &to, "--level", "9"]);
    assert!(ended.code == 0 && ended.stderr.contains("segments compressed"), "{}", ended.stderr);
    assert!(on_disk() * 3 < before, "{} of {before}", on_disk());
    assert!(sandbox.output(["journal", "dump", &journal]) == dumped);
    assert_eq!(sandbox.run(["journal", "verify", &to]).code, 0);
    let ended = sandbox.run(["journal", "compress", &journal]);
    assert!(ended.stderr.contains("t: nothing to do"), "{}", ended.stderr);
    // Read also by who subscribes, from where it is compressed on into the ring.
    let subscribed = sandbox.output(["sub", "t", "--journal", &journal, "--from", "earliest", "--drain"]);
    assert!(subscribed == dumped, "{} bytes", subscribed.len());
    // And by a recorder, as soon as a segment is full.
    let mut recorder = sandbox.start([&record[..], &["--compress"]].concat());
    publish(&sandbox, "t", 20_000);
    let count = lines(40_000).len() as u64 * 2;
    let is_small = sandbox.wait_until(|| {
        let row = &sandbox.json(["journal", "ls", &to, "--json"])["journals"][0];
        row["messages"] == 40_000 && row["disk_bytes"].as_u64().unwrap() < count
    });
    assert!(is_small, "{} bytes on disk", on_disk());
    recorder.signal(Signal::SIGINT);
    assert_eq!(recorder.end().code, 0);
    for (arguments, words) in [
        (vec!["journal", "compress", &journal, "--level", "23"], "1 to 22"),
        (vec!["record", "t", "--to", &to, "--compress=0"], "1 to 22"),
        (vec!["journal", "compact", &journal, "--keep-deletions", "long"], "--keep-deletions"),
        (vec!["record", "t", "--to", &to, "--keep-deletions", "1h"], "--compact"),
    ] {
        let ended = sandbox.run(&arguments);
        assert!(ended.code != 0 && ended.stderr.contains(words), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn a_compacted_journal_has_the_last_message_of_each_key_and_its_topic_comes_back_with_them() {
    let sandbox = Sandbox::new();
    let to = sandbox.path().join("journal").display().to_string();
    let journal = at(&sandbox.path().join("journal"), "settings");
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1"), ("a", "3"), ("c", "")] {
        let options = ["pub", "settings", "--last-values", "10:100", "--key", key, value];
        sandbox.output(options);
    }
    sandbox.output(["pub", "settings", "without a key"]);
    assert_eq!(sandbox.run(["record", "settings", "--to", &to, "--drain"]).code, 0);
    let ended = sandbox.run(["journal", "compact", &to, "--keep-deletions", "0s"]);
    assert!(ended.code == 0 && ended.stderr.contains("4 messages left out"), "{}", ended.stderr);
    assert_eq!(sandbox.output(["journal", "dump", &journal]), b"1\n3\nwithout a key\n");
    sandbox.output(["rm", "settings"]);
    assert_eq!(sandbox.run(["record", "settings", "--to", &to, "--restore", "--compact", "--drain"]).code, 0);
    assert_eq!(sandbox.output(["sub", "settings", "--last-values", "--drain"]), b"1\n3\n");
}
