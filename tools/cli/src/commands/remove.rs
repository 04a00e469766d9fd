//! `memlane rm`: topics go.

use clap::Args;
use memlane::{Bus, OpenError, TopicError};

use super::ending::{Ending, complain};
use super::place::Place;

const AFTER_HELP: &str = "\
A topic that a publisher or a gated subscriber is attached to stays, unless --force is given: then they are told, and \
keep its memory until they leave. Other subscribers don't keep a topic, and are told too.";

/// Remove topics
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Remove {
    /// The topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Remove them even while someone is attached, and even if they can't be read
    #[arg(long, short)]
    force: bool,
}

impl Remove {
    pub(super) fn run(&self, place: &Place) -> anyhow::Result<Ending> {
        let bus = place.open_existing()?;
        let mut failures = self.topics.iter().filter_map(|name| self.remove(&bus, name).err()).peekable();
        let mut last = None;
        while let Some(failure) = failures.next() {
            match failures.peek() {
                Some(_) => complain(&format!("{failure:#}")),
                None => last = Some(failure),
            }
        }
        last.map_or(Ok(Ending::Done), Err)
    }

    fn remove(&self, bus: &Bus, name: &str) -> anyhow::Result<()> {
        if !self.force {
            let attached = match bus.topic(name)?.open() {
                Ok(topic) => topic.snapshot()?,
                Err(error @ OpenError::Topic(TopicError::NotFound { .. })) => return Err(error.into()),
                Err(error) => anyhow::bail!(
                    "can't tell who is attached to topic {name} ({error}): --force removes it all the same"
                ),
            };
            let (publishers, subscribers) = (attached.publishers.len(), attached.subscribers.len());
            anyhow::ensure!(
                publishers + subscribers == 0,
                "topic {name} has {publishers} publishers and {subscribers} gated subscribers attached (see `memlane info {name}`): end them, or remove it with --force"
            );
        }
        Ok(bus.remove(name)?)
    }
}
