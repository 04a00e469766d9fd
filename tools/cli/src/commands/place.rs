//! Which bus is meant: `--bus` and `--root`, for every subcommand.

use std::path::PathBuf;

use clap::Args;
use memlane::{Backing, Bus, BusBuilder, BusError};

const HEADING: &str = "Which bus";

/// Where the topics are.
#[derive(Clone, Debug, Args)]
pub(super) struct Place {
    /// The bus: topics that belong together
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "MEMLANE_BUS",
        help_heading = HEADING,
        default_value = "default",
        hide_env_values = true
    )]
    pub(super) bus: String,
    /// The directory with the buses, on a tmpfs, or anywhere with --backing named [default: /dev/shm/memlane-<uid>]
    #[arg(long, global = true, value_name = "DIR", env = "MEMLANE_ROOT", help_heading = HEADING, hide_env_values = true)]
    pub(super) root: Option<PathBuf>,
    /// What topics lie in, if the bus is made now: file (in the bus's directory), or named (segments of the kernel's) [default: file]
    #[arg(
        long,
        global = true,
        value_name = "BACKING",
        env = "MEMLANE_BACKING",
        value_parser = parse_backing,
        help_heading = HEADING,
        hide_env_values = true
    )]
    pub(super) backing: Option<Backing>,
}

fn parse_backing(text: &str) -> Result<Backing, &'static str> {
    text.parse().map_err(|_| "give `file` or `named`")
}

impl Place {
    /// Opens the bus; makes it if it isn't there.
    pub(super) fn open(&self) -> Result<Bus, BusError> {
        self.builder(&self.bus).open()
    }

    /// Opens the bus; an error if it isn't there.
    pub(super) fn open_existing(&self) -> Result<Bus, BusError> {
        self.builder(&self.bus).create(false).open()
    }

    /// Another bus in the same directory, to be opened.
    pub(super) fn builder(&self, bus: &str) -> BusBuilder {
        let mut builder = Bus::builder(bus);
        if let Some(backing) = self.backing {
            builder = builder.backing(backing);
        }
        match &self.root {
            Some(root) => builder.root(root),
            None => builder,
        }
    }
}
