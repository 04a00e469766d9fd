//! Which bus the modules of a node work on.

use std::path::PathBuf;

use memlane::{Backing, Bus, BusError, Label, LabelError};

use crate::config::NodeConfig;

/// A bus, and who opens it. Nothing is opened yet.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name.
    pub bus: String,
    /// The directory that it is in; if there is none, the usual one.
    pub root: Option<PathBuf>,
    /// What topics lie in, if the bus is made now.
    pub backing: Option<Backing>,
    /// What `memlane info`, `stat` and `top` show of who has opened it; if there is none, the node's name.
    pub label: Option<Label>,
}

impl Place {
    /// As `config` says, and `usual` where it says nothing.
    ///
    /// Errors: [`LabelError`], if that can't be shown.
    pub fn of(config: &NodeConfig, usual: &Self) -> Result<Self, LabelError> {
        let label = match &usual.label {
            Some(label) => label.clone(),
            None => Label::new(&format!("node {}", config.name))?,
        };
        Ok(Self {
            bus: config.bus.clone().unwrap_or_else(|| usual.bus.clone()),
            root: config.root.clone().or_else(|| usual.root.clone()),
            backing: usual.backing,
            label: Some(label),
        })
    }

    /// Opens the bus; makes it if it isn't there.
    ///
    /// Cost: a few system calls. Errors: [`BusError`].
    pub fn open(&self) -> Result<Bus, BusError> {
        let mut builder = Bus::builder(&self.bus);
        if let Some(label) = &self.label {
            builder = builder.label(label.clone());
        }
        if let Some(backing) = self.backing {
            builder = builder.backing(backing);
        }
        if let Some(root) = &self.root {
            builder = builder.root(root);
        }
        builder.open()
    }
}
