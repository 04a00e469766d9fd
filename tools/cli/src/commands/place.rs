//! Which bus is meant: `--bus` and `--root`, for every subcommand.

use std::path::PathBuf;

use clap::Args;
use memlane::{Bus, BusBuilder, BusError};

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
    /// The directory with the buses, on a tmpfs [default: /dev/shm/memlane-<uid>]
    #[arg(long, global = true, value_name = "DIR", env = "MEMLANE_ROOT", help_heading = HEADING, hide_env_values = true)]
    pub(super) root: Option<PathBuf>,
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
        let builder = Bus::builder(bus);
        match &self.root {
            Some(root) => builder.root(root),
            None => builder,
        }
    }
}
