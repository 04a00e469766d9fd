//! The sections `[node]` and `[log]`.

use std::path::PathBuf;
use std::time::Duration;

use memlane::{Bus, NameError};
use tracing::level_filters::LevelFilter;

use super::section::{Keys, Section};

pub(crate) const NODE: Keys = Keys { section: "[node]", keys: &["name", "bus", "root", "wait", "drain"] };
pub(crate) const LOG: Keys = Keys { section: "[log]", keys: &["level", "format"] };

/// Most characters of a node's name.
const NAME_CHARACTERS_MAX: usize = 40;
const DRAIN_DEFAULT: Duration = Duration::from_secs(10);

/// What holds for the node as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// What other nodes know it by: 1 to 40 of A-Z a-z 0-9 _ -.
    pub name: String,
    /// Its bus; if it isn't given, whatever commands use else.
    pub bus: Option<String>,
    /// The directory that the bus is in; if it isn't given, whatever commands use else.
    pub root: Option<PathBuf>,
    /// How those modules wait that carry messages on. A journal always sleeps.
    pub wait: Waiting,
    /// How long modules may take to finish what they have begun, when the node is to end.
    pub drain: Duration,
}

/// How a module waits for messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waiting {
    /// It sleeps, and is woken: costs nothing while idle.
    #[default]
    Park,
    /// It looks again and again: takes a core, and saves what waking takes.
    Poll,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// From which level on. Default: `info`.
    pub level: LevelFilter,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For journald where stderr leads there, else as text.
    #[default]
    Auto,
    /// Time, level and text.
    Text,
    /// An object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: LevelFilter::INFO, format: LogFormat::Auto }
    }
}

/// Whether it can be a node's name; else what is wrong with it.
pub(crate) fn check_name(name: &str) -> Result<String, String> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_plain && (1..=NAME_CHARACTERS_MAX).contains(&name.len()) {
        return Ok(name.to_owned());
    }
    Err(format!("a node's name has 1 to {NAME_CHARACTERS_MAX} of A-Z a-z 0-9 _ -"))
}

impl NodeConfig {
    pub(crate) fn read(section: &Section<'_>) -> Option<Self> {
        let name = section.parsed("name", "\"node-1\"", check_name);
        if !section.has("name") {
            section.lacks("name", "give it one, such as name = \"node-1\": other nodes know it by that");
        }
        let bus = section.parsed("bus", "\"default\"", |name| match Bus::check_name(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(NameError { reason, .. }) => Err(reason.to_owned() + "; a bus has a name like md or md.test"),
        });
        let wait = section.choice("wait", &[("park", Waiting::Park), ("poll", Waiting::Poll)]);
        let root = section.path("root");
        let drain = section.span_of_time("drain");
        Some(Self {
            name: name?.value,
            bus: bus.map(|bus| bus.value),
            root: root.map(|root| root.value),
            wait: wait.unwrap_or_default(),
            drain: drain.map_or(DRAIN_DEFAULT, |drain| drain.value),
        })
    }
}

impl LogConfig {
    pub(crate) fn read(section: &Section<'_>) -> Self {
        let levels = [
            ("error", LevelFilter::ERROR),
            ("warn", LevelFilter::WARN),
            ("info", LevelFilter::INFO),
            ("debug", LevelFilter::DEBUG),
            ("trace", LevelFilter::TRACE),
        ];
        let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
        let usual = Self::default();
        Self {
            level: section.choice("level", &levels).unwrap_or(usual.level),
            format: section.choice("format", &formats).unwrap_or(usual.format),
        }
    }
}
