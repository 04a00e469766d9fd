//! `memlane config`: the file that a node goes by.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use memlane_node::config::template;

use super::ending::{Ending, complain};
use super::output::Output;

const AFTER_HELP: &str = "\
Examples:
  memlane config init                              writes memlane.toml here
  memlane config init /etc/memlane/memlane.toml
  memlane config init -                            prints it";

const INIT_AFTER_HELP: &str = "\
The configuration has every key, with a word on it, and the name of this host for that of the node. It can be run as it is: it records what is marked \
to /var/lib/memlane/marked.

Examples:
  memlane config init                              writes memlane.toml here
  memlane config init /etc/memlane/memlane.toml
  memlane config init - | less                     prints it";

/// Write the configuration of a node
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, arg_required_else_help = true)]
pub(super) struct ConfigCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Init(Init),
}

/// Write a configuration to begin with: each key, with a word on it
#[derive(Debug, Args)]
#[command(after_help = INIT_AFTER_HELP)]
struct Init {
    /// Where to; - prints it
    #[arg(default_value = "memlane.toml")]
    path: PathBuf,
    /// Also where a file is already, which is lost
    #[arg(long)]
    overwrite: bool,
}

impl ConfigCommand {
    pub(super) fn run(&self) -> anyhow::Result<Ending> {
        match &self.action {
            Action::Init(init) => init.run(),
        }
    }
}

impl Init {
    fn run(&self) -> anyhow::Result<Ending> {
        let text = template();
        let path = self.path.as_path();
        if path == Path::new("-") {
            let mut output = Output::stdout()?;
            output.bytes(text.as_bytes())?;
            output.flush()?;
            return Ok(Ending::Done);
        }
        let opened = if self.overwrite { File::create(path) } else { File::create_new(path) };
        let mut file = match opened {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => anyhow::bail!(
                "{}: it is there already, and stays as it is: give another path, or --overwrite",
                path.display()
            ),
            opened => opened.with_context(|| format!("{}: can't write it", path.display()))?,
        };
        file.write_all(text.as_bytes()).with_context(|| format!("{}: can't write it", path.display()))?;
        let shown = path.display();
        complain(&format!("{shown}: written; read it, then `memlane node --config {shown} --check`"));
        Ok(Ending::Done)
    }
}
