//! What the demo tells its processes, and what they tell it: JSON in an argument, and a line of JSON on stdout each time.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use memlane::{Kind, Wait};
use serde::{Deserialize, Serialize};

use crate::commands::latencies::Figures;

/// Time between two looks of one that naps: 60 a second.
pub(super) const NAP: Duration = Duration::from_micros(16_667);

/// The header of a message without payload that is a mark and no message.
pub(super) const MARK: &str = "demo";
/// From here on it goes flat out.
pub(super) const MARK_FLAT_OUT: &[u8] = b"flat out";
/// There is nothing more.
pub(super) const MARK_END: &[u8] = b"end";

/// What a process has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Assignment {
    /// The process that it must not outlive.
    pub(super) parent: u32,
    pub(super) topic: String,
    /// The cores that it may run on; empty for those that the demo may.
    pub(super) cores: Vec<usize>,
    pub(super) role: Role,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Role {
    Publisher(PublisherPart),
    Subscriber(SubscriberPart),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PublisherPart {
    /// A capture; the generated feed if there is none.
    pub(super) input: Option<PathBuf>,
    pub(super) pace: Pace,
    pub(super) paced: Duration,
    pub(super) flat_out: Duration,
    /// Whether others wait for the core that it runs on.
    pub(super) shares_core: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Pace {
    Recorded,
    PerSecond(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SubscriberPart {
    pub(super) manner: Manner,
    pub(super) waiting: Waiting,
}

/// What it does when the publisher is faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Manner {
    Gated,
    Lossy,
    Latest,
}

/// How it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Waiting {
    /// Polls without end.
    Busy,
    /// Polls for some microseconds, then sleeps.
    Block,
    /// Sleeps at once: where others wait for the core, polling keeps them from it.
    BlockAtOnce,
    /// Looks now and then, as whoever draws for people does.
    Naps,
}

impl Manner {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Gated => "gated",
            Self::Lossy => "lossy",
            Self::Latest => "latest",
        }
    }
}

impl From<Manner> for Kind {
    fn from(manner: Manner) -> Self {
        match manner {
            Manner::Gated => Self::Gated,
            Manner::Lossy => Self::Lossy,
            Manner::Latest => Self::Latest,
        }
    }
}

impl Waiting {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Block | Self::BlockAtOnce => "block",
            Self::Naps => "naps",
        }
    }
}

impl From<Waiting> for Wait {
    fn from(waiting: Waiting) -> Self {
        match waiting {
            Waiting::Busy => Self::BusySpin,
            Waiting::Block | Waiting::Naps => Self::default(),
            Waiting::BlockAtOnce => Self::Block { spins: 0 },
        }
    }
}

/// What a process tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// It has its place in the topic.
    Ready,
    /// How far it is.
    Progress(Progress),
    /// It is through. Its last word.
    Published(Published),
    /// It has seen the end mark. Its last word.
    Received(Received),
    /// It could not go on. Its last word. (The demo puts it in too, where a process ended without one.)
    Failed(String),
}

/// How far a process is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Since it was ready.
    pub(super) seconds: f64,
    pub(super) messages: u64,
    pub(super) is_flat_out: bool,
    /// Of what came at the feed's own pace; `None` for publishers.
    pub(super) latency: Option<Figures>,
}

/// What the publisher published, marks not counted.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Published {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) digest: u64,
    pub(super) paced: Stretch,
    pub(super) flat_out: Stretch,
}

/// A part of the performance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Stretch {
    pub(super) messages: u64,
    pub(super) seconds: f64,
}

/// What a subscriber received, marks not counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Received {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) digest: u64,
    /// Messages that did not come after the one before them.
    pub(super) out_of_order: u64,
    /// Ranges that it was told it missed.
    pub(super) lost_ranges: u64,
    pub(super) lost_bytes: u64,
    /// How often others took the core while it wanted it, at the feed's own pace.
    pub(super) preemptions: u64,
    /// Of what came at the feed's own pace.
    pub(super) latency: Figures,
    /// How many of those fell between each two of `show::BOUNDS_NS`.
    pub(super) histogram: Vec<u64>,
}

/// Tells the demo something.
pub(super) fn tell(report: &Report) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    std::io::stdout().lock().write_all(&line).context("the demo does not listen")
}
