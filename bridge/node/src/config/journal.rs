//! The sections `[[journal]]`: what is recorded where; the options and words of `memlane record`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use memlane::journal::{
    Compaction, Compression, OnFailure, RecordedTopics, RecorderOptions, Retention, SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
};

use super::section::{Keys, Placed, Section};
use crate::units;

pub(crate) const JOURNAL: Keys = Keys {
    section: "[[journal]]",
    keys: &[
        "directory",
        "topics",
        "marked",
        "sync",
        "on_failure",
        "segment",
        "keep_bytes",
        "keep_age",
        "keep_messages",
        "past_offsets",
        "compress",
        "compact",
        "keep_deletions",
        "restore",
    ],
};

/// Topics that are recorded to one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Where to; each topic has a directory of its name in it. No two journals have the same.
    pub directory: PathBuf,
    /// Which topics.
    pub topics: RecordedTopics,
    /// How, and how much is kept.
    pub options: RecorderOptions,
    /// Whether topics that are gone are made again when the node begins.
    pub restore: bool,
}

impl JournalConfig {
    /// Reads one; what is wrong with it is taken down. `None` if there is no saying where it is.
    fn read(section: &Section<'_>) -> Option<Placed<Self>> {
        let directory = section.path("directory");
        if !section.has("directory") {
            section.lacks("directory", "say where to: directory = \"/var/lib/memlane\"");
        }
        let restore = section.flag("restore").is_some_and(|restore| restore.value);
        let (topics, options) = (topics(section), options(section));
        let directory = directory?;
        let config = Self { directory: plain(&directory.value), topics, options, restore };
        Some(Placed { value: config, span: directory.span })
    }

    /// Reads all of them, and takes down those that get in each other's way.
    pub(crate) fn read_all(sections: &[Section<'_>]) -> Vec<Self> {
        let mut taken: Vec<Placed<Self>> = Vec::new();
        for section in sections {
            let Some(read) = Self::read(section) else { continue };
            let reader = section.reader;
            for before in &taken {
                let (here, there) = (&read.value.directory, &before.value.directory);
                let line = reader.line(&before.span);
                if here == there {
                    let help = format!("the journal in line {line} has it: give each one of its own");
                    reader.wrong(&read.span, "this directory is that of another journal", help);
                } else if here.starts_with(there) || there.starts_with(here) {
                    let what = "of this directory and that of another journal one lies in the other";
                    let help = format!("the other stands in line {line}: topics have their directories there");
                    reader.wrong(&read.span, what, help);
                }
            }
            taken.push(read);
        }
        taken.into_iter().map(|read| read.value).collect()
    }
}

/// Without `.` and `..`, as far as that can be said without looking.
fn plain(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

fn topics(section: &Section<'_>) -> RecordedTopics {
    let (topics, marked) = (section.patterns("topics"), section.flag("marked"));
    let help = "give topics = [\"md.>\"], or marked = true for those that are made with --journaled";
    match (&topics, &marked) {
        (Some(_), Some(marked)) if marked.value => {
            section.reader.wrong(&marked.span, "[[journal]] has both `topics` and `marked`", help);
        }
        (Some(topics), _) if topics.value.is_empty() => {
            section.reader.wrong(&topics.span, "`topics` has nothing in it", help);
        }
        (None, Some(marked)) if !marked.value => {
            section.reader.wrong(&marked.span, "nothing is to be recorded", help);
        }
        (None, None) if !section.has("topics") && !section.has("marked") => {
            section.reader.missing(&section.span, "[[journal]] doesn't say what to record", help);
        }
        _ => {}
    }
    topics.map_or(RecordedTopics::Marked, |topics| RecordedTopics::Matching(topics.value))
}

fn options(section: &Section<'_>) -> RecorderOptions {
    let usual = RecorderOptions::default();
    let refuse = |span: &Range<usize>, what: &str, help: &str| section.reader.wrong(span, what, help);
    let sync = section.parsed("sync", "\"100ms\"", units::parse_sync);
    let on_failure = section.choice("on_failure", &[("hold", OnFailure::Hold), ("go-on", OnFailure::GoOn)]);
    let segment = section.bytes("segment");
    if let Some(Placed { value, span }) = &segment
        && !((SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(value) && value.is_multiple_of(SEGMENT_BYTES_MIN))
    {
        refuse(span, "a segment can't have this size", "give a multiple of 64KiB, up to 1TiB, such as \"128MiB\"");
    }
    RecorderOptions {
        sync: sync.map_or(usual.sync, |sync| sync.value),
        on_failure: on_failure.unwrap_or_default(),
        segment_bytes: segment.map_or(usual.segment_bytes, |segment| segment.value),
        retention: retention(section),
        compression: compression(section),
        compaction: compaction(section),
    }
}

fn retention(section: &Section<'_>) -> Retention {
    let bytes = section.bytes("keep_bytes").map(|bytes| bytes.value);
    let age = section.span_of_time("keep_age").map(|age| age.value);
    let messages = section.count("keep_messages").map(|messages| messages.value);
    let past_offsets = section.flag("past_offsets");
    let is_limited = ["keep_bytes", "keep_age", "keep_messages"].into_iter().any(|key| section.has(key));
    if let Some(past) = past_offsets.as_ref().filter(|past| past.value && !is_limited) {
        let help = "give keep_bytes, keep_age or keep_messages beside it, or leave it out";
        section.reader.wrong(&past.span, "`past_offsets` is of no use where everything is kept", help);
    }
    Retention { bytes, age, messages, past_offsets: past_offsets.is_some_and(|past| past.value) }
}

fn compression(section: &Section<'_>) -> Option<Compression> {
    let level = section.flag_or_count("compress", "true, or a level such as 3")?;
    match level.value {
        Ok(true) => Some(Compression::default()),
        Ok(false) => None,
        Err(level) if (1..=22).contains(&level) => Some(Compression { level: level as u8 }),
        Err(level_given) => {
            let what = format!("`compress` can't be {level_given}");
            section.reader.wrong(&level.span, what, "give true, or a level: 1, the quickest, to 22");
            None
        }
    }
}

fn compaction(section: &Section<'_>) -> Option<Compaction> {
    let is_compacted = section.flag("compact").is_some_and(|compact| compact.value);
    let kept = section.span_of_time("keep_deletions");
    if let Some(kept) = kept.as_ref().filter(|_| !is_compacted) {
        section.reader.wrong(&kept.span, "`keep_deletions` is of no use without compact = true", "");
    }
    let usual = Compaction::default().deletions_kept;
    is_compacted.then(|| Compaction { deletions_kept: kept.map_or(usual, |kept| kept.value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_directory_is_known_however_it_is_written() {
        for (written, is) in [("/a/./b/", "/a/b"), ("/a/../b", "/b"), ("a/../../b", "../b"), ("/a//b", "/a/b")] {
            assert_eq!(plain(Path::new(written)), Path::new(is), "{written}");
        }
    }
}
