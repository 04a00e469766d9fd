//! `memlane.toml`: what a node is to do, checked whole before any of it is done.
//!
//! All that is wrong is found at once ([`Problems`]), each with its line. A relative path begins in the directory of the file.

mod bridge;
mod journal;
mod near;
mod node;
mod problem;
mod section;
mod template;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use bridge::{BridgeConfig, FlowCompression, FlowConfig, FlowMode, FlowStart, PeerConfig};
pub use journal::JournalConfig;
pub use node::{LogConfig, LogFormat, NodeConfig, Waiting};
pub use problem::{Problem, Problems};
pub use template::template;

use bridge::BRIDGE;
use journal::JOURNAL;
use node::{LOG, NODE};
use section::{Found, Keys, Lines, Reader, Section};

pub(crate) const TOP: Keys = Keys { section: "", keys: &["node", "log", "journal", "bridge"] };

/// A file longer than this is no configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a node is to do. Whatever is in it has been checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// What holds for the node as a whole.
    pub node: NodeConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// What is recorded; no two to the same directory.
    pub journals: Vec<JournalConfig>,
    /// What is carried between hosts.
    pub bridge: Option<BridgeConfig>,
    lines: Lines,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read: see to it that it is there and this user may, or name another.
    #[error("{path}: can't read the configuration: {source}; `memlane config init` writes one to begin with")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// It is no configuration at all: name another.
    #[error("{path}: larger than 1 MiB, which no configuration is")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Something in it can't be: each problem says where, and what would be right.
    #[error("{0}")]
    Unsound(Problems),
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// Cost: that of reading the file. Errors: [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        if path.metadata().map_err(failed)?.len() > FILE_BYTES_MAX {
            return Err(ConfigError::TooLong { path: path.to_owned() });
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let (at, lossy) = (error.utf8_error().valid_up_to(), String::from_utf8_lossy(error.as_bytes()));
                let problem = Problem::at(&lossy, at..at + 1, "this is no text", "write the file as UTF-8");
                return Err(ConfigError::Unsound(Problems { path: path.to_owned(), problems: vec![problem] }));
            }
        };
        Self::parse(&text, path).map_err(ConfigError::Unsound)
    }

    /// Takes `text` as the contents of the file at `path`, which need not be there.
    ///
    /// Errors: [`Problems`]: all that are found.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Problems> {
        let (document, broken) = DeTable::parse_recoverable(text);
        let base = path.parent().unwrap_or(Path::new(""));
        let reader = Reader::new(text, base);
        let read = read(&reader, document.get_ref());
        let (found, lines) = reader.into_found();
        let problems = problems(text, &broken, found);
        match read {
            Some((node, log, journals, bridge)) if problems.is_empty() => {
                Ok(Self { path: path.to_owned(), node, log, journals, bridge, lines })
            }
            _ => Err(Problems { path: path.to_owned(), problems }),
        }
    }

    /// The line that says `key` of the section `section` (such as `journal[0]`); that of the section's head if it isn't said, and 1 if that isn't there
    /// either.
    #[must_use]
    pub fn line_of(&self, section: &str, key: &'static str) -> usize {
        let line = |key| self.lines.get(&(section.to_owned(), key)).copied();
        line(key).or_else(|| line("")).unwrap_or(1)
    }
}

type Parts = (NodeConfig, LogConfig, Vec<JournalConfig>, Option<BridgeConfig>);

fn read(reader: &Reader<'_>, document: &DeTable<'_>) -> Option<Parts> {
    let top = Section::new(reader, &TOP, String::new(), document, 0..0);
    let node = match top.section("node", &NODE) {
        Some(section) => NodeConfig::read(&section),
        None => {
            if !top.has("node") {
                reader.missing(&(0..0), "there is no section [node]", "give one, with the node's name");
            }
            None
        }
    };
    let log = top.section("log", &LOG).map(|section| LogConfig::read(&section)).unwrap_or_default();
    let journals = JournalConfig::read_all(&top.sections("journal", &JOURNAL));
    let name = node.as_ref().map(|node| node.name.as_str());
    let bridge = top.section("bridge", &BRIDGE).map(|section| BridgeConfig::read(&section, name));
    Some((node?, log, journals, bridge.flatten()))
}

/// All that is wrong, in the order of lines. What is broken breaks what is around it, so no more is said of its lines, nor of what may be missing for that, nor
/// of what stands below a broken head.
fn problems(text: &str, broken: &[toml::de::Error], found: Vec<Found>) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for error in broken {
        let problem = Problem::at(text, error.span().unwrap_or(0..0), error.message(), "");
        if problems.iter().all(|before| before.line != problem.line) {
            problems.push(problem);
        }
    }
    let is_broken = !problems.is_empty();
    let broken_lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
    let heads = problems.iter().filter(|problem| problem.text.trim_start().starts_with('['));
    let believed_to = heads.map(|problem| problem.line).min().unwrap_or(usize::MAX);
    let also = found.into_iter().filter(|found| !(is_broken && found.is_missing)).map(|found| found.problem);
    problems.extend(also.filter(|also| !broken_lines.contains(&also.line) && also.line < believed_to));
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems
}
