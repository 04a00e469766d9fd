//! What of a new configuration a running node can go over to, and what it can't: either all of it, or nothing.
//!
//! So what runs is always what one file says, which was checked whole, and never a mixture that nobody has written.

use std::path::Path;

use memlane::journal::RecorderOptions;

use crate::config::{BridgeConfig, Config, JournalConfig};

/// Something that can't be changed while the node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The line of the new configuration.
    pub line: usize,
    /// Which key, and why.
    pub what: String,
}

impl Refusal {
    /// As people read it; `path` is the file.
    #[must_use]
    pub fn shown_in(&self, path: &Path) -> String {
        format!("{}:{}: {}", path.display(), self.line, self.what)
    }
}

/// What keeps a node that runs by `old` from going over to `new`; nothing, if it can.
#[must_use]
pub fn refusals(old: &Config, new: &Config) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut refuse = |section: &str, key: &'static str, why: &str| {
        let what = format!("`{key}` of {} can't be changed while the node runs: {why}", head(section));
        refusals.push(Refusal { line: new.line_of(section, key), what });
    };
    let (was, is) = (&old.node, &new.node);
    let everybody = "all modules have it; restart the node";
    for (key, differs, why) in [
        ("name", was.name != is.name, "other nodes know this one by it; restart the node"),
        ("bus", was.bus != is.bus, everybody),
        ("root", was.root != is.root, everybody),
        ("wait", was.wait != is.wait, everybody),
    ] {
        if differs {
            refuse("node", key, why);
        }
    }
    if old.log.format != new.log.format {
        refuse("log", "format", "it would change amid the log; restart the node");
    }
    for (index, is) in new.journals.iter().enumerate() {
        if let Some(was) = old.journals.iter().find(|was| was.directory == is.directory) {
            let section = format!("journal[{index}]");
            for key in changed_for_good(was, is) {
                refuse(&section, key, "the recorder would have to begin anew, and may miss messages; restart the node");
            }
        }
    }
    if let (Some(was), Some(is)) = (&old.bridge, &new.bridge) {
        for key in changed_in_bridge(was, is) {
            let what = format!("`{key}` of [bridge] can't be changed while the node runs: restart the node");
            refusals.push(Refusal { line: new.line_of("bridge", key), what });
        }
    }
    refusals.sort_by_key(|refusal| refusal.line);
    refusals
}

/// As people write it.
fn head(section: &str) -> &str {
    match section {
        "node" => "[node]",
        "log" => "[log]",
        _ => "[[journal]]",
    }
}

/// The keys by which a bridge goes all its life, and that differ.
fn changed_in_bridge(was: &BridgeConfig, is: &BridgeConfig) -> Vec<&'static str> {
    let differs = [
        ("listen", was.listen != is.listen),
        ("certificate", was.certificate != is.certificate),
        ("key", was.key != is.key),
        ("authorities", was.authorities != is.authorities),
        ("revoked", was.revoked != is.revoked),
        ("window", was.window_bytes != is.window_bytes),
        ("packet", was.packet_bytes != is.packet_bytes),
        ("congestion", was.is_bbr != is.is_bbr),
        ("keep_alive", was.keep_alive != is.keep_alive),
        ("silence", was.silence != is.silence),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

/// The keys by which a recorder goes all its life, and that differ.
fn changed_for_good(was: &JournalConfig, is: &JournalConfig) -> Vec<&'static str> {
    let RecorderOptions { sync, on_failure, segment_bytes, retention: _, compression, compaction } = is.options;
    let compacts = compaction.is_some() != was.options.compaction.is_some();
    let differs = [
        ("sync", sync != was.options.sync),
        ("on_failure", on_failure != was.options.on_failure),
        ("segment", segment_bytes != was.options.segment_bytes),
        ("compress", compression != was.options.compression),
        ("compact", compacts),
        ("keep_deletions", !compacts && compaction != was.options.compaction),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "[node]\nname = \"a\"\n[log]\nlevel = \"info\"\n[[journal]]\ndirectory = \"/j\"\nmarked = true\n";

    fn parse(text: &str) -> Config {
        Config::parse(text, Path::new("m.toml")).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// The lines and keys that are refused.
    fn refused(new: &str) -> Vec<(usize, String)> {
        let key = |what: String| what.split('`').nth(1).unwrap_or("bridge").to_owned();
        refusals(&parse(OLD), &parse(new)).into_iter().map(|refusal| (refusal.line, key(refusal.what))).collect()
    }

    #[test]
    fn levels_journals_topics_and_what_is_kept_may_change() {
        assert_eq!(refused(OLD), []);
        assert_eq!(refused(&OLD.replace("info", "debug")), []);
        assert_eq!(refused(&OLD.replace("marked = true", "topics = [\"a\"]\nkeep_age = \"1h\"\nrestore = true")), []);
        assert_eq!(refused(&OLD.replace("/j", "/k")), []);
        assert_eq!(refused(&OLD.replace("[log]", "drain = \"1s\"\n[log]")), []);
        assert_eq!(refused("[node]\nname = \"a\"\n"), []);
    }

    #[test]
    fn what_holds_for_all_modules_is_refused_with_its_key_and_line() {
        let node = "name = \"b\"\nbus = \"c\"\nroot = \"/r\"\nwait = \"poll\"";
        let new = OLD.replace("name = \"a\"", node).replace("level = \"info\"", "format = \"json\"");
        let refused = refused(&new);
        let keys: Vec<_> = refused.iter().map(|(line, key)| (*line, key.as_str())).collect();
        assert_eq!(keys, [(2, "name"), (3, "bus"), (4, "root"), (5, "wait"), (7, "format")]);
    }

    #[test]
    fn what_a_recorder_goes_by_all_its_life_is_refused() {
        let more =
            "marked = true\nsync = \"batch\"\nsegment = \"1MiB\"\ncompress = 3\ncompact = true\non_failure = \"go-on\"";
        let refused = refused(&OLD.replace("marked = true", more));
        let keys: Vec<_> = refused.iter().map(|(line, key)| (*line, key.as_str())).collect();
        let expected = [(8, "sync"), (9, "segment"), (10, "compress"), (11, "compact"), (12, "on_failure")];
        assert_eq!(keys, expected);
    }

    #[test]
    fn a_key_that_is_taken_out_is_refused_at_the_head_of_its_section() {
        let old = parse(&OLD.replace("marked = true", "marked = true\nsync = \"batch\""));
        let found = refusals(&old, &parse(OLD));
        assert_eq!((found.len(), found[0].line), (1, 5));
        assert!(found[0].shown_in(Path::new("m.toml")).starts_with("m.toml:5: `sync` of [[journal]]"), "{found:?}");
    }

    #[test]
    fn peers_of_a_bridge_may_change_and_where_it_listens_may_not() {
        let bridge = "[bridge]\ncertificate = \"c\"\nkey = \"k\"\nauthorities = \"a\"\nlisten = \"h:1\"\n";
        let old = parse(&format!("{OLD}{bridge}"));
        let peer = "[[bridge.peer]]\nname = \"b\"\n";
        assert_eq!(refusals(&old, &parse(&format!("{OLD}{bridge}{peer}"))), []);
        assert_eq!(refused(&format!("{OLD}{bridge}")), [], "one that comes");
        let found = refusals(&old, &parse(&format!("{OLD}{}", bridge.replace("h:1", "h:2").replace("\"k\"", "\"l\""))));
        let lines: Vec<_> = found.iter().map(|refusal| refusal.line).collect();
        assert_eq!(lines, [10, 12], "{found:?}");
    }
}
