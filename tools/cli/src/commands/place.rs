//! Which bus is meant, and who takes part in it: `--bus`, `--root`, `--name` and `--tag`, for every subcommand.

use std::path::PathBuf;

use clap::Args;
use memlane::{Backing, Bus, BusBuilder, BusError, Label, LabelError};

const HEADING: &str = "Which bus";
const SELF_HEADING: &str = "Who this is";

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
    /// What `info`, `stat` and `top` call this process [default: memlane and the subcommand]
    #[arg(long, global = true, value_name = "TEXT", help_heading = SELF_HEADING)]
    name: Option<String>,
    /// A tag that they show with it; may be given more than once
    #[arg(long, global = true, value_name = "KEY=VALUE", help_heading = SELF_HEADING, value_parser = parse_tag)]
    tag: Vec<(String, String)>,
    /// Of the two above, once it is known which subcommand this is.
    #[arg(skip)]
    label: Label,
}

fn parse_backing(text: &str) -> Result<Backing, &'static str> {
    text.parse().map_err(|_| "give `file` or `named`")
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("not a tag: give KEY=VALUE".to_owned()),
    }
}

impl Place {
    /// Takes down who this is: `usual`, unless the arguments give another name.
    ///
    /// Errors: [`LabelError`], if name and tags can't be or are too long together.
    pub(super) fn introduce(&mut self, usual: &str) -> Result<(), LabelError> {
        let named = Label::new(self.name.as_deref().unwrap_or(usual))?;
        self.label = self.tag.iter().try_fold(named, |label, (key, value)| label.tag(key, value))?;
        Ok(())
    }

    /// Opens the bus; makes it if it isn't there.
    pub(super) fn open(&self) -> Result<Bus, BusError> {
        self.builder(&self.bus).open()
    }

    /// Opens the bus; an error if it isn't there.
    pub(super) fn open_existing(&self) -> Result<Bus, BusError> {
        self.builder(&self.bus).create(false).open()
    }

    /// The same, for a node whose configuration may say otherwise.
    pub(super) fn for_node(&self) -> memlane_node::Place {
        let Self { bus, root, backing, name, tag, label } = self.clone();
        let label = (name.is_some() || !tag.is_empty()).then_some(label);
        memlane_node::Place { bus, root, backing, label }
    }

    /// Another bus in the same directory.
    pub(super) fn of_bus(&self, bus: String) -> Self {
        Self { bus, ..self.clone() }
    }

    /// Another bus in the same directory, to be opened.
    pub(super) fn builder(&self, bus: &str) -> BusBuilder {
        let mut builder = Bus::builder(bus).label(self.label.clone());
        if let Some(backing) = self.backing {
            builder = builder.backing(backing);
        }
        match &self.root {
            Some(root) => builder.root(root),
            None => builder,
        }
    }
}
